"""Every vector, held against the package and against the second implementation."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medveil import errors
from medveil.schemes.base import FindingKind, Restored, Secret
from medveil.schemes.roi_watermark import RoiWatermark, chaos, chaos_kernels

FOLDER = Path(__file__).resolve().parents[3] / "vectors" / "roi_watermark"
VECTORS = sorted(p for p in FOLDER.glob("*.vector") if p.stem != "chaos-streams")
KINDS = {
    "wrong-key": errors.WrongKeyError,
    "tampered": errors.TamperedError,
    "stale": errors.StaleError,
    "format": errors.FormatError,
    "limit": errors.LimitError,
    "unrecoverable": errors.UnrecoverableError,
}


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("roi_watermark_reference", FOLDER / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(path: Path) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(": ")
        fields.setdefault(name.rstrip(":"), []).append(value)
    return fields


def canonical(restored: Restored) -> list[str]:
    out = []
    for f in restored.findings:
        if f.place == "sealed file record":
            out.append(f"{f.kind.value}:record")
        elif f.kind is FindingKind.TAMPER:
            out.append(f"tamper:{f.part}")
        elif f.kind is FindingKind.UNVERIFIED:
            out.append("unverified")
        else:
            out.append(f"{f.kind.value}:{f.part or '-'}:{f.chunk}")
    return sorted(out)


def test_there_are_vectors_for_both_profiles() -> None:
    names = [p.stem for p in VECTORS]
    assert sum("paper" in name for name in names) >= 5
    assert len(names) >= 40


def test_the_second_implementation_uses_nothing_of_medveil() -> None:
    text = (FOLDER / "reference.py").read_text()
    imported = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= {"__future__", "hashlib", "hmac", "json", "struct", "zlib", "cryptography"}


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_package(path: Path) -> None:
    fields = load(path)
    parts = [base64.b64decode(part) for part in fields["part"]]
    secret = Secret("roi-watermark", bytes.fromhex(fields["secret"][0]))
    expect = fields["expect"][0]
    if expect != "restored":
        with pytest.raises(errors.MedveilError) as caught:
            RoiWatermark().restore(parts, secret)
        assert type(caught.value) is KINDS[expect]
        return
    restored = RoiWatermark().restore(parts, secret)
    pixels = restored.image.pixels
    stored = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
    assert hashlib.sha256(stored).hexdigest() == fields["pixels"][0]
    assert canonical(restored) == fields["findings"][0].split()


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_second_implementation(path: Path, reference: ModuleType) -> None:
    fields = load(path)
    parts = [base64.b64decode(part) for part in fields["part"]]
    secret = bytes.fromhex(fields["secret"][0])
    expect = fields["expect"][0]
    if expect != "restored":
        with pytest.raises(reference.Refused) as caught:
            reference.restore(parts, secret)
        assert caught.value.args[0] == expect
        return
    pixels, findings = reference.restore(parts, secret)
    assert hashlib.sha256(pixels).hexdigest() == fields["pixels"][0]
    assert findings == fields["findings"][0].split()


def test_chaos_streams_in_all_forms(reference: ModuleType) -> None:
    streams = [line.split() for line in load(FOLDER / "chaos-streams.vector")["stream"]]
    assert len(streams) >= 9
    keys = [chaos.MapKey.from_half(bytes.fromhex(half)) for half, _, _ in streams]
    for chebyshev in (False, True):
        lanes = chaos_kernels.streams(keys, 32, chebyshev=chebyshev)
        arrays = chaos.streams_numpy(keys, 32, chebyshev=chebyshev)
        for i, (half, *answers) in enumerate(streams):
            expected = bytes.fromhex(answers[chebyshev])
            assert chaos.stream(keys[i], 32, chebyshev=chebyshev) == expected
            assert lanes[i].tobytes() == expected
            assert arrays[i].tobytes() == expected
            assert reference.chaos_stream(bytes.fromhex(half), 32, chebyshev=chebyshev) == expected


def test_the_generator_gives_these_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the PNG ones, whose bytes are the compression library's affair."""
    spec = importlib.util.spec_from_file_location("roi_watermark_generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    monkeypatch.setattr(generate, "HERE", tmp_path)
    generate.main()
    made = {path.name: path.read_text() for path in tmp_path.glob("*.vector")}
    assert made.keys() == {path.name for path in FOLDER.glob("*.vector")}
    for name, text in made.items():
        if "png" not in name and "jpeg" not in name:
            assert text == (FOLDER / name).read_text(), name
