"""Tagged hashes and Merkle trees against RFC 6962's recursive definition."""

import blake3 as library
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medveil.crypto import hashing
from medveil.errors import InputError, TamperedError

TREE_KEY = library.blake3(b"", derive_key_context="medveil v1 merkle tree").digest()


def tree_hash(data: bytes) -> bytes:
    return library.blake3(data, key=TREE_KEY).digest()


def recursive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word by word."""
    if not leaves:
        return tree_hash(b"")
    if len(leaves) == 1:
        return tree_hash(b"\x00" + leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return tree_hash(b"\x01" + recursive_root(leaves[:k]) + recursive_root(leaves[k:]))


def test_fixed_vectors() -> None:
    assert hashing.tagged("test", b"abc").hex() == "f2b8803c85a4f54a1c06364d76697ba07995965fb30e1cc72d97a68892885ab0"
    assert hashing.merkle_root([]).hex() == "ea23eaa0ef5800cf14bdfb3ec4cb57870f85a431ee75c0bfcae14f35ff367c73"
    assert (
        hashing.merkle_root([b"a", b"b", b"c"]).hex()
        == "7974f5dd42f3da086c409efdc390665d1ca01e592a11ef1b4b3d973365460014"
    )


def test_tagged_is_blake3_over_lengths_and_parts() -> None:
    expected = library.blake3(
        (3).to_bytes(8, "big") + b"abc" + (0).to_bytes(8, "big"), derive_key_context="medveil v1 x"
    ).digest()
    assert hashing.tagged("x", b"abc", b"") == expected
    keyed = library.blake3((3).to_bytes(8, "big") + b"abc", key=bytes(range(32))).digest()
    assert hashing.keyed(bytes(range(32)), b"abc") == keyed


def test_boundaries_and_tags_matter() -> None:
    variants = {
        hashing.tagged("x", b"ab", b"c"), hashing.tagged("x", b"a", b"bc"), hashing.tagged("x", b"abc"),
        hashing.tagged("y", b"abc"), hashing.tagged("x", b"abc", b""), hashing.keyed(bytes(32), b"abc"),
        hashing.keyed(bytes(31) + b"\x01", b"abc"),
    }  # fmt: skip
    assert len(variants) == 7


def test_views_hash_as_their_bytes() -> None:
    import numpy as np

    words = np.arange(8, dtype=np.uint32)
    assert hashing.tagged("x", memoryview(words)) == hashing.tagged("x", words.tobytes())
    assert hashing.tagged("x", bytearray(b"abc")) == hashing.tagged("x", b"abc")


def test_key_length_is_checked() -> None:
    with pytest.raises(InputError):
        hashing.keyed(b"short", b"x")


@pytest.mark.parametrize("count", [*range(20), 63, 64, 65])
def test_roots_and_proofs_follow_the_rfc(count: int) -> None:
    leaves = [bytes([i]) * (i % 5) for i in range(count)]
    root = hashing.merkle_root(leaves)
    assert root == recursive_root(leaves)
    for index, leaf in enumerate(leaves):
        proof = hashing.merkle_proof(leaves, index)
        hashing.verify_proof(root, leaf, index, count, proof)
        for wrong in range(count):
            if wrong != index and leaves[wrong] != leaf:
                with pytest.raises(TamperedError):
                    hashing.verify_proof(root, leaf, wrong, count, proof)


def test_tree_grows_leaf_by_leaf() -> None:
    tree, leaves = hashing.MerkleTree(), []
    for i in range(40):
        leaves.append(bytes([i]))
        tree.add(leaves[-1])
        assert tree.root() == recursive_root(leaves)
    assert tree.count == 40


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=30), st.data())
def test_a_changed_proof_is_refused(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, proof = hashing.merkle_root(leaves), list(hashing.merkle_proof(leaves, index))
    wrong = [
        (root, leaves[index] + b"x", index, len(leaves), proof),
        (bytes(32), leaves[index], index, len(leaves), proof),
        (root[:31], leaves[index], index, len(leaves), proof),
        (root, leaves[index], index, len(leaves), [*proof, bytes(32)]),
        (root, leaves[index], len(leaves), len(leaves), proof),
        (root, leaves[index], -1, len(leaves), proof),
    ]
    for step in range(len(proof)):
        wrong.append((root, leaves[index], index, len(leaves), proof[:step] + proof[step + 1 :]))
        wrong.append((root, leaves[index], index, len(leaves), [*proof[:step], proof[step][:31], *proof[step + 1 :]]))
        flipped = bytes([proof[step][0] ^ 1]) + proof[step][1:]
        wrong.append((root, leaves[index], index, len(leaves), [*proof[:step], flipped, *proof[step + 1 :]]))
    for arguments in wrong:
        with pytest.raises(TamperedError):
            hashing.verify_proof(*arguments)


def test_a_node_is_not_a_leaf() -> None:
    left, right = tree_hash(b"\x00a"), tree_hash(b"\x00b")
    assert hashing.merkle_root([left + right]) != hashing.merkle_root([b"a", b"b"])


def test_there_is_no_proof_of_a_missing_leaf() -> None:
    with pytest.raises(InputError):
        hashing.merkle_proof([b"a"], 1)
