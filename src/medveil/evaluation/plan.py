"""The plan of an evaluation: TOML, validated whole, every error named at once before anything runs.

::

    title = "chest and brain"
    seed = 1
    metrics = ["all"]            # or names of medveil.evaluation.measures
    attacks = ["all"]            # or names of medveil.attacks
    attack_options = { known-plaintext = { learners = ["linear"] } }    # keywords of attacks, where not their defaults

    [[corpora]]
    name = "chest-xray"
    path = "chest_xray_nih"      # in the folder of --data; leave out for the package's own pictures
    size = 64

    [[schemes]]                  # leave out for every scheme of the registry, with its variants
    scheme = "roi-watermark"
    label = "roi-watermark paper"
    options = { profile = "paper" }

    [effort]                     # how many images, trials, keys, epochs; see `Effort`
    [criteria]                   # what the columns without a yes or no ask for; see `Criteria`
"""

from __future__ import annotations

import inspect
import json
import tomllib
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from medveil.errors import ConfigError
from medveil.evaluation import measures, subjects
from medveil.evaluation.subjects import Subject

PACKAGED: Final = "packaged"
_MAX_PLAN: Final = 1 << 20
_STRICT: Final = ConfigDict(extra="forbid", frozen=True)


def _known_scheme(name: str) -> str:
    if name not in subjects.known():
        raise ValueError(f"there is no scheme {name!r}: choose of {', '.join(subjects.known())}")
    return name


def _known_metric(name: str) -> str:
    if name != "all" and name not in measures.names():
        raise ValueError(f"there is no metric {name!r}: choose of all, {', '.join(measures.names())}")
    return name


def _known_attack(name: str) -> str:
    from medveil.attacks import registry

    if name != "all" and name not in registry.names():
        raise ValueError(f"there is no attack {name!r}: choose of all, {', '.join(registry.names())}")
    return name


class CorpusPlan(BaseModel):
    """Pictures to measure on. path: relative to the data folder; None for what the package carries. size: side that
    pictures are scaled to, in pixels. images: at most so many are read.
    """

    model_config = _STRICT
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]
    title: str = ""
    path: str | None = None
    size: Annotated[int, Field(ge=16, le=1024)] = 64
    images: Annotated[int, Field(ge=8, le=100_000)] = 600

    @model_validator(mode="after")
    def _there(self, info: ValidationInfo) -> CorpusPlan:
        root = (info.context or {}).get("data")
        if self.path is not None:
            if root is None:
                raise ValueError(f"corpus {self.name} lies in a data folder: give one with --data")
            if not (Path(root) / self.path).exists():
                raise ValueError(f"corpus {self.name}: there is no {self.path} in the data folder")
        return self


class SchemePlan(BaseModel):
    """One row. label: what tables call it, the scheme's name where left out. options: the scheme's keywords."""

    model_config = _STRICT
    scheme: Annotated[str, AfterValidator(_known_scheme)]
    label: Annotated[str, Field(max_length=60)] = ""
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> SchemePlan:
        known = [p for p in inspect.signature(subjects.load(self.scheme)).parameters if p not in ("owner", "key")]
        wrong = sorted(set(self.options) - set(known))
        if wrong:
            raise ValueError(
                f"scheme {self.scheme} has no option {', '.join(wrong)}: it has {', '.join(known) or 'none'}"
            )
        return self

    def subject(self) -> Subject:
        """Return the row."""
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in self.options.items()}
        return Subject(self.label or self.scheme, self.scheme, options)


class Effort(BaseModel):
    """How much is done.

    images: protected, restored and attacked, a corpus. gallery: pictures that linkage looks through. tampers: changed
    bytes a part. keys: encryptions of one picture for statistics over keys. bits: for SP 800-22. known: pairs of the
    known plaintext attack. train: labelled images of the utility column; epochs, folds, model: its training.
    learned: whether attacks that train networks run.
    """

    model_config = _STRICT
    images: Annotated[int, Field(ge=2, le=10_000)] = 64
    gallery: Annotated[int, Field(ge=2, le=100_000)] = 240
    tampers: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    keys: Annotated[int, Field(ge=2, le=100_000)] = 1000
    bits: Annotated[int, Field(ge=1000, le=1 << 32)] = 1_000_000
    known: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = (16, 64)
    train: Annotated[int, Field(ge=20, le=1_000_000)] = 600
    epochs: Annotated[int, Field(ge=1, le=1000)] = 30
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    model: str = "small-cnn"
    learned: bool = True


class Criteria(BaseModel):
    """What passes in the columns that are numbers.

    speed: MB of pixels a second, one core: a study of 500 MB in under a minute at 10. stored: stored bytes over raw
    pixels: above 2 a plain copy in two places is cheaper.
    """

    model_config = _STRICT
    speed: Annotated[float, Field(gt=0)] = 10.0
    stored: Annotated[float, Field(gt=0)] = 2.0


