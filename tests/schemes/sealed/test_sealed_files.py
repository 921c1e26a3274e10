"""Real files, all of them: lose a part, let another be tampered with, and get every byte back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.schemes.sealed.material import OWNER, flip

from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.raster import decode
from medveil.imaging.reader import read_any
from medveil.schemes.base import FindingKind, Part
from medveil.schemes.sealed import Sealed
from medveil.schemes.sealed.format import SHARE_MAGIC

PICTURES = ("brain_tumor_mri", "breast_ultrasound_busi", "chest_xray_covid_cc", "chest_xray_nih")


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(p for p in folder.rglob("*") if p.is_file())


def _lose_one_tamper_another(given: MedicalImage | OpaqueFile, turn: int) -> None:
    """Protect 2 of 4, lose one part, flip a bit in the middle of another's share, restore."""
    scheme = Sealed(owner=OWNER)
    protected = scheme.protect(given)
    lost, hit = turn % 4, (turn + 1 + turn // 4 % 3) % 4
    data = protected.parts[hit].data
    start = data.find(SHARE_MAGIC) + 49
    leaf_list = 2 * 32  # at least
    at = start + (turn * 7919) % max(1, len(data) - start - leaf_list)
    tampered = Part(hit + 1, flip(data, at, bit=turn % 8))
    parts = [tampered if part.index == hit + 1 else part for part in protected.parts if part.index != lost + 1]
    restored = scheme.restore(parts, protected.secret)
    assert restored.image.original == given.original
    blamed = {(f.kind, f.part) for f in restored.findings}
    assert blamed == {(FindingKind.MISSING, lost + 1), (FindingKind.TAMPER, hit + 1)}
    if isinstance(given, MedicalImage):
        assert restored.tamper_map is not None
        assert restored.tamper_map.touched.shape == given.pixels.shape[:3]
        assert not restored.tamper_map.lost.any()
        found = restored.image
        assert isinstance(found, MedicalImage)
        assert np.array_equal(found.pixels, given.pixels, equal_nan=given.pixels.dtype.kind == "f")
        _right_tiles(scheme, given, protected.parts, protected.secret, hit, turn)


def _right_tiles(
    scheme: Sealed, given: MedicalImage, parts: tuple[Part, ...], secret: object, hit: int, turn: int
) -> None:
    """A changed pixel of the image itself is shown as its tile, and no other, with any two parts."""
    if given.pixels.dtype.kind == "f" or turn % 4:
        return
    pixels = given.pixels.copy()
    frame, row, column = turn % given.frames, turn * 31 % given.rows, turn * 17 % given.columns
    pixels[frame, row, column] ^= 1
    changed = MedicalImage(pixels, given.bits_stored, given.photometric)
    drawn = scheme.compare(changed, parts[:2], secret).tamper_map  # type: ignore[arg-type]
    assert drawn is not None
    expected = np.zeros_like(drawn.touched)
    top, left = row // 64 * 64, column // 64 * 64
    expected[frame, top : top + 64, left : left + 64] = True
    assert np.array_equal(drawn.touched, expected)


@pytest.mark.parametrize("which", range(4))
def test_every_dicom_file(which: int, shared_data: Path) -> None:
    files = list(_files(shared_data / "dicom_zoo"))
    assert len(files) > 250
    for turn, path in enumerate(files):
        if turn % 4 == which:
            _lose_one_tamper_another(read_any(path), turn)


def test_every_nifti_file(shared_data: Path) -> None:
    for turn, path in enumerate(_files(shared_data / "nifti")):
        _lose_one_tamper_another(read_any(path), turn)


@pytest.mark.parametrize("name", PICTURES)
def test_fifty_of_each_picture_set(name: str, shared_data: Path) -> None:
    pictures = [p for p in _files(shared_data / name) if p.suffix in (".jpg", ".jpeg", ".png")]
    assert len(pictures) >= (14 if name == "chest_xray_covid_cc" else 50)  # that set has no more
    for turn, path in enumerate(pictures[:: -(-len(pictures) // 60)][:50]):
        _lose_one_tamper_another(read_any(path), turn)


def test_fifty_pictures_of_an_array_file(shared_data: Path) -> None:
    """PneumoniaMNIST comes as arrays: images without a file."""
    with np.load(shared_data / "chest_xray_pneumoniamnist/test.npz") as arrays:
        pictures = next(arrays[name] for name in arrays.files if arrays[name].ndim == 3)
    scheme = Sealed(owner=OWNER)
    for turn in range(50):
        given = MedicalImage(np.ascontiguousarray(pictures[turn][None]), 8)
        protected = scheme.protect(given)
        restored = scheme.restore(protected.parts[turn % 3 : turn % 3 + 2], protected.secret)
        assert isinstance(restored.image, MedicalImage)
        assert np.array_equal(restored.image.pixels, given.pixels)


def test_a_picture_keeps_its_facts(shared_data: Path) -> None:
    path = next(_files(shared_data / "dicom_zoo/dcm_qa_ts"))
    given = read_any(path)
    assert isinstance(given, MedicalImage)
    protected = Sealed().protect(given)
    restored = Sealed().restore(protected.parts, protected.secret).image
    assert isinstance(restored, MedicalImage)
    for fact in ("bits_stored", "photometric", "spacing", "media_type", "name", "pixel_span", "details"):
        assert getattr(restored, fact) == getattr(given, fact), fact
    bare = MedicalImage(given.pixels, given.bits_stored, given.photometric, given.spacing, name="bare")
    protected = Sealed().protect(bare)
    again = Sealed().restore(protected.parts, protected.secret).image
    assert isinstance(again, MedicalImage)
    assert (again.bits_stored, again.spacing, again.name, again.original) == (12, given.spacing, "bare", None)


def test_jpeg_pictures_keep_their_bytes(shared_data: Path) -> None:
    path = next(p for p in _files(shared_data / "brain_tumor_mri") if p.suffix == ".jpg")
    data = path.read_bytes()
    given = decode(data, name=path.name)
    protected = Sealed((2, 2)).protect(given)
    stored = sum(len(part.data) for part in protected.parts)
    assert stored < 1.13 * len(data) + 2 * 9000  # Padmé, and two records with their signatures
