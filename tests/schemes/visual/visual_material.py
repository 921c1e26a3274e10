"""Real images, a simulated platform with its policy, and readers of vectors for the tests of the visual scheme."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.attestation.policy import parse_policy
from medveil.attestation.providers.simulated import SimulatedPlatform, SimulatedProvider
from medveil.cli.attest import simulation_policy
from medveil.imaging import reader, samples
from medveil.imaging.image import MedicalImage
from medveil.imaging.windowing import to_display

VECTORS = Path(__file__).resolve().parents[3] / "vectors/visual"


@lru_cache
def image(name: str = "us-breast-benign.png") -> MedicalImage:
    return reader.read(samples.load(name))


@lru_cache
def shown(name: str = "us-breast-benign.png") -> npt.NDArray[np.uint8]:
    return to_display(image(name))


@lru_cache
def platform() -> SimulatedPlatform:
    return SimulatedPlatform.create(int(time.time()) - 600)


def provider(program: str = "signer") -> SimulatedProvider:
    return SimulatedProvider(platform(), program=program)


def policy() -> Any:
    return parse_policy(simulation_policy(platform()))


def collateral(_evidence: object) -> Any:
    return platform().collateral(int(time.time()) - 60)


def vector(path: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in path.read_text(encoding="ascii").splitlines())
    return {key: value.strip() for key, _, value in pairs}
