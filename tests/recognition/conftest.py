"""Small real datasets for the tests of recognition."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medveil.recognition.datasets import Dataset, load


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def xrays(shared_data: Path) -> Dataset:
    """120 chest X-rays of 32 x 32: the test part of the NIH set."""
    return load(shared_data / "chest_xray_nih", 32, split="test")


@pytest.fixture(scope="session")
def ultrasound(shared_data: Path) -> Dataset:
    """475 breast ultrasound pictures of 32 x 32, with their own split."""
    return load(shared_data / "breast_ultrasound_busi", 32)
