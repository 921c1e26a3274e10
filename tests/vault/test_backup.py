"""The owner's root as SLIP-39 words."""

from __future__ import annotations

import itertools

import pytest
import shamir_mnemonic
from tests.vault.vault_room import OWNER

from medveil.crypto.keyfile import OwnerKey
from medveil.errors import InputError, UnrecoverableError
from medveil.vault.backup import WORDS, combine, split

# A backup of a 16-byte secret has 20 words a sheet.
OTHER_LENGTH = tuple(shamir_mnemonic.generate_mnemonics(1, [(2, 2)], bytes(range(16)))[0])


def test_any_k_sheets_bring_the_owner_back() -> None:
    sheets = split(OWNER, 3, 5)
    assert len(set(sheets)) == 5
    assert all(len(sheet.split()) == WORDS for sheet in sheets)
    for some in itertools.combinations(sheets, 3):
        assert combine(some).root == OWNER.root
    assert combine([*sheets, sheets[0].upper()]).public.fingerprint == OWNER.public.fingerprint
    assert shamir_mnemonic.combine_mnemonics(list(sheets[1:4])) == OWNER.root


def test_two_backups_of_one_key_differ() -> None:
    first, second = split(OWNER, 2, 3), split(OWNER, 2, 3)
    assert not set(first) & set(second)
    with pytest.raises(InputError, match="different backups"):
        combine([first[0], second[1]])


def test_too_few_and_the_same_one_twice() -> None:
    sheets = split(OWNER, 2, 3)
    for few in ([sheets[0]], [sheets[0], sheets[0]], []):
        with pytest.raises(UnrecoverableError, match="2 are needed"):
            combine(few)


def test_a_wrong_word_is_noticed_and_not_repeated() -> None:
    sheets = split(OWNER, 2, 2)
    words = sheets[0].split()
    for at in range(0, WORDS, 4):
        for other in ("academic", "zzzzzz"):
            if words[at] == other:
                continue
            bad = " ".join([*words[:at], other, *words[at + 1 :]])
            with pytest.raises(InputError, match="sheet 1") as refused:
                combine([bad, sheets[1]])
            assert not set(words) & set(str(refused.value).split()) - {"a", "of", "is", "it", "its"}
    with pytest.raises(InputError, match="33 belong"):
        combine([" ".join(words[:-1]), sheets[1]])
    with pytest.raises(InputError, match="33 belong"):
        combine(OTHER_LENGTH)


@pytest.mark.parametrize(("k", "n"), [(1, 2), (3, 2), (0, 0), (2, 17), (-1, 3)])
def test_thresholds_that_are_refused(k: int, n: int) -> None:
    with pytest.raises(InputError):
        split(OWNER, k, n)


def test_one_sheet_alone_is_allowed() -> None:
    assert combine(split(OwnerKey(b"\7" * 32), 1, 1)).root == b"\7" * 32
