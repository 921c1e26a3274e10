"""A leakage report for one's own images before they are uploaded: what a scheme would give away, in plain words.

The images are encrypted here, under fresh keys, and attacked here; nothing leaves the machine. The gallery among which
an attacker looks is made of the same images: the question is whether he would know them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.attacks import registry
from medveil.attacks.base import AttackResult, Material, Progress
from medveil.attacks.image_sets import Collection
from medveil.attacks.material import gather
from medveil.attacks.report import Page
from medveil.errors import InputError, UnsupportedError

Array = npt.NDArray[Any]

LOOKS: Final = ("leading-bit", "minimum-difference", "learned-reconstruction", "jigsaw")
KEYS: Final = ("tanaka-known-plaintext", "patchwise-known-plaintext")
SLOW: Final = ("learned-reconstruction", "known-plaintext")
_AGAIN: Final = 8
_AGAIN_IMAGES: Final = 8
_KNOWN: Final = 16


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What to find out. sample: how many images are attacked. learned: whether to train the reconstruction network."""

    scheme: str
    options: Mapping[str, Any]
    sample: int = 60
    learned: bool = False
    seed: int = 0


def material_of(inquiry: Inquiry, images: Collection, progress: Progress | None = None) -> Material:
    """Encrypt a sample of the images; the gallery is all of them, and those not in the sample are public.

    Raises InputError for a sample of fewer than two.
    """
    if len(images.pictures) < 2 or inquiry.sample < 2:
        raise InputError(
            f"{len(images.pictures)} images, a sample of {inquiry.sample}: attacks are scored on two at least"
        )
    rng = np.random.default_rng(inquiry.seed)
    count = min(inquiry.sample, len(images.pictures))
    inside = sorted(int(i) for i in rng.permutation(len(images.pictures))[:count])
    outside = [i for i in range(len(images.pictures)) if i not in set(inside)]
    own, rest = images.take(inside), images.take(outside)
    grouped = all(images.groups)
    known = min(_KNOWN if inquiry.learned else 4, len(rest.pictures) // 2)
    return gather(
        inquiry.scheme,
        own.pictures,
        options=inquiry.options,
        groups=own.groups if grouped else (),
        gallery=images.pictures,
        gallery_index=inside,
        gallery_groups=images.groups if grouped else (),
        again=_AGAIN - 1,
        again_images=_AGAIN_IMAGES,
        known=rest.pictures[:known],
        public=rest.pictures[known:],
        progress=progress,
    )


def run_attacks(
    names: Sequence[str],
    material: Material,
    seed: int,
    tick: Callable[[str, int, int], None],
    tuned: Mapping[str, Any] | None = None,
) -> tuple[list[AttackResult], list[tuple[str, str]]]:
    """Run attacks; returns the results, and which did not apply and why.

    tick: called with (attack, done, total). tuned: options that every one of the attacks takes.
    """
    results, skipped = [], []
    for name in names:
        try:
            attack = registry.load(name)(**(tuned or {}))
            results.append(attack.run(material, seed=seed, progress=partial(tick, name)))
        except (UnsupportedError, InputError) as error:
            skipped.append((name, str(error)))
    return results, skipped


def leakage(
    inquiry: Inquiry,
    images: Collection,
    *,
    utility: Mapping[str, Any] | None = None,
    tick: Callable[[str, int, int], None] | None = None,
) -> Page:
    """Return the report: its first line says what leaks.

    utility: what a network reached on the images plain and encrypted, for the page to say beside it.
    """
    said = tick or (lambda _name, _done, _total: None)
    material = material_of(inquiry, images, lambda d, t: said("encrypting", d, t))
    names = [n for n in registry.names() if inquiry.learned or n not in SLOW]
    names = [n for n in names if "oracle" not in registry.load(n).needs]  # nobody encrypts what the cloud chooses
    results, skipped = run_attacks(names, material, inquiry.seed, said)
    if not inquiry.learned:
        skipped += [(name, "takes minutes: pass --learned") for name in SLOW if name in registry.names()]
    headline, bad = words(results)
    facts = [
        ("scheme", f"{inquiry.scheme} {_listed(inquiry.options)}"),
        ("images attacked", f"{len(material.protected)} of {len(images.pictures)} that were read"),
    ]
    if utility is not None:
        facts.append(("what a network learns", str(utility["words"])))
    extra: dict[str, Any] = {
        "scheme": inquiry.scheme,
        "options": dict(inquiry.options),
        "images": len(images.pictures),
        "sample": len(material.protected),
        "seed": inquiry.seed,
        "utility": None if utility is None else dict(utility),
        "notes": list(images.notes),
    }
    paragraphs = [*_explained(results), *images.notes]
    return Page(f"What {inquiry.scheme} would leak", headline, bad, results, facts, paragraphs, skipped, extra)


def words(results: Sequence[AttackResult]) -> tuple[str, bool]:
    """Return the first line of a report, and whether something leaks."""
    broken = {r.attack: r for r in results if r.broken}
    leaks = []
    if "linkage" in broken:
        top1 = broken["linkage"].scores["top1"]
        by = f" (chance {top1.chance:.1%})" if top1.chance is not None else ""
        leaks.append(
            f"who it is: {top1.value:.0%} of the encrypted pictures are found among candidates without a key{by}"
        )
    elif "same-patient" in broken:
        leaks.append("who it is: other pictures of the same patient are found from the encrypted one")
    looks = [name for name in LOOKS if name in broken]
    if any(name in broken for name in KEYS):
        leaks.append("everything, once a few pictures are known: the key of the whole data set follows from them")
    if looks:
        best = max((broken[name] for name in looks), key=lambda r: r.scores["ssim"].value)
        leaks.append(f"what it looks like: likeness (SSIM) {best.scores['ssim'].value:.2f} by {best.attack}")
    elif "multi-encryption" in broken:
        leaks.append("what it looks like, if an image is ever encrypted twice")
    others = sorted(set(broken) - {"linkage", "same-patient", *KEYS, "multi-encryption", *LOOKS})
    if others:
        leaks.append(f"what {', '.join(others)} gets")
    if not leaks:
        return "Nothing that was tried here got beyond chance on this sample; that is no proof of safety.", False
    return f"It would leak {'; and '.join(leaks)}.", True


def _explained(results: Sequence[AttackResult]) -> list[str]:
    broken = {r.attack for r in results if r.broken}
    looks = broken & set(LOOKS)
    if "linkage" in broken and not looks:
        return [
            "The scheme hides looks from a person, not identity from a program: whoever has candidates finds yours."
        ]
    if "linkage" in broken:
        return ["The scheme hides neither looks nor identity from an attacker who knows how it works."]
    return []


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in options.items())
