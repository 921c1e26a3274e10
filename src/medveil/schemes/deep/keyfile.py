"""Files that keep a trained key, or a training in progress, sealed to its owner and signed.

::

    "MVDK" | 1 | length u32 | record | sealed stream of the body, in chunks | hybrid signature by the owner

    record = canonical CBOR {v, kind: "key" | "checkpoint", method, key_id, measured, trained, owner, size, salt,
                             commitment, envelope}

The record is public: method, measured loss and what it was trained on can be read without the key, and are worth
something once the signature is checked. The body (weights; of a checkpoint optimiser moments and seed as well) is
encrypted as in `medveil.crypto.stream` under a fresh key in an envelope to the owner; the signature covers the record
and a hash of the sealed body. Weights *are* the secret of these methods, so no file of ours holds them in clear but
the public samples (`samples`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medveil.crypto import canonical, envelope
from medveil.crypto.hashing import tagged
from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import SYSTEM
from medveil.crypto.signatures import SIGNATURE_SIZE
from medveil.crypto.stream import KEY_SIZE, MAX_CHUNK, SALT_SIZE, TAG_SIZE, StreamKey, plaintext_length
from medveil.errors import FormatError, InputError, LimitError, TamperedError, WrongKeyError
from medveil.schemes.bundle import new_file
from medveil.schemes.deep.key import MAX_BODY, METHODS, DeepKey, pack_tensors, unpack_tensors

if TYPE_CHECKING:
    from medveil.schemes.deep.training import Checkpoint

MAGIC: Final = b"MVDK\x01"
_DOMAIN: Final = "deep-learning key"
_MAX_RECORD: Final = 1 << 20
_FIELDS: Final[dict[str, type]] = {
    "v": int, "kind": str, "method": str, "key_id": bytes, "measured": dict, "trained": dict, "owner": bytes,
    "size": int, "salt": bytes, "commitment": bytes, "envelope": bytes,
}  # fmt: skip
_OUTSIDE_CORE: Final = ("commitment", "envelope")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What a key file says of itself to everyone; nothing of it is verified before `load` opens the file."""

    kind: str
    method: str
    key_id: bytes
    measured: Mapping[str, str]
    trained: Mapping[str, str | int]
    owner_id: bytes
    size: int


def save(path: Path, key: DeepKey, owner: OwnerKey, *, force: bool = False) -> None:
    """Write a key file, complete or not at all. Raises OutputExistsError."""
    measured = {name: repr(float(value)) for name, value in key.measured.items()}
    _write(path, owner, "key", key.method, key.key_id, measured, dict(key.trained), key.pack(), force=force)


def load(path: Path, owner: OwnerKey) -> DeepKey:
    """Open a key file.

    Raises WrongKeyError where it was sealed to another owner, TamperedError where it was changed, FormatError where it
    is none (a checkpoint of an unfinished training is not), LimitError, InputError where it cannot be read.
    """
    record, body = _open(path, owner)
    if record.kind != "key":
        raise FormatError(f"{path} is an unfinished training: go on with medveil deep train --resume")
    key = DeepKey.unpack(body)
    if key.method != record.method or key.key_id != record.key_id:
        raise TamperedError(f"{path} holds another key than it says: it was put together from two files")
    return key


def save_checkpoint(path: Path, state: Checkpoint, owner: OwnerKey) -> None:
    """Write a training in progress, replacing the one before it at once."""
    body = canonical.encode(
        {
            "v": 1,
            "shape": dict(state.shape),
            "epoch": state.epoch,
            "seed": state.seed,
            "tensors": pack_tensors(state.tensors),
            "history": [{name: repr(float(v)) for name, v in losses.items()} for losses in state.history],
        }
    )
    trained: dict[str, str | int] = {"epochs": state.epoch}
    _write(path, owner, "checkpoint", state.method, tagged("deep checkpoint", body)[:16], {}, trained, body, force=True)


def load_checkpoint(path: Path, owner: OwnerKey) -> Checkpoint:
    """Open a training in progress. Raises as `load`, and MissingExtraError without torch."""
    from medveil.schemes.deep.extra import need_torch

    need_torch()
    from medveil.schemes.deep.training import Checkpoint

    record, body = _open(path, owner)
    if record.kind != "checkpoint":
        raise FormatError(f"{path} is a finished key: it needs no --resume")
    state = canonical.decode(body, limit=MAX_BODY)
    fields = {"v": int, "shape": dict, "epoch": int, "seed": bytes, "tensors": dict, "history": list}
    if not isinstance(state, dict) or set(state) != set(fields) or state["v"] != 1:
        raise FormatError(f"{path} is a training of another version: start it again")
    if not all(isinstance(state[name], kind) for name, kind in fields.items()):
        raise FormatError(f"{path} holds a training with fields of wrong types")
    history = tuple({name: float(text) for name, text in losses.items()} for losses in state["history"])
    tensors = unpack_tensors(state["tensors"])
    return Checkpoint(record.method, state["shape"], state["epoch"], state["seed"], tensors, history)


