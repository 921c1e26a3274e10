"""Format v1: what the bytes of a manifest, a share object and a part file mean.

::

    core      = canonical {v, suite, object, version, dataset, epoch, mode, k, n, chunk, padded, codec, salt}
    body      = canonical {core, commitment, roots: [32 B; n], tiles: 32 B, previous: 32 B, owner: 16 B}
    manifest  = length of body (u32) | body | hybrid signature of body (3373 B)
    record    = magic (4 B) | 1 | length of manifest (u32) | manifest | number of envelopes (u8)
                | for each: length (u32) | envelope
    part file = record with magic "MVPT" | share object;   manifest file = record with magic "MVMF"

    share object   = share header | fragment of chunk 0 | fragment of chunk 1 | ... | leaf list
    share header   = "MVSH" | 1 | index u8 | mode u8 | k u8 | n u8 | chunk u32 | padded u64 | object 16 B
                     | version u64 | length of extra u16 | extra
    leaf list      = leaf of the header, leaf of each chunk: 32 B each
    name of share  = Merkle root of its leaf list = its root in the manifest

Integers are big endian. Everything a reader allocates follows from sizes checked here first.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from medveil.crypto import canonical
from medveil.crypto.erasure import MAX_FRAGMENTS
from medveil.crypto.hashing import HASH_SIZE, merkle_root, tagged
from medveil.crypto.keyfile import OWNER_ID_SIZE, OwnerKey, OwnerPublic
from medveil.crypto.signatures import SIGNATURE_SIZE
from medveil.crypto.stream import COMMITMENT_SIZE, SALT_SIZE, TAG_SIZE, chunk_count
from medveil.errors import FormatError, InputError, LimitError, UsageError, WrongKeyError

VERSION: Final = 1
"""The only version of the format that this program reads and writes."""
SUITE: Final = "AES-256-GCM,HKDF-SHA-512,BLAKE3,RS-Cauchy-8,Ed25519+ML-DSA-65,X-Wing"
"""The only suite; there is no negotiation."""
OBJECT_ID_SIZE: Final = 16
"""Length of an object id and of a dataset id, in bytes."""
SMALL_CHUNK: Final = 1 << 16
"""Chunk of ordinary images, in bytes."""
LARGE_CHUNK: Final = 1 << 20
"""Chunk of volumes and large files, in bytes."""
MAX_PADDED: Final = 1 << 44
"""Largest padded payload, in bytes (16 TiB)."""
MAX_MANIFEST: Final = 16384
"""Largest manifest, in bytes."""

SHARE_MAGIC: Final = b"MVSH"

_CHUNK_SIZES: Final = (4096, SMALL_CHUNK, LARGE_CHUNK)
_DOMAIN: Final = "sealed manifest"
_HEADER: Final = struct.Struct(">4sBBBBBIQ16sQH")
_CODECS: Final = ("archive", "ingest", "none")
_MAX_EXTRA: Final = 64


class Mode(StrEnum):
    """Where the key and the secrecy come from; the value stands in `core`."""

    KEYED = "keyed"  # A: the key is in envelopes, the ciphertext is dispersed
    TWO_FACTOR = "two-factor"  # B: half of the key is in envelopes, the other Shamir-shared over the parts
    KEYLESS = "keyless"  # C: the whole key is Shamir-shared over the parts: any k holders can read
    PERFECT = "perfect"  # D: as A, and the ciphertext is shared by XOR or Shamir instead of dispersed

    @property
    def code(self) -> int:
        """The byte that stands for the mode in a share header."""
        return _MODES.index(self)


_MODES: Final = tuple(Mode)
# What a share header carries beside its fixed fields: a Shamir share of (half of) the key, or a shared blind that
# keeps the public hash of a perfect share from saying anything of it.
EXTRA_SIZE: Final = {Mode.KEYED: 0, Mode.TWO_FACTOR: 32, Mode.KEYLESS: 32, Mode.PERFECT: 64}
"""Length of the extra field of a share header, in bytes, by mode."""
MAX_PERFECT: Final = 16 << 20
"""Largest padded payload in mode D, in bytes: each share is as long as the whole."""


@dataclass(frozen=True, slots=True)
class Core:
    """What a key is bound to: the public description of one version of one object."""

    object_id: bytes
    version: int
    dataset: bytes
    epoch: int
    mode: Mode
    k: int
    n: int
    chunk: int
    padded_len: int
    codec: str
    salt: bytes

    def encode(self) -> bytes:
        """Return the canonical encoding, the one that the key derivation takes."""
        return canonical.encode(
            {
                "v": VERSION,
                "suite": SUITE,
                "object": self.object_id,
                "version": self.version,
                "dataset": self.dataset,
                "epoch": self.epoch,
                "mode": self.mode.value,
                "k": self.k,
                "n": self.n,
                "chunk": self.chunk,
                "padded": self.padded_len,
                "codec": self.codec,
                "salt": self.salt,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Core:
        """Read the canonical encoding.

        Raises FormatError for another form, version, suite, mode or codec; LimitError for sizes out of bounds.
        """
        record = canonical.decode(data, limit=MAX_MANIFEST)
        if not isinstance(record, dict) or record.get("v") != VERSION or isinstance(record.get("v"), bool):
            raise FormatError("the object is of an unknown format version: use a newer version of this program")
        if record.get("suite") != SUITE:
            raise FormatError("the object uses an unknown suite of algorithms: there is exactly one per version")
        _check_fields(record, _CORE_FIELDS, "the core")
        if record["mode"] not in list(Mode) or record["codec"] not in _CODECS:
            raise FormatError("the object is of an unknown mode or codec: use a newer version of this program")
        core = cls(
            object_id=record["object"],
            version=record["version"],
            dataset=record["dataset"],
            epoch=record["epoch"],
            mode=Mode(record["mode"]),
            k=record["k"],
            n=record["n"],
            chunk=record["chunk"],
            padded_len=record["padded"],
            codec=record["codec"],
            salt=record["salt"],
        )
        core.check()
        return core

    def check(self) -> None:
        """Refuse values that no object has. Raises FormatError, LimitError."""
        sizes = (len(self.object_id), len(self.dataset), len(self.salt))
        if sizes != (OBJECT_ID_SIZE, OBJECT_ID_SIZE, SALT_SIZE):
            raise FormatError("the object's ids or salt have wrong lengths")
        if not (1 <= self.k <= self.n <= MAX_FRAGMENTS) or (self.mode is not Mode.KEYED and self.k < 2):
            raise FormatError(f"there is no threshold {self.k} of {self.n} in mode {self.mode.value}")
        if min(self.version, self.epoch) < 0 or self.chunk not in _CHUNK_SIZES or self.padded_len < 0:
            raise FormatError("the object's version, epoch, chunk size or length is out of range")
        if self.padded_len > (MAX_PERFECT if self.mode is Mode.PERFECT else MAX_PADDED):
            raise LimitError(f"an object of {self.padded_len} bytes is larger than mode {self.mode.value} takes")


_CORE_FIELDS: Final[dict[str, type]] = {
    "v": int,
    "suite": str,
    "object": bytes,
    "version": int,
    "dataset": bytes,
    "epoch": int,
    "mode": str,
    "k": int,
    "n": int,
    "chunk": int,
    "padded": int,
    "codec": str,
    "salt": bytes,
}
_BODY_FIELDS: Final[dict[str, type]] = {
    "core": bytes,
    "commitment": bytes,
    "roots": list,
    "tiles": bytes,
    "previous": bytes,
    "owner": bytes,
}


def _check_fields(record: object, fields: dict[str, type], what: str) -> dict[str, Any]:
    if not isinstance(record, dict) or set(record) != set(fields):
        raise FormatError(f"{what} of the manifest has other fields than format v{VERSION}")
    for name, kind in fields.items():
        if type(record[name]) is not kind:
            raise FormatError(f"{what} of the manifest has a field {name} of a wrong type")
    return record


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes and places inside a share object; all follow from `core`."""

    count: int  # chunks
    chunk: int
    last: int  # plaintext bytes of the last chunk
    k: int
    header: int  # bytes of the share header
    whole: bool  # whether a fragment is as long as the chunk (mode D)

    @classmethod
    def of(cls, core: Core) -> Layout:
        """Work out the layout. Raises LimitError for too many chunks."""
        count = chunk_count(core.padded_len, core.chunk)
        header = _HEADER.size + EXTRA_SIZE[core.mode]
        return cls(count, core.chunk, core.padded_len % core.chunk, core.k, header, core.mode is Mode.PERFECT)

    def plaintext(self, index: int) -> int:
        """Plaintext bytes of chunk `index`."""
        return self.last if index == self.count - 1 else self.chunk

    def sealed(self, index: int) -> int:
        """Ciphertext bytes of chunk `index`, tag included."""
        return self.plaintext(index) + TAG_SIZE

    def fragment(self, index: int) -> int:
        """Bytes of one share's fragment of chunk `index`."""
        sealed = self.sealed(index)
        return sealed if self.whole else -(-sealed // self.k)

    def place(self, index: int) -> int:
        """Where the fragment of chunk `index` starts in the share object."""
        return self.header + index * self.fragment(0) if self.count > 1 else self.header

    @property
    def leaves(self) -> int:
        """Where the leaf list starts."""
        return self.place(self.count - 1) + self.fragment(self.count - 1)

    @property
    def size(self) -> int:
        """Bytes of the share object."""
        return self.leaves + HASH_SIZE * (self.count + 1)


@dataclass(frozen=True, slots=False, eq=False)
class Manifest:
    """A parsed manifest. `verify` is the only way to one whose origin is proved."""

    data: bytes
    core: Core
    core_bytes: bytes
    commitment: bytes
    share_roots: tuple[bytes, ...]
    tile_root: bytes
    previous: bytes
    owner_id: bytes

    @classmethod
    def verify(cls, data: bytes, owner: OwnerPublic) -> Manifest:
        """Parse a manifest and check that this owner signed it, with both algorithms.

        Raises FormatError, LimitError, TamperedError where the signature is not valid, WrongKeyError where it
        names another owner.
        """
        manifest = cls.parse_unverified(data)
        if manifest.owner_id != owner.owner_id:
            raise WrongKeyError("the manifest is of another owner: use the key that protected the object")
        body, signature = _split(data)
        owner.verifying.verify(_DOMAIN, body, signature)
        return manifest

    @classmethod
    def parse_unverified(cls, data: bytes) -> Manifest:
        """Parse a manifest without a proof of origin: nothing it says is to be believed yet.

        Raises FormatError, LimitError.
        """
        body, _ = _split(data)
        record = _check_fields(canonical.decode(body, limit=MAX_MANIFEST), _BODY_FIELDS, "the body")
        core = Core.decode(record["core"])
        roots = record["roots"]
        if len(roots) != core.n or not all(isinstance(root, bytes) and len(root) == HASH_SIZE for root in roots):
            raise FormatError("the manifest does not have one root for each share")
        sizes = tuple(len(record[name]) for name in ("commitment", "tiles", "previous", "owner"))
        if sizes != (COMMITMENT_SIZE, HASH_SIZE, HASH_SIZE, OWNER_ID_SIZE):
            raise FormatError("the manifest has hashes of wrong lengths")
        return cls(
            data=bytes(data),
            core=core,
            core_bytes=record["core"],
            commitment=record["commitment"],
            share_roots=tuple(roots),
            tile_root=record["tiles"],
            previous=record["previous"],
            owner_id=record["owner"],
        )

    @classmethod
    def sign(
        cls, core: Core, commitment: bytes, roots: Sequence[bytes], tiles: bytes, previous: bytes, owner: OwnerKey
    ) -> Manifest:
        """Make and sign a manifest. Raises InputError where `previous` is not 32 bytes."""
        if len(previous) != HASH_SIZE:
            raise InputError(f"the hash of the previous manifest has {len(previous)} bytes where {HASH_SIZE} belong")
        core_bytes = core.encode()
        body = encode_body(core_bytes, commitment, roots, tiles, previous, owner.owner_id)
        data = len(body).to_bytes(4, "big") + body + owner.signing.sign(_DOMAIN, body)
        return cls(data, core, core_bytes, commitment, tuple(roots), tiles, previous, owner.owner_id)

    @cached_property
    def digest(self) -> bytes:
        """Hash of the manifest's signed body: what the next version's `previous` holds."""
        return tagged("sealed manifest", _split(self.data)[0])

    @cached_property
    def layout(self) -> Layout:
        """Sizes and places inside a share object."""
        return Layout.of(self.core)

    @property
    def object_id(self) -> bytes:
        """16 random bytes, the same for all versions."""
        return self.core.object_id

    @property
    def version(self) -> int:
        """Version of the object."""
        return self.core.version

    @property
    def dataset(self) -> bytes:
        """16-byte id of the dataset."""
        return self.core.dataset

    @property
    def epoch(self) -> int:
        """Epoch of the dataset's keys."""
        return self.core.epoch

    @property
    def k(self) -> int:
        """How many shares suffice."""
        return self.core.k

    @property
    def n(self) -> int:
        """How many shares there are."""
        return self.core.n

    @property
    def mode(self) -> Mode:
        """Where key and secrecy come from."""
        return self.core.mode

    @property
    def chunk(self) -> int:
        """Chunk size, in bytes of plaintext."""
        return self.core.chunk

    @property
    def padded_len(self) -> int:
        """Padded length of the payload, in bytes."""
        return self.core.padded_len

    @property
    def share_names(self) -> tuple[str, ...]:
        """Name of each share object in a store: the hex form of its root."""
        return tuple(root.hex() for root in self.share_roots)

    @property
    def share_sizes(self) -> tuple[int, ...]:
        """Size of each share object, in bytes."""
        return (self.layout.size,) * self.n


def encode_body(
    core: bytes, commitment: bytes, roots: Sequence[bytes], tiles: bytes, previous: bytes, owner: bytes
) -> bytes:
    """Return the signed body of a manifest."""
    return canonical.encode(
        {
            "core": core,
            "commitment": commitment,
            "roots": list(roots),
            "tiles": tiles,
            "previous": previous,
            "owner": owner,
        }
    )


def _split(data: bytes) -> tuple[bytes, bytes]:
    """Return body and signature of a manifest."""
    if len(data) > MAX_MANIFEST:
        raise LimitError(f"a manifest of {len(data)} bytes is larger than any ({MAX_MANIFEST})")
    length = int.from_bytes(data[:4], "big")
    if len(data) != 4 + length + SIGNATURE_SIZE:
        raise FormatError("the manifest has a wrong length: it was truncated, extended or damaged")
    return bytes(data[4 : 4 + length]), bytes(data[4 + length :])


# ------------------------------------------------------------------------------------------------- share headers


@dataclass(frozen=True, slots=True)
class ShareHeader:
    """What a share object says of itself; believed only where its leaf leads to the signed root."""

    index: int  # 1-based
    mode: Mode
    k: int
    n: int
    chunk: int
    padded_len: int
    object_id: bytes
    version: int
    extra: bytes = b""

    @classmethod
    def of(cls, core: Core, index: int, extra: bytes) -> ShareHeader:
        """Return the header of share `index` (1-based) of an object. Raises UsageError for a wrong extra field."""
        if len(extra) != EXTRA_SIZE[core.mode]:
            raise UsageError(f"a share in mode {core.mode.value} carries {EXTRA_SIZE[core.mode]} extra bytes")
        return cls(index, core.mode, core.k, core.n, core.chunk, core.padded_len, core.object_id, core.version, extra)

    def encode(self) -> bytes:
        """Return the bytes of the header."""
        fixed = _HEADER.pack(
            SHARE_MAGIC,
            VERSION,
            self.index,
            self.mode.code,
            self.k,
            self.n,
            self.chunk,
            self.padded_len,
            self.object_id,
            self.version,
            len(self.extra),
        )
        return fixed + self.extra

    @classmethod
    def decode(cls, data: bytes) -> ShareHeader:
        """Read a header. Raises FormatError where it is none of a known version and mode."""
        if len(data) < _HEADER.size or data[:4] != SHARE_MAGIC:
            raise FormatError("this is not a share object: its first bytes are others")
        _, version, index, mode, k, n, chunk, padded, object_id, number, extra = _HEADER.unpack_from(data)
        if version != VERSION or mode >= len(_MODES) or extra > _MAX_EXTRA:
            raise FormatError("the share object is of an unknown version or mode")
        tail = bytes(data[_HEADER.size : _HEADER.size + extra])
        if len(tail) != extra:
            raise FormatError("the share object is cut short")
        return cls(index, _MODES[mode], k, n, chunk, padded, object_id, number, tail)


HEADER_READ: Final = _HEADER.size + _MAX_EXTRA
"""How many bytes at the start of a share object hold its header."""


class LeafHasher:
    """Makes the leaves of one share: tagged hash of (share, object, version, chunk, bytes)."""

    __slots__ = ("_prefix",)

    def __init__(self, core: Core, index: int) -> None:
        self._prefix = bytes([index]) + core.object_id + core.version.to_bytes(8, "big")

    def header(self, header: bytes) -> bytes:
        """Leaf of the header."""
        return tagged("share header", self._prefix, header)

    def fragment(self, chunk: int, data: bytes | memoryview) -> bytes:
        """Leaf of the fragment of chunk `chunk` (0-based)."""
        return tagged("share fragment", self._prefix + chunk.to_bytes(8, "big"), data)


def share_root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle root of a share's leaf list: its name."""
    return merkle_root(leaves)
