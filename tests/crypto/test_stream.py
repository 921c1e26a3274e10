"""The stream cipher against `cryptography`'s own Cobblestone-256, a second computation, and every tampering."""

import copy
import hashlib
import hmac
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from medveil.crypto import stream
from medveil.crypto.stream import StreamKey
from medveil.errors import InputError, LimitError, TamperedError, UsageError, WrongKeyError

DEK, CORE, SALT = bytes(range(32)), b"core of an object", bytes(range(24))


def expand(prk: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand with SHA-512, RFC 5869, by hand."""
    okm, block, counter = b"", b"", 1
    while len(okm) < size:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha512).digest()
        okm, counter = okm + block, counter + 1
    return okm[:size]


def key() -> StreamKey:
    return StreamKey.derive(DEK, CORE, SALT)


def test_fixed_vector() -> None:
    assert key().commitment.hex() == "3e0240d26d98fc93b1e7574d1c738d120f05fb450cb35c407757f9a8a547784a"
    assert key().seal_chunk(5, b"medveil").hex() == "9785b6804dfc812d3df9fac99c22a68ce4cd6e9fcf398d"


@pytest.mark.parametrize("index", [0, 1, 255, 256, 2**31, 2**32 - 1])
def test_second_computation(index: int) -> None:
    okm = expand(DEK, b"medveil/v1/stream+AEAD_AES_256_GCM\x00" + SALT + CORE, 76)
    nonce = bytes(a ^ b for a, b in zip(okm[32:44], index.to_bytes(12, "big"), strict=True))
    expected = AESGCM(okm[:32]).encrypt(nonce, b"plaintext", b"")
    reader = key()
    assert reader.commitment == okm[44:]
    assert reader.open_chunk(index, expected) == b"plaintext"
    if index < 2**20:
        assert key().seal_chunk(index, b"plaintext") == expected


@pytest.mark.parametrize("total", [0, 1, 16383, 16384, 16385, 50000])
def test_cobblestone_256_is_reproduced(total: int) -> None:
    """With C2SP's label and chunk size, both directions agree with the library's implementation of C2SP."""
    cobblestone = pytest.importorskip("cryptography.cobblestone", reason="came with cryptography 50")
    message = os.urandom(total)
    encryptor = cobblestone.Cobblestone256Encryptor(DEK, context=CORE)
    theirs = encryptor.update(message) + encryptor.finalize()
    reader = StreamKey.derive(DEK, CORE, theirs[:24], label=stream.COBBLESTONE_256)
    reader.check_commitment(theirs[24:56])
    body, opened = theirs[56:], b""
    assert stream.plaintext_length(len(body), 16384) == total
    for index in range(stream.chunk_count(total, 16384)):
        opened += reader.open_chunk(index, body[index * 16400 : (index + 1) * 16400])
    assert opened == message

    writer = StreamKey.derive(DEK, CORE, SALT, label=stream.COBBLESTONE_256)
    ours, at = SALT + writer.commitment, 0
    for index, length in enumerate(stream.chunk_lengths(total, 16384)):
        ours += writer.seal_chunk(index, message[at : at + length])
        at += length
    decryptor = cobblestone.Cobblestone256Decryptor(DEK, context=CORE)
    assert decryptor.update(ours) + decryptor.finalize() == message


@given(st.binary(max_size=300), st.integers(0, 1000))
def test_round_trip_with_and_without_buffers(plaintext: bytes, index: int) -> None:
    sealed = key().seal_chunk(index, plaintext)
    buffer = bytearray(len(plaintext) + 30)
    assert key().seal_chunk(index, plaintext, buffer) == sealed
    assert key().open_chunk(index, sealed) == plaintext
    out = bytearray(b"\xaa" * (len(plaintext) + 5))
    assert key().open_chunk(index, memoryview(sealed), memoryview(out)) == plaintext
    assert out[len(plaintext) :] == b"\xaa" * 5


@given(st.binary(min_size=1, max_size=100), st.data())
def test_every_change_is_refused_and_nothing_is_left_in_the_buffer(plaintext: bytes, data: st.DataObject) -> None:
    sealed = bytearray(key().seal_chunk(3, plaintext))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    out = bytearray(b"\xaa" * len(plaintext))
    with pytest.raises(TamperedError):
        key().open_chunk(3, sealed, out)
    assert bytes(out) == bytes(len(plaintext))
    with pytest.raises(TamperedError):
        key().open_chunk(3, sealed)


def test_moved_cut_and_foreign_chunks_are_refused() -> None:
    sealed = key().seal_chunk(0, b"x" * 40)
    attempts = [
        (key(), 1, sealed),
        (key(), 0, sealed[:-1]),
        (key(), 0, sealed + b"\x00"),
        (key(), 0, sealed[:15]),
        (key(), 0, b""),
        (StreamKey.derive(DEK, CORE + b"!", SALT), 0, sealed),
        (StreamKey.derive(DEK, CORE, SALT[::-1]), 0, sealed),
        (StreamKey.derive(DEK[::-1], CORE, SALT), 0, sealed),
    ]
    for reader, index, chunk in attempts:
        with pytest.raises(TamperedError):
            reader.open_chunk(index, chunk)


def test_commitment() -> None:
    key().check_commitment(key().commitment)
    messages = set()
    for wrong in (bytes(32), b"", key().commitment[:31], key().commitment + b"\x00"):
        with pytest.raises(WrongKeyError) as caught:
            key().check_commitment(wrong)
        messages.add(str(caught.value))
    for other in (
        StreamKey.derive(bytes(32), CORE, SALT),
        StreamKey.derive(DEK, b"", SALT),
        StreamKey.derive(DEK, CORE, bytes(24)),
    ):
        with pytest.raises(WrongKeyError):
            other.check_commitment(key().commitment)
    assert len(messages) == 1


def test_the_commitment_refuses_a_chunk_built_for_two_keys() -> None:
    """AES-GCM alone accepts one ciphertext under two keys; build one and see that only one key is committed."""
    first, second = key(), StreamKey.derive(bytes(32), CORE, SALT)
    chunk = two_key_chunk(
        (expand(DEK, stream.LABEL + SALT + CORE, 76)), (expand(bytes(32), stream.LABEL + SALT + CORE, 76))
    )
    assert first.open_chunk(0, chunk) != second.open_chunk(0, chunk)  # both "authentic" without the commitment
    first.check_commitment(key().commitment)
    with pytest.raises(WrongKeyError):
        second.check_commitment(key().commitment)


def two_key_chunk(okm_a: bytes, okm_b: bytes) -> bytes:
    """Return ciphertext (two blocks) and tag that AES-GCM accepts under both keys (Dodis et al., CRYPTO 2018)."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    def block(k: bytes, data: bytes) -> int:
        encryptor = Cipher(algorithms.AES256(k), modes.ECB()).encryptor()  # noqa: S305 - one raw block of an attack
        return int.from_bytes(encryptor.update(data), "big")

    def times(x: int, y: int) -> int:  # GF(2^128) of GCM, SP 800-38D 6.3
        z = 0
        for bit in range(127, -1, -1):
            if x >> bit & 1:
                z ^= y
            y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
        return z

    def inverse(x: int) -> int:
        result, power = 1 << 127, x
        for _ in range(127):  # x^(2^128 - 2)
            power = times(power, power)
            result = times(result, power)
        return result

    keys = [okm_a[:32], okm_b[:32]]
    h = [block(k, bytes(16)) for k in keys]
    mask = [block(k, okm[32:44] + b"\x00\x00\x00\x01") for k, okm in zip(keys, (okm_a, okm_b), strict=True)]
    lengths = 256  # no associated data, 256 bits of ciphertext
    first = 0x1234
    # tag_i = first * h^3 + second * h^2 + lengths * h + mask; solve tag_a = tag_b for the second block.
    known = [times(first, times(x, times(x, x))) ^ times(lengths, x) ^ m for x, m in zip(h, mask, strict=True)]
    second = times(known[0] ^ known[1], inverse(times(h[0], h[0]) ^ times(h[1], h[1])))
    tag = known[0] ^ times(second, times(h[0], h[0]))
    return b"".join(value.to_bytes(16, "big") for value in (first, second, tag))


def test_a_nonce_never_serves_twice() -> None:
    writer = key()
    for index in (0, 7, 8, 100000):
        writer.seal_chunk(index, b"x")
        with pytest.raises(UsageError):
            writer.seal_chunk(index, b"y")
    writer.seal_chunk(1, b"x")


def test_limits() -> None:
    for index in (-1, stream.MAX_CHUNKS):
        with pytest.raises(LimitError):
            key().seal_chunk(index, b"")
        with pytest.raises(LimitError):
            key().open_chunk(index, bytes(16))
    with pytest.raises(LimitError):
        key().seal_chunk(0, bytes(stream.MAX_CHUNK + 1))
    with pytest.raises(LimitError):
        key().open_chunk(0, bytes(stream.MAX_CHUNK + 17))
    for small in (bytearray(20), memoryview(bytes(100))):
        with pytest.raises(InputError):
            key().seal_chunk(0, b"x" * 10, small)  # type: ignore[call-overload]
    for dek, salt in ((bytes(31), SALT), (DEK, bytes(23)), (bytes(33), SALT)):
        with pytest.raises(InputError):
            StreamKey.derive(dek, CORE, salt)


@given(st.integers(0, 5000), st.integers(1, 70))
def test_chunk_lengths(total: int, chunk: int) -> None:
    lengths = list(stream.chunk_lengths(total, chunk))
    assert sum(lengths) == total
    assert len(lengths) == stream.chunk_count(total, chunk)
    assert lengths[-1] < chunk
    assert set(lengths[:-1]) <= {chunk}
    sealed = stream.stream_length(total, chunk)
    assert stream.plaintext_length(sealed, chunk) == total
    for index, length in enumerate(lengths):
        stream.check_chunk_length(index, length, last=index == len(lengths) - 1, chunk=chunk)


def test_truncation_at_every_edge_is_seen() -> None:
    chunk = 64
    for cut in range(stream.stream_length(300, chunk)):
        full, rest = divmod(cut, chunk + 16)
        if rest < 16:
            with pytest.raises(TamperedError):
                stream.plaintext_length(cut, chunk)
        else:  # a valid length, but then the last piece is not the one sealed as last
            assert stream.plaintext_length(cut, chunk) == full * chunk + rest - 16
    with pytest.raises(TamperedError):
        stream.check_chunk_length(4, chunk, last=True, chunk=chunk)
    with pytest.raises(TamperedError):
        stream.check_chunk_length(3, chunk - 1, last=False, chunk=chunk)


def test_bad_sizes_are_refused_at_once() -> None:
    for total, chunk in ((-1, 10), (10, 0), (10, stream.MAX_CHUNK + 1)):
        with pytest.raises(InputError):
            stream.chunk_lengths(total, chunk)
    with pytest.raises(LimitError):
        stream.chunk_lengths(2**40, 1)
    with pytest.raises(TamperedError):
        stream.plaintext_length(-5, 64)


def test_views_of_words_count_in_bytes() -> None:
    words = np.arange(100, dtype=np.uint16)
    sealed = key().seal_chunk(0, memoryview(words))
    assert sealed == key().seal_chunk(0, words.tobytes())
    out = np.zeros(100, np.uint16)
    key().open_chunk(0, memoryview(np.frombuffer(sealed, np.uint16)), memoryview(out))
    assert (out == words).all()


def test_threads_share_a_key() -> None:
    writer, reader = key(), key()
    pieces = [os.urandom(5000 + i) for i in range(200)]

    def work(index: int) -> bytes:
        return reader.open_chunk(index, writer.seal_chunk(index, pieces[index]))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(200))) == pieces


def test_it_is_never_shown_or_copied() -> None:
    assert repr(key()) == "StreamKey(<secret>)"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(UsageError):
            attempt(key())
