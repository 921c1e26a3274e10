"""The pieces below the scheme, each against a slow oracle: chaos, containers, histogram shift, copies, envelopes."""

from __future__ import annotations

import math
import os
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.schemes.roi_watermark.roi_images import cut, sample

from medveil.crypto.envelope import RecipientPrivateKey
from medveil.errors import InputError, MissingExtraError, UnsupportedError, WrongKeyError
from medveil.imaging import reader
from medveil.schemes import tamper_pictures
from medveil.schemes.base import Part, Secret
from medveil.schemes.roi_watermark import (
    RoiWatermark,
    chaos,
    chaos_kernels,
    container_kernels,
    copies,
    envelopes,
    float_maps,
    histogram_shift,
    keys,
    regions,
)
from medveil.schemes.roi_watermark.substitution import INVERSE_SBOX, SBOX


@settings(max_examples=8, deadline=None)
@given(st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=4), st.booleans())
def test_chaos_in_integers_arrays_and_compiled_agree(halves: list[bytes], chebyshev: bool) -> None:
    made = [chaos.MapKey.from_half(half) for half in halves]
    compiled = chaos_kernels.streams(made, 24, chebyshev=chebyshev)
    for i, key in enumerate(made):
        assert chaos.stream(key, 24, chebyshev=chebyshev) == compiled[i].tobytes()
    few = chaos.streams_numpy(made[:2], 24, chebyshev=chebyshev)
    assert np.array_equal(few, compiled[:2])


def test_sine_coefficients_are_those_of_the_series() -> None:
    for i, c in enumerate(chaos.SINE):
        assert math.isclose(
            c / 2**62, (math.pi / 2) ** (2 * i + 1) / math.factorial(2 * i + 1), rel_tol=4e-16, abs_tol=2**-62
        )


@pytest.mark.parametrize("x", [0.0, 0.1, 0.25, 0.4999, 0.5, 0.75, 0.999])
def test_maps_follow_their_equations(x: float) -> None:
    state = int(x * 2**64)
    for u in range(1, 9):
        sine = chaos.sine_step(state, 0, u, 8) / 2**64
        assert math.isclose(sine, (u * math.sin(math.pi * x) * 256) % 1, abs_tol=1e-9) or abs(sine - round(sine)) < 1e-9
        cheb = chaos.chebyshev_step(state, 0, u, 8) / 2**64
        wanted = (math.cos((u + 1) * math.acos(x)) * 256) % 1
        assert min(abs(cheb - wanted), 1 - abs(cheb - wanted)) < 1e-9


def test_paper_key_fields() -> None:
    """Equations 5 and 6 on the paper's example key 50192EC81EFD534E: bits 010 1000 000011001001 ..."""
    key = chaos.MapKey.from_half(bytes.fromhex("50192EC81EFD534E"))
    assert (key.u, key.k, key.skipped) == (2, 8, 201 + 1000)
    x0 = 0x50192EC81EFD534E & ((1 << 45) - 1)
    assert key.state == (x0 << 64) // 10**14
    loose = float_maps.FloatKey.from_half(bytes.fromhex("50192EC81EFD534E"))
    assert loose == float_maps.FloatKey(2.0, 8, 1201, x0 * 1e-14)


def test_float_maps_go_constant_on_odd_u() -> None:
    """The example key A00D77FCDF143369 (u = 5) of the paper ends on a fixed point."""
    key = float_maps.FloatKey.from_half(bytes.fromhex("A00D77FCDF143369"))
    assert key.u == 5
    stream = float_maps.stream(key, 512 * 512, chebyshev=True)
    assert len(set(stream[-1000:].tolist())) <= 4
    exact = chaos_kernels.streams([chaos.MapKey.from_half(bytes.fromhex("A00D77FCDF143369"))], 4096, chebyshev=True)
    assert len(set(exact[0, -1000:].tolist())) > 200


def test_s_box() -> None:
    assert SBOX[:4].tolist() == [99, 124, 119, 123]  # Table 1 of the paper
    assert SBOX[0x9A] == 184
    assert np.array_equal(INVERSE_SBOX[SBOX], np.arange(256))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 15)), st.data()
)
def test_histogram_shift_is_always_reversible(
    plane: np.ndarray[tuple[int, int], np.dtype[np.uint8]], data: st.DataObject
) -> None:
    bits = data.draw(st.integers(0, plane.size))
    payload = np.frombuffer(os.urandom(bits), np.uint8) & 1
    mask = histogram_shift.choose_peaks(plane, bits)
    for high in (True, False):
        held = histogram_shift.embed(plane, payload, mask, high=high)
        back, read, invalid = histogram_shift.extract(held, mask, bits, high=high)
        assert np.array_equal(back, plane)
        assert np.array_equal(read, payload)
        assert not invalid.any()
        assert high or held.max(initial=0) <= 31


