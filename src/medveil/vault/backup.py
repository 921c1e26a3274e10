"""The owner's root as words on paper: SLIP-39 (SatoshiLabs), any k of n sheets bring the key file back.

Each sheet has 33 words: 15 bits of identifier, thresholds and a checksum of three words, so that a word that was copied
wrongly is noticed. Fewer than k sheets say nothing of the root. Words are secrets: they are read from files or a
terminal and never from a command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from medveil.crypto.keyfile import ROOT_SIZE, OwnerKey
from medveil.errors import InputError, MissingExtraError, TamperedError, UnrecoverableError

WORDS: Final = 33
"""Words of a sheet."""
MOST: Final = 16
"""Most sheets (SLIP-39)."""


def _library() -> Any:
    try:
        import shamir_mnemonic
    except ImportError:
        raise MissingExtraError("a backup in words", "backup") from None
    return shamir_mnemonic


def split(owner: OwnerKey, k: int, n: int) -> tuple[str, ...]:
    """Return n sheets of 33 words, any k of which bring the owner's root back; they are tried before they are given.

    Raises InputError unless 2 <= k <= n <= 16, or k = n = 1; MissingExtraError without the extra `backup`.
    """
    if not (2 <= k <= n <= MOST or k == n == 1):
        raise InputError(f"{k} of {n} sheets: any k of n, with 2 <= k <= n <= {MOST}")
    library = _library()
    (sheets,) = library.generate_mnemonics(1, [(k, n)], owner.root, iteration_exponent=1)
    if library.combine_mnemonics(sheets[-k:]) != owner.root:
        raise TamperedError("the sheets do not bring the key back: nothing was written, try again")
    return tuple(sheets)


def combine(sheets: Sequence[str]) -> OwnerKey:
    """Return the owner of these sheets.

    Raises InputError where a sheet has other than 33 words, an unknown word or a wrong checksum, or the sheets are of
    different backups; UnrecoverableError where they are too few. No message shows a word.
    """
    library = _library()
    clean: list[str] = []
    for number, sheet in enumerate(sheets, start=1):
        words = sheet.lower().split()
        if len(words) != WORDS:
            raise InputError(f"sheet {number} has {len(words)} words where {WORDS} belong: look at it again")
        try:
            library.Share.from_mnemonic(" ".join(words))
        except (library.MnemonicError, ValueError):
            raise InputError(
                f"a word of sheet {number} is wrong: its checksum does not fit, look at it again"
            ) from None
        clean.append(" ".join(words))
    distinct = list(dict.fromkeys(clean))
    parsed = [library.Share.from_mnemonic(one) for one in distinct]
    if len({(one.identifier, one.group_count, one.member_threshold) for one in parsed}) > 1:
        raise InputError("the sheets are of different backups: give sheets of one")
    needed = parsed[0].member_threshold if parsed else 2
    if len(distinct) < needed:
        raise UnrecoverableError(f"{len(distinct)} sheets were given and {needed} are needed: find more of them")
    try:
        root = library.combine_mnemonics(distinct[:needed])
    except (library.MnemonicError, ValueError):
        raise InputError("the sheets do not belong together: give sheets of one backup") from None
    if len(root) != ROOT_SIZE:
        raise InputError("the sheets hold no owner's root of this program")
    return OwnerKey(root)
