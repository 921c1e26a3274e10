"""What comes back, and what is stored: errors, likeness, exact pixels, kilobytes, bits a pixel."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from medveil.errors import MedveilError, UnsupportedError
from medveil.evaluation.measures.bench import Bench, Measure, Measured, Pixels, image_of, interval, picture_of
from medveil.imaging.image import MedicalImage
from medveil.metrics import image_quality as quality
from medveil.metrics.uncertainty import bootstrap
from medveil.schemes.base import Protected, Scheme

_CAP = 100.0  # dB that stand for equal pictures, so that means stay finite
_MEASURES = {
    "mse": quality.mse,
    "rmse": quality.rmse,
    "mse_as_printed_in_paper_004": quality.root_error_of_paper_004,
    "psnr": lambda a, b: min(_CAP, quality.psnr(a, b)),
    "ssim": quality.ssim,
    "ms_ssim": quality.ms_ssim,
    "pixels_exact": quality.pixels_exact,
}


def take(bench: Bench) -> Measured:
    """Protect and restore each picture."""
    scheme = bench.subject.make()
    out = Measured()
    pictures = bench.corpus.images[: bench.effort.images]
    groups = list(bench.corpus.groups[: len(pictures)])
    rows: list[dict[str, float]] = []
    stored, secrets, parts = [], [], 0
    seconds = np.zeros((2, len(pictures)))
    scheme.protect(image_of(pictures[0]))  # to warm up
    for number, picture in enumerate(pictures):
        started = time.perf_counter()
        protected = scheme.protect(image_of(picture))
        seconds[0, number] = time.perf_counter() - started
        stored.append(sum(len(p.data) for p in protected.parts))
        secrets.append(len(protected.secret.data))
        parts = len(protected.parts)
        started = time.perf_counter()
        back = _restored(scheme, protected)
        seconds[1, number] = time.perf_counter() - started
        if back is not None:
            rows.append({name: measure(picture, back) for name, measure in _MEASURES.items()})
        if number == 0:
            _show(out, picture, protected, back)
    plain = int(pictures[0].size)
    out.values |= {
        "images": len(pictures),
        "one_way": not rows,
        "parts": parts,
        "stored_kb": float(np.mean(stored)) / 1000,
        "plain_kb": plain / 1000,
        "stored_over_original": float(np.mean(stored)) / plain,
        "bits_per_pixel": quality.bits_per_pixel(round(float(np.mean(stored))), *pictures[0].shape[:2]),
        "secret_bytes": float(np.mean(secrets)),
        "protect_seconds": float(np.median(seconds[0])),
        "restore_seconds": float(np.median(seconds[1])) if rows else None,
        "exact_images": float(np.mean([r["pixels_exact"] == 1 for r in rows])) if rows else None,
    }
    for name in _MEASURES:
        values = [r[name] for r in rows]
        found = bootstrap(values, seed=bench.seed, groups=groups) if values else None
        out.values[name] = None if found is None else interval(found, len(values))
    out.values["exact_16_bit"] = _sixteen_bits(scheme)
    return out


def _restored(scheme: Scheme, protected: Protected) -> Pixels | None:
    """Return the picture that comes back, None where nothing ever does."""
    try:
        image = scheme.restore(protected.parts, protected.secret).image
    except UnsupportedError:
        if scheme.claim.one_way:
            return None
        raise
    return np.asarray(image.pixels[0]) if isinstance(image, MedicalImage) else None


def _sixteen_bits(scheme: Scheme) -> bool | str:
    """Whether a real CT slice of 16 bits, signed, comes back exactly; or that it is refused."""
    from medveil.imaging import samples
    from medveil.imaging.reader import read

    image = read(samples.load("ct-thorax.dcm"))
    try:
        protected = scheme.protect(image)
        back = scheme.restore(protected.parts, protected.secret).image
    except MedveilError:
        return "refused"
    return isinstance(back, MedicalImage) and bool(np.array_equal(back.pixels, image.pixels))


def _show(out: Measured, picture: Pixels, protected: Protected, back: Pixels | None) -> None:
    from medveil.attacks.views import view

    out.pictures["original"] = picture
    for part in protected.parts[:2]:
        seen: Any = picture_of(part)[0] if part.media_type.startswith("image/") else view(part, picture.shape)
        out.pictures[f"part-{part.index}"] = seen if seen.dtype == np.uint8 else view(part, picture.shape)
    if back is not None:
        out.pictures["restored"] = back


MEASURE = Measure(
    "reconstruction",
    "Reconstruction and size",
    "Whether the image comes back, and what it takes to store it. Says nothing about security.",
    take,
)
