"""Shifts and horizontal flips of a batch of pictures as they are: of encrypted ones, in the encrypted domain.

What a shift uncovers repeats the edge. `rescramble` takes SKK's steps once more. The draws come from a torch generator,
so a resumed run repeats them.
"""

from __future__ import annotations

import itertools
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


def rescramble(batch: Any, rows: Any, columns: Any, generator: Any) -> Any:
    """Return uint8 (N, C, H, W) pictures with each sample negated by a coin and each pixel's channels shuffled.

    Those are SKK's steps (paper 001, section III-A) under a key of the moment. Of a picture that SKK encrypted under
    any key the result is distributed as that encryption is, so a network can be shown another one in every epoch.
    rows, columns: int64 (H,) and (W,), the cell that each row and column belongs to; a cell's pixels share their draws.
    """
    import torch

    n, channels, height, width = batch.shape
    grid = (int(rows[-1]) + 1, int(columns[-1]) + 1)
    spread = (..., rows[:, None], columns) if grid != (height, width) else ...
    negative = torch.randint(0, 2, (n, channels, *grid), generator=generator, dtype=torch.uint8) * 255
    batch = batch ^ negative[spread]
    if channels == 1:
        return batch
    orders = torch.tensor(list(itertools.permutations(range(channels))))
    drawn = torch.randint(0, len(orders), (n, *grid), generator=generator)
    return batch.gather(1, orders[drawn[spread]].permute(0, 3, 1, 2))
