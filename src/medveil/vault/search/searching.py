"""From a query to ranked studies: which terms are read, in which order, and what is decided on the client.

1. The terms of a query are read rarest first and intersected here. Once few candidates are left, their records decide
   the rest, so that long lists of common terms are not read at all.
2. Study date, modality and body part stand in every posting and are filtered here: they are never asked for beside
   another term. Alone, they are read from the two nodes of the tree of days that cover the range.
3. Words rank by BM25: inverse document frequency here, times the impact in the posting. Without words, newest first.
4. The records of the page that is shown are read last; they also decide what no posting could (wildcards, attributes
   without terms).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import IncompleteResultError, TamperedError, UnsupportedError
from medveil.vault.search.building import IMPACTS, K1, impact
from medveil.vault.search.cache import Chain
from medveil.vault.search.index import Reading, SearchIndex
from medveil.vault.search.query import MAX_LIMIT, Condition, Query
from medveil.vault.search.reports import Hit, SearchReport, StudyRecord
from medveil.vault.search.rows import Postings
from medveil.vault.search.terms import (
    IDENTIFIER_OF,
    LEVELS,
    MODALITIES,
    PREFIXES,
    Term,
    body_class,
    cover,
    everything,
    modality_bits,
    node,
    stems,
    tokens,
)

DIRECT: Final = 64
"""Candidates whose records are read instead of further lists."""

_PIECE: Final = re.compile(r"(?:[^\W_]|[*?])+")

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Group:
    """Terms of which one must match. weighted: they are words, and count for the rank."""

    terms: tuple[Term, ...]
    readings: tuple[Reading, ...]
    weighted: bool

    @property
    def postings(self) -> int:
        return sum(one.counter.postings for one in self.readings)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a query asks of the index. residual: conditions that only records decide."""

    groups: tuple[tuple[tuple[Term, ...], bool], ...]
    days: tuple[int, int] | None
    modalities: int
    bodies: frozenset[int]
    residual: tuple[Condition, ...]


def search(
    index: SearchIndex, query: Query, *, limit: int = 100, offset: int = 0, allowed: set[bytes] | None = None
) -> SearchReport:
    """Answer a query. allowed: tokens of the studies that may be shown, all by default.

    Raises UnsupportedError where the index cannot answer (a wildcard that the owner did not allow), InputError for a
    wrong date, IncompleteResultError or TamperedError where rows were withheld or changed, RollbackError.
    """
    plan = _plan(index, query)
    limit = min(MAX_LIMIT, limit if query.limit is None else query.limit)
    offset = offset if query.offset is None else query.offset
    chain = index.sync()
    before = index.rows_read
    try:
        return _Search(index, plan, query, allowed, before, chain).run(limit, offset)
    except (IncompleteResultError, TamperedError):
        later = index.sync()
        if later.epoch == chain.epoch:
            raise
        return _Search(index, plan, query, allowed, before, later).run(limit, offset)  # it was compacted meanwhile


def rank(index: SearchIndex, query: Query, limit: int) -> tuple[Postings, Scores]:
    """Return the best `limit` postings of a query that postings alone decide, and their scores; reads no record.

    Raises UnsupportedError where records have to decide, and as `search`.
    """
    plan = _plan(index, query)
    if plan.residual:
        raise UnsupportedError("this query needs the records of its studies: use search")
    found, scores, _ = _Search(index, plan, query, None, index.rows_read, index.sync()).ranked(limit)
    return found[:limit], scores[:limit]


def _plan(index: SearchIndex, query: Query) -> _Plan:
    """Part a query into terms, what postings decide, and what records decide."""
    groups: list[tuple[tuple[Term, ...], bool]] = []
    residual: list[Condition] = []
    modalities, bodies = 0, frozenset[int]()
    for one in query.conditions:
        field = IDENTIFIER_OF.get(one.keyword)
        if field is not None and not one.wild:
            groups.append((tuple((field, value) for value in one.values), False))
            continue
        if one.keyword == "ModalitiesInStudy" and not one.wild:
            modalities = modality_bits(one.values)
            if any(value not in MODALITIES for value in one.values):
                residual.append(one)
            continue
        if one.keyword == "StudyDate":
            continue
        if one.keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
            raise UnsupportedError(f"{one.keyword} takes no wildcard: give whole UIDs")
        if one.keyword == "BodyPartExamined" and not one.wild:
            bodies = frozenset(body_class(value) for value in one.values)
        elif one.keyword == "PatientName" and len(one.values) == 1:
            found = _name_terms(one.values[0], prefixes=index.options.prefixes)
            groups += [((term,), False) for term in found]
            if not one.wild and found:
                continue
        elif one.keyword == "StudyDescription" and len(one.values) == 1:
            whole = [word for word, partial in _pieces(one.values[0]) if not partial]
            groups += [((("text", stem),), False) for stem in stems(" ".join(whole), index.options.language)]
        residual.append(one)
    groups += [((("text", stem),), True) for stem in stems(" ".join(query.words), index.options.language)]
    days = query.days()
    _check_names(query, groups, days, index)
    return _Plan(tuple(groups), days, modalities, bodies, tuple(residual))


