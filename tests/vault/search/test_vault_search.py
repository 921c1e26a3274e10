"""Search through the vault, with real DICOM files: fed by put, and whole again after any crash."""

from __future__ import annotations

import io
import sqlite3
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from tests.vault.vault_room import CLOUDS, LARGE, OTHER, OWNER, config, kinds, sample

from medveil.errors import ConfigError, ObjectMissingError, StoreUnavailableError, WrongKeyError
from medveil.stores.base import Store
from medveil.stores.directory import DirectoryStore
from medveil.stores.memory import MemoryStore
from medveil.vault import Vault, VaultConfig, parse_config
from medveil.vault.search.attributes import describe
from medveil.vault.search.settings import parse_search


def searching(folder: Path, **search: object) -> VaultConfig:
    base = config(folder)
    table = {"type": "sqlite", "path": "index.sqlite", **search}
    tables = {
        "vault": {"threshold": "2/4", "state": "state", "deadline": 2.0},
        "store": [{"type": "memory", "name": name, "provider": f"provider-{name}"} for name in CLOUDS],
        "search": table,
    }
    assert parse_config(tables, base=folder).stores == base.stores
    return parse_config(tables, base=folder)


@pytest.fixture
def clouds() -> list[Store]:
    return [MemoryStore(name, f"provider-{name}") for name in CLOUDS]


@pytest.fixture
def vault(tmp_path: Path, clouds: list[Store]) -> Vault:
    return Vault.init(searching(tmp_path), OWNER, stores=clouds)


