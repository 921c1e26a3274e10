"""Manifests, records, payloads: what is not exactly format v1 is refused, with the error that says why."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from tests.schemes.sealed.material import OWNER, STRANGER, Object, flip, forge, load, make, with_core

from medveil.crypto import canonical
from medveil.crypto.envelope import RecipientPrivateKey, seal
from medveil.crypto.keyfile import OwnerPublic
from medveil.crypto.prg import SystemRandomness, allow_insecure_randomness, insecure_seeded
from medveil.crypto.signatures import SIGNATURE_SIZE
from medveil.errors import (
    FormatError,
    InputError,
    LimitError,
    MedveilError,
    RandomnessError,
    TamperedError,
    UnsupportedError,
    UsageError,
    WrongKeyError,
)
from medveil.schemes.base import Part
from medveil.schemes.sealed import (
    MANIFEST_MAGIC,
    PART_MAGIC,
    BytesShare,
    Manifest,
    Mode,
    Sealed,
    SealOptions,
    open_shares,
    pack_part,
    pack_record,
    unpack_part,
    unpack_record,
)
from medveil.schemes.sealed.body import seal as seal_object
from medveil.schemes.sealed.codec import Kind
from medveil.schemes.sealed.format import Core, Layout, ShareHeader
from medveil.schemes.sealed.payload import Index, PixelInfo, Row, digest
from medveil.schemes.sealed.records import record_size

CT = "pydicom_older_tests/CT_small.dcm"


@pytest.fixture(scope="module")
def ct(shared_data: Path) -> Object:
    return make(load(shared_data, CT))


def _body(manifest: bytes) -> dict[Any, Any]:
    record = canonical.decode(manifest[4:-SIGNATURE_SIZE], limit=1 << 16)
    assert isinstance(record, dict)
    return record


def _signed(body: dict[Any, Any] | bytes) -> bytes:
    encoded = body if isinstance(body, bytes) else canonical.encode(body)
    return len(encoded).to_bytes(4, "big") + encoded + OWNER.signing.sign("sealed manifest", encoded)


def _core(manifest: bytes, **values: Any) -> bytes:
    """The manifest with other values in its core; None removes a field. Signed by its owner."""
    body = _body(manifest)
    core = canonical.decode(body["core"]) | values
    return _signed(body | {"core": canonical.encode({k: v for k, v in core.items() if v is not None})})


def test_a_manifest_says_what_was_sealed(ct: Object) -> None:
    manifest = Manifest.verify(ct.record.manifest, OWNER.public)
    assert (manifest.k, manifest.n, manifest.version, manifest.epoch, manifest.chunk) == (2, 3, 1, 1, 4096)
    assert manifest.mode is Mode.KEYED
    assert manifest.share_sizes == tuple(len(share) for share in ct.shares)
    assert manifest.share_names == ct.record.share_names
    assert manifest.digest == ct.manifest.digest
    assert manifest.padded_len == manifest.core.padded_len
    assert manifest.dataset == bytes(16)
    assert manifest.object_id == ct.manifest.object_id


def test_versions_are_chained(shared_data: Path, ct: Object) -> None:
    record = seal_object(
        b"next",
        [io.BytesIO() for _ in range(4)],
        owner=OWNER,
        object_id=ct.manifest.object_id,
        version=2,
        previous=ct.manifest.digest,
    )
    assert Manifest.verify(record.manifest, OWNER.public).previous == ct.manifest.digest


def test_the_size_of_a_record_is_known_before(ct: Object) -> None:
    for mode in Mode:
        item = make(b"some bytes", mode=mode, chunk=None)
        packed = pack_record(PART_MAGIC, item.record.manifest, item.record.envelopes)
        assert len(packed) == record_size(item.manifest.core)


BAD_MANIFESTS: dict[str, tuple[Callable[[bytes], bytes], type[MedveilError]]] = {
    "empty": (lambda m: b"", FormatError),
    "cut": (lambda m: m[:-1], FormatError),
    "longer": (lambda m: m + b"\0", FormatError),
    "length claims 4 GiB": (lambda m: b"\xff\xff\xff\xff" + m[4:], FormatError),
    "larger than any": (lambda m: bytes(1 << 15), LimitError),
    "signature flipped (Ed25519)": (lambda m: flip(m, len(m) - SIGNATURE_SIZE), TamperedError),
    "signature flipped (ML-DSA)": (lambda m: flip(m, len(m) - 1), TamperedError),
    "one of two signatures of another key": (
        lambda m: (
            m[:-SIGNATURE_SIZE]
            + STRANGER.signing.sign("sealed manifest", m[4:-SIGNATURE_SIZE])[:64]
            + m[len(m) - SIGNATURE_SIZE + 64 :]
        ),
        TamperedError,
    ),
    "signed by a stranger": (
        lambda m: m[:-SIGNATURE_SIZE] + STRANGER.signing.sign("sealed manifest", m[4:-SIGNATURE_SIZE]),
        TamperedError,
    ),
    "signed for another purpose": (
        lambda m: m[:-SIGNATURE_SIZE] + OWNER.signing.sign("bundle manifest", m[4:-SIGNATURE_SIZE]),
        TamperedError,
    ),
    "of another owner": (lambda m: _signed(_body(m) | {"owner": STRANGER.owner_id}), WrongKeyError),
    "unknown version": (lambda m: _core(m, v=2), FormatError),
    "version true": (lambda m: _core(m, v=True), FormatError),
    "unknown suite": (lambda m: _core(m, suite="AES-128-CBC"), FormatError),
    "no suite": (lambda m: _core(m, suite=None), FormatError),
    "unknown mode": (lambda m: _core(m, mode="clear"), FormatError),
    "unknown codec": (lambda m: _core(m, codec="lossy"), FormatError),
    "an extra field in the core": (lambda m: _core(m, extra=1), FormatError),
    "a field of the core missing": (lambda m: _core(m, epoch=None), FormatError),
    "a text where bytes belong": (lambda m: _core(m, object="0123456789abcdef"), FormatError),
    "a short object id": (lambda m: _core(m, object=bytes(15)), FormatError),
    "a short salt": (lambda m: _core(m, salt=bytes(8)), FormatError),
    "k above n": (lambda m: _core(m, k=4), FormatError),
    "k zero": (lambda m: _core(m, k=0), FormatError),
    "n of 1000": (lambda m: _core(m, n=1000), FormatError),
    "a chunk of 1 byte": (lambda m: _core(m, chunk=1), FormatError),
    "a chunk of 1 GiB": (lambda m: _core(m, chunk=1 << 30), FormatError),
    "a negative length": (lambda m: _core(m, padded=-1), FormatError),
    "a length bomb": (lambda m: _core(m, padded=(1 << 64) - 1), LimitError),
    "more chunks than there can be": (lambda m: _core(m, padded=1 << 45), LimitError),
    "mode perfect beyond its bound": (lambda m: _core(m, mode="perfect", padded=1 << 30), LimitError),
    "a negative version": (lambda m: _core(m, version=-1), FormatError),
    "a root missing": (lambda m: _signed(_body(m) | {"roots": _body(m)["roots"][:2]}), FormatError),
    "a root too many": (lambda m: _signed(_body(m) | {"roots": _body(m)["roots"] * 2}), FormatError),
    "a short root": (lambda m: _signed(_body(m) | {"roots": [bytes(31)] * 3}), FormatError),
    "roots of another type": (lambda m: _signed(_body(m) | {"roots": [1, 2, 3]}), FormatError),
    "a short commitment": (lambda m: _signed(_body(m) | {"commitment": bytes(16)}), FormatError),
    "a short tile root": (lambda m: _signed(_body(m) | {"tiles": b""}), FormatError),
    "a body that is a list": (lambda m: _signed(canonical.encode([1, 2])), FormatError),
    "an extra field in the body": (lambda m: _signed(_body(m) | {"note": 1}), FormatError),
    "a core that is no record": (lambda m: _signed(_body(m) | {"core": b"\x00"}), FormatError),
    "duplicate keys": (lambda m: _signed(b"\xa2\x61\x61\x00\x61\x61\x00"), FormatError),
    "not canonical: unsorted keys": (lambda m: _signed(b"\xa2\x61\x62\x00\x61\x61\x00"), FormatError),
    "not canonical: a long head": (lambda m: _signed(b"\xb8\x06" + canonical.encode(_body(m))[1:]), FormatError),
    "not canonical: indefinite length": (
        lambda m: _signed(b"\xbf" + canonical.encode(_body(m))[1:] + b"\xff"),
        FormatError,
    ),
    "a core in another form": (lambda m: _signed(_body(m) | {"core": b"\xb8\x0d" + _body(m)["core"][1:]}), FormatError),
    "an array bomb": (lambda m: _signed(b"\x9b\x10\x00\x00\x00\x00\x00\x00\x00"), FormatError),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_bad_manifest(name: str, ct: Object) -> None:
    change, error = BAD_MANIFESTS[name]
    with pytest.raises(error):
        Manifest.verify(change(ct.record.manifest), OWNER.public)


def test_every_byte_of_a_manifest_counts(ct: Object) -> None:
    manifest = ct.record.manifest
    for place in (*range(len(manifest) - SIGNATURE_SIZE), *range(len(manifest) - SIGNATURE_SIZE, len(manifest), 41)):
        with pytest.raises((FormatError, TamperedError, WrongKeyError, LimitError)):
            Manifest.verify(flip(manifest, place, bit=place % 8), OWNER.public)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"version": 2}, WrongKeyError),
        ({"epoch": 2}, WrongKeyError),
        ({"dataset": b"d" * 16}, WrongKeyError),
        ({"object_id": b"o" * 16}, WrongKeyError),
        ({"salt": b"s" * 24}, WrongKeyError),
        ({"mode": Mode.PERFECT}, MedveilError),
        ({"codec": "ingest"}, WrongKeyError),
    ],
)
def test_the_key_is_bound_to_the_core(ct: Object, values: dict[str, Any], error: type[MedveilError]) -> None:
    """Even its owner's signature on another core does not make the envelope or the key fit."""
    manifest = Manifest.verify(with_core(ct, **values), OWNER.public)
    shares = {index: BytesShare(data) for index, data in enumerate(ct.shares, start=1)}
    with pytest.raises((error, MedveilError)):
        open_shares(manifest, ct.record.envelopes, shares, OWNER)


