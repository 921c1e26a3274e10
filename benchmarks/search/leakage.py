"""What the index's server can guess, measured: query-recovery attacks on what our own index shows when it is asked.

For each corpus the documents are split in two halves at random: the adversary knows one, the index holds the other (or,
for the worst case, it knows the very documents). The words that may be asked for are the most frequent ones; each is
asked for at least once, in proportion to how frequent it is (real people do not ask so; the attacks' papers assume
popular and seasonal queries, which is kinder to an adversary).

Views, from before any padding to what medveil shows: `exact` an index with one row a posting; `rows` ours with rows of
32; `power` ours with padding = "power"; `page` ours where only the first page (32 best) is asked for, as the command
line and the gateway do. `stores too` adds that all results are fetched and that all stores work with the server.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tests.vault.search.index_room import WatchedBackend

from benchmarks.search.corpora import docstrings, hospital
from medveil.attacks.query_recovery import (
    Knowledge,
    Leakage,
    count_attack,
    guess_at_random,
    recovered,
    sap_attack,
    volume_attack,
)
from medveil.crypto.keyfile import OwnerKey
from medveil.vault.search.attributes import Described
from medveil.vault.search.backend import SQLiteBackend
from medveil.vault.search.building import Entry
from medveil.vault.search.cache import Cache
from medveil.vault.search.index import IndexOptions, SearchIndex
from medveil.vault.search.query import Query
from medveil.vault.search.rows import WIDE, padded_rows
from medveil.vault.search.terms import stems

OWNER = OwnerKey(bytes(range(32)))
WORDS = 500
QUERIES = 150
PERIODS = 10
ASKED = 500  # queries a period
SEEDS = range(5)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Corpus:
    name: str
    documents: list[set[str]]


def corpora() -> list[Corpus]:
    made_up = [set(stems(one.described.text, "english")) for one in hospital(12_000)]
    return [Corpus("docstrings", docstrings()), Corpus("hospital", made_up)]


def presence(documents: list[set[str]], words: list[str]) -> Array:
    """Return (documents, words): whether each has each."""
    where = {word: at for at, word in enumerate(words)}
    found = np.zeros((len(documents), len(words)), np.float32)
    for row, document in enumerate(documents):
        found[row, [where[word] for word in document if word in where]] = 1
    return found


def seen_rows(documents: list[set[str]], words: list[str], padding: str, page: bool) -> Array:
    """Ask our own index for each word and count the rows that its operator sees being read."""
    with tempfile.TemporaryDirectory(prefix="medveil-leakage-") as name:
        folder = Path(name)
        backend = WatchedBackend(SQLiteBackend(folder / "index.sqlite"))
        index = SearchIndex(backend, Cache(folder), OWNER, bytes(16), IndexOptions(padding=padding))
        entries = [
            Entry(
                number.to_bytes(16, "big"),
                1,
                1,
                Described({"StudyInstanceUID": f"1.{number}"}, {}, " ".join(sorted(one))),
            )
            for number, one in enumerate(documents)
        ]
        index.add(entries)
        index.compact()
        counts = []
        for word in words:
            backend.asked.clear()
            _ask(index, word, 32 if page else 1 << 30)
            counts.append(sum(len(one) for one in backend.asked))
        index.close()
    return np.array(counts, np.float64)


def _ask(index: SearchIndex, stem: str, limit: int) -> None:
    """Ask for a stem as it is: stemming it again could make another one of it."""
    from medveil.vault.search import searching

    plan = searching._Plan((((("text", stem),), True),), None, 0, frozenset(), ())
    searching._Search(index, plan, Query(), None, 0, index.sync()).ranked(limit)


def one_round(corpus: Corpus, seed: int, same: bool, views: dict[str, Array | None]) -> dict[tuple[str, str], float]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(corpus.documents))
    half = len(order) // 2
    held = [corpus.documents[at] for at in order[:half]]
    known = held if same else [corpus.documents[at] for at in order[half:]]
    counts: dict[str, int] = {}
    for document in known:
        for word in document:
            counts[word] = counts.get(word, 0) + 1
    words = sorted(counts, key=lambda one: (-counts[one], one))[:WORDS]
    indexed, outside = presence(held, words), presence(known, words)
    truth = np.sort(rng.choice(WORDS, QUERIES, replace=False))
    popularity = outside.mean(0) / outside.mean(0).sum()
    seasons = popularity[:, None] * rng.gamma(2.0, 0.5, (WORDS, PERIODS))
    seasons /= seasons.sum(0)
    asked = np.stack([rng.multinomial(ASKED, seasons[:, t]) for t in range(PERIODS)], 1)
    frequencies = (asked / asked.sum(0))[truth]
    belief = seasons * rng.gamma(50.0, 1 / 50.0, seasons.shape)  # the adversary knows the seasons within some 14 %
    shared = indexed.T @ indexed
    joint = (outside.T @ outside) / len(known)
    df = indexed.sum(0)
    results: dict[tuple[str, str], float] = {("-", "blind guess"): guess_at_random(QUERIES, WORDS)}
    for view in views:
        if view == "exact":
            volumes, unit = df, outside.mean(0) * len(held)
        elif view == "page":
            volumes = np.ones(WORDS)
            unit = np.ones(WORDS)
        else:
            padding = "power" if view == "power" else "bucket"
            unit = np.array(
                [padded_rows(int(one), WIDE, padding) for one in np.rint(outside.mean(0) * len(held))], float
            )
            volumes = views[view] if seed == SEEDS[0] and views[view] is not None else np.array(
                [padded_rows(int(one), WIDE, padding) for one in df], float
            )  # fmt: skip
        knowledge = Knowledge(outside.mean(0), belief, joint)
        for stores_too in (False, True):
            leak = Leakage(
                df[truth] if stores_too else volumes[truth],
                frequencies,
                len(held),
                shared[np.ix_(truth, truth)] if stores_too else None,
                ASKED,
            )
            label = "stores too" if stores_too else view
            if stores_too and view != "exact":
                continue  # whoever sees the results fetched needs no volumes
            shown = outside.mean(0) * len(held) if stores_too else unit
            window = 0.0 if same else 3.0
            results[label, "count"] = recovered(count_attack(leak, knowledge, seen_as=shown, window=window), truth)
            results[label, "SAP"] = recovered(sap_attack(leak, knowledge, seen_as=shown, alpha=0.5), truth)
            results[label, "SAP, volumes only"] = recovered(
                sap_attack(leak, knowledge, seen_as=shown, alpha=1.0), truth
            )
            results[label, "VolAn"] = recovered(volume_attack(leak, knowledge, shown), truth)
    return results


def check_rows(corpus: Corpus) -> None:
    """Hold the rows that our index really reads against what the tables assume."""
    rng = np.random.default_rng(SEEDS[0])
    documents = [corpus.documents[at] for at in rng.permutation(len(corpus.documents))[:600]]
    counts: dict[str, int] = {}
    for document in documents:
        document = set(stems(" ".join(document), "english"))
        for word in document:
            counts[word] = counts.get(word, 0) + 1
    words = sorted(counts, key=lambda one: (-counts[one], one))[:100]
    for padding in ("bucket", "power"):
        real = seen_rows(documents, words, padding, page=False)
        assert real.tolist() == [padded_rows(counts[one], WIDE, padding) for one in words], padding
    assert set(seen_rows(documents, words, "bucket", page=True)) == {1.0}


def main() -> None:
    for corpus in corpora():
        check_rows(corpus)
        for same in (True, False):
            tables = [
                one_round(corpus, seed, same, {"exact": None, "rows": None, "power": None, "page": None})
                for seed in SEEDS
            ]
            what = "knows the very documents" if same else "knows as many other documents of the kind"
            print(f"\n{corpus.name}, {len(corpus.documents) // 2:,} documents indexed; the adversary {what}")
            print(f"{QUERIES} queries of {WORDS} words; share recovered, mean of {len(SEEDS)} seeds (lowest-highest)")
            attacks = ("count", "SAP", "SAP, volumes only", "VolAn")
            print(f"{'':12}" + "".join(f"{one:>24}" for one in attacks))
            for view in ("stores too", "exact", "rows", "power", "page"):
                cells = []
                for attack in attacks:
                    values = [table[view, attack] for table in tables]
                    cells.append(f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})")
                print(f"{view:12}" + "".join(f"{one:>24}" for one in cells))
            print(f"blind guess  {tables[0]['-', 'blind guess']:.3f}")