def dicom(name: str = LARGE, **changes: object) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(sample(name)))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def report(study: str, text: str) -> bytes:
    """A structured report (Basic Text SR) of a study."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, generate_uid()
    dataset.Modality, dataset.PatientName, dataset.PatientID = "SR", "Zweig^Marta", "77"
    finding, inner = Dataset(), Dataset()
    inner.RelationshipType, inner.ValueType, inner.TextValue = "CONTAINS", "TEXT", text
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "121071", "DCM", "Finding"
    inner.ConceptNameCodeSequence = Sequence([code])
    finding.ValueType, finding.ContentSequence = "CONTAINER", Sequence([inner])
    dataset.ValueType, dataset.ContentSequence = "CONTAINER", Sequence([finding])
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def test_put_search_study_get(vault: Vault, tmp_path: Path) -> None:
    data = dicom(PatientName="Zweig^Marta", PatientID="77", StudyDescription="CT chest", StudyDate="20240215")
    put = vault.put(data, name="a.dcm")
    uid = str(pydicom.dcmread(io.BytesIO(data)).StudyInstanceUID)
    vault.put(report(uid, "Consolidation, most likely pneumonia of the left lower lobe."), name="report.dcm")
    vault.put(sample(OTHER), name="picture of a breast.png")
    found = vault.search("ModalitiesInStudy=CT&StudyDate=20240101-20240331 pneumonia")
    (hit,) = found.hits
    assert hit.study.attributes["PatientName"] == "Zweig^Marta"
    assert hit.study.attributes["ModalitiesInStudy"] == ["CT", "SR"]
    assert hit.score > 0
    assert found.findings == ()
    study = vault.study(uid)
    assert study.instances[0].object_id == put.object_id
    assert study.instances[0].size == len(data)
    vault.get(study.instances[0].object_id, tmp_path / "back.dcm")
    assert (tmp_path / "back.dcm").read_bytes() == data
    (picture,) = vault.search("breast picture").hits
    assert "StudyInstanceUID" not in picture.study.attributes
    with pytest.raises(ObjectMissingError):
        vault.study("1.2.3.4")


def test_all_samples_of_the_package_are_found(vault: Vault) -> None:
    wanted = set()
    for name in (LARGE, "mr-10-frames.dcm"):
        vault.put(sample(name), name=name)
        dataset = pydicom.dcmread(io.BytesIO(sample(name)), stop_before_pixels=True)
        wanted.add(str(dataset.StudyInstanceUID))
        (hit,) = vault.search(f"StudyInstanceUID={dataset.StudyInstanceUID}").hits
        assert hit.study.attributes["NumberOfStudyRelatedInstances"] == 1
    assert {h.study.attributes["StudyInstanceUID"] for h in vault.search("").hits} == wanted


def test_51_crash_between_data_and_index(tmp_path: Path, clouds: list[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault.init(searching(tmp_path), OWNER, stores=clouds)
    monkeypatch.setattr("medveil.vault.indexing.Indexing.note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        vault.put(dicom(PatientID="77"), name="a.dcm")
    monkeypatch.undo()
    vault = Vault.open(searching(tmp_path), OWNER, stores=clouds)
    behind = vault.search("PatientID=77")
    assert (behind.hits, kinds(behind.findings)) == ((), {"degraded"})  # never a silent "there is none"
    assert vault.index() == 1
    assert vault.search("PatientID=77").total == 1
    assert vault.search("PatientID=77").findings == ()
    assert vault.index() == 0


def test_51_an_upload_that_repair_finished_is_indexed(
    tmp_path: Path, clouds: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault.init(searching(tmp_path), OWNER, stores=clouds)
    with monkeypatch.context() as patched:
        patched.setattr("medveil.vault.putting.finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            vault.put(dicom(PatientID="77"), name="a.dcm")
    assert vault.index() == 0
    assert vault.repair().recovered == 1
    assert kinds(vault.search("PatientID=77").findings) == {"degraded"}
    assert vault.index() == 1
    assert vault.search("PatientID=77").total == 1


def test_51_the_same_put_again_makes_good(tmp_path: Path, clouds: list[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault.init(searching(tmp_path), OWNER, stores=clouds)
    monkeypatch.setattr("medveil.vault.indexing.Indexing.note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        vault.put(dicom(PatientID="77"), name="a.dcm")
    monkeypatch.undo()
    assert vault.put(dicom(PatientID="77"), name="a.dcm").skipped
    assert vault.search("PatientID=77").total == 1


def test_an_index_that_is_down_delays_search_and_not_storing(tmp_path: Path, clouds: list[Store]) -> None:
    (tmp_path / "share").mkdir()
    settings = searching(tmp_path, path="share/index.sqlite")
    vault = Vault.init(settings, OWNER, stores=clouds)
    (tmp_path / "share").rmdir()
    put = vault.put(dicom(PatientID="77"), name="a.dcm")
    assert kinds(put.findings) == {"degraded"}
    assert "vault index" in put.findings[0].message
    with pytest.raises(StoreUnavailableError):
        vault.search("PatientID=77")
    (tmp_path / "share").mkdir()
    assert vault.index() == 1
    assert vault.search("PatientID=77").total == 1


def test_queue_for_a_batch(vault: Vault) -> None:
    for number in range(5):
        vault.put(dicom(PatientID="77", SOPInstanceUID=f"1.2.{number}"), name=f"{number}.dcm", index=False)
    behind = vault.search("PatientID=77")
    assert (behind.total, kinds(behind.findings)) == (0, {"degraded"})
    assert vault.index() == 5
    (hit,) = vault.search("PatientID=77").hits
    assert hit.study.attributes["NumberOfStudyRelatedInstances"] == 5


def test_many_files_are_indexed_together(vault: Vault, tmp_path: Path) -> None:
    files = []
    for number in range(4):
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(dicom(PatientID="77", SOPInstanceUID=f"1.2.{number}"))
    assert all(one.report is not None for one in vault.put_many(files))
    assert vault.search("SOPInstanceUID=1.2.3").total == 1
    assert vault.search("").findings == ()


def test_another_machine_searches_what_this_one_put(vault: Vault, tmp_path: Path, clouds: list[Store]) -> None:
    vault.put(dicom(PatientID="77"), name="a.dcm")
    elsewhere = searching(tmp_path / "elsewhere", path=str(tmp_path / "index.sqlite"))
    other = Vault.init(elsewhere, OWNER, stores=clouds)
    assert other.search("PatientID=77").total == 1
    other.put(dicom(PatientID="78", SOPInstanceUID="1.2.3", StudyInstanceUID="1.2.4"), name="b.dcm")
    assert vault.search("PatientID=78").total == 1


def test_a_damaged_index_is_built_anew_from_the_stores(vault: Vault, tmp_path: Path, clouds: list[Store]) -> None:
    vault.put(dicom(PatientID="77"), name="a.dcm")
    vault.put(dicom(PatientID="78", StudyInstanceUID="1.2.4", SOPInstanceUID="1.2"), name="b.dcm")
    with sqlite3.connect(tmp_path / "index.sqlite") as db:
        db.execute("DELETE FROM p")
    db.close()
    assert vault.rebuild_index() == 2
    assert vault.search("PatientID=78").total == 1
    assert vault.compact_index() == 3
    assert vault.search("PatientID=77").total == 1


def test_a_new_version_is_found_once(vault: Vault) -> None:
    put = vault.put(dicom(StudyDescription="chest"), name="a.dcm")
    vault.put(dicom(StudyDescription="chest", PatientID="9"), object=put.object_id)
    (hit,) = vault.search("chest").hits
    (instance,) = vault.study(str(hit.study.attributes["StudyInstanceUID"])).instances
    assert (instance.object_id, instance.version) == (put.object_id, 2)
    assert hit.study.attributes["NumberOfStudyRelatedInstances"] == 1


def test_without_an_index_or_a_key(tmp_path: Path, clouds: list[Store]) -> None:
    vault = Vault.init(config(tmp_path), OWNER, stores=clouds)
    with pytest.raises(ConfigError, match="search"):
        vault.search("x")
    keyless = Vault.open(searching(tmp_path), None, stores=clouds)
    with pytest.raises(WrongKeyError):
        keyless.search("x")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"type": "sqlite"}, "path"),
        ({"type": "postgresql"}, "host or socket"),
        ({"path": "x", "password": "hunter2"}, "password_env"),
        ({"path": "x", "colour": "red"}, "colour"),
        ({"path": "x", "padding": "none"}, "padding"),
        ("index.sqlite", "table"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, table: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        parse_search(table, tmp_path)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("cut", [0, 131, 132, 200, 400, 1000])
def test_damaged_files_have_no_attributes_and_no_crash(cut: int) -> None:
    data = sample(LARGE)[:cut]
    assert isinstance(describe(data, "some name").text, str)
    assert describe(b"DICM" + data[::-1]).study == {}


def test_no_patient_data_beside_the_vault(tmp_path: Path) -> None:
    from tests.vault.test_canary import FILE, hits, patient

    data, canaries = patient()
    clouds = [DirectoryStore(tmp_path / name, name, f"provider-{name}") for name in CLOUDS]
    vault = Vault.init(searching(tmp_path, prefixes=True), OWNER, stores=clouds)
    vault.put(data, name=FILE, index=False)
    assert hits(tmp_path, canaries) == []  # in the queue
    vault.index()
    assert vault.search("PatientName=zweig").total == 1
    assert vault.search("PatientID=PID-77140-CANARY").total == 1
    vault.compact_index()
    vault.close()
    assert hits(tmp_path, canaries) == []
    assert (tmp_path / "index.sqlite").stat().st_mode & 0o077 == 0


def test_a_report_that_nests_too_deep_or_says_too_much(vault: Vault) -> None:
    dataset = pydicom.dcmread(io.BytesIO(report("1.2.9", "short")))
    item = dataset.ContentSequence[0]
    for _ in range(40):
        inner = Dataset()
        inner.ValueType, inner.TextValue = "TEXT", "deep " * 20
        item.ContentSequence = Sequence([inner])
        item = inner
    item.TextValue = "bottomless"
    out = io.BytesIO()
    dataset.save_as(out)
    described = describe(out.getvalue())
    assert "deep" in described.text
    assert "bottomless" not in described.text
