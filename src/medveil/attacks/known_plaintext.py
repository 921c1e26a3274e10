"""Known plaintext: from some originals with their protected pictures, learn to decode the others of the same key.

Works on any scheme that gives pairs, and knows nothing of it. Four learners, from the quickest to the slowest:

places   finds where a key moved each sample, half or bit, and with what it masked it (`place_matching`)
linear   ridge regression from each 8 x 8 block of the protected picture to the block of the original at the same place
patches  regression from windows with random features, in two rounds (`patch_regression`); seconds
unet     a small U-Net that sees the protected picture and what `patches` made of it, and learns what to correct

Chance is the mean of the known originals, shown for every picture: what a guess without the protected picture reaches.
Where a scheme hides pictures, all learners end there.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.attacks import patch_regression, place_matching
from medveil.attacks.base import PSNR_CAP, Array, Attack, Material, Outcome, Progress, Score, measured
from medveil.attacks.patch_regression import Decoded
from medveil.attacks.views import alike, grey, side_by_side
from medveil.errors import InputError, MissingExtraError
from medveil.metrics.image_quality import psnr, ssim

Floats = npt.NDArray[np.float64]

BLOCK: Final = 8
LEARNERS: Final = ("places", "linear", "patches", "unet")
_RIDGE: Final = 1e-3
_MARGIN: Final = 1.0  # dB above the guess from which on the scheme counts as broken
_SHOWN: Final = 6


class KnownPlaintext(Attack):
    """Decodes from pairs.

    pairs: how many known pairs to learn from, one result for each number that the material holds; where it holds
    fewer than the smallest, all that are there. learners: of `LEARNERS`. steps, batch, channels: of the
    U-Net's training. Scores are psnr (dB) and ssim for each learner and number of pairs, the best PSNR first.
    """

    name: ClassVar[str] = "known-plaintext"
    title: ClassVar[str] = "Known plaintext: places, regression and a U-Net from pairs"
    needs: ClassVar[frozenset[str]] = frozenset({"originals", "protected", "known"})

    def __init__(
        self,
        *,
        pairs: tuple[int, ...] | int = (16, 64),
        learners: tuple[str, ...] | str = LEARNERS,
        steps: int = 400,
        batch: int = 8,
        channels: int = 12,
    ) -> None:
        self.pairs = (pairs,) if isinstance(pairs, int) else tuple(pairs)
        self.learners = (learners,) if isinstance(learners, str) else tuple(learners)
        if not self.pairs or min(self.pairs) < 1 or not set(self.learners) <= set(LEARNERS) or not self.learners:
            raise InputError(f"give positive numbers of pairs, and learners of {', '.join(LEARNERS)}")
        if min(steps, batch, channels) < 1:
            raise InputError("steps, batch and channels are at least 1")
        self.steps, self.batch, self.channels = steps, batch, channels

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Learn from the first pairs, decode every protected picture, compare."""
        originals, seen = _stacked(list(zip(material.originals, material.protected, strict=True)))
        plain, known = _stacked(material.known)
        if plain.shape[1:] != originals.shape[1:]:
            raise InputError("known pairs and protected pictures differ in size: give pairs of the same size")
        counts = [n for n in self.pairs if n <= len(plain)] or [len(plain)]
        jobs = [(learner, n) for n in counts for learner in self.learners]
        scores: dict[str, Score] = {}
        decoded: dict[str, npt.NDArray[np.uint8]] = {}
        guesses = {n: np.rint(plain[:n].mean(axis=0)).astype(np.uint8) for n in counts}
        patches: dict[int, Decoded] = {}
        for done, (learner, n) in enumerate(jobs):
            progress(done, len(jobs))
            if learner in ("patches", "unet") and n not in patches:
                patches[n] = patch_regression.decode(known[:n], plain[:n], seen, rng, both="unet" in self.learners)
            match learner:
                case "places":
                    found = place_matching.decode(known[:n], plain[:n], seen, guesses[n])
                case "linear":
                    found = _by_regression(known[:n], plain[:n], seen)
                case "patches":
                    found = _bytes(patches[n].seen)
                case _:
                    found = self._by_network(known[:n], plain[:n], seen, patches[n], rng)
            label = f"{learner} {n}"
            decoded[label] = found
            for name, measure in (("psnr", _psnr), ("ssim", ssim)):
                values = [measure(a, b) for a, b in zip(originals, found, strict=True)]
                chance = float(np.mean([measure(a, guesses[n]) for a in originals]))
                scores[f"{name} {label}"] = measured(values, chance, groups=material.groups)
        progress(len(jobs), len(jobs))
        best = max((name for name in scores if name.startswith("psnr")), key=lambda name: scores[name].value)
        ordered = {best: scores[best], **{name: score for name, score in scores.items() if name != best}}
        head = scores[best]
        broken = head.low > (head.chance or 0.0) + _MARGIN
        rows = [list(originals[:_SHOWN]), list(seen[:_SHOWN]), *(list(found[:_SHOWN]) for found in decoded.values())]
        note = (
            f"{best.removeprefix('psnr ')} pairs: {head.value:.1f} dB where the mean of the known originals gives "
            f"{head.chance:.1f} dB"
        )
        return Outcome(ordered, {"decoded": side_by_side(*rows)}, broken, note)

    def _by_network(self, known: Floats, plain: Floats, seen: Floats, first: Decoded, rng: np.random.Generator) -> Any:
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError("the U-Net of attack known-plaintext", "learn") from error
        from medveil.networks.image_ciphers import UNet

        rows, columns = known.shape[1:]
        side = min(64, rows // 4 * 4, columns // 4 * 4)
        if side < 4:
            raise InputError("pictures below 4 x 4 pixels are too small for a network: leave learner unet out")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(1 << 31)))
            network = UNet(2, self.channels)
        apart: Any = first.known  # the network learns from what regression got wrong on pairs that it had not seen
        x = torch.from_numpy(np.stack([known.astype(np.float32) / 255, apart], axis=1))
        y = torch.from_numpy(plain.astype(np.float32))[:, None] / 255
        optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        for _ in range(self.steps):
            chosen = torch.from_numpy(rng.integers(0, len(x), min(self.batch, len(x))))
            top, left = int(rng.integers(rows - side + 1)), int(rng.integers(columns - side + 1))
            top, left = top // 4 * 4, left // 4 * 4
            cut = (chosen, slice(None), slice(top, top + side), slice(left, left + side))
            optimiser.zero_grad()
            given = x[cut]
            loss: Any = torch.nn.functional.mse_loss(given[:, 1:] + network(given) - 0.5, y[cut])
            loss.backward()
            optimiser.step()
            schedule.step()
        network.eval()
        both = np.stack([seen.astype(np.float32) / 255, first.seen], axis=1)
        padded = np.pad(both, ((0, 0), (0, 0), (0, -rows % 4), (0, -columns % 4)), mode="edge")
        with torch.no_grad():
            out = [one[1] + network(torch.from_numpy(one)[None])[0, 0].numpy() - 0.5 for one in padded]
        return _bytes(np.stack(out)[:, :rows, :columns])


