"""The stream cipher of format v1: AES-256-GCM in chunks, with a commitment to the key.

::

    key 32 | nonce 12 | commitment 32 = HKDF-Expand-SHA-512(DEK, label | salt | core)
    chunk_i = AES-256-GCM(key, nonce XOR i, plaintext_i), no associated data

A profile of C2SP's chunked-encryption (Cobblestone-256): the same derivation, nonces, empty associated data and
rule for the last chunk. It differs in three named points, and therefore carries a label of its own, so that
no ciphertext of one is ever valid for the other: chunks are 64 KiB or 1 MiB instead of 16 KiB; the context is
the object's `core`; salt and commitment live in the manifest instead of in front of the chunks.
With C2SP's label and 16 KiB chunks this code gives Cobblestone-256 bit for bit (`COBBLESTONE_256`; tested
against the implementation in `cryptography`).

The last chunk is strictly shorter than the chunk size and may be empty, so a stream cut at a chunk's edge ends
in a full chunk and is refused. `core` is bound through the key: any change of it gives other keys, and the
commitment says so before anything is decrypted. The commitment also closes the gap that AES-GCM leaves open,
that one ciphertext can be built to open under two keys.

Limits: chunks of at most 1 MiB and 2^32 of them, 4 PiB under one key as in C2SP; that is 2^48 blocks, under the
2^48.5 at which counter mode's advantage reaches 2^-32 (ePrint 2024/051, eq. 7).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final, overload

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import constant_time, hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from medveil.errors import InputError, LimitError, TamperedError, UsageError, WrongKeyError

Buffer = bytes | bytearray | memoryview

KEY_SIZE: Final = 32
"""Length of a data encryption key, in bytes."""
SALT_SIZE: Final = 24
"""Length of a salt, in bytes."""
COMMITMENT_SIZE: Final = 32
"""Length of a key commitment, in bytes."""
TAG_SIZE: Final = 16
"""Bytes that a sealed chunk is longer than its plaintext."""
MAX_CHUNK: Final = 1 << 20
"""Largest chunk, in bytes of plaintext."""
MAX_CHUNKS: Final = 1 << 32
"""Most chunks under one key."""
LABEL: Final = b"medveil/v1/stream+AEAD_AES_256_GCM\x00"
"""Label of format v1's key derivation."""
COBBLESTONE_256: Final = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
"""Label of C2SP's chunked-encryption with AES-256-GCM; only for checks against other implementations."""

_NONCE_SIZE: Final = 12
_WRONG_KEY: Final = "the key does not open this object: it belongs to another object, version or owner"


class StreamKey:
    """The keys of one object's stream. Safe to use from several threads; never shown, compared or pickled.

    `commitment` (32 bytes) is public and goes into the manifest.
    """

    __slots__ = ("_cipher", "_lock", "_nonce", "_sealed", "commitment")

    def __init__(self, key: bytes, nonce: bytes, commitment: bytes) -> None:
        self._cipher = AESGCM(key)
        self._nonce = int.from_bytes(nonce, "big")
        self._sealed = bytearray()  # one bit a chunk
        self._lock = threading.Lock()
        self.commitment = commitment

    @classmethod
    def derive(cls, dek: bytes, core: bytes, salt: bytes, *, label: bytes = LABEL) -> StreamKey:
        """Derive the keys of the object that `core` describes from its data encryption key.

        dek: 32 uniformly random bytes, used for this object only. salt: 24 random bytes. core: the object's
        canonical description, any length. label: format v1's, except in checks against other implementations.
        Raises InputError where a length is wrong.
        """
        if len(dek) != KEY_SIZE or len(salt) != SALT_SIZE:
            raise InputError(
                f"a stream needs a key of {KEY_SIZE} and a salt of {SALT_SIZE} bytes: got {len(dek)} and {len(salt)}"
            )
        size = KEY_SIZE + _NONCE_SIZE + COMMITMENT_SIZE
        okm = HKDFExpand(hashes.SHA512(), size, label + salt + core).derive(dek)
        return cls(okm[:KEY_SIZE], okm[KEY_SIZE:-COMMITMENT_SIZE], okm[-COMMITMENT_SIZE:])

    def check_commitment(self, expected: Buffer) -> None:
        """Compare with the commitment of a manifest, in constant time; to be done before opening any chunk.

        Raises WrongKeyError where they differ.
        """
        if not constant_time.bytes_eq(self.commitment, bytes(expected)):
            raise WrongKeyError(_WRONG_KEY)

    @overload
    def seal_chunk(self, index: int, plaintext: Buffer, out: None = None) -> bytes: ...
    @overload
    def seal_chunk(self, index: int, plaintext: Buffer, out: memoryview | bytearray) -> memoryview: ...
    def seal_chunk(
        self, index: int, plaintext: Buffer, out: memoryview | bytearray | None = None
    ) -> bytes | memoryview:
        """Encrypt one chunk: len(plaintext) + 16 bytes.

        With `out`, a writable buffer of at least that length that does not overlap `plaintext`, the chunk is
        written to its start and that part of it is returned; reusing one buffer is several times faster than
        fresh memory. Each index is sealed once by a StreamKey.
        Raises LimitError for a chunk or an index beyond the limits, InputError where `out` is too short, and
        UsageError where the index was sealed already: a nonce must not serve twice.
        """
        plaintext = _bytes_of(plaintext)
        size = len(plaintext)
        if size > MAX_CHUNK:
            raise LimitError(f"a chunk of {size} bytes is larger than the {MAX_CHUNK} allowed")
        nonce = self._nonce_of(index)
        target = _part(out, size + TAG_SIZE)
        self._mark_sealed(index)
        if target is None:
            return self._cipher.encrypt(nonce, plaintext, None)
        self._cipher.encrypt_into(nonce, plaintext, None, target)
        return target

    @overload
    def open_chunk(self, index: int, ciphertext: Buffer, out: None = None) -> bytes: ...
    @overload
    def open_chunk(self, index: int, ciphertext: Buffer, out: memoryview | bytearray) -> memoryview: ...
    def open_chunk(
        self, index: int, ciphertext: Buffer, out: memoryview | bytearray | None = None
    ) -> bytes | memoryview:
        """Decrypt and authenticate one chunk: len(ciphertext) - 16 bytes, in `out` as in `seal_chunk`.

        Raises TamperedError where the chunk is not the one sealed at this index under this key, LimitError for
        one beyond the limits, InputError where `out` is too short. After a refusal the part of `out` that was
        written to holds zeros.
        """
        ciphertext = _bytes_of(ciphertext)
        size = len(ciphertext) - TAG_SIZE
        if size > MAX_CHUNK:
            raise LimitError(f"a chunk of {size} bytes is larger than the {MAX_CHUNK} allowed")
        nonce = self._nonce_of(index)
        refusal = TamperedError(f"chunk {index} is not authentic: it was changed, truncated, swapped or moved")
        if size < 0:
            raise refusal
        target = _part(out, size)
        try:
            if target is None:
                return self._cipher.decrypt(nonce, ciphertext, None)
            self._cipher.decrypt_into(nonce, ciphertext, None, target)
        except InvalidTag:
            if target is not None:  # the library decrypts first and compares tags last
                target[:] = bytes(size)
            raise refusal from None
        return target

    def _nonce_of(self, index: int) -> bytes:
        if not 0 <= index < MAX_CHUNKS:
            raise LimitError(f"there is no chunk {index}: a stream has at most {MAX_CHUNKS}")
        return (self._nonce ^ index).to_bytes(_NONCE_SIZE, "big")

    def _mark_sealed(self, index: int) -> None:
        byte, bit = index >> 3, 1 << (index & 7)
        with self._lock:
            if byte >= len(self._sealed):
                self._sealed.extend(bytes(byte + 1 - len(self._sealed)))
            if self._sealed[byte] & bit:
                raise UsageError(f"chunk {index} was sealed already: a nonce must not serve twice, use a fresh key")
            self._sealed[byte] |= bit

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise UsageError("a stream key is never serialised: derive it again from the object's key")

    def __repr__(self) -> str:
        return "StreamKey(<secret>)"