def test_wrong_keys_all_look_alike(ct: Object) -> None:
    """A wrong recipient, an altered envelope, one of another object and none at all give one error, one message."""
    shares = {index: BytesShare(data) for index, data in enumerate(ct.shares, start=1)}
    manifest = ct.manifest
    other = make(b"another object")
    recipient = RecipientPrivateKey.generate()
    said = set()
    for envelopes, key in (
        (ct.record.envelopes, STRANGER),
        (ct.record.envelopes, recipient),
        ((flip(ct.record.envelopes[0], 5),), OWNER),
        ((flip(ct.record.envelopes[0], 1100),), OWNER),
        ((ct.record.envelopes[0][:-1],), OWNER),
        ((b"",), OWNER),
        ((bytes(1 << 20),), OWNER),
        (other.record.envelopes, OWNER),
        ((), OWNER),
    ):
        with pytest.raises(WrongKeyError) as caught:
            open_shares(manifest, envelopes, shares, key)
        said.add(str(caught.value))
    assert len(said) == 1
    with pytest.raises(WrongKeyError, match="needs a key"):
        open_shares(manifest, ct.record.envelopes, shares, None)


def test_a_key_that_is_not_committed_to(ct: Object) -> None:
    """A right envelope with another key, and a commitment to another key: the commitment says so before decryption."""
    shares = {index: BytesShare(data) for index, data in enumerate(ct.shares, start=1)}
    for key in (bytes(32), b"", bytes(31), bytes(64)):
        wrong = seal(OWNER.public.recipient, key, core=ct.manifest.core_bytes)
        with pytest.raises(WrongKeyError):
            open_shares(ct.manifest, (wrong,), shares, OWNER)
    body = _body(ct.record.manifest)
    swapped = Manifest.verify(_signed(body | {"commitment": bytes(32)}), OWNER.public)
    with pytest.raises(WrongKeyError):
        open_shares(swapped, ct.record.envelopes, shares, OWNER)