def _check_names(query: Query, groups: Sequence[object], days: object, index: SearchIndex) -> None:
    """Refuse a beginning of a name as the only condition where that would mean to read everything."""
    name = query.get("PatientName")
    if name is not None and name.wild and not groups and days is None and not index.options.prefixes:
        raise UnsupportedError(
            "a name with a wildcard needs an index of beginnings, which the owner has not allowed: give a whole family "
            "or given name, another condition, or set prefixes in [search] and read in docs/leakage.md what it shows"
        )


def _pieces(value: str) -> Iterator[tuple[str, bool]]:
    """Yield the words of a value, each with whether a wildcard touches it; such a word ends before the wildcard."""
    for match in _PIECE.finditer(value.partition("=")[0]):
        word = match[0]
        wild = len(word) != len(word.replace("*", "").replace("?", ""))
        yield word.replace("?", "*").partition("*")[0], wild


def _name_terms(value: str, *, prefixes: bool) -> list[Term]:
    """Return the terms of a name: whole words, and beginnings where the index has them."""
    found: list[Term] = []
    for word, wild in _pieces(value):
        for one in tokens(word):
            if not wild:
                found.append(("name", one))
            elif prefixes and len(one) >= PREFIXES[0]:
                found.append(("name*", one[: PREFIXES[-1]]))
    return found


