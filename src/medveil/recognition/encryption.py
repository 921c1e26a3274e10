"""Encrypts a labelled folder or a series, picture by picture, into a folder that networks are trained on.

::

    OUT/manifest.json       format, version, scheme, public options, and per image: name, label, group, split, sha256 of
                            the encrypted file, keyed digest of the source
    OUT/<label>/<name>.png  the encrypted pictures; `unlabelled` for a series

Nothing in OUT says a key, a DICOM header or, by default, a file's or patient's name (pseudonyms instead; who is who is
written to OUT.names.csv beside it, readable by its owner only). Work goes on in OUT.partial, which becomes OUT when all
is there; the same command goes on where it was interrupted. The ledger refuses to encrypt an image again under other
options (`schemes.learnable.ledger`).
"""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from medveil.errors import (
    InputError,
    MedveilError,
    OutputExistsError,
    PolicyError,
    StoreFullError,
    UnsupportedError,
    UsageError,
)
from medveil.recognition.encryption_sources import Form, Frame, Uniform, broken_reason, entries_of, frames_of
from medveil.recognition.layouts import Entry
from medveil.schemes import registry
from medveil.schemes.bundle import new_file
from medveil.schemes.learnable.base import ONE_WAY, LearnableScheme, encode
from medveil.schemes.learnable.ledger import Ledger

FORMAT: Final = "medveil-encrypted-dataset"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
_JOURNAL: Final = "journal.jsonl"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EncryptionPlan:
    """What to encrypt with, and how to treat what does not fit.

    scheme: a learnable scheme's name, with or without ``learnable-``; options: its options. form: what is done before.
    broken: refuse or skip files that cannot be read. names: pseudonym or keep. insecure_again: encrypt images again
    that were encrypted under other options.
    """

    scheme: str
    options: Mapping[str, Any] = field(default_factory=dict)
    form: Form = field(default_factory=Form)
    broken: str = "refuse"
    names: str = "pseudonym"
    insecure_again: bool = False


@dataclass(frozen=True, slots=True)
class EncryptionReport:
    """What was done: pictures written now and kept from before, notes for a person, bytes of samples, seconds."""

    out: Path
    scheme: str
    options: dict[str, Any]
    written: int
    kept: int
    notes: tuple[str, ...]
    sample_bytes: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "out": str(self.out),
            "scheme": self.scheme,
            "options": self.options,
            "written": self.written,
            "kept": self.kept,
            "notes": list(self.notes),
            "sample_bytes": self.sample_bytes,
            "seconds": round(self.seconds, 3),
        }


def make(plan: EncryptionPlan, key: bytes | None = None) -> LearnableScheme:
    """Return the plan's scheme. Raises UsageError for one that is not learnable or has no such option."""
    name = plan.scheme if plan.scheme.startswith("learnable-") else f"learnable-{plan.scheme}"
    cls = registry.load(name)
    if not issubclass(cls, LearnableScheme):
        raise UsageError(f"scheme {name!r} is not learnable")
    if plan.broken not in ("refuse", "skip") or plan.names not in ("pseudonym", "keep"):
        raise UsageError("broken files: refuse or skip; names: pseudonym or keep")
    if plan.form.mode not in ("keep", "grey", "rgb"):
        raise UsageError(f"mode {plan.form.mode!r}: choose keep, grey or rgb")
    try:
        return cls(key=key, **plan.options)
    except TypeError:
        known = ", ".join(k for k in cls().options)
        raise UsageError(
            f"scheme {name} has not all of the options {', '.join(plan.options)}: it has {known}"
        ) from None


def encrypt_dataset(
    source: Path,
    out: Path,
    plan: EncryptionPlan,
    ledger: Ledger,
    *,
    force: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
) -> EncryptionReport:
    """Encrypt a folder, or go on where the same call was interrupted.

    restart: throw away what an interrupted call has done. force: replace `out`. progress: called with (done, total).
    Raises OutputExistsError (also for the table of names beside `out`), InputError (nothing to encrypt, pictures that
    are not alike, broken files unless they are skipped), UnsupportedError, PolicyError for images encrypted before
    under other options, StoreFullError.
    """
    scheme = make(plan, ledger.data_set_key(plan.scheme.removeprefix("learnable-")))
    for there in (out, names_beside(out)):
        if there.exists() and not force:
            raise OutputExistsError(f"{there} exists already: choose another place or pass --force")
    entries = entries_of(source)
    if not entries:
        raise InputError(f"{source} holds no images")
    job = _Job(out, plan, scheme, ledger, restart=restart)
    try:
        job.run(entries, progress or (lambda _done, _total: None))
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StoreFullError(
            f"the disk is full after {job.done} of {len(entries)} files: free space and run the same command again"
        ) from None
    except MedveilError:
        job.forget_nothing()
        raise
    return job.finish()


