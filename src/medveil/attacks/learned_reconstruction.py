"""Learned reconstruction: a small U-Net learns to undo the encryption from public pictures and the public algorithm.

The adversary encrypts public images of the same kind (or of another) under keys of his own, again and again, and trains
a network from encrypted to plain; then he applies it to the pictures he was given. Nothing about the victim's key or
images is used. The network sees squares of `patch` x `patch` pixels as channels (space to depth), in clear and folded
(`attacks.folding`), which makes CPU minutes enough; of squares that were filled with one value it sees that value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from medveil.attacks.base import Attack, Material, Outcome, Progress, likeness
from medveil.attacks.pictures import counts, examples
from medveil.attacks.views import grey
from medveil.errors import InputError, MissingExtraError
from medveil.networks.unet import unet

if TYPE_CHECKING:
    import torch
    from torch import nn

Array = npt.NDArray[Any]


class LearnedReconstruction(Attack):
    """A U-Net trained for `steps` of `batch` public pictures.

    width, depth: of the network. patch: side of the squares that become channels. rate: the highest learning rate.
    device: a torch device, or auto for a GPU where there is one.
    """

    name: ClassVar[str] = "learned-reconstruction"
    title: ClassVar[str] = "Learned reconstruction"
    needs: ClassVar[frozenset[str]] = frozenset({"protected", "originals", "public", "encrypt_public"})

    def __init__(
        self,
        *,
        steps: int = 600,
        batch: int = 8,
        width: int = 48,
        depth: int = 3,
        patch: int = 4,
        rate: float = 2e-3,
        device: str = "auto",
    ) -> None:
        if steps < 1 or batch < 1 or patch < 1 or not rate > 0:
            raise InputError(f"{steps} steps of {batch} pictures at rate {rate}, patch {patch}: give positive numbers")
        self.steps, self.batch, self.width, self.depth = steps, batch, width, depth
        self.patch, self.rate, self.device = patch, rate, device

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Train on the public pictures, then reconstruct the protected ones."""
        try:
            import torch
        except ImportError:
            raise MissingExtraError("attack learned-reconstruction", "learn") from None
        shape = material.protected[0].shape
        public = [p for p in material.public if p.shape[:2] == material.originals[0].shape[:2]]
        if any(p.shape != shape for p in material.protected) or not public:
            raise InputError("protected and public pictures must have one size: give such, or resize before encrypting")
        device = self.device if self.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(1 << 31)))
            channels = 1 if len(shape) == 2 else shape[2]
            filled = all(_filled(p, self.patch) for p in material.protected)
            inputs = 2 * channels * (1 if filled else self.patch**2)
            network = unet(inputs, self.patch**2, width=self.width, depth=self.depth).to(device)
            self._train(network, material, public, rng, progress, device, filled=filled)
            found = self._reconstruct(network, material, device, filled=filled)
        scores = likeness(
            [grey(o) for o in material.originals], found, seed=int(rng.integers(1 << 31)), groups=material.groups
        )
        note = f"a U-Net after {self.steps} steps on {len(public)} public pictures"
        return Outcome(scores, examples(material, found), counts(scores), note)

    def _train(
        self,
        network: nn.Module,
        material: Material,
        public: list[Array],
        rng: np.random.Generator,
        progress: Progress,
        device: str,
        *,
        filled: bool,
    ) -> None:
        import torch

        encrypt = material.encrypt_public
        if encrypt is None:
            raise InputError("the material holds no way to encrypt public pictures")
        optimiser = torch.optim.AdamW(network.parameters(), lr=self.rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.rate, total_steps=self.steps + 1)
        network.train()
        for step in range(self.steps):
            chosen = rng.integers(0, len(public), self.batch)
            plain = [public[int(i)][:, :: int(rng.choice((-1, 1)))] for i in chosen]
            x = self._inputs([encrypt(np.ascontiguousarray(p)) for p in plain], device, filled=filled)
            y = self._targets([grey(p) for p in plain], device)
            guess = self._pictures(network(x), y.shape[2:])
            loss = (guess - y).abs().mean() + 0.5 * (1 - _ssim(guess, y))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            progress(step + 1, self.steps)

    def _reconstruct(self, network: nn.Module, material: Material, device: str, *, filled: bool) -> list[Array]:
        import torch

        network.eval()
        found = []
        with torch.no_grad():
            for original, picture in zip(material.originals, material.protected, strict=True):
                guess = self._pictures(network(self._inputs([picture], device, filled=filled)), original.shape[:2])[
                    0, 0
                ]
                found.append(np.rint(guess.clamp(0, 1).cpu().numpy() * 255).astype(np.uint8))
        return found

    def _inputs(self, pictures: list[Array], device: str, *, filled: bool) -> torch.Tensor:
        """Return encrypted pictures and their folds, space to depth: (N, 2 channels patch^2, H / patch, W / patch).

        filled: one sample of each square instead of all patch^2.
        """
        import torch
        from torch.nn import functional as F

        stack = np.stack([p if p.ndim == 3 else p[..., None] for p in pictures])
        if filled:
            stack = stack[:, :: self.patch, :: self.patch]
        x = torch.from_numpy((stack.astype(np.float32) / 127.5 - 1).transpose(0, 3, 1, 2)).to(device)
        x = torch.cat([x, x.abs() * 2 - 1], dim=1)  # (N, 2 channels, H, W)
        if filled:
            return x
        down, across = (-n % self.patch for n in x.shape[2:])
        return F.pixel_unshuffle(F.pad(x, (0, across, 0, down), mode="replicate"), self.patch)

    def _targets(self, pictures: list[Array], device: str) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.stack(pictures)[:, None].astype(np.float32) / 255).to(device)

    def _pictures(self, out: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        from torch.nn import functional as F

        return F.pixel_shuffle(out, self.patch)[..., : size[0], : size[1]]  # (N, 1, H, W)


def _filled(picture: Array, patch: int) -> bool:
    """Return whether every patch x patch square of a picture holds one value in each channel."""
    spread = np.repeat(np.repeat(picture[::patch, ::patch], patch, axis=0), patch, axis=1)
    return bool((spread[: picture.shape[0], : picture.shape[1]] == picture).all())


def _ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the mean SSIM of (N, 1, H, W) in 0..1 over 7 x 7 squares, to train with."""
    from torch.nn import functional as F

    def blur(x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 7, stride=1)

    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    return ((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4))).mean()


ATTACK = LearnedReconstruction