def test_recipients_open_what_was_sealed_to_them(shared_data: Path) -> None:
    ward, doctor = RecipientPrivateKey.generate(), RecipientPrivateKey.generate()
    sinks = [io.BytesIO() for _ in range(4)]
    source = load(shared_data, CT)
    record = seal_object(source, sinks, owner=OWNER, recipients=(ward.public, doctor.public))
    manifest = Manifest.verify(record.manifest, OwnerPublic.from_bytes(OWNER.public.to_bytes()))
    shares = {index: BytesShare(sink.getvalue()) for index, sink in enumerate(sinks, start=1)}
    for key in (OWNER, ward, doctor):
        assert open_shares(manifest, record.envelopes, shares, key).original == source.original  # type: ignore[union-attr]
    with pytest.raises(LimitError):
        seal_object(b"x", sinks, owner=OWNER, recipients=(ward.public,) * 64)


# --------------------------------------------------------------------------------------------- records and parts


BAD_RECORDS: dict[str, tuple[Callable[[bytes], bytes], type[MedveilError]]] = {
    "empty": (lambda r: b"", FormatError),
    "other magic": (lambda r: b"MVXX" + r[4:], FormatError),
    "manifest file as part": (lambda r: MANIFEST_MAGIC + r[4:], FormatError),
    "unknown version": (lambda r: r[:4] + b"\x02" + r[5:], FormatError),
    "manifest claims 4 GiB": (lambda r: r[:5] + b"\xff\xff\xff\xff" + r[9:], LimitError),
    "manifest claims more than there is": (lambda r: r[:5] + (16000).to_bytes(4, "big") + r[9:200], FormatError),
    "255 envelopes": (lambda r: flip(r, _envelope_count(r), bit=7), LimitError),
    "an envelope of 4 GiB": (
        lambda r: r[: _envelope_count(r) + 1] + b"\xff\xff\xff\xff" + r[_envelope_count(r) + 5 :],
        LimitError,
    ),
    "cut in the envelope": (lambda r: r[: _envelope_count(r) + 50], FormatError),
    "cut before the envelopes": (lambda r: r[: _envelope_count(r)], FormatError),
}


