"""Experiments as TOML: data, conditions (plain, encrypted, restored), networks, and the paper's figure for each run.

::

    title = "Paper 001, Table 2"          folds = 5        seed = 1
    [training]                            settings of `TrainingPlan` for every run
    [[data]]      name, path (below --data), size, mode, subset (images a class)
    [[condition]] name, scheme, options, source_size, per_block    or    recovery, sigma
    [[run]]       row, column, data, condition, model, paper, and settings that differ
    [pretraining] data, epochs, ...       weights that runs with `transfer = true` start from

The plans of the papers' experiments are carried in the folder `plans`, each in a quick and a full profile.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medveil.errors import ConfigError, InputError
from medveil.recognition.plan import TrainingPlan, plan_from

FOLDER = Path(__file__).resolve().parent / "plans"
_MAX_FILE = 1 << 20
Name = Annotated[str, Field(min_length=1, max_length=80)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Table):
    """A dataset below the data folder; `subset`: at most so many images of each class, chosen by the plan's seed."""

    name: Name
    path: Name
    size: int = Field(default=64, ge=1, le=8192)
    mode: Literal["grey", "rgb"] = "grey"
    subset: int | None = Field(default=None, ge=2)
    split: Literal["all", "train", "test"] = "all"
    findings: tuple[str, ...] = ()
    resolution: str | None = None


class Condition(_Table):
    """What happens to the images before a network sees them; nothing where neither scheme nor recovery is named.

    source_size: the size at which they are encrypted or shared, the data's own by default; restored pictures are then
    resized to the data's. per_block: see `protections.encrypt_images`. side: pictures thinned to fewer pixels are
    brought to that side by repeating pixels, for networks that shrink pictures too much to see them small.
    """

    name: Name
    scheme: str | None = None
    options: dict[str, str | int] = Field(default_factory=dict)
    source_size: int | None = Field(default=None, ge=1, le=8192)
    per_block: bool = False
    side: int | None = Field(default=None, ge=1, le=8192)
    recovery: Literal["stack", "xor", "descreen"] | None = None
    sigma: float = Field(default=1.5, gt=0)

    @model_validator(mode="after")
    def _one_protection(self) -> Condition:
        if self.scheme and self.recovery:
            raise ValueError(f"condition {self.name} names a scheme and a recovery: choose one")
        if self.side is not None and not self.per_block:
            raise ValueError(f"condition {self.name} repeats pixels of pictures that are not thinned: set per_block")
        return self


class Run(_Table):
    """One cell of a table: `row` and `column` place it; `paper` is the paper's figure, in percent or as an area.

    repeats: of this run, where they are not the plan's.
    """

    row: Name
    column: Name
    data: Name
    condition: Name
    paper: float | None = None
    transfer: bool = False
    repeats: int | None = Field(default=None, ge=1, le=100)
    settings: dict[str, Any] = Field(default_factory=dict)


class Pretraining(_Table):
    """Weights for `transfer`: a network of the same architecture trained on another dataset."""

    data: Name
    settings: dict[str, Any] = Field(default_factory=dict)


class Plan(_Table):
    """A whole experiment. hold_out: a share of the images to test on instead of folds.

    repeats: so many seeds, each with other first weights and other folds or another part held out.
    """

    title: str
    profile: Literal["quick", "full"]
    seed: int = Field(default=1, ge=0)
    folds: int = Field(default=5, ge=2, le=100)
    hold_out: float | None = Field(default=None, ge=0.1, le=0.9)
    repeats: int = Field(default=1, ge=1, le=100)
    measure: Literal["f1_macro", "f1_weighted", "auc"] = "f1_macro"
    note: str = ""
    training: dict[str, Any] = Field(default_factory=dict)
    data: tuple[Data, ...]
    condition: tuple[Condition, ...]
    run: tuple[Run, ...]
    pretraining: Pretraining | None = None

    @model_validator(mode="after")
    def _names_are_there(self) -> Plan:
        for kind, given in (("data", self.data), ("condition", self.condition)):
            names = [item.name for item in given]
            if len(names) != len(set(names)):
                raise ValueError(f"two tables of {kind} have one name")
            for run in self.run:
                if getattr(run, kind) not in names:
                    raise ValueError(f"run {run.row} / {run.column} names the {kind} {getattr(run, kind)!r}, not given")
        cells = [(run.row, run.column) for run in self.run]
        if len(cells) != len(set(cells)):
            raise ValueError("two runs have one row and column")
        if any(run.transfer for run in self.run) and self.pretraining is None:
            raise ValueError("a run asks for transfer and the plan has no pretraining")
        return self

    def training_of(self, run: Run, *, seed: int | None = None) -> TrainingPlan:
        """Return the settings of a run."""
        weights = {"weights": "from the pretraining"} if run.transfer else {}  # the file is there once it has run
        return plan_from({**self.training, **weights, **run.settings, "seed": self.seed if seed is None else seed})

    def named_data(self, name: str) -> Data:
        """Return the dataset of that name."""
        return next(d for d in self.data if d.name == name)

    def named_condition(self, name: str) -> Condition:
        """Return the condition of that name."""
        return next(c for c in self.condition if c.name == name)


def names() -> list[str]:
    """Return the names of the plans that are carried."""
    return sorted(p.stem for p in FOLDER.glob("*.toml"))


def read(name: str | Path) -> Plan:
    """Return a plan by the name of a carried one, or from a TOML file.

    Raises InputError where there is none, ConfigError with what is wrong in it.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = FOLDER / f"{name}.toml"
    if not path.is_file():
        raise InputError(f"there is no plan {name}: give a .toml file, or one of {', '.join(names())}")
    if path.stat().st_size > _MAX_FILE:
        raise InputError(f"{path} has more than {_MAX_FILE} bytes: it is no plan")
    try:
        plan = Plan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is not TOML: {e}") from e
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise ConfigError(f"{path}: {where or 'the plan'}: {first['msg'].lower()}") from e
    for run in plan.run:
        plan.training_of(run)
    return plan
