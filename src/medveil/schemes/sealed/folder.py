"""A protected file on disk: part-1 ... part-n and manifest, written and read in bounded memory."""

from __future__ import annotations

import io
from contextlib import ExitStack
from functools import partial as bind
from pathlib import Path
from typing import BinaryIO, Final, cast

from medveil.crypto.keyfile import OwnerKey, OwnerPublic
from medveil.errors import (
    FormatError,
    LimitError,
    StoreUnavailableError,
    UnrecoverableError,
)
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.reader import read_any
from medveil.imaging.roi import ROI
from medveil.schemes.base import Finding, FindingKind, Restored
from medveil.schemes.bundle import MANIFEST, Progress, Verified, part_files
from medveil.schemes.sealed.body import SealOptions, SupportsWrite, seal_into
from medveil.schemes.sealed.format import Core, Manifest
from medveil.schemes.sealed.offers import Chosen, choose, look_at
from medveil.schemes.sealed.opening import Nowhere, Opened, open_shares
from medveil.schemes.sealed.records import (
    MANIFEST_MAGIC,
    MAX_RECORD,
    PART_MAGIC,
    Record,
    pack_record,
    record_size,
    unpack_record,
)
from medveil.schemes.sealed.repair import check_shares
from medveil.schemes.sealed.shares import Findings, ShareReader
from medveil.schemes.sealed.source import FileSource, Sealable

IN_MEMORY: Final = 256 << 20
"""Files up to this size are decoded, so that their tiles can be tagged whatever their encoding; bytes."""


class FileShare:
    """A file as a ShareReader. Raises StoreUnavailableError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        try:
            self._handle = path.open("rb")
            self.size = self._handle.seek(0, io.SEEK_END)
        except OSError as error:
            raise StoreUnavailableError(f"cannot read {path.name}: {error.strerror}", transient=False) from None

    def read(self, offset: int, length: int, /) -> bytes:
        """Return bytes of the file."""
        try:
            self._handle.seek(offset)
            return self._handle.read(length)
        except OSError as error:
            raise StoreUnavailableError(f"cannot read a part: {error.strerror}", transient=False) from None

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def protect(
    source: Path, folder: Path, *, owner: OwnerKey, options: SealOptions, roi: ROI, progress: Progress | None
) -> None:
    """Write part-1 ... part-n and the manifest of the file `source` into `folder`.

    Raises InputError where the source cannot be read, and as `seal`.
    """
    size = source.stat().st_size if source.is_file() else 0
    given: Sealable = read_any(source) if size <= IN_MEMORY else FileSource(source)
    with ExitStack() as stack:
        handles: list[BinaryIO] = []

        def open_sinks(core: Core) -> list[SupportsWrite]:
            for index in range(1, core.n + 1):
                handle = stack.enter_context((folder / f"part-{index}").open("xb"))
                handle.seek(record_size(core))
                handles.append(handle)
            return list(handles)

        sealed = seal_into(given, open_sinks, owner=owner, options=options, roi=roi, progress=progress)
        for handle in handles:
            handle.seek(0)
            handle.write(pack_record(PART_MAGIC, sealed.manifest, sealed.envelopes))
    (folder / MANIFEST).write_bytes(pack_record(MANIFEST_MAGIC, sealed.manifest, sealed.envelopes))


def restore(folder: Path, *, owner: OwnerKey, out: Path, partial: bool, progress: Progress | None) -> Restored:
    """Write the verified original to `out`; its image is decoded again where it fits the memory.

    Raises as `open_shares`, and UnrecoverableError where the folder holds nothing to go by.
    """
    with ExitStack() as stack:
        opened = _open(stack, folder, owner, out, partial=partial, progress=progress)
    return Restored(_image(opened, out), opened.findings, opened.tamper_map)


def verify(folder: Path, *, owner: OwnerKey | None, progress: Progress | None) -> Verified:
    """Check the parts of a folder; with the owner's key also what they hold, where it was touched, and the image."""
    with ExitStack() as stack:
        if owner is None:
            findings = Findings()
            chosen = _choose(stack, folder, None, findings)
            findings.add(*check_shares(chosen.manifest, chosen.shares))
            return Verified(findings.result())
        small = sum(path.stat().st_size for path in part_files(folder).values()) <= 2 * IN_MEMORY
        opened = _open(stack, folder, owner, None, partial=True, progress=progress, keep=small)
    if not small:
        return Verified(opened.findings, opened.tamper_map)
    return Verified(opened.findings, opened.tamper_map, opened.image())


def _open(
    stack: ExitStack,
    folder: Path,
    owner: OwnerKey,
    out: Path | None,
    *,
    partial: bool,
    progress: Progress | None,
    keep: bool = True,
) -> Opened:
    findings = Findings()
    chosen = _choose(stack, folder, owner, findings)
    sink: BinaryIO | None = None
    if out is not None:
        sink = stack.enter_context(out.open("wb"))
    elif not keep:
        sink = cast(BinaryIO, Nowhere())
    return open_shares(
        chosen.manifest,
        chosen.envelopes,
        chosen.shares,
        owner,
        sink,
        partial=partial,
        progress=progress,
        findings=findings,
    )


def _choose(stack: ExitStack, folder: Path, owner: OwnerKey | None, findings: Findings) -> Chosen:
    readers: dict[int, ShareReader] = {}
    for index, path in part_files(folder).items():
        try:
            share = FileShare(path)
        except StoreUnavailableError as error:
            findings.add(Finding(FindingKind.UNREACHABLE, str(error), part=index))
            continue
        stack.callback(share.close)
        readers[index] = share
    extra = _manifest_file(folder / MANIFEST, findings)
    if not readers:
        raise UnrecoverableError(f"{folder} holds no parts: bring back at least k of part-1, part-2, ...")

    accept = None if owner is None else bind(_verified, owner.public)
    chosen = choose(look_at(readers, findings), extra, accept, findings)
    if extra is not None and extra.manifest != chosen.manifest.data:
        message = "the manifest file is not the one that the parts belong to: it was changed or replaced"
        findings.add(Finding(FindingKind.TAMPER, message, place="manifest"))
    return chosen


def _verified(owner: OwnerPublic, manifest: Manifest) -> Manifest:
    return Manifest.verify(manifest.data, owner)


def _manifest_file(path: Path, findings: Findings) -> Record | None:
    if not path.is_file():
        findings.add(Finding(FindingKind.MISSING, "the manifest file is not there", place="manifest"))
        return None
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_RECORD + 1)
        record = unpack_record(data, MANIFEST_MAGIC)
        Manifest.parse_unverified(record.manifest)
    except (FormatError, LimitError, OSError):
        findings.add(Finding(FindingKind.TAMPER, "the manifest file was changed", place="manifest"))
        return None
    if record.size != len(data):
        findings.add(Finding(FindingKind.TAMPER, "the manifest file was made longer", place="manifest"))
    return record


def _image(opened: Opened, out: Path) -> MedicalImage | OpaqueFile:
    if opened.index.length <= IN_MEMORY:
        if opened.index.pixels is None:
            return OpaqueFile(out.read_bytes(), "protected as bytes", name=opened.index.name)
        return read_any(out, name=opened.index.name)
    return OpaqueFile(b"", "too large to be held in memory", name=opened.index.name)