def _envelope_count(record: bytes) -> int:
    return 9 + int.from_bytes(record[5:9], "big")


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_bad_record(name: str, ct: Object) -> None:
    change, error = BAD_RECORDS[name]
    with pytest.raises(error):
        unpack_record(change(pack_record(PART_MAGIC, ct.record.manifest, ct.record.envelopes)), PART_MAGIC)


def test_a_part_is_complete(ct: Object) -> None:
    part = pack_part(ct.record.manifest, ct.record.envelopes, ct.shares[1])
    record, share = unpack_part(part)
    assert (record.manifest, record.envelopes, share) == (ct.record.manifest, ct.record.envelopes, ct.shares[1])
    with pytest.raises(LimitError):
        pack_record(PART_MAGIC, bytes(1 << 20), ())
    with pytest.raises(LimitError):
        pack_record(PART_MAGIC, b"m", (bytes(1 << 20),))


def test_share_headers(ct: Object) -> None:
    header = ShareHeader.decode(ct.shares[2])
    assert (header.index, header.k, header.n, header.version) == (3, 2, 3, 1)
    assert header.encode() == ct.shares[2][: len(header.encode())]
    for bad in (b"", b"MVSH", b"XXXX" + bytes(60), flip(ct.shares[0], 4), flip(ct.shares[0], 6, bit=6)):
        with pytest.raises(FormatError):
            ShareHeader.decode(bad[:113])
    with pytest.raises(UsageError):
        ShareHeader.of(ct.manifest.core, 1, b"extra")


def test_layout_of_every_length() -> None:
    core = Core(bytes(16), 1, bytes(16), 1, Mode.KEYED, 3, 5, 4096, 0, "none", bytes(24))
    for padded in (0, 1, 4095, 4096, 4097, 8191, 8192, 123456):
        layout = Layout.of(replace(core, padded_len=padded))
        assert layout.count == padded // 4096 + 1
        assert sum(layout.plaintext(i) for i in range(layout.count)) == padded
        ends = [layout.place(i) + layout.fragment(i) for i in range(layout.count)]
        assert [layout.place(i) for i in range(1, layout.count)] == ends[:-1]
        assert layout.size == layout.leaves + 32 * (layout.count + 1)


# ------------------------------------------------------------------------------------------------------- payloads


