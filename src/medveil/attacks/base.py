"""What every attack is: `run` takes what an adversary has (`Material`) and says how much of it gives the images away.

An attack looks at originals only to score itself. Every score stands beside what a guess without the protected
picture would reach (`chance`), with a bootstrap interval over images (over patients where groups are known), so that
"broken" is a statement that can be checked and not an impression.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, UnsupportedError
from medveil.metrics import image_quality
from medveil.metrics.uncertainty import bootstrap

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]
PSNR_CAP: Final = 100.0
"""Equal pictures count as this many dB, so that means stay finite."""


@dataclass(slots=True)
class Material:
    """What an adversary has; pictures are uint8 (rows, columns) or (rows, columns, 3).

    scheme, options: the public algorithm; keys are never here.
    originals: the true images, in the order of `protected`; an attack only scores itself with them.
    protected: what the cloud sees of each image, as a picture (`attacks.views`).
    groups: patient or cluster of each original; empty where unknown.
    gallery: public pictures among which a protected one is looked for; gallery_index: where in the gallery the source
        of each protected picture lies, -1 where it does not; gallery_groups: whose they are.
    again: for each image, further encryptions of it with fresh randomness.
    known: (plain, protected) pairs made under the key of `protected`.
    oracle: encryption under that same key of pictures that the adversary chooses, picture to protected picture.
    public: images to learn from; encrypt_public: the public algorithm under the adversary's own keys, picture to
        protected picture (a new key for each call where the scheme draws one for each image).
    """

    scheme: str
    options: Mapping[str, Any] = field(default_factory=dict)
    originals: list[Array] = field(default_factory=list)
    protected: list[Array] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    gallery: list[Array] = field(default_factory=list)
    gallery_index: list[int] = field(default_factory=list)
    gallery_groups: list[str] = field(default_factory=list)
    again: list[list[Array]] = field(default_factory=list)
    known: list[tuple[Array, Array]] = field(default_factory=list)
    oracle: Callable[[Array], Array] | None = None
    public: list[Array] = field(default_factory=list)
    encrypt_public: Callable[[Array], Array] | None = None

    def lacks(self, needs: frozenset[str]) -> list[str]:
        """Return the names of `needs` that this material does not hold, sorted. Raises InputError for no such name."""
        unknown = needs - {f.name for f in fields(self)}
        if unknown:
            raise InputError(f"material has no {', '.join(sorted(unknown))}")
        return sorted(name for name in needs if not getattr(self, name))


@dataclass(frozen=True, slots=True)
class Score:
    """One measured value with its 95 % bootstrap interval, what chance gives, and over how many images."""

    value: float
    low: float
    high: float
    chance: float | None
    n: int

    @property
    def above_chance(self) -> bool:
        """Whether the whole interval lies above chance; False where no chance level is known."""
        return self.chance is not None and self.low > self.chance

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {"value": self.value, "low": self.low, "high": self.high, "chance": self.chance, "n": self.n}


@dataclass(frozen=True, slots=True, eq=False)
class AttackResult:
    """What an attack reached.

    scores: by name, in the order that matters to a reader; the first is the headline. pictures: uint8, by name, for
    people. broken: whether the attack got what it wanted, None where it says nothing. note: a sentence in plain words.
    """

    attack: str
    scheme: str
    scores: Mapping[str, Score]
    pictures: Mapping[str, Array] = field(default_factory=dict)
    broken: bool | None = None
    seconds: float = 0.0
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form; of the pictures, the names."""
        return {
            "attack": self.attack,
            "scheme": self.scheme,
            "scores": {name: score.as_dict() for name, score in self.scores.items()},
            "pictures": sorted(self.pictures),
            "broken": self.broken,
            "seconds": round(self.seconds, 3),
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What `Attack.perform` gives back; `run` adds the names and the time."""

    scores: Mapping[str, Score]
    pictures: Mapping[str, Array] = field(default_factory=dict)
    broken: bool | None = None
    note: str = ""


class Attack(ABC):
    """An attack. Options are constructor keywords with defaults; an instance holds no material.

    name: as on the command line. title: for a report. needs: the fields of `Material` that must not be empty.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    needs: ClassVar[frozenset[str]]

    def run(self, material: Material, *, seed: int, progress: Progress | None = None) -> AttackResult:
        """Run the attack; the same material and seed give the same scores.

        progress: called with (done, total). Raises UnsupportedError where the material lacks what `needs` names or
        the attack does not apply to the scheme, InputError where pictures do not fit each other.
        """
        lacking = material.lacks(self.needs)
        if lacking:
            raise UnsupportedError(f"attack {self.name} on {material.scheme} needs {', '.join(lacking)}: give that")
        started = time.perf_counter()
        outcome = self.perform(material, np.random.default_rng(seed), progress or (lambda _done, _total: None))
        return AttackResult(
            self.name,
            material.scheme,
            dict(outcome.scores),
            dict(outcome.pictures),
            outcome.broken,
            time.perf_counter() - started,
            outcome.note,
        )

    @abstractmethod
    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Do the work of `run`; what `needs` names is there. rng: the only source of chance."""


def measured(
    values: npt.ArrayLike, chance: float | None, *, seed: int = 0, groups: Sequence[str] | None = None
) -> Score:
    """Return the mean of one value an image as a `Score`; whole groups are resampled where there are any."""
    sample = np.asarray(values, np.float64)
    by = groups if groups else None
    found = bootstrap(sample, seed=seed, groups=by)
    return Score(found.value, found.low, found.high, chance, len(sample))


def likeness(
    originals: Sequence[Array], attacked: Sequence[Array], *, seed: int = 0, groups: Sequence[str] | None = None
) -> dict[str, Score]:
    """Return ssim, ms_ssim, ncc and psnr (dB) of reconstructions, each with the mean over images.

    originals, attacked: pictures of one size pairwise; compared in grey where either is grey. The chance level of
    each is the same measure against the original of another image, so what all images share counts for nothing.
    ncc is absolute: a negative shows as much as a positive. Raises InputError for sizes that do not fit.
    """
    from medveil.attacks.views import alike

    pairs = [alike(a, b) for a, b in zip(originals, attacked, strict=True)]
    measures: dict[str, Callable[[Array, Array], float]] = {
        "ssim": image_quality.ssim,
        "ms_ssim": image_quality.ms_ssim,
        "ncc": lambda a, b: abs(image_quality.ncc(a, b)),
        "psnr": lambda a, b: min(PSNR_CAP, image_quality.psnr(a, b)),
    }
    scores = {}
    for name, measure in measures.items():
        values = [measure(a, b) for a, b in pairs]
        strangers = [
            measure(pairs[i - 1][0], pairs[i][1])
            for i in range(len(pairs))
            if len(pairs) > 1 and pairs[i - 1][0].shape == pairs[i][1].shape
        ]
        chance = float(np.mean(strangers)) if strangers else None
        scores[name] = measured(values, chance, seed=seed, groups=groups)
    return scores


def ranked(
    ranks: Sequence[int], candidates: int, *, seed: int = 0, groups: Sequence[str] | None = None
) -> dict[str, Score]:
    """Return top1 and top5 of a search, with chance 1 / candidates and 5 / candidates.

    ranks: for each protected picture the place of its true source, 0 the first. Raises InputError for no candidates.
    """
    if candidates < 1:
        raise InputError("a search among no candidates: give a gallery")
    places = np.asarray(ranks)
    return {f"top{k}": measured(places < k, min(1.0, k / candidates), seed=seed, groups=groups) for k in (1, 5)}