def names_beside(encrypted: Path) -> Path:
    """Return where the table lies that says which source became which encrypted picture."""
    return encrypted.parent / f"{encrypted.name}.names.csv"


def read_names(table: Path) -> dict[str, str]:
    """Return that table: source by encrypted name; nothing where there is none."""
    if not table.is_file():
        return {}
    with table.open(newline="", encoding="utf-8") as handle:
        return {row[1]: row[0] for row in csv.reader(handle) if len(row) == 2}


class _Job:
    """One dataset on its way."""

    def __init__(
        self, out: Path, plan: EncryptionPlan, scheme: LearnableScheme, ledger: Ledger, *, restart: bool
    ) -> None:
        self.out, self.plan, self.scheme, self.ledger = out, plan, scheme, ledger
        self.work = out.parent / f"{out.name}.partial"
        self.head = {
            "scheme": scheme.name,
            "options": scheme.options,
            "ledger": ledger.id,
            "form": [plan.form.mode, plan.form.size, plan.form.window],
            "names": plan.names,
        }
        self.images: list[dict[str, Any]] = []
        self.who: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.seen: dict[str, str] = {}  # label by source
        self.names: set[str] = set()
        self.digests: dict[int, list[bytes]] = {}
        self.done = self.kept = self.sample_bytes = self.as_colour = self.repeated = 0
        self.uniform = Uniform(plan.form)
        self.started = time.perf_counter()
        if restart and self.work.exists():
            shutil.rmtree(self.work)
        self.before = self._before()

    def _before(self) -> dict[str, dict[str, Any]]:
        """Return what an interrupted call has written, by the keyed digest of its source and name."""
        journal = self.work / _JOURNAL
        if not journal.is_file():
            return {}
        lines = journal.read_text(encoding="utf-8").splitlines()
        try:
            records = [json.loads(line) for line in lines]
        except json.JSONDecodeError:  # the last line was cut short
            records = [json.loads(line) for line in lines[:-1]]
        if len(records) < 2:
            return {}
        if records[0] != self.head:
            raise InputError(f"{self.work} holds another encryption: finish that one, or pass --restart to discard it")
        return {f"{record['source']} {record['name']}": record for record in records[1:]}

    def forget_nothing(self) -> None:
        """Remove the working folder where it holds no picture."""
        if not self.before and not self.images and self.work.exists():
            shutil.rmtree(self.work)

    def run(self, entries: tuple[Entry, ...], progress: Progress) -> None:
        """Encrypt every entry, noting each in the journal once its file is whole."""
        self.work.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.work / _JOURNAL
        with path.with_suffix(".new").open("w", encoding="utf-8") as journal:
            for record in (self.head, *self.before.values()):
                journal.write(json.dumps(record, sort_keys=True) + "\n")
        path.with_suffix(".new").replace(path)
        with path.open("a", encoding="utf-8") as journal:
            for entry in entries:
                for frame in self._frames(entry):
                    record, fresh = self._encrypt(entry, frame)
                    self.images.append(record)
                    if fresh:
                        journal.write(json.dumps(record, sort_keys=True) + "\n")
                        journal.flush()
                self.done += 1
                progress(self.done, len(entries))
        if not self.images:
            shutil.rmtree(self.work)
            raise InputError(f"none of the {len(entries)} files could be read: {'; '.join(self.notes[:3])}")

    def _frames(self, entry: Entry) -> list[Frame]:
        try:
            return list(frames_of(entry, self.plan.form))
        except UnsupportedError:
            raise
        except MedveilError as error:
            if self.plan.broken == "refuse":
                raise InputError(
                    f"{entry.name} cannot be read ({error}): take it out, or pass --broken skip"
                ) from error
            self.notes.append(f"left out {broken_reason(entry, error)}")
            return []

    def _encrypt(self, entry: Entry, frame: Frame) -> tuple[dict[str, Any], bool]:
        try:
            self.uniform.check(frame)
        except InputError:  # in another form, every picture has to be made again
            if not self.before:
                shutil.rmtree(self.work)
            raise
        digest = self.ledger.digest(frame.pixels)
        options = {**self.scheme.options, "bits": frame.bits}
        if not self.plan.insecure_again:
            try:
                self.ledger.check(digest, self.scheme.name, options)
            except PolicyError as error:
                raise PolicyError(f"{entry.name}: {error}") from None
        self.digests.setdefault(frame.bits, []).append(digest)
        source = digest.hex()[:32]
        self.as_colour += frame.grey_stored_as_colour and frame.pixels.ndim == 3
        self._note_repeats(source, entry)
        record = self._record(entry, frame, source)
        if record["name"] in self.names:
            raise InputError(f"two pictures would both become {record['name']}: rename one, or use pseudonyms")
        self.names.add(record["name"])
        self.who.append((frame.name, record["name"]))
        target = self.work / record["name"]
        kept = self.before.get(f"{source} {record['name']}")
        if kept is not None and target.is_file() and sha256(target.read_bytes()).hexdigest() == kept["sha256"]:
            self.kept += 1
            return kept, False
        data = encode(self.scheme.encrypt(frame.pixels[None], bits=frame.bits)[0])
        self.sample_bytes += frame.pixels.nbytes
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            beside.write_bytes(data)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
        return {**record, "sha256": sha256(data).hexdigest()}, True

    def _note_repeats(self, source: str, entry: Entry) -> None:
        if source not in self.seen:
            self.seen[source] = entry.label
            return
        self.repeated += 1
        if self.seen[source] != entry.label:
            raise InputError(
                f"{entry.name} is labelled {entry.label}, the same picture also {self.seen[source]}: settle that first"
            )

    def _record(self, entry: Entry, frame: Frame, source: str) -> dict[str, Any]:
        label = entry.label or "unlabelled"
        if self.plan.names == "keep":
            stem = (
                re.sub(r"[^\w.-]+", "_", frame.name.removeprefix(f"{label}/").rsplit(".", 1)[0]).strip("._") or "image"
            )
            group = entry.group
        else:
            stem = self.ledger.pseudonym("image", frame.name)
            group = None if entry.group is None else self.ledger.pseudonym("group", entry.group)
        folder = re.sub(r"[^\w.-]+", "_", label).strip("._") or "label"
        return {
            "name": f"{folder}/{stem}.png",
            "label": entry.label or None,
            "group": group,
            "split": entry.split,
            "source": source,
        }

    def finish(self) -> EncryptionReport:
        """Write the manifest, and let the folder appear."""
        first = self.uniform.first
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "scheme": self.scheme.name,
            "options": self.scheme.options,
            "bits": first.bits if first else 8,
            "note": ONE_WAY,
            "images": self.images,
        }
        (self.work / _JOURNAL).unlink()
        with (self.work / MANIFEST).open("w", encoding="utf-8") as handle:
            json.dump(manifest, handle, indent=1, sort_keys=True)
            handle.flush()
            os.fsync(handle.fileno())
        for bits, digests in self.digests.items():  # before the pictures can leave
            self.ledger.record(digests, self.scheme.name, {**self.scheme.options, "bits": bits})
        if self.out.exists():
            shutil.rmtree(self.out)
        self.work.rename(self.out)
        if self.plan.names == "pseudonym":
            self._write_names()
        return EncryptionReport(
            self.out,
            self.scheme.name,
            self.scheme.options,
            len(self.images) - self.kept,
            self.kept,
            tuple(self._all_notes()),
            self.sample_bytes,
            time.perf_counter() - self.started,
        )

    def _write_names(self) -> None:
        path = names_beside(self.out)
        with new_file(path, force=True) as working, working.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("source", "encrypted"), *self.who])
        self.notes.append(f"who is who stands in {path}: keep it, and keep it to yourself")

    def _all_notes(self) -> list[str]:
        notes = list(self.notes)
        if self.as_colour:
            notes.append(
                f"{self.as_colour} grey pictures are stored as colour: three equal channels leak more than one, "
                "pass --mode grey"
            )
        if self.repeated:
            notes.append(f"{self.repeated} pictures occur more than once and were encrypted alike: equality shows")
        if not any(record["label"] for record in self.images):
            notes.append("no labels: a series is encrypted, and nothing can be trained on it as it is")
        return notes