def _index(**values: Any) -> dict[str, Any]:
    """An index of 8 raw bytes, with other values in it."""
    rows = b"\x00" + (8).to_bytes(4, "big") * 2 + digest(b"8 bytes.")
    return {
        "v": 1,
        "length": 8,
        "media": "text/plain",
        "name": "",
        "pixels": None,
        "tags": None,
        "rows": rows,
    } | values


def _pixels(**values: Any) -> dict[str, Any]:
    return {
        "dtype": "|u1",
        "shape": [1, 2, 4, 1],
        "offset": 0,
        "stored": 8,
        "photometric": "MONOCHROME2",
        "spacing": None,
        "places": b"",
    } | values


def _payload(index: dict[str, Any] | bytes, body: bytes = b"8 bytes.") -> bytes:
    encoded = index if isinstance(index, bytes) else canonical.encode(index)
    return len(encoded).to_bytes(4, "big") + encoded + body


def _row(kind: int, coded: int, decoded: int, mark: bytes = bytes(16)) -> bytes:
    return bytes([kind]) + coded.to_bytes(4, "big") + decoded.to_bytes(4, "big") + mark


_BOMB = imagecodecs.zstd_encode(bytes(64 << 20), level=3)
_HUGE = b"\xff\x4f\xff\x51\x00\x29" + b"\x40\x00" + (100_000).to_bytes(4, "big") * 2 + bytes(8) + bytes(40)
_SQUARE = {"shape": [1, 100_000, 100_000, 1], "dtype": "<u2"}

BAD_PAYLOADS: dict[str, tuple[bytes, type[MedveilError]]] = {
    "empty": (b"", LimitError),
    "an index of 4 GiB": (b"\xff\xff\xff\xff" + bytes(100), LimitError),
    "an index beyond the payload": ((5000).to_bytes(4, "big") + bytes(100), LimitError),
    "no index": (bytes(64), FormatError),
    "an index that is no map": (_payload(canonical.encode([1])), FormatError),
    "an unknown index": (_payload(_index(v=2)), FormatError),
    "an extra field": (_payload(_index(more=1)), FormatError),
    "a length that is text": (_payload(_index(length="8")), FormatError),
    "a name that is bytes": (_payload(_index(name=b"x")), FormatError),
    "rows cut short": (_payload(_index(rows=_index()["rows"][:-1])), FormatError),
    "an unknown kind": (_payload(_index(rows=_row(9, 8, 8))), FormatError),
    "segments that do not add up": (_payload(_index(length=9)), TamperedError),
    "a segment beyond the payload": (_payload(_index(rows=_row(0, 1 << 20, 1 << 20), length=1 << 20)), TamperedError),
    "a raw segment of 4 GiB": (_payload(_index(rows=_row(0, (1 << 32) - 1, (1 << 32) - 1))), LimitError),
    "a raw segment of two lengths": (_payload(_index(rows=_row(0, 8, 9), length=9)), LimitError),
    "a coded segment of 1 GiB": (_payload(_index(rows=_row(1, 8, 1 << 30), length=1 << 30)), LimitError),
    "a compression bomb": (_payload(_index(rows=_row(1, len(_BOMB), 8)), _BOMB), TamperedError),
    "a shorter decoded segment": (
        _payload(_index(rows=_row(1, len(_BOMB), 16 << 20), length=16 << 20), _BOMB),
        TamperedError,
    ),
    "coded bytes that are none": (_payload(_index(rows=_row(1, 8, 8))), TamperedError),
    "a segment with another digest": (
        _payload(_index(rows=_row(1, 17, 8)), imagecodecs.zstd_encode(b"8 bytes.", level=3).ljust(17, b"\0")),
        TamperedError,
    ),
    "pixels coded where there are none": (_payload(_index(rows=_row(2, 8, 8))), TamperedError),
    "an image of 1e5 x 1e5": (_payload(_index(pixels=_pixels(**_SQUARE))), TamperedError),
    "a codestream that claims 1e5 x 1e5": (
        _payload(_index(rows=_row(2, len(_HUGE), 8), pixels=_pixels()), _HUGE),
        LimitError,
    ),
    "an image of 2^60 pixels": (_payload(_index(pixels=_pixels(shape=[1 << 20, 1 << 20, 1 << 20, 1]))), LimitError),
    "an image of no rows": (_payload(_index(pixels=_pixels(shape=[1, 0, 4, 1]))), LimitError),
    "an image of three sides": (_payload(_index(pixels=_pixels(shape=[1, 2, 4]))), FormatError),
    "a side that is true": (_payload(_index(pixels=_pixels(shape=[True, 2, 4, 1]))), FormatError),
    "words of objects": (_payload(_index(pixels=_pixels(dtype="|O"))), FormatError),
    "pixels before the file": (_payload(_index(pixels=_pixels(offset=-2))), FormatError),
    "pixels beyond the file": (_payload(_index(pixels=_pixels(offset=1))), TamperedError),
    "spacing that is none": (_payload(_index(pixels=_pixels(spacing=["one", "two", "three"]))), FormatError),
    "tags without pixels": (_payload(_index(tags={"fine": b"", "blind": bytes(32)})), FormatError),
    "tags that are missing": (
        _payload(_index(pixels=_pixels(), tags={"fine": b"", "blind": bytes(32)})),
        TamperedError,
    ),
    "a short blind": (_payload(_index(pixels=_pixels(), tags={"fine": b"", "blind": b""})), FormatError),
    "a map of fine tiles that does not fit": (
        _payload(_index(pixels=_pixels(), tags={"fine": bytes(99), "blind": bytes(32)})),
        TamperedError,
    ),
}


