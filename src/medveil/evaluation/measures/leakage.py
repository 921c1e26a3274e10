"""Attacks: each of `medveil.attacks` on each row, with what it needs gathered through the scheme's public interface."""

from __future__ import annotations

import numpy as np

from medveil.attacks import material, registry
from medveil.attacks.base import PSNR_CAP
from medveil.evaluation.measures.bench import Bench, Measure, Measured, Pixels, image_of, interval
from medveil.imaging.image import MedicalImage
from medveil.metrics.image_quality import psnr
from medveil.metrics.uncertainty import bootstrap

_AGAIN = 32  # encryptions of one picture: what raises the attack on SKK most in its table
_AGAIN_IMAGES = 4


def take(bench: Bench) -> Measured:
    """Run the attack that `detail` names."""
    given_options = {k: tuple(v) if isinstance(v, list) else v for k, v in bench.options.items()}
    attack = registry.load(bench.detail)(**given_options)
    corpus, effort = bench.corpus, bench.effort
    first, others = corpus.apart(effort.images, max(effort.gallery, 3 * max(effort.known)))
    needs = attack.needs
    size = min(effort.gallery, len(corpus))
    pairs = max(effort.known) if "known" in needs else 0
    given = material.gather(
        bench.subject.scheme,
        [corpus.images[i] for i in first],
        options=bench.subject.options,
        cls=bench.subject.load(),
        groups=[corpus.groups[i] for i in first],
        gallery=list(corpus.images[:size]),
        gallery_index=[i if i < size else -1 for i in first],
        gallery_groups=list(corpus.groups[:size]),
        again=_AGAIN if "again" in needs else 0,
        again_images=_AGAIN_IMAGES,
        known=[corpus.images[i] for i in others[:pairs]],
        public=[corpus.images[i] for i in others[pairs:]],
    )
    found = attack.run(given, seed=bench.seed)
    out = Measured({"broken": found.broken, "seconds": found.seconds}, note=found.note)
    out.values |= {name: score.as_dict() for name, score in found.scores.items()}
    out.values["above_chance"] = next((s.above_chance for s in found.scores.values()), None)
    out.pictures = dict(found.pictures)
    if "known" in needs and (owner := _owner(bench, [corpus.images[i] for i in first])):
        groups = [corpus.groups[i] for i in first]
        own = bootstrap(owner, seed=bench.seed, groups=groups)
        out.values["psnr of the owner"] = interval(own, len(owner))
        out.note += f"; the owner decodes {own.value:.1f} dB"
    return out


def _owner(bench: Bench, pictures: list[Pixels]) -> list[float]:
    """Return the PSNR in dB that the owner's own key reaches on what was attacked; nothing where it is no question."""
    scheme = bench.subject.make()
    if scheme.claim.lossless or scheme.claim.one_way:
        return []
    reached = []
    for picture in pictures:
        protected = scheme.protect(image_of(picture))
        back = scheme.restore(protected.parts, protected.secret).image
        if isinstance(back, MedicalImage):
            reached.append(min(PSNR_CAP, psnr(picture, np.asarray(back.pixels[0]))))
    return reached


def applies(attack: str, *, learned: bool) -> bool:
    """Whether an attack is run: those that train networks on public pictures only where the effort says so."""
    return learned or "public" not in registry.load(attack).needs


MEASURE = Measure(
    "attacks",
    "Attacks",
    "What an adversary gets. The only figures here that say something about security, and only of these attacks.",
    take,
)
