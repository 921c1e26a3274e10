"""Results as data: one JSON record a task, gathered into results.json and results.parquet with environment and seeds.

A record's file is written whole or not at all, so an interrupted run leaves only finished tasks, and the next run of
the same plan goes on with the others. Records of another version, or of another plan, are refused.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from medveil.errors import ConfigError, FormatError, InputError, MissingExtraError
from medveil.schemes.bundle import new_file

FORMAT: Final = "medveil-evaluation"
VERSION: Final = 1
RESULTS, TABLE = "results.json", "results.parquet"
_TASKS, _EVIDENCE, _STARTED = "tasks", "evidence", "plan.json"
_PACKAGES: Final = ("medveil", "numpy", "numba", "torch", "scipy", "scikit-learn", "imagecodecs", "cryptography")
_MAX_FILE: Final = 256 << 20


@dataclass(slots=True)
class Record:
    """What one task gave: a row, a corpus, a measure (and which attack), and its figures.

    status: "done"; "refused" where the scheme or corpus cannot be measured so (a typed error said why); "failed"
    where something broke. pictures: file names under ``evidence/``. seed: of the task.
    """

    subject: str
    scheme: str
    options: dict[str, Any]
    corpus: str
    measure: str
    detail: str
    seed: int
    status: str
    note: str = ""
    seconds: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The name of the task, which is also its file's and its anchor in the report."""
        return task_key(self.subject, self.corpus, self.measure, self.detail)


def task_key(subject: str, corpus: str, measure: str, detail: str) -> str:
    """Return the name of a task as a file name."""
    said = "--".join(part for part in (subject, corpus, measure, detail) if part)
    return "".join(c if c.isalnum() or c == "-" else "-" for c in said.lower()).replace("---", "-")


@dataclass(slots=True)
class Results:
    """Everything that was measured, and under what."""

    plan: dict[str, Any]
    digest: str
    environment: dict[str, Any]
    corpora: dict[str, dict[str, Any]]
    claims: dict[str, dict[str, Any]]
    command: str
    records: list[Record]
    title: str = ""
    finished: str = ""

    def of(self, subject: str, measure: str, detail: str | None = None) -> list[Record]:
        """Return the records of a row and measure, one a corpus, in the order of the plan."""
        return [
            r
            for r in self.records
            if r.subject == subject and r.measure == measure and (detail is None or r.detail == detail)
        ]

    @property
    def subjects(self) -> list[str]:
        """The rows in order."""
        return list(self.claims)


def environment() -> dict[str, Any]:
    """Return what a number depends on: versions, processor, cores. No names of machines or people."""
    processor = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        processor = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), processor)
    except OSError:
        pass
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


class Folder:
    """The folder of a run: tasks, evidence, and what was gathered."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, digest: str, *, force: bool) -> int:
        """Take the folder for a plan, named by its digest; returns how many tasks are there already.

        Raises ConfigError where it holds results of another plan, or other files, and `force` is not set; FormatError
        where a different version of medveil's results is there.
        """
        started = self.path / _STARTED
        if started.is_file():
            said = _read(started)
            check_version(said, started)
            if said.get("plan") != digest:
                if not force:
                    raise ConfigError(
                        f"{self.path} holds results of another plan: choose another folder, or pass --force to replace"
                    )
                self._clear()
        elif self.path.exists() and any(self.path.iterdir()) and not force:
            raise ConfigError(f"{self.path} holds other files: choose another folder, or pass --force")
        elif force:
            self._clear()
        for folder in (self.path / _TASKS, self.path / _EVIDENCE):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(started, {"format": FORMAT, "version": VERSION, "plan": digest})
        return sum(1 for _ in (self.path / _TASKS).glob("*.json"))

    def _clear(self) -> None:
        """Remove records and evidence of an earlier run; nothing else."""
        for old in (*(self.path / _TASKS).glob("*.json"), *(self.path / _EVIDENCE).glob("*.png")):
            old.unlink()

    def finished(self, key: str) -> Record | None:
        """Return a task's record where it is there and whole. Raises FormatError for one of another version."""
        path = self.path / _TASKS / f"{key}.json"
        return record_from(_read(path), path) if path.is_file() else None

    def write(self, record: Record, pictures: Mapping[str, Any]) -> None:
        """Write a task's pictures, then its record: with the record all of it is there."""
        from medveil.imaging.raster import encode_png

        for name, picture in pictures.items():
            file = f"{record.key}--{''.join(c if c.isalnum() else '-' for c in name)}.png"
            with new_file(self.path / _EVIDENCE / file, force=True) as working:
                working.write_bytes(encode_png(picture))
            record.pictures[name] = file
        said = {"format": FORMAT, "version": VERSION, **asdict(record)}
        write_json(self.path / _TASKS / f"{record.key}.json", said)

    def gather(self, results: Results) -> None:
        """Write results.json and results.parquet."""
        write_json(self.path / RESULTS, as_dict(results))
        write_table(self.path / TABLE, results)


