"""Real pictures as material for the tests of attacks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import find_shared_data

from medveil.attacks.base import Material
from medveil.attacks.material import gather
from medveil.attacks.views import grey
from medveil.imaging.reader import read


@cache
def pictures(folder: str, count: int) -> tuple[np.ndarray, ...]:
    """The first pictures of a folder of the shared data, grey uint8."""
    data = find_shared_data()
    if data is None:
        pytest.skip("needs the shared image data: set MEDVEIL_SHARED_DATA")
    paths = sorted(Path(data / folder).iterdir())[:count]
    return tuple(grey(read(path).pixels[0]) for path in paths)


def brains(count: int, side: int = 224) -> list[np.ndarray]:
    """Real slices, or the middle `side` x `side` pixels of them."""
    per = -(-count // 4)
    kinds = ("glioma", "meningioma", "notumor", "pituitary")
    cut = slice((224 - side) // 2, (224 + side) // 2)
    found = [p[cut, cut] for kind in kinds for p in pictures(f"brain_tumor_mri/test/{kind}", per)][:count]
    return [np.ascontiguousarray(p) for p in found]


@cache
def material(scheme: str, count: int = 8, again: int = 0, side: int = 224, **options: Any) -> Material:
    """Encrypted brains, each its own gallery entry."""
    found = brains(count, side)
    return gather(
        scheme,
        found,
        options=options,
        gallery=found,
        gallery_index=list(range(count)),
        groups=[f"patient {i // 2}" for i in range(count)],
        gallery_groups=[f"patient {i // 2}" for i in range(count)],
        known=brains(12, side)[-1:],
        public=brains(20, side)[-8:],
        again=again,
    )
