"""Encoding and decoding with a key's networks in torch: the same bytes whatever the batch size, threads or device.

Float32 networks give other last bits for another batch size, since the library then sums in another order, and a
rounding to 8 bits now and then turns them into another pixel. Everything here runs in float64 and is rounded once: an
error of about 1e-13 changes a byte only where a value lies that close to the middle between two bytes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from medveil.errors import FormatError, UsageError
from medveil.schemes.deep.key import DeepKey
from medveil.schemes.deep.learners import networks_of

Bytes = npt.NDArray[np.uint8]
BATCH: Final = 32
"""Pictures that go through a network at once unless told otherwise."""


class Codec:
    """A key's networks, ready to run. `precision` float32 is there to be compared with; keys are used in float64.

    Raises FormatError where the key's tensors are not those of its networks, UsageError for a device that is not there.
    """

    def __init__(self, key: DeepKey, *, device: str = "cpu", precision: torch.dtype = torch.float64) -> None:
        if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
            raise UsageError(f"there is no device {device!r} here: choose cpu, or cuda where there is one")
        self._device, self._precision = torch.device(device), precision
        self._networks = {}
        for role, network in networks_of(key.method, key.shape).items():
            own = {n.partition(".")[2]: t for n, t in key.tensors.items() if n.partition(".")[0] == role}
            if own:
                self._networks[role] = _loaded(network, own).to(self._device, precision).eval()

    def encode(self, pictures: Bytes, *, batch: int = BATCH) -> Bytes:
        """Return codes (N, C, h, w) uint8 of pictures (N, S, S) uint8."""
        return np.asarray(self._run("encoder", pictures[:, None], batch), np.uint8)

    def decode(self, codes: Bytes, *, batch: int = BATCH) -> Bytes:
        """Return pictures (N, S, S) uint8 of codes (N, C, h, w) uint8."""
        return np.asarray(self._run("decoder", codes, batch)[:, 0], np.uint8)

    def segment(self, codes: Bytes, *, batch: int = BATCH) -> npt.NDArray[np.bool_]:
        """Return the ROI network's masks (N, S, S) of codes that are pictures (N, 1, S, S)."""
        return np.asarray(self._run("roi", codes, batch, logits=True)[:, 0] > 0)

    def _run(self, role: str, data: Bytes, batch: int, *, logits: bool = False) -> Any:
        if role not in self._networks:
            raise UsageError(f"this key holds no {role}: use the key file that training wrote")
        pieces = []
        with torch.no_grad():
            for start in range(0, len(data), batch):
                piece = torch.from_numpy(data[start : start + batch].copy())  # parts are read-only
                out = self._networks[role](piece.to(self._device, self._precision) / 255).cpu()
                pieces.append(out.numpy() if logits else (out * 255).round().clamp(0, 255).to(torch.uint8).numpy())
        return np.concatenate(pieces)


def _loaded(network: torch.nn.Module, tensors: dict[str, npt.NDArray[Any]]) -> torch.nn.Module:
    wanted = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    if {name: t.shape for name, t in tensors.items()} != wanted:
        raise FormatError("a deep-learning key's tensors do not fit its networks: it is damaged or foreign")
    network.load_state_dict({name: torch.from_numpy(t.astype(np.float32)) for name, t in tensors.items()})
    return network
