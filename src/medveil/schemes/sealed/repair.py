"""Chunk by chunk: which fragments are right, what the chunk is, who is to blame; and whole shares made again.

A fragment whose leaf leads to the manifest is right, one whose leaf does not is wrong. Where fewer than k are
right, fragments of shares with a damaged leaf list are tried in all combinations; with a key the AEAD says which
is the chunk, without one the leaves of all other shares must agree with it, or at least k + 1 fragments with each
other. From the chunk every fragment is made again and compared byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Final

import numpy as np

from medveil.crypto.stream import StreamKey
from medveil.errors import InputError, TamperedError, UnrecoverableError
from medveil.schemes.base import Finding, FindingKind
from medveil.schemes.sealed.body import SupportsWrite
from medveil.schemes.sealed.format import EXTRA_SIZE, LeafHasher, Manifest, Mode, ShareHeader, share_root
from medveil.schemes.sealed.modes import MAX_COMBINATIONS, disperser, rebuild_extra
from medveil.schemes.sealed.shares import Findings, Share, ShareReader, match_shares
from medveil.schemes.sealed.workers import ALONE, ordered

_WINDOW: Final = 4
_MAX_RUNS: Final = 4096  # a fragment changed in more places than this is taken as changed from first to last

Range = tuple[int, int]
Fragments = dict[int, bytes | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one chunk. plain: its plaintext where there is a key and it could be opened.

    right: k or more right fragments where the chunk is whole. touched: ranges of the payload that depend on
    changed bytes.
    """

    number: int
    plain: bytes | None
    right: dict[int, bytes]
    findings: tuple[Finding, ...]
    touched: tuple[Range, ...]


