"""From attributes to the terms of the index: what is exact, what is folded, what is stemmed, and what has no term.

::

    study, patient, accession, series, instance    exact value
    name         folded tokens of PatientName;     name*: their beginnings, only where the owner allows it
    date         one of two neighbouring nodes of a level always covers a range (see `cover`)
    text         stems of StudyDescription, SeriesDescription, report text and, where there is no DICOM, file names

Modality and body part have no terms: a dozen values with well-known frequencies would be recognised by their volume
alone. They stand inside the encrypted postings, as the study date does, and are filtered on the client.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final

from medveil.crypto.hashing import tagged
from medveil.errors import ConfigError, InputError, MissingExtraError
from medveil.vault.search.attributes import Attributes

Term = tuple[str, str]
"""(field, value)."""

IDENTIFIERS: Final = ("study", "patient", "accession", "series", "instance")
"""Fields whose terms have few postings each; their rows are narrow."""
IDENTIFIER_OF: Final = {
    "StudyInstanceUID": "study", "PatientID": "patient", "AccessionNumber": "accession",
    "SeriesInstanceUID": "series", "SOPInstanceUID": "instance",
}  # fmt: skip
"""DICOM keyword -> field."""
LEVELS: Final = (3, 5, 7, 9, 11, 13, 16)
"""Levels of the tree of days: a node of level l is 2^l days wide; the last holds everything, undated studies too."""
NODES: Final = 2
"""Nodes that a range is read from, whatever its width."""
MODALITIES: Final = ("CT", "MR", "US", "CR", "DX", "MG", "PT", "NM", "XA", "SR", "SEG")
"""Modalities that have a bit of their own in a posting; one more bit stands for all others."""
PREFIXES: Final = range(2, 9)
"""Lengths of the beginnings of names that are indexed where the owner allows it."""
MIN_WORD: Final = 2
MAX_WORD: Final = 40
MAX_WORDS: Final = 2000
"""Distinct stems that are indexed of one study."""

_EPOCH: Final = date(1900, 1, 1)
_LAST_DAY: Final = (1 << 16) - 1
_WORD: Final = re.compile(r"[^\W_]+")
_BODY_CLASSES: Final = 15
_DATE: Final = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")


@dataclass(frozen=True, slots=True)
class Classes:
    """What a posting says of its study besides the document: day since 1900-01-01 (0: undated) and class bits."""

    day: int
    bits: int


def fold(text: str) -> str:
    """Return text without case, accents and width variants."""
    flat = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", "".join(c for c in flat if not unicodedata.combining(c)).casefold())


def tokens(text: str) -> list[str]:
    """Return the folded words of a name, in their order."""
    return [word[:MAX_WORD] for word in _WORD.findall(fold(text))]


def stems(text: str, language: str) -> Counter[str]:
    """Return how often each stem occurs in a text; words of 2 letters and more.

    Raises MissingExtraError without the extra `search`, ConfigError for a language that there is no stemmer for.
    """
    return Counter(_stem(language, word) for word in tokens(text) if len(word) >= MIN_WORD)


@lru_cache(maxsize=1 << 16)
def _stem(language: str, word: str) -> str:
    return str(_stemmer(language).stemWord(word))


@lru_cache(maxsize=8)
def _stemmer(language: str) -> Any:
    try:
        import snowballstemmer
    except ImportError:
        raise MissingExtraError("ranked search", "search") from None
    if language not in snowballstemmer.algorithms():
        known = ", ".join(snowballstemmer.algorithms())
        raise ConfigError(f"there is no stemmer for {language!r}: choose one of {known}")
    return snowballstemmer.stemmer(language)


def check_language(language: str) -> None:
    """Raise as `stems` where the language cannot be stemmed."""
    _stemmer(language)


def day_of(text: str) -> int:
    """Return the day number of a DICOM date (YYYYMMDD, or with dots); 0 where it is none."""
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return 0
    try:
        day = (date(int(match[1]), int(match[2]), int(match[3])) - _EPOCH).days + 1
    except ValueError:
        return 0
    return day if 1 <= day <= _LAST_DAY else 0


def date_of(day: int) -> str:
    """Return the DICOM date of a day number."""
    return (_EPOCH + timedelta(days=day - 1)).strftime("%Y%m%d")


def node(level: int, day: int) -> Term:
    """Return the term of the node of a level that holds a day."""
    return "date", f"{level}:{day >> level}"


def cover(low: int, high: int) -> tuple[Term, ...]:
    """Return the two neighbouring nodes of one level that hold the days low to high; exact days are filtered later.

    Raises InputError where the range is empty.
    """
    if low > high:
        raise InputError("a range of dates ends before it begins: write the earlier date first")
    for level in LEVELS[:-1]:
        first, last = low >> level, high >> level
        if last - first < NODES:
            other = last if last > first else first ^ 1
            return ("date", f"{level}:{first}"), ("date", f"{level}:{other}")
    return node(LEVELS[-1], 0), ("date", "rest:0")


def everything() -> tuple[Term, ...]:
    """Return the nodes that hold every study."""
    return cover(0, _LAST_DAY)


def classes(study: Attributes) -> Classes:
    """Return what the postings of a study say of it."""
    bits = modality_bits(_several(study.get("ModalitiesInStudy")))
    bodies = {body_class(one) for one in _several(study.get("BodyPartExamined"))}
    body = bodies.pop() if len(bodies) == 1 else 0  # none or several: only the record knows
    return Classes(day_of(str(study.get("StudyDate", ""))), bits | body << 12)


def modality_bits(modalities: Iterable[str]) -> int:
    """Return the bits of these modalities; bit 11 stands for every other one."""
    bits = 0
    for one in modalities:
        bits |= 1 << (MODALITIES.index(one) if one in MODALITIES else len(MODALITIES))
    return bits


def body_class(part: str) -> int:
    """Return the class of a body part, 1 to 15; several parts share one, so the record decides."""
    return 1 + tagged("body part class", fold(part).encode())[0] % _BODY_CLASSES


def _several(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def study_terms(study: Attributes, words: Mapping[str, int], *, prefixes: bool) -> dict[Term, int]:
    """Return the terms of a study's record with their frequency in it."""
    found: dict[Term, int] = {}
    for keyword in ("StudyInstanceUID", "PatientID", "AccessionNumber"):
        value = str(study.get(keyword, "")).strip()
        if value:
            found[IDENTIFIER_OF[keyword], value] = 1
    for token in tokens(str(study.get("PatientName", ""))):
        found["name", token] = 1
        if prefixes:
            for size in PREFIXES:
                if size <= len(token):
                    found["name*", token[:size]] = 1
    day = day_of(str(study.get("StudyDate", "")))
    if day:
        for level in LEVELS[:-1]:
            found[node(level, day)] = 1
    found[node(LEVELS[-1], 0)] = 1
    for stem, count in list(words.items())[:MAX_WORDS]:
        found["text", stem] = count
    return found


def instance_terms(instance: Attributes) -> set[Term]:
    """Return the terms of one instance: its own UID and its series'."""
    found = set()
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        value = str(instance.get(keyword, "")).strip()
        if value:
            found.add((IDENTIFIER_OF[keyword], value))
    return found