class _Search:
    """One query at work."""

    def __init__(
        self, index: SearchIndex, plan: _Plan, query: Query, allowed: set[bytes] | None, before: int, chain: Chain
    ) -> None:
        self._index = index
        self._plan = plan
        self._query = query
        self._before = before
        self._chain = chain
        self._allowed = None if allowed is None else self._documents(allowed)
        self._groups = sorted((self._group(*one) for one in plan.groups), key=lambda one: one.postings)
        self._loose = any(term[0] in ("series", "instance") for one in self._groups for term in one.terms)
        self._pending: list[_Group] = []  # groups that the records decide

    def _documents(self, tokens_: set[bytes]) -> Postings:
        states = (self._index.cache.study(token) for token in tokens_)
        joined = b"".join(state.document for state in states if state.rows)
        return np.frombuffer(joined, "<u8")

    def _group(self, terms: tuple[Term, ...], weighted: bool) -> _Group:
        return _Group(terms, tuple(self._index.readings(self._chain.epoch, terms)), weighted)

    def run(self, limit: int, offset: int) -> SearchReport:
        found, scores, total = self.ranked(offset + limit)
        return self._page(found, scores, total, limit, offset)

    def ranked(self, wanted: int) -> tuple[Postings, Scores, int]:
        """Return candidates and scores, best first, of which at least `wanted` are sure; and how many there are."""
        if len(self._groups) == 1 and self._groups[0].weighted and len(self._groups[0].readings) == 1:
            found, scores, total = self._best_first(wanted)
            counter = self._groups[0].readings[0].counter
            if counter.rows == counter.base:
                return found, scores, total  # rows lie in this order already
        else:
            found, scores = self._intersected()
            total = len(found)
        order = np.lexsort((found["document"], -found["day"].astype(np.int64), -scores))
        return found[order], scores[order], total

    # ------------------------------------------------------------------------------------------------ candidates

    def _best_first(self, wanted: int) -> tuple[Postings, Scores, int]:
        """Read one word's rows in the order of impact until enough studies pass the filters."""
        reading = self._groups[0].readings[0]
        counter = reading.counter
        rows = -(-max(wanted, 1) // reading.key.width)
        unfiltered = self._unfiltered
        while True:
            found = self._index.postings([reading], self._chain, first=rows)
            kept = self._filtered(found)
            complete = rows >= counter.base
            if complete or (len(kept) >= wanted and not self._plan.residual):
                break
            rows = max(4 * rows, 64)
        total = len(kept) if complete else counter.postings if unfiltered else -1
        return kept, self._weight(reading) * kept["impact"] / IMPACTS, total

    @property
    def _unfiltered(self) -> bool:
        plan = self._plan
        free = not (plan.days or plan.modalities or plan.bodies or plan.residual)
        return free and self._allowed is None and not len(self._index.removed(self._chain))

    def _intersected(self) -> tuple[Postings, Scores]:
        if not self._groups:
            found = self._filtered(self._index.postings(self._nodes(), self._chain))
            return found, np.zeros(len(found))
        found = self._filtered(self._index.postings(self._groups[0].readings, self._chain))
        scores = self._scores(self._groups[0], found)
        for at, group in enumerate(self._groups[1:], start=1):
            if not len(found):
                break
            if len(found) <= DIRECT and not self._loose:
                self._pending = self._groups[at:]
                break
            other = self._index.postings(group.readings, self._chain)
            _, mine, theirs = np.intersect1d(
                found["document"], other["document"], assume_unique=True, return_indices=True
            )
            found, scores = found[mine], scores[mine] + self._scores(group, other[theirs])
        return found, scores

    def _nodes(self) -> list[Reading]:
        """Return the two nodes that hold all days of the range; in place of an empty one, one that is not."""
        terms = everything() if self._plan.days is None else cover(*self._plan.days)
        readings = self._index.readings(self._chain.epoch, terms)
        (rest,) = self._index.readings(self._chain.epoch, [node(LEVELS[-1], 0)])
        filled = [one for one in readings if one.counter.rows]
        for _ in range(len(readings) - len(filled)):
            if rest.counter.rows:
                self._index.fetch(rest.key.labels(0, 1))
        return filled

    def _filtered(self, found: Postings) -> Postings:
        """Leave out what day, modality, body part or the recipient's grants rule out."""
        keep = np.ones(len(found), np.bool_)
        plan = self._plan
        if not self._loose:
            if plan.days is not None:
                keep &= (found["day"] >= plan.days[0]) & (found["day"] <= plan.days[1])
            if plan.modalities:
                keep &= (found["bits"] & plan.modalities) != 0
            if plan.bodies:
                body = found["bits"] >> 12
                keep &= (body == 0) | np.isin(body, list(plan.bodies))
        if self._allowed is not None:
            keep &= np.isin(found["document"], self._allowed)
        return found if keep.all() else found[keep]

    # ----------------------------------------------------------------------------------------------------- ranks

    def _weight(self, reading: Reading) -> float:
        """Return the inverse document frequency of a word times BM25's k1 + 1."""
        documents, held = self._chain.totals.documents, min(reading.counter.postings, self._chain.totals.documents)
        return (K1 + 1) * math.log(1 + (documents - held + 0.5) / (held + 0.5))

    def _scores(self, group: _Group, found: Postings) -> Scores:
        if not group.weighted:
            return np.zeros(len(found))
        scores: Scores = self._weight(group.readings[0]) * found["impact"] / IMPACTS
        return scores

    # ----------------------------------------------------------------------------------------------------- pages

    def _page(self, found: Postings, scores: Scores, total: int, limit: int, offset: int) -> SearchReport:
        hits: list[Hit] = []
        decided = not (self._pending or self._plan.residual or self._loose)
        if decided:
            for start in range(offset, min(offset + limit, len(found)), 4096):
                stop = min(start + 4096, offset + limit)
                hits += [
                    Hit(float(s), r.as_study(t.hex())) for t, r, s in self._read(found[start:stop], scores[start:stop])
                ]
            return self._report(hits, total if total >= 0 else len(found), sure=total >= 0)
        passed: list[tuple[float, bytes, StudyRecord]] = []
        at = 0
        ranked_later = any(group.weighted for group in self._pending)
        while at < len(found) and (ranked_later or len(passed) < offset + limit):
            step = max(limit, DIRECT)
            for token, record, score in self._read(found[at : at + step], scores[at : at + step]):
                more = self._passes(record)
                if more is not None:
                    passed.append((score + more, token, record))
            at += step
        if ranked_later:
            passed.sort(key=lambda one: -one[0])
        hits = [Hit(score, record.as_study(token.hex())) for score, token, record in passed[offset : offset + limit]]
        return self._report(hits, len(passed), sure=at >= len(found) and total >= 0)

    def _read(self, found: Postings, scores: Any) -> Iterator[tuple[bytes, StudyRecord, float]]:
        names: list[bytes] = [int(one).to_bytes(8, "little") for one in found["document"]]
        records = self._index.records(self._chain.epoch, names)
        for (token, record), score in zip(records, scores, strict=True):
            yield token, record, float(score)

    def _passes(self, record: StudyRecord) -> float | None:
        """Return what pending words add to the score, or None where a condition does not hold."""
        conditions = self._query.conditions if self._loose else self._plan.residual
        for one in conditions:
            if one.keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
                continue
            if not one.match(record.attributes.get(one.keyword)):
                return None
        score = 0.0
        for group in self._pending:
            if not any(_holds(record, term) for term in group.terms):
                return None
            if group.weighted:
                score += self._weight(group.readings[0]) * self._impact(record, group.terms[0][1]) / IMPACTS
        return score

    def _impact(self, record: StudyRecord, stem: str) -> int:
        totals = self._chain.totals
        length = sum(record.words.values())
        return impact(record.words[stem], length, totals.length / totals.documents if totals.documents else length)

    def _report(self, hits: list[Hit], total: int, *, sure: bool) -> SearchReport:
        return SearchReport(tuple(hits), total, sure, self._index.rows_read - self._before)


def _holds(record: StudyRecord, term: Term) -> bool:
    """Whether a study has a term, by its record."""
    field, value = term
    if field == "text":
        return value in record.words
    if field == "name":
        return value in tokens(str(record.attributes.get("PatientName", "")))
    if field == "name*":
        return any(one.startswith(value) for one in tokens(str(record.attributes.get("PatientName", ""))))
    keyword = next((name for name, held in IDENTIFIER_OF.items() if held == field), "")
    return str(record.attributes.get(keyword, "")).strip() == value
