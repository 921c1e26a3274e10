"""The lossy methods with their sample keys: the batch changes nothing; other sizes and depths are refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.schemes.deep.deep_images import as_image, xrays

from medveil.errors import UnsupportedError, UsageError
from medveil.metrics.image_quality import psnr
from medveil.schemes import registry
from medveil.schemes.base import FindingKind
from medveil.schemes.deep import layout, preview, samples
from medveil.schemes.deep.codec import Codec
from medveil.schemes.deep.container import Grid
from medveil.schemes.deep.cyclegan import CycleGAN
from medveil.schemes.deep.integer_flow import IntegerFlow
from medveil.schemes.deep.roi_targets import dice, lung_fields
from medveil.schemes.deep.scheme import DeepScheme

LOSSY = ("backprop", "scramble_aae", "cyclegan")


def scheme_of(method: str, **options: object) -> DeepScheme:
    return registry.load(f"deep-{method.replace('_', '-')}").for_evaluation(**options)  # type: ignore[return-value]


@pytest.mark.parametrize("method", LOSSY)
def test_the_batch_changes_no_byte(method: str, shared_data: Path) -> None:
    shown = xrays(shared_data)[:32]
    codec = Codec(samples.load(method))
    codes = codec.encode(shown)
    back = codec.decode(codes)
    for batch in (1, 5, 16):
        few = 10 if batch == 1 else 32
        assert np.array_equal(codec.encode(shown[:few], batch=batch), codes[:few])
        assert np.array_equal(codec.decode(codes[:few], batch=batch), back[:few])


def test_two_threads_change_no_byte(shared_data: Path, tmp_path: Path) -> None:
    """A process with two threads of BLAS and of torch gives the bytes that this one, which has one, gives."""
    np.save(tmp_path / "plain.npy", xrays(shared_data)[:4])
    two = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    code = (
        "import sys, torch; torch.set_num_threads(2); sys.path.insert(0, sys.argv[1])\n"
        "from tests.schemes.deep.test_lossy_schemes import digests; print(digests(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).resolve().parents[3]), str(tmp_path / "plain.npy")]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **two}).stdout
    assert said.strip() == str(digests(tmp_path / "plain.npy"))


def digests(plain: str | Path) -> list[str]:
    """Hashes of what every method encodes and decodes, with batches of three."""
    shown = np.load(plain)
    out = []
    for method in LOSSY:
        codec = Codec(samples.load(method))
        codes = codec.encode(shown, batch=3)
        out += [hashlib.sha256(v.tobytes()).hexdigest() for v in (codes, codec.decode(codes, batch=3))]
    for precision in ("float32", "float64", "torch"):
        flow = IntegerFlow(samples.load("invertible"), precision=precision)  # type: ignore[arg-type]
        out.append(hashlib.sha256(flow.encrypt(shown).tobytes()).hexdigest())
    assert out[-1] == out[-2] == out[-3]
    return out


@pytest.mark.parametrize("method", LOSSY)
def test_the_claim_names_the_measured_loss(method: str, shared_data: Path) -> None:
    """A held-out picture comes back about as badly as the claim says, and the finding says how badly."""
    scheme = scheme_of(method)
    measured = samples.load(method).measured
    assert f"PSNR {measured['psnr']:.1f} dB" in scheme.claim.notes
    found = []
    for picture in xrays(shared_data)[:6]:
        protected = scheme.protect(as_image(picture))
        restored = registry.restore(protected.parts, protected.secret)
        assert not restored.exact
        assert [f.kind for f in restored.findings] == [FindingKind.APPROXIMATE]
        back = restored.image.pixels[0]  # type: ignore[union-attr]
        found.append(psnr(picture, back))
        assert f"{found[-1]:.1f} dB" in restored.findings[0].message
        assert protected.findings == restored.findings
    assert np.mean(found) == pytest.approx(measured["psnr"], abs=4)


@pytest.mark.parametrize("method", LOSSY)
def test_another_size_or_depth_is_refused(method: str, shared_data: Path) -> None:
    strict = scheme_of(method, fit="refuse")
    picture = xrays(shared_data)[0]
    wide = np.tile(picture, (1, 2))
    with pytest.raises(UnsupportedError, match=r"64 x 64 pixels and the image has 64 x 128.*fit=tiles"):
        strict.protect(as_image(wide))
    for other in (picture.astype(np.uint16), picture.astype(np.int8), np.stack([picture] * 3, -1)[None]):
        with pytest.raises(UnsupportedError, match="8 bits"):
            strict.protect(as_image(other))
    odd = wide[:61, :100]
    tiled = scheme_of(method).protect(as_image(odd))
    assert registry.restore(tiled.parts, tiled.secret).image.pixels.shape == (1, 61, 100)  # type: ignore[union-attr]


@pytest.mark.parametrize("shape", [(3, 1, 64, 64), (3, 32, 8, 8), (2, 16, 8, 8), (1, 64, 8, 8)])
def test_codes_lie_where_their_blocks_lie(shape: tuple[int, ...]) -> None:
    codes = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    tiles = layout.code_tiles(codes, 64)
    assert tiles.shape[2] == 64
    assert tiles.size == codes.size
    if shape[1] > 1:
        high = shape[1] // 8
        assert set(tiles[0, high : 2 * high, 16:24].reshape(-1)) == set(codes[0, :, 1, 2])
    grid = Grid(1, 1, shape[0], 64)
    assert np.array_equal(layout.cut(layout.joined(tiles, grid), grid), tiles)


def test_a_roi_is_found_in_the_ciphertext(shared_data: Path) -> None:
    scheme = scheme_of("cyclegan")
    assert isinstance(scheme, CycleGAN)
    scores, blind = [], []
    shown = xrays(shared_data)[:16]
    usual = lung_fields(xrays(shared_data, "train")).mean(axis=0) > 0.5
    for picture in shown:
        protected = scheme.protect(as_image(picture))
        found = scheme.segment(protected.parts, protected.secret)
        assert found.shape == (1, 64, 64)
        wanted = lung_fields(picture[None])
        scores.append(dice(found, wanted))
        blind.append(dice(usual[None], wanted))
    assert np.mean(scores) > np.mean(blind)
    with pytest.raises(UsageError, match="trained key"):
        CycleGAN().segment(protected.parts, protected.secret)


@pytest.mark.parametrize("method", [*LOSSY, "invertible"])
def test_a_preview_has_three_rows(method: str, shared_data: Path) -> None:
    shown = xrays(shared_data)[:3]
    picture = preview.montage(samples.load(method), shown, zoom=1)
    assert picture.shape[1] == 3 * 66
    assert np.array_equal(picture[:64, :64], shown[0])


def test_a_sample_is_of_the_method_that_it_says() -> None:
    for method in (*LOSSY, "invertible"):
        assert samples.load(method).method == method
        assert samples.load(method).insecure_sample
