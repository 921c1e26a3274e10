"""Modes A to D: who can open, what revocation does, and that shares say nothing below the threshold."""

from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schemes.sealed.material import OWNER, Object, flip, fragment_at, load, make

from medveil.crypto import canonical
from medveil.errors import UnrecoverableError, UsageError, WrongKeyError
from medveil.schemes.base import FindingKind
from medveil.schemes.sealed import BytesShare, Mode, Sealed, open_shares, rebuild
from medveil.schemes.sealed.format import Core
from medveil.schemes.sealed.modes import disperser, plan_keys, rebuild_extra, recover_key

CT = "pydicom_older_tests/CT_small.dcm"


@pytest.fixture(scope="module", params=list(Mode))
def item(request: pytest.FixtureRequest, shared_data: Path) -> Object:
    return make(load(shared_data, CT), (2, 4), mode=request.param)


def test_any_k_open(item: Object) -> None:
    for chosen in combinations(range(1, 5), 2):
        opened = item.open({index: item.shares[index - 1] for index in chosen})
        assert opened.original == item.original
        assert {f.part for f in opened.findings} == set(range(1, 5)) - set(chosen)


def test_any_share_is_made_again_from_any_k(item: Object) -> None:
    for chosen in combinations(range(1, 5), 2):
        readers = {index: BytesShare(item.shares[index - 1]) for index in chosen}
        sinks = {index: io.BytesIO() for index in range(1, 5) if index not in chosen}
        findings = rebuild(item.manifest, readers, sinks)
        for index, sink in sinks.items():
            assert sink.getvalue() == item.shares[index - 1]
        assert {f.part for f in findings if f.kind is FindingKind.REPAIRED} == set(sinks)


def test_damage_is_located_in_every_mode(item: Object) -> None:
    start, _ = fragment_at(item, 2)
    opened = item.open(dict(enumerate(item.shares, start=1)) | {3: flip(item.shares[2], start + 5)})
    assert opened.original == item.original
    assert {(f.kind.value, f.part, f.chunk) for f in opened.findings} == {("tamper", 3, 2)}
    assert opened.tamper_map is not None


def test_headers_may_be_damaged(item: Object) -> None:
    """Two of four headers, the key shares in them included, may be lost."""
    last = item.manifest.layout.header - 1
    shares = dict(enumerate(item.shares, start=1))
    shares |= {1: flip(shares[1], 7), 2: flip(shares[2], last)}
    opened = item.open(shares)
    assert opened.original == item.original
    assert {(f.part, f.place) for f in opened.findings} == {(1, "header"), (2, "header")}


def test_keyless_opens_without_a_key(shared_data: Path) -> None:
    item = make(load(shared_data, CT), mode=Mode.KEYLESS)
    shares = {index: BytesShare(data) for index, data in enumerate(item.shares[:2], start=1)}
    assert item.record.envelopes == ()
    assert item.record.key == b""
    assert open_shares(item.manifest, (), shares, None).original == item.original
    with pytest.raises(UsageError, match="insecure_keyless"):
        Sealed(mode="keyless")


def test_two_factor_needs_both(shared_data: Path) -> None:
    """Neither the envelope's half nor the parts' half is the key; with n - k + 1 parts gone nobody opens."""
    item = make(load(shared_data, CT), mode=Mode.TWO_FACTOR)
    shares = {index: BytesShare(data) for index, data in enumerate(item.shares, start=1)}
    with pytest.raises(WrongKeyError):
        open_shares(item.manifest, (), shares, OWNER)
    with pytest.raises(UnrecoverableError):
        open_shares(item.manifest, item.record.envelopes, {1: shares[1]}, OWNER)
    manifest = item.manifest
    with pytest.raises(UnrecoverableError, match="bring back the key"):
        recover_key(manifest.core, manifest.core_bytes, manifest.commitment, item.record.key, {1: bytes(32)})
    for sealed in (b"", bytes(32), item.record.key[::-1]):
        with pytest.raises(WrongKeyError):
            recover_key(
                manifest.core,
                manifest.core_bytes,
                manifest.commitment,
                sealed,
                {j: item.shares[j - 1][47:79] for j in (1, 2)},
            )


