"""From files to rows: merges what files say of one study, counts words, and fills buckets.

The impact of a word in a study is the term-frequency part of BM25 (Robertson and Zaragoza 2009, eq. 3.15) with
k1 = 1.2, b = 0.75 and the mean length when it was written, in 1/255 of its supremum; the inverse document frequency
is multiplied in at the query. Postings of other fields have impact 0 and lie newest first.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from medveil.crypto import canonical
from medveil.crypto.hashing import tagged
from medveil.vault.search.attributes import Attributes, Described
from medveil.vault.search.backend import Row
from medveil.vault.search.cache import Counter, StudyState
from medveil.vault.search.commits import COUNTER, OBJECT, STUDY, Changes, Totals
from medveil.vault.search.reports import Instance, StudyRecord, encode_instances
from medveil.vault.search.rows import POSTING, IndexKeys, TermKey, pad_record, padded_rows
from medveil.vault.search.terms import MAX_WORDS, Classes, Term, classes, instance_terms, stems, study_terms

if TYPE_CHECKING:
    from medveil.vault.search.index import IndexOptions

K1: Final = 1.2
B: Final = 0.75
IMPACTS: Final = 255
"""Steps of an impact."""
BATCH: Final = 64
"""Instances in one row of a study at most."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file to be indexed: the vault's object and version, its size in bytes, and what it says of itself."""

    object_id: bytes
    version: int
    size: int
    described: Described = field(repr=False)


def impact(count: int, length: int, mean: float) -> int:
    """Return the impact of a word that occurs `count` times among `length` words, 1 to IMPACTS."""
    part = count / (count + K1 * (1 - B + B * length / max(mean, 1.0)))
    return max(1, min(IMPACTS, round(IMPACTS * part)))


def merged(old: StudyRecord | None, entries: Sequence[Entry], language: str) -> StudyRecord:
    """Return a study's record with further files in it: what is known stays, what was empty is filled, words add up."""
    attributes: Attributes = {} if old is None else dict(old.attributes)
    words = Tally({} if old is None else old.words)
    series = dict.fromkeys(() if old is None else old.series)
    count = 0 if old is None else old.instances
    for entry in entries:
        described = entry.described
        for keyword, value in described.study.items():
            attributes.setdefault(keyword, value)
        for keyword, several in (("Modality", "ModalitiesInStudy"), ("BodyPartExamined", "BodyPartExamined")):
            _include(attributes, several, described.instance.get(keyword))
        uid = str(described.instance.get("SeriesInstanceUID", ""))
        known = uid and tagged("series", uid.encode())[:8] in series
        if uid and not known:
            series[tagged("series", uid.encode())[:8]] = None
        if not known or described.instance.get("Modality") == "SR":
            for stem, number in stems(described.text, language).items():
                # A study's description stands in each of its files: it counts once, not once a file.
                words[stem] = (
                    max(words[stem], number) if described.instance.get("Modality") != "SR" else (words[stem] + number)
                )
        count += entry.version == 1 or old is None
    return StudyRecord(attributes, dict(words.most_common(MAX_WORDS)), tuple(series), count)


def _include(attributes: Attributes, keyword: str, value: str | int | list[str] | None) -> None:
    held = attributes.get(keyword, [])
    if isinstance(held, list) and isinstance(value, str) and value not in held:
        attributes[keyword] = [*held, value]
    elif not isinstance(held, list):
        del attributes[keyword]