class Solver:
    """Solves chunks of one object from the shares that are there; safe to use from several threads."""

    def __init__(self, manifest: Manifest, shares: Mapping[int, Share], key: StreamKey | None) -> None:
        self._manifest = manifest
        self._layout = manifest.layout
        self._shares = shares
        self._key = key
        self._disperser = disperser(manifest.core)

    def read(self, number: int, findings: Findings) -> Fragments:
        """Read every share's fragment of a chunk; not to be called from several threads."""
        return {index: share.fragment(self._manifest, number, findings) for index, share in self._shares.items()}

    def solve(self, number: int, fragments: Fragments) -> Outcome:
        """Work out one chunk."""
        right: dict[int, bytes] = {}
        wrong: dict[int, bytes | None] = {}
        suspect: dict[int, bytes] = {}
        for index, data in fragments.items():
            proof = None if data is None else self._shares[index].proves(number, data)
            if data is None or proof is False:
                wrong[index] = data
            elif proof is None:
                suspect[index] = data
            else:
                right[index] = data
        plain: bytes | None = None
        solved = False
        if len(right) >= self._manifest.k:
            solved, plain = self._accept(number, right, fragments)
        if not solved and suspect:
            for chosen in self._guesses(right, suspect):
                solved, plain = self._accept(number, chosen, fragments)
                if solved:
                    right = chosen
                    break
        if not solved:
            return self._lost(number, wrong)
        if not wrong and not suspect:
            return Outcome(number, plain, right, (), ())
        return self._blame(number, plain, right, wrong | {i: d for i, d in suspect.items() if i not in right})

    def _guesses(self, right: dict[int, bytes], suspect: dict[int, bytes]) -> Iterator[dict[int, bytes]]:
        need = self._manifest.k - len(right)
        for chosen in islice(combinations(suspect, max(0, need)), MAX_COMBINATIONS):
            yield right | {index: suspect[index] for index in chosen}

    def _accept(self, number: int, chosen: dict[int, bytes], fragments: Fragments) -> tuple[bool, bytes | None]:
        """Whether these fragments give the chunk; with a key also its plaintext."""
        length = self._layout.sealed(number)
        if self._key is not None:
            try:
                return True, self._key.open_chunk(number, self._disperser.join(chosen, length))
            except TamperedError:
                return False, None
        if all(self._shares[index].leaves is not None for index in chosen):
            return True, None  # each was proved by its leaf
        others = self._others(number, chosen, frozenset(fragments))
        proofs = [self._shares[index].proves(number, data) for index, data in others.items()]
        agreeing = sum(fragments[index] == data for index, data in others.items())
        return False not in proofs and (True in proofs or agreeing > self._manifest.k), None

    def _others(self, number: int, chosen: Mapping[int, bytes], wanted: frozenset[int]) -> dict[int, bytes]:
        return self._disperser.others(chosen, self._layout.sealed(number), wanted)

    def _lost(self, number: int, wrong: Mapping[int, bytes | None]) -> Outcome:
        findings = [Finding(FindingKind.LOST, f"chunk {number} cannot be given back", chunk=number)]
        findings += [self._tamper(number, index) for index, data in wrong.items() if data is not None]
        return Outcome(number, None, {}, tuple(findings), (self._chunk_range(number),))

    def _tamper(self, number: int, index: int) -> Finding:
        offered = self._shares[index].offered
        return Finding(FindingKind.TAMPER, f"share {offered} was changed in chunk {number}", part=offered, chunk=number)

    def _blame(
        self, number: int, plain: bytes | None, right: dict[int, bytes], doubtful: Mapping[int, bytes | None]
    ) -> Outcome:
        try:
            expected = self._others(number, right, frozenset(doubtful))
        except UnrecoverableError:  # mode D with k = n: no share can be made again, so none was repaired either
            expected = {}
        findings: list[Finding] = []
        touched: list[Range] = []
        for index, data in doubtful.items():
            if not self._shares[index].alive:
                continue
            runs: list[Range]
            if data is None:
                runs = [(0, self._layout.fragment(number))]
            else:
                runs = _differences(data, expected[index]) if index in expected else [(0, len(data))]
                if runs:
                    findings.append(self._tamper(number, index))
            touched += [place for run in runs for place in self._payload_ranges(number, index, run)]
        return Outcome(number, plain, right, tuple(findings), tuple(touched))

    def _chunk_range(self, number: int) -> Range:
        start = number * self._layout.chunk
        return start, start + self._layout.plaintext(number)

    def _payload_ranges(self, number: int, index: int, run: Range) -> Iterator[Range]:
        """Return the places in the payload that bytes [start, end) of a fragment depend on.

        The AEAD's tag stands for the whole chunk.
        """
        size, k = self._layout.fragment(number), self._manifest.k
        pieces = [index - 1] if index <= k else list(range(k))
        if self._manifest.mode is Mode.PERFECT:
            pieces = [0]
        base, _ = self._chunk_range(number)
        plaintext = self._layout.plaintext(number)
        for piece in pieces:
            start, end = piece * size + run[0], piece * size + run[1]
            if start < plaintext:
                yield base + start, base + min(end, plaintext)
            if end > plaintext and start < self._layout.sealed(number):
                yield self._chunk_range(number)


def _differences(data: bytes, expected: bytes) -> list[Range]:
    """Return the runs of bytes in which two fragments of one length differ."""
    changed = np.frombuffer(data, np.uint8) != np.frombuffer(expected, np.uint8)
    edges = np.flatnonzero(np.diff(changed.astype(np.int8), prepend=0, append=0))
    if len(edges) > 2 * _MAX_RUNS:
        return [(int(edges[0]), int(edges[-1]))]
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def check_share(manifest: Manifest, index: int, reader: ShareReader) -> tuple[Finding, ...]:
    """Check one share by itself, without a key, piece by piece. Empty where it is exactly what was written.

    Where its leaf list was changed the damage of its fragments cannot be located from this share alone: use
    `check_shares` with k others.
    """
    return check_shares(manifest, {index: reader}, expected=(index,), alone=True)


