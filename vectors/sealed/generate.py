"""Makes the vectors of the sealed format: one success or one failure a file.

    python vectors/sealed/generate.py [FOLDER]

Keys and nonces are fresh each time, so a new run gives other bytes with the same meanings. A file is text: a header
of `name: value` lines, an empty line, and the part files (each preceded by its length, u32) zlib-compressed in
base64. Header fields:

    expect    exact, refused or unrecoverable
    error     the class of medveil.errors that is raised, where it is not exact
    findings  kinds of findings with the part they blame, for example "missing 1, tamper 3"
    file      sha256 of the file that comes back; none where not exact
    root      the owner's root that opens it, in hex
    comment   what is special
"""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import textwrap
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medveil.crypto import canonical, envelope
from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import SYSTEM
from medveil.crypto.stream import StreamKey
from medveil.imaging import samples
from medveil.schemes.sealed.body import SealOptions, seal
from medveil.schemes.sealed.format import Core, Layout, LeafHasher, Manifest, Mode, ShareHeader, share_root
from medveil.schemes.sealed.modes import disperser, plan_keys
from medveil.schemes.sealed.records import pack_part, unpack_record

OWNER, OTHER = OwnerKey.generate(), OwnerKey.generate()
PICTURE = samples.load("mr-brain-glioma.jpg")
SIZES = (4096, 1 << 16)


@dataclass
class Vector:
    """One vector as it is written."""

    name: str
    comment: str
    parts: list[bytes]
    expect: str = "exact"
    error: str = ""
    findings: str = ""
    file: bytes = field(default=PICTURE, repr=False)
    root: bytes = OWNER.root

    def text(self) -> str:
        """Return the file's text."""
        body = zlib.compress(b"".join(len(p).to_bytes(4, "big") + p for p in self.parts), 9)
        lines = [f"expect: {self.expect}"]
        lines += [f"error: {self.error}"] if self.error else []
        lines += [f"findings: {self.findings}"] if self.findings else []
        lines += [f"file: {hashlib.sha256(self.file).hexdigest()}"] if self.expect == "exact" else []
        lines += [f"root: {self.root.hex()}", f"comment: {self.comment}", ""]
        return "\n".join([*lines, *textwrap.wrap(base64.b64encode(body).decode(), 120), ""])


def sealed(
    data: bytes = PICTURE,
    k: int = 2,
    n: int = 3,
    mode: Mode = Mode.KEYED,
    *,
    codec: str = "none",
    owner: OwnerKey = OWNER,
    chunk: int | None = 4096,
    **more: Any,
) -> tuple[list[bytes], Any]:
    """Seal and return the part files and the record."""
    sinks = [io.BytesIO() for _ in range(n)]
    record = seal(data, sinks, owner=owner, options=SealOptions((k, n), mode, codec, chunk), **more)
    return [pack_part(record.manifest, record.envelopes, sink.getvalue()) for sink in sinks], record


def parts_of(part: bytes) -> tuple[bytes, bytes]:
    """Return the record and the share object of a part."""
    size = unpack_record(part, b"MVPT").size
    return part[:size], part[size:]


def flip(data: bytes, at: int, bit: int = 0) -> bytes:
    """Flip one bit."""
    out = bytearray(data)
    out[at] ^= 1 << bit
    return bytes(out)


def flip_fragment(part: bytes, record: Any, chunk: int) -> bytes:
    """Flip one bit in the fragment of a chunk."""
    head, share = parts_of(part)
    return head + flip(share, record.parsed.layout.place(chunk) + 5)


def with_body(change: Callable[[dict[str, Any]], Any], record: Any, owner: OwnerKey = OWNER) -> bytes:
    """Return the manifest with a changed body (or body bytes), signed properly by `owner`."""
    data = record.manifest
    body = canonical.decode(data[4 : 4 + int.from_bytes(data[:4], "big")], limit=1 << 16)
    made = change(body)
    encoded = made if isinstance(made, bytes) else canonical.encode(body)
    return len(encoded).to_bytes(4, "big") + encoded + owner.signing.sign("sealed manifest", encoded)


