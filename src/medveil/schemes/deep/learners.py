"""One training step of each method in torch: networks, losses, optimisers (paper 004; sources at each class).

A learner's networks named in `KEPT` become the key; critics only serve training. Batches are float32 (N, 1, S, S) in
[0, 1]; codes are rounded to 8 bits in the forward pass and passed straight through in the backward pass, so the
networks learn with the loss that storing codes as bytes causes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medveil.networks import image_ciphers
from medveil.schemes.deep.roi_targets import lung_fields

KEPT: Final = ("encoder", "decoder", "roi")
Losses = dict[str, Tensor]


def networks_of(method: str, shape: Mapping[str, int]) -> dict[str, nn.Module]:
    """Return the networks that a key of that method and shape holds, not yet trained."""
    if method == "backprop":
        block, codes = shape["block"], shape["codes"]
        return {
            "encoder": image_ciphers.bottleneck_encoder(block, codes),
            "decoder": image_ciphers.bottleneck_decoder(block, codes),
        }
    build = image_ciphers.generator if method == "cyclegan" else image_ciphers.scrambler
    found: dict[str, nn.Module] = {role: build(shape["channels"], shape["blocks"]) for role in ("encoder", "decoder")}
    if method == "cyclegan":
        found["roi"] = image_ciphers.roi_network(shape["roi_channels"])
    return found


def rounded(codes: Tensor) -> Tensor:
    """Return codes as their 8-bit storage gives them back; the gradient passes straight through."""
    return codes + ((codes * 255).round() / 255 - codes).detach()


class Learner(ABC):
    """Networks with their optimisers; `step` takes one batch and returns its losses."""

    method: ClassVar[str]

    def __init__(self, shape: Mapping[str, int], rate: float) -> None:
        self.networks = nn.ModuleDict(networks_of(self.method, shape))
        self.rate = rate
        self.optimisers: dict[str, torch.optim.Optimizer] = {}

    @abstractmethod
    def step(self, batch: Tensor, noise: torch.Generator) -> Losses:
        """Update all networks once; returns detached losses by name."""

    def optimise(self, name: str, roles: tuple[str, ...], betas: tuple[float, float] = (0.9, 0.999)) -> None:
        """Give the networks of those roles an Adam of their own."""
        wanted = [p for role in roles for p in self.networks[role].parameters()]
        self.optimisers[name] = torch.optim.Adam(wanted, lr=self.rate, betas=betas)

    def take_rate(self, factor: float) -> None:
        """Set every optimiser's rate to `factor` times the plan's."""
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = self.rate * factor

    def reconstruct(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes and what the decoder makes of them."""
        codes = rounded(self.networks["encoder"](batch))
        return codes, self.networks["decoder"](codes)

    def update(self, name: str, loss: Tensor) -> None:
        """Take one step of that optimiser down the gradient of `loss`."""
        optimiser = self.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


class Backprop(Learner):
    """A bottleneck network trained by back-propagation; hidden codes are the cipher (Gao et al. 2022)."""

    method = "backprop"

    def __init__(self, shape: Mapping[str, int], rate: float) -> None:
        super().__init__(shape, rate)
        self.optimise("all", ("encoder", "decoder"))

    def step(self, batch: Tensor, noise: torch.Generator) -> Losses:  # noqa: ARG002 - this method draws none
        """Minimise the squared error of the reconstruction."""
        _, back = self.reconstruct(batch)
        loss = F.mse_loss(back, batch)
        self.update("all", loss)
        return {"reconstruction": loss.detach()}


class ScrambleAAE(Learner):
    """An adversarial autoencoder whose codes shall look like uniform noise (Bao and Xue 2021).

    The encoder minimises 50 MSE + 0.1 (D(codes) - 1)^2 + the distance of each picture's sorted codes from uniform.
    """

    method = "scramble_aae"

    def __init__(self, shape: Mapping[str, int], rate: float) -> None:
        super().__init__(shape, rate)
        self.networks["critic"] = image_ciphers.patch_critic(shape["channels"] // 2)
        self.optimise("all", ("encoder", "decoder"))
        self.optimise("critic", ("critic",), (0.5, 0.999))

    def step(self, batch: Tensor, noise: torch.Generator) -> Losses:
        """Update encoder and decoder, then the critic against fresh uniform noise."""
        critic = self.networks["critic"]
        codes, back = self.reconstruct(batch)
        flat = codes.flatten(1).sort(dim=1).values
        uniform = torch.linspace(0, 1, flat.shape[1], device=flat.device)
        spread = (flat - uniform).abs().mean()
        fooled = (critic(codes) - 1).square().mean()
        reconstruction = F.mse_loss(back, batch)
        self.update("all", 50 * reconstruction + 0.1 * fooled + spread)
        real = torch.rand(batch.shape, generator=noise, device=batch.device)
        judged = (critic(real) - 1).square().mean() + critic(codes.detach()).square().mean()
        self.update("critic", judged / 2)
        return {"reconstruction": reconstruction.detach(), "spread": spread.detach(), "critic": judged.detach()}


class CycleGAN(Learner):
    """DeepEDN: G encrypts into a hidden domain of uniform noise, F decrypts (Ding et al. 2022), and a ROI network.

    Losses are Cycle-GAN's (Zhu et al. 2017) with least squares: 10 |F(G(x)) - x| + 0.5 |G(F(y)) - y| + adversarial
    terms. The cycle of the hidden domain weighs less, since a picture cannot hold a noise image's content.
    """

    method = "cyclegan"

    def __init__(self, shape: Mapping[str, int], rate: float) -> None:
        super().__init__(shape, rate)
        for role in ("critic_hidden", "critic_plain"):
            self.networks[role] = image_ciphers.patch_critic(shape["channels"])
        self.optimise("generators", ("encoder", "decoder"), (0.5, 0.999))
        self.optimise("critics", ("critic_hidden", "critic_plain"), (0.5, 0.999))
        self.optimise("roi", ("roi",))

    def step(self, batch: Tensor, noise: torch.Generator) -> Losses:
        """Update both generators, both critics, and the ROI network on the new ciphertexts."""
        G, F_ = self.networks["encoder"], self.networks["decoder"]
        judge_hidden, judge_plain = self.networks["critic_hidden"], self.networks["critic_plain"]
        half = (max(1, len(batch) // 2), *batch.shape[1:])  # what noise becomes matters less than what pictures do
        hidden = torch.rand(half, generator=noise, device=batch.device)
        codes, back = self.reconstruct(batch)
        made = F_(hidden)
        cycle = (back - batch).abs().mean()
        other = (G(made) - hidden).abs().mean()
        fooled = (judge_hidden(codes) - 1).square().mean() + (judge_plain(made) - 1).square().mean()
        self.update("generators", 10 * cycle + 0.5 * other + fooled)
        judged = (judge_hidden(hidden) - 1).square().mean() + judge_hidden(codes.detach()).square().mean()
        judged = judged + (judge_plain(batch) - 1).square().mean() + judge_plain(made.detach()).square().mean()
        self.update("critics", judged / 2)
        wanted = torch.from_numpy(lung_fields((batch[:, 0] * 255).round().to(torch.uint8).cpu().numpy()))
        logits = self.networks["roi"](codes.detach())[:, 0]
        region = F.binary_cross_entropy_with_logits(logits, wanted.to(logits))
        self.update("roi", region)
        return {"cycle": cycle.detach(), "hidden": other.detach(), "critics": judged.detach(), "roi": region.detach()}


LEARNERS: Final[dict[str, type[Learner]]] = {c.method: c for c in (Backprop, ScrambleAAE, CycleGAN)}