def check_shares(
    manifest: Manifest,
    shares: Mapping[int, ShareReader],
    *,
    expected: tuple[int, ...] | None = None,
    alone: bool = False,
) -> tuple[Finding, ...]:
    """Check shares against the manifest and each other, without a key.

    expected: the places that should be filled, all n by default. alone: leave out what only k shares together can
    show (chunks that are lost).
    """
    findings = Findings()
    matched = match_shares(manifest, shares, findings, expected=expected)
    if alone or len(matched) < manifest.k:
        for share in matched.values():
            _check_alone(manifest, share, findings)
        return findings.result()
    solver = Solver(manifest, matched, None)
    for outcome in _outcomes(manifest, solver, findings):
        findings.add(*outcome.findings)
    return findings.result()


def _check_alone(manifest: Manifest, share: Share, findings: Findings) -> None:
    for number in range(manifest.layout.count):
        data = share.fragment(manifest, number, findings)
        if data is not None and share.proves(number, data) is False:
            message = f"share {share.offered} was changed in chunk {number}"
            findings.add(Finding(FindingKind.TAMPER, message, part=share.offered, chunk=number))


def _outcomes(manifest: Manifest, solver: Solver, findings: Findings) -> Iterator[Outcome]:
    def work(item: tuple[int, Fragments]) -> Outcome:
        return solver.solve(*item)

    items = ((number, solver.read(number, findings)) for number in range(manifest.layout.count))
    return ordered(work, items, window=_WINDOW if manifest.padded_len > ALONE else 1)


def rebuild(
    manifest: Manifest, shares: Mapping[int, ShareReader], wanted: Mapping[int, SupportsWrite]
) -> tuple[Finding, ...]:
    """Make the shares `wanted` again from any k others, without a key, and return what was noticed.

    Each share is written front to back; it is right only where this returns: at the end its root is compared with
    the manifest's. The damaged share itself may be among `shares`. A REPAIRED finding is added for each.
    Raises UnrecoverableError where a chunk or the key share cannot be made again, InputError for no such share.
    """
    if not all(1 <= index <= manifest.n for index in wanted):
        raise InputError(f"an object of {manifest.n} shares has no others than 1 to {manifest.n}")
    findings = Findings()
    matched = match_shares(manifest, shares, findings)
    if len(matched) < manifest.k:
        raise UnrecoverableError(f"{len(matched)} usable shares are there and {manifest.k} are needed: find more")
    core, indexes = manifest.core, frozenset(wanted)
    extras = _proved_extras(manifest, matched)
    hashers = {index: LeafHasher(core, index) for index in wanted}
    leaves: dict[int, list[bytes]] = {}
    for index, sink in wanted.items():
        header = ShareHeader.of(core, index, rebuild_extra(core, extras, index)).encode()
        leaves[index] = [hashers[index].header(header)]
        sink.write(header)
    solver = Solver(manifest, matched, None)
    made = disperser(core)
    for outcome in _outcomes(manifest, solver, findings):
        findings.add(*outcome.findings)
        if not outcome.right:
            raise UnrecoverableError(f"chunk {outcome.number} cannot be made again: fewer than {manifest.k} are intact")
        for index, data in made.others(outcome.right, manifest.layout.sealed(outcome.number), indexes).items():
            leaves[index].append(hashers[index].fragment(outcome.number, data))
            wanted[index].write(data)
    for index, sink in wanted.items():
        sink.write(b"".join(leaves[index]))
        if share_root(leaves[index]) != manifest.share_roots[index - 1]:
            raise UnrecoverableError(f"share {index} as made again is not the one that was signed: find more parts")
        findings.add(Finding(FindingKind.REPAIRED, f"share {index} was made again", part=index))
    return findings.result()


def _proved_extras(manifest: Manifest, matched: Mapping[int, Share]) -> dict[int, bytes]:
    if EXTRA_SIZE[manifest.mode] == 0:
        return {}
    proved = {index: share.extra for index, share in matched.items() if share.extra_proved}
    if len(proved) < manifest.k:
        raise UnrecoverableError(
            f"{len(proved)} shares have an intact header and {manifest.k} are needed to make another one's"
        )
    return proved
