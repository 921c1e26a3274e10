"""Invariant I under random mutation: the exact file, or a typed refusal; never other bytes, never another error.

MEDVEIL_MUTATIONS sets how many are tried; 2,400 by default, more in a nightly run.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.schemes.sealed.material import OWNER, load

from medveil.errors import MedveilError
from medveil.schemes.base import FindingKind, Part, Protected
from medveil.schemes.sealed import Sealed, unpack_part

TRIES = int(os.environ.get("MEDVEIL_MUTATIONS", "2400"))
OPTIONS: tuple[dict[str, object], ...] = (
    {"threshold": (2, 3)},
    {"threshold": (2, 3), "chunk": 4096},
    {"threshold": (2, 2), "codec": "ingest"},
    {"threshold": (3, 5), "chunk": 4096, "codec": "none"},
    {"threshold": (1, 2)},
    {"threshold": (2, 3), "mode": "two-factor"},
    {"threshold": (2, 3), "mode": "keyless", "insecure_keyless": True},
    {"threshold": (2, 3), "mode": "perfect", "chunk": 4096},
    {"threshold": (2, 2), "mode": "perfect"},
)
FILES = ("pydicom_older_tests/MR_small.dcm", "highdicom/sm_image_dots.dcm", "pydicom/chrH31.dcm", "LICENSES")


def _mutate(data: bytes, dice: random.Random) -> bytes:
    """Flip, overwrite, cut, insert, drop or repeat, one to five times."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        if not out:
            break
        # Half of the time in the record in front, whose fields steer everything.
        at = dice.randrange(len(out)) if dice.random() < 0.5 else dice.randrange(min(len(out), 7000))
        how = dice.randrange(9)
        if how <= 2:
            out[at] ^= 1 << dice.randrange(8)
        elif how == 3:
            out[at] = dice.randrange(256)
        elif how == 4:
            del out[at:]
        elif how == 5:
            out[at:at] = dice.randbytes(dice.randrange(1, 40))
        elif how == 6:
            del out[at : at + dice.randrange(1, 40)]
        elif how == 7:
            out[at : at + 16] = dice.choice((b"\xff" * 16, bytes(16), b"\x7f" * 16))
        else:
            out[at:at] = out[max(0, at - 100) : at]
    return bytes(out)


@pytest.fixture(scope="module")
def sealed(shared_data: Path) -> list[tuple[Sealed, Protected, bytes]]:
    made = []
    for number, options in enumerate(OPTIONS):
        name = FILES[number % len(FILES)]
        if name == "LICENSES":
            name = "README.md"
        source = load(shared_data, name)
        scheme = Sealed(**options, owner=OWNER)  # type: ignore[arg-type]
        made.append((scheme, scheme.protect(source), source.original))  # type: ignore[arg-type,union-attr]
    return made


def _holds(scheme: Sealed, protected: Protected, original: bytes, parts: list[Part | bytes]) -> str:
    """Check the invariant; return what happened."""
    try:
        restored = scheme.restore(parts, protected.secret)
    except MedveilError as error:
        return type(error).__name__
    assert restored.image.original == original, "other bytes than were protected"
    n = len(protected.parts)
    given = [part.data if isinstance(part, Part) else part for part in parts]
    intact = sum(data in {one.data for one in protected.parts} for data in given)  # a mutation may change nothing
    assert restored.findings or intact >= n, "a changed part was accepted silently"
    return "exact" if not restored.findings else "exact with findings"


@pytest.mark.parametrize("batch", range(8))
def test_mutated_parts(batch: int, sealed: list[tuple[Sealed, Protected, bytes]]) -> None:
    seen = set()
    for number in range(TRIES // 8):
        dice = random.Random(f"{batch}/{number}")
        scheme, protected, original = sealed[dice.randrange(len(sealed))]
        parts: list[Part | bytes] = [
            Part(part.index, _mutate(part.data, dice)) if dice.random() < 0.6 else part for part in protected.parts
        ]
        dice.shuffle(parts)
        parts = parts[: dice.randrange(1, len(parts) + 1)]
        if dice.random() < 0.2:
            parts = [part.data if isinstance(part, Part) else part for part in parts]
        seen.add(_holds(scheme, protected, original, parts))
        try:
            scheme.verify(parts)
        except MedveilError as error:
            seen.add(type(error).__name__)
    assert {"exact with findings", "UnrecoverableError"} <= seen


def test_mutated_secrets(sealed: list[tuple[Sealed, Protected, bytes]]) -> None:
    for number in range(300):
        dice = random.Random(f"secret {number}")
        scheme, protected, original = sealed[dice.randrange(len(sealed))]
        secret = type(protected.secret)("sealed", _mutate(protected.secret.data, dice))
        try:
            restored = scheme.restore(protected.parts, secret)
        except MedveilError:
            continue
        assert restored.image.original == original


def test_parts_of_different_objects_mixed(sealed: list[tuple[Sealed, Protected, bytes]]) -> None:
    everything = [part for _, protected, _ in sealed for part in protected.parts]
    for number in range(150):
        dice = random.Random(f"mixed {number}")
        scheme, protected, original = sealed[dice.randrange(len(sealed))]
        parts: list[Part | bytes] = list(dice.sample(everything, 4)) + list(dice.sample(protected.parts, 1))
        _holds(scheme, protected, original, parts)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_edit_anywhere(data: st.DataObject, sealed: list[tuple[Sealed, Protected, bytes]]) -> None:
    """Any single edit of any single part: the others suffice, it is blamed, and the file is exact."""
    scheme, protected, original = sealed[data.draw(st.integers(0, 1))]
    index = data.draw(st.integers(0, 2))
    part = protected.parts[index]
    start = data.draw(st.integers(0, len(part.data) - 1))
    length = data.draw(st.integers(0, 64))
    insert = data.draw(st.binary(max_size=64))
    edited = part.data[:start] + insert + part.data[start + length :]
    if edited == part.data:
        return
    parts = [Part(one.index, edited) if one is part else one for one in protected.parts]
    restored = scheme.restore(parts, protected.secret)
    assert restored.image.original == original
    assert {f.part for f in restored.findings} == {index + 1}
    assert all(f.kind in (FindingKind.TAMPER, FindingKind.TRUNCATED) for f in restored.findings)


def test_noise_is_no_part() -> None:
    for number in range(200):
        dice = random.Random(f"noise {number}")
        noise = dice.randbytes(dice.randrange(400))
        with pytest.raises(MedveilError):
            unpack_part(noise)
        with pytest.raises(MedveilError):
            Sealed().verify([b"MVPT\x01" + noise, noise])


def test_bytes_put_in_before_the_share_are_found(sealed: list[tuple[Sealed, Protected, bytes]]) -> None:
    """The share is still found behind them, so the file is exact; the part was changed all the same."""
    for scheme, protected, original in sealed:
        part = protected.parts[0]
        record, share = unpack_part(part.data)
        edited = Part(1, part.data[: record.size] + b"more" + share)
        restored = scheme.restore([edited, *protected.parts[1:]], protected.secret)
        assert restored.image.original == original
        assert {(f.kind, f.part, f.place) for f in restored.findings} == {(FindingKind.TAMPER, 1, "record")}
