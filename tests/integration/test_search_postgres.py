"""The index on a real PostgreSQL: the same answers, the same refusals, several writers, a server that goes away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.integration.servers.postgres import Postgres
from tests.vault.search.index_room import DATASET, OWNER, entry
from tests.vault.search.test_search_index import CONDITIONS, hospital
from tests.vault.vault_room import CLOUDS

from medveil.errors import ConflictError, IncompleteResultError, RollbackError, StoreUnavailableError, TamperedError
from medveil.stores.memory import MemoryStore
from medveil.vault import Vault, parse_config
from medveil.vault.search.cache import Cache
from medveil.vault.search.index import IndexOptions, SearchIndex
from medveil.vault.search.postgres import PostgresBackend
from medveil.vault.search.query import parse_query
from medveil.vault.search.searching import search

pytestmark = pytest.mark.integration
NUMBER = iter(range(1000))


@pytest.fixture
def schema() -> str:
    return f"index_{next(NUMBER)}"


@pytest.fixture
def backend(postgres: Postgres, schema: str) -> Iterator[PostgresBackend]:
    made = PostgresBackend(postgres.arguments(), schema=schema)
    yield made
    made.close()


def machine(backend: PostgresBackend, folder: Path) -> SearchIndex:
    folder.mkdir(exist_ok=True)
    return SearchIndex(backend, Cache(folder), OWNER, DATASET, IndexOptions())


def fill(index: SearchIndex, count: int = 120) -> list[dict[str, str]]:
    studies = hospital(count)
    index.add(
        [
            entry(
                instance={"Modality": ("CT", "MR", "KO")[n % 3], "BodyPartExamined": ("CHEST", "HEAD")[n % 2]}, **study
            )
            for n, study in enumerate(studies)
        ]
    )
    return studies


def uids(index: SearchIndex, query: str) -> set[str]:
    return {str(h.study.attributes["StudyInstanceUID"]) for h in search(index, parse_query(query), limit=1000).hits}


def test_every_kind_of_condition(backend: PostgresBackend, tmp_path: Path) -> None:
    index = machine(backend, tmp_path / "a")
    studies = fill(index)
    index.remove("1.2.119")
    index.compact()
    for query, holds in CONDITIONS.items():
        if holds is not None:
            expected = {s["uid"] for n, s in enumerate(studies) if n != 119 and holds(s, n)}
            assert uids(index, query) == expected, query
    assert machine(backend, tmp_path / "b").sync().version == 3
    rows, size = backend.sizes()
    assert rows > 500
    assert size > 0


def test_over_tcp_and_from_many_threads(postgres: Postgres, schema: str, tmp_path: Path) -> None:
    backend = PostgresBackend(postgres.arguments(tcp=True), schema=schema)
    index = machine(backend, tmp_path / "a")
    fill(index, 30)
    answers: list[set[str]] = []
    threads = [threading.Thread(target=lambda: answers.append(uids(index, "pneumonia"))) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers == [{study["uid"] for study in hospital(30)}] * 8
    backend.close()


def test_what_the_server_does_is_noticed(
    backend: PostgresBackend, postgres: Postgres, schema: str, tmp_path: Path
) -> None:
    index = machine(backend, tmp_path / "a")
    fill(index, 40)
    chain = index.sync()
    (reading,) = index.readings(chain.epoch, [("text", "pneumonia")])
    first, second = reading.key.labels(0, 2)
    with psycopg.connect(**postgres.arguments(), autocommit=True) as server:
        server.execute(f"SET search_path TO {schema}")
        kept = server.execute("SELECT ct FROM p WHERE label = %b", (first,)).fetchone()
        assert kept is not None
        server.execute("UPDATE p SET ct = (SELECT ct FROM p WHERE label = %b) WHERE label = %b", (second, first))
        with pytest.raises(TamperedError):
            uids(index, "pneumonia")
        server.execute("DELETE FROM p WHERE label = %b", (first,))
        with pytest.raises(IncompleteResultError):
            uids(index, "pneumonia")
        server.execute("INSERT INTO p VALUES (%b, %b)", (first, kept[0]))
        assert len(uids(index, "pneumonia")) == 40
        server.execute("DELETE FROM c")
        with pytest.raises(RollbackError):
            uids(index, "pneumonia")


def test_one_of_two_writers_is_first(backend: PostgresBackend, postgres: Postgres, schema: str, tmp_path: Path) -> None:
    index = machine(backend, tmp_path / "a")
    fill(index, 4)
    with pytest.raises(ConflictError):
        backend.commit(1, b"late", [])
    other = machine(PostgresBackend(postgres.arguments(), schema=schema), tmp_path / "b")
    threads = [
        threading.Thread(target=one.add, args=([entry(f"1.{n}", StudyDescription="liver")],))
        for n, one in enumerate((index, other), start=50)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert {"1.50", "1.51"} <= uids(index, "liver") == uids(other, "liver")
    other.backend.close()


def test_a_connection_that_was_cut_is_opened_again(
    backend: PostgresBackend, postgres: Postgres, tmp_path: Path
) -> None:
    index = machine(backend, tmp_path / "a")
    fill(index, 8)
    with psycopg.connect(**postgres.arguments(), autocommit=True) as server:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'medveil'")
    with pytest.raises(StoreUnavailableError) as refused:
        uids(index, "pneumonia")
    assert postgres.password not in str(refused.value)
    assert len(uids(index, "pneumonia")) == 8


def test_nothing_readable_is_on_the_server(
    backend: PostgresBackend, postgres: Postgres, schema: str, tmp_path: Path
) -> None:
    index = machine(backend, tmp_path / "a")
    index.add([entry("1.2.3", PatientName="CANARY^ZWEIG", StudyDescription="canaryword", PatientID="CANARY-7")])
    with psycopg.connect(**postgres.arguments(), autocommit=True) as server:
        server.execute(f"SET search_path TO {schema}")
        for table, column in (("p", "ct"), ("c", "record")):
            for (raw,) in server.execute(f"SELECT {column} FROM {table}"):  # noqa: S608
                assert b"canary" not in bytes(raw).lower()
        sizes = {len(raw) for (raw,) in server.execute("SELECT ct FROM p")}
    assert len(sizes) == 3


def test_through_the_vault_and_its_configuration(
    postgres: Postgres, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INDEX_PASSWORD", postgres.password)
    search_table = {
        "type": "postgresql", "socket": str(postgres.socket), "port": postgres.port, "dbname": "postgres",
        "user": "medveil", "password_env": "INDEX_PASSWORD", "schema": schema,
    }  # fmt: skip
    tables = {
        "vault": {"threshold": "2/4", "state": "state"},
        "store": [{"type": "memory", "name": name, "provider": name} for name in CLOUDS],
        "search": search_table,
    }
    stores = [MemoryStore(name, name) for name in CLOUDS]
    vault = Vault.init(parse_config(tables, base=tmp_path), OWNER, stores=stores)
    from tests.vault.search.test_vault_search import dicom

    vault.put(dicom(PatientID="77"), name="a.dcm")
    assert vault.search("PatientID=77").total == 1
    vault.close()
