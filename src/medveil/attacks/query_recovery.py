"""Query recovery on an encrypted index: what its server can guess of the words that were asked for.

The adversary keeps the index. Of each query it sees which rows were read, so whether two queries are the same (search
pattern) and how many rows they have (volume). If it also works with the stores, and everything that a query finds is
fetched, it sees how many results two queries share (co-occurrence). It knows the words that may be asked for, and from
documents of the same kind how frequent they are. Recovered: the share of distinct queries whose word is named rightly.

- `count_attack`: Cash, Grubbs, Perry and Ristenpart, CCS 2015, sections 4.2 and 4.3, with the candidates' counts in a
  window where they are only estimated; without co-occurrence only words of a unique count fall.
- `sap_attack`: after Oya and Kerschbaum, USENIX Security 2021 (SAP): maximum likelihood of volumes and query
  frequencies together, as a linear assignment; counts of queries are taken as Poisson, volumes as normal.
- `volume_attack`: VolAn of Blackstone, Kamara and Moataz, NDSS 2020, section 4.2: the word with the nearest volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, MissingExtraError

Array = npt.NDArray[Any]

_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Leakage:
    """What the server saw of q distinct queries.

    volumes: (q,) results, or what stands for them. frequencies: (q, t) share of each query among all of each of t
    periods. shared: (q, q) results that two queries have in common, where the stores are seen as well. documents: how
    many there are. asked: queries in a period.
    """

    volumes: Array
    frequencies: Array
    documents: int
    shared: Array | None = None
    asked: int = 1


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the adversary knows of w words from documents of the same kind (or the same ones).

    volumes: (w,) share of documents with each word. frequencies: (w, t) how often each is asked for, as a share of
    each period. shared: (w, w) share of documents with both words.
    """

    volumes: Array
    frequencies: Array
    shared: Array | None = None


def recovered(guess: Array, truth: Array) -> float:
    """Return the share of queries whose word was named rightly. guess, truth: (q,) word indices; -1: no guess."""
    return float((guess == truth).mean()) if len(truth) else 0.0


def volume_attack(leakage: Leakage, knowledge: Knowledge, seen_as: Array | None = None) -> Array:
    """Name for each query the word with the nearest volume. Returns (q,) word indices.

    seen_as: (w,) the volume that each word would show, in the leakage's unit; by default the share of all documents.
    """
    expected = _expected(leakage, knowledge, seen_as)
    distance: Array = np.abs(leakage.volumes[:, None] - expected[None, :])
    nearest: Array = distance.argmin(axis=1)
    return nearest


def sap_attack(
    leakage: Leakage,
    knowledge: Knowledge,
    *,
    alpha: float = 0.5,
    seen_as: Array | None = None,
    spread: Array | None = None,
) -> Array:
    """Name the words of all queries together, each word once. Returns (q,) word indices.

    alpha: weight of the likelihood of the volumes, against that of the frequencies. seen_as: as in `volume_attack`.
    spread: (w,) standard deviation of what is seen around it; by default that of a binomial over the documents.
    Raises InputError where there are fewer words than queries, MissingExtraError without scipy.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise MissingExtraError("the SAP attack", "evaluate") from None
    if len(knowledge.volumes) < len(leakage.volumes):
        raise InputError("the SAP attack names each word once: give at least as many words as queries")
    expected = _expected(leakage, knowledge, seen_as)
    if spread is None:
        share = np.clip(knowledge.volumes, 1.0 / leakage.documents, 1 - 1.0 / leakage.documents)
        spread = np.sqrt(leakage.documents * share * (1 - share)) * (
            expected / np.maximum(leakage.documents * share, 1)
        )
    sigma = np.maximum(spread, 0.5)
    volume_cost = 0.5 * ((leakage.volumes[:, None] - expected[None, :]) / sigma[None, :]) ** 2 + np.log(sigma)[None, :]
    logs = np.log(np.maximum(knowledge.frequencies, _TINY))  # (w, t)
    frequency_cost = knowledge.frequencies.sum(axis=1)[None, :] - leakage.frequencies @ logs.T  # (q, w), Poisson
    cost = alpha * volume_cost + (1 - alpha) * leakage.asked * frequency_cost
    rows, columns = linear_sum_assignment(cost)
    guess = np.full(len(leakage.volumes), -1)
    guess[rows] = columns
    return guess


def count_attack(
    leakage: Leakage, knowledge: Knowledge, *, seen_as: Array | None = None, window: float = 0.0, rounds: int = 50
) -> Array:
    """Name queries whose count no other word has, then those that one word alone fits beside them. (q,), -1: none.

    seen_as: as in `volume_attack`. window: how far counts and shared counts may lie from what is known, in standard
    deviations of a binomial; 0 for documents that are known exactly.
    """
    expected = _expected(leakage, knowledge, seen_as)
    allowed = window * np.sqrt(np.maximum(expected, 1.0)) + 0.5
    fits = np.abs(leakage.volumes[:, None] - expected[None, :]) <= allowed[None, :]  # (q, w)
    guess = np.full(len(leakage.volumes), -1)
    _name_unique(fits, guess)
    if leakage.shared is None or knowledge.shared is None:
        return guess
    together = knowledge.shared * leakage.documents
    for _ in range(rounds):
        known = np.flatnonzero(guess >= 0)
        if len(known) == 0:
            break
        before = int(fits.sum())
        for query in np.flatnonzero(guess < 0):
            words = np.flatnonzero(fits[query])
            expect = together[np.ix_(words, guess[known])]  # (candidates, known)
            seen = leakage.shared[query, known]
            close = np.abs(seen[None, :] - expect) <= window * np.sqrt(np.maximum(expect, 1.0)) + 0.5
            fits[query, words[~close.all(axis=1)]] = False
        _name_unique(fits, guess)
        if int(fits.sum()) == before:
            break
    return guess


def _name_unique(fits: Array, guess: Array) -> None:
    for query in np.flatnonzero((guess < 0) & (fits.sum(axis=1) == 1)):
        guess[query] = int(fits[query].argmax())


def _expected(leakage: Leakage, knowledge: Knowledge, seen_as: Array | None) -> Array:
    return knowledge.volumes * leakage.documents if seen_as is None else np.asarray(seen_as, np.float64)


def guess_at_random(queries: int, words: int) -> float:
    """Return the share that blind guessing recovers."""
    return 1.0 / words if queries and words else 0.0


__all__: Sequence[str] = (
    "Knowledge", "Leakage", "count_attack", "guess_at_random", "recovered", "sap_attack", "volume_attack",
)  # fmt: skip
