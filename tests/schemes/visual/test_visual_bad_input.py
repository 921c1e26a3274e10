"""Every bad input of the design page: one typed refusal, and no picture."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from tests.schemes.visual.visual_material import VECTORS, collateral, image, platform, policy, provider, vector

from medveil import errors
from medveil.attestation.collateral import Collateral
from medveil.attestation.policy import load_policy, parse_policy
from medveil.attestation.proof import read_proof
from medveil.attestation.quote import MAX_QUOTE, Tee
from medveil.errors import (
    FormatError,
    InputError,
    LimitError,
    MedveilError,
    NotAuthenticError,
    PolicyError,
    StaleError,
    TamperedError,
    UnrecoverableError,
    UnsupportedError,
)
from medveil.imaging.image import OpaqueFile
from medveil.imaging.roi import Rectangle
from medveil.schemes.base import Part
from medveil.schemes.visual import Visual, admission, carriers, frame, restoring
from medveil.schemes.visual.carriers import ShareFile
from medveil.schemes.visual.envelope import Envelope

pytest.importorskip("dcap_qvl", reason="needs the extra attest")


@dataclass(frozen=True)
class Setting:
    parts: tuple[Part, ...]
    shares: tuple[ShareFile, ...]


def deal(**options: Any) -> Setting:
    options = {"provider": provider(), "lossless": False} | options
    parts = Visual(**options).protect(image()).parts
    return Setting(parts, tuple(carriers.read(part.data) for part in parts))


@pytest.fixture(scope="module")
def dealt() -> Setting:
    return deal()


@pytest.fixture(scope="module")
def quoted() -> Setting:
    return deal(proof="quote")


def recover(shares: Sequence[ShareFile], **changes: Any) -> Any:
    """The whole way of a recipient: verify, then recover. Nothing else gives a picture."""
    arguments = {"collateral": collateral, "now": int(time.time())} | changes
    rules = arguments.pop("rules", None) or policy()
    return restoring.visual_image(admission.by_attestation(shares, rules, **arguments))


def refused(error: type[MedveilError], shares: Sequence[ShareFile], match: str | None = None, **changes: Any) -> None:
    with pytest.raises(error, match=match):
        recover(shares, **changes)


def reread(pixels: np.ndarray) -> ShareFile:
    return carriers.read(imagecodecs.png_encode(pixels))


def framed(share: ShareFile, data: bytes) -> ShareFile:
    """The share with other bytes at the start of its lowest bits."""
    flat = share.pixels.reshape(-1).copy()
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    flat[: len(bits)] = flat[: len(bits)] & 254 | bits
    return reread(flat.reshape(share.pixels.shape))


def test_good_shares_are_recovered_and_marked_simulated(dealt: Setting, quoted: Setting) -> None:
    for setting in (dealt, quoted):
        shown = recover(setting.shares)
        assert shown.rows > image().rows, "the band that says SIMULATED"
        assert shown.name == "simulated - not for diagnosis"


def test_no_payload_is_unverified_never_good(dealt: Setting) -> None:
    bare = reread((dealt.shares[0].pixels >> 7) * np.uint8(255))
    assert bare.envelope is None
    refused(NotAuthenticError, [bare, dealt.shares[1]], "unverified")
    with pytest.raises(FormatError, match="unverified"):
        admission.insecurely([bare, dealt.shares[1]])


@pytest.mark.parametrize("path", sorted(VECTORS.glob("frame-*.vector")), ids=lambda path: path.stem)
def test_frame_vectors(path: Path) -> None:
    case = vector(path)
    data = bytes.fromhex(case["frame"])
    if case["expect"] == "payload":
        payload = bytes.fromhex(case["payload"])
        assert frame.read(data) == payload
        assert data.startswith(frame.write(payload, 1 << 20))
        return
    with pytest.raises(getattr(errors, case["expect"])):
        frame.read(data)


def test_wrong_magic_length_and_crc_in_a_picture(dealt: Setting) -> None:
    payload = dealt.shares[0].envelope.encode()  # type: ignore[union-attr]
    good = frame.write(payload, dealt.shares[0].pixels.size)
    other = dealt.shares[1]
    refused(NotAuthenticError, [framed(dealt.shares[0], b"XXXX" + good[4:]), other], "unverified")
    with pytest.raises(TamperedError, match="more than the picture holds"):
        framed(dealt.shares[0], good[:6] + b"\xff" * 4 + good[10:])
    with pytest.raises(TamperedError, match="check"):
        framed(dealt.shares[0], good[:40] + bytes([good[40] ^ 1]) + good[41:])


def test_an_image_that_is_too_small_says_need_and_capacity() -> None:
    small = replace(image(), pixels=image().pixels[:, :20, :30], original=None)
    with pytest.raises(InputError, match=r"\d+ samples are needed .* 600 are there, room for 61"):
        Visual(carrier="lsb").protect(small)
    protected = Visual(carrier="auto").protect(small)  # goes to the chunk, whole
    assert Visual().restore(protected.parts, protected.secret).findings == ()
    with pytest.raises(LimitError):
        frame.write(bytes(frame.MAX_PAYLOAD + 1), 1 << 30)


def test_jpeg_and_other_files(dealt: Setting) -> None:
    pixels = dealt.shares[0].pixels
    with pytest.raises(FormatError, match="JPEG"):
        carriers.read(imagecodecs.jpeg8_encode(pixels, 95))
    back = imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode(pixels, 95))
    with pytest.raises(TamperedError, match="stored with loss"):
        reread(back)
    for other in (b"", b"text", image().original or b"x"):
        with pytest.raises((FormatError, TamperedError)):
            carriers.read(other)


def test_size_or_mode_mismatch(dealt: Setting) -> None:
    first, second = dealt.shares
    cut = ShareFile(np.ascontiguousarray(first.pixels[:-1]), first.envelope, b"")
    refused(TamperedError, [cut, second], "samples")
    refused(TamperedError, [ShareFile(first.pixels.T.copy()[:-3], first.envelope, b""), second])
    with pytest.raises(FormatError, match="8-bit"):
        carriers.read(imagecodecs.png_encode(first.pixels.astype(np.uint16) << 8))
    with pytest.raises(FormatError, match="8-bit"):
        carriers.read(imagecodecs.png_encode(np.repeat(first.pixels[..., None], 4, axis=2)))
    with pytest.raises(TamperedError, match="another size"):
        admission.insecurely([cut, second])


def test_duplicates_mixed_sets_and_too_few(dealt: Setting) -> None:
    first, second = dealt.shares
    stranger = deal().shares[1]
    for door in (recover, admission.insecurely):
        with pytest.raises(InputError, match="twice"):
            door([first, first])
        with pytest.raises(TamperedError, match="different images"):
            door([first, stranger])
        for few in ([first], []):
            with pytest.raises(UnrecoverableError):
                door(few)
    edited = first.pixels.copy()
    edited[5, 5] ^= 254
    refused(TamperedError, [ShareFile(edited, first.envelope, b""), second], "digest")


def changed_quote(share: ShareFile, data: bytes) -> ShareFile:
    proof: Any = read_proof(share.envelope.proof)  # type: ignore[union-attr]
    forged = replace(proof, evidence=replace(proof.evidence, data=data))
    return ShareFile(share.pixels, Envelope(forged.encode()), share.layer)


def test_truncated_and_oversized_quotes(quoted: Setting) -> None:
    first, second = quoted.shares
    quote = read_proof(first.envelope.proof).evidence.data  # type: ignore[union-attr]
    for cut in (0, 1, 431, 432, 1000, len(quote) - 1):
        refused(NotAuthenticError, [changed_quote(first, quote[:cut]), second])
    refused(FormatError, [changed_quote(first, quote + bytes(MAX_QUOTE)), second])
    refused(NotAuthenticError, [changed_quote(first, quote + b"x"), second])


def test_flipped_bits_of_a_quote_and_of_a_session(quoted: Setting, dealt: Setting) -> None:
    """All bits of real quotes are in tests/attestation; here, that a share does not lose the refusal."""
    first, second = quoted.shares
    quote = read_proof(first.envelope.proof).evidence.data  # type: ignore[union-attr]
    for at in range(0, len(quote), 97):
        flipped = quote[:at] + bytes([quote[at] ^ 1 << at % 8]) + quote[at + 1 :]
        with pytest.raises((NotAuthenticError, PolicyError)):
            recover([changed_quote(first, flipped), second])
    first, second = dealt.shares
    raw = first.envelope.encode()  # type: ignore[union-attr]
    for at in range(0, len(raw), 97):
        flipped = raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]
        with pytest.raises((NotAuthenticError, PolicyError, LimitError)):
            recover([ShareFile(first.pixels, Envelope.decode(flipped), b""), second])


def test_collateral(dealt: Setting) -> None:
    now = int(time.time())
    for error, made in (
        (NotAuthenticError, platform().collateral(now - 60, tee=Tee.TDX)),
        (StaleError, platform().collateral(now - 90 * 86400)),
        (NotAuthenticError, platform().collateral(now + 86400)),
        (StaleError, platform().collateral(now - 60, evaluation_number=3)),
    ):
        refused(error, dealt.shares, collateral=lambda _, made=made: made)
    text = json.loads(platform().collateral(now - 60).text)
    text["tcb_info"] = text["tcb_info"][:-1]
    with pytest.raises(FormatError):
        recover(dealt.shares, collateral=lambda _: Collateral.from_json(json.dumps(text)))


def test_statuses_debug_enclaves_and_measurements(dealt: Setting) -> None:
    now = int(time.time())
    for status in ("OutOfDate", "Revoked"):
        refused(MedveilError, dealt.shares, collateral=lambda _, s=status: platform().collateral(now - 60, status=s))
    with pytest.raises(MedveilError):
        recover(dealt.shares, collateral=lambda _: platform().collateral(now - 60, status="Excellent"))

    class Debug(type(provider())):  # type: ignore[misc]
        def evidence(self, report_data: bytes) -> Any:
            good = super().evidence(report_data)
            return replace(good, data=platform().quote(report_data, debug=True))

    refused(PolicyError, deal(provider=Debug(platform())).shares, "debug")
    refused(PolicyError, deal(provider=provider("another program")).shares, "measurement|program")
    revoked = policy().model_copy(deep=True)
    rules = [rule.model_copy(update={"revoked": True}) for rule in revoked.measurements]
    text = type(revoked).model_validate(revoked.model_dump() | {"measurements": [r.model_dump() for r in rules]})
    refused(PolicyError, dealt.shares, "revoked", rules=text)
    empty = type(revoked).model_validate(revoked.model_dump() | {"measurements": []})
    refused(PolicyError, dealt.shares, rules=empty)


def test_a_production_policy_refuses_simulated_evidence(dealt: Setting, quoted: Setting, tmp_path: Path) -> None:
    text = """format = "medveil-attestation-policy/1"
