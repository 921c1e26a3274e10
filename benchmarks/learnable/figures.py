"""Figures 9, 10, 13, 14 and 15 of paper 001, with our images and our attacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learnable.images import MRI, XRAY, load
from medveil.attacks.leading_bit import leading_bit
from medveil.attacks.minimum_difference import minimum_difference
from medveil.schemes import registry

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "schemes" / "learnable"
KEY = bytes(range(32))


def encrypted(scheme: str, picture: np.ndarray, **options: Any) -> np.ndarray:
    return registry.load(f"learnable-{scheme}")(key=KEY, grey="three", **options).encrypt(picture[None])[0]


def draw() -> str:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    FOLDER.mkdir(parents=True, exist_ok=True)
    mri, ray = load(MRI, "test").pictures[5], load(XRAY, "test").pictures[3]

    def grid(name: str, columns: list[tuple[str, list[np.ndarray]]], rows: list[str]) -> None:
        figure, axes = plt.subplots(len(rows), len(columns), figsize=(2 * len(columns), 2.1 * len(rows)), dpi=90)
        for x, (title, pictures) in enumerate(columns):
            for y, picture in enumerate(pictures):
                axis = axes[y][x]
                axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
                axis.set(xticks=[], yticks=[])
                if y == 0:
                    axis.set_title(title, fontsize=9)
                if x == 0:
                    axis.set_ylabel(rows[y], fontsize=9)
        figure.tight_layout()
        figure.savefig(FOLDER / name)
        plt.close(figure)

    rows = ["encrypted", "leading bit", "minimum difference"]
    for name, picture, block in (("figure-9.png", mri, 4), ("figure-10.png", ray, 6)):
        columns = [("original", [picture] * 3)]
        for title, cipher in (("SKK", encrypted("skk", picture)), (f"smoothed, M = {block}", None)):
            seen = cipher if cipher is not None else encrypted("smoothed", picture, block=block)
            columns.append((title, [seen, leading_bit(seen, 0), minimum_difference(seen)]))
        grid(name, columns, rows)
    columns = [("original", [mri] * 3)]
    for block in (1, 2, 3, 4, 5, 8):
        seen = encrypted("smoothed", mri, block=block)
        columns.append((f"M = {block}", [seen, leading_bit(seen, 0), minimum_difference(seen)]))
    grid("figures-13-15.png", columns, rows)
    return (
        "**Figure 9**, a brain MR slice, and **Figure 10**, a chest X-ray: encrypted by SKK and by the paper's scheme, "
        "and attacked.\n\n![Figure 9](learnable/figure-9.png)\n\n![Figure 10](learnable/figure-10.png)\n\n"
        "**Figures 13, 14 and 15**, by filter size: encrypted, leading bit, minimum difference.\n\n"
        "![Figures 13 to 15](learnable/figures-13-15.png)"
    )
