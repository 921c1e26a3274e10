"""Grad-CAM (Selvaraju et al., ICCV 2017, equations 1 and 2): which part of a picture speaks for a class.

Through MONAI's GradCAM on the layer that the architecture names. `side_by_side` lays the maps of several models over
their own pictures: what a network sees in plain, SKK and smoothed images (paper 001, figures 11 and 12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, MissingExtraError
from medveil.imaging.resampling import resize
from medveil.networks.architectures import architecture
from medveil.recognition import curves, models
from medveil.recognition.loop import as_tensor
from medveil.recognition.models import ModelCard


@dataclass(frozen=True, eq=False)
class Explained:
    """What a model says of pictures: maps float32 (N, H, W) from 0 to 1, probabilities (N, K), and the classes.

    targets: the class of each map, (N,).
    """

    maps: npt.NDArray[np.float32] = field(repr=False)
    probabilities: npt.NDArray[np.float64]
    targets: npt.NDArray[np.int64]
    classes: tuple[str, ...]


def grad_cam(network: Any, card: ModelCard, images: npt.NDArray[np.uint8], target: int | None = None) -> Explained:
    """Return the Grad-CAM of uint8 images (N, H, W, C).

    target: the class to explain; None takes the one that the model predicts for each.
    Raises InputError for images or a class that the model does not take, MissingExtraError without MONAI.
    """
    card.check(images.shape[3], (images.shape[1], images.shape[2]))
    if target is not None and not 0 <= target < len(card.classes):
        raise InputError(f"class {target} of {len(card.classes)}: name one of {', '.join(card.classes)}")
    try:
        import torch
        from monai.visualize.class_activation_maps import GradCAM
    except ImportError as e:
        raise MissingExtraError("explaining a model", "learn") from e
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad = True
    device = next(network.parameters()).device
    cam = GradCAM(network, architecture(card.model).cam, upsampler=lambda _size: _same, postprocessing=_same)
    maps, rows, targets = [], [], []
    for image in as_tensor(images).split(1):
        inputs = models.scale(image.to(device), card).requires_grad_()
        with torch.no_grad():
            p = torch.softmax(network(inputs).double(), dim=1)
        chosen = int(p.argmax()) if target is None else target
        raw = cam(inputs, class_idx=chosen)[0, 0].detach().cpu().numpy()
        maps.append(_scaled(raw, images.shape[1], images.shape[2]))
        rows.append(p[0].cpu().numpy())
        targets.append(chosen)
    return Explained(np.stack(maps), np.stack(rows), np.array(targets, np.int64), card.classes)


def _same(x: Any) -> Any:
    return x


def _scaled(raw: npt.NDArray[Any], rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Return a map stretched to 0..1 and enlarged; nothing speaks for the class where it is all zero."""
    span = float(raw.max() - raw.min())
    unit = (raw - raw.min()) / span if span > 0 else np.zeros_like(raw)
    enlarged = resize(np.rint(unit * 65535).astype(np.uint16), rows, columns)
    return np.asarray(enlarged / 65535, np.float32)


def overlay(picture: npt.NDArray[np.uint8], heat: npt.NDArray[Any], strength: float = 0.45) -> npt.NDArray[np.uint8]:
    """Return a picture (H, W, 1 or 3) with a map 0..1 (H, W) laid over it in colour, uint8 (H, W, 3)."""
    curves.pyplot()
    from matplotlib import colormaps

    colour = colormaps["jet"](heat)[..., :3] * 255.0
    grey = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    mixed = (1 - strength) * grey.astype(np.float64) + strength * colour
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def side_by_side(
    rows: Sequence[tuple[str, npt.NDArray[np.uint8], Explained]], path: Path, *, force: bool = False
) -> None:
    """Write a picture: for each (name, images, explained) a row of pictures and, below it, a row of overlays.

    images: uint8 (N, H, W, C), the same number N in every row. Raises InputError where there are none.
    """
    from medveil.schemes.bundle import new_file

    if not rows or len({len(images) for _, images, _ in rows}) != 1 or not len(rows[0][1]):
        raise InputError("a comparison needs the same pictures for every model, and one at least")
    count = len(rows[0][1])
    figure, axes = curves.pyplot().subplots(
        2 * len(rows), count, figsize=(1.7 * count + 0.6, 3.6 * len(rows)), squeeze=False
    )
    for r, (name, images, explained) in enumerate(rows):
        for c in range(count):
            top, below = axes[2 * r][c], axes[2 * r + 1][c]
            top.imshow(images[c] if images.shape[3] == 3 else images[c, ..., 0], cmap="gray", vmin=0, vmax=255)
            below.imshow(overlay(images[c], explained.maps[c]))
            label = int(explained.targets[c])
            said = f"{explained.classes[label]} {explained.probabilities[c, label]:.2f}"
            below.set_title(said, fontsize=7, pad=2)
            for axis in (top, below):
                axis.set_xticks([])
                axis.set_yticks([])
        axes[2 * r][0].set_ylabel(name, fontsize=8)
    with new_file(path, force=force) as working:
        figure.savefig(working, format="png", dpi=110, bbox_inches="tight")
    curves.pyplot().close(figure)
