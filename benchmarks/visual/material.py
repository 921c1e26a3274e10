"""The image and the signing session of the benchmarks."""

from __future__ import annotations

import time
from functools import lru_cache

import numpy as np

from medveil.attestation.providers.simulated import SimulatedPlatform, SimulatedProvider
from medveil.attestation.session import SessionSigner
from medveil.imaging import reader, samples
from medveil.imaging.windowing import to_display


def crop() -> np.ndarray:
    """786 x 512 RGB (the paper's size) of three regions of a chest X-ray; no retina image of that size is at hand."""
    grey = to_display(reader.read(samples.load("xray-chest-1024.png")))
    return np.ascontiguousarray(np.stack([grey[:512, :786], grey[100:612, 100:886], grey[300:812, 200:986]], -1))


@lru_cache(maxsize=1)
def platform() -> SimulatedPlatform:
    return SimulatedPlatform.create(int(time.time()) - 600)


def provider() -> SimulatedProvider:
    return SimulatedProvider(platform())


def session_signer() -> SessionSigner:
    return SessionSigner(provider(), int(time.time()) - 5)
