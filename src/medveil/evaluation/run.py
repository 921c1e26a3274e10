"""Runs a plan: one task a row, corpus and measure, in processes of their own, resumable after any interruption.

A task's seed comes from the plan's and its name, so that its figures do not depend on which tasks ran before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from medveil.errors import MedveilError, MissingExtraError
from medveil.evaluation import measures
from medveil.evaluation.corpora import Corpus
from medveil.evaluation.corpora import load as load_corpus
from medveil.evaluation.measures import leakage, utility
from medveil.evaluation.measures.bench import Bench, Measured
from medveil.evaluation.plan import CorpusPlan, Effort, Plan
from medveil.evaluation.results import Folder, Record, Results, environment, now, plain, task_key
from medveil.evaluation.subjects import Subject

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Task:
    """One row before one corpus under one measure; detail: which attack, with which options."""

    subject: Subject
    corpus: CorpusPlan
    measure: str
    detail: str
    seed: int
    effort: Effort
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name."""
        return task_key(self.subject.label, self.corpus.name, self.measure, self.detail)

    def gave(self, record: Record) -> bool:
        """Whether a record is this task's, finished: a row of the same label may have had other options."""
        said = (record.scheme, plain(record.options), record.seed)
        return record.status != "failed" and said == (self.subject.scheme, plain(dict(self.subject.options)), self.seed)

    def record(self, status: str, note: str = "") -> Record:
        """Return an empty record of this task."""
        subject = self.subject
        names = (subject.label, subject.scheme, dict(subject.options), self.corpus.name, self.measure, self.detail)
        return Record(*names, self.seed, status, note)


def tasks(plan: Plan) -> Iterator[Task]:
    """Give the tasks of a plan: all that applies to a row, and the plain pictures that utility is compared with."""
    first = plan.corpora[:1]
    for subject in (*plan.subjects(), utility.PLAIN):
        for name in plan.measure_names():
            measure = measures.load(name)
            plain = subject == utility.PLAIN
            if plain and name != utility.MEASURE.name:
                continue
            details = [""]
            if name == leakage.MEASURE.name:
                details = [a for a in plan.attack_names() if leakage.applies(a, learned=plan.effort.learned)]
            # what does not depend on the pictures is taken once
            for corpus in plan.corpora if measure.per_corpus else first:
                for detail in details:
                    key = task_key(subject.label, corpus.name, name, detail)
                    options = plan.attack_options.get(detail, {})
                    yield Task(subject, corpus, name, detail, seed_of(plan.seed, key), plan.effort, options)


def seed_of(seed: int, key: str) -> int:
    """Return a task's own seed, below 2^32."""
    return int.from_bytes(blake2b(key.encode(), key=seed.to_bytes(8, "big"), digest_size=4).digest(), "big")


_held: dict[tuple[str, int], Corpus] = {}


def _corpus(plan: CorpusPlan, data: Path | None, seed: int) -> Corpus:
    """Return a corpus, read once a process."""
    where = (plan.model_dump_json(), seed)
    if where not in _held:
        _held[where] = load_corpus(plan, data, seed)
    return _held[where]


def perform(task: Task, data: Path | None, seed: int, out: Path) -> Record:
    """Take one measure and write its record; what the scheme refuses is recorded as refused.

    Raises MissingExtraError, and whatever else breaks in a scheme that is not a MedveilError.
    """
    started = time.perf_counter()
    try:
        bench = Bench(task.subject, _corpus(task.corpus, data, seed), task.effort, task.seed, task.detail, task.options)
        measured = measures.load(task.measure).take(bench)
        record = task.record("done", measured.note)
    except MissingExtraError:
        raise
    except MedveilError as error:
        measured, record = Measured(), task.record("refused", str(error))
    record.values, record.curves = measured.values, measured.curves
    record.seconds = round(time.perf_counter() - started, 3)
    Folder(out).write(record, measured.pictures)
    return record


def _settle() -> None:
    """Prepare a worker: one thread each, so that figures of time are those of one core."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")


def run(
    plan: Plan,
    out: Path,
    *,
    data: Path | None = None,
    command: str = "",
    force: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Take every measure of a plan that is not there yet, gather all, and return it.

    out: the folder; a second run of the same plan goes on where the first stopped. command: what to repeat it with.
    Raises ConfigError and FormatError as `Folder.start`, MissingExtraError; a scheme that breaks is recorded.
    """
    folder = Folder(out)
    folder.start(plan.digest(), force=force)
    corpora = {c.name: _corpus(c, data, plan.seed) for c in plan.corpora}
    todo = list(tasks(plan))
    records = {t.key: r for t in todo if (r := folder.finished(t.key)) is not None and t.gave(r)}
    tick = progress or (lambda _what, _done, _total: None)
    tick("", len(records), len(todo))
    waiting = [t for t in todo if t.key not in records]
    for task, record in _performed(waiting, plan, data, out):
        records[task.key] = record
        tick(f"{task.subject.label}: {task.detail or task.measure}", len(records), len(todo))
    results = Results(
        plan=plan.model_dump(mode="json"),
        digest=plan.digest(),
        environment=environment(),
        corpora={c.name: describe(c) for c in corpora.values()},
        claims={s.label: asdict(s.claim()) for s in plan.subjects()},
        command=command,
        records=[records[t.key] for t in todo],
        title=plan.title,
        finished=now(),
    )
    folder.gather(results)
    return results


def describe(corpus: Corpus) -> dict[str, Any]:
    """Return what a report says of a corpus."""
    return {
        "title": corpus.title,
        "source": corpus.source,
        "images": len(corpus),
        "size": list(corpus.images.shape[1:]),
        "classes": list(corpus.classes),
        "groups": len(set(corpus.groups)),
        "digest": corpus.digest(),
    }


def _performed(waiting: list[Task], plan: Plan, data: Path | None, out: Path) -> Iterator[tuple[Task, Record]]:
    """Perform tasks in worker processes and give each with its record as it ends."""
    if not waiting:
        return
    # Spawned, not forked: workers start clean, whatever threads the caller has.
    pool = ProcessPoolExecutor(min(plan.workers, len(waiting)), mp_context=get_context("spawn"), initializer=_settle)
    try:
        pending: dict[Future[Record], Task] = {pool.submit(perform, t, data, plan.seed, out): t for t in waiting}
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                task = pending.pop(future)
                yield task, _outcome(task, future, out)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _outcome(task: Task, future: Future[Record], out: Path) -> Record:
    """Return a task's record; of one that broke, a record that says how. Raises MissingExtraError."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, MissingExtraError):
        raise error
    record = task.record("failed", f"{type(error).__name__}: {error}"[:500])
    Folder(out).write(record, {})
    return record
