"""A second reader of the sealed format, after docs/schemes/sealed.md.

One file, plain Python over `cryptography`; it shares no code with medveil. It is slow and small, opens objects of
every mode from their part files, and says which of a few classes a file falls into. The vectors beside it hold
for both readers, which is what makes the page a specification.

    python decoder.py owner-root.hex PART... > payload
"""

from __future__ import annotations

import hashlib
import struct
import sys
from itertools import combinations
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand


class Refused(Exception):
    """The input is not authentic or not of this format; `kind` is the vectors' word for it."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


# ------------------------------------------------------------------------------------------------------- BLAKE3

_IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_START, _END, _PARENT, _ROOT, _KEYED, _CONTEXT, _MATERIAL = 1, 2, 4, 8, 16, 32, 64
_M = 0xFFFFFFFF


def _mix(v: list[int], a: int, b: int, c: int, d: int, x: int, y: int) -> None:
    for word, first, second in ((x, 16, 12), (y, 8, 7)):
        v[a] = (v[a] + v[b] + word) & _M
        v[d] ^= v[a]
        v[d] = (v[d] >> first | v[d] << (32 - first)) & _M
        v[c] = (v[c] + v[d]) & _M
        v[b] ^= v[c]
        v[b] = (v[b] >> second | v[b] << (32 - second)) & _M


def _compress(cv: tuple[int, ...], block: bytes, counter: int, flags: int) -> tuple[int, ...]:
    m = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    v = [*cv, *_IV[:4], counter & _M, counter >> 32, len(block), flags]
    for _ in range(7):
        for i in range(4):
            _mix(v, i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1])
        for i in range(4):
            _mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i])
        m = [m[i] for i in _ORDER]
    return tuple(v[i] ^ v[i + 8] for i in range(8))


def _chunk(key: tuple[int, ...], data: bytes, counter: int, flags: int, root: int) -> tuple[int, ...]:
    cv, last = key, max(0, (len(data) - 1) // 64)
    for i in range(last + 1):
        mark = (_START if i == 0 else 0) | (_END | root if i == last else 0)
        cv = _compress(cv, data[64 * i : 64 * i + 64], counter, flags | mark)
    return cv


def _subtree(key: tuple[int, ...], data: bytes, counter: int, flags: int, root: int) -> tuple[int, ...]:
    if len(data) <= 1024:
        return _chunk(key, data, counter, flags, root)
    left = 1024
    while left * 2 < len(data):
        left *= 2
    children = _subtree(key, data[:left], counter, flags, 0) + _subtree(
        key, data[left:], counter + left // 1024, flags, 0
    )
    return _compress(key, struct.pack("<16I", *children), 0, flags | _PARENT | root)


def blake3(data: bytes, *, key: bytes = b"", context: str = "") -> bytes:
    """Return the 32-byte BLAKE3 hash of `data`, keyed, or under a derive-key context."""
    words, flags = _IV, 0
    if key:
        words, flags = struct.unpack("<8I", key), _KEYED
    if context:
        words, flags = _subtree(_IV, context.encode(), 0, _CONTEXT, _ROOT), _MATERIAL
    return struct.pack("<8I", *_subtree(words, data, 0, flags, _ROOT))


def tagged(tag: str, *parts: bytes) -> bytes:
    """Hash parts, each preceded by its length, under a tag."""
    return blake3(b"".join(len(p).to_bytes(8, "big") + p for p in parts), context="medveil v1 " + tag)


def merkle_root(leaves: list[bytes]) -> bytes:
    """Return the root of a tree of RFC 6962's shape."""
    tree = blake3(b"", context="medveil v1 merkle tree")
    if not leaves:
        raise Refused("format", "a tree without leaves")
    level = [blake3(b"\0" + leaf, key=tree) for leaf in leaves]

    def root(nodes: list[bytes]) -> bytes:
        if len(nodes) == 1:
            return nodes[0]
        split = 1
        while split * 2 < len(nodes):
            split *= 2
        return blake3(b"\1" + root(nodes[:split]) + root(nodes[split:]), key=tree)

    return root(level)


