"""Seconds for one image on one core, and the keystream's rate over many images."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.roi_watermark.images import deep, grey8, paper_rois
from medveil.schemes.roi_watermark import RoiWatermark, chaos_kernels
from medveil.schemes.roi_watermark.chaos import MapKey


def _median_cpu(call, runs: int = 15) -> tuple[float, float]:
    """Median and least milliseconds of processor time: the machine may be shared, and all of this is one thread."""
    call()
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        call()
        seconds.append(1000 * (time.process_time() - start))
    return float(np.median(seconds)), min(seconds)


def protect_and_restore() -> str:
    roi = paper_rois()[2][1]
    lines = [
        (
            "**Speed, 512x512, one thread**: milliseconds of processor time, median (least) of 15; "
            "target 30 for the hardened "
            "profile.\n"
        ),
        "| image | profile | options | protect | restore |",
        "|---|---|---|---|---|",
    ]
    thorax, chest = grey8()["CT thorax"], grey8()["chest X-ray A"]
    signed = deep()["CT thorax, signed 16 bit"]
    for name, image, options in (
        ("CT thorax, 8 bit", thorax, {}),
        ("chest X-ray, 8 bit", chest, {}),
        ("chest X-ray, 8 bit", chest, {"carrier": "bytes"}),
        ("chest X-ray, 8 bit", chest, {"carrier": "dicom"}),
        ("chest X-ray, 8 bit", chest, {"split": True}),
        ("CT thorax, 16 bit", signed, {}),
        ("chest X-ray, 8 bit", chest, {"profile": "paper"}),
    ):
        scheme = RoiWatermark(**options)
        made = scheme.protect(image, roi=roi)
        a = _median_cpu(lambda s=scheme, i=image: s.protect(i, roi=roi))
        b = _median_cpu(lambda s=scheme, m=made: s.restore(m.parts, m.secret))
        profile = options.get("profile", "hardened")
        rest = ", ".join(f"{k} {v}" for k, v in options.items() if k != "profile") or "PNG"
        lines.append(f"| {name} | {profile} | {rest} | {a[0]:.1f} ({a[1]:.1f}) | {b[0]:.1f} ({b[1]:.1f}) |")
    return "\n".join(lines)


def keystream() -> str:
    rng = np.random.default_rng(64)
    keys = [MapKey.from_half(rng.bytes(8)) for _ in range(256)]
    size = 256 * 256
    lines = [
        "**Keystream of profile paper**, 256 images of 256x256 on one core, 16 lanes; target 100 MB/s.\n",
        "| map | MB/s | ns a step |",
        "|---|---|---|",
    ]
    for chebyshev, name in ((False, "SSS (A)"), (True, "CCS (B)")):
        _, least = _median_cpu(lambda c=chebyshev: chaos_kernels.streams(keys, size, chebyshev=c), runs=5)
        rate = len(keys) * size / least * 1000
        lines.append(f"| {name} | {rate / 1e6:.0f} | {1e9 / rate:.2f} |")
    return "\n".join(lines)