kind = "production"
roots = ["intel-sgx-root"]
accepted_statuses = ["UpToDate"]
minimum_tcb_evaluation_data_number = 1
platforms = "any"
dealers = "any"
maximum_share_age_days = 30

[[measurements]]
name = "the same program"
tee = "sgx"
minimum_isv_svn = 0
valid_from = 2020-01-01
valid_until = 2100-01-01

[measurements.registers]
"""
    text += f'mrenclave = "{platform().measurement("signer")["mrenclave"]}"\n'
    (tmp_path / "policy.toml").write_text(text, encoding="utf-8")
    for rules in (parse_policy(text), load_policy(tmp_path / "policy.toml")):
        for setting in (dealt, quoted):
            refused(PolicyError, setting.shares, "simulat", rules=rules)


def test_future_shares_and_unlisted_dealers(dealt: Setting) -> None:
    refused(
        NotAuthenticError,
        dealt.shares,
        now=int(time.time()) - 86400,
        collateral=lambda _: platform().collateral(int(time.time()) - 2 * 86400),
    )
    rules = type(policy()).model_validate(policy().model_dump() | {"dealers": ["00" * 32]})
    refused(PolicyError, dealt.shares, "dealt by nobody", rules=rules)


def test_damaged_png_files(dealt: Setting) -> None:
    data = dealt.parts[0].data
    for broken in (data[:-1], data[: len(data) // 2], data + b"\0", data[:40] + bytes([data[40] ^ 1]) + data[41:]):
        with pytest.raises(TamperedError):
            carriers.read(broken)
    header = bytearray(data)
    header[16:24] = (1 << 30).to_bytes(4, "big") * 2
    import zlib

    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    with pytest.raises(LimitError):
        carriers.read(bytes(header))


def test_options_and_inputs_that_are_refused() -> None:
    for options, error in (
        ({"threshold": (2, 9)}, UnsupportedError),
        ({"threshold": (1, 2)}, UnsupportedError),
        ({"halftone": "atkinson"}, UnsupportedError),
        ({"halftone": "x"}, InputError),
        ({"carrier": "sidecar"}, InputError),
        ({"proof": "none"}, InputError),
        ({"recovery": "xor", "threshold": (2, 3)}, InputError),
    ):
        with pytest.raises(error):
            Visual(**options)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError):
        Visual().protect(OpaqueFile(b"x", "text"))
    with pytest.raises(InputError):
        Visual().protect(image(), roi=(Rectangle(0, 0, 9999, 5),))
    with pytest.raises(InputError):
        Visual(frame=3).protect(image())
    with pytest.raises(InputError, match="no hardware provider"):
        Visual(provider="sgx").protect(image())


def test_nobody_makes_an_admitted_set_by_hand(dealt: Setting) -> None:
    statement = admission.claimed(dealt.shares[0])
    with pytest.raises(InputError, match="verified shares only"):
        admission.Admitted(object(), dict(enumerate(dealt.shares, 1)), statement)