def with_core(record: Any, **fields: Any) -> bytes:
    """Return the manifest with a core whose fields are changed (None removes one), signed properly."""

    def change(body: dict[str, Any]) -> None:
        core = canonical.decode(body["core"], limit=1 << 16)
        for name, value in fields.items():
            if value is None:
                del core[name]
            else:
                core[name] = value
        body["core"] = canonical.encode(core)

    return with_body(change, record)


def again(
    parts: Sequence[bytes], record: Any, manifest: bytes, envelopes: Sequence[bytes] | None = None
) -> list[bytes]:
    """Put another manifest (and other envelopes) in front of every share."""
    kept = record.envelopes if envelopes is None else envelopes
    return [pack_part(manifest, kept, parts_of(part)[1]) for part in parts]


def seal_payload(payload: bytes, mode: Mode = Mode.KEYED, k: int = 2, n: int = 3) -> list[bytes]:
    """Seal a payload that was made by hand: everything around it is right."""
    plan = plan_keys(mode, k, n)
    core = Core(SYSTEM.bytes(16), 1, bytes(16), 1, mode, k, n, 4096, len(payload), "none", SYSTEM.bytes(24))
    key = StreamKey.derive(plan.dek, core.encode(), core.salt)
    layout, split = Layout.of(core), disperser(core)
    shares = []
    fragments = [
        split.split(key.seal_chunk(i, payload[4096 * i : 4096 * i + layout.plaintext(i)])) for i in range(layout.count)
    ]
    for index in range(1, n + 1):
        hasher = LeafHasher(core, index)
        header = ShareHeader.of(core, index, plan.extras[index - 1]).encode()
        own = [row[index - 1] for row in fragments]
        leaves = [hasher.header(header), *(hasher.fragment(i, data) for i, data in enumerate(own))]
        shares.append((header + b"".join(own) + b"".join(leaves), share_root(leaves)))
    manifest = Manifest.sign(core, key.commitment, [root for _, root in shares], bytes(32), bytes(32), OWNER)
    envelopes = [envelope.seal(OWNER.public.recipient, plan.sealed, core=manifest.core_bytes)]
    return [pack_part(manifest.data, envelopes, share) for share, _ in shares]


def payload_of(rows: Sequence[tuple[int, int, int, bytes]], body: bytes, **changed: Any) -> bytes:
    """Return a payload with an index of these rows, padded to 6000 bytes."""
    packed = b"".join(
        kind.to_bytes(1, "big") + coded.to_bytes(4, "big") + decoded.to_bytes(4, "big") + digest
        for kind, coded, decoded, digest in rows
    )
    index: dict[str, Any] = {
        "v": 1,
        "length": sum(row[2] for row in rows),
        "media": "application/octet-stream",
        "name": "",
        "pixels": None,
        "tags": None,
        "rows": packed,
    }
    encoded = canonical.encode(index | changed)
    return (len(encoded).to_bytes(4, "big") + encoded + body).ljust(6000, b"\0")


def digest(data: bytes) -> bytes:
    """Return the digest that a row holds."""
    from blake3 import blake3

    return blake3(data).digest(16)


# ------------------------------------------------------------------------------------------------------ the list


