"""Randomness: repeatable where allowed, refused elsewhere, loud when the source fails."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from medveil.crypto.hashing import tagged
from medveil.crypto.prg import SYSTEM, SystemRandomness, allow_insecure_randomness, insecure_seeded
from medveil.errors import InputError, RandomnessError


def test_system_bytes() -> None:
    assert SYSTEM.bytes(0) == b""
    drawn = [SYSTEM.bytes(32) for _ in range(100)]
    assert len(set(drawn)) == 100
    assert {len(one) for one in drawn} == {32}
    with pytest.raises(InputError):
        SYSTEM.bytes(-1)
    with pytest.raises(InputError):
        SYSTEM.bytes(2**40)


def failing(n: int) -> bytes:
    raise OSError(5, "Input/output error")


BROKEN: dict[str, Callable[[int], bytes]] = {
    "zeros": bytes,
    "ones": lambda n: b"\xff" * n,
    "short": lambda n: os.urandom(max(0, n - 1)),
    "error": failing,
}


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_source_is_refused(source: Callable[[int], bytes]) -> None:
    with pytest.raises(RandomnessError):
        SystemRandomness(source).bytes(32)


def test_a_source_that_repeats_is_refused() -> None:
    fixed = os.urandom(64)
    generator = SystemRandomness(lambda n: fixed[:n])
    assert generator.bytes(32) == fixed[:32]
    with pytest.raises(RandomnessError):
        generator.bytes(24)


def test_a_forked_child_draws_other_bytes() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, SYSTEM.bytes(32))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 32) != SYSTEM.bytes(32)
    os.close(reading)
    os.close(writing)


def test_seeded_is_aes_ctr_and_repeats() -> None:
    key = tagged("insecure seeded randomness", b"int 7", b"noise")
    expected = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(100))
    with allow_insecure_randomness("test"):
        generator = insecure_seeded(7, "noise")
        assert generator.bytes(60) + generator.bytes(40) == expected
        assert insecure_seeded(7, "noise").bytes(100) == expected
        others = {
            insecure_seeded(*one).bytes(16) for one in ((8, "noise"), (7, "other"), (-7, "noise"), (b"7", "noise"))
        }
        assert len(others | {expected[:16]}) == 5
        with pytest.raises(InputError):
            insecure_seeded(2**64, "noise")
        with pytest.raises(InputError):
            generator.bytes(-1)


def test_seeded_is_refused_outside_its_block() -> None:
    with pytest.raises(RandomnessError):
        insecure_seeded(1, "x")
    with allow_insecure_randomness("experiment"):
        generator = insecure_seeded(1, "x")
        with allow_insecure_randomness("test"):
            inner = insecure_seeded(1, "x")
        with pytest.raises(RandomnessError):
            inner.bytes(1)
        generator.bytes(1)
    with pytest.raises(RandomnessError):
        generator.bytes(1)
    with pytest.raises(RandomnessError), allow_insecure_randomness("production"):  # type: ignore[arg-type]
        pass


def test_seeded_works_across_threads_but_is_not_made_there() -> None:
    with allow_insecure_randomness("test"), ThreadPoolExecutor(2) as pool:
        generator = insecure_seeded(1, "threads")
        pieces = list(pool.map(generator.bytes, [16] * 64))
        assert len(set(pieces)) == 64
        with pytest.raises(RandomnessError):
            pool.submit(insecure_seeded, 1, "x").result()


def test_seeded_is_refused_in_a_forked_child() -> None:
    with allow_insecure_randomness("test"):
        generator = insecure_seeded(1, "fork")
        child = os.fork()
        if child == 0:
            try:
                generator.bytes(16)
            except RandomnessError:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_nothing_is_shown() -> None:
    with allow_insecure_randomness("test"):
        assert repr(insecure_seeded(5, "x")) == "SeededRandomness(<insecure>)"
    assert repr(SYSTEM) == "SystemRandomness()"
