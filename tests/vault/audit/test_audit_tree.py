"""The tree against RFC 6962's own recursion and the known roots of Certificate Transparency's test data."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medveil.errors import InputError, TamperedError
from medveil.vault.audit.tree import (
    EMPTY,
    completed,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [bytes.fromhex(one) for one in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
)]  # fmt: skip
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def slow(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + slow(leaves[:k]) + slow(leaves[k:])).digest()


class Nodes:
    def __init__(self, leaves: list[bytes]) -> None:
        self.held: dict[tuple[int, int], bytes] = {}
        for number, leaf in enumerate(leaves):
            for level, index, digest in completed(number, leaf_hash(leaf), self):
                self.held[level, index] = digest

    def __call__(self, level: int, index: int) -> bytes:
        return self.held[level, index]


@pytest.mark.parametrize("size", range(1, 9))
def test_known_roots(size: int) -> None:
    assert root(size, Nodes(LEAVES)).hex() == ROOTS[size - 1]


def test_nothing() -> None:
    assert root(0, Nodes([])) == EMPTY == slow([])


@given(st.integers(1, 70), st.data())
def test_proofs_verify_and_prove_nothing_else(size: int, data: st.DataObject) -> None:
    leaves = [bytes([n]) for n in range(size)]
    nodes = Nodes(leaves)
    whole = root(size, nodes)
    assert whole == slow(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, nodes)
    verify_inclusion(leaf_hash(leaves[index]), index, size, proof, whole)
    for wrong in (
        (leaf_hash(b"other"), index, size, proof, whole),
        (leaf_hash(leaves[index]), index + 1, size, proof, whole),
        (leaf_hash(leaves[index]), index, size, (*proof, bytes(32)), whole),
        (leaf_hash(leaves[index]), index, size, proof, bytes(32)),
        (leaf_hash(leaves[index]), -1, size, proof, whole),
    ):
        with pytest.raises(TamperedError):
            verify_inclusion(*wrong)
    if proof:
        with pytest.raises(TamperedError):
            verify_inclusion(leaf_hash(leaves[index]), index, size, proof[:-1], whole)
    old = data.draw(st.integers(0, size))
    earlier = slow(leaves[:old])
    path = consistency_proof(old, size, nodes)
    verify_consistency(old, earlier, size, whole, path)
    if 0 < old < size:
        for step in range(len(path)):
            changed = (*path[:step], bytes(32), *path[step + 1 :])
            with pytest.raises(TamperedError):
                verify_consistency(old, earlier, size, whole, changed)
        with pytest.raises(TamperedError):
            verify_consistency(old, slow([*leaves[: old - 1], b"rewritten"]), size, whole, path)
        with pytest.raises(TamperedError):
            verify_consistency(old, earlier, size, whole, path[:-1])
        with pytest.raises(TamperedError):
            verify_consistency(old, earlier, size, whole, (*path, bytes(32)))


def test_what_is_not_there_is_not_proven() -> None:
    nodes = Nodes(LEAVES)
    for index, size in ((8, 8), (-1, 8), (0, 0)):
        with pytest.raises(InputError):
            inclusion_proof(index, size, nodes)
    with pytest.raises(InputError):
        consistency_proof(9, 8, nodes)
    with pytest.raises(TamperedError):
        verify_consistency(9, bytes(32), 8, bytes(32), ())