def clean() -> list[Vector]:
    """Everything in order, in every mode and at the edges of sizes."""
    made = []
    for mode, k, n in (
        (Mode.KEYED, 2, 3), (Mode.KEYED, 1, 2), (Mode.KEYED, 3, 3), (Mode.KEYED, 3, 5), (Mode.TWO_FACTOR, 2, 3),
        (Mode.KEYLESS, 2, 3), (Mode.PERFECT, 2, 3), (Mode.PERFECT, 2, 2),
    ):  # fmt: skip
        parts, _ = sealed(k=k, n=n, mode=mode)
        made.append(Vector(f"clean_{mode.value.replace('-', '_')}_{k}_of_{n}", "all parts in place", parts))
    for size, words in ((0, "an empty file"), (1, "one byte"), (3000, "one chunk"), (9000, "three chunks")):
        data = (PICTURE * 3)[:size]
        made.append(Vector(f"clean_{size}_bytes", words, sealed(data)[0], file=data))
    parts, _ = sealed(recipients=[OTHER.public.recipient])
    made.append(Vector("clean_for_a_recipient", "a second envelope, for somebody else", parts))
    parts, _ = sealed(version=7, epoch=3, previous=bytes(range(32)), dataset=bytes(range(16)))
    made.append(Vector("clean_later_version", "version 7 of epoch 3 with a previous manifest", parts))
    parts, _ = sealed()
    made.append(
        Vector(
            "clean_other_order",
            "the files of parts 3, 1 and 2 lie in the places 1, 2 and 3",
            [parts[2], parts[0], parts[1]],
            findings="swapped 1, swapped 2, swapped 3",
        )
    )
    return made


def mended() -> list[Vector]:
    """Damage within what the other parts give back."""
    parts, record = sealed()
    one, two, three = parts
    layout = record.parsed.layout
    made = [
        Vector("missing_1", "part 1 is gone", [two, three], findings="missing 1"),
        Vector("missing_2", "part 2 is gone", [one, three], findings="missing 2"),
        Vector("missing_3", "part 3 (parity) is gone", [one, two], findings="missing 3"),
        Vector("flip_in_data_share", "one bit of chunk 0 in part 1", [flip_fragment(one, record, 0), two, three],
               findings="tamper 1"),
        Vector("flip_in_parity_share", "one bit of the last chunk in part 3",
               [one, two, flip_fragment(three, record, layout.count - 1)], findings="tamper 3"),
        Vector("flips_in_two_shares", "one bit of chunk 0 in part 1, one bit of chunk 1 in part 2",
               [flip_fragment(one, record, 0), flip_fragment(two, record, 1), three], findings="tamper 1, tamper 2"),
        Vector("flip_in_leaf_list", "one bit in the leaf list of part 2", [one, flip(two, -40), three],
               findings="tamper 2"),
        Vector("flip_in_share_header", "one bit in the object id of part 1's share header",
               [parts_of(one)[0] + flip(parts_of(one)[1], 25), two, three], findings="tamper 1"),
        Vector("truncated_by_one", "part 3 lacks its last byte", [one, two, three[:-1]], findings="truncated 3"),
        Vector("truncated_at_chunk", "part 3 ends after its first fragment",
               [one, two, parts_of(three)[0] + parts_of(three)[1][: layout.place(1)]], findings="truncated 3"),
        Vector("trailing_byte", "part 1 has one byte more", [one + b"\0", two, three], findings="truncated 1"),
        Vector("record_damaged", "one bit of the manifest in part 2", [one, flip(two, 60), three], findings="tamper 2"),
        Vector("envelope_damaged", "one bit of the envelope in part 1",
               [flip(one, len(parts_of(one)[0]) - 9), two, three], findings="tamper 1"),
    ]  # fmt: skip
    share = parts_of(one)[1]
    a, b, size = layout.place(0), layout.place(1), layout.fragment(1)
    reordered = share[:a] + share[b : b + size] + share[a + size : b] + share[a : a + size] + share[b + size :]
    made.append(Vector("chunks_reordered", "fragments changed places in part 1", [parts_of(one)[0] + reordered, two, three],
                       findings="tamper 1"))  # fmt: skip
    old, oldrec = sealed(version=1)
    new, _ = sealed(object_id=oldrec.parsed.object_id, version=2, previous=oldrec.parsed.digest)
    made.append(Vector("stale_part", "part 2 is of the version before", [new[0], old[1], new[2]], findings="stale 2"))
    foreign, _ = sealed(PICTURE[:4000])
    made.append(Vector("foreign_part", "part 3 is of another object", [one, two, foreign[2]], findings="foreign 3"))
    theirs, _ = sealed(owner=OTHER)
    made.append(
        Vector("part_of_another_owner", "part 1 is of another owner", [theirs[0], two, three], findings="foreign 1")
    )
    keyed, _ = sealed(mode=Mode.TWO_FACTOR)
    head, share = parts_of(keyed[0])
    made.append(Vector("key_share_damaged", "two-factor: part 1's share of the key is changed",
                       [head + flip(share, 60), keyed[1], keyed[2]], findings="tamper 1"))  # fmt: skip
    return made


