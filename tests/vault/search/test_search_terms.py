"""Terms: folding, stems, days and the two nodes that cover any range."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medveil.errors import ConfigError, InputError
from medveil.vault.search import terms
from medveil.vault.search.terms import LEVELS, cover, date_of, day_of, node, study_terms

DAYS = st.integers(1, (1 << 16) - 1)


@given(DAYS, DAYS, DAYS)
def test_two_nodes_of_one_level_hold_every_day_of_a_range(low: int, high: int, day: int) -> None:
    low, high = min(low, high), max(low, high)
    nodes = cover(low, high)
    assert len(nodes) == len(set(nodes)) == terms.NODES
    if low <= day <= high:
        assert any(one in nodes for one in (node(level, day) for level in LEVELS))


@given(DAYS)
def test_days_are_dates(day: int) -> None:
    assert day_of(date_of(day)) == day


@given(st.dates(date(1900, 1, 1), date(2079, 1, 1)), st.integers(0, 60))
def test_nodes_of_a_short_range_are_short(first: date, width: int) -> None:
    low, high = day_of(first.strftime("%Y%m%d")), day_of((first + timedelta(width)).strftime("%Y%m%d"))
    level = int(cover(low, high)[0][1].partition(":")[0])
    assert 1 << level <= max(8, 4 * (width + 1))


@pytest.mark.parametrize("text", ["", "2024", "20241301", "20240230", "99991231", "1899-12-31", "abcdefgh"])
def test_no_dates(text: str) -> None:
    assert day_of(text) == 0


def test_old_dates_with_dots() -> None:
    assert day_of("2024.02.29") == day_of("20240229") != 0


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(InputError):
        cover(2, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Müller^Änne^^Dr.", ["muller", "anne", "dr"]),
        ("O'NEILL-Smith^J", ["o", "neill", "smith", "j"]),
        ("Ｗｉｄｅ", ["wide"]),
        ("山田^太郎=Yamada^Taro", ["山田", "太郎", "yamada", "taro"]),
        ("STRASSE straße", ["strasse", "strasse"]),
    ],
)
def test_names_are_folded(text: str, expected: list[str]) -> None:
    assert terms.tokens(text) == expected


def test_words_are_stemmed_in_the_owner_s_language() -> None:
    assert terms.stems("Pneumonias, pneumonia", "english") == {"pneumonia": 2}
    assert set(terms.stems("Entzündungen der Lunge", "german")) >= {"entzund", "lung"}
    with pytest.raises(ConfigError, match="stemmer"):
        terms.stems("word", "klingon")


def test_modality_and_body_part_have_no_term() -> None:
    study = {"StudyInstanceUID": "1.2", "ModalitiesInStudy": ["CT"], "BodyPartExamined": ["CHEST"], "PatientSex": "F"}
    found = study_terms(study, {}, prefixes=True)
    assert {field for field, _ in found} == {"study", "date"}


def test_prefixes_only_where_allowed() -> None:
    study = {"StudyInstanceUID": "1.2", "PatientName": "Zweig^Marta"}
    assert not [one for one in study_terms(study, {}, prefixes=False) if one[0] == "name*"]
    assert ("name*", "zwe") in study_terms(study, {}, prefixes=True)


def test_body_parts_and_modalities_as_bits() -> None:
    said = terms.classes({"ModalitiesInStudy": ["CT", "KO"], "BodyPartExamined": ["CHEST"], "StudyDate": "20240229"})
    assert said.bits & terms.modality_bits(["CT"])
    assert said.bits & terms.modality_bits(["KO"]) == said.bits & terms.modality_bits(["PR"]) != 0
    assert not said.bits & terms.modality_bits(["MR"])
    assert said.bits >> 12 == terms.body_class("chest")
    assert terms.classes({"BodyPartExamined": ["CHEST", "HEAD"]}).bits >> 12 == 0
    assert said.bits < 1 << 16
