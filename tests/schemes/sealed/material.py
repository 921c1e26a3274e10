"""What the tests of the sealed scheme share: real images, sealed once, and hand-made payloads."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from medveil.crypto import envelope
from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.padme import padme
from medveil.crypto.prg import SYSTEM
from medveil.imaging.reader import read_any
from medveil.schemes.base import Part
from medveil.schemes.sealed import BytesShare, Manifest, Mode, Opened, SealOptions, open_shares, pack_part, seal
from medveil.schemes.sealed.body import SealedRecord, _write
from medveil.schemes.sealed.format import Core
from medveil.schemes.sealed.modes import plan_keys
from medveil.schemes.sealed.source import Sealable

OWNER = OwnerKey.generate()
STRANGER = OwnerKey.generate()


@lru_cache(maxsize=32)
def load(data: Path, name: str) -> Sealable:
    """A file of the DICOM set, decoded where it can be."""
    return read_any(data / "dicom_zoo" / name)


@dataclass(frozen=True)
class Object:
    """One sealed object in memory."""

    record: SealedRecord
    shares: tuple[bytes, ...]
    original: bytes

    @property
    def manifest(self) -> Manifest:
        return self.record.parsed

    def parts(self) -> list[Part]:
        return [
            Part(index, pack_part(self.record.manifest, self.record.envelopes, share))
            for index, share in enumerate(self.shares, start=1)
        ]

    def open(self, shares: dict[int, bytes] | None = None, *, partial: bool = False) -> Opened:
        given = dict(enumerate(self.shares, start=1)) if shares is None else shares
        readers = {index: BytesShare(data) for index, data in given.items()}
        return open_shares(self.manifest, self.record.envelopes, readers, OWNER, partial=partial)


def make(
    source: Sealable,
    threshold: tuple[int, int] = (2, 3),
    *,
    mode: Mode = Mode.KEYED,
    chunk: int | None = 4096,
    codec: str = "archive",
    object_id: bytes | None = None,
    version: int = 1,
    owner: OwnerKey = OWNER,
) -> Object:
    """Seal in memory; with small chunks, so that even small images have several."""
    sinks = [io.BytesIO() for _ in range(threshold[1])]
    options = SealOptions(threshold, mode, codec, chunk)
    record = seal(source, sinks, owner=owner, options=options, object_id=object_id, version=version)
    original = source if isinstance(source, bytes) else getattr(source, "original", None) or b""
    return Object(record, tuple(sink.getvalue() for sink in sinks), original)


@dataclass
class _Bare:
    """A payload of any bytes, for what no builder makes."""

    data: bytes
    chunk: int = 4096

    @property
    def padded_len(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.data) + 1, self.chunk):
            yield self.data[start : start + self.chunk]


def forge(plaintext: bytes, *, tile_root: bytes = bytes(32), chunk: int = 4096, pad: bool = True) -> Object:
    """Seal hand-made plaintext as its owner would: authentic, and whatever its maker wanted."""
    wanted = padme(len(plaintext)) if pad else len(plaintext)
    payload = _Bare(plaintext + bytes(wanted - len(plaintext)), chunk)
    plan, salt = plan_keys(Mode.KEYED, 2, 3), SYSTEM.bytes(24)
    core = Core(SYSTEM.bytes(16), 1, bytes(16), 1, Mode.KEYED, 2, 3, chunk, payload.padded_len, "archive", salt)
    sinks: Sequence[io.BytesIO] = [io.BytesIO() for _ in range(3)]
    roots, commitment = _write(payload, core, plan, sinks, None, SYSTEM)  # type: ignore[arg-type]
    manifest = Manifest.sign(core, commitment, roots, tile_root, bytes(32), OWNER)
    sealed = (envelope.seal(OWNER.public.recipient, plan.sealed, core=manifest.core_bytes),)
    record = SealedRecord(manifest.data, sealed, manifest.share_names, manifest.share_sizes, manifest, plan.sealed)
    return Object(record, tuple(sink.getvalue() for sink in sinks), b"")


def flip(data: bytes, *places: int, bit: int = 0) -> bytes:
    changed = bytearray(data)
    for place in places:
        changed[place] ^= 1 << bit
    return bytes(changed)


def fragment_at(item: Object, chunk: int) -> tuple[int, int]:
    """Where the fragment of a chunk lies in each share object: (start, end)."""
    layout = item.manifest.layout
    return layout.place(chunk), layout.place(chunk) + layout.fragment(chunk)


def with_core(item: Object, **values: object) -> bytes:
    """The object's manifest with other values in its core, signed by its owner."""
    manifest = item.manifest
    core = replace(manifest.core, **values)  # type: ignore[arg-type]
    return Manifest.sign(
        core, manifest.commitment, manifest.share_roots, manifest.tile_root, manifest.previous, OWNER
    ).data
