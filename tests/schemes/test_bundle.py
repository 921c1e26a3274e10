"""The folder form of a protected file: whole or absent, signed, opened only by its owner."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from medveil.crypto.keyfile import OwnerKey
from medveil.errors import (
    FormatError,
    InputError,
    LimitError,
    NotAuthenticError,
    OutputExistsError,
    UnrecoverableError,
    WrongKeyError,
)
from medveil.schemes import bundle
from medveil.schemes.base import FindingKind, Part, Protected, Secret


class _Named:
    """All that `write` asks of a scheme."""

    name: ClassVar[str] = "example"
    version: ClassVar[int] = 3


@pytest.fixture(scope="module")
def owner() -> OwnerKey:
    return OwnerKey.generate()


@pytest.fixture
def protected(shared_data: Path) -> Protected:
    image = (shared_data / "dicom_zoo/pydicom_older_tests/CT_small.dcm").read_bytes()
    parts = (Part(1, image[: len(image) // 2], suffix=".bin"), Part(2, image[len(image) // 2 :]))
    return Protected(parts, Secret("example", image * 3))


def _write(folder: Path, protected: Protected, owner: OwnerKey, *, force: bool = False) -> Path:
    bundle.write(folder, protected, _Named(), owner=owner, force=force)  # type: ignore[arg-type]
    return folder


def test_round_trip(tmp_path: Path, protected: Protected, owner: OwnerKey) -> None:
    folder = _write(tmp_path / "ct", protected, owner)
    assert sorted(p.name for p in folder.iterdir()) == ["manifest", "part-1.bin", "part-2"]
    record, secret = bundle.open_manifest(bundle.read_manifest(folder), owner)
    assert secret.data == protected.secret.data
    assert secret.scheme == "example"
    parts, findings = record.match(bundle.read_parts(folder))
    assert [p.data for p in parts] == [p.data for p in protected.parts]
    assert findings == ()


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_000])
def test_secrets_of_every_length(tmp_path: Path, protected: Protected, owner: OwnerKey, size: int) -> None:
    data = (protected.secret.data * 3)[:size]
    folder = _write(tmp_path / "x", Protected(protected.parts, Secret("example", data)), owner)
    assert bundle.open_manifest(bundle.read_manifest(folder), owner)[1].data == data


def test_nothing_secret_in_the_folder(tmp_path: Path, protected: Protected, owner: OwnerKey) -> None:
    folder = _write(tmp_path / "x", Protected(protected.parts, Secret("example", b"canary of the secret")), owner)
    assert b"canary" not in (folder / "manifest").read_bytes()


def test_refuses_to_overwrite_and_keeps_what_is_there(tmp_path: Path, protected: Protected, owner: OwnerKey) -> None:
    folder = _write(tmp_path / "x", protected, owner)
    before = (folder / "manifest").read_bytes()
    with pytest.raises(OutputExistsError, match="exists already"):
        _write(folder, protected, owner)
    assert (folder / "manifest").read_bytes() == before
    _write(folder, protected, owner, force=True)
    assert (folder / "manifest").read_bytes() != before
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), bundle.new_folder(tmp_path / "x") as folder:  # noqa: PT012
        (folder / "part-1").write_bytes(b"half")
        raise RuntimeError
    with pytest.raises(RuntimeError), bundle.new_file(tmp_path / "y") as file:  # noqa: PT012
        file.write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError, match="appeared"), bundle.new_file(tmp_path / "y") as file:  # noqa: PT012
        file.write_bytes(b"ours")
        (tmp_path / "y").write_bytes(b"theirs")
    assert (tmp_path / "y").read_bytes() == b"theirs"
    assert len(list(tmp_path.iterdir())) == 1


def test_another_owner_cannot_open(tmp_path: Path, protected: Protected, owner: OwnerKey) -> None:
    folder = _write(tmp_path / "x", protected, owner)
    with pytest.raises(WrongKeyError):
        bundle.open_manifest(bundle.read_manifest(folder), OwnerKey.generate())


def test_every_changed_byte_of_a_manifest_is_refused(tmp_path: Path, owner: OwnerKey) -> None:
    small = Protected((Part(1, b"a"), Part(2, b"b")), Secret("example", b"s"))
    data = bundle.read_manifest(_write(tmp_path / "x", small, owner))
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises(NotAuthenticError):
            bundle.open_manifest(bytes(changed), owner)
    for cut in (0, 4, 8, 100, len(data) - 1):
        with pytest.raises(NotAuthenticError):
            bundle.open_manifest(data[:cut], owner)
    with pytest.raises(NotAuthenticError):
        bundle.open_manifest(data + b"\0", owner)


def test_swapped_changed_and_missing_parts_are_named(tmp_path: Path, protected: Protected, owner: OwnerKey) -> None:
    folder = _write(tmp_path / "x", protected, owner)
    record, _ = bundle.open_manifest(bundle.read_manifest(folder), owner)
    one, two = (p.data for p in protected.parts)
    cases: dict[FindingKind, dict[int, bytes]] = {
        FindingKind.SWAPPED: {1: two, 2: one},
        FindingKind.TAMPER: {1: one[:-1] + b"\xff", 2: two},
        FindingKind.MISSING: {2: two},
    }
    for kind, given in cases.items():
        parts, findings = record.match(given)
        assert {f.kind for f in findings} == {kind}
        assert findings[0].part == 1
        if kind is FindingKind.SWAPPED:
            assert {p.index: p.data for p in parts} == {1: one, 2: two}


def test_bad_folders(tmp_path: Path, protected: Protected, owner: OwnerKey) -> None:
    with pytest.raises(InputError, match="not a folder of parts"):
        bundle.part_files(tmp_path / "absent")
    with pytest.raises(UnrecoverableError, match="no manifest"):
        bundle.read_manifest(tmp_path)
    with pytest.raises(UnrecoverableError, match="no parts"):
        bundle.read_parts(tmp_path)
    folder = _write(tmp_path / "x", protected, owner)
    with pytest.raises(LimitError):
        bundle.read_parts(folder, limit=10)
    (folder / "part-1.copy").write_bytes(b"")
    with pytest.raises(InputError, match="two files for part 1"):
        bundle.part_files(folder)
    (folder / "manifest").write_bytes(b"MVBN\x01" + b"\xff" * 40)
    with pytest.raises(FormatError):
        bundle.parse_manifest(bundle.read_manifest(folder))
