"""The sealed format's vectors hold for medveil and for a second reader that shares no code with it."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import sys
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from medveil import errors
from medveil.crypto.keyfile import OwnerKey
from medveil.schemes.sealed import Sealed

FOLDER = Path(__file__).resolve().parents[2] / "vectors/sealed"
FILES = sorted(FOLDER.glob("*.txt"))


@dataclass(frozen=True)
class Vector:
    header: dict[str, str]
    parts: list[bytes]

    @classmethod
    def read(cls, path: Path) -> Vector:
        head, _, body = path.read_text(encoding="ascii").partition("\n\n")
        data = zlib.decompress(base64.b64decode(body))
        parts, at = [], 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            parts.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        return cls(dict(line.split(": ", 1) for line in head.splitlines()), parts)

    @property
    def root(self) -> bytes:
        return bytes.fromhex(self.header["root"])


@cache
def decoder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sealed_second_reader", FOLDER / "decoder.py")
    if spec is None or spec.loader is None:
        raise RuntimeError("the second reader is not there")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_there_are_enough_vectors_of_each_outcome() -> None:
    outcomes = [Vector.read(path).header["expect"] for path in FILES]
    assert len(FILES) >= 60
    assert {o: outcomes.count(o) >= 5 for o in ("exact", "refused", "unrecoverable")} == {
        "exact": True,
        "refused": True,
        "unrecoverable": True,
    }


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_medveil(path: Path, tmp_path: Path) -> None:
    vector = Vector.read(path)
    folder, out = tmp_path / "parts", tmp_path / "out"
    folder.mkdir()
    for place, data in zip(_places(vector), vector.parts, strict=True):
        (folder / f"part-{place}").write_bytes(data)
    out.touch()
    scheme, owner = Sealed(), OwnerKey(vector.root)
    if vector.header["expect"] != "exact":
        with pytest.raises(getattr(errors, vector.header["error"])) as caught:
            scheme.restore_folder(folder, owner=owner, out=out, partial=False, progress=None)
        assert caught.type is getattr(errors, vector.header["error"])
        assert issubclass(caught.type, errors.UnrecoverableError) == (vector.header["expect"] == "unrecoverable")
        return
    restored = scheme.restore_folder(folder, owner=owner, out=out, partial=False, progress=None)
    assert hashlib.sha256(out.read_bytes()).hexdigest() == vector.header["file"]
    # a vector has no manifest file beside its parts, which is a finding of its own
    found = sorted({f"{f.kind.value} {f.part}" for f in restored.findings if f.part is not None})
    assert found == sorted(filter(None, vector.header.get("findings", "").split(", ")))


def _places(vector: Vector) -> list[int]:
    """Give each part the place that its writer gave it: those that a vector lacks are named by its findings."""
    missing = [int(f.split()[1]) for f in vector.header.get("findings", "").split(", ") if f.startswith("missing")]
    places = [place for place in range(1, 33) if place not in missing]
    return places[: len(vector.parts)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_second_reader(path: Path) -> None:
    vector, second = Vector.read(path), decoder()
    outcome, restored = "exact", None
    try:
        payload, _, bad = second.open_parts(second.Owner(vector.root), vector.parts)
        restored = second.file_of(payload)
    except second.Refused as refusal:
        outcome = "unrecoverable" if refusal.kind == "unrecoverable" else "refused"
    assert outcome == vector.header["expect"]
    if outcome == "exact":
        found = vector.header.get("findings", "").split(", ")
        blamed = {int(f.split()[1]) for f in found if f and not f.startswith("swapped")}
        by_record = {1: "envelope_damaged", 2: "record_damaged"}
        assert set(bad) == blamed - {place for place, name in by_record.items() if name == path.stem}
        if restored is None:  # coded by a codec that the second reader leaves out
            assert path.stem.startswith("codec_")
        else:
            assert hashlib.sha256(restored).hexdigest() == vector.header["file"]