class Plan(BaseModel):
    """What is measured; see the module's example. workers: processes at a time."""

    model_config = _STRICT
    title: Annotated[str, Field(max_length=200)] = "medveil evaluation"
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 20261128
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    corpora: tuple[CorpusPlan, ...]
    schemes: tuple[SchemePlan, ...] = ()
    metrics: tuple[Annotated[str, AfterValidator(_known_metric)], ...] = ("all",)
    attacks: tuple[Annotated[str, AfterValidator(_known_attack)], ...] = ("all",)
    attack_options: dict[Annotated[str, AfterValidator(_known_attack)], dict[str, Any]] = Field(default_factory=dict)
    effort: Effort = Effort()
    criteria: Criteria = Criteria()

    @model_validator(mode="after")
    def _attacks_take(self) -> Plan:
        from medveil.attacks import registry

        for name, options in self.attack_options.items():
            known = list(inspect.signature(registry.load(name)).parameters)
            wrong = sorted(set(options) - set(known))
            if wrong:
                has = ", ".join(known) or "none"
                raise ValueError(f"attack {name} has no option {', '.join(wrong)}: it has {has}")
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Plan:
        for what, names in (
            ("corpora", [c.name for c in self.corpora]),
            ("schemes", [s.slug for s in self.subjects()]),
        ):
            double = sorted({n for n in names if names.count(n) > 1})
            if double:
                raise ValueError(f"two {what} are called {', '.join(double)}: give each a label of its own")
        return self

    def subjects(self) -> tuple[Subject, ...]:
        """Return the rows: those of the plan, or every scheme there is with its variants."""
        return tuple(s.subject() for s in self.schemes) if self.schemes else subjects.every()

    def measure_names(self) -> tuple[str, ...]:
        """Return the metrics to take."""
        return measures.names() if "all" in self.metrics else tuple(dict.fromkeys(self.metrics))

    def attack_names(self) -> tuple[str, ...]:
        """Return the attacks to run."""
        from medveil.attacks import registry

        return registry.names() if "all" in self.attacks else tuple(dict.fromkeys(self.attacks))

    def digest(self) -> str:
        """Return 16 hex digits of what changes every result: seed, corpora, effort, options of attacks.

        Rows, metrics and attacks are not in it: a run of more of them goes on with what is there.
        """
        said = self.model_dump(mode="json", include={"seed", "corpora", "effort", "attack_options"})
        return blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=8).hexdigest()


def parse(values: Mapping[str, Any], data: Path | None = None) -> Plan:
    """Validate a plan. Raises ConfigError that names every error at once."""
    try:
        return Plan.model_validate(dict(values), context={"data": data})
    except ValidationError as error:
        lines = [f"{_place(e['loc'])}: {_message(e)}" for e in error.errors(include_url=False)]
        count = f"{len(lines)} errors" if len(lines) > 1 else "an error"
        raise ConfigError(f"the plan has {count}, nothing was run:\n  " + "\n  ".join(lines)) from None


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(f"[{part}]" if isinstance(part, int) else str(part) for part in loc).replace(".[", "[") or "plan"


def _message(error: Any) -> str:
    text = str(error["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def read(path: Path, data: Path | None = None) -> Plan:
    """Read a plan file. Raises ConfigError for what is no TOML, too long, or not valid."""
    if path.stat().st_size > _MAX_PLAN:
        raise ConfigError(f"{path} is larger than a plan may be ({_MAX_PLAN} bytes)")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML plan: {error}") from None
    return parse(values, data)


_QUICK_EFFORT: Final = {
    "images": 32, "gallery": 240, "tampers": 24, "keys": 40, "bits": 1_000_000, "known": (16, 64),
    "train": 300, "epochs": 15, "folds": 2, "learned": False,
}  # fmt: skip


def default(data: Path | None = None, *, quick: bool = False) -> Plan:
    """Return the plan that runs where none is given: every scheme, every metric and attack.

    data: a folder with ``chest_xray_nih`` and ``brain_tumor_mri``, or with BraTS volumes; what is there is used.
    Without it the package's own pictures are. Raises ConfigError where `data` holds neither.
    """
    return parse(
        {
            "title": "Every scheme, one benchmark" + (" (quick)" if quick else ""),
            "corpora": _corpora(data, quick=quick),
            "effort": _QUICK_EFFORT if quick else {},
            # the U-Net that learns from known pairs takes a minute a row and gains little on regression, in seconds
            "attack_options": {"known-plaintext": {"learners": ["places", "linear", "patches"]}} if quick else {},
        },
        data,
    )


def _corpora(data: Path | None, *, quick: bool) -> list[dict[str, Any]]:
    if data is None:
        return [{"name": "chest-xray", "title": "Chest X-rays that the package carries", "size": 64}]
    known = (
        ("chest-xray", "NIH chest X-rays", "chest_xray_nih"),
        ("brain-mr", "Brain MR", "brain_tumor_mri"),
        ("brats", "BraTS brain MR", "brats"),
    )
    images = 400 if quick else 2000
    found = [
        {"name": name, "title": title, "path": path, "size": 64, "images": images}
        for name, title, path in known
        if (data / path).exists()
    ]
    if not found:
        folders = ", ".join(path for _, _, path in known)
        raise ConfigError(f"{data} holds none of {folders}: name corpora in a plan, or leave --data out")
    return found