class Builder:
    """Collects what one commit writes. anew: for compaction, where every term begins again."""

    def __init__(self, keys: IndexKeys, totals: Totals, options: IndexOptions, *, anew: bool = False) -> None:
        self._keys = keys
        self._options = options
        self._anew = anew
        self._totals = Totals() if anew else totals
        self._mean = totals.length / totals.documents if totals.documents else 0.0
        self._postings: dict[Term, list[tuple[int, int, int, int]]] = {}
        self._rows: list[Row] = []
        self._studies: list[tuple[bytes, int, int, int, int, bytes]] = []
        self._gone: list[bytes] = []
        self._objects: list[tuple[bytes, int]] = []

    def study(
        self, token: bytes, state: StudyState, old: StudyRecord | None, record: StudyRecord, entries: Sequence[Entry]
    ) -> None:
        """Put in further files of one study."""
        instances = [Instance(one.object_id.hex(), one.version, one.size, one.described.instance) for one in entries]
        self._objects += [(one.object_id, one.version) for one in entries]
        self._enter(token, state, old, record, instances)

    def whole(self, token: bytes, state: StudyState, record: StudyRecord, instances: Sequence[Instance]) -> None:
        """Put in a study from its records, for compaction."""
        self._enter(token, StudyState(state.generation), None, record, instances)

    def keep(self, token: bytes, state: StudyState) -> None:
        """Remember the generation of a study that was removed."""
        self._studies.append((token, state.generation, 0, 0, 0, bytes(16)))

    def objects(self, objects: Iterable[tuple[bytes, int]]) -> None:
        """Say which objects are in the index."""
        self._objects += list(objects)

    def remove(self, token: bytes, state: StudyState) -> None:
        """Take a study out."""
        document = self._keys.document(token, state.generation)
        self._gone.append(document.to_bytes(8, "little"))
        self._studies.append((token, state.generation + 1, 0, 0, 0, bytes(16)))
        self._totals = replace(self._totals, documents=max(0, self._totals.documents - 1))

    def _enter(
        self,
        token: bytes,
        state: StudyState,
        old: StudyRecord | None,
        record: StudyRecord,
        instances: Sequence[Instance],
    ) -> None:
        document = self._keys.document(token, state.generation)
        said = classes(record.attributes)
        terms = study_terms(record.attributes, record.words, prefixes=self._options.prefixes)
        digest = _digest(terms, said)
        length = sum(record.words.values())
        self._count(old, length, said.day)
        if digest != state.digest or not state.rows:
            for term, count in terms.items():
                strength = impact(count, length, self._mean or length) if term[0] == "text" else 0
                self._postings.setdefault(term, []).append((document, strength, said.day, said.bits))
        for instance in instances:
            for term in instance_terms(instance.attributes):
                held = self._postings.setdefault(term, [])
                if not held or held[-1][0] != document:
                    held.append((document, 0, said.day, said.bits))
        name = document.to_bytes(8, "little")
        self._record(self._keys.record("study", name), state.rows, record.encode())
        batches = state.batches
        listed = self._keys.record("instances", name)
        for start in range(0, len(instances), BATCH):
            self._record(listed, batches, encode_instances(list(instances[start : start + BATCH])))
            batches += 1
        self._studies.append((token, state.generation, document, state.rows + 1, batches, digest))

    def _count(self, old: StudyRecord | None, length: int, day: int) -> None:
        totals = self._totals
        before = 0 if old is None else sum(old.words.values())
        self._totals = Totals(
            documents=totals.documents + (old is None),
            length=max(0, totals.length + length - before),
            first_day=min((one for one in (totals.first_day, day) if one), default=0),
            last_day=max(totals.last_day, day),
        )

    def _record(self, key: TermKey, number: int, data: bytes) -> None:
        (label,) = key.labels(number, 1)
        self._rows.append((label, key.seal(label, pad_record(data))))

    def finish(self, counters: Callable[[list[bytes]], list[Counter]]) -> tuple[list[Row], Changes]:
        """Return the rows, sorted by label, and what the commit says. counters: the state before, by name."""
        keys = [self._keys.term(term) for term in self._postings]
        names = [key.counter for key in keys]
        after = np.zeros(len(keys), COUNTER)
        states = counters(names)
        for at, (key, postings, state) in enumerate(zip(keys, self._postings.values(), states, strict=True)):
            padding = self._options.padding if self._anew else "bucket"
            rows = padded_rows(len(postings), key.width, padding)
            labels = key.labels(state.rows, rows)
            buckets = key.buckets(np.array(postings, POSTING), rows)
            self._rows += [(label, key.seal(label, data)) for label, data in zip(labels, buckets, strict=True)]
            base = rows if state.rows == 0 else state.base
            after[at] = (names[at], base, state.rows + rows, state.postings + len(postings))
        self._rows.sort()
        changes = Changes(
            base=self._anew,
            counters=after.tobytes(),
            studies=np.array(self._studies, STUDY).tobytes(),
            gone=b"".join(self._gone),
            objects=np.array(self._objects, OBJECT).tobytes(),
            totals=self._totals,
        )
        return self._rows, changes


def _digest(terms: Mapping[Term, int], said: Classes) -> bytes:
    listed = sorted([field, value, count] for (field, value), count in terms.items())
    return tagged("search summary", canonical.encode([listed, said.day, said.bits]))[:16]