def chunk_count(total: int, chunk: int) -> int:
    """Return how many chunks a stream of `total` bytes has: the last is strictly shorter than `chunk`.

    Raises InputError for a negative total or a chunk size outside 1 byte to 1 MiB, LimitError for too many chunks.
    """
    if total < 0 or not 1 <= chunk <= MAX_CHUNK:
        raise InputError(f"{total} bytes cannot be cut into chunks of {chunk}: sizes are 1 to {MAX_CHUNK}")
    count = total // chunk + 1
    if count > MAX_CHUNKS:
        raise LimitError(f"a stream of {total} bytes has more than {MAX_CHUNKS} chunks of {chunk} bytes")
    return count


def chunk_lengths(total: int, chunk: int) -> Iterator[int]:
    """Return the plaintext length of each chunk in turn; the last is total % chunk, which may be 0.

    Raises as `chunk_count`, at once.
    """
    full = chunk_count(total, chunk) - 1

    def lengths() -> Iterator[int]:
        for _ in range(full):
            yield chunk
        yield total % chunk

    return lengths()


def stream_length(total: int, chunk: int) -> int:
    """Return the length of the sealed stream of `total` bytes of plaintext: 16 bytes more a chunk."""
    return total + TAG_SIZE * chunk_count(total, chunk)


def plaintext_length(sealed: int, chunk: int) -> int:
    """Return the plaintext length of a sealed stream of `sealed` bytes.

    Raises TamperedError where no stream has that length, above all one that was cut at a chunk's edge, and
    InputError for a wrong chunk size.
    """
    chunk_count(0, chunk)
    full, rest = divmod(max(sealed, 0), chunk + TAG_SIZE)
    if rest < TAG_SIZE:
        raise TamperedError(f"a stream of {sealed} bytes has no last short chunk: it was truncated")
    total = full * chunk + rest - TAG_SIZE
    chunk_count(total, chunk)
    return total


def check_chunk_length(index: int, length: int, *, last: bool, chunk: int) -> None:
    """Check a plaintext chunk's length while reading: full before the last, strictly shorter at the end.

    Raises TamperedError otherwise: the stream was truncated, extended or cut differently.
    """
    if last and length >= chunk:
        raise TamperedError(f"the stream ends with the full chunk {index}: it was truncated")
    if not last and length != chunk:
        raise TamperedError(f"chunk {index} has {length} bytes where {chunk} belong: the stream was altered")


def _bytes_of(data: Buffer) -> Buffer:
    """Return the buffer with one element a byte; a view of 16-bit pixels counts in words."""
    return data.cast("B") if isinstance(data, memoryview) else data


def _part(out: memoryview | bytearray | None, size: int) -> memoryview | None:
    if out is None:
        return None
    view = memoryview(out).cast("B")
    if view.nbytes < size or view.readonly:
        raise InputError(f"an output buffer of {view.nbytes} bytes cannot take {size}, or cannot be written")
    return view[:size]
