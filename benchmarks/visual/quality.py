"""Paper 000's Table 2 with true metrics and its wrapped PSNR as a labelled reproduction; (k, n) counted and stacked."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from tests.conftest import find_shared_data

from benchmarks.visual.speed import table
from medveil.imaging import reader, samples
from medveil.imaging.raster import encode_png
from medveil.imaging.windowing import to_display
from medveil.metrics.image_quality import gaussian, psnr, ssim, wrapped_psnr
from medveil.schemes.visual import halftone, recovery, sharing
from medveil.schemes.visual.columns import columns

PER_CLASS = 40
FOLDERS = ("brain_tumor_mri", "breast_ultrasound_busi", "chest_xray_nih")
THRESHOLDS = ((2, 2), (2, 3), (2, 4), (3, 4), (3, 5), (4, 5), (2, 6))
NOT_MEASURED = "Not measured: the shared data was not there."


def pictures(root: Path, per_class: int) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            name = f"{folder}/{path.parent.name}"
            if path.suffix in (".png", ".jpg") and len(found[name]) < per_class:
                found[name].append(path)
    return found


def dealt(shown: np.ndarray, k: int, n: int) -> tuple[np.ndarray, list[np.ndarray]]:
    bits = halftone.halftone(shown)
    return bits, [sharing.unpack(share, bits.shape) for share in sharing.share(bits, k, n)]


def measures(shown: np.ndarray, noise: np.random.Generator) -> list[float]:
    _, shares = dealt(shown, 2, 2)
    exact, raw = recovery.xor(shares) * np.uint8(255), recovery.stack(shares) * np.uint8(255)
    by_xor = recovery.recover(shares, 2, 2)
    by_and = np.rint(np.clip(gaussian(recovery.stack(shares) * 2.0, 1.5), 0, 1) * 255).astype(np.uint8)
    random = noise.integers(0, 256, shown.shape, dtype=np.uint8)
    pairs = [f(shown, picture) for picture in (exact, raw, by_xor, by_and) for f in (psnr, ssim)]
    return [*pairs, wrapped_psnr(shown, exact), wrapped_psnr(shown, random)]


def table_2() -> str:
    root = find_shared_data()
    if root is None:
        return NOT_MEASURED
    noise = np.random.default_rng(0)
    rows, means, count = [], [], 0
    for name, paths in pictures(root, PER_CLASS).items():
        mean = np.mean([measures(to_display(reader.read(path)), noise) for path in paths], axis=0)
        means.append(mean)
        count += len(paths)
        rows.append(f"| {name} | {len(paths)} | {_pairs(mean)} |")
    rows.append(f"| **mean of classes** | {count} | {_pairs(np.mean(means, axis=0))} |")
    head = (
        "| class | images | XOR | stack (the baseline) | XOR, low-pass | stack x 2, low-pass | wrapped, XOR | "
        "wrapped, noise |"
    )
    return (
        "**Table 2**, (2, 2), float64 PSNR in dB / SSIM; low-pass: Gaussian of sigma 1.5. XOR is the halftone. The "
        "last two columns reproduce the paper's number and are no quality: its PSNR computed in uint8, of our XOR "
        "and of **pure noise**. The paper prints 27.87 dB and SSIM 5.47 (against 1.79 for Wu and Yang).\n\n"
        + table(head, rows)
    )


def _pairs(mean: np.ndarray) -> str:
    pairs = [f"{mean[i]:.2f} / {mean[i + 1]:.3f}" for i in range(0, 8, 2)]
    return " | ".join([*pairs, f"{mean[8]:.2f}", f"{mean[9]:.2f}"])


def thresholds() -> str:
    root = find_shared_data()
    if root is None:
        return NOT_MEASURED
    paths = [path for found in pictures(root, 4).values() for path in found]
    rows = []
    for k, n in THRESHOLDS:
        sums = np.zeros(6)
        scheme = columns(k, n)
        dark, light = (float(scheme.light(k, white=white)) for white in (False, True))
        for path in paths:
            shown = to_display(reader.read(path))
            _, shares = dealt(shown, k, n)
            seen = (
                recovery.descreen(recovery.stack(shares[:k]), dark, light),
                recovery.recover(shares[:k], k, n),
                recovery.recover(shares, k, n),
            )
            sums += [f(shown, picture) for picture in seen for f in (psnr, ssim)]
        mean = sums / len(paths)
        pairs = " | ".join(f"{mean[i]:.2f} / {mean[i + 1]:.3f}" for i in range(0, 6, 2))
        rows.append(f"| ({k}, {n}) | {pairs} |")
    return f"**Any k of n**, {len(paths)} images of all classes, low-pass of sigma 1.5, PSNR in dB / SSIM.\n\n" + table(
        "| (k, n) | k shares stacked | k shares counted | all n counted |", rows
    )


def example(folder: Path) -> str:
    """One strip of pictures: original, a share, and what the shares show."""
    shown = to_display(reader.read(samples.load("us-breast-benign.png")))
    _, two = dealt(shown, 2, 2)
    _, three = dealt(shown, 2, 3)
    tiles = [
        shown,
        two[0] * np.uint8(255),
        recovery.recover(two, 2, 2, "stack"),
        recovery.recover(two, 2, 2),
        recovery.recover(three[:2], 2, 3, "stack"),
        recovery.recover(three[:2], 2, 3),
        recovery.recover(three, 2, 3),
    ]
    gap = np.full((shown.shape[0], 8), 255, np.uint8)
    strip = np.concatenate([piece for tile in tiles for piece in (tile, gap)][:-1], axis=1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "example.png").write_bytes(encode_png(np.ascontiguousarray(strip)))
    return (
        f"![original, share, stacks and counts]({folder.name}/example.png)\n\nBreast ultrasound: the original, one "
        "share; 2 of 2 stacked and descreened; 2 of 3, two shares stacked, the same two counted, all three counted."
    )
