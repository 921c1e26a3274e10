"""Key files: nothing weak is written, nothing dangerous is read, nothing secret is shown."""

import copy
import errno
import getpass
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from medveil.crypto import canonical, keyfile
from medveil.crypto.envelope import RecipientPrivateKey
from medveil.crypto.keyfile import OwnerKey, OwnerPublic
from medveil.errors import FormatError, InputError, LimitError, OutputExistsError, UsageError, WrongKeyError

ROOT = bytes(range(32))
OWNER = OwnerKey(ROOT)
PASSPHRASE = b"correct horse battery staple"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("keys") / "owner.key"
    keyfile.save_key_file(path, OWNER, PASSPHRASE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["owner.key"]
    return path.read_bytes()


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "some.key"
    path.write_bytes(data)
    return path


def changed(saved: bytes, **changes: Any) -> bytes:
    record = canonical.decode(saved)
    for name, value in changes.items():
        if name in record["kdf"]:
            record["kdf"][name] = value
        else:
            record[name] = value
    return canonical.encode(record)


def test_round_trip(saved: bytes, tmp_path: Path) -> None:
    again = keyfile.load_key_file(written(tmp_path, saved), PASSPHRASE)
    assert again.root == ROOT
    assert again.public == OWNER.public


def test_second_computation(saved: bytes) -> None:
    """The file opened with `cryptography` alone."""
    record = canonical.decode(saved)
    assert record["kdf"] == {"name": "argon2id", "memory": 65536, "passes": 3, "lanes": 4}
    header = {name: record[name] for name in ("v", "kind", "kdf", "salt")}
    stretched = Argon2id(salt=record["salt"], length=32, iterations=3, lanes=4, memory_cost=65536).derive(PASSPHRASE)
    info = b"medveil/v1/stream+AEAD_AES_256_GCM\x00" + record["salt"] + b"key file" + canonical.encode(header)
    okm = HKDFExpand(hashes.SHA512(), 76, info).derive(stretched)
    assert okm[44:] == record["commitment"]
    assert AESGCM(okm[:32]).decrypt(okm[32:44], record["sealed"], None) == ROOT


def test_a_wrong_passphrase_and_damage_are_one_refusal(saved: bytes, tmp_path: Path) -> None:
    record = canonical.decode(saved)
    flipped = bytes([record["sealed"][0] ^ 1]) + record["sealed"][1:]
    messages = set()
    for data, passphrase in (
        (saved, b"another passphrase"),
        (changed(saved, sealed=flipped), PASSPHRASE),
        (changed(saved, commitment=bytes(32)), PASSPHRASE),
        (changed(saved, salt=bytes(24)), PASSPHRASE),
    ):
        with pytest.raises(WrongKeyError) as caught:
            keyfile.load_key_file(written(tmp_path, data), passphrase)
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert PASSPHRASE.decode() not in messages.pop()


class NeverCalled:
    def __init__(self, **parameters: object) -> None:
        raise AssertionError("Argon2 was reached")


BOMBS = {
    "memory 4 TiB": {"memory": 2**32},
    "memory beyond the bound": {"memory": 262145},
    "memory too little": {"memory": 65535},
    "memory negative": {"memory": -1},
    "passes": {"passes": 2**31},
    "no pass": {"passes": 0},
    "lanes": {"lanes": 2**24},
    "no lane": {"lanes": 0},
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_are_refused_before_allocation(
    bomb: dict[str, int], saved: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyfile, "Argon2id", NeverCalled)
    with pytest.raises(LimitError):
        keyfile.load_key_file(written(tmp_path, changed(saved, **bomb)), PASSPHRASE)


def test_what_is_not_a_key_file_is_refused(saved: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "Argon2id", NeverCalled)
    record = canonical.decode(saved)
    without = {name: value for name, value in record.items() if name != "salt"}
    for data in (
        b"", b"not a key file", saved[:-1], saved + b"\x00", canonical.encode([1, 2]), canonical.encode(without),
        changed(saved, v=2), changed(saved, v=True), changed(saved, kind="recipient"), changed(saved, kind="other"),
        changed(saved, kdf=7), changed(saved, name="scrypt"), changed(saved, memory="65536"),
        changed(saved, lanes=True),
        changed(saved, salt=bytes(23)), changed(saved, sealed=bytes(47)), changed(saved, commitment=bytes(31)),
        changed(saved, extra=1), changed(saved, sealed="text"),
    ):  # fmt: skip
        with pytest.raises(FormatError):
            keyfile.load_key_file(written(tmp_path, data), PASSPHRASE)
    with pytest.raises(LimitError):
        keyfile.load_key_file(written(tmp_path, bytes(10**6)), PASSPHRASE)
    for path in (tmp_path / "missing.key", tmp_path):
        with pytest.raises(InputError):
            keyfile.load_key_file(path, PASSPHRASE)


def test_every_cut_and_many_flips_are_refused(saved: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 is replaced by a cheap hash here, so that every byte can be tried."""

    class Cheap:
        def __init__(self, *, salt: bytes, **_: object) -> None:
            self.salt = salt

        def derive(self, passphrase: bytes) -> bytes:
            return HKDFExpand(hashes.SHA512(), 32, self.salt).derive(passphrase * 2)

    monkeypatch.setattr(keyfile, "Argon2id", Cheap)
    path = tmp_path / "cheap.key"
    keyfile.save_key_file(path, OWNER, PASSPHRASE)
    data = path.read_bytes()
    assert keyfile.load_key_file(path, PASSPHRASE).root == ROOT
    for at in range(len(data)):
        for mutated in (data[:at], data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]):
            with pytest.raises((WrongKeyError, FormatError, LimitError)):
                keyfile.load_key_file(written(tmp_path, mutated), PASSPHRASE)


def test_recipients_have_key_files_too(tmp_path: Path) -> None:
    private = RecipientPrivateKey.generate()
    path = tmp_path / "recipient.key"
    keyfile.save_key_file(path, private, PASSPHRASE)
    assert keyfile.load_recipient_key_file(path, PASSPHRASE).public == private.public
    with pytest.raises(FormatError):
        keyfile.load_key_file(path, PASSPHRASE)


def test_nothing_is_overwritten_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, b"precious")
    with pytest.raises(OutputExistsError):
        keyfile.save_key_file(path, OWNER, PASSPHRASE)
    assert path.read_bytes() == b"precious"
    target = tmp_path / "link.key"
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputExistsError):
        keyfile.save_key_file(target, OWNER, PASSPHRASE)
    with pytest.raises(InputError):
        keyfile.save_key_file(tmp_path / "no folder" / "x.key", OWNER, PASSPHRASE)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError):
        keyfile._write_new(tmp_path / "new.key", b"x")
    assert {entry.name for entry in tmp_path.iterdir()} == {"some.key", "link.key"}


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_links(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "x.key"
    keyfile._write_new(path, b"data")
    assert path.read_bytes() == b"data"
    with pytest.raises(OutputExistsError):
        keyfile._write_new(path, b"other")
    assert path.read_bytes() == b"data"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.key"]


def test_empty_and_overlong_passphrases_are_refused(tmp_path: Path) -> None:
    for passphrase in (b"", b"x" * 1025):
        with pytest.raises(UsageError):
            keyfile.save_key_file(tmp_path / "x.key", OWNER, passphrase)
        with pytest.raises(UsageError):
            keyfile.load_key_file(tmp_path / "x.key", passphrase)
    assert not (tmp_path / "x.key").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"secret words\n", b"secret words"),
        (b"secret words\r\n", b"secret words"),
        (b"secret words", b"secret words"),
        (b"first\nsecond\n", b"first"),
        (b" spaces stay \n", b" spaces stay "),
        (b"\xff\x00binary\n", b"\xff\x00binary"),
        (b"x" * 1024 + b"\r\n", b"x" * 1024),
    ],
)
def test_passphrase_from_a_file(
    content: bytes, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDVEIL_PASSPHRASE_FILE", str(written(tmp_path, content)))
    assert keyfile.read_passphrase(confirm=True) == expected


def test_bad_passphrase_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"", b"\n", b"\r\n", b"x" * 2000, b"x" * 1025 + b"\n"):
        monkeypatch.setenv("MEDVEIL_PASSPHRASE_FILE", str(written(tmp_path, content)))
        with pytest.raises(UsageError) as caught:
            keyfile.read_passphrase()
        assert "xxx" not in str(caught.value)
    monkeypatch.setenv("MEDVEIL_PASSPHRASE_FILE", str(tmp_path / "missing"))
    with pytest.raises(UsageError):
        keyfile.read_passphrase()


def test_passphrase_from_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["caf\u00e9", "cafe\u0301", "one", "other", ""])
    monkeypatch.delenv("MEDVEIL_PASSPHRASE_FILE", raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(answers))
    assert keyfile.read_passphrase(confirm=True) == "caf\u00e9".encode()  # two keyboards, one passphrase
    with pytest.raises(UsageError):
        keyfile.read_passphrase(confirm=True)
    with pytest.raises(UsageError):
        keyfile.read_passphrase()


def test_without_a_terminal_nothing_is_echoed() -> None:
    code = (
        "from medveil.crypto.keyfile import read_passphrase\n"
        "from medveil.errors import UsageError\n"
        "try:\n    read_passphrase()\n"
        "except UsageError as error:\n    assert 'MEDVEIL_PASSPHRASE_FILE' in str(error)\n    raise SystemExit(0)\n"
        "raise SystemExit(1)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MEDVEIL_PASSPHRASE_FILE"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        input=b"typed\n", capture_output=True, env=environment, start_new_session=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert b"typed" not in result.stdout + result.stderr


def test_everything_comes_from_the_root() -> None:
    again = OwnerKey(ROOT)
    assert again.public == OWNER.public
    assert OWNER.public.fingerprint == "pj3q hqlo mxqg yuxp b3tt uz4x vncf aks7"
    assert OWNER.owner_id.hex() == "62b5419e7a42ad34183a873ea645761b"
    assert OWNER.derive("dataset", b"id", b"1") == again.derive("dataset", b"id", b"1")
    keys = {OWNER.derive("dataset", b"id", b"1"), OWNER.derive("dataset", b"id1"), OWNER.derive("datasetid", b"1")}
    assert len(keys | {OwnerKey(bytes(32)).derive("dataset", b"id", b"1")}) == 4
    with pytest.raises(InputError):
        OwnerKey(bytes(31))
    assert OwnerKey.generate().public != OwnerKey.generate().public


def test_public_half() -> None:
    encoded = OWNER.public.to_bytes()
    again = OwnerPublic.from_bytes(encoded)
    assert again == OWNER.public
    assert again.fingerprint == OWNER.public.fingerprint
    record = canonical.decode(encoded)
    for name, value in (
        ("v", 2), ("v", "1"), ("kind", "owner"), ("owner", bytes(15)), ("verifying", bytes(1984)),
        ("recipient", bytes(1215)), ("other", 1),
    ):  # fmt: skip
        with pytest.raises(FormatError):
            OwnerPublic.from_bytes(canonical.encode(record | {name: value}))
    with pytest.raises(LimitError):
        OwnerPublic.from_bytes(bytes(5000))
    swapped = record | {"recipient": RecipientPrivateKey(bytes(32)).public.to_bytes()}
    assert OwnerPublic.from_bytes(canonical.encode(swapped)).fingerprint != OWNER.public.fingerprint


def test_nothing_secret_is_shown_or_copied() -> None:
    shown = f"{OWNER!r} {OWNER} {OWNER.public!r} {OWNER.signing!r} {OWNER.recipient!r}"
    for secret in (ROOT, OWNER.recipient.seed):
        assert secret.hex() not in shown
        assert repr(secret) not in shown
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(InputError):
            attempt(OWNER)
