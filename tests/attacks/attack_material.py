"""Real pictures as material for the tests of attacks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tests.conftest import find_shared_data

from medveil.attacks.base import Material
from medveil.attacks.material import gather
from medveil.attacks.views import grey
from medveil.imaging.reader import read


@cache
def pictures(folder: str, count: int) -> tuple[np.ndarray, ...]:
    """The first pictures of a folder of the shared data, grey uint8."""
    data = find_shared_data()
    assert data is not None
    paths = sorted(Path(data / folder).iterdir())[:count]
    return tuple(grey(read(path).pixels[0]) for path in paths)


def brains(count: int) -> list[np.ndarray]:
    per = -(-count // 4)
    kinds = ("glioma", "meningioma", "notumor", "pituitary")
    return [p for kind in kinds for p in pictures(f"brain_tumor_mri/test/{kind}", per)][:count]


@cache
def material(scheme: str, count: int = 8, again: int = 0, **options: Any) -> Material:
    """Encrypted brains, each its own gallery entry."""
    found = brains(count)
    return gather(
        scheme,
        found,
        options=options,
        gallery=found,
        gallery_index=list(range(count)),
        groups=[f"patient {i // 2}" for i in range(count)],
        gallery_groups=[f"patient {i // 2}" for i in range(count)],
        known=brains(12)[-1:],
        public=list(pictures("brain_tumor_mri/train/glioma", 8)),
        again=again,
    )