def lost() -> list[Vector]:
    """Too little is left."""
    parts, record = sealed()
    one, two, three = parts
    sub = {"expect": "unrecoverable", "error": "UnrecoverableError"}
    both, _ = sealed(k=2, n=2)
    xor, _ = sealed(k=3, n=3, mode=Mode.PERFECT)
    factor, _ = sealed(mode=Mode.TWO_FACTOR)
    free, _ = sealed(mode=Mode.KEYLESS)
    return [
        Vector("one_part_of_two", "k - 1 parts", [three], **sub),
        Vector("two_of_two_one_missing", "(2,2) without part 2", [both[0]], **sub),
        Vector("perfect_one_missing", "perfect (3,3) without part 1", xor[1:], **sub),
        Vector("two_factor_one_part", "two-factor with one share of the key", factor[:1], **sub),
        Vector("keyless_one_part", "keyless with one share of the key", free[:1], **sub),
        Vector("same_chunk_in_two_shares", "chunk 0 is changed in parts 1 and 2 of 2-of-3",
               [flip_fragment(one, record, 0), flip_fragment(two, record, 0), three], **sub),
        Vector("all_truncated_at_chunk", "every part ends after its first fragment",
               [parts_of(p)[0] + parts_of(p)[1][: record.parsed.layout.place(1)] for p in parts], **sub),
    ]  # fmt: skip


def forged() -> list[Vector]:
    """Everything that only its origin gives away."""
    parts, record = sealed()
    bad = {"expect": "refused"}
    body = record.manifest[4 : 4 + int.from_bytes(record.manifest[:4], "big")]
    front = record.manifest[: 4 + len(body)]
    signature = record.manifest[len(front) :]
    attacker = with_body(lambda body: None, record, OTHER)
    made = [
        Vector("wrong_owner", "opened with another owner's root", parts, error="WrongKeyError", root=OTHER.root, **bad),
        Vector("resigned_by_attacker", "the manifest is signed by another key",
               again(parts, record, attacker), error="TamperedError", **bad),
        Vector("only_ed25519_valid", "the ML-DSA signature is another's",
               again(parts, record, front + signature[:64] + attacker[len(front) + 64 :]), error="TamperedError", **bad),
        Vector("only_mldsa_valid", "the Ed25519 signature is another's",
               again(parts, record, front + attacker[len(front) : len(front) + 64] + signature[64:]),
               error="TamperedError", **bad),
        Vector("signature_cut", "the manifest lacks its last byte",
               again(parts, record, record.manifest[:-1]), error="FormatError", **bad),
        Vector("manifest_trailing_byte", "one byte behind the signature",
               again(parts, record, record.manifest + b"\0"), error="FormatError", **bad),
        Vector("commitment_of_another_key", "the owner signed another key's commitment: two keys for one body",
               again(parts, record, with_body(lambda b: b.update(commitment=bytes(32)), record)),
               error="WrongKeyError", **bad),
    ]  # fmt: skip
    _, orecord = sealed(PICTURE[:4000])
    envelopes = {
        "envelope_of_another_object": (orecord.envelopes, "the envelope belongs to another object"),
        "envelope_low_order": ((_low_order(record.envelopes[0]),), "the envelope's X25519 point is zero"),
        "envelope_mlkem_damaged": ((flip(record.envelopes[0], 100),), "one bit of the ML-KEM ciphertext"),
        "envelope_x25519_damaged": ((flip(record.envelopes[0], 1100),), "one bit of the X25519 share"),
        "envelope_tag_damaged": ((flip(record.envelopes[0], -1),), "one bit of the envelope's tag"),
        "no_envelope": ((), "keyed, and no envelope at all"),
    }
    for name, (given, words) in envelopes.items():
        made.append(Vector(name, words, again(parts, record, record.manifest, given), error="WrongKeyError", **bad))
    return made