def inspect(path: Path) -> KeyRecord:
    """Read what a key file says of itself, unverified. Raises FormatError, LimitError, InputError."""
    return _parsed(path, _read(path))[0]


def _write(
    path: Path, owner: OwnerKey, kind: str, method: str, key_id: bytes, measured: Mapping[str, str],
    trained: Mapping[str, str | int], body: bytes, *, force: bool,
) -> None:  # fmt: skip
    if len(body) > MAX_BODY:
        raise LimitError(f"a network of {len(body)} bytes is larger than the {MAX_BODY} that a key file holds")
    dek, salt = SYSTEM.bytes(KEY_SIZE), SYSTEM.bytes(SALT_SIZE)
    fields: dict[str, Any] = {
        "v": 1, "kind": kind, "method": method, "key_id": key_id, "measured": dict(measured),
        "trained": dict(trained), "owner": owner.owner_id, "size": len(body), "salt": salt,
    }  # fmt: skip
    core = canonical.encode(fields)
    stream = StreamKey.derive(dek, core, salt)
    starts = range(0, len(body) + 1, MAX_CHUNK)
    sealed = b"".join(stream.seal_chunk(i, body[at : at + MAX_CHUNK]) for i, at in enumerate(starts))
    fields |= {"commitment": stream.commitment, "envelope": envelope.seal(owner.public.recipient, dek, core=core)}
    record = canonical.encode(fields)
    signature = owner.signing.sign(_DOMAIN, record + tagged(_DOMAIN, sealed))
    with new_file(path, force=force) as working:
        working.write_bytes(MAGIC + len(record).to_bytes(4, "big") + record + sealed + signature)


def _open(path: Path, owner: OwnerKey) -> tuple[KeyRecord, bytes]:
    data = _read(path)
    record, fields, sealed, signature = _parsed(path, data)
    if record.owner_id != owner.owner_id:
        raise WrongKeyError(f"{path} belongs to another owner: give the owner's key file that it was trained with")
    raw = canonical.encode(fields)
    owner.public.verifying.verify(_DOMAIN, raw + tagged(_DOMAIN, sealed), signature)
    core = canonical.encode({name: value for name, value in fields.items() if name not in _OUTSIDE_CORE})
    dek = envelope.open_(owner.recipient, fields["envelope"], core=core)
    stream = StreamKey.derive(dek, core, fields["salt"])
    stream.check_commitment(fields["commitment"])
    if plaintext_length(len(sealed), MAX_CHUNK) != record.size:
        raise TamperedError(f"{path} is shorter or longer than it says")
    step = MAX_CHUNK + TAG_SIZE
    starts = range(0, len(sealed), step)
    return record, b"".join(stream.open_chunk(i, sealed[at : at + step]) for i, at in enumerate(starts))


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"there is no key file {path}: train one with medveil deep train --out {path}")
    if path.stat().st_size > MAX_BODY + (MAX_BODY >> 10) + _MAX_RECORD:
        raise LimitError(f"{path} is larger than any key file")
    return path.read_bytes()


def _parsed(path: Path, data: bytes) -> tuple[KeyRecord, dict[str, Any], bytes, bytes]:
    """Split a file into its record, sealed body and signature; nothing of it is verified here."""
    if data[: len(MAGIC)] != MAGIC:
        raise FormatError(f"{path} is not a trained key of a version that this program reads")
    start = len(MAGIC) + 4
    length = int.from_bytes(data[len(MAGIC) : start], "big")
    end = len(data) - SIGNATURE_SIZE
    if length > _MAX_RECORD or start + length > end:
        raise FormatError(f"{path} is cut short, or is no key file")
    fields = canonical.decode(data[start : start + length], limit=_MAX_RECORD)
    if not isinstance(fields, dict) or set(fields) != set(_FIELDS) or fields["v"] != 1:
        raise FormatError(f"{path} holds a record of an unknown form or version")
    if not all(isinstance(fields[name], kind) for name, kind in _FIELDS.items()):
        raise FormatError(f"{path} holds a record with fields of wrong types")
    if (
        fields["kind"] not in ("key", "checkpoint")
        or fields["method"] not in METHODS
        or len(fields["salt"]) != SALT_SIZE
    ):
        raise FormatError(f"{path} holds a record with values that no key file has")
    names = ("kind", "method", "key_id", "measured", "trained", "owner", "size")
    return KeyRecord(*(fields[name] for name in names)), fields, data[start + length : end], data[end:]
