"""Parts and secrets of the deep schemes, and what each refuses. Claims are the conformance suite's matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.schemes.deep.deep_images import as_image, xrays

from medveil.crypto import canonical
from medveil.crypto.hashing import tagged
from medveil.crypto.keyfile import OwnerKey
from medveil.errors import (
    FormatError,
    InputError,
    RefusedError,
    TamperedError,
    UnrecoverableError,
    UnsupportedError,
    UsageError,
    WrongKeyError,
)
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.reader import read
from medveil.imaging.roi import Rectangle
from medveil.schemes import registry
from medveil.schemes.base import Secret
from medveil.schemes.deep import keyfile, samples
from medveil.schemes.deep.invertible import Invertible, to_planes
from medveil.schemes.deep.key import DeepKey


@pytest.fixture(scope="module")
def picture(shared_data: Path) -> np.ndarray:
    return xrays(shared_data)[0]


def test_nobody_is_protected_by_a_public_key_without_asking(picture: np.ndarray) -> None:
    with pytest.raises(UsageError, match="medveil deep train --method invertible"):
        Invertible().protect(as_image(picture))
    owner = OwnerKey.generate()
    with pytest.raises(UsageError, match="public and protects nothing"):
        Invertible(trained_key=samples.NAME).for_owner(owner)
    with pytest.raises(UsageError, match="needs a key that you trained"):
        Invertible().for_owner(owner)


def test_an_owners_key_protects_and_the_secret_alone_restores(picture: np.ndarray, tmp_path: Path) -> None:
    owner = OwnerKey.generate()
    path = tmp_path / "k"
    keyfile.save(path, samples.load("invertible"), owner)
    for scheme in (Invertible(trained_key=path).for_owner(owner), Invertible(trained_key=str(path), owner=owner)):
        protected = scheme.protect(as_image(picture), roi=(Rectangle(0, 0, 8, 8),))
        restored = registry.restore(protected.parts, protected.secret)
        assert np.array_equal(restored.image.pixels[0], picture)  # type: ignore[union-attr]
        assert restored.exact


def test_a_key_of_another_method_is_refused() -> None:
    other = DeepKey("backprop", {"size": 64, "block": 8, "codes": 32}, {})
    with pytest.raises(WrongKeyError, match="method backprop where"):
        Invertible(trained_key=other)


def test_equal_images_have_equal_ciphertexts_which_is_its_weakness(picture: np.ndarray) -> None:
    scheme = Invertible.for_evaluation()
    one, other = (scheme.protect(as_image(picture)) for _ in range(2))
    assert one.parts[0].data[:4096] == other.parts[0].data[:4096]
    assert one.parts[0].data != other.parts[0].data
    with pytest.raises(WrongKeyError):
        scheme.restore(one.parts, other.secret)


def test_equal_frames_and_equal_planes_show(shared_data: Path) -> None:
    """The corner of a real 16-bit volume, whose high bytes repeat, and of an RGB image that is grey there."""
    zoo = shared_data / "dicom_zoo"
    for name in ("pydicom_older_tests/emri_small.dcm", "pydicom/examples_rgb_color.dcm"):
        whole = read(zoo / name)
        image = MedicalImage(whole.pixels[:, :24, :24], whole.bits_stored, whole.photometric)
        planes = to_planes(image.pixels)
        part = Invertible.for_evaluation().protect(image).parts[0].data
        ciphers = np.frombuffer(part[: planes.size], np.uint8).reshape(planes.shape)
        groups = {plane.tobytes() for plane in planes}
        assert len(groups) < 0.8 * len(planes)
        assert len({cipher.tobytes() for cipher in ciphers}) == len(groups)


def test_parts_that_are_not_the_owners_are_refused(picture: np.ndarray) -> None:
    scheme = Invertible.for_evaluation()
    protected = scheme.protect(as_image(picture))
    part = protected.parts[0].data
    with pytest.raises(UnrecoverableError):
        scheme.verify(())
    with pytest.raises(InputError, match="2 parts"):
        scheme.restore((part, part), protected.secret)
    with pytest.raises(FormatError):
        scheme.verify((part[:-5] + b"GIF89",))
    for cut in (b"", part[-5:], part[-9:], part[-40:]):
        with pytest.raises(FormatError):
            scheme.verify((cut,))
    with pytest.raises(TamperedError):
        scheme.verify((part[1:],))
    # somebody who recomputes the unkeyed digest passes without the owner's secret and fails with it
    length = int.from_bytes(part[-9:-5], "big")
    record = canonical.decode(part[-9 - length : -9])
    forged = bytearray(part[: -9 - length])
    forged[7] ^= 4
    other = canonical.encode(record | {"digest": tagged("deep codes", bytes(forged))})
    whole = bytes(forged) + other + len(other).to_bytes(4, "big") + part[-5:]
    assert scheme.verify((whole,)) == ()
    with pytest.raises(TamperedError):
        scheme.restore((whole,), protected.secret)


def test_secrets_of_other_forms_are_refused(picture: np.ndarray) -> None:
    scheme = Invertible.for_evaluation()
    protected = scheme.protect(as_image(picture))
    record = canonical.decode(protected.secret.data, limit=1 << 24)
    with pytest.raises(WrongKeyError):
        scheme.restore(protected.parts, Secret("sealed", protected.secret.data))
    changes = {
        "shape": ([1, 64], [1, 64, 68]),
        "dtype": ("|O",),
        "photometric": ("PINK",),
        "spacing": (["nan", "1", "1"],),
        "bits": (99,),
        "codes": ([1, 64, 65], [-1]),
        "grid": ([1],),
        "v": (2,),
        "key": (b"",),
        "loss": ("a lot",),
    }
    for change in [{name: value} for name, values in changes.items() for value in values]:
        bad = Secret(scheme.name, canonical.encode(record | change))
        with pytest.raises(RefusedError):
            scheme.restore(protected.parts, bad)


def test_bad_options_and_inputs(picture: np.ndarray) -> None:
    with pytest.raises(UsageError, match="fit"):
        Invertible(fit="shrink")
    with pytest.raises(UnsupportedError, match="sealed"):
        Invertible.for_evaluation().protect(OpaqueFile(b"text", "text"))
    with pytest.raises(InputError):
        Invertible.for_evaluation().protect(as_image(picture), roi=(Rectangle(0, 0, 65, 64),))
