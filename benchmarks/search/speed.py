"""Time of a search, and bytes of a posting, at a million postings."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import machine, time_call
from benchmarks.search.corpora import hospital
from medveil.crypto.keyfile import OwnerKey
from medveil.vault.search.backend import Backend, SQLiteBackend
from medveil.vault.search.cache import Cache
from medveil.vault.search.index import IndexOptions, SearchIndex
from medveil.vault.search.query import parse_query
from medveil.vault.search.rows import POSTING, WIDE
from medveil.vault.search.searching import rank, search

OWNER = OwnerKey(bytes(range(32)))
BATCH = 5000


@contextmanager
def postgres() -> Iterator[Backend | None]:
    """A real PostgreSQL of our own, where it is installed."""
    from tests.integration.servers.postgres import have_postgres, run_postgres

    from medveil.vault.search.postgres import PostgresBackend

    if not have_postgres():
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="medveil-pg-") as folder, run_postgres(Path(folder)) as server:
        yield PostgresBackend(server.arguments())


def build(folder: Path, backend: Backend, studies: int) -> tuple[SearchIndex, float, float]:
    """Index studies in batches, then compact; returns the index and the seconds of both."""
    index = SearchIndex(backend, Cache(folder), OWNER, bytes(16), IndexOptions())
    start, batch = time.perf_counter(), []
    for entry in hospital(studies):
        batch.append(entry)
        if len(batch) == BATCH:
            index.add(batch)
            batch = []
    if batch:
        index.add(batch)
    added = time.perf_counter() - start
    start = time.perf_counter()
    index.compact()
    return index, added, time.perf_counter() - start


def report(name: str, index: SearchIndex, seconds: tuple[float, float]) -> None:
    with index.cache._database.use() as db:
        postings, rows = db.execute("SELECT sum(postings), sum(rows) FROM counters").fetchone()
        full, full_rows = db.execute(
            "SELECT sum(postings), sum(rows) FROM counters WHERE postings > ? AND rows < postings / 8", (10 * WIDE,)
        ).fetchone()
        studies = db.execute("SELECT count(*) FROM studies").fetchone()[0]
    print(f"\n{name}: {studies:,} studies, {postings:,} postings in {rows:,} rows")
    print(f"  added in {seconds[0]:.1f} s, compacted in {seconds[1]:.1f} s")
    row = 16 + 12 + WIDE * POSTING.itemsize + 16
    print(
        f"  {full:,} postings of terms with more than ten rows: {row * full_rows / full:.2f} B each in rows of {row} B"
    )
    stored, size = index.backend.sizes()
    print(f"  whole index: {stored:,} rows, {size / 2**20:.1f} MiB on disk, the records of studies included")
    queries = {
        "20k hits, all ranked": ("thoraxoverview", 10**9),
        "best 32 of 20k": ("thoraxoverview", 32),
        "two words": ("thoraxoverview artery", 100),
        "word, CT, a quarter": ("ModalitiesInStudy=CT&StudyDate=20240101-20240331 thoraxoverview", 100),
    }
    for label, (text, limit) in queries.items():
        query = parse_query(text)
        found, _ = rank(index, query, limit)
        timing = time_call(lambda q=query, n=limit: rank(index, q, n), runs=31, warmup=3)
        print(f"  {label:26} {1000 * timing.median:8.3f} ms  ({timing.spread} s) {len(found):,} studies")
    for label, text in {"page of 20 with records": "thoraxoverview", "a patient": "PatientID=00000017"}.items():
        query = parse_query(text)
        timing = time_call(lambda q=query: search(index, q, limit=20), runs=31, warmup=3)
        print(f"  {label:26} {1000 * timing.median:8.3f} ms  ({timing.spread} s)")


def full_rows_on_disk(folder: Path) -> None:
    """Bytes on disk of a table that holds nothing but full rows, as SQLite stores it."""
    backend = SQLiteBackend(folder / "full.sqlite")
    rows, size = 1_000_000 // WIDE, 12 + WIDE * POSTING.itemsize + 16
    empty = backend.sizes()[1]
    backend.commit(1, b"", sorted((os.urandom(16), os.urandom(size)) for _ in range(rows)))
    each = (backend.sizes()[1] - empty) / (rows * WIDE)
    print(f"\n{rows * WIDE:,} postings in full rows in SQLite: {each:.2f} B a posting on disk")
    backend.close()


def kept(folder: Path, studies: int) -> tuple[SearchIndex, float, float]:
    """Return the index that is kept in a folder, or make it."""
    if (folder / "index.sqlite").exists():
        backend = SQLiteBackend(folder / "index.sqlite")
        return SearchIndex(backend, Cache(folder / "sqlite"), OWNER, bytes(16), IndexOptions()), 0.0, 0.0
    (folder / "sqlite").mkdir(parents=True)
    return build(folder / "sqlite", SQLiteBackend(folder / "index.sqlite"), studies)


def main(studies: int, keep: Path | None, *, servers: bool) -> None:
    print(machine())
    with tempfile.TemporaryDirectory(prefix="medveil-search-") as name:
        folder = Path(name)
        full_rows_on_disk(folder)
        index, *seconds = kept(folder / "kept" if keep is None else keep, studies)
        report("SQLite", index, (seconds[0], seconds[1]))
        index.close()
        if servers:
            with postgres() as backend:
                if backend is None:
                    print("\nPostgreSQL: not measured, it is not installed")
                    return
                (folder / "pg").mkdir()
                index, *seconds = build(folder / "pg", backend, studies)
                report("PostgreSQL", index, (seconds[0], seconds[1]))
                index.close()
