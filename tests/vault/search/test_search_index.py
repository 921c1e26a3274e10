"""The encrypted index against a slow oracle, and against an operator who withholds, swaps, replays and rolls back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.vault.search.index_room import DATASET, OWNER, IndexRoom, bm25, entry

from medveil.crypto.keyfile import OwnerKey
from medveil.errors import (
    ConflictError,
    ForkError,
    IncompleteResultError,
    ObjectMissingError,
    RollbackError,
    TamperedError,
    UnsupportedError,
)
from medveil.vault.search.backend import SQLiteBackend
from medveil.vault.search.cache import Cache
from medveil.vault.search.index import IndexOptions, SearchIndex

WORDS = ("pneumonia", "chest", "nodule", "follow", "contrast", "liver")
NAMES = ("Zweig^Marta", "Müller^Jan", "Zweig^Paul", "O'Neill^Ann")


@pytest.fixture
def room(tmp_path: Path) -> IndexRoom:
    return IndexRoom(tmp_path)


def hospital(count: int = 120) -> list[dict[str, str]]:
    """Studies over two years; words with very different frequencies."""
    return [
        {
            "uid": f"1.2.{n}",
            "PatientID": f"P{n % 40}",
            "PatientName": NAMES[n % 4],
            "StudyDate": f"20{23 + n % 2}{1 + n % 12:02}{1 + n % 28:02}",
            "StudyDescription": " ".join(w for i, w in enumerate(WORDS) if n % (i + 1) == 0) + " chest" * (n % 3),
        }
        for n in range(count)
    ]


def filled(room: IndexRoom, count: int = 120) -> list[dict[str, str]]:
    studies = hospital(count)
    room.index.add(
        [
            entry(
                instance={"Modality": ("CT", "MR", "KO")[n % 3], "BodyPartExamined": ("CHEST", "HEAD")[n % 2]}, **study
            )
            for n, study in enumerate(studies)
        ]
    )
    return studies


# ---------------------------------------------------------------------------------------------------------- answers


def test_ranks_as_the_textbook_does(room: IndexRoom) -> None:
    studies = hospital()
    room.index.add([entry(**study) for study in studies[:2]])
    room.index.add([entry(**study) for study in studies[2:]])
    room.index.compact()
    texts = {study["uid"]: study["StudyDescription"] for study in studies}
    for words in ("chest", "pneumonia nodule", "liver follow contrast"):
        report = room.find(words, limit=1000)
        expected = bm25(texts, words)
        assert {h.study.attributes["StudyInstanceUID"] for h in report.hits} == set(expected)
        for hit in report.hits:
            assert hit.score == pytest.approx(expected[str(hit.study.attributes["StudyInstanceUID"])])
        assert [h.score for h in report.hits] == sorted((h.score for h in report.hits), reverse=True)


@pytest.mark.parametrize("limit", [1, 5, 40])
def test_pages_are_pieces_of_the_whole(room: IndexRoom, limit: int) -> None:
    filled(room)
    room.index.compact()
    for query in ("chest", "StudyDate=20230301-20240901", "PatientName=zweig", "ModalitiesInStudy=KO"):
        whole = room.uids(query, limit=1000)
        pages = [uid for at in range(0, len(whole), limit) for uid in room.uids(query, limit=limit, offset=at)]
        assert pages == whole


def test_the_first_row_is_enough_for_the_best_32(room: IndexRoom) -> None:
    filled(room, 400)
    room.index.compact()
    room.backend.asked.clear()
    report = room.find("chest", limit=32)
    assert (len(room.backend.asked[0]), report.total, report.exact_total) == (1, 333, True)
    best = room.find("chest", limit=1000).hits[:32]
    assert [h.score for h in report.hits] == [h.score for h in best]


CONDITIONS = {
    "PatientID=P3": lambda s, n: s["PatientID"] == "P3",
    "PatientID=P3,P4": lambda s, n: False,  # a comma is no separator of text (PS3.18)
    "PatientID=P3%5CP4": lambda s, n: s["PatientID"] in ("P3", "P4"),
    "PatientName=müller": lambda s, n: s["PatientName"] == "Müller^Jan",
    "PatientName=zweig^m*": lambda s, n: s["PatientName"] == "Zweig^Marta",
    "StudyInstanceUID=1.2.3,1.2.5": lambda s, n: n in (3, 5),
    "SeriesInstanceUID=1.2.7.1": lambda s, n: n == 7,
    "SOPInstanceUID=1.2.8.1.0": lambda s, n: n == 8,
    "StudyDate=20230105-20230301": lambda s, n: "20230105" <= s["StudyDate"] <= "20230301",
    "StudyDate=-20230301": lambda s, n: s["StudyDate"] <= "20230301",
    "StudyDate=20240601-": lambda s, n: s["StudyDate"] >= "20240601",
    "ModalitiesInStudy=CT": lambda s, n: n % 3 == 0,
    "ModalitiesInStudy=KO": lambda s, n: n % 3 == 2,
    "ModalitiesInStudy=PR": lambda s, n: False,
    "BodyPartExamined=CHEST&ModalitiesInStudy=CT,MR": lambda s, n: n % 2 == 0 and n % 3 < 2,
    "StudyDescription=*nodule*": lambda s, n: "nodule" in s["StudyDescription"],
    "StudyDescription=pneumonia": lambda s, n: s["StudyDescription"].strip() == "pneumonia",
    "PatientID=P3&StudyDate=2023-": None,
    "StudyDate=20230101-20231231&ModalitiesInStudy=MR nodule": lambda s, n: (
        s["StudyDate"] < "2024" and n % 3 == 1 and "nodule" in s["StudyDescription"]
    ),
    "": lambda s, n: True,
}


@pytest.mark.parametrize("compacted", [False, True])
def test_every_kind_of_condition(room: IndexRoom, compacted: bool) -> None:
    studies = filled(room)
    if compacted:
        room.index.compact()
    for query, holds in CONDITIONS.items():
        if holds is None:
            continue
        expected = {study["uid"] for n, study in enumerate(studies) if holds(study, n)}
        assert set(room.uids(query, limit=1000)) == expected, query


def test_beginnings_of_names_only_where_the_owner_allows_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    without, allowed = IndexRoom(tmp_path / "a"), IndexRoom(tmp_path / "b", IndexOptions(prefixes=True))
    filled(without, 20)
    filled(allowed, 20)
    with pytest.raises(UnsupportedError, match="not allowed"):
        without.find("PatientName=zw*")
    assert len(without.uids("PatientName=zw*&StudyDate=20230101-20241231")) == 10
    allowed.backend.asked.clear()
    assert len(allowed.uids("PatientName=zw*")) == 10
    assert len(allowed.backend.asked[0]) == 1  # its own rows, not everything
    assert len(allowed.uids("PatientName=zweig^ma*")) == 5


def test_a_study_grows_file_by_file(room: IndexRoom) -> None:
    room.index.add([entry("1.2", StudyDate="20240101", StudyDescription="chest", PatientID="7")])
    room.index.add([entry("1.2", number=1, StudyDate="20240101", StudyDescription="chest", PatientID="7")])
    sr = {"Modality": "SR", "SeriesInstanceUID": "1.2.9", "SOPInstanceUID": "1.2.9.1"}
    room.index.add([entry("1.2", number=2, text="suspicion of pneumonia", instance=sr)])
    (hit,) = room.find("PatientID=7&ModalitiesInStudy=SR pneumonia").hits
    said = hit.study.attributes
    assert said["ModalitiesInStudy"] == ["CT", "SR"]
    assert (said["NumberOfStudyRelatedSeries"], said["NumberOfStudyRelatedInstances"]) == (2, 3)
    record, instances = room.index.study(room.index.token("1.2")) or (None, [])
    assert record is not None
    assert [one.attributes["SOPInstanceUID"] for one in instances] == ["1.2.1.0", "1.2.1.1", "1.2.9.1"]
    assert record.words["chest"] == 1  # the description stands in every file and counts once
    assert room.find("chest").total == 1
    room.index.compact()
    assert len((room.index.study(room.index.token("1.2")) or (None, []))[1]) == 3


def test_removed_studies_are_gone_and_may_come_back(room: IndexRoom) -> None:
    filled(room, 12)
    room.index.remove("1.2.4")
    assert "1.2.4" not in room.uids("chest pneumonia") + room.uids("StudyInstanceUID=1.2.4") + room.uids("")
    with pytest.raises(ObjectMissingError):
        room.index.remove("1.2.4")
    rows = len(room.backend.everything())
    room.index.compact()
    assert len(room.backend.everything()) < rows
    assert "1.2.4" not in room.uids("")
    room.index.add([entry(**hospital(12)[4])])
    assert room.uids("StudyInstanceUID=1.2.4") == ["1.2.4"]
    assert len(room.uids("")) == 12


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "add", "add", "remove", "compact"]), st.integers(0, 9), st.integers(0, 5)),
        max_size=14,
    )
)
def test_any_history_gives_what_the_oracle_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    room = IndexRoom(tmp_path_factory.mktemp("index"))
    model: dict[str, set[str]] = {}
    for number, (what, study, word) in enumerate(steps):
        uid = f"1.9.{study}"
        if what == "add":
            room.index.add(
                [entry(uid, number=number, text=WORDS[word], instance={"SeriesInstanceUID": f"{uid}.{number}"})]
            )
            model.setdefault(uid, set()).add(WORDS[word])
        elif what == "remove" and uid in model:
            room.index.remove(uid)
            del model[uid]
        elif what == "compact":
            room.index.compact()
    other = room.machine("elsewhere")
    for index in (room.index, other):
        for word in WORDS:
            found = {h.study.attributes["StudyInstanceUID"] for h in room.find(word, index=index).hits}
            assert found == {uid for uid, words in model.items() if word in words}
        assert room.find("", index=index).total == len(model)


# ------------------------------------------------------------------------------------------------- what is written


def test_adds_only_write_fresh_rows_of_one_size(room: IndexRoom) -> None:
    filled(room, 40)
    before = room.backend.everything()
    room.index.add([entry("1.77", StudyDescription="chest", PatientName="Zweig^Marta", StudyDate="20230105")])
    after = room.backend.everything()
    assert {label: after[label] for label in before} == before  # nothing that was there changed
    fresh = room.backend.written[-1]
    assert not {label for label, _ in fresh} & set(before)
    sizes = {len(row) for row in after.values()}
    assert len(sizes) == 3  # wide rows, narrow rows, records of one block
    # Nothing that an earlier question showed is asked for or written by a later add: the add cannot be linked to it.
    shown = {label for asked in room.backend.asked for label in asked}
    assert not shown & {label for label, _ in fresh}


def test_compaction_changes_every_label_and_row(room: IndexRoom) -> None:
    filled(room, 30)
    before = room.backend.everything()
    assert room.index.compact() == 2
    after = room.backend.everything()
    assert not set(before) & set(after)
    assert not set(before.values()) & set(after.values())


def test_padding_to_powers_of_two(tmp_path: Path) -> None:
    room = IndexRoom(tmp_path, IndexOptions(padding="power"))
    filled(room, 200)
    room.index.compact()
    rows = {one.rows for one in room.index.cache.counters(
        room.index.keys(2).term(("text", word)).counter for word in ("pneumonia", "chest", "nodul", "liver")
    )}  # fmt: skip
    assert rows == {8, 4, 2}
    assert room.find("pneumonia", limit=1000).total == 200


@pytest.mark.parametrize("width", [1, 2, 9, 33, 100, 365, 3000])
def test_ranges_of_every_width_ask_for_two_nodes(room: IndexRoom, width: int) -> None:
    filled(room, 30)  # every node fits one row
    room.backend.asked.clear()
    first = 20230301
    from medveil.vault.search.terms import date_of, day_of

    day = day_of(str(first))
    room.find(f"StudyDate={first}-{date_of(day + width - 1)}", limit=0)
    assert sum(len(asked) for asked in room.backend.asked) == 2


def test_dates_and_modalities_are_never_asked_for_beside_another_term(room: IndexRoom) -> None:
    filled(room)
    room.backend.asked.clear()
    room.find("PatientName=zweig", limit=0)
    alone = [set(asked) for asked in room.backend.asked]
    room.backend.asked.clear()
    room.find("PatientName=zweig&StudyDate=20230101-20230601&ModalitiesInStudy=CT&BodyPartExamined=CHEST", limit=0)
    assert [set(asked) for asked in room.backend.asked][: len(alone)] == alone


def test_the_rarest_term_is_read_first_and_long_lists_are_spared(room: IndexRoom) -> None:
    filled(room, 400)
    room.index.compact()
    room.backend.asked.clear()
    report = room.find("PatientID=P7 pneumonia")
    assert report.total == 10
    assert len(room.backend.asked[0]) == 3  # narrow rows of the patient, not the 13 of the word
    assert report.rows == 13  # and the records of the ten


# ---------------------------------------------------------------------------------------------- a dishonest operator


def rows_of(room: IndexRoom, word: str) -> list[bytes]:
    chain = room.index.sync()
    (reading,) = room.index.readings(chain.epoch, [("text", word)])
    return reading.key.labels(0, reading.counter.rows)


def test_48_a_row_omitted(room: IndexRoom) -> None:
    filled(room)
    for label in rows_of(room, "chest"):
        room.backend.withheld = {label}
        with pytest.raises(IncompleteResultError, match="INCOMPLETE_RESULT"):
            room.find("chest", limit=1000)
    room.backend.withheld = set()
    assert room.find("chest").total == 100


def test_48_every_row_omitted_is_no_empty_answer(room: IndexRoom) -> None:
    filled(room, 20)
    room.backend.withheld = set(room.backend.everything())
    for query in ("chest", "PatientID=P1", "StudyDate=20230101-20241231", ""):
        with pytest.raises(IncompleteResultError):
            room.find(query)


def test_48_a_record_omitted(room: IndexRoom) -> None:
    filled(room, 20)
    room.backend.asked.clear()
    room.find("PatientID=P1")
    room.backend.withheld = set(room.backend.asked[-1])
    with pytest.raises(IncompleteResultError):
        room.find("PatientID=P1")


def test_49_rows_swapped_replayed_or_changed(room: IndexRoom) -> None:
    filled(room)
    first, second = rows_of(room, "chest")[0], rows_of(room, "pneumonia")[0]
    everything = room.backend.everything()
    old = everything[first]
    room.index.compact()
    label = rows_of(room, "chest")[0]
    now = room.backend.everything()
    for wrong in (now[rows_of(room, "pneumonia")[0]], now[rows_of(room, "chest")[1]], old, now[label][:-1],
                  bytes([now[label][0] ^ 1]) + now[label][1:], b"", now[label] + b"\0"):  # fmt: skip
        room.backend.changed = {label: wrong}
        with pytest.raises(TamperedError):
            room.find("chest", limit=1000)
    assert second


def test_50_index_state_rolled_back(room: IndexRoom, tmp_path: Path) -> None:
    filled(room, 10)
    room.index.add([entry("1.88", StudyDescription="chest")])
    room.backend.commits_hidden = 1
    with pytest.raises(RollbackError, match="rolled back"):
        room.find("chest")


def test_50_another_history_of_the_same_owner(room: IndexRoom, tmp_path: Path) -> None:
    """The operator keeps a copy, lets one machine go on with it, and shows the result to the other."""
    filled(room, 10)
    (tmp_path / "fork").mkdir()
    copy = SQLiteBackend(tmp_path / "fork" / "index.sqlite")
    for version, record in room.backend.inner.commits(0):
        copy.commit(version, record, room.backend.everything().items())
    twin = SearchIndex(copy, Cache(tmp_path / "fork"), OWNER, DATASET)
    twin.add([entry("1.90", StudyDescription="chest")])
    twin.add([entry("1.91", StudyDescription="chest")])
    room.index.add([entry("1.92", StudyDescription="chest")])
    room.index.backend = copy
    with pytest.raises(ForkError):
        room.find("chest")


def test_50_a_commit_that_is_missing_or_not_the_owner_s(room: IndexRoom, tmp_path: Path) -> None:
    filled(room, 4)
    for number in (50, 51):
        room.index.add([entry(f"1.{number}", StudyDescription="chest")])
    other = room.machine("late")
    with room.backend.inner._database.use() as db:
        record = db.execute("SELECT record FROM c WHERE version = 2").fetchone()[0]
        db.execute("DELETE FROM c WHERE version = 2")
        with pytest.raises(IncompleteResultError):
            other.sync()
        db.execute("INSERT INTO c VALUES (2, ?)", (record[:-1] + bytes([record[-1] ^ 1]),))
        with pytest.raises(TamperedError):
            other.sync()
        db.execute("UPDATE c SET record = ? WHERE version = 2", (record,))
    assert other.sync().version == 3


def test_another_owner_reads_and_writes_nothing(room: IndexRoom, tmp_path: Path) -> None:
    filled(room, 4)
    (tmp_path / "stranger").mkdir()
    stranger = SearchIndex(room.backend, Cache(tmp_path / "stranger"), OwnerKey(bytes(32)), DATASET)
    with pytest.raises(TamperedError):
        stranger.add([entry("1.2.99")])


# ----------------------------------------------------------------------------------------------------- several writers


def test_two_machines_write_one_index(room: IndexRoom) -> None:
    other = room.machine("other")
    errors: list[BaseException] = []

    def work(index: SearchIndex, name: str) -> None:
        try:
            for number in range(6):
                index.add([entry(f"1.{name}.{number}", StudyDescription="chest")])
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(index, name)) for index, name in ((room.index, "1"), (other, "2"))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [error for error in errors if not isinstance(error, ConflictError)] == []
    found = set(room.uids("chest"))
    assert found == {str(h.study.attributes["StudyInstanceUID"]) for h in room.find("chest", index=other).hits}
    assert len(found) == 12 or errors


def test_a_reader_meets_a_compaction(room: IndexRoom) -> None:
    filled(room, 20)
    other = room.machine("other")
    room.find("chest", index=other)
    real = room.backend.fetch

    def compacted_meanwhile(labels):  # type: ignore[no-untyped-def]
        room.backend.fetch = real  # type: ignore[method-assign]
        room.index.compact()
        return real(labels)

    room.backend.fetch = compacted_meanwhile  # type: ignore[method-assign]
    assert room.find("chest", index=other).total == 17


def test_a_commit_whose_answer_was_lost_is_not_written_twice(room: IndexRoom) -> None:
    real = room.backend.commit

    def lost(*arguments, **options):  # type: ignore[no-untyped-def]
        room.backend.commit = real  # type: ignore[method-assign]
        real(*arguments, **options)
        raise ConnectionResetError

    room.backend.commit = lost  # type: ignore[method-assign]
    one = entry("1.2", StudyDescription="chest")
    with pytest.raises(ConnectionResetError):
        room.index.add([one])
    room.index.sync()
    assert room.index.cache.is_indexed(one.object_id, 1)
    assert room.uids("chest") == ["1.2"]


def test_a_lost_index_begins_anew_without_a_repeated_label(room: IndexRoom) -> None:
    studies = filled(room, 8)
    before = set(room.backend.everything())
    room.backend.inner.close()
    for path in room.folder.glob("index.sqlite*"):
        path.unlink()
    with pytest.raises(RollbackError):
        room.find("chest")
    room.index.restart()
    assert room.find("chest").total == 0
    room.index.add([entry(**study) for study in studies])
    assert room.find("chest").total == 7
    assert not before & set(room.backend.everything())
