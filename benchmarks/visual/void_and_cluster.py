"""Makes src/medveil/schemes/visual/void_and_cluster.bin (Ulichney, SPIE 1913, 1993); the same bytes on every run.

python -m benchmarks.visual.void_and_cluster [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SIDE, SIGMA = 64, 1.9
TARGET = Path(__file__).resolve().parents[2] / "src/medveil/schemes/visual/void_and_cluster.bin"


def _kernel() -> np.ndarray:
    """Gaussian on the torus as integers, so that sums are exact and ties the same everywhere."""
    distance = np.minimum(np.arange(SIDE), SIDE - np.arange(SIDE)) ** 2
    return np.rint(np.exp(-(distance[:, None] + distance[None, :]) / (2 * SIGMA**2)) * (1 << 40)).astype(np.int64)


class Pattern:
    def __init__(self, bits: np.ndarray, kernel: np.ndarray) -> None:
        self.bits, self.kernel = bits.copy(), kernel
        self.energy = np.zeros((SIDE, SIDE), np.int64)
        for y, x in np.argwhere(bits):
            self.energy += np.roll(kernel, (y, x), (0, 1))

    def set(self, at: int, *, value: bool) -> None:
        y, x = divmod(at, SIDE)
        self.bits[y, x] = value
        self.energy += np.roll(self.kernel, (y, x), (0, 1)) * (1 if value else -1)

    def cluster(self) -> int:
        return int(np.argmax(np.where(self.bits, self.energy, np.iinfo(np.int64).min)))

    def void(self) -> int:
        return int(np.argmin(np.where(self.bits, np.iinfo(np.int64).max, self.energy)))


def make() -> np.ndarray:
    kernel = _kernel()
    # A start without a random generator: a lattice of irrational steps, then swaps until nothing improves.
    index = np.arange(SIDE * SIDE // 10)
    start = np.zeros((SIDE, SIDE), bool)
    start[(index * 0.7548776662466927 % 1 * SIDE).astype(int), (index * 0.5698402909980532 % 1 * SIDE).astype(int)] = (
        True
    )
    pattern = Pattern(start, kernel)
    while True:
        tight = pattern.cluster()
        pattern.set(tight, value=False)
        void = pattern.void()
        pattern.set(void, value=True)
        if void == tight:
            break
    ranks = np.zeros(SIDE * SIDE, np.int64)
    prototype, ones = pattern, int(pattern.bits.sum())
    down = Pattern(prototype.bits, kernel)
    for rank in range(ones - 1, -1, -1):
        at = down.cluster()
        down.set(at, value=False)
        ranks[at] = rank
    for rank in range(ones, SIDE * SIDE):
        at = prototype.void()
        prototype.set(at, value=True)
        ranks[at] = rank
    return ranks.reshape(SIDE, SIDE)


if __name__ == "__main__":
    data = make().astype("<u2").tobytes()
    if "--check" in sys.argv:
        assert TARGET.read_bytes() == data, "the shipped matrix differs from what this program makes"
        print("the shipped matrix is what this program makes")
    else:
        TARGET.write_bytes(data)
        print(f"wrote {len(data)} bytes")
