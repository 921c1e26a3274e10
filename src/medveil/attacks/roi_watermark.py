"""Attacks on roi-watermark parts, run alike against both profiles: keystream reuse, a guessed region, unseen tampering.

The adversary is a cloud, or both, and knows the algorithm. Profile `paper` falls to all three; against `hardened` the
same steps find nothing, which is what the tests and docs/schemes/roi-watermark.md hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, NotAuthenticError, UnrecoverableError
from medveil.imaging.image import MedicalImage
from medveil.imaging.roi import ROI
from medveil.schemes.base import FindingKind, Part, Protected, Scheme
from medveil.schemes.roi_watermark import carriers, histogram_shift, paper, regions
from medveil.schemes.roi_watermark.share import MAGIC, PAPER, Share

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Recovered:
    """How many high half-samples (nibbles of 8-bit images) outside the region an attacker reads right.

    fraction: of all pixels outside the region. chance: what guessing the picture's most frequent nibble gives.
    """

    fraction: float
    chance: float


def _grey8(image: MedicalImage) -> Array:
    if image.pixels.dtype != np.uint8 or image.pixels.ndim != 3:
        raise InputError("the attacks are written for grey 8-bit images: give one")
    return image.pixels


def _high_share(protected: Protected) -> Share:
    return carriers.unpack(protected.parts[0].data)


def _high_nibbles(image: MedicalImage, region: ROI, share: Share) -> tuple[Array, Array]:
    """Return the true high nibbles outside the region as a flat array, and where they lie in the share's containers."""
    pixels = _grey8(image)
    outside = ~regions.region_mask(region, image)
    rows, columns = share.containers.shape[1:]
    where = np.zeros((pixels.shape[0], rows, columns), np.bool_)
    where[:, : image.rows, : image.columns] = outside
    return pixels[:, outside].reshape(-1) >> 4, where


def _score(read: Array, true: Array) -> Recovered:
    chance = float(np.bincount(true, minlength=16).max()) / true.size
    return Recovered(float((read == true).mean()), chance)


def keystream_reuse(
    known: Sequence[tuple[MedicalImage, Protected]], target: MedicalImage, protected: Protected, region: ROI
) -> Recovered:
    """Read the target's pixels outside a region that all images share, from images that the attacker knows.

    In profile paper equal regions give equal keys, so C = ((P + A) mod 256) XOR B has the same A and B in every
    image: each known (P, C) cuts the 256 candidates of (A, B) at a pixel, and what all survivors (or most of them)
    say about the target is taken. target: only used to count what was right.
    """
    shares = [_high_share(p) for _, p in known]
    aim = _high_share(protected)
    plain = [_known_containers(image, region, share) for (image, _), share in zip(known, shares, strict=True)]
    true, where = _high_nibbles(target, region, aim)
    cipher = aim.containers[where]
    pairs = [(p[where], share.containers[where]) for p, share in zip(plain, shares, strict=True)]
    votes = np.zeros((16, cipher.size), np.int16)
    for a in range(256):
        b = pairs[0][1] ^ (pairs[0][0] + np.uint8(a))
        fits = np.ones(cipher.size, np.bool_)
        for p, c in pairs[1:]:
            fits &= ((p + np.uint8(a)) ^ b) == c
        nibble = ((cipher ^ b) - np.uint8(a)) >> 4
        votes[nibble[fits], np.flatnonzero(fits)] += 1
    return _score(votes.argmax(axis=0), true)


def _known_containers(image: MedicalImage, region: ROI, share: Share) -> Array:
    """Return the high containers that the attacker computes from a known image."""
    if share.header.profile == PAPER:
        planes = regions.to_planes(_grey8(image))
        containers: Array = paper.embedded_planes(planes, regions.region_mask(region, image), region)[0][0]
        return containers
    # The tags and free bits of the hardened profile are keyed: only the upper bits can be known.
    return (regions.pad_planes(regions.to_planes(_grey8(image))) >> 4) << 4


