"""Dealing and restoring through every carrier and proof, by secret, by attestation, and insecurely."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import pytest
from tests.schemes.visual.visual_material import collateral, image, policy, provider, shown

from medveil.attestation.session import DealerKey, SessionSigner
from medveil.errors import FormatError, LimitError, TamperedError, UnrecoverableError, UsageError
from medveil.imaging.image import MedicalImage
from medveil.schemes.base import FindingKind, Part
from medveil.schemes.visual import Visual, admission, carriers, lossless, restoring
from medveil.schemes.visual.envelope import Envelope
from medveil.schemes.visual.halftone import halftone

pytest.importorskip("dcap_qvl", reason="needs the extra attest")


def attested(shares: Any, **more: Any) -> admission.Admitted:
    return admission.by_attestation(shares, policy(), collateral=collateral, now=int(time.time()), **more)


@pytest.mark.parametrize("proof", ["session", "compact", "quote"])
@pytest.mark.parametrize("carrier", ["lsb", "chunk", "dicom"])
def test_every_carrier_and_proof(carrier: str, proof: str) -> None:
    scheme = Visual(carrier=carrier, proof=proof, provider=provider(), threshold=(2, 3))
    protected = scheme.protect(image())
    assert [f.kind for f in protected.findings] == [FindingKind.UNVERIFIED]
    assert "SIMULATED" in protected.findings[0].message
    restored = Visual().restore(protected.parts, protected.secret)
    assert restored.findings == ()
    assert restored.image.original == image().original
    assert scheme.verify(protected.parts) == ()
    shares = [carriers.read(part.data) for part in protected.parts]
    chains = [protected.manifest] if proof == "compact" else []
    admitted = attested(shares[1:], chains=chains)
    assert admitted.mark.startswith("SIMULATED")
    assert list(admitted.shares) == [2, 3]


def test_the_sidecar() -> None:
    protected = Visual(carrier="chunk", provider=provider(), lossless=False).protect(image())
    read = [carriers.read(part.data) for part in protected.parts]
    bare = [carriers.write("sidecar", share.pixels, b"unused", b"") for share in read]
    assert carriers.read(bare[0]).envelope is None
    beside = [share.envelope.encode() for share in read if share.envelope]
    again = [carriers.read(data, sidecar) for data, sidecar in zip(bare, beside, strict=True)]
    assert list(attested(again).shares) == [1, 2]
    with pytest.raises(TamperedError):
        attested([carriers.read(bare[0], beside[1]), again[1]])


def test_n_of_n_gives_the_halftone_exactly() -> None:
    for n in (2, 3):
        scheme = Visual(threshold=(n, n), lossless=False, recovery="xor")
        protected = scheme.protect(image("mr-brain-glioma.jpg"))
        restored = Visual().restore(protected.parts, protected.secret)
        assert isinstance(restored.image, MedicalImage)
        assert np.array_equal(restored.image.pixels[0] > 0, halftone(shown("mr-brain-glioma.jpg")) > 0)
        assert [f.kind for f in restored.findings] == [FindingKind.APPROXIMATE]
        assert not restored.exact


def test_the_pixels_of_a_share_are_the_papers() -> None:
    """0, 1, 254, 255: the frame first, random bits behind it, the message exactly where the paper puts it."""
    protected = Visual(provider=provider(), lossless=False).protect(image())
    share = carriers.read(protected.parts[0].data)
    assert np.unique(share.pixels).tolist() == [0, 1, 254, 255]
    low = np.packbits(share.pixels.reshape(-1) & 1).tobytes()
    assert low.startswith(b"MVSH\x01\x00")
    assert share.envelope is not None
    assert share.envelope.encode() in low
    rest = np.unpackbits(np.frombuffer(low[6500:], np.uint8))
    assert abs(float(rest.mean()) - 0.5) < 5 * 0.5 / len(rest) ** 0.5


def test_a_changed_part_is_left_out_and_named() -> None:
    protected = Visual(threshold=(2, 3)).protect(image())
    parts = list(protected.parts)
    bad = bytearray(parts[1].data)
    bad[len(bad) // 2] ^= 4
    parts[1] = Part(2, bytes(bad))
    restored = Visual().restore(parts, protected.secret)
    assert [(f.kind, f.part) for f in restored.findings] == [(FindingKind.TAMPER, 2)]
    assert restored.image.original == image().original
    with pytest.raises(UnrecoverableError):
        Visual().restore(parts[1:2] + parts[2:][:0] + parts[:1], protected.secret)


def test_a_share_stored_again_without_loss_is_recognised() -> None:
    protected = Visual(lossless=False).protect(image())
    again = imagecodecs.png_encode(carriers.read(protected.parts[0].data).pixels)
    assert again != protected.parts[0].data
    restored = Visual().restore([Part(1, again), protected.parts[1]], protected.secret)
    assert FindingKind.MODIFIED in {f.kind for f in restored.findings}
    swapped = [Part(2, protected.parts[0].data), Part(1, protected.parts[1].data)]
    kinds = [f.kind for f in Visual().restore(swapped, protected.secret).findings]
    assert kinds.count(FindingKind.SWAPPED) == 2


def test_the_lossless_layer_under_attestation() -> None:
    """Its content opens the commitment of the signed statement; a forged layer does not."""
    protected = Visual(threshold=(2, 3), provider=provider()).protect(image())
    shares = [carriers.read(part.data) for part in protected.parts]
    admitted = attested(shares)
    layers = {index: share.layer for index, share in admitted.shares.items()}
    opened, changed = lossless.join(layers, admitted.statement)
    assert opened.original == image().original
    assert changed == frozenset()
    layers[1] = bytes([layers[1][0] ^ 1]) + layers[1][1:]
    opened, changed = lossless.join(layers, admitted.statement)
    assert (opened.original, changed) == (image().original, {1})
    with pytest.raises(TamperedError, match="lossless layers"):
        lossless.join({1: layers[1], 2: layers[2]}, admitted.statement)
    with pytest.raises(TamperedError):
        lossless.join({1: layers[1][:-1], 2: layers[2]}, admitted.statement)
    assert restoring.restore(admitted).findings[0].kind is FindingKind.UNVERIFIED, "simulated, so never an original"


def test_insecure_recovery_marks_its_picture() -> None:
    protected = Visual().protect(image())
    shares = [carriers.read(part.data) for part in protected.parts]
    shares[0] = replace(shares[0], pixels=shares[0].pixels ^ np.uint8(254))
    restored = restoring.restore(admission.insecurely(shares))
    assert restored.image.name == "unverified - not for diagnosis"
    assert isinstance(restored.image, MedicalImage)
    assert restored.image.rows > image().rows
    assert {f.kind for f in restored.findings} == {FindingKind.UNVERIFIED, FindingKind.APPROXIMATE}
    assert restored.image.original is None


@pytest.mark.parametrize("name", ["us-breast-benign.png", "mr-brain-glioma.jpg"])
def test_a_lossless_webp_copy_is_a_share_and_a_lossy_one_is_not(name: str) -> None:
    protected = Visual(provider=provider(), lossless=False, carrier="lsb").protect(image(name))
    shares = [carriers.read(part.data) for part in protected.parts]
    colour = [s.pixels if s.pixels.ndim == 3 else np.repeat(s.pixels[..., None], 3, axis=2) for s in shares]
    copies = [imagecodecs.webp_encode(pixels, lossless=True) for pixels in colour]
    again = [carriers.read(copy) for copy in copies]
    for share, copy in zip(shares, again, strict=True):
        assert np.array_equal(share.pixels, copy.pixels)
    assert list(attested(again).shares) == [1, 2]
    assert Visual().restore(copies, protected.secret).image is not None
    with pytest.raises((FormatError, TamperedError), match="loss"):
        carriers.read(imagecodecs.webp_encode(colour[0], level=90, lossless=False))
    for broken in (copies[0][:60], copies[0][:20], copies[0][:12] + b"VP8X" + bytes(30)):
        with pytest.raises((FormatError, TamperedError, LimitError)):
            carriers.read(broken)


def test_one_session_for_many_images_and_a_dealer() -> None:
    dealer = DealerKey(bytes(range(32)))
    signer = SessionSigner(provider(), int(time.time()) - 5, dealer=dealer)
    for name in ("us-breast-benign.png", "mr-brain-glioma.jpg"):
        protected = Visual(signer=signer, lossless=False, carrier="lsb").protect(image(name))
        shares = [carriers.read(part.data) for part in protected.parts]
        assert attested(shares).statement.dealer == dealer.public
        stripped = [replace(s, envelope=Envelope(s.envelope.proof)) for s in shares if s.envelope]
        assert list(attested(stripped, sessions=[signer.session]).shares) == [1, 2]


def test_frames_windows_and_made_images() -> None:
    series = image("us-doppler-8-frames.dcm")
    protected = Visual(frame=3).protect(series)
    restored = Visual().restore(protected.parts, protected.secret)
    assert np.array_equal(restored.image.pixels, series.pixels)  # type: ignore[union-attr]
    made = MedicalImage(image("ct-thorax.dcm").pixels, 16)
    protected = Visual().protect(made)
    back = Visual().restore(protected.parts, protected.secret).image
    assert isinstance(back, MedicalImage)
    assert np.array_equal(back.pixels, made.pixels)
    assert back.pixels.dtype == made.pixels.dtype


def test_secrets_of_others() -> None:
    one, other = Visual().protect(image()), Visual().protect(image())
    with pytest.raises(TamperedError, match="another image"):
        Visual().restore(one.parts, other.secret)
    with pytest.raises(UsageError):
        Visual().restore(one.parts, replace(one.secret, scheme="sealed"))
    assert b"statement" in one.secret.data
    assert "digest" not in repr(one.secret)