def test_histogram_peaks_are_the_fewest() -> None:
    plane = np.repeat(np.arange(4, dtype=np.uint8), [50, 30, 15, 5]).reshape(10, 10)
    assert histogram_shift.choose_peaks(plane, 50) == 0b0001
    assert histogram_shift.choose_peaks(plane, 51) == 0b0011
    assert histogram_shift.choose_peaks(plane, 100) == 0b1111
    with pytest.raises(InputError):
        histogram_shift.choose_peaks(plane, 101)


@pytest.mark.parametrize("name", ["us-breast-malignant.png", "ct-thorax.dcm"])
def test_containers_against_plain_python(name: str) -> None:
    image = cut(name, slice(60, 92), slice(60, 92))
    planes = regions.to_planes(image.pixels)
    half = 4 * planes.dtype.itemsize
    blocks, count, size = regions.to_blocks(planes), 4, copies.field_size(4 * planes.dtype.itemsize)
    tags = np.frombuffer(os.urandom(16 * count), np.uint8).reshape(count, 16)
    fields = np.frombuffer(os.urandom(2 * count * size), np.uint8).reshape(2, count, size)
    mask = (np.arange(count * 256).reshape(count, 256) % 3) == 0
    high, low = np.empty_like(blocks), np.empty_like(blocks)
    container_kernels.form(blocks, mask, tags, fields[0], fields[1], SBOX, half, high, low)
    for n in range(count):
        streams = [int.from_bytes(fields[s, n].tobytes(), "little") for s in (0, 1)]
        tag = int.from_bytes(tags[n].tobytes(), "little")
        for p in range(256):
            v = int(blocks[n, p])
            if mask[n, p]:
                v = int.from_bytes(bytes(int(SBOX[b]) for b in v.to_bytes(half // 4, "little")), "little")
            b = tag >> p & 1 if p < 128 else 0
            r = [s >> (half - 1) * p & ((1 << half - 1) - 1) for s in streams]
            assert high[n, p] == (v >> half << half | r[0] << 1 | b)
            assert low[n, p] == (r[1] << half + 1 | (v & (1 << half) - 1) << 1 | b)
    pixels, back = np.empty_like(blocks), np.zeros_like(fields)
    found, zeros = np.zeros((2, count, 16), np.uint8), np.zeros(count, np.bool_)
    container_kernels.part(high, low, mask, INVERSE_SBOX, half, pixels, found[0], found[1], back[0], back[1], zeros)
    assert np.array_equal(pixels, blocks)
    assert np.array_equal(back, fields)
    assert np.array_equal(found, [tags, tags])
    assert zeros.all()


@pytest.mark.parametrize("name", ["us-breast-malignant.png", "ct-thorax.dcm", "xray-chest-1024.png"])
def test_copies_survive_lost_carriers(name: str) -> None:
    image = sample(name)
    blocks = regions.to_blocks(regions.pad_planes(regions.to_planes(image.pixels[:, :256, :256])))
    half = 4 * blocks.dtype.itemsize
    in_roi = np.zeros(blocks.shape[0], np.bool_)
    in_roi[30:150] = True
    placement, fields = copies.lay(blocks, in_roi, half, signed=image.signed)
    chosen = placement.copied(in_roi)
    assert not fields[:, :, : copies.TAG].any()
    rng = np.random.default_rng(2)
    for kept in (1.0, 0.9, 0.5):
        intact = rng.random(fields.shape[:2]) < kept
        noisy = np.where(intact[:, :, None], fields, rng.integers(0, 256, fields.shape, dtype=np.uint8))
        reader_ = copies.CopyReader(placement, noisy, intact, chosen, half, signed=image.signed)
        found = 0
        for block in map(int, chosen):
            copy = reader_.copy_of(block)
            if copy is None:
                continue
            found += 1
            error = np.abs(
                copy.pixels.view(f"i{half // 4}").astype(int) - blocks[block].view(f"i{half // 4}").astype(int)
            )
            assert error.max() < 1 << copy.dropped or not image.signed
            if copy.dropped == 0:
                assert np.array_equal(copy.pixels, blocks[block])
        assert found == chosen.size if kept == 1.0 else found < chosen.size or placement.mode == copies.DOUBLE
    assert reader_.copy_of(10**6) is None


def test_copies_lie_far_from_their_blocks() -> None:
    blocks = regions.to_blocks(regions.to_planes(sample("ct-thorax.dcm").pixels))
    placement, fields = copies.lay(blocks, np.ones(1024, np.bool_), 8, signed=True)
    chosen = placement.copied(np.ones(1024, np.bool_))
    rows = np.arange(1024) // 32
    for block in range(0, 1024, 37):  # lose a band of 5 block rows around the block, in both shares
        intact = np.repeat((np.abs(rows - rows[block]) > 2)[None], 2, axis=0)
        found = copies.CopyReader(placement, fields, intact, chosen, 8, signed=True).copy_of(block)
        assert found is not None
        assert np.array_equal(found.pixels, blocks[block])


def test_row_macs_are_hmacs() -> None:
    import hashlib
    import hmac

    rows = np.arange(2 * 256, dtype=np.uint16).reshape(2, 256)
    made = keys.row_macs(b"k" * 32, b"prefix", rows)
    for i in range(2):
        message = b"prefix" + i.to_bytes(8, "little") + rows[i].astype("<u2").tobytes()
        assert made[i].tobytes() == hmac.digest(b"k" * 32, message, hashlib.sha256)[:16]


def test_envelope_opens_for_its_recipient_and_study_only() -> None:
    mine, other = RecipientPrivateKey.generate(), RecipientPrivateKey.generate()
    secret = RoiWatermark().protect(cut("us-breast-benign.png", slice(0, 32), slice(0, 32))).secret
    sealed = envelopes.seal_secret(secret, mine.public, study_uid="1.2.3", recipient_name="reader")
    opened = envelopes.open_secret(sealed, mine, study_uid="1.2.3", recipient_name="reader")
    assert opened.data == secret.data
    for key, study, name in ((other, "1.2.3", "reader"), (mine, "1.2.4", "reader"), (mine, "1.2.3", "other")):
        with pytest.raises(WrongKeyError):
            envelopes.open_secret(sealed, key, study_uid=study, recipient_name=name)
    with pytest.raises(WrongKeyError):
        envelopes.open_secret(sealed[:-1] + b"\x00", mine, study_uid="1.2.3", recipient_name="reader")
    with pytest.raises(InputError):
        envelopes.seal_secret(Secret("sealed", b""), mine.public, study_uid="1", recipient_name="x")
    with pytest.raises(InputError):
        envelopes.seal_secret(secret, mine.public, study_uid="", recipient_name="x")


def tampered_ct() -> tuple[RoiWatermark, list[Part | bytes], Secret]:
    scheme = RoiWatermark(carrier="bytes")
    protected = scheme.protect(sample("ct-thorax.dcm"))
    data = bytearray(protected.parts[0].data)
    data[128 + 2 * (100 * 512 + 200)] ^= 1
    return scheme, [Part(1, bytes(data)), protected.parts[1]], protected.secret


def test_overlay_outlines_the_block() -> None:
    scheme, parts, secret = tampered_ct()
    restored = scheme.restore(parts, secret)
    picture = reader.read(tamper_pictures.overlay_png(restored)).pixels[0]
    assert picture.shape == (512, 512, 3)
    assert (picture[96, 192:208] == (255, 176, 0)).all()
    assert (picture[111, 192:208] == (255, 176, 0)).all()
    coloured = (picture[..., 0] != picture[..., 2]).sum()
    assert coloured == 60  # the border of one 16x16 block
    with pytest.raises(InputError):
        tamper_pictures.overlay(restored, 1)


def test_segmentation_marks_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("highdicom")
    import io

    import pydicom

    scheme, parts, secret = tampered_ct()
    restored = scheme.restore(parts, secret)
    made = pydicom.dcmread(io.BytesIO(tamper_pictures.segmentation(restored)))
    source = pydicom.dcmread(io.BytesIO(sample("ct-thorax.dcm").original or b""))
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"
    assert made.StudyInstanceUID == source.StudyInstanceUID
    marked = made.pixel_array.reshape(512, 512)
    assert marked.sum() == 256
    assert marked[96:112, 192:208].all()
    clean = scheme.protect(sample("ct-thorax.dcm"))
    with pytest.raises(UnsupportedError):
        tamper_pictures.segmentation(scheme.restore(clean.parts, clean.secret))
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingExtraError):
        tamper_pictures.segmentation(restored)
