"""Figures 6 to 9 of the paper as pictures, and Figure 9's large regions in numbers."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.roi_watermark.images import large_regions, paper_rois
from benchmarks.roi_watermark.tables import cases, containers, seeded
from medveil.imaging.roi import Rectangle
from medveil.schemes import tamper_pictures
from medveil.schemes.base import Part
from medveil.schemes.roi_watermark import RoiWatermark, paper, regions


def draw(folder: Path) -> str:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    _, ours, image, roi = cases()[0]
    planes, mask = regions.to_planes(image.pixels), regions.region_mask(roi, image)
    halves = paper.embedded_planes(planes, mask, roi)[0]
    made = {profile: containers(seeded(profile, image, roi)) for profile in ("paper", "hardened")}
    figure, axes = plt.subplots(2, 4, figsize=(12, 5.6), dpi=80)
    shown = [
        ("original", image.pixels[0]),
        ("high halves, watermarked", halves[0][0]),
        ("low halves, watermarked", halves[1][0] * 8),
        ("paper, share 1", made["paper"][0]),
        ("paper, share 2", made["paper"][1]),
        ("hardened, share 1", made["hardened"][0]),
        ("hardened, share 2", made["hardened"][1]),
    ]
    for axis, (title, picture) in zip(axes.flat, shown, strict=False):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axis.set(title=title, xticks=[], yticks=[])
    axes.flat[7].axis("off")
    figure.tight_layout()
    figure.savefig(folder / "figure-6.png")
    plt.close(figure)

    figure, axes = plt.subplots(1, 5, figsize=(14, 2.6), dpi=80, sharey=True)
    pictures = [("original", image.pixels[0])] + [
        (f"{profile}, share {s + 1}", made[profile][s]) for profile in made for s in (0, 1)
    ]
    for axis, (title, picture) in zip(axes, pictures, strict=True):
        axis.hist(picture.reshape(-1), bins=256, range=(0, 256), histtype="stepfilled")
        axis.set(title=title, ylim=(0, 4000))
    figure.tight_layout()
    figure.savefig(folder / "figure-7.png")
    plt.close(figure)

    figure, axes = plt.subplots(1, 2, figsize=(8, 4.2), dpi=80)
    for axis, profile in zip(axes, ("paper", "hardened"), strict=True):
        axis.imshow(_figure_8(profile, image, roi))
        axis.set(title=f"{profile}: two pixels of share 2 changed", xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(folder / "figure-8.png")
    plt.close(figure)
    return (
        f"**Figures 6, 7 and 8** on {ours} with the region of IM-0001-0004: half planes and shares, "
        "their histograms, and "
        "two neighbouring pixels of share 2 changed as in the paper's example (106 to 111, 97 to 100: +5, +3).\n\n"
        "![Figure 6](roi-watermark/figure-6.png)\n\n![Figure 7](roi-watermark/figure-7.png)\n\n"
        "![Figure 8](roi-watermark/figure-8.png)"
    )


def _figure_8(profile: str, image, roi) -> np.ndarray:
    scheme = RoiWatermark(profile=profile, carrier="bytes")
    made = scheme.protect(image, roi=roi)
    data = bytearray(made.parts[1].data)
    at = 128 + 250 * 512 + 250
    data[at], data[at + 1] = (data[at] + 5) % 256, (data[at + 1] + 3) % 256
    restored = scheme.restore([made.parts[0], Part(2, bytes(data))], made.secret)
    return tamper_pictures.overlay(restored)


def large() -> str:
    """Figure 9: regions that fill almost the whole of a COVID-19 chest X-ray."""
    if not large_regions():
        return "**Figure 9** needs the shared image data, which is not here."
    lines = [
        (
            "**Figure 9, large regions** on COVID-19 chest X-rays (CC BY-NC-SA, so not shown here): "
            "blocks, exactness, seconds "
            "to protect and restore.\n"
        ),
        "| image | size | region blocks | paper | hardened |",
        "|---|---|---|---|---|",
    ]
    for name, (image, roi) in large_regions().items():
        box = roi[0]
        assert isinstance(box, Rectangle)
        blocks = (box.bottom - box.top) * (box.right - box.left) // 256
        cells = []
        for profile in ("paper", "hardened"):
            scheme = RoiWatermark(profile=profile)
            start = time.process_time()
            made = scheme.protect(image, roi=roi)
            middle = time.process_time()
            exact = np.array_equal(scheme.restore(made.parts, made.secret).image.pixels, image.pixels)
            end = time.process_time()
            cells.append(f"{'exact' if exact else 'NOT EXACT'}, {middle - start:.2f} / {end - middle:.2f}")
        lines.append(f"| {name} | {image.columns} x {image.rows} | {blocks} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def regions_used() -> str:
    return ", ".join(f"{name} {roi[0].to_paper()}" for name, roi in paper_rois())
