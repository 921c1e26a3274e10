"""`seal`: encrypt first, then split. Chunk by chunk, so that memory does not grow with the object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from medveil.crypto import envelope
from medveil.crypto.envelope import RecipientKey
from medveil.crypto.hashing import HASH_SIZE
from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.crypto.stream import SALT_SIZE, StreamKey
from medveil.errors import InputError, LimitError, UsageError
from medveil.imaging.roi import ROI
from medveil.schemes.sealed.build import Payload
from medveil.schemes.sealed.format import (
    OBJECT_ID_SIZE,
    Core,
    Layout,
    LeafHasher,
    Manifest,
    Mode,
    ShareHeader,
    share_root,
)
from medveil.schemes.sealed.modes import KeyPlan, disperser, plan_keys
from medveil.schemes.sealed.records import MAX_ENVELOPES
from medveil.schemes.sealed.source import Sealable, open_source
from medveil.schemes.sealed.tiles import BLIND_SIZE, tile_key
from medveil.schemes.sealed.workers import ALONE, ordered

_WINDOW: Final = 4

Progress = Callable[[int, int], None]


class SupportsWrite(Protocol):
    """Where a share object is written, front to back."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""
        ...


@dataclass(frozen=True, slots=True)
class SealOptions:
    """How to seal. threshold: (k, n), any k of n shares suffice. mode: see `modes`. codec: "archive", "ingest" or
    "none". chunk: bytes of plaintext in a chunk, 65536 or 1048576; None chooses by size.
    """

    threshold: tuple[int, int] = (2, 4)
    mode: Mode = Mode.KEYED
    codec: str = "archive"
    chunk: int | None = None


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """What sealing gives beside the shares. The secret `key` is what the envelopes hold."""

    manifest: bytes
    envelopes: tuple[bytes, ...]
    share_names: tuple[str, ...]
    share_sizes: tuple[int, ...]
    parsed: Manifest
    key: bytes


def seal(
    source: Sealable,
    sinks: Sequence[SupportsWrite],
    *,
    owner: OwnerKey,
    options: SealOptions | None = None,
    roi: ROI = (),
    dataset: bytes = bytes(OBJECT_ID_SIZE),
    object_id: bytes | None = None,
    version: int = 1,
    epoch: int = 1,
    previous: bytes = bytes(HASH_SIZE),
    recipients: Sequence[RecipientKey] = (),
    key: bytes | None = None,
    progress: Progress | None = None,
    rng: Randomness = SYSTEM,
) -> SealedRecord:
    """Seal an input: write share object j to sinks[j - 1] and return the signed manifest and the envelopes.

    The first envelope is the owner's own; mode C has none. object_id: None for a new object, else with a higher
    `version` and the `digest` of the last manifest as `previous`. key: what the envelopes hold, 32 bytes that are used
    for this object and version only, random by default. progress(done, total) counts payload bytes.

    Raises UsageError for options that do not exist or another number of sinks than n, InputError where the input
    cannot be read, changes meanwhile, or `roi` does not lie in it, and LimitError beyond the bounds of the format.
    """
    options = options or SealOptions()
    if len(sinks) != options.threshold[1]:
        raise UsageError(f"{options.threshold[1]} shares do not fit {len(sinks)} places: give one for each")
    return seal_into(
        source,
        lambda _core: sinks,
        owner=owner,
        options=options,
        roi=roi,
        dataset=dataset,
        object_id=object_id,
        version=version,
        epoch=epoch,
        previous=previous,
        recipients=recipients,
        key=key,
        progress=progress,
        rng=rng,
    )


