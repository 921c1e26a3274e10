"""What comes out: verified pixels, findings and the tamper map; and what can be said without the secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from medveil.errors import FormatError, TamperedError
from medveil.schemes.base import Finding, FindingKind, Part, Restored, TamperMap
from medveil.schemes.roi_watermark import carriers, hardened, keys, paper, regions, sealed_file
from medveil.schemes.roi_watermark.hardened import Blocks
from medveil.schemes.roi_watermark.paper import PaperBlocks
from medveil.schemes.roi_watermark.secret import ImageSecret, pack_region
from medveil.schemes.roi_watermark.share import PAPER, Share

_LISTED: Final = 256  # blocks named one by one; the rest are counted


@dataclass(slots=True)
class _Report:
    """Findings in the order in which a person wants them: parts, then blocks, then the file."""

    findings: list[Finding]

    def add(self, kind: FindingKind, message: str, part: int | None = None, **where: Any) -> None:
        self.findings.append(Finding(kind, message, part, where.get("chunk"), where.get("place")))


def restore(pair: tuple[Share, Share], own: ImageSecret) -> Restored:
    """Verify, repair and put together what `admission.pair_of` let in.

    Raises TamperedError where nothing authentic is left.
    """
    h = own.header
    k = keys.derive(own.key, own.salt)
    mask = regions.known_mask(own.roi, h.rows, h.columns)
    if h.profile == PAPER:
        return _finish_paper(pair, own, paper.read_blocks(*pair, mask, own))
    mixed, records = hardened.join(*pair)
    blocks = hardened.read_blocks(mixed, mask, own, k)
    return _finish_hardened(pair, own, blocks, records)


def _finish_hardened(pair: tuple[Share, Share], own: ImageSecret, blocks: Blocks, records: list[bytes]) -> Restored:
    h = own.header
    if blocks.damaged.all():
        raise TamperedError("no block of these shares is authentic: they were replaced, fetch them again")
    k = keys.derive(own.key, own.salt)
    region = pack_region(own.roi)
    report = _Report([])
    bad = [i for i in (0, 1) if hardened.mac_of(pair[i], k, region) != own.share_macs[i] or pair[i].stray]
    for i in bad:
        seen = int(blocks.damaged[i].sum()) if not h.split else int(blocks.touched.sum())
        report.add(FindingKind.TAMPER, f"share {i + 1} was changed: {seen} blocks of the image are touched", i + 1)
    if blocks.touched.any() and not bad:
        raise TamperedError("blocks disagree although both shares are whole: the secret's MACs were changed")
    _report_blocks(report, blocks, own, bad)
    record, lost_copies = None, []
    for i, sealed in enumerate(records):
        try:
            record = sealed_file.open_record(sealed, k.record, h.iid)
        except TamperedError:
            lost_copies.append(i)
    _report_record(report, lost_copies, len(records))
    planes = regions.from_blocks(
        blocks.pixels, h.frames * h.samples, regions.padded(h.rows), regions.padded(h.columns)
    )[:, : h.rows, : h.columns]
    pixels = regions.from_planes(np.ascontiguousarray(planes), h.samples, colour_axis=h.colour_axis, signed=h.signed)
    inexact = blocks.lost | blocks.approximate
    shape = (h.frames, h.rows, h.columns)
    tamper_map = TamperMap(
        regions.blocks_to_map(blocks.touched, shape, h.samples),
        regions.blocks_to_map(inexact, shape, h.samples),
        regions.BLOCK,
    )
    image = sealed_file.rebuild(record, pixels, exact=not inexact.any())
    return Restored(image, tuple(report.findings), tamper_map)


def _report_blocks(report: _Report, blocks: Blocks, own: ImageSecret, bad: list[int]) -> None:
    """Name every touched block, what became of it, and the shares to blame."""

    h = own.header
    outcomes = (
        (blocks.lost, FindingKind.LOST, "lost, shown as zeros"),
        (blocks.approximate, FindingKind.APPROXIMATE, "restored approximately from a lossy copy"),
        (blocks.repaired, FindingKind.REPAIRED, "restored exactly"),
    )
    for flags, kind, outcome in outcomes:
        where = np.flatnonzero(flags)
        for block in where[:_LISTED]:
            guilty = bad if h.split else [s for s in (0, 1) if blocks.damaged[s, block]]
            part = guilty[0] + 1 if len(guilty) == 1 else None
            place = regions.place_of(int(block), h.rows, h.columns, h.samples)
            report.add(kind, f"a block was changed and is {outcome}", part, chunk=int(block), place=place)
        if where.size > _LISTED:
            report.add(kind, f"{where.size - _LISTED} more blocks were changed and are {outcome}")


def _report_record(report: _Report, lost_copies: list[int], copies: int) -> None:
    if len(lost_copies) == copies:
        report.add(
            FindingKind.LOST, "what the file held beside its pixels is lost in both shares", place="sealed file record"
        )
    elif lost_copies:
        part = lost_copies[0] + 1
        report.add(
            FindingKind.REPAIRED, "the file record of one share was changed and the other's was used", part,
            place="sealed file record",
        )  # fmt: skip


def _finish_paper(pair: tuple[Share, Share], own: ImageSecret, found: PaperBlocks) -> Restored:
    h = own.header
    if found.changed.all():
        raise TamperedError(
            "no block of the region agrees with its hash: the shares or the secret are not the right ones"
        )
    report = _Report([])
    for i in (0, 1):
        if pair[i].checksum() != pair[i].header.checksum or pair[i].stray:
            report.add(FindingKind.TAMPER, f"share {i + 1} does not agree with its checksum", i + 1)
    record, lost_copies = None, []
    k = keys.derive(own.key, own.salt)
    for i in (0, 1):
        try:
            record = sealed_file.open_record(pair[i].record, k.record, h.iid)
        except TamperedError:
            lost_copies.append(i)
    touched = np.zeros((h.frames, h.rows, h.columns), np.bool_)
    planes = found.planes.copy()
    per_frame = h.samples * h.sample_bytes
    for i in map(int, np.flatnonzero(found.changed)):
        block = found.blocks[i]
        touched[block.plane // per_frame, block.top : block.bottom, block.left : block.right] = True
        block.cut(planes)[:] = 0
        place = f"plane {block.plane}, rows {block.top}:{block.bottom}, columns {block.left}:{block.right}"
        if i < _LISTED:
            report.add(FindingKind.LOST, "a block disagrees with its hash", chunk=i, place=place)
    if int(found.changed.sum()) and not any(f.kind is FindingKind.LOST for f in report.findings):
        report.add(FindingKind.LOST, f"{int(found.changed.sum())} blocks disagree with their hashes")
    if own.roi:
        report.add(FindingKind.UNVERIFIED, "profile paper checks nothing outside the region of interest")
    _report_record(report, lost_copies, 2)
    words = paper.from_byte_planes(planes, h.sample_bytes)
    pixels = regions.from_planes(np.ascontiguousarray(words), h.samples, colour_axis=h.colour_axis, signed=h.signed)
    exact = all(f.kind is FindingKind.UNVERIFIED for f in report.findings)
    image = sealed_file.rebuild(record, pixels, exact=exact)
    return Restored(image, tuple(report.findings), TamperMap(touched, touched.copy(), regions.BLOCK))


def verify_without_secret(parts: Sequence[Part | bytes]) -> tuple[Finding, ...]:
    """Say what checksums and headers tell without any key. Raises FormatError or TamperedError where no part is one."""
    report = _Report([])
    shares: dict[int, Share] = {}
    errors: list[FormatError | TamperedError] = []
    for number, part in enumerate(parts, 1):
        try:
            share = carriers.unpack(part if isinstance(part, bytes) else part.data)
        except (FormatError, TamperedError) as error:
            errors.append(error)
            report.add(FindingKind.TAMPER, str(error), part.index if isinstance(part, Part) else number)
            continue
        index = share.header.index
        if isinstance(part, Part) and part.index != index:
            report.add(FindingKind.SWAPPED, f"part {part.index} holds share {index}", part.index)
        if share.checksum() != share.header.checksum or share.stray:
            report.add(FindingKind.TAMPER, f"share {index} does not agree with its checksum", index)
        shares[index] = share
    if errors and not shares:
        raise errors[0]
    for index in (1, 2):
        if index not in shares and not errors:
            report.add(FindingKind.MISSING, f"share {index} is missing", index)
    if len(shares) == 2:
        a, b = shares[1].header, shares[2].header
        if a.object_id != b.object_id:
            report.add(FindingKind.FOREIGN, "the shares belong to two images")
        elif a.object_version != b.object_version:
            older = 1 if a.object_version < b.object_version else 2
            report.add(FindingKind.STALE, f"share {older} is of an older version than the other", older)
        elif replace(a, index=2, checksum=b.checksum) != b:
            report.add(FindingKind.FOREIGN, "the shares come from two protections of the image")
    return tuple(report.findings)