def guessed_region(image: MedicalImage, guess: MedicalImage, protected: Protected, region: ROI) -> Recovered:
    """Read one share alone with keys made from a guess of the region's pixels.

    guess: any image that agrees with the true one inside the region (a template, an earlier export, a blank). In
    profile paper the keys are unkeyed hashes of the region, so a right guess is the key of both shares.
    """
    share = _high_share(protected)
    planes = regions.to_planes(_grey8(guess))
    blocks = paper.roi_blocks(region, *planes.shape)
    keys = paper.diffusion_keys([paper.folded_hash(block.cut(planes)) for block in blocks])
    containers = paper.undiffuse([share.containers], keys[:1])[0]
    true, where = _high_nibbles(image, region, share)
    if share.header.profile == PAPER:
        read, _, _ = histogram_shift.extract(containers, share.header.peaks[0], 0, high=True)
    else:
        read = containers >> 4
    return _score(read[where], true)


@dataclass(frozen=True, slots=True)
class TamperTrials:
    """What became of changes of one byte: how many were made, went unseen, were refused, and blocks that were flagged.

    unseen: nothing was reported and other pixels than the original's came back. false_blocks: flagged 16x16 blocks
    that do not hold the changed pixel, of all trials; most_blocks: flagged in one trial.
    """

    trials: int
    unseen: int
    refused: int
    false_blocks: int
    most_blocks: int


def tamper_outside(
    scheme: Scheme, image: MedicalImage, protected: Protected, region: ROI, trials: int, rng: np.random.Generator
) -> TamperTrials:
    """Change one byte of one share outside the region, many times, and restore.

    The attacker makes the unkeyed checksum of the share fit again. Raises InputError for carriers other than bytes.
    """
    outside = ~regions.region_mask(region, image)
    rows, columns = np.nonzero(outside)
    at = rng.integers(0, rows.size, trials)
    counts = _Counts(image, scheme)
    for i in range(trials):
        share = int(rng.integers(2))
        counts.try_one(protected, share, int(rows[at[i]]), int(columns[at[i]]), int(rng.integers(1, 256)))
    return TamperTrials(trials, counts.unseen, counts.refused, counts.false_blocks, counts.most_blocks)


class _Counts:
    """Runs trials and counts."""

    def __init__(self, image: MedicalImage, scheme: Scheme) -> None:
        self._image, self._scheme = image, scheme
        self.unseen = self.refused = self.false_blocks = self.most_blocks = 0

    def try_one(self, protected: Protected, share: int, row: int, column: int, by: int) -> None:
        """Change one byte of a share by `by` (exclusive or) and count whether it is seen, and where."""
        parts = list(protected.parts)
        parts[share] = _changed(parts[share], lambda c: c.__setitem__((0, row, column), c[0, row, column] ^ by))
        try:
            restored = self._scheme.restore(parts, protected.secret)
        except (NotAuthenticError, UnrecoverableError):
            self.refused += 1
            return
        found = restored.tamper_map
        if found is None or not isinstance(restored.image, MedicalImage):
            raise InputError("the scheme gives no tamper map")
        seen = [f for f in restored.findings if f.kind is not FindingKind.UNVERIFIED]
        wrong = not np.array_equal(restored.image.pixels, self._image.pixels)
        self.unseen += bool(wrong and not seen)
        grid = _blocks(found.touched[0])
        flagged = int(grid.sum())
        self.most_blocks = max(self.most_blocks, flagged)
        self.false_blocks += flagged - int(grid[row // 16, column // 16])


def _blocks(touched: Array) -> Array:
    rows, columns = (regions.padded(n) for n in touched.shape)
    whole = np.zeros((rows, columns), np.bool_)
    whole[: touched.shape[0], : touched.shape[1]] = touched
    return np.asarray(whole.reshape(rows // 16, 16, columns // 16, 16).any(axis=(1, 3)))


def _changed(part: Part, change: Callable[[Array], None]) -> Part:
    if part.data[:4] != MAGIC:
        raise InputError("the attack takes parts carried as bytes")
    share = carriers.unpack(part.data)
    containers = share.containers.copy()
    change(containers)
    touched = replace(share, containers=containers)
    return carriers.pack(touched.sealed(), "bytes")