def _bytes(pictures: Any) -> Any:
    return np.rint(pictures * 255).clip(0, 255).astype(np.uint8)


def _stacked(pairs: list[tuple[Array, Array]]) -> tuple[Any, Any]:
    """Return originals and protected pictures in grey as two stacks (N, rows, columns) uint8."""
    fitting = [alike(grey(a), b) for a, b in pairs]
    if len({a.shape for a, _ in fitting}) != 1:
        raise InputError("pictures of several sizes: give pictures of one size")
    return np.stack([a for a, _ in fitting]), np.stack([grey(b) for _, b in fitting])


def _psnr(a: Array, b: Array) -> float:
    return min(PSNR_CAP, psnr(a, b))


def _by_regression(known: Array, plain: Array, seen: Array) -> Any:
    """Return what ridge regression from block to block makes of the protected pictures."""
    x, y = _blocks(known), _blocks(plain)
    centre, middle = x.mean(axis=0), y.mean(axis=0)
    x, y = x - centre, y - middle
    gram = x.T @ x
    weights = np.linalg.solve(gram + _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), x.T @ y)
    return _unblocked((_blocks(seen) - centre) @ weights + middle, seen.shape)


def _blocks(pictures: Array) -> Floats:
    """Return the blocks (N * down * across, 64) of pictures, edges repeated."""
    padded = np.pad(pictures, ((0, 0), (0, -pictures.shape[1] % BLOCK), (0, -pictures.shape[2] % BLOCK)), mode="edge")
    count, rows, columns = padded.shape
    split = padded.reshape(count, rows // BLOCK, BLOCK, columns // BLOCK, BLOCK).transpose(0, 1, 3, 2, 4)
    return np.asarray(split.reshape(-1, BLOCK * BLOCK), np.float64)


def _unblocked(blocks: Floats, shape: tuple[int, ...]) -> Any:
    count, down, across = shape[0], -(-shape[1] // BLOCK), -(-shape[2] // BLOCK)
    split = blocks.reshape(count, down, across, BLOCK, BLOCK).transpose(0, 1, 3, 2, 4)
    whole = split.reshape(count, down * BLOCK, across * BLOCK)[:, : shape[1], : shape[2]]
    return np.rint(whole).clip(0, 255).astype(np.uint8)


ATTACK = KnownPlaintext
