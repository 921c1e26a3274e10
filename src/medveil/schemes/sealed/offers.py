"""Part files as they are offered: which record of them all to believe, and where each one's share object starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from medveil.errors import FormatError, LimitError, NotAuthenticError, StaleError, StoreError, UnrecoverableError
from medveil.schemes.base import Finding, FindingKind
from medveil.schemes.sealed.format import HEADER_READ, SHARE_MAGIC, Manifest, ShareHeader
from medveil.schemes.sealed.records import MAX_RECORD, PART_MAGIC, Record, unpack_record
from medveil.schemes.sealed.shares import Findings, ShareReader, match_shares


@dataclass(frozen=True, slots=True)
class OffsetShare:
    """The share object in a part file: `reader` from `start` on."""

    reader: ShareReader
    start: int

    @property
    def size(self) -> int:
        """Bytes of the share object."""
        return max(0, self.reader.size - self.start)

    def read(self, offset: int, length: int, /) -> bytes:
        """Return bytes of the share object. Raises StoreError."""
        return self.reader.read(self.start + offset, length)


@dataclass(frozen=True, slots=True)
class Offer:
    """A part file that was offered; `record` is None where its front cannot be read, `manifest` where that cannot."""

    reader: ShareReader
    head: bytes
    record: Record | None
    manifest: Manifest | None
    refusal: FormatError | LimitError | None = None


def look_at(parts: Mapping[int, ShareReader], findings: Findings) -> dict[int, Offer]:
    """Read the front of each part file, by 1-based place."""
    offers = {}
    for place, reader in parts.items():
        try:
            head = reader.read(0, min(MAX_RECORD, reader.size))
        except StoreError as error:
            findings.add(Finding(FindingKind.UNREACHABLE, f"part {place} cannot be read: {error}", part=place))
            continue
        record = manifest = refusal = None
        try:
            record = unpack_record(head, PART_MAGIC)
            manifest = Manifest.parse_unverified(record.manifest)
        except (FormatError, LimitError) as error:
            refusal = error
        offers[place] = Offer(reader, head, record, manifest, refusal)
    return offers


@dataclass(frozen=True, slots=True)
class Chosen:
    """The manifest that is believed, every envelope that was seen, and the share objects by place."""

    manifest: Manifest
    envelopes: tuple[bytes, ...]
    shares: dict[int, ShareReader]


def choose(
    offers: Mapping[int, Offer],
    extra: Record | None,
    accept: Callable[[Manifest], Manifest] | None,
    findings: Findings,
) -> Chosen:
    """Choose the manifest among the parts' records and one more (`extra`, from a manifest file), and blame the rest.

    accept: verifies a manifest and returns it, or raises NotAuthenticError; None where there is nothing to verify
    with. Of several authentic ones the highest version counts, then the one that most parts carry; of unverified
    ones first the one that most shares belong to.
    Raises what `accept` raised where no manifest passes, UnrecoverableError where there is none.
    """
    records = ([extra] if extra is not None else []) + [o.record for o in offers.values() if o.record and o.manifest]
    if not records:
        for offer in offers.values():
            if isinstance(offer.refusal, LimitError):
                raise offer.refusal
        if offers:
            raise FormatError("no part has a readable manifest: they are damaged or not of a protected object")
        raise UnrecoverableError("there are no parts: bring back at least k of them")
    manifest = _best(offers, Counter(record.manifest for record in records), accept)
    agreeing = [record for record in records if record.manifest == manifest.data]
    true = Counter((record.envelopes, record.size) for record in agreeing).most_common(1)[0][0]
    envelopes = dict.fromkeys(one for record in agreeing for one in record.envelopes)
    shares: dict[int, ShareReader] = {}
    for place, offer in offers.items():
        record = offer.record
        start = _start(offer, true[1])
        # The share is found wherever it begins; bytes put in before it are a change of the record all the same.
        same = record is not None and (record.manifest, record.envelopes, record.size) == (
            manifest.data,
            true[0],
            start,
        )
        shares[place] = OffsetShare(offer.reader, start)
        if not same and not _other_object(offer, shares[place], manifest):
            message = f"the record in front of part {place} was changed"
            findings.add(Finding(FindingKind.TAMPER, message, part=place, place="record"))
    return Chosen(manifest, tuple(envelopes), shares)


def _best(
    offers: Mapping[int, Offer], votes: Mapping[bytes, int], accept: Callable[[Manifest], Manifest] | None
) -> Manifest:
    accepted: list[tuple[int, int, int, Manifest]] = []
    refusal: NotAuthenticError | LimitError | None = None
    for data, count in votes.items():
        manifest = Manifest.parse_unverified(data)
        support = 0
        if accept is None:
            support = _support(offers, manifest) if len(votes) > 1 else 0
        else:
            try:
                manifest = accept(manifest)
            except (NotAuthenticError, LimitError) as error:
                if refusal is None or isinstance(error, StaleError):
                    refusal = error
                continue
        accepted.append((support, manifest.version, count, manifest))
    if not accepted:
        raise refusal or FormatError("no part has a readable manifest")
    return max(accepted, key=lambda one: one[:3])[3]


def _support(offers: Mapping[int, Offer], manifest: Manifest) -> int:
    """Return how many of the parts hold a share that this manifest names."""
    shares = {
        place: OffsetShare(offer.reader, _start(offer, offer.record.size if offer.record else 0))
        for place, offer in offers.items()
    }
    matched = match_shares(manifest, shares, Findings())
    return sum(share.extra_proved for share in matched.values())


def _start(offer: Offer, expected: int) -> int:
    """Where the share object starts: where it should, else where the part's own record or its first bytes say."""
    own = offer.record.size if offer.record is not None else expected
    for start in (expected, own, offer.head.find(SHARE_MAGIC)):
        if start >= 0 and offer.head[start : start + len(SHARE_MAGIC)] == SHARE_MAGIC:
            return start
    return expected


def _other_object(offer: Offer, share: ShareReader, manifest: Manifest) -> bool:
    """Whether a part is a whole one of another object or version: then its share says so, and it was not changed."""
    other = offer.manifest
    named = (manifest.object_id, manifest.version)
    if other is None or (other.object_id, other.version) == named:
        return False
    try:
        header = ShareHeader.decode(share.read(0, HEADER_READ))
    except (FormatError, StoreError):
        return False
    return (header.object_id, header.version) == (other.object_id, other.version)
