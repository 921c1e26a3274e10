"""Key files: sealed to an owner, signed, and refused where they are another's, changed, cut or not whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medveil.crypto import canonical
from medveil.crypto.keyfile import OwnerKey
from medveil.errors import (
    FormatError,
    InputError,
    LimitError,
    OutputExistsError,
    RefusedError,
    TamperedError,
    UsageError,
    WrongKeyError,
)
from medveil.schemes.deep import keyfile, samples
from medveil.schemes.deep.key import DeepKey, check_shape, pack_tensors, unpack_tensors


@pytest.fixture(scope="module")
def owner() -> OwnerKey:
    return OwnerKey.generate()


@pytest.fixture(scope="module")
def key() -> DeepKey:
    return samples.load("invertible")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, owner: OwnerKey, key: DeepKey) -> Path:
    path = tmp_path_factory.mktemp("deep") / "chest.key"
    keyfile.save(path, key, owner)
    return path


def test_a_key_comes_back_and_is_no_longer_a_sample(file: Path, owner: OwnerKey, key: DeepKey) -> None:
    found = keyfile.load(file, owner)
    assert found.pack() == key.pack()
    assert found.key_id == key.key_id
    assert not found.insecure_sample
    assert keyfile.inspect(file).measured["exact"] == "1.0"


def test_nothing_of_the_weights_stands_in_the_file(file: Path, key: DeepKey) -> None:
    data = file.read_bytes()
    for name, tensor in key.tensors.items():
        raw = tensor.tobytes()
        assert raw[:24] not in data, name


def test_another_owner_is_refused(file: Path) -> None:
    with pytest.raises(WrongKeyError, match="another owner"):
        keyfile.load(file, OwnerKey.generate())


def test_every_change_and_cut_is_refused(file: Path, tmp_path: Path, owner: OwnerKey) -> None:
    data = file.read_bytes()
    bad = tmp_path / "bad.key"
    for at in (0, 4, 6, 30, 200, 600, len(data) // 2, len(data) - 3000, len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 1
        bad.write_bytes(changed)
        with pytest.raises(RefusedError):
            keyfile.load(bad, owner)
    for cut in (0, 5, 100, len(data) // 2, len(data) - 1):
        bad.write_bytes(data[:cut])
        with pytest.raises(RefusedError):
            keyfile.load(bad, owner)


def test_records_of_other_forms_are_refused(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    length = int.from_bytes(data[5:9], "big")
    record = canonical.decode(data[9 : 9 + length])
    bad = tmp_path / "bad.key"
    for change in ({"kind": "cake"}, {"method": "rot13"}, {"v": 2}, {"salt": b"short"}, {"size": "big"}, {"more": 1}):
        other = canonical.encode(record | change)
        bad.write_bytes(data[:5] + len(other).to_bytes(4, "big") + other + data[9 + length :])
        with pytest.raises(FormatError):
            keyfile.inspect(bad)
    with pytest.raises(InputError, match="medveil deep train"):
        keyfile.inspect(tmp_path / "none.key")


def test_a_file_put_together_from_two_is_refused(file: Path, tmp_path: Path, owner: OwnerKey, key: DeepKey) -> None:
    other = tmp_path / "other.key"
    keyfile.save(other, replace(key, measured={"exact": 0.5}), owner)
    one, two = file.read_bytes(), other.read_bytes()
    length = 9 + int.from_bytes(one[5:9], "big")
    bad = tmp_path / "bad.key"
    bad.write_bytes(one[:length] + two[9 + int.from_bytes(two[5:9], "big") :])
    with pytest.raises(TamperedError):
        keyfile.load(bad, owner)


def test_an_existing_file_is_kept(file: Path, owner: OwnerKey, key: DeepKey) -> None:
    before = file.read_bytes()
    with pytest.raises(OutputExistsError):
        keyfile.save(file, key, owner)
    assert file.read_bytes() == before


def test_shapes_out_of_bounds_are_refused() -> None:
    check_shape("backprop", {"size": 64, "block": 8, "codes": 32})
    for method, shape in (
        ("backprop", {"size": 60, "block": 8, "codes": 32}),
        ("backprop", {"size": 64, "block": 8}),
        ("backprop", {"size": 1 << 20, "block": 8, "codes": 32}),
        ("cyclegan", {"size": 66, "channels": 16, "blocks": 2, "roi_channels": 12}),
        ("invertible", {"layers": 0, "hidden": 32}),
        ("rot13", {}),
    ):
        with pytest.raises(FormatError):
            check_shape(method, shape)


def test_tensors_that_lie_about_themselves_are_refused() -> None:
    good = pack_tensors({"a": np.ones((2, 3), np.float16)})
    assert np.array_equal(unpack_tensors(good)["a"], np.ones((2, 3)))
    raw = np.ones(6, "<f2").tobytes()
    bad_number = np.array([1, np.nan], "<f2").tobytes()
    for entry in (
        ["<f2", [2, 4], raw],
        ["<f2", [-2, -3], raw],
        ["|O", [6], raw],
        ["<f2", 6, raw],
        ["<f2", [2], bad_number],
    ):
        with pytest.raises(FormatError):
            unpack_tensors({"a": entry})
    with pytest.raises(InputError):
        pack_tensors({"a": np.ones(3, np.complex128)})


def test_samples_are_marked_and_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert samples.load("invertible").insecure_sample
    with pytest.raises(UsageError):
        samples.load("rot13")
    data = bytearray(samples.path_of("invertible").read_bytes())
    data[100] ^= 1
    (tmp_path / "invertible.sample").write_bytes(data)
    monkeypatch.setattr(samples, "FOLDER", tmp_path)
    samples.load.cache_clear()
    with pytest.raises(TamperedError):
        samples.load("invertible")
    samples.load.cache_clear()


def test_no_more_is_carried_than_was_promised() -> None:
    assert sum(samples.path_of(m).stat().st_size for m in samples.SHA256) <= 1_500_000


def test_a_record_larger_than_any_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setattr(keyfile, "MAX_BODY", 1000)
    monkeypatch.setattr(keyfile, "_MAX_RECORD", 1000)
    with pytest.raises(LimitError):
        keyfile.inspect(file)
