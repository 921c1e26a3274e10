"""Small real datasets for the tests of recognition."""

from __future__ import annotations

import shutil
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


@pytest.fixture(scope="session")
def few(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the dataset `breast`: 12 ultrasound pictures of each of 3 classes, in class folders."""
    root = tmp_path_factory.mktemp("few")
    for label in ("benign", "malignant", "normal"):
        (root / "breast" / label).mkdir(parents=True)
        for source in sorted((shared_data / "breast_ultrasound_busi" / "train" / label).glob("*.png"))[::4][:12]:
            shutil.copyfile(source, root / "breast" / label / source.name)
    return root
