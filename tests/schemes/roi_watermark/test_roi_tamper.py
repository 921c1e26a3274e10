"""Every changed byte is seen, in the right share and block; what copies allow is repaired, the rest is blank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemes.roi_watermark.roi_images import cut, sample

from medveil.errors import NotAuthenticError, TamperedError
from medveil.imaging.image import MedicalImage
from medveil.imaging.roi import Rectangle
from medveil.schemes.base import FindingKind, Part, Protected, Restored
from medveil.schemes.roi_watermark import RoiWatermark, copies
from medveil.schemes.roi_watermark.secret import ImageSecret
from medveil.schemes.roi_watermark.share import HEADER_SIZE

ULTRASOUND = cut("us-breast-benign.png", slice(40, 140), slice(20, 150))
CT = cut("ct-thorax.dcm", slice(150, 262), slice(150, 262))
COLOUR = cut("us-doppler-8-frames.dcm", slice(80, 144), slice(100, 180))
SCHEME = RoiWatermark(carrier="bytes")


def body_size(protected: Protected) -> int:
    record = ImageSecret.unpack(protected.secret.data).header.record_size
    return len(protected.parts[0].data) - HEADER_SIZE - record


def block_of(image: MedicalImage, offset: int) -> int:
    rows, columns = (-(-n // 16) * 16 for n in image.pixels.shape[1:3])
    word = offset // image.pixels.dtype.itemsize
    plane, inside = divmod(word, rows * columns)
    return plane * rows * columns // 256 + inside // columns // 16 * (columns // 16) + inside % columns // 16


def changed(protected: Protected, share: int, offset: int, by: int) -> list[Part]:
    data = bytearray(protected.parts[share].data)
    data[offset] ^= by
    parts = list(protected.parts)
    parts[share] = Part(share + 1, bytes(data))
    return parts


def named_blocks(restored: Restored) -> set[int]:
    return {f.chunk for f in restored.findings if f.chunk is not None}


@pytest.mark.parametrize("image", [ULTRASOUND, CT, COLOUR], ids=["8 bit", "16 bit", "colour"])
def test_one_byte_is_found_in_its_block_and_share(image: MedicalImage) -> None:
    protected = SCHEME.protect(image, roi=(Rectangle(10, 10, 50, 60),))
    end = body_size(protected)
    rng = np.random.default_rng(3)
    for _ in range(60):
        share, offset, by = int(rng.integers(2)), int(rng.integers(end)), int(rng.integers(1, 256))
        restored = SCHEME.restore(changed(protected, share, HEADER_SIZE + offset, by), protected.secret)
        block = block_of(image, offset)
        assert named_blocks(restored) == {block}
        (found,) = [f for f in restored.findings if f.chunk is not None]
        assert found.part == share + 1
        assert [f.part for f in restored.findings if f.kind is FindingKind.TAMPER] == [share + 1]
        assert restored.tamper_map is not None
        assert not restored.tamper_map.clean
        assert 0 < restored.tamper_map.touched.sum() <= 256


@pytest.mark.parametrize("image", [ULTRASOUND, CT], ids=["8 bit", "16 bit"])
def test_what_is_handed_out_is_right_or_blank_or_marked(image: MedicalImage) -> None:
    """The invariant, under damage of any extent in both shares."""
    protected = SCHEME.protect(image)
    end = body_size(protected)
    rng = np.random.default_rng(5)
    for extent in (1, 10, 40, 20_000):
        parts = []
        for share in (0, 1):
            data = np.frombuffer(protected.parts[share].data, np.uint8).copy()
            data[HEADER_SIZE + rng.integers(0, end, extent)] ^= rng.integers(1, 256, extent, dtype=np.uint8)
            parts.append(Part(share + 1, data.tobytes()))
        try:
            restored = SCHEME.restore(parts, protected.secret)
        except TamperedError:
            assert extent == 20_000
            continue
        assert isinstance(restored.image, MedicalImage)
        assert restored.tamper_map is not None
        wrong = restored.image.pixels != image.pixels
        assert not wrong[~restored.tamper_map.lost].any()
        assert restored.exact == (not restored.tamper_map.lost.any())


def test_a_region_wiped_in_one_share_is_repaired_exactly() -> None:
    image = sample("ct-thorax.dcm")
    protected = SCHEME.protect(image)
    assert ImageSecret.unpack(protected.secret.data).placement.mode == copies.DOUBLE
    for share in (0, 1):
        grid = np.frombuffer(protected.parts[share].data, np.uint8).copy()
        rows = grid[HEADER_SIZE : HEADER_SIZE + body_size(protected)].view("<u2").reshape(512, 512)
        rows[100:300, 50:400] = 0
        parts = list(protected.parts)
        parts[share] = Part(share + 1, grid.tobytes())
        restored = SCHEME.restore(parts, protected.secret)
        assert isinstance(restored.image, MedicalImage)
        assert np.array_equal(restored.image.pixels, image.pixels)
        assert restored.image.original == image.original
        assert restored.exact
        assert restored.tamper_map is not None
        assert restored.tamper_map.touched[0, 112:288, 64:400].all()


def test_an_entire_share_of_noise_is_repaired_where_copies_are_double() -> None:
    image = sample("ct-thorax.dcm")
    protected = SCHEME.protect(image)
    data = np.frombuffer(protected.parts[1].data, np.uint8).copy()
    data[HEADER_SIZE : HEADER_SIZE + body_size(protected)] ^= 0x5A
    restored = SCHEME.restore([protected.parts[0], Part(2, data.tobytes())], protected.secret)
    assert isinstance(restored.image, MedicalImage)
    assert np.array_equal(restored.image.pixels, image.pixels)


def test_a_lossy_copy_is_close_and_marked() -> None:
    image = cut("us-breast-malignant.png", slice(64, 128), slice(0, 64))
    protected = SCHEME.protect(image)
    kinds = set()
    for offset in range(0, 4096, 24):
        restored = SCHEME.restore(changed(protected, 0, HEADER_SIZE + offset, 0xFF), protected.secret)
        assert isinstance(restored.image, MedicalImage)
        assert restored.tamper_map is not None
        (kind,) = {f.kind for f in restored.findings if f.chunk is not None}
        kinds.add(kind)
        error = np.abs(restored.image.pixels.astype(int) - image.pixels)
        assert error.max() <= (4 if kind is FindingKind.APPROXIMATE else 0)
        assert restored.tamper_map.lost.any() == (kind is FindingKind.APPROXIMATE)
    assert FindingKind.APPROXIMATE in kinds


def test_split_shares_locate_too() -> None:
    scheme = RoiWatermark(carrier="bytes", split=True)
    protected = scheme.protect(CT)
    for share in (0, 1):
        restored = scheme.restore(changed(protected, share, HEADER_SIZE + 4000, 1), protected.secret)
        assert named_blocks(restored) == {block_of(CT, 4000)}
        assert [f.part for f in restored.findings if f.kind is FindingKind.TAMPER] == [share + 1]
    half = len(protected.parts[0].data) // 2 + 3000
    assert scheme.restore(changed(protected, 1, half, 9), protected.secret).findings


def test_a_part_of_a_split_pair_alone_is_uniform() -> None:
    counts = np.zeros(256)
    for _ in range(4):
        protected = RoiWatermark(carrier="bytes", split=True).protect(sample("ct-thorax.dcm"))
        for part in protected.parts:
            counts += np.bincount(np.frombuffer(part.data, np.uint8)[HEADER_SIZE:], minlength=256)
    expected = counts.sum() / 256
    assert ((counts - expected) ** 2 / expected).sum() < 350  # 255 degrees of freedom: p = 0.0001


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_mutation_of_a_part_is_silent(data: st.DataObject) -> None:
    carrier = data.draw(st.sampled_from(["bytes", "png"]))
    scheme = RoiWatermark(carrier=carrier)
    protected = scheme.protect(ULTRASOUND)
    share = data.draw(st.integers(0, 1))
    original = protected.parts[share].data
    at = data.draw(st.integers(0, len(original) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "insert", "delete"])):
        case "flip":
            mutated = original[:at] + bytes([original[at] ^ data.draw(st.integers(1, 255))]) + original[at + 1 :]
        case "cut":
            mutated = original[:at]
        case "insert":
            mutated = original[:at] + b"\x00" + original[at:]
        case _:
            mutated = original[:at] + original[at + 1 :]
    if mutated == original:
        return
    parts = list(protected.parts)
    parts[share] = Part(share + 1, mutated)
    try:
        restored = scheme.restore(parts, protected.secret)
    except NotAuthenticError:
        return
    assert restored.findings
    assert isinstance(restored.image, MedicalImage)
    assert restored.tamper_map is not None
    assert not (restored.image.pixels != ULTRASOUND.pixels)[~restored.tamper_map.lost].any()