def _low_order(sealed_key: bytes) -> bytes:
    return sealed_key[:1088] + bytes(32) + sealed_key[1120:]


def malformed() -> list[Vector]:
    """Records and cores of forms that no writer makes, signed properly where a signature is needed."""
    parts, record = sealed()
    cases: list[tuple[str, str, bytes, str]] = [
        ("core_version_2", "core of an unknown version", with_core(record, v=2), "FormatError"),
        ("core_version_true", "version is true instead of 1", with_core(record, v=True), "FormatError"),
        ("core_suite_downgrade", "another suite", with_core(record, suite="AES-128-GCM"), "FormatError"),
        ("core_mode_unknown", "an unknown mode", with_core(record, mode="plain"), "FormatError"),
        ("core_codec_unknown", "an unknown codec", with_core(record, codec="zip"), "FormatError"),
        ("core_extra_field", "a field more", with_core(record, more=1), "FormatError"),
        ("core_missing_field", "a field less", with_core(record, salt=None), "FormatError"),
        ("core_short_salt", "a salt of 23 bytes", with_core(record, salt=bytes(23)), "FormatError"),
        ("core_k_zero", "k = 0", with_core(record, k=0), "FormatError"),
        ("core_k_above_n", "k = 4 of n = 3", with_core(record, k=4), "FormatError"),
        ("core_chunk_odd", "a chunk size that does not exist", with_core(record, chunk=4097), "FormatError"),
        ("core_negative_length", "a negative length", with_core(record, padded=-1), "FormatError"),
        ("core_length_bomb", "a payload of 2^60 bytes", with_core(record, padded=1 << 60), "LimitError"),
        ("roots_one_less", "two roots for three shares", with_body(lambda b: b["roots"].pop(), record), "FormatError"),
        ("roots_short", "a root of 31 bytes", with_body(lambda b: b["roots"].__setitem__(0, bytes(31)), record),
         "FormatError"),
        ("body_extra_field", "a field more in the body", with_body(lambda b: b.update(more=1), record), "FormatError"),
        ("body_not_a_map", "the body is an array", with_body(lambda b: canonical.encode([1, 2]), record), "FormatError"),
        ("body_long_integer", "an integer not in its shortest form", with_body(_long_integer, record), "FormatError"),
        ("body_duplicate_key", "a key twice", with_body(_duplicate, record), "FormatError"),
        ("body_unsorted", "keys in another order", with_body(_unsorted, record), "FormatError"),
        ("body_deeply_nested", "arrays nested 200 deep", with_body(lambda b: b"\x81" * 200 + b"\x00", record),
         "FormatError"),
    ]  # fmt: skip
    made = [
        Vector(name, words, again(parts, record, manifest), "refused", error) for name, words, manifest, error in cases
    ]
    fronts = {
        "magic_unknown": ("the first byte is another", lambda p: b"X" + p[1:]),
        "part_version_2": ("part files of version 2", lambda p: p[:4] + b"\2" + p[5:]),
        "manifest_length_bomb": ("the manifest claims 4 GiB", lambda p: p[:5] + b"\xff\xff\xff\xff" + p[9:]),
        "part_empty": ("part files of no bytes", lambda p: b""),
        "part_cut_in_manifest": ("part files end in the manifest", lambda p: p[:500]),
    }
    for name, (words, change) in fronts.items():
        error = "LimitError" if name.endswith("bomb") else "FormatError"
        made.append(Vector(name, words, [change(p) for p in parts], "refused", error))
    return made


