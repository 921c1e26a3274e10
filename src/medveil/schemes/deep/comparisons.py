"""What other keys, batch sizes, precisions and devices make of the same ciphertexts: the rows of paper 004's critique.

All functions take a key's own tiles, uint8 (N, S, S) with S the size that the key was trained for (sides by 4 for the
invertible network).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.crypto.prg import SYSTEM, Randomness
from medveil.schemes.deep.extra import need_torch
from medveil.schemes.deep.integer_flow import IntegerFlow, draw_key
from medveil.schemes.deep.key import DeepKey

Bytes = npt.NDArray[np.uint8]

OWN, NEAR, NEARBY, ANOTHER = "own key", "weights off by 1 %", "weights off by 10 %", "another key"
BATCHES: Final = (1, 2, 7, 32)
"""Batch sizes that are compared with one batch of all pictures."""


def decoded_by_others(key: DeepKey, pictures: Bytes, rng: np.random.Generator) -> Mapping[str, Bytes]:
    """Return what comes back with the key itself, with keys near it, and with one drawn afresh."""
    others = {OWN: key, NEAR: near(key, 0.01, rng), NEARBY: near(key, 0.1, rng), ANOTHER: drawn_afresh(key)}
    codes = encoded(key, pictures)
    return {name: decoded(other, codes, len(pictures)) for name, other in others.items()}


def near(key: DeepKey, share: float, rng: np.random.Generator) -> DeepKey:
    """Return a key with normal noise of `share` of its layer's deviation on each weight; of integer weights, that
    share of them is changed by one.
    """
    changed = {}
    for name, tensor in key.tensors.items():
        if tensor.dtype.kind == "i":
            flips = rng.random(tensor.shape) < share
            step = np.where(tensor >= 127, -1, 1) if tensor.dtype == np.int8 else 1
            changed[name] = (tensor + flips * step).astype(tensor.dtype)
        else:
            noise = rng.standard_normal(tensor.shape) * float(tensor.astype(float).std()) * share
            changed[name] = (tensor + noise).astype(tensor.dtype)
    return DeepKey(key.method, key.shape, changed)


def drawn_afresh(key: DeepKey, rng: Randomness = SYSTEM) -> DeepKey:
    """Return a key of the same networks whose weights were drawn and never trained."""
    if key.method == "invertible":
        return draw_key(rng, shape=key.shape)
    torch = need_torch()
    from medveil.schemes.deep.learners import networks_of

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(rng.bytes(7), "big"))
        fresh = networks_of(key.method, key.shape)
    state = {f"{role}.{n}": t.numpy().astype("<f2") for role, net in fresh.items() for n, t in net.state_dict().items()}
    return DeepKey(key.method, key.shape, {name: state[name] for name in key.tensors})


def changed_by_batches(key: DeepKey, pictures: Bytes) -> tuple[float, float]:
    """Return the largest share of decoded pixels that another batch size changes: in float32, and as the scheme does.

    The invertible network has no float32 arithmetic of its own: its sums are exact in each, and that is what is shown.
    """
    codes = encoded(key, pictures)
    shares = []
    for precision in ("float32", "float64"):
        whole = decoded(key, codes, len(pictures), precision=precision)
        others = [decoded(key, codes, size, precision=precision) for size in BATCHES]
        shares.append(max(float((other != whole).mean()) for other in others))
    return shares[0], shares[1]


def same_on_a_gpu(key: DeepKey, pictures: Bytes) -> bool | None:
    """Return whether a GPU decodes the same pictures; None where there is none."""
    torch = need_torch()
    if not torch.cuda.is_available():
        return None
    codes = encoded(key, pictures)
    return bool(np.array_equal(decoded(key, codes, 32), decoded(key, codes, 32, device="cuda")))


def encoded(key: DeepKey, pictures: Bytes) -> Bytes:
    """Return the codes of pictures."""
    return IntegerFlow(key).encrypt(pictures) if key.method == "invertible" else _codec(key).encode(pictures)


def decoded(key: DeepKey, codes: Bytes, batch: int, *, precision: str = "float64", device: str = "cpu") -> Bytes:
    """Return the pictures of codes, decoded `batch` at a time."""
    if key.method != "invertible":
        return np.asarray(_codec(key, precision, device).decode(codes, batch=batch))
    kind: Any = "torch" if device != "cpu" else precision
    flow = IntegerFlow(key, precision=kind, device=device)
    return np.concatenate([flow.decrypt(codes[at : at + batch]) for at in range(0, len(codes), batch)])


def _codec(key: DeepKey, precision: str = "float64", device: str = "cpu") -> Any:
    torch = need_torch()
    from medveil.schemes.deep.codec import Codec

    return Codec(key, device=device, precision=getattr(torch, precision))