@pytest.mark.parametrize("name", BAD_PAYLOADS)
def test_bad_payload(name: str) -> None:
    """Authentic and hostile: an owner who wants to harm a reader gets a refusal, not memory or time."""
    plaintext, error = BAD_PAYLOADS[name]
    with pytest.raises(error):
        forge(plaintext, pad=False).open()


def test_a_hand_made_payload_opens() -> None:
    opened = forge(_payload(_index())).open()
    assert opened.original == b"8 bytes."
    assert opened.findings == ()


def test_tags_that_lead_elsewhere() -> None:
    from medveil.schemes.sealed import read_tags

    index = Index(
        8,
        "x",
        "",
        PixelInfo("|u1", (1, 2, 4, 1), 0, 8, "MONOCHROME2", None),
        None,
        b"",
        (Row(Kind.RAW, 8, 8, digest(b"8 bytes.")),),
    )
    item = forge(_payload(index.encode()))
    shares = {index: BytesShare(data) for index, data in enumerate(item.shares, start=1)}
    with pytest.raises(UnsupportedError):
        read_tags(item.manifest, item.record.envelopes, shares, OWNER)
    tagged = canonical.decode(index.encode()) | {"tags": {"fine": b"", "blind": bytes(32)}}
    tagged["rows"] += _row(16, 16, 16)
    item = forge(_payload(tagged, b"8 bytes." + bytes(16)))
    shares = {index: BytesShare(data) for index, data in enumerate(item.shares, start=1)}
    with pytest.raises(TamperedError, match="signed root"):
        read_tags(item.manifest, item.record.envelopes, shares, OWNER)


# -------------------------------------------------------------------------------------------- options, randomness


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": (3, 2)},
        {"threshold": (0, 2)},
        {"threshold": (2, 33)},
        {"mode": "clear"},
        {"mode": "keyless"},
        {"mode": "perfect", "threshold": (1, 2)},
        {"codec": "jpeg"},
        {"chunk": 1000},
    ],
)
def test_options_that_do_not_exist(options: dict[str, Any], shared_data: Path) -> None:
    with pytest.raises(UsageError):
        Sealed(**options).protect(load(shared_data, CT))  # type: ignore[arg-type]


def test_other_misuse(shared_data: Path, ct: Object) -> None:
    with pytest.raises(UsageError):
        seal_object(b"x", [io.BytesIO()], owner=OWNER)
    with pytest.raises(UsageError):
        seal_object(b"x", [io.BytesIO()] * 4, owner=OWNER, object_id=b"short")
    with pytest.raises(InputError):
        seal_object(b"x", [io.BytesIO()] * 4, owner=OWNER, previous=b"short")
    with pytest.raises(InputError):
        seal_object("text", [io.BytesIO()] * 4, owner=OWNER)  # type: ignore[arg-type]
    with pytest.raises(LimitError):
        seal_object(bytes(17 << 20), [io.BytesIO()] * 3, owner=OWNER, options=SealOptions((2, 3), Mode.PERFECT, "none"))


