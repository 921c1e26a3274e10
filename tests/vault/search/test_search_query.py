"""The query language: QIDO-RS's keys and values, free words after it, and matching by PS3.4."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medveil.errors import InputError, LimitError, MedveilError, UnsupportedError
from medveil.vault.search import parse_query
from medveil.vault.search.query import MAX_QUERY
from medveil.vault.search.terms import day_of


def test_the_query_of_the_manual() -> None:
    query = parse_query("ModalitiesInStudy=CT&StudyDate=20240101-20240331 pneumonia")
    assert [(one.keyword, one.values) for one in query.conditions] == [
        ("ModalitiesInStudy", ("CT",)),
        ("StudyDate", ("20240101-20240331",)),
    ]
    assert query.words == ("pneumonia",)
    assert query.days() == (day_of("20240101"), day_of("20240331"))


@pytest.mark.parametrize(
    ("text", "keyword", "values"),
    [
        ("00100020=77", "PatientID", ("77",)),
        ("PatientName=Z%C3%BCrcher%5EAnn*", "PatientName", ("Zürcher^Ann*",)),
        ("StudyInstanceUID=1.2,1.3", "StudyInstanceUID", ("1.2", "1.3")),
        ("StudyInstanceUID=1.2%5C1.3", "StudyInstanceUID", ("1.2", "1.3")),
        ("StudyDescription=CT+CHEST", "StudyDescription", ("CT CHEST",)),
        ("Modality=CT", "ModalitiesInStudy", ("CT",)),
        ("?PatientID=1&includefield=all&fuzzymatching=true", "PatientID", ("1",)),
    ],
)
def test_attributes(text: str, keyword: str, values: tuple[str, ...]) -> None:
    (condition,) = parse_query(text).conditions
    assert (condition.keyword, condition.values) == (keyword, values)


def test_universal_matching_limit_and_offset() -> None:
    query = parse_query("PatientName=&PatientID=*&limit=5&offset=10")
    assert (query.conditions, query.limit, query.offset) == ((), 5, 10)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Nonsense=1", InputError),
        ("FFFFFFFF=1", InputError),
        ("PatientID=1&PatientID=2", InputError),
        ("limit=many", InputError),
        ("ReferencedStudySequence.ReferencedSOPInstanceUID=1", UnsupportedError),
        ("x" * (MAX_QUERY + 1), LimitError),
        ("StudyInstanceUID=" + "1," * 1001, LimitError),
    ],
)
def test_refuses_and_says_why(text: str, error: type[MedveilError]) -> None:
    with pytest.raises(error):
        parse_query(text)


@pytest.mark.parametrize("value", ["2024", "20240101-2024", "-", "20240101*", "20240301-20240201", "yesterday"])
def test_dates_that_are_none(value: str) -> None:
    with pytest.raises(InputError):
        parse_query(f"StudyDate={value}").days()


@pytest.mark.parametrize(
    ("query", "held", "matches"),
    [
        ("PatientName=Zweig*", "ZWEIG^MARTA", True),
        ("PatientName=zweig", "ZWEIG^MARTA", True),
        ("PatientName=zweig^m?rta", "Zweig^Marta^^", True),
        ("PatientName=marta^zweig", "ZWEIG^MARTA", True),
        ("PatientName=zweigs", "ZWEIG^MARTA", False),
        ("StudyDescription=*chest*", "CT CHEST W/O", True),
        ("StudyDescription=chest", "CT CHEST W/O", False),
        ("StudyDescription=[a]*", "[a]bc", True),
        ("PatientBirthDate=19300101-19391231", "19310505", True),
        ("PatientBirthDate=-19291231", "19310505", False),
        ("StudyTime=10-12", "113000", True),
        ("StudyTime=10-12", "130000", False),
        ("PatientSex=F", "M", False),
        ("PatientSex=F", None, False),
    ],
)
def test_matching(query: str, held: str | None, matches: bool) -> None:
    parsed = parse_query(query)
    assert parsed.match({parsed.conditions[0].keyword: held}) is matches


def test_any_value_of_a_list_matches() -> None:
    assert parse_query("ModalitiesInStudy=MR,PT").match({"ModalitiesInStudy": ["CT", "PT"]})
    assert not parse_query("ModalitiesInStudy=MR").match({"ModalitiesInStudy": ["CT", "PT"]})


@given(st.text(max_size=60))
def test_anything_typed_is_a_query_or_a_typed_refusal(text: str) -> None:
    with contextlib.suppress(MedveilError):  # and nothing else
        parse_query(text).days()
