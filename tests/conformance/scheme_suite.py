"""One suite for every scheme: each field of a `Claim` has a check that fails where the claim is false.

A check takes the scheme's class and the folder of real images; it raises AssertionError. A new scheme adds nothing
here: `CHECKS` runs for every name in the registry.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from medveil.errors import InputError, MedveilError, RefusedError, UnrecoverableError, UnsupportedError
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.reader import read, read_any
from medveil.imaging.roi import Rectangle
from medveil.imaging.windowing import to_display
from medveil.schemes.base import FindingKind, Part, Protected, Restored, Scheme

SchemeClass = type[Scheme]

CT = "pydicom_older_tests/693_UNCR.dcm"  # 512 x 512, 14 of 16 bits, signed
SMALL = "pydicom_older_tests/CT_small.dcm"  # 128 x 128
GREY8 = "pydicom_older_tests/vlut_04.dcm"  # 512 x 512, 8 bit
COLOUR = "pydicom/examples_rgb_color.dcm"
MULTIFRAME = "pydicom_older_tests/emri_small.dcm"
FLOATS = "pydicom_data/parametric_map_float.dcm"
BROKEN = "pydicom_older_tests/MR_truncated.dcm"


@lru_cache(maxsize=64)
def image(data: Path, name: str) -> MedicalImage:
    return read(data / "dicom_zoo" / name)


def sample(cls: SchemeClass, data: Path) -> MedicalImage:
    """A real image that the scheme says it takes."""
    return image(data, CT if 14 in cls.claim.bit_depths and cls.claim.signed else GREY8)


def of_depth(data: Path, depth: int) -> Iterator[MedicalImage]:
    """Two grey real images with that many significant bits, the smallest of at least 32 x 32."""
    with (data / "dicom_zoo/manifest.csv").open() as handle:
        rows = [r for r in csv.DictReader(handle) if r["decodes_here"] == "ok" and r["bits_stored"] == str(depth)]
    grey = [r for r in rows if r["samples"] in ("", "1") and min(int(r["rows"]), int(r["columns"])) >= 10]
    for row in sorted(grey, key=lambda r: (int(r["rows"]) * int(r["columns"]) < 1024, int(r["bytes"])))[:2]:
        yield image(data, row["path"])


def same_pixels(restored: Restored, original: MedicalImage) -> bool:
    found = restored.image
    return (
        isinstance(found, MedicalImage)
        and found.pixels.dtype == original.pixels.dtype
        and np.array_equal(found.pixels, original.pixels, equal_nan=original.pixels.dtype.kind == "f")
    )


def round_trip(scheme: Scheme, given: MedicalImage) -> Protected:
    """Protect and restore with all parts: exact where that is claimed, and nothing to report."""
    protected = scheme.protect(given)
    restored = scheme.restore(protected.parts, protected.secret)
    findings = [f for f in restored.findings if f.kind is not FindingKind.APPROXIMATE or scheme.claim.lossless]
    assert findings == [], f"clean parts give findings: {findings}"
    assert restored.exact is scheme.claim.lossless, "lossy, and does not say so of the image that it gives back"
    assert scheme.verify(protected.parts, protected.secret) == ()
    assert scheme.verify(protected.parts) == ()
    if scheme.claim.lossless:
        assert same_pixels(restored, given), "claims lossless, and the pixels differ"
    if scheme.claim.any_file:
        assert restored.image.original == given.original, "claims the file byte for byte, and it differs"
    return protected


def changed(part: Part, at: int, *, bit: int = 0) -> Part:
    data = bytearray(part.data)
    data[at] ^= 1 << bit
    return Part(part.index, bytes(data), part.media_type, part.suffix)


def tampered(part: Part) -> Part:
    """Change one bit in the middle of what a part holds; of a picture a pixel's lowest, as an image editor would."""
    if not part.media_type.startswith("image/"):
        return changed(part, len(part.data) // 2)
    picture = read(part.data)
    pixels = picture.pixels.copy()
    pixels[0, picture.rows // 2, picture.columns // 2] ^= 1
    edited = imagecodecs.png_encode(pixels[0])
    return Part(part.index, edited, part.media_type, part.suffix)


def replaced(parts: tuple[Part, ...], part: Part) -> list[Part]:
    return [part if one.index == part.index else one for one in parts]


def check_lossless(cls: SchemeClass, data: Path) -> None:
    if cls.claim.one_way:
        return
    round_trip(cls.for_evaluation(), sample(cls, data))
    bare = sample(cls, data)
    made = MedicalImage(bare.pixels, bare.bits_stored, bare.photometric)
    protected = cls.for_evaluation().protect(made)
    restored = cls.for_evaluation().restore(protected.parts, protected.secret)
    if cls.claim.lossless:
        assert same_pixels(restored, made), "an image without a file does not come back"


def check_bit_depths(cls: SchemeClass, data: Path) -> None:
    for depth in cls.claim.bit_depths:
        tried = 0
        for given in of_depth(data, depth):
            if given.frames > 1 and not cls.claim.multiframe:
                continue
            if (given.signed and not cls.claim.signed) or cls.claim.one_way:
                continue
            round_trip(cls.for_evaluation(), given)
            tried += 1
        assert tried or cls.claim.one_way or not list(of_depth(data, depth)), f"no image of {depth} bits was tried"


def _kind(field: str, name: str) -> Callable[[SchemeClass, Path], None]:
    def check(cls: SchemeClass, data: Path) -> None:
        given = image(data, name)
        if getattr(cls.claim, field) and not cls.claim.one_way:
            round_trip(cls.for_evaluation(), given)
        elif given.bits_stored in cls.claim.bit_depths and not cls.claim.one_way:
            try:  # what is not claimed is refused, or done all the same, but never done badly
                protected = cls.for_evaluation().protect(given)
                restored = cls.for_evaluation().restore(protected.parts, protected.secret)
            except MedveilError:
                return
            assert not restored.exact or not cls.claim.lossless or same_pixels(restored, given)

    return check


def check_any_file(cls: SchemeClass, data: Path) -> None:
    files = [read_any(data / "dicom_zoo" / BROKEN), OpaqueFile(b"", "empty"), OpaqueFile(b"\0", "one byte")]
    files.append(OpaqueFile((data / "README_images.md").read_bytes(), "text"))
    for given in files:
        if cls.claim.any_file:
            protected = cls.for_evaluation().protect(given)
            restored = cls.for_evaluation().restore(protected.parts, protected.secret)
            assert restored.image.original == given.original
            assert restored.findings == ()
        else:
            with pytest.raises(MedveilError):
                cls.for_evaluation().protect(given)


def check_authenticated(cls: SchemeClass, data: Path) -> None:
    """No changed, cut or grown part is accepted silently, and no other pixels are given for exact ones."""
    if not cls.claim.authenticated:
        return
    scheme, given = cls.for_evaluation(), image(data, SMALL) if cls.claim.signed else sample(cls, data)
    protected = scheme.protect(given)
    for part in protected.parts:
        size = len(part.data)
        places = sorted({0, 4, size - 1, *range(7, size, max(1, size // 24))})
        candidates = [changed(part, at, bit=at % 8) for at in places]
        candidates += [Part(part.index, part.data[:cut]) for cut in (0, 1, size // 2, size - 1)]
        candidates.append(Part(part.index, part.data + b"\0"))
        for candidate in candidates:
            try:
                restored = scheme.restore(replaced(protected.parts, candidate), protected.secret)
            except (RefusedError, UnrecoverableError, InputError):
                continue
            assert any(f.part == part.index for f in restored.findings), "a changed part was accepted silently"
            assert not restored.exact or not cls.claim.lossless or same_pixels(restored, given)


def check_other_secret(cls: SchemeClass, data: Path) -> None:
    """The secret of another image opens nothing."""
    if not cls.claim.authenticated or cls.claim.one_way:
        return
    given = sample(cls, data)
    one, other = cls.for_evaluation().protect(given), cls.for_evaluation().protect(given)
    with pytest.raises(RefusedError):
        cls.for_evaluation().restore(one.parts, other.secret)


def check_localises(cls: SchemeClass, data: Path) -> None:
    """Damage in the middle of a part is shown in the picture, and not as the whole picture."""
    if not cls.claim.localises:
        return
    scheme, given = cls.for_evaluation(), sample(cls, data)
    assert cls.claim.tile is not None
    protected = scheme.protect(given)
    for part in protected.parts:
        damaged = tampered(part)
        restored = scheme.restore(replaced(protected.parts, damaged), protected.secret)
        drawn = restored.tamper_map
        assert drawn is not None
        assert drawn.touched.shape == given.pixels.shape[:3]
        assert drawn.touched.any(), "claims to localise, and shows nothing"
        assert drawn.touched.mean() <= 0.5, "claims to localise, and shows half of the picture for one bit"
        assert any(f.part == part.index for f in restored.findings)


def check_repairs(cls: SchemeClass, data: Path) -> None:
    """n - k parts may be damaged in any way."""
    if not cls.claim.repairs:
        return
    scheme, given = cls.for_evaluation(), sample(cls, data)
    protected = scheme.protect(given)
    k, n = cls.claim.threshold
    for broken in itertools.combinations(protected.parts, n - k):
        numbers = {part.index for part in broken}
        parts = [changed(p, len(p.data) // 3, bit=3) if p.index in numbers else p for p in protected.parts]
        restored = scheme.restore(parts, protected.secret)
        assert restored.exact
        assert same_pixels(restored, given), "claims to repair, and the pixels differ"
        assert {f.part for f in restored.findings if f.kind is not FindingKind.REPAIRED} == numbers


def check_threshold(cls: SchemeClass, data: Path) -> None:
    """Every k of the n parts restore exactly; no k - 1 do."""
    if cls.claim.one_way:
        return
    given = sample(cls, data)
    wanted = [cls.claim.threshold] + ([(2, 3), (3, 5), (2, 2)] if cls.claim.thresholds else [])
    for k, n in wanted:
        scheme = cls.for_evaluation(**({"threshold": (k, n)} if cls.claim.thresholds else {}))
        protected = scheme.protect(given)
        assert len(protected.parts) == n
        assert [part.index for part in protected.parts] == list(range(1, n + 1))
        for chosen in itertools.islice(itertools.combinations(protected.parts, k), 6):
            restored = scheme.restore(chosen[::-1], protected.secret)
            assert not cls.claim.lossless or same_pixels(restored, given)
            missing = {f.part for f in restored.findings if f.kind is FindingKind.MISSING}
            assert missing == set(range(1, n + 1)) - {part.index for part in chosen}
        if k > 1:
            with pytest.raises(UnrecoverableError):
                scheme.restore(protected.parts[: k - 1], protected.secret)
        with pytest.raises(UnrecoverableError):
            scheme.restore((), protected.secret)


def content(part: Part) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """The bytes of a part; of one that is a picture, its pixels, since a picture file's framing is never even."""
    if part.media_type.startswith("image/"):
        return np.frombuffer(np.ascontiguousarray(read(part.data).pixels).tobytes(), np.uint8)
    return np.frombuffer(part.data, np.uint8)


def check_private(cls: SchemeClass, data: Path) -> None:
    """k - 1 parts show nothing but size: no piece of the file, no uneven bytes, nothing twice."""
    if not cls.claim.private_below_threshold:
        return
    given = sample(cls, data)
    scheme = cls.for_evaluation()
    one, again = scheme.protect(given), scheme.protect(given)
    original = given.original or given.pixels.tobytes()
    pieces = {original[at : at + 16] for at in range(0, len(original) - 16, 997)} - {bytes(16)}
    pieces = {piece for piece in pieces if len(set(piece)) > 4}
    assert len(pieces) > 20
    for part, other in zip(one.parts, again.parts, strict=True):
        assert len(part.data) == len(other.data)
        assert not any(piece in part.data for piece in pieces), "a part holds a piece of the file in clear"
        size = len(content(part))
        middle = slice(3 * size // 10, 9 * size // 10)  # behind what stands in front, before what fills the end
        half = content(part)[middle]
        counts = np.bincount(half, minlength=256)
        if part.media_type.startswith("image/") and 2 <= np.count_nonzero(counts) <= 4:
            counts = counts[counts > 0]  # a picture of black and white noise: its few values are the alphabet
        levels = len(counts)
        expected = len(half) / levels
        chi = float(((counts - expected) ** 2 / expected).sum())
        bound = levels - 1 + 7 * np.sqrt(2 * (levels - 1))
        assert chi < bound, f"the bytes of part {part.index} are not uniform: chi square {chi:.0f}"
        same = half == content(other)[middle]
        assert same.mean() < 0.016 + 1 / levels, "two parts of one image protected twice are alike"


def check_roi(cls: SchemeClass, data: Path) -> None:
    """A region in the image is taken, one beyond it is refused."""
    if not cls.claim.roi:
        return
    given = sample(cls, data)
    protected = cls.for_evaluation().protect(given, roi=(Rectangle(100, 120, 190, 230),))
    restored = cls.for_evaluation().restore(protected.parts, protected.secret)
    assert not cls.claim.lossless or same_pixels(restored, given)
    with pytest.raises(InputError):
        cls.for_evaluation().protect(given, roi=(Rectangle(0, 0, given.rows + 1, given.columns),))


def check_one_way(cls: SchemeClass, data: Path) -> None:
    """Restoring is refused, sizes and depths are kept, and fresh randomness gives another cipher."""
    if not cls.claim.one_way:
        return
    given = sample(cls, data)
    protected = cls.for_evaluation().protect(given)
    assert cls.for_evaluation().verify(protected.parts, protected.secret) == ()
    with pytest.raises(UnsupportedError, match="one-way"):
        cls.for_evaluation().restore(protected.parts, protected.secret)
    with pytest.raises(MedveilError):
        cls.for_evaluation().verify([tampered(protected.parts[0])], protected.secret)
    tried = [given, *(i for depth in cls.claim.bit_depths for i in of_depth(data, depth))]
    tried += [image(data, COLOUR)] if cls.claim.colour else []
    for original in tried:
        if original.signed or original.frames > 1:
            continue
        one, other = (read(cls.for_evaluation().protect(original).parts[0].data).pixels for _ in range(2))
        assert one.dtype == original.pixels.dtype
        assert one.shape[3:] == original.pixels.shape[3:], "the number of channels changed"
        assert all(0 <= a - b < 32 for a, b in zip(one.shape[1:3], original.pixels.shape[1:3], strict=True))
        assert int(one.max()) < 1 << original.bits_stored, "samples have more bits than the original's"
        assert (one != other).mean() > 0.25, "two encryptions under fresh randomness are alike"


def check_learnable(cls: SchemeClass, data: Path) -> None:
    """A ridge regression tells two kinds of encrypted brain slices apart, well above chance, without restoring."""
    if not cls.claim.learnable:
        return
    options = {"key": bytes(range(32))} if getattr(cls, "data_set_key", False) else {}
    scheme = cls.for_evaluation(**options)
    features, truth = [], []
    for place in ("train", "test"):
        for sign, label in ((-1, "pituitary"), (1, "notumor")):
            for path in sorted((data / "brain_tumor_mri" / place / label).glob("*.jpg"))[
                : 80 if place == "train" else 40
            ]:
                plain = to_display(read(path))
                plain = plain if plain.ndim == 2 else plain[..., 1]
                small = plain[::2, ::2][:96, :96]
                given = MedicalImage(np.ascontiguousarray(small)[None], 8)
                seen = read(scheme.protect(given).parts[0].data).pixels[0].astype(np.float64).reshape(-1) / 255
                features.append(np.concatenate([seen, np.abs(2 * seen - 1)]))
                truth.append(sign)
    x, y = np.array(features), np.array(truth, np.float64)
    x -= x[:160].mean(axis=0)
    kernel = x[:160] @ x[:160].T
    weights = np.linalg.solve(kernel + kernel.trace() / 160 * np.eye(160), y[:160])
    right = np.sign(x[160:] @ (x[:160].T @ weights)) == y[160:]
    assert right.mean() > 0.7, f"claims learnable, and a model tells {right.mean():.2f} of two kinds apart"


def check_honesty(cls: SchemeClass, data: Path) -> None:
    """What a claim says of itself is consistent, and a scheme that is not secure says why."""
    claim = cls.claim
    k, n = claim.threshold
    assert 1 <= k <= n
    assert claim.secure or claim.notes, "a scheme that an attack breaks says which"
    assert not (claim.one_way and (claim.lossless or claim.repairs))
    assert not claim.localises or claim.tile
    assert not claim.repairs or n > k or claim.notes
    assert cls.__doc__
    assert cls.version >= 1


CHECKS: dict[str, Callable[[SchemeClass, Path], None]] = {
    "honesty": check_honesty,
    "lossless": check_lossless,
    "bit depths": check_bit_depths,
    "signed": _kind("signed", CT),
    "colour": _kind("colour", COLOUR),
    "multiframe": _kind("multiframe", MULTIFRAME),
    "floats": _kind("floats", FLOATS),
    "any file": check_any_file,
    "authenticated": check_authenticated,
    "other secret": check_other_secret,
    "localises": check_localises,
    "repairs": check_repairs,
    "threshold": check_threshold,
    "private": check_private,
    "roi": check_roi,
    "one way": check_one_way,
    "learnable": check_learnable,
}