def test_a_failed_generator_seals_nothing() -> None:
    for source in (lambda n: bytes(n), lambda n: b"\x07" * n, lambda n: b""):
        sinks = [io.BytesIO() for _ in range(4)]
        with pytest.raises(RandomnessError):
            seal_object(b"data", sinks, owner=OWNER, rng=SystemRandomness(source))
        assert not any(sink.getvalue() for sink in sinks)


def test_a_seed_repeats_and_real_randomness_does_not() -> None:
    with allow_insecure_randomness("test"):
        made = []
        for _ in range(2):
            sinks = [io.BytesIO() for _ in range(4)]
            seal_object(b"data", sinks, owner=OWNER, rng=insecure_seeded(7, "sealed"))
            made.append([sink.getvalue() for sink in sinks])
    assert made[0] == made[1]
    assert make(b"data").shares != make(b"data").shares


def test_secrets_are_not_shown(shared_data: Path) -> None:
    protected = Sealed().protect(load(shared_data, CT))  # type: ignore[arg-type]
    record = canonical.decode(protected.secret.data)
    for shown in (repr(protected), repr(protected.secret), str(protected.parts)):
        assert record["key"].hex() not in shown
        assert repr(record["key"])[2:20] not in shown


@pytest.mark.parametrize("change", ["cut", "other scheme", "other version", "short key"])
def test_bad_secret(change: str, shared_data: Path) -> None:
    protected = Sealed().protect(load(shared_data, CT))  # type: ignore[arg-type]
    secret = protected.secret
    record = canonical.decode(secret.data)
    bad = {
        "cut": replace(secret, data=secret.data[:-1]),
        "other scheme": replace(secret, scheme="visual"),
        "other version": replace(secret, data=canonical.encode(record | {"v": 2})),
        "short key": replace(secret, data=canonical.encode(record | {"key": b"short"})),
    }[change]
    with pytest.raises((FormatError, WrongKeyError)):
        Sealed().restore(protected.parts, bad)
    assert record["key"] not in b"".join(part.data for part in protected.parts)


def test_no_patient_data_in_any_part(shared_data: Path) -> None:
    """Names, identifiers and pixels stay inside."""
    import pydicom

    path = shared_data / "dicom_zoo" / CT
    data = path.read_bytes()
    dataset = pydicom.dcmread(path)
    canaries = [str(dataset.PatientName).encode(), str(dataset.PatientID).encode(), dataset.StudyInstanceUID.encode()]
    canaries += [b"CT_small", data[1000:1024], np.asarray(dataset.pixel_array)[64, 40:52].tobytes()]
    for options in ({}, {"mode": "perfect"}, {"mode": "two-factor"}, {"codec": "none"}):
        protected = Sealed(**options).protect(load(shared_data, CT))  # type: ignore[arg-type]
        for part in protected.parts:
            for canary in canaries:
                assert len(canary) > 3
                assert canary in data or canary == b"CT_small"
                assert canary not in part.data
        assert not any(canary in protected.manifest for canary in canaries)


def test_only_the_padded_size_shows() -> None:
    """Files whose padded lengths agree give parts of one size; their names and contents do not matter."""
    sizes = {len(make(bytes(5000) + bytes([n]) * n, chunk=None, codec="none").shares[0]) for n in range(1, 30)}
    assert len(sizes) <= 2


def test_parts_say_where_they_stand(shared_data: Path) -> None:
    """Bare bytes find their place by their header; parts in any order; one twice is no harm."""
    protected = Sealed().protect(load(shared_data, CT))  # type: ignore[arg-type]
    bare = [part.data for part in protected.parts]
    for parts in (bare, bare[::-1], [*bare, bare[0]], [*protected.parts, bare[1]]):
        restored = Sealed().restore(parts, protected.secret)
        assert restored.image.original == load(shared_data, CT).original  # type: ignore[union-attr]
    with pytest.raises(UsageError):
        Sealed().restore(bare * 20, protected.secret)
    restored = Sealed().restore([Part(2, bare[0]), Part(1, bare[1])], protected.secret)
    assert {(f.kind.value, f.part) for f in restored.findings} == {
        ("swapped", 1),
        ("swapped", 2),
        ("missing", 3),
        ("missing", 4),
    }
