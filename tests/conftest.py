"""Where the tests find real images: the shared data beside the checkout, or what the package carries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("medveil", deadline=None)  # a busy machine is no wrong answer
settings.load_profile("medveil")

ROOT = Path(__file__).resolve().parent.parent


def find_shared_data() -> Path | None:
    """Return the folder of real images used by tests and benchmarks, or None where there is none."""
    candidates = [os.environ.get("MEDVEIL_SHARED_DATA"), ROOT.parent / "shared" / "data"]
    for candidate in candidates:
        if candidate and Path(candidate).is_dir():
            return Path(candidate)
    return None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images; skips the test where it is not there."""
    found = find_shared_data()
    if found is None:
        pytest.skip("needs the shared image data: set MEDVEIL_SHARED_DATA")
    return found
