"""Tables of docs/schemes/visual.md: speed beside Pillow, paper 000's Table 2 and Figures 2 and 3.

python -m benchmarks.visual [speed] [table2] [figures]
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from tests.conftest import find_shared_data

from benchmarks.measure import time_in_turn
from benchmarks.visual.latency import figures
from benchmarks.visual.material import crop, session_signer
from medveil.imaging import reader, samples
from medveil.imaging.image import MedicalImage, Photometric
from medveil.imaging.windowing import to_display
from medveil.metrics.image_quality import gaussian, hvs_psnr, psnr, ssim, wrapped_psnr
from medveil.schemes.visual import Visual, admission, carriers, halftone, recovery, sharing

RUNS = 21
PER_CLASS = 40


def speed() -> None:
    grey = to_display(reader.read(samples.load("xray-chest-1024.png")))
    rgb = crop()
    pillow, pillow_rgb = Image.fromarray(grey), [Image.fromarray(np.ascontiguousarray(rgb[..., c])) for c in range(3)]
    calls = {
        "ours, floyd-steinberg, 1024 x 1024 grey": lambda: halftone.halftone(grey),
        "Pillow convert('1'), 1024 x 1024 grey": lambda: pillow.convert("1"),
        "ours, floyd-steinberg, 786 x 512 RGB": lambda: halftone.halftone(rgb),
        "Pillow convert('1'), 786 x 512, three channels": lambda: [p.convert("1") for p in pillow_rgb],
        "ours, jarvis, 1024 x 1024 grey": lambda: halftone.halftone(grey, "jarvis"),
        "ours, stucki, 1024 x 1024 grey": lambda: halftone.halftone(grey, "stucki"),
        "ours, void-and-cluster, 1024 x 1024 grey": lambda: halftone.halftone(grey, "void-and-cluster"),
    }
    print("halftones, one core, median of", RUNS)
    for name, timing in time_in_turn(calls, runs=RUNS).items():
        size = rgb.size if "786" in name else grey.size
        print(f"  {name:48} {size / timing.median / 1e6:7.0f} Msamples/s (best {size / min(timing.seconds) / 1e6:.0f})")
    dithered = np.asarray(pillow.convert("1")).astype(np.uint8) * 255
    print(f"  HVS-PSNR: ours {hvs_psnr(grey, halftone.halftone(grey) * np.uint8(255)):.2f} dB, Pillow "
          f"{hvs_psnr(grey, dithered):.2f} dB")  # fmt: skip
    _protect(rgb)


def _protect(rgb: np.ndarray) -> None:
    image = MedicalImage(rgb[np.newaxis], 8, Photometric.RGB)
    signer = session_signer()
    parts = Visual(signer=signer, lossless=False, carrier="lsb").protect(image).parts
    share = carriers.read(parts[0].data)
    write = carriers.write

    def without_png(**options: object) -> None:
        carriers.write = lambda *_: b""  # type: ignore[assignment]
        try:
            Visual(signer=signer, carrier="lsb", **options).protect(image)  # type: ignore[arg-type]
        finally:
            carriers.write = write

    bits = [(carriers.read(part.data).pixels >> 7).astype(np.uint8) for part in parts]
    calls = {
        "protect (2,2), without PNG coding, no lossless layer": lambda: without_png(lossless=False),
        "protect (2,2), without PNG coding, with lossless layer": without_png,
        "protect (3,5), without PNG coding, no lossless layer": lambda: without_png(lossless=False, threshold=(3, 5)),
        "protect (2,2), with PNG coding, no lossless layer": lambda: Visual(
            signer=signer, lossless=False, carrier="lsb").protect(image),
        "check one share (digest and session signature)": lambda: admission.check_consistent(share),
        "read one share's PNG": lambda: carriers.read(parts[0].data),
        "stack, unpacked bits": lambda: recovery.stack(bits),
        "descreen from XOR": lambda: recovery.recover(bits, 2, 2),
    }  # fmt: skip
    print("786 x 512 RGB, session open, median of", RUNS)
    for name, timing in time_in_turn(calls, runs=RUNS, warmup=2).items():
        print(f"  {name:56} {1e3 * timing.median:8.2f} ms (best {1e3 * min(timing.seconds):.2f})")


def pictures(root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for folder in ("brain_tumor_mri", "breast_ultrasound_busi", "chest_xray_nih"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".png", ".jpg") and len(found[f"{folder}/{path.parent.name}"]) < PER_CLASS:
                found[f"{folder}/{path.parent.name}"].append(path)
    return found


def table2() -> None:
    root = find_shared_data()
    if root is None:
        print("Table 2: not measured, the shared data is not there")
        return
    names = ("halftone raw", "XOR low-pass", "XOR SSIM", "AND*2 low-pass", "AND*2 SSIM", "wrapped XOR", "wrapped noise")
    print(f"Table 2: PSNR in dB and SSIM, float64, at most {PER_CLASS} images a class; AND alone is also the baseline")
    print("  " + "class".ljust(38) + " n  " + "  ".join(names))
    noise = np.random.default_rng(0)
    means = []
    for name, paths in pictures(root).items():
        rows = []
        for path in paths:
            shown = to_display(reader.read(path))
            bits = halftone.halftone(shown)
            shares = [sharing.unpack(s, bits.shape) for s in sharing.share(bits, 2, 2)]
            exact = recovery.xor(shares) * np.uint8(255)
            by_xor = recovery.recover(shares, 2, 2)
            by_and = np.rint(np.clip(gaussian(recovery.stack(shares) * 2.0, 1.5), 0, 1) * 255).astype(np.uint8)
            random = noise.integers(0, 256, shown.shape, dtype=np.uint8)
            rows.append((
                psnr(shown, exact), psnr(shown, by_xor), ssim(shown, by_xor), psnr(shown, by_and), ssim(shown, by_and),
                wrapped_psnr(shown, exact), wrapped_psnr(shown, random),
            ))  # fmt: skip
        mean = np.mean(rows, axis=0)
        means.append(mean)
        print(f"  {name:38} {len(rows):3d}" + "".join(f"{v:14.3f}" for v in mean))
    print(f"  {'mean of classes':42}" + "".join(f"{v:14.3f}" for v in np.mean(means, axis=0)))


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["speed", "table2", "figures"]
    for part in wanted:
        {"speed": speed, "table2": table2, "figures": figures}[part]()