def _long_integer(body: dict[str, Any]) -> bytes:
    """Return the body with the length of its first byte string in two bytes more than needed."""
    encoded = canonical.encode(body)
    at = encoded.index(b"\x58\x20")
    return encoded[:at] + b"\x59\x00\x20" + encoded[at + 2 :]


def _duplicate(body: dict[str, Any]) -> bytes:
    encoded = canonical.encode(body)
    extra = canonical.encode({"tiles": body["tiles"]})[1:]
    return bytes([encoded[0] + 1]) + encoded[1:] + extra


def _unsorted(body: dict[str, Any]) -> bytes:
    encoded = canonical.encode(body)
    pairs = [canonical.encode({k: v})[1:] for k, v in reversed(list(body.items()))]
    return encoded[:1] + b"".join(pairs)


def payloads() -> list[Vector]:
    """Authentic ciphertext around a payload that no writer makes: only a bug or the owner could."""
    data = PICTURE[:2000]
    good = (0, len(data), len(data), digest(data))
    bad = {"expect": "refused"}
    cases = [
        ("payload_by_hand", "a payload made by hand, to show that the next ones differ in one thing",
         payload_of([good], data), {"file": data}),
        ("payload_sum_wrong", "the segments do not add up to the file's length",
         payload_of([good], data, length=1999), {"error": "TamperedError", **bad}),
        ("payload_kind_unknown", "a segment of kind 9",
         payload_of([(9, 2000, 2000, digest(data))], data), {"error": "FormatError", **bad}),
        ("payload_segment_bomb", "a Zstandard segment claims 4 GiB",
         payload_of([(1, 2000, (1 << 32) - 1, digest(data))], data), {"error": "LimitError", **bad}),
        ("payload_index_bomb", "the index claims 4 GiB",
         (b"\xff\xff\xff\xff" + payload_of([good], data)[4:]), {"error": "LimitError", **bad}),
        ("payload_index_version", "an index of version 2",
         payload_of([good], data, v=2), {"error": "FormatError", **bad}),
        ("payload_segment_beyond", "a segment reaches beyond the payload",
         payload_of([(0, 9000, 9000, digest(data))], data), {"error": "TamperedError", **bad}),
        ("payload_raw_lengths_differ", "a raw segment with two lengths",
         payload_of([(0, 2000, 1000, digest(data))], data), {"error": "LimitError", **bad}),
    ]  # fmt: skip
    return [Vector(name, words, seal_payload(payload), **more) for name, words, payload, more in cases]  # type: ignore[arg-type]


def coded() -> list[Vector]:
    """Real codecs; the second reader checks these up to the payload."""
    frames = samples.load("mr-10-frames.dcm")
    from medveil.imaging.reader import read

    made = []
    for codec in ("archive", "ingest"):
        sinks = [io.BytesIO() for _ in range(2)]
        image = read(frames, name="")
        record = seal(image, sinks, owner=OWNER, options=SealOptions((2, 2), codec=codec))
        parts = [pack_part(record.manifest, record.envelopes, sink.getvalue()) for sink in sinks]
        made.append(Vector(f"codec_{codec}", f"ten MR frames coded for {codec}, with tile tags", parts, file=frames))
    return made


def everything() -> list[Vector]:
    """Return all vectors."""
    return [*clean(), *mended(), *lost(), *forged(), *malformed(), *payloads(), *coded()]


def main(folder: Path) -> int:
    """Write all vectors into a folder."""
    vectors = everything()
    for vector in vectors:
        (folder / f"{vector.name}.txt").write_text(vector.text(), encoding="ascii")
    print(f"{len(vectors)} vectors in {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent))
