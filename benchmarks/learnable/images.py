"""The real images of the measurements: brain MR slices and chest X-rays in grey, with the groups that go together."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

import numpy as np
from tests.conftest import find_shared_data

from medveil.attacks.views import grey
from medveil.imaging.reader import read
from medveil.imaging.resampling import resize

MRI, XRAY = "brain_tumor_mri", "chest_xray_nih"


@dataclass(frozen=True)
class Set:
    pictures: list[np.ndarray]
    groups: list[str]
    names: list[str]

    def spread(self, count: int) -> Set:
        """Take `count` of them, evenly over the set, so that all classes are there."""
        at = np.linspace(0, len(self.pictures) - 1, min(count, len(self.pictures))).astype(int)
        return Set([self.pictures[i] for i in at], [self.groups[i] for i in at], [self.names[i] for i in at])

    def sized(self, side: int) -> Set:
        return Set([resize(p, side, side) for p in self.pictures], self.groups, self.names)


@cache
def load(name: str, split: str) -> Set:
    data = find_shared_data()
    if data is None:
        raise SystemExit("needs the shared image data: set MEDVEIL_SHARED_DATA")
    with (data / name / "manifest.csv").open(encoding="utf-8") as handle:
        rows = [r for r in csv.DictReader(handle) if r["split"] == split]
    pictures = [grey(read(data / name / r["path"]).pixels[0]) for r in rows]
    return Set(pictures, [r["group"] for r in rows], [r["path"] for r in rows])