def test_a_wrong_key_share_does_not_keep_the_others_from_opening(shared_data: Path) -> None:
    """Headers whose leaf lists are damaged too cannot be told apart: combinations find the right ones."""
    for mode in (Mode.TWO_FACTOR, Mode.KEYLESS):
        item = make(load(shared_data, CT), (2, 4), mode=mode)
        at = item.manifest.layout.leaves + 3
        shares = {j: flip(data, at) for j, data in enumerate(item.shares, start=1)}
        shares[1] = flip(shares[1], 50)
        shares[2] = flip(shares[2], 51)
        assert item.open(shares).original == item.original


def test_perfect_shares_are_uniform_and_independent(shared_data: Path) -> None:
    """k - 1 shares of two very different files look alike: even bytes, nothing in common."""
    for threshold in ((2, 2), (2, 3), (3, 4)):
        blank = make(bytes(200_000), threshold, mode=Mode.PERFECT, codec="none", chunk=None)
        full = make(load(shared_data, CT), threshold, mode=Mode.PERFECT, codec="none", chunk=None)
        for made in (blank, full):
            for share in made.shares:
                body = np.frombuffer(share, np.uint8)[200 : made.manifest.layout.leaves]
                counts = np.bincount(body, minlength=256)
                expected = len(body) / 256
                assert ((counts - expected) ** 2 / expected).sum() < 255 + 6 * np.sqrt(510)
        one, two = (np.frombuffer(share, np.uint8)[200:100_000] for share in blank.shares[:2])
        assert (one == two).mean() < 0.01


def test_xor_needs_all(shared_data: Path) -> None:
    item = make(load(shared_data, CT), (3, 3), mode=Mode.PERFECT)
    assert item.open().original == item.original
    with pytest.raises(UnrecoverableError):
        item.open({1: item.shares[0], 2: item.shares[1]})
    start, _ = fragment_at(item, 1)
    shares = dict(enumerate(item.shares, start=1)) | {2: flip(item.shares[1], start)}
    with pytest.raises(UnrecoverableError, match="chunks 1 of"):
        item.open(shares)
    opened = item.open(shares, partial=True)
    assert {(f.kind.value, f.part, f.chunk) for f in opened.findings} == {("tamper", 2, 1), ("lost", None, 1)}
    readers = {index: BytesShare(data) for index, data in shares.items()}
    with pytest.raises(UnrecoverableError):
        rebuild(item.manifest, readers, {2: io.BytesIO()})


@given(
    data=st.binary(max_size=400),
    k=st.integers(2, 5),
    extra=st.integers(0, 3),
    mode=st.sampled_from([Mode.KEYED, Mode.PERFECT]),
    pick=st.randoms(use_true_random=False),
)
def test_dispersal(data: bytes, k: int, extra: int, mode: Mode, pick: object) -> None:
    """Any k fragments give the chunk, and every other fragment."""
    n = k + extra
    core = Core(bytes(16), 1, bytes(16), 1, mode, k, n, 4096, len(data), "none", bytes(24))
    way = disperser(core)
    fragments = dict(enumerate(way.split(data), start=1))
    chosen = {index: fragments[index] for index in pick.sample(sorted(fragments), k)}  # type: ignore[attr-defined]
    assert way.join(chosen, len(data)) == data
    wanted = frozenset(fragments) if extra or mode is Mode.KEYED else frozenset(chosen)
    assert way.others(chosen, len(data), wanted) == {index: fragments[index] for index in wanted}
    with pytest.raises(UnrecoverableError):
        way.join(dict(list(chosen.items())[: k - 1]), len(data))


@pytest.mark.parametrize("mode", list(Mode))
def test_key_shares(mode: Mode) -> None:
    plan = plan_keys(mode, 3, 5)
    core = Core(bytes(16), 1, bytes(16), 1, mode, 3, 5, 4096, 0, "none", bytes(24))
    extras = dict(enumerate(plan.extras, start=1))
    for chosen in combinations(extras, 3):
        for wanted in extras:
            assert rebuild_extra(core, {index: extras[index] for index in chosen}, wanted) == extras[wanted]
    assert plan.dek.hex() not in repr(plan)


def test_the_secret_holds_no_more_than_it_must(shared_data: Path) -> None:
    """With an owner of one's own the secret opens one image; without, the fresh owner's root goes into it."""
    image = load(shared_data, CT)
    mine = canonical.decode(Sealed(owner=OWNER).protect(image).secret.data)  # type: ignore[arg-type]
    fresh = canonical.decode(Sealed().protect(image).secret.data)  # type: ignore[arg-type]
    assert mine["owner"] == b""
    assert len(fresh["owner"]) == 32
    assert OWNER.root not in canonical.encode(mine)
