"""Random damage to share files, proofs and secrets: a typed refusal or the very same picture, never anything else."""

from __future__ import annotations

import random
import sys
import zlib
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from tests.schemes.visual.visual_material import image, provider

from medveil.errors import MedveilError, MissingExtraError
from medveil.schemes.base import Secret
from medveil.schemes.visual import Visual, admission, carriers, sheet
from medveil.schemes.visual.envelope import Envelope

ROUNDS = 250


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat, drop or overwrite; in a PNG, mend the check of the chunk half of the time."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 3))):
        at = rng.randrange(max(1, len(out)))
        match rng.randrange(5):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                del out[at:]
            case 2:
                out[at:at] = out[at : at + rng.randrange(1, 64)]
            case 3:
                del out[at : at + rng.randrange(1, 64)]
            case _:
                out[at : at + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
        if not out:
            break
    return mended(bytes(out)) if data.startswith(b"\x89PNG") and rng.random() < 0.5 else bytes(out)


def mended(data: bytes) -> bytes:
    """A PNG whose chunks pass their checks, as an attacker would write it."""
    out, at = data[:8], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            return out + data[at:]
        body = data[at + 4 : at + 8 + length]
        out += data[at : at + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        at += 12 + length
    return out + data[at:]


def survives(data: bytes, read: Callable[[bytes], object]) -> object:
    """What reading gives, or None where it was refused in a typed way."""
    try:
        return read(data)
    except MedveilError:
        return None


@pytest.mark.parametrize("kind", ["lsb", "chunk", "dicom", "webp"])
def test_damaged_share_files(kind: str) -> None:
    carrier = "lsb" if kind == "webp" else kind
    part = Visual(carrier=carrier, provider=provider(), lossless=kind != "webp").protect(image()).parts[0]
    good = carriers.read(part.data)
    data = part.data
    if kind == "webp":
        data = imagecodecs.webp_encode(np.repeat(good.pixels[..., None], 3, axis=2), lossless=True)
    rng = random.Random(kind)
    for _ in range(ROUNDS):
        damaged = mutate(data, rng)

        def checked(damaged: bytes) -> object:
            share = carriers.read(damaged)
            admission.check_consistent(share)
            return share

        share = survives(damaged, checked)
        if share is not None:
            assert np.array_equal(share.plane, good.plane), "another picture passed for this one"  # type: ignore[attr-defined]


@pytest.mark.parametrize("proof", ["session", "quote", "compact"])
def test_damaged_envelopes(proof: str) -> None:
    part = Visual(proof=proof, carrier="chunk", provider=provider(), lossless=False).protect(image()).parts[0]
    good = carriers.read(part.data)
    assert good.envelope is not None
    raw, rng = good.envelope.encode(), random.Random(proof)
    for _ in range(ROUNDS):
        damaged = mutate(raw, rng)

        def checked(damaged: bytes) -> object:
            share = carriers.ShareFile(good.pixels, Envelope.decode(damaged), b"")
            return admission.check_consistent(share)

        statement = survives(damaged, checked)
        if statement is not None:
            assert statement.digest == admission.check_consistent(good).digest  # type: ignore[attr-defined]


def test_damaged_secrets() -> None:
    protected = Visual(provider=provider()).protect(image())
    rng = random.Random("secret")
    for _ in range(ROUNDS):
        secret = Secret("visual", mutate(protected.secret.data, rng))
        restored = survives(b"", lambda _, secret=secret: Visual().restore(protected.parts, secret))
        if restored is not None and restored.exact:  # type: ignore[attr-defined]
            assert restored.image.original == image().original  # type: ignore[attr-defined]


def test_missing_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from medveil.schemes.visual import c2pa_manifest, scan

    share = carriers.read(Visual(provider=provider(), lossless=False).protect(image()).parts[0].data)
    statement = admission.check_consistent(share)
    for module, extra, call in (
        ("c2pa", "c2pa", lambda: c2pa_manifest.check(b"", statement)),
        ("reportlab.pdfgen.canvas", "print", lambda: sheet.pdf([share])),
        ("cv2", "print", lambda: sheet.mark_cells(0)),
        ("zxingcpp", "print", lambda: scan.read_scan(np.zeros((4, 4), np.uint8))),
        ("pypdfium2", "print", lambda: list(scan._pdf_pages(b"%PDF-"))),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError, match=extra):
            call()