# ------------------------------------------------------------------------------------- deterministic CBOR subset


def cbor_decode(data: bytes) -> object:
    """Decode RFC 8949 4.2.1 deterministic CBOR: integers, bytes, text, arrays, maps, booleans, null."""
    value, end = _item(data, 0, 0)
    if end != len(data):
        raise Refused("format", "bytes after the record")
    return value


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    if at >= len(data):
        raise Refused("format", "the record is cut short")
    major, info = data[at] >> 5, data[at] & 31
    if info < 24:
        return major, info, at + 1
    if info > 27:
        raise Refused("format", "an indefinite or reserved length")
    size = 1 << (info - 24)
    if at + 1 + size > len(data):
        raise Refused("format", "the record is cut short")
    value = int.from_bytes(data[at + 1 : at + 1 + size], "big")
    if value < (24, 1 << 8, 1 << 16, 1 << 32)[info - 24]:
        raise Refused("format", "a number that is not in its shortest form")
    return major, value, at + 1 + size


def _item(data: bytes, at: int, depth: int) -> tuple[object, int]:
    if depth > 16:
        raise Refused("format", "nested too deeply")
    start = at
    major, value, at = _head(data, at)
    if major in (0, 1):
        return (value if major == 0 else -1 - value), at
    if major in (2, 3):
        if at + value > len(data):
            raise Refused("format", "the record is cut short")
        raw = data[at : at + value]
        try:
            return (raw if major == 2 else raw.decode("utf-8")), at + value
        except UnicodeDecodeError:
            raise Refused("format", "text that is not UTF-8") from None
    if major == 4:
        items = []
        for _ in range(min(value, len(data) + 1)):
            item, at = _item(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5:
        return _map(data, at, value, depth)
    if major == 7 and data[start] in (0xF4, 0xF5, 0xF6):
        return {0xF4: False, 0xF5: True, 0xF6: None}[data[start]], at
    raise Refused("format", "a form that the format does not use")


def _map(data: bytes, at: int, count: int, depth: int) -> tuple[dict[object, object], int]:
    found: dict[object, object] = {}
    previous = b""
    for _ in range(min(count, len(data) + 1)):
        key_start = at
        key, at = _item(data, at, depth + 1)
        encoded = data[key_start:at]
        if not isinstance(key, int | str) or encoded <= previous:
            raise Refused("format", "map keys that are not sorted, not unique, or of a strange type")
        previous = encoded
        found[key], at = _item(data, at, depth + 1)
    return found, at


def cbor_encode(value: object) -> bytes:
    """Encode what `cbor_decode` reads."""
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if isinstance(value, int):
        return _encoded_head(0, value) if value >= 0 else _encoded_head(1, -1 - value)
    if isinstance(value, bytes):
        return _encoded_head(2, len(value)) + value
    if isinstance(value, str):
        return _encoded_head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return _encoded_head(4, len(value)) + b"".join(map(cbor_encode, value))
    if isinstance(value, dict):
        pairs = sorted((cbor_encode(k), cbor_encode(v)) for k, v in value.items())
        return _encoded_head(5, len(pairs)) + b"".join(k + v for k, v in pairs)
    raise TypeError(type(value))


def _encoded_head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << (8 * size):
            return bytes([major << 5 | info]) + value.to_bytes(size, "big")
    raise ValueError(value)


# ------------------------------------------------------------------------------------------------ GF(256) codes


def _field(polynomial: int, generator: int) -> tuple[list[int], list[int]]:
    exp, log, x = [0] * 512, [0] * 256, 1
    for i in range(255):
        exp[i] = exp[i + 255] = x
        log[x] = i
        product, a, b = 0, x, generator
        while b:
            if b & 1:
                product ^= a
            a <<= 1
            if a & 256:
                a ^= polynomial
            b >>= 1
        x = product
    return exp, log


_RS_EXP, _RS_LOG = _field(0x11D, 2)
_SH_EXP, _SH_LOG = _field(0x11B, 3)


def _mul(a: int, b: int, exp: list[int], log: list[int]) -> int:
    return exp[log[a] + log[b]] if a and b else 0


def _row(factor: int, data: bytes, exp: list[int], log: list[int]) -> bytes:
    return data.translate(bytes(_mul(factor, b, exp, log) for b in range(256)))


def _xor(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")


def rs_matrix(k: int, n: int) -> list[list[int]]:
    """Return the generator matrix: the identity above 1 / (i xor j); k = 1 is plain replication."""
    if k == 1:
        return [[1]] * n
    top = [[int(i == j) for j in range(k)] for i in range(k)]
    return top + [[_RS_EXP[255 - _RS_LOG[i ^ j]] for j in range(k)] for i in range(k, n)]


def rs_decode(k: int, n: int, fragments: dict[int, bytes], length: int) -> bytes:
    """Give `length` bytes back from k fragments, numbered from 0, by Gauss-Jordan elimination."""
    chosen = sorted(fragments)[:k]
    matrix = [rs_matrix(k, n)[i] for i in chosen]
    data = [fragments[i] for i in chosen]
    for column in range(k):
        pivot = next(r for r in range(column, k) if matrix[r][column])
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        data[column], data[pivot] = data[pivot], data[column]
        inverse = _RS_EXP[255 - _RS_LOG[matrix[column][column]]]
        matrix[column] = [_mul(inverse, v, _RS_EXP, _RS_LOG) for v in matrix[column]]
        data[column] = _row(inverse, data[column], _RS_EXP, _RS_LOG)
        for r in range(k):
            factor = matrix[r][column]
            if r != column and factor:
                matrix[r] = [
                    a ^ _mul(factor, b, _RS_EXP, _RS_LOG) for a, b in zip(matrix[r], matrix[column], strict=True)
                ]
                data[r] = _xor(data[r], _row(factor, data[column], _RS_EXP, _RS_LOG))
    return b"".join(data)[:length]


def shamir_combine(shares: dict[int, bytes]) -> bytes:
    """Give a Shamir secret back: Lagrange at 0 over GF(2^8) with 0x11b."""
    secret = bytes(len(next(iter(shares.values()))))
    for x, share in shares.items():
        factor = 1
        for other in shares:
            if other != x:
                inverse = _SH_EXP[255 - _SH_LOG[x ^ other]]
                factor = _mul(factor, _mul(other, inverse, _SH_EXP, _SH_LOG), _SH_EXP, _SH_LOG)
        secret = _xor(secret, _row(factor, share, _SH_EXP, _SH_LOG))
    return secret


# --------------------------------------------------------------------------------------------------------- keys

_ROOT_LABEL = b"medveil/v1/owner root/"
_SIGN_LABEL = b"medveil/v1/signature+Ed25519+ML-DSA-65\x00"
_SEAL_LABEL = b"medveil/v1/envelope+X-Wing+HKDF-SHA256+AES-256-GCM\x00"
_STREAM_LABEL = b"medveil/v1/stream+AEAD_AES_256_GCM\x00"
_SUITE = "AES-256-GCM,HKDF-SHA-512,BLAKE3,RS-Cauchy-8,Ed25519+ML-DSA-65,X-Wing"


def expand(secret: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand-SHA-512."""
    return HKDFExpand(hashes.SHA512(), size, info).derive(secret)


class Owner:
    """What is derived from an owner's root of 32 bytes."""

    def __init__(self, root: bytes) -> None:
        seeds = expand(expand(root, _ROOT_LABEL + b"signing", 32), _SIGN_LABEL + b"seeds", 64)
        self.ed25519 = Ed25519PrivateKey.from_private_bytes(seeds[:32]).public_key()
        self.mldsa = MLDSA65PrivateKey.from_seed_bytes(seeds[32:]).public_key()
        encoded = self.ed25519.public_bytes_raw() + self.mldsa.public_bytes_raw()
        self.signing_id = tagged("verifying key", encoded)[:16]
        wide = hashlib.shake_256(expand(root, _ROOT_LABEL + b"recipient", 32)).digest(96)
        mlkem = MLKEM768PrivateKey.from_seed_bytes(wide[:64])
        x25519 = X25519PrivateKey.from_private_bytes(wide[64:])
        self.hpke = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
        public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        self.recipient_id = tagged("recipient key", public)[:16]
        self.owner_id = expand(root, _ROOT_LABEL + b"owner id", 16)

    def verify(self, domain: bytes, message: bytes, signature: bytes) -> None:
        """Check both signatures."""
        signed = _SIGN_LABEL + bytes([len(domain)]) + domain + self.signing_id + message
        try:
            self.ed25519.verify(signature[:64], signed)
            self.mldsa.verify(signature[64:], signed)
        except InvalidSignature:
            raise Refused("tampered", "the manifest is not signed by this owner") from None

    def open_envelope(self, envelope: bytes, core: bytes) -> bytes | None:
        """Return what an envelope holds, or None where it is not for this owner and object."""
        suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
        try:
            return suite.decrypt(envelope, self.hpke, info=_SEAL_LABEL + core + self.recipient_id)
        except (InvalidTag, ValueError):
            return None


# ------------------------------------------------------------------------------------------------------- records

_MODES = ("keyed", "two-factor", "keyless", "perfect")
_EXTRA = (0, 32, 32, 64)
_SHARE = struct.Struct(">4sBBBBBIQ16sQH")


def _field(data: bytes, at: int, most: int) -> tuple[bytes, int]:
    size = int.from_bytes(data[at : at + 4], "big")
    if size > most or at + 4 + size > len(data):
        raise Refused("format", "a field is longer than allowed or cut short")
    return data[at + 4 : at + 4 + size], at + 4 + size


class Manifest:
    """A verified manifest and the sizes that follow from it."""

    def __init__(self, data: bytes, owner: Owner) -> None:
        length = int.from_bytes(data[:4], "big")
        if len(data) != 4 + length + 3373:
            raise Refused("format", "a manifest of a wrong length")
        body = data[4 : 4 + length]
        record = cbor_decode(body)
        if not isinstance(record, dict) or set(record) != {"core", "commitment", "roots", "tiles", "previous", "owner"}:
            raise Refused("format", "a body of unknown fields")
        self.core_bytes = record["core"]
        core = cbor_decode(self.core_bytes) if isinstance(self.core_bytes, bytes) else None
        fields = "v suite object version dataset epoch mode k n chunk padded codec salt"
        if not isinstance(core, dict) or set(core) != set(fields.split()):
            raise Refused("format", "a core of unknown fields")
        if core["v"] != 1 or core["v"] is True or core["suite"] != _SUITE or core["mode"] not in _MODES:
            raise Refused("format", "an unknown version, suite or mode")
        if record["owner"] != owner.owner_id:
            raise Refused("wrong key", "another owner's manifest")
        owner.verify(b"sealed manifest", body, data[4 + length :])
        self.digest = tagged("sealed manifest", body)
        self.roots: list[bytes] = record["roots"]
        self.commitment: bytes = record["commitment"]
        self.mode: str = core["mode"]
        self.k, self.n = int(core["k"]), int(core["n"])
        self.salt: bytes = core["salt"]
        self.object: bytes = core["object"]
        self.version = int(core["version"])
        self.chunk, self.padded = int(core["chunk"]), int(core["padded"])
        if not (1 <= self.k <= self.n <= 32 and self.chunk in (4096, 65536, 1 << 20) and 0 <= self.padded <= 1 << 44):
            raise Refused("format", "sizes out of range")
        if len(self.roots) != self.n or any(len(root) != 32 for root in self.roots):
            raise Refused("format", "not one root for each share")
        self.count = self.padded // self.chunk + 1
        self.header = _SHARE.size + _EXTRA[_MODES.index(self.mode)]

    def sealed(self, chunk: int) -> int:
        """Ciphertext bytes of a chunk."""
        return (self.padded % self.chunk if chunk == self.count - 1 else self.chunk) + 16

    def fragment(self, chunk: int) -> int:
        """Bytes of one share's piece of a chunk."""
        return self.sealed(chunk) if self.mode == "perfect" else -(-self.sealed(chunk) // self.k)

    def place(self, chunk: int) -> int:
        """Where the piece of a chunk starts in a share."""
        return self.header + sum(self.fragment(0) for _ in range(min(chunk, self.count - 1)))

    @property
    def leaves(self) -> int:
        """Where the leaf list starts."""
        return self.place(self.count - 1) + self.fragment(self.count - 1)


class Share:
    """One share object, held against a manifest: `good` pieces have a leaf that leads to the signed root."""

    def __init__(self, data: bytes, manifest: Manifest) -> None:
        m = manifest
        self.index, self.extra = 0, b""
        self.pieces: dict[int, bytes] = {}
        self.good: set[int] = set()
        self.whole = False
        raw = data[m.leaves :]
        leaves = [raw[i : i + 32] for i in range(0, len(raw), 32)]
        listed = len(leaves) == m.count + 1 and all(len(leaf) == 32 for leaf in leaves)
        root = merkle_root(leaves) if listed else b""
        if root in m.roots:
            self.index = m.roots.index(root) + 1
        elif len(data) >= _SHARE.size and data[:4] == b"MVSH":
            head = _SHARE.unpack_from(data)
            if head[8] == m.object and head[9] == m.version and 1 <= head[2] <= m.n:
                self.index = head[2]
        if not self.index:
            return
        prefix = bytes([self.index]) + m.object + m.version.to_bytes(8, "big")
        self.extra = data[_SHARE.size : m.header]
        for chunk in range(m.count):
            start = m.place(chunk)
            piece = data[start : start + m.fragment(chunk)]
            if len(piece) == m.fragment(chunk):
                self.pieces[chunk] = piece
                leaf = tagged("share fragment", prefix + chunk.to_bytes(8, "big"), piece)
                if root in m.roots and leaf == leaves[chunk + 1]:
                    self.good.add(chunk)
        header = tagged("share header", prefix, data[: m.header])
        self.header_good = root in m.roots and header == leaves[0]
        self.whole = self.header_good and len(self.good) == m.count and len(data) == m.leaves + 32 * (m.count + 1)


# ------------------------------------------------------------------------------------------------------- opening


def open_parts(owner: Owner, parts: list[bytes]) -> tuple[bytes, Manifest, list[int]]:
    """Return the payload, the manifest that counts, and the indices of shares that are missing or damaged.

    Raises Refused; its kind is "unrecoverable" where too little is left.
    """
    manifests: dict[bytes, Manifest] = {}
    votes: dict[bytes, int] = {}
    envelopes: list[bytes] = []
    bodies: list[bytes] = []
    refusals: list[Refused] = []
    for part in parts:
        try:
            if part[:5] != b"MVPT\x01":
                raise Refused("format", "not a part file of version 1")
            manifest, at = _field(part, 5, 16384)
            count, at = part[at], at + 1
            own = []
            for _ in range(count):
                envelope, at = _field(part, at, 4096)
                own.append(envelope)
            bodies.append(part[at:])
            envelopes += own
            found = Manifest(manifest, owner)
            manifests[found.digest] = found
            votes[found.digest] = votes.get(found.digest, 0) + 1
        except (Refused, IndexError) as error:
            refusals.append(error if isinstance(error, Refused) else Refused("format", "cut short"))
    if not manifests:
        raise refusals[0] if refusals else Refused("unrecoverable", "no parts")
    m = manifests[max(votes, key=lambda digest: (manifests[digest].version, votes[digest]))]
    shares = {s.index: s for s in (Share(body, m) for body in bodies) if s.index}
    key = _key(owner, m, shares, envelopes)
    plain = [_open_chunk(m, shares, key, chunk) for chunk in range(m.count)]
    bad = [i for i in range(1, m.n + 1) if i not in shares or not shares[i].whole]
    return b"".join(plain), m, bad


def _key(owner: Owner, m: Manifest, shares: dict[int, Share], envelopes: list[bytes]) -> bytes:
    """Return key | nonce, the one whose commitment is the manifest's."""
    opened = [found for e in envelopes if (found := owner.open_envelope(e, m.core_bytes)) is not None]
    candidates = [] if m.mode == "keyless" else opened
    if m.mode in ("two-factor", "keyless"):
        extras = {i: s.extra for i, s in shares.items() if len(s.extra) == 32}
        if len(extras) < m.k:
            raise Refused("unrecoverable", "too few parts of the key")
        halves = [shamir_combine({i: extras[i] for i in some}) for some in combinations(sorted(extras), m.k)]
        candidates = halves if m.mode == "keyless" else [_xor(h, a) for h in halves for a in opened if len(a) == 32]
    for dek in candidates:
        okm = expand(dek, _STREAM_LABEL + m.salt + m.core_bytes, 76)
        if okm[44:] == m.commitment:
            return okm[:44]
    raise Refused("wrong key", "no envelope opens, or not to the key that the manifest commits to")


def _open_chunk(m: Manifest, shares: dict[int, Share], key: bytes, chunk: int) -> bytes:
    """Join k pieces of a chunk and open it; good pieces first, then every choice of k."""
    have = {i: s.pieces[chunk] for i, s in shares.items() if chunk in s.pieces}
    good = [i for i in have if chunk in shares[i].good]
    if len(have) < m.k:
        raise Refused("unrecoverable", f"chunk {chunk} has too few pieces")
    nonce = (int.from_bytes(key[32:], "big") ^ chunk).to_bytes(12, "big")
    tries = [tuple(good[: m.k])] if len(good) >= m.k else []
    for some in [*tries, *combinations(sorted(have), m.k)]:
        pieces = {i: have[i] for i in some}
        if m.mode != "perfect":
            sealed = rs_decode(m.k, m.n, {i - 1: p for i, p in pieces.items()}, m.sealed(chunk))
        elif m.k == m.n:
            sealed = bytes(m.sealed(chunk))
            for piece in pieces.values():
                sealed = _xor(sealed, piece)
        else:
            sealed = shamir_combine(pieces)
        try:
            return AESGCM(key[:32]).decrypt(nonce, sealed, None)
        except InvalidTag:
            continue
    raise Refused("unrecoverable", f"chunk {chunk} does not open from any {m.k} pieces")


def file_of(payload: bytes) -> bytes | None:
    """Return the file in a payload, or None where a segment is coded by a codec that this reader leaves out."""
    length = int.from_bytes(payload[:4], "big")
    index = cbor_decode(payload[4 : 4 + length])
    fields = {"v", "length", "media", "name", "pixels", "tags", "rows"}
    if not isinstance(index, dict) or set(index) != fields or index["v"] != 1 or not isinstance(index["rows"], bytes):
        raise Refused("format", "an index of unknown form")
    out, at = [], 4 + length
    coded_away = False
    for kind, coded, decoded, _ in struct.iter_unpack(">BII16s", index["rows"]):
        data, at = payload[at : at + coded], at + coded
        if kind not in (0, 1, 2, 3, 4, 16) or decoded > (1 << 30 if kind in (0, 16) else 16 << 20):
            raise Refused("format", "a segment of unknown kind or unbelievable size")
        if len(data) != coded or (kind in (0, 16) and coded != decoded):
            raise Refused("tampered", "a segment is not what the index says")
        if kind == 0:
            out.append(data)
        coded_away |= kind not in (0, 16)
    if coded_away:
        return None
    if len(b"".join(out)) != index["length"]:
        raise Refused("tampered", "the segments do not add up to the file")
    return b"".join(out)


def main(arguments: list[str]) -> int:
    """Open parts from the command line."""
    root = bytes.fromhex(Path(arguments[0]).read_text().strip())
    payload, _, bad = open_parts(Owner(root), [Path(name).read_bytes() for name in arguments[1:]])
    sys.stderr.write(f"missing or damaged: {bad or 'none'}\n")
    sys.stdout.buffer.write(payload)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
