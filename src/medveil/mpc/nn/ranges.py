"""Whether a network's values stay in the fixed-point range, tried in plain by its owner on images of their own.

The servers see no value and so notice no overflow; the owner can, before anything is sent.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from medveil.errors import InputError
from medveil.mpc.fixedpoint import FixedPoint

SAMPLE = 64


def check_range(module: Any, images: ArrayLike, fixed: FixedPoint, *, train: bool) -> None:
    """Run a copy of a torch module on the first 64 images and look at what each of its layers gives.

    Args:
        module: a torch.nn.Module; it is left as it is.
        images: (N, C, H, W) reals.
        fixed: the format that the servers compute in.
        train: whether batch normalisation takes the batch's own statistics, as in training.

    Raises:
        InputError: a layer's output leaves the range; the message names the layer and the greatest value.
    """
    import torch

    trial = copy.deepcopy(module).float().cpu().train(train)
    limit = 2.0**fixed.whole

    def watch(name: str) -> Any:
        def look(layer: Any, inputs: Any, output: Any) -> None:
            del layer, inputs
            top = output.detach().abs().max().item()
            if not top < limit:
                raise InputError(
                    f"layer {name} reaches {top:.0f} on these images, the servers compute within +-{limit:.0f}: scale "
                    "the data or the weights, or add normalisation"
                )

        return look

    hooks = [m.register_forward_hook(watch(n or "0")) for n, m in trial.named_modules() if not list(m.children())]
    with torch.no_grad():
        trial(torch.tensor(np.asarray(images)[:SAMPLE], dtype=torch.float32))
    for hook in hooks:
        hook.remove()
