"""Jigsaw attack on block scrambling: blocks are put together again by how their edges fit.

After Chuman, Kurihara, Kiya, "Security Evaluation for Block Scrambling-Based ETC Systems against Extended Jigsaw Puzzle
Solver Attacks", IEEE ICME 2017: the solver handles turned, mirrored, negated and colour-shuffled blocks. Colours are
summed, which no shuffling changes; edges predict each other in a straight line; assembly grows greedily from the block
with most detail, always by the fit that is clearest against the second best. The whole picture may come out turned,
mirrored or negated, which a person sees through; so the best of these 16 counts.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.attacks import jigsaw_kernels as kernels
from medveil.attacks.base import Attack, Material, Outcome, Progress, likeness, measured
from medveil.attacks.pictures import examples
from medveil.attacks.views import grey
from medveil.errors import InputError, UnsupportedError
from medveil.metrics.image_quality import ncc
from medveil.schemes.learnable import blocks
from medveil.schemes.learnable.etc import turned

Array = npt.NDArray[Any]
_FLAT: Final = 2.0  # grey levels of spread below which a block holds nothing to fit
_MOST: Final = 400  # blocks; the misfits of all pairs are held in memory


def _edges() -> Array:
    """Return which form's right edge is the edge on each side of each form, int64 (4, 8)."""
    marks = np.arange(9).reshape(1, 3, 3, 1)
    forms = [turned(marks, form)[0, :, :, 0] for form in range(8)]
    rights = [(*form[:, -1], form[1, 1]) for form in forms]
    table = np.empty((4, 8), np.int64)
    for form, seen in enumerate(forms):
        sides = {
            kernels.RIGHT: seen[:, -1], kernels.LEFT: seen[:, 0], kernels.BOTTOM: seen[-1], kernels.TOP: seen[0]
        }  # fmt: skip
        for side, samples in sides.items():
            table[side, form] = rights.index((*samples, seen[1, 1]))
    return table


def solve(picture: Array, block: int) -> Array:
    """Return a block-scrambled picture put together, uint8 (rows, columns) in grey.

    picture: uint8 (rows, columns[, 3]), whole blocks. Raises UnsupportedError for more than 400 blocks.
    """
    summed = picture.astype(np.int16).sum(axis=2) if picture.ndim == 3 else picture.astype(np.int16)
    largest = 255 * (picture.shape[2] if picture.ndim == 3 else 1)
    cut = blocks.split(summed[..., None], block)
    down, across = cut.shape[:2]
    if down * across > _MOST:
        raise UnsupportedError(f"a jigsaw of {down * across} blocks: give pictures of at most {_MOST} blocks")
    pieces = cut.reshape(-1, block, block, 1)
    forms = np.stack([turned(pieces, form)[..., 0] for form in range(8)], axis=1).astype(np.float32)
    outer, inner = np.ascontiguousarray(forms[..., -1]), np.ascontiguousarray(forms[..., -2 if block > 1 else -1])
    costs = kernels.misfits(outer, inner, np.float32(largest))
    kernels.relative(costs)
    side = 2 * max(down, across) + 3
    board, turns, signs = np.full((side, side), -1, np.int64), *np.zeros((2, side, side), np.int64)
    start = int(forms[:, 0].std(axis=(1, 2)).argmax())
    top, left = kernels.assemble(costs, _edges(), start, down, across, board, turns, signs)
    out = np.zeros((down, across, block, block), np.float32)
    for y in range(down):
        for x in range(across):
            at = (top + y, left + x)
            if board[at] >= 0:
                found = forms[board[at], turns[at]]
                out[y, x] = largest - found if signs[at] else found
    whole = blocks.join(out[..., None])[..., 0]
    return np.asarray(np.rint(whole * 255 / largest).astype(np.uint8))


def forms_of(assembled: Array, original: Array) -> list[Array]:
    """Return those of the 16 forms of a whole picture, turned, mirrored or negated, that have the original's size."""
    stack = assembled[None, ..., None]
    views = [turned(stack, form)[0, ..., 0] for form in range(8)]
    fitting = [v for v in views if v.shape[0] >= original.shape[0] and v.shape[1] >= original.shape[1]]
    return [np.ascontiguousarray(w) for v in fitting for w in (v, 255 - v)]


def neighbours(original: Array, assembled: Array, block: int) -> float:
    """Return the share of the original's neighbouring blocks that are neighbours in the same way when assembled.

    Pairs of flat blocks, which fit by accident, are left out; 0 where there are no others.
    """
    true, found = (_pairs(p, block) for p in (original, assembled))
    return len(true & found) / len(true) if true else 0.0


def _pairs(picture: Array, block: int) -> set[tuple[str, bytes, bytes]]:
    cut = blocks.split(picture[..., None], block)[..., 0]
    names = {(y, x): cut[y, x].tobytes() for y in range(cut.shape[0]) for x in range(cut.shape[1])}
    flat = cut.std(axis=(2, 3)) < _FLAT
    pairs = set()
    for y, x in names:
        for way, other in (("right", (y, x + 1)), ("below", (y + 1, x))):
            if other in names and not (flat[y, x] or flat[other]):
                pairs.add((way, names[y, x], names[other]))
    return pairs


class Jigsaw(Attack):
    """Puts the blocks of each picture together; `most` pictures at most, since each takes seconds."""

    name: ClassVar[str] = "jigsaw"
    title: ClassVar[str] = "Jigsaw on scrambled blocks"
    needs: ClassVar[frozenset[str]] = frozenset({"protected", "originals"})

    def __init__(self, *, most: int = 12) -> None:
        if most < 1:
            raise InputError(f"{most} pictures: give at least one")
        self.most = most

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Solve the first pictures and score neighbours and likeness."""
        if material.scheme != "learnable-etc":
            raise UnsupportedError("the jigsaw is for schemes whose blocks keep their content: learnable-etc")
        block = int(material.options.get("block", 16))
        count = min(self.most, len(material.protected))
        originals = [grey(o) for o in material.originals[:count]]
        found, right, before = [], [], []
        for original, protected in zip(originals, material.protected, strict=False):
            forms = forms_of(solve(protected, block), original)
            scored = [
                (neighbours(original, f, block), ncc(original, f[: original.shape[0], : original.shape[1]]))
                for f in forms
            ]
            at = max(range(len(forms)), key=scored.__getitem__)
            found.append(forms[at])
            right.append(scored[at][0])
            before.append(neighbours(original, grey(protected), block))
            progress(len(found), count)
        seed = int(rng.integers(1 << 31))
        groups = material.groups[:count]
        scores = {"neighbours": measured(right, float(np.mean(before)), seed=seed, groups=groups)}
        scores |= likeness(originals, found, seed=seed, groups=groups)
        note = f"{scores['neighbours'].value:.0%} of neighbouring blocks with content are neighbours again"
        shown = Material(material.scheme, originals=originals, protected=material.protected[:count])
        return Outcome(scores, examples(shown, found), scores["neighbours"].low > 0.25, note)


ATTACK = Jigsaw
