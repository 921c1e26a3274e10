"""No patient data in clear anywhere but in the file that is given back: not in a share, a name, a log, a temporary
file, the local state, a report's text or an error.

The patient is real data of the carried CT slice; its own strings and pixels are the canaries, and a name is put in
that no other file could hold. The search looks through every file below the working folder, the clouds included, in
several encodings, while work goes on and after it.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from tests.vault.vault_room import CLOUDS, LARGE, OWNER, config, sample

from medveil.errors import MedveilError
from medveil.imaging.reader import read
from medveil.imaging.roi import Rectangle
from medveil.stores.directory import DirectoryStore
from medveil.vault import Vault

NAME = "CANARY^MARGARETE^ZWEIG"
NUMBER = "PID-77140-CANARY"
FILE = "Zweig_Margarete_1931-thorax.dcm"


def patient() -> tuple[bytes, dict[str, bytes]]:
    """Return the file of a patient and what must not be seen of it."""
    dataset = pydicom.dcmread(io.BytesIO(sample(LARGE)))
    dataset.PatientName, dataset.PatientID = NAME, NUMBER
    out = io.BytesIO()
    dataset.save_as(out)
    data = out.getvalue()
    pixels = read(data).pixels
    middle = pixels.reshape(-1)[pixels.size // 2 + 40 :]
    canaries = {"name": NAME.encode(), "id": NUMBER.encode(), "file": b"Zweig_Margarete", "family": b"ZWEIG"}
    for word in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        canaries[word] = str(dataset[word].value).encode()
    canaries["pixels"] = middle[:16].tobytes()
    assert len(set(canaries["pixels"])) > 8  # not a piece of background
    return data, canaries


def forms(canary: bytes) -> Iterator[bytes]:
    """Yield the ways in which a canary could stand in a file."""
    yield canary
    yield canary.hex().encode()
    try:
        text = canary.decode("ascii")
    except UnicodeDecodeError:
        return
    yield from (text.lower().encode(), text.encode("utf-16-le"), text[::-1].encode())


def hits(folder: Path, canaries: dict[str, bytes], without: tuple[Path, ...] = ()) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        if path in without:
            continue
        seen = str(path.relative_to(folder)).encode()
        if path.is_file():
            seen += path.read_bytes()
        found += [
            f"{what} in {path}" for what, canary in canaries.items() if any(form in seen for form in forms(canary))
        ]
    return found


def test_no_patient_data_in_clear_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    caplog.set_level(logging.DEBUG)
    data, canaries = patient()
    clouds = [DirectoryStore(tmp_path / name, name, f"provider-{name}") for name in CLOUDS]
    vault = Vault.init(config(tmp_path), OWNER, stores=clouds)
    during: list[str] = []

    def look(_done: int, _total: int) -> None:
        during.extend(hits(tmp_path, canaries))

    report = vault.put(data, name=FILE, roi=(Rectangle(100, 100, 200, 200),), progress=look)
    update = vault.put(data + b"\0\0", object=FILE, name=FILE, progress=look)
    assert (during, report.object_id) == ([], update.object_id)
    got = vault.get(FILE, tmp_path / "out.dcm")
    assert (tmp_path / "out.dcm").read_bytes() == data + b"\0\0"
    assert got.name == FILE
    share = max((tmp_path / "north").rglob("s-*"), key=lambda path: path.stat().st_size)
    share.write_bytes(share.read_bytes()[:-5])
    texts = [vault.verify(), vault.scrub(), vault.repair(), vault.versions(report.object_id), vault, got.findings]
    said = repr([getattr(one, "findings", one) for one in texts])
    for wrong in ("nothing", "00" * 16):
        with pytest.raises(MedveilError) as refused:
            vault.get(wrong, tmp_path / "x")
        said += str(refused.value)
    vault.close()
    outside = (tmp_path / "out.dcm",)
    assert hits(tmp_path, canaries, outside) == []
    log = (caplog.text + "".join(record.getMessage() for record in caplog.records) + said).encode()
    names = {"file", "name"}  # a listing with the owner's key shows the owner's own names
    assert [what for what, canary in canaries.items() if what not in names and canary in log] == []
    assert NAME.encode() not in caplog.text.encode()
    assert FILE not in caplog.text
    # The search itself: it finds what is there.
    assert {hit.split(" in ")[0] for hit in hits(tmp_path, canaries)} >= {"name", "id", "pixels", "SOPInstanceUID"}


def test_an_interrupted_put_leaves_ciphertext_only(tmp_path: Path) -> None:
    data, canaries = patient()
    clouds = [DirectoryStore(tmp_path / name, name, f"provider-{name}") for name in CLOUDS]
    vault = Vault.init(config(tmp_path), OWNER, stores=clouds)

    def interrupt(done: int, total: int) -> None:
        if 2 * done > total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vault.put(data, name=FILE, progress=interrupt)
    spooled = [path for path in (tmp_path / "state" / "spool").rglob("part-*") if path.stat().st_size]
    assert spooled
    assert all(path.stat().st_mode & 0o077 == 0 and path.parent.stat().st_mode & 0o077 == 0 for path in spooled)
    assert hits(tmp_path, canaries) == []


def test_the_state_is_private_and_holds_no_secret(tmp_path: Path) -> None:
    clouds = [DirectoryStore(tmp_path / name, name, f"provider-{name}") for name in CLOUDS]
    vault = Vault.init(config(tmp_path), OWNER, stores=clouds)
    vault.put(sample(), name=FILE)
    secrets: dict[str, Any] = {
        "root": OWNER.root,
        "recipient": OWNER.recipient.seed,
        "catalogue": OWNER.derive("vault catalogue", vault._session.dataset, (1).to_bytes(8, "big")),
        "ledger": OWNER.derive("vault ledger", vault._session.dataset),
    }
    assert hits(tmp_path, secrets) == []
    state = tmp_path / "state"
    assert state.stat().st_mode & 0o077 == 0
    assert (state / "state.sqlite").stat().st_mode & 0o077 == 0