def as_dict(results: Results) -> dict[str, Any]:
    """Return results as one JSON-ready object."""
    return {"format": FORMAT, "version": VERSION, **asdict(results)}


def write_json(path: Path, said: Mapping[str, Any]) -> None:
    """Write an object, whole or not at all; numbers that JSON has not become null."""
    with new_file(path, force=True) as working:
        working.write_text(json.dumps(plain(said), indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """Return a value as JSON has it: lists for tuples, null for what is no number."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_FILE:
        raise InputError(f"{path} is larger than a file of results may be")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{path} is no file of results: remove it to measure again") from None
    if not isinstance(said, dict):
        raise InputError(f"{path} is no file of results: remove it to measure again")
    return said


def check_version(said: Mapping[str, Any], path: Path) -> None:
    """Raise FormatError where an object is not of this format and version."""
    if said.get("format") != FORMAT:
        raise FormatError(f"{path} is not a result of medveil evaluate")
    if said.get("version") != VERSION:
        raise FormatError(
            f"{path} has results of version {said.get('version')}, and this medveil reads version {VERSION}: "
            "evaluate again into another folder"
        )


def record_from(said: Mapping[str, Any], path: Path) -> Record:
    """Return a record read from JSON. Raises FormatError for another version, InputError for other fields."""
    check_version(said, path)
    given = {k: v for k, v in said.items() if k not in ("format", "version")}
    try:
        return Record(**given)
    except TypeError:
        raise InputError(f"{path} is no record of a task: remove it to measure again") from None


def read(path: Path) -> Results:
    """Read results.json. Raises InputError where it is none, FormatError for another version."""
    file = path / RESULTS if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"there are no results in {path}: run medveil evaluate first")
    said = _read(file)
    check_version(said, file)
    records = [record_from({"format": FORMAT, "version": VERSION, **r}, file) for r in said.get("records", [])]
    try:
        return Results(**({k: v for k, v in said.items() if k not in ("format", "version")} | {"records": records}))
    except TypeError:
        raise InputError(f"{file} lacks fields of a file of results: evaluate again") from None


def rows(results: Results) -> Iterator[dict[str, Any]]:
    """Give one row a figure: the long form that Parquet holds."""
    for r in results.records:
        base = {
            "subject": r.subject,
            "scheme": r.scheme,
            "options": json.dumps(plain(r.options), sort_keys=True),
            "corpus": r.corpus,
            "measure": r.measure,
            "detail": r.detail,
            "status": r.status,
            "seed": r.seed,
            "seconds": r.seconds,
            "note": r.note,
        }
        for name, value in r.values.items() or {"": None}.items():
            yield base | {"figure": name} | _cells(value)


def _cells(value: Any) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(("value", "low", "high", "chance", "n", "text"))
    if isinstance(value, Mapping):
        found = {k: value.get(k) for k in ("value", "low", "high", "chance")}
        return empty | {k: None if v is None else float(v) for k, v in found.items()} | {"n": value.get("n")}
    if isinstance(value, bool | int | float):
        return empty | {"value": float(value)}
    return empty | {"text": None if value is None else str(value)}


def write_table(path: Path, results: Results) -> None:
    """Write the figures as Parquet; title, environment, plan and command stand in the file's metadata.

    Raises MissingExtraError without pyarrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("results as Parquet", "evaluate") from None
    texts = ("subject", "scheme", "options", "corpus", "measure", "detail", "status", "note", "figure", "text")
    numbers = ("seconds", "value", "low", "high", "chance")
    schema = pa.schema(
        [(t, pa.string()) for t in texts]
        + [(x, pa.float64()) for x in numbers]
        + [("seed", pa.int64()), ("n", pa.int64())]
    )
    about = {
        "format": FORMAT,
        "version": str(VERSION),
        "title": results.title,
        "command": results.command,
        "plan": json.dumps(plain(results.plan), sort_keys=True),
        "environment": json.dumps(plain(results.environment), sort_keys=True),
        "corpora": json.dumps(plain(results.corpora), sort_keys=True),
        "finished": results.finished,
    }
    table = pa.Table.from_pylist(list(rows(results)), schema=schema.with_metadata(about))
    with new_file(path, force=True) as working:
        pq.write_table(table, working, compression="zstd")


def now() -> str:
    """Return the time in UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def unfinished(records: Sequence[Record]) -> list[Record]:
    """Return the records of tasks that broke."""
    return [r for r in records if r.status == "failed"]
