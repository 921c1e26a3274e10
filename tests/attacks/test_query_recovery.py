"""The query-recovery attacks on instances where the answer is known, and on our own index with and without padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.vault.search.index_room import IndexRoom, entry

from medveil.attacks.query_recovery import (
    Knowledge,
    Leakage,
    count_attack,
    guess_at_random,
    recovered,
    sap_attack,
    volume_attack,
)
from medveil.errors import InputError
from medveil.vault.search.index import IndexOptions

DOCUMENTS, WORDS = 400, 40
RNG = np.random.default_rng(7)
PRESENT = (RNG.random((DOCUMENTS, WORDS)) < np.linspace(0.9, 0.05, WORDS)[None, :]).astype(float)
SEASONS = RNG.dirichlet(np.full(WORDS, 0.3), 8).T  # (words, periods)
TRUTH = np.arange(0, WORDS, 2)


def whole() -> tuple[Leakage, Knowledge]:
    shared = PRESENT.T @ PRESENT
    leakage = Leakage(PRESENT.sum(0)[TRUTH], SEASONS[TRUTH], DOCUMENTS, shared[np.ix_(TRUTH, TRUTH)], asked=500)
    return leakage, Knowledge(PRESENT.mean(0), SEASONS, shared / DOCUMENTS)


def test_with_known_documents_counts_and_co_occurrence_give_everything_away() -> None:
    leakage, knowledge = whole()
    guess = count_attack(leakage, knowledge)
    assert recovered(guess, TRUTH) == 1.0
    alone = count_attack(Leakage(leakage.volumes, leakage.frequencies, DOCUMENTS), knowledge)
    named = alone >= 0
    assert np.array_equal(alone[named], TRUTH[named])  # unique counts, never a wrong one
    assert named.sum() < len(TRUTH)


def test_sap_joins_volumes_and_frequencies() -> None:
    leakage, knowledge = whole()
    assert recovered(sap_attack(leakage, knowledge), TRUTH) > 0.9
    flat = Leakage(np.ones(len(TRUTH)), leakage.frequencies, DOCUMENTS, asked=500)
    by_frequency = recovered(sap_attack(flat, knowledge, seen_as=np.ones(WORDS)), TRUTH)
    assert by_frequency > 0.8  # the search pattern alone is enough where the seasons are known
    guess = sap_attack(leakage, knowledge)
    assert len(set(guess.tolist())) == len(TRUTH)  # each word once
    with pytest.raises(InputError):
        sap_attack(Leakage(np.ones(WORDS + 1), np.ones((WORDS + 1, 1)), DOCUMENTS), knowledge)


def test_equal_volumes_say_nothing() -> None:
    leakage, knowledge = whole()
    flat = Leakage(np.ones(len(TRUTH)), leakage.frequencies, DOCUMENTS)
    guess = volume_attack(flat, knowledge, np.ones(WORDS))
    assert recovered(guess, TRUTH) <= 2 * guess_at_random(len(TRUTH), WORDS)
    assert (count_attack(flat, knowledge, seen_as=np.ones(WORDS)) == -1).all()


@pytest.mark.parametrize("padding", ["exact", "bucket", "power", "page"])
def test_padding_takes_away_what_our_index_shows(tmp_path: Path, padding: str) -> None:
    """The same attack on the rows that an operator of our index really sees."""
    room = IndexRoom(tmp_path, IndexOptions(padding="power" if padding == "power" else "bucket"))
    names = [f"w{chr(97 + n // 26)}{chr(97 + n % 26)}q" for n in range(WORDS)]
    room.index.add(
        [
            entry(f"1.{row}", text=" ".join(names[word] for word in np.flatnonzero(PRESENT[row])))
            for row in range(DOCUMENTS)
        ]
    )
    room.index.compact()
    volumes = []
    for word in TRUTH:
        room.backend.asked.clear()
        room.find(names[word], limit=32 if padding == "page" else 1000)
        postings = room.backend.asked[:-1]  # the last question is for the records of the page
        volumes.append(sum(len(one) for one in postings))
    df = PRESENT.sum(0)
    rows = np.ceil(df / 32)
    shown = {"exact": df, "bucket": rows, "power": 2 ** np.ceil(np.log2(rows)), "page": np.ones(WORDS)}[padding]
    if padding == "exact":
        volumes = list(df[TRUTH])
    assert volumes == list(shown[TRUTH])
    leakage, knowledge = whole()
    seen = Leakage(np.array(volumes, float), leakage.frequencies, DOCUMENTS)
    named = recovered(count_attack(seen, knowledge, seen_as=shown), TRUTH)
    low, high = {"exact": (0.3, 1.0), "bucket": (0.0, 0.25), "power": (0.0, 0.05), "page": (0.0, 0.0)}[padding]
    assert low <= named <= high