def seal_into(
    source: Sealable,
    open_sinks: Callable[[Core], Sequence[SupportsWrite]],
    *,
    owner: OwnerKey,
    options: SealOptions,
    roi: ROI = (),
    dataset: bytes = bytes(OBJECT_ID_SIZE),
    object_id: bytes | None = None,
    version: int = 1,
    epoch: int = 1,
    previous: bytes = bytes(HASH_SIZE),
    recipients: Sequence[RecipientKey] = (),
    key: bytes | None = None,
    progress: Progress | None = None,
    rng: Randomness = SYSTEM,
) -> SealedRecord:
    """As `seal`, with sinks that are opened when the core, and with it every size, is known."""
    _check_options(options, len(recipients))
    k, n = options.threshold
    identity = rng.bytes(OBJECT_ID_SIZE) if object_id is None else object_id
    if len(identity) != OBJECT_ID_SIZE or len(dataset) != OBJECT_ID_SIZE or not 0 <= version < 1 << 64:
        raise UsageError("an object's id and dataset have 16 bytes each and its version 64 bits")
    plan, salt = plan_keys(options.mode, k, n, rng, key=key), rng.bytes(SALT_SIZE)
    tiles = tile_key(plan.dek, identity, version, salt)
    opened = open_source(source)
    try:
        with Payload(
            opened, codec=options.codec, roi=roi, key=tiles, blind=rng.bytes(BLIND_SIZE), chunk=options.chunk
        ) as payload:
            core = Core(
                identity,
                version,
                dataset,
                epoch,
                options.mode,
                k,
                n,
                payload.chunk,
                payload.padded_len,
                options.codec,
                salt,
            )
            core.check()
            roots, commitment = _write(payload, core, plan, open_sinks(core), progress, rng)
            tile_root = payload.tile_root
    finally:
        opened.close()
    manifest = Manifest.sign(core, commitment, roots, tile_root, previous, owner)
    envelopes = _envelopes(manifest, plan, [owner.public.recipient, *recipients])
    return SealedRecord(manifest.data, envelopes, manifest.share_names, manifest.share_sizes, manifest, plan.sealed)


def _check_options(options: SealOptions, recipients: int) -> None:
    k, n = options.threshold
    if options.mode not in list(Mode):
        raise UsageError(f"there is no mode {options.mode!r}: choose one of {', '.join(Mode)}")
    if options.codec not in ("archive", "ingest", "none"):
        raise UsageError(f"there is no codec {options.codec!r}: choose archive, ingest or none")
    if options.chunk not in (None, 4096, 1 << 16, 1 << 20):
        raise UsageError("chunks have 4096, 65536 or 1048576 bytes: leave it out to choose by size")
    if not (1 <= k <= n <= 32) or (k < 2 and options.mode is not Mode.KEYED):
        raise UsageError(
            f"a threshold of {k} of {n} in mode {options.mode}: 1 <= k <= n <= 32, and k >= 2 beyond keyed"
        )
    if recipients >= MAX_ENVELOPES:
        raise LimitError(f"{recipients} recipients at once: seal to at most {MAX_ENVELOPES - 1} and grant the others")


def _write(
    payload: Payload,
    core: Core,
    plan: KeyPlan,
    sinks: Sequence[SupportsWrite],
    progress: Progress | None,
    rng: Randomness,
) -> tuple[list[bytes], bytes]:
    """Write all share objects; return their roots and the key commitment."""
    key = StreamKey.derive(plan.dek, core.encode(), core.salt)
    layout, split = Layout.of(core), disperser(core, rng)
    hashers = [LeafHasher(core, index) for index in range(1, core.n + 1)]
    leaves: list[list[bytes]] = []
    for index, sink in enumerate(sinks, start=1):
        header = ShareHeader.of(core, index, plan.extras[index - 1]).encode()
        leaves.append([hashers[index - 1].header(header)])
        sink.write(header)

    def work(item: tuple[int, bytes | memoryview]) -> tuple[tuple[bytes, ...], list[bytes]]:
        number, plaintext = item
        fragments = split.split(key.seal_chunk(number, plaintext))
        return fragments, [hasher.fragment(number, data) for hasher, data in zip(hashers, fragments, strict=True)]

    window = _WINDOW if core.padded_len > ALONE else 1
    for number, (fragments, made) in enumerate(ordered(work, enumerate(payload.chunks()), window=window)):
        for sink, data, own, leaf in zip(sinks, fragments, leaves, made, strict=True):
            sink.write(data)
            own.append(leaf)
        if progress is not None:
            progress(min(core.padded_len, (number + 1) * core.chunk), core.padded_len)
    for sink, own in zip(sinks, leaves, strict=True):
        sink.write(b"".join(own))
    if len(leaves[0]) != layout.count + 1:
        raise InputError("the file changed its length while it was being sealed: try again when it is at rest")
    return [share_root(own) for own in leaves], key.commitment


def _envelopes(manifest: Manifest, plan: KeyPlan, recipients: Sequence[RecipientKey]) -> tuple[bytes, ...]:
    if manifest.mode is Mode.KEYLESS:
        return ()
    return tuple(envelope.seal(recipient, plan.sealed, core=manifest.core_bytes) for recipient in recipients)
