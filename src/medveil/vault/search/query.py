"""The query language: what QIDO-RS takes (PS3.18, 8.3.4), then free words.

::

    ModalitiesInStudy=CT&StudyDate=20240101-20240331 pneumonia

Attributes by keyword or tag, values percent-encoded or not; words without `=` are searched for in descriptions and
reports, and all must match. Matching follows PS3.4, C.2.2.2: single value, list of UIDs, universal (empty or `*`),
wildcard (`*`, `?`), range of dates and times. Text is matched without regard to case and accents; a PatientName
without a wildcard matches where all its words are words of the name.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from medveil.errors import InputError, LimitError, UnsupportedError
from medveil.vault.search.terms import date_of, day_of, fold, tokens

MAX_QUERY: Final = 8192
"""Longest query, in characters."""
MAX_VALUES: Final = 1000
"""Most values of one attribute."""
MAX_LIMIT: Final = 10_000
"""Most results of one answer."""

_LISTED: Final = frozenset({"ModalitiesInStudy", "BodyPartExamined"})
_WILD: Final = re.compile(r"[*?]")
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_CONTROL: Final = frozenset({"includefield", "fuzzymatching", "emptyvaluematching", "multiplevaluematching"})


@dataclass(frozen=True, slots=True)
class Condition:
    """One attribute and the values of which one must match."""

    keyword: str
    values: tuple[str, ...]

    @property
    def wild(self) -> bool:
        """Whether a value has a wildcard."""
        return any(_WILD.search(one) for one in self.values)

    def match(self, held: object) -> bool:
        """Whether an attribute's value (text, number, list of texts, or None) matches."""
        several = held if isinstance(held, list) else [] if held is None else str(held).split("\\")
        return any(self._one(value, str(one)) for value in self.values for one in several)

    def _one(self, value: str, held: str) -> bool:
        vr = dictionary_VR(self.keyword)
        if vr in ("DA", "TM") and "-" in value:
            low, _, high = value.partition("-")
            clean = held.replace(".", "") if vr == "DA" else held
            return bool(held) and (not low or clean >= low) and (not high or clean[: len(high)] <= high)
        if vr in ("UI", "DA", "IS", "US"):
            return value == held.rstrip("\0 ")
        if self.keyword == "PatientName" and not _WILD.search(value):
            return set(tokens(value)) <= set(tokens(held))
        if vr == "PN":
            held = held.partition("=")[0].rstrip("^ ")
            value = value.rstrip("^")
        return fnmatch.fnmatchcase(fold(held).strip(), re.sub(r"\[", "[[]", fold(value)).strip())


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query. words: free words; limit, offset: where the query has them."""

    conditions: tuple[Condition, ...] = ()
    words: tuple[str, ...] = ()
    limit: int | None = None
    offset: int | None = None

    def get(self, keyword: str) -> Condition | None:
        """Return the condition on an attribute."""
        return next((one for one in self.conditions if one.keyword == keyword), None)

    def match(self, attributes: Mapping[str, object]) -> bool:
        """Whether attributes by keyword satisfy every condition; words are not looked at."""
        return all(one.match(attributes.get(one.keyword)) for one in self.conditions)

    def days(self) -> tuple[int, int] | None:
        """Return the range of study days (since 1900, both included); None where there is no condition on StudyDate.

        Raises InputError for what is no date or range of dates.
        """
        condition = self.get("StudyDate")
        if condition is None:
            return None
        if len(condition.values) != 1 or condition.wild:
            raise InputError("StudyDate takes one date or one range, as 20240101-20240331, without wildcards")
        text = condition.values[0]
        low, dash, high = text.partition("-")
        first, last = day_of(low), day_of(high) if dash else day_of(low)
        if (low and not first) or (high and not last) or text == "-":
            raise InputError("StudyDate is no date or range of dates: write it as 20240101 or 20240101-20240331")
        if dash and not high:
            last = (1 << 16) - 1
        first = first or 1
        if first > last:
            raise InputError(f"StudyDate ends before it begins ({date_of(last)} before {date_of(first)})")
        return first, last


def parse_query(text: str) -> Query:
    """Parse a query.

    Raises InputError for unknown attributes, values that are no numbers where they must be, and an empty query;
    UnsupportedError for attributes in sequences; LimitError for an overlong query.
    """
    if len(text) > MAX_QUERY:
        raise LimitError(f"a query of {len(text)} characters is longer than any ({MAX_QUERY})")
    conditions: dict[str, Condition] = {}
    words: list[str] = []
    numbers: dict[str, int] = {}
    for piece in text.split():
        if "=" not in piece:
            words += tokens(unquote_plus(piece))
            continue
        for pair in filter(None, piece.lstrip("?").split("&")):
            name, equals, raw = pair.partition("=")
            if not equals:
                words += tokens(unquote_plus(pair))
                continue
            value = unquote_plus(raw).strip()
            if name in ("limit", "offset"):
                numbers[name] = _number(name, value)
            elif name not in _CONTROL:
                condition = _condition(name, value)
                if condition is not None and condition.keyword in conditions:
                    raise InputError(f"{condition.keyword} is asked for twice: write its values in one list")
                if condition is not None:
                    conditions[condition.keyword] = condition
    return Query(tuple(conditions.values()), tuple(dict.fromkeys(words)), numbers.get("limit"), numbers.get("offset"))


def _condition(name: str, value: str) -> Condition | None:
    """Return the condition of one attribute; None for universal matching."""
    if "." in name:
        raise UnsupportedError(f"{name[:64]!r} is an attribute in a sequence: only those of study and series are kept")
    keyword = keyword_for_tag(int(name, 16)) if _TAG.fullmatch(name) else name
    if not keyword or tag_for_keyword(keyword) is None:
        raise InputError(
            f"{name[:64]!r} is no DICOM attribute: write its keyword, as PatientID, or its eight-digit tag"
        )
    if not value or value == "*":
        return None
    listed = dictionary_VR(keyword) == "UI" or keyword in _LISTED or keyword == "Modality"
    values = tuple(one.strip() for one in re.split(r"[\\,]" if listed else r"\\", value) if one.strip())
    if len(values) > MAX_VALUES:
        raise LimitError(f"{keyword} has {len(values)} values: at most {MAX_VALUES} are taken")
    if keyword == "Modality":
        keyword = "ModalitiesInStudy"
    return Condition(keyword, values) if values else None


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise InputError(f"{name} is a number of results: write it in digits")
    return min(int(value), MAX_LIMIT) if name == "limit" else int(value)
