"""An index in memory-backed files, studies to put into it, and a slow oracle for what a query should give."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medveil.crypto.keyfile import OwnerKey
from medveil.vault.search.attributes import Attributes, Described
from medveil.vault.search.backend import Backend, Row, SQLiteBackend, row_id
from medveil.vault.search.building import IMPACTS, K1, B, Entry
from medveil.vault.search.cache import Cache
from medveil.vault.search.index import IndexOptions, SearchIndex
from medveil.vault.search.query import parse_query
from medveil.vault.search.reports import SearchReport
from medveil.vault.search.searching import search
from medveil.vault.search.terms import stems

OWNER = OwnerKey(bytes(range(32)))
DATASET = bytes(range(16))


class WatchedBackend(Backend):
    """A backend as its operator sees it: every question is kept, and every answer can be changed."""

    def __init__(self, inner: SQLiteBackend) -> None:
        self.inner = inner
        self.asked: list[list[bytes]] = []
        self.written: list[list[Row]] = []
        self.withheld: set[bytes] = set()
        self.changed: dict[bytes, bytes] = {}
        self.commits_hidden = 0
        self.fail_after_commit = False

    def head(self) -> int:
        return max(0, self.inner.head() - self.commits_hidden)

    def commits(self, after: int) -> list[tuple[int, bytes]]:
        found = self.inner.commits(after)
        return found[: len(found) - self.commits_hidden]

    def fetch(self, labels: Sequence[bytes]) -> dict[bytes, bytes]:
        self.asked.append(list(labels))
        found = {label: row for label, row in self.inner.fetch(labels).items() if label not in self.withheld}
        return {label: self.changed.get(label, row) for label, row in found.items()}

    def commit(self, version: int, record: bytes, rows: Iterable[Row], *, replace: bool = False) -> None:
        listed = list(rows)
        self.written.append(listed)
        self.inner.commit(version, record, listed, replace=replace)

    def sizes(self) -> tuple[int, int]:
        return self.inner.sizes()

    def close(self) -> None:
        self.inner.close()

    def everything(self) -> dict[bytes, bytes]:
        labels = {row_id(label): label for rows in self.written for label, _ in rows}
        with self.inner._database.use() as db:
            return {labels[number]: row for number, row in db.execute("SELECT id, ct FROM p")}


@dataclass
class IndexRoom:
    folder: Path
    options: IndexOptions = field(default_factory=IndexOptions)
    backend: WatchedBackend = field(init=False)
    index: SearchIndex = field(init=False)

    def __post_init__(self) -> None:
        self.backend = WatchedBackend(SQLiteBackend(self.folder / "index.sqlite"))
        self.index = self.machine("here")

    def machine(self, name: str) -> SearchIndex:
        """Another machine of the owner: the same index, a local state of its own."""
        (self.folder / name).mkdir(exist_ok=True)
        return SearchIndex(self.backend, Cache(self.folder / name), OWNER, DATASET, self.options)

    def find(self, query: str, *, limit: int = 100, offset: int = 0, index: SearchIndex | None = None) -> SearchReport:
        return search(index or self.index, parse_query(query), limit=limit, offset=offset)

    def uids(self, query: str, **options: int) -> list[str]:
        return [str(hit.study.attributes.get("StudyInstanceUID")) for hit in self.find(query, **options).hits]


def entry(uid: str, *, text: str = "", number: int = 0, instance: Attributes | None = None, **study: str) -> Entry:
    """One file of a study; `number` tells files of one study apart."""
    attributes: Attributes = {"StudyInstanceUID": uid, **study}
    own: Attributes = {
        "Modality": "CT", "SeriesInstanceUID": f"{uid}.1", "SOPInstanceUID": f"{uid}.1.{number}", **(instance or {})
    }  # fmt: skip
    object_id = f"{uid}/{number}".encode().ljust(16, b"\1")[-16:]
    return Entry(object_id, 1, 1000, Described(attributes, own, text or study.get("StudyDescription", "")))


def bm25(texts: dict[str, str], words: str, language: str = "english") -> dict[str, float]:
    """The textbook's BM25 of each document that has all words, with impacts in the index's steps."""
    counted = {uid: stems(text, language) for uid, text in texts.items()}
    mean = sum(sum(c.values()) for c in counted.values()) / max(1, len(counted))
    asked = list(stems(words, language))
    scores = {}
    for uid, counts in counted.items():
        if not asked or not all(counts[word] for word in asked):
            continue
        score = 0.0
        for word in asked:
            held = sum(1 for other in counted.values() if other[word])
            idf = math.log(1 + (len(counted) - held + 0.5) / (held + 0.5))
            norm = K1 * (1 - B + B * sum(counts.values()) / max(mean, 1.0))
            part = counts[word] / (counts[word] + norm)
            score += idf * (K1 + 1) * max(1, min(IMPACTS, round(IMPACTS * part))) / IMPACTS
        scores[uid] = score
    return scores
