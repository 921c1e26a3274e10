"""Shifts and horizontal flips of a batch of pictures as they are: of encrypted ones, in the encrypted domain.

What a shift uncovers repeats the edge. The draws come from a torch generator, so a resumed run repeats them.
"""

from __future__ import annotations

from typing import Any


def augment(batch: Any, shift: float, generator: Any, *, flip: bool) -> Any:
    """Return (N, C, H, W) pictures, each shifted by up to `shift` of its side in both directions and flipped or not."""
    import torch

    n, _, height, width = batch.shape
    rows = torch.arange(height).expand(n, height)
    columns = torch.arange(width).expand(n, width)
    if flip:
        flipped = torch.rand(n, generator=generator) < 0.5
        columns = torch.where(flipped[:, None], width - 1 - columns, columns)
    if shift:
        down, across = (int(shift * side) for side in (height, width))
        dy = torch.randint(-down, down + 1, (n, 1), generator=generator)
        dx = torch.randint(-across, across + 1, (n, 1), generator=generator)
        rows = (rows + dy).clamp(0, height - 1)
        columns = torch.gather(columns, 1, (torch.arange(width).expand(n, width) + dx).clamp(0, width - 1))
    which = torch.arange(n)[:, None, None]
    picked = batch.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)
