"""The floors and the three servers' shares keep their claims, as the conformance suite asks of every scheme."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.conformance.scheme_suite import CHECKS

from medveil.errors import TamperedError, UnrecoverableError, UnsupportedError
from medveil.evaluation.floors import FLOORS, AesGcm, SealedHtj2k, SealedJpegLs
from medveil.evaluation.three_servers import ThreeServerShares
from medveil.imaging import samples
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.reader import read
from medveil.schemes.base import Scheme

PICTURE = MedicalImage(read(samples.load("us-breast-benign.png")).pixels, 8)
_FITTING = {
    "honesty": (*FLOORS, ThreeServerShares),
    "lossless": FLOORS,
    "signed": FLOORS,
    "colour": FLOORS,
    "multiframe": FLOORS,
    "any file": FLOORS,
    "authenticated": FLOORS,
    "other secret": FLOORS,
    "roi": FLOORS,
}


@pytest.mark.parametrize(("check", "cls"), [(c, cls) for c, classes in _FITTING.items() for cls in classes])
def test_claims(check: str, cls: type[Scheme], shared_data: Path) -> None:
    CHECKS[check](cls, shared_data)


@pytest.mark.parametrize("cls", [*FLOORS, ThreeServerShares])
def test_round_trip(cls: type[Scheme]) -> None:
    scheme = cls()
    protected = scheme.protect(PICTURE)
    back = scheme.restore(protected.parts, protected.secret).image
    assert np.array_equal(back.pixels, PICTURE.pixels)
    assert scheme.verify(protected.parts, protected.secret) == ()
    with pytest.raises(UnrecoverableError):
        scheme.restore((), protected.secret)


def test_floors_refuse() -> None:
    made = AesGcm().protect(PICTURE)
    with pytest.raises(TamperedError):
        AesGcm().restore((made.parts[0].data[:-1] + b"\0",), made.secret)
    for odd in (OpaqueFile(b"text", "text"), MedicalImage(np.zeros((1, 4, 4, 3), np.uint8), 8)):
        with pytest.raises(UnsupportedError):
            SealedJpegLs().protect(odd)
        with pytest.raises(UnsupportedError, match="HTJ2K"):
            SealedHtj2k().protect(odd)
        with pytest.raises(UnsupportedError):
            ThreeServerShares().protect(odd)


def test_two_of_three_servers_open_and_a_changed_share_is_seen() -> None:
    scheme = ThreeServerShares()
    made = scheme.protect(PICTURE)
    for left_out in range(3):
        two = [p for i, p in enumerate(made.parts) if i != left_out]
        back = scheme.restore(two, made.secret)
        assert np.array_equal(back.image.pixels, PICTURE.pixels)
        assert [f.part for f in back.findings] == [left_out + 1]
    with pytest.raises(UnrecoverableError):
        scheme.restore(made.parts[:1], made.secret)
    data = bytearray(made.parts[1].data)
    data[100] ^= 1
    changed = type(made.parts[1])(2, bytes(data))
    with pytest.raises(TamperedError):
        scheme.restore((made.parts[0], changed, made.parts[2]), made.secret)
    wrong = scheme.restore(scheme.lie(made.parts), made.secret)  # a liar in the protocol is not seen: as claimed
    assert not np.array_equal(wrong.image.pixels, PICTURE.pixels)
    assert wrong.findings == ()
