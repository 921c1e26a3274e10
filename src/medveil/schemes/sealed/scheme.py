"""`Sealed`: the scheme interface over the format."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final, cast

from medveil.crypto import canonical
from medveil.crypto.hashing import HASH_SIZE, tagged
from medveil.crypto.keyfile import ROOT_SIZE, OwnerKey
from medveil.crypto.stream import KEY_SIZE
from medveil.errors import FormatError, StaleError, TamperedError, UsageError, WrongKeyError
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.roi import ROI
from medveil.schemes.base import Claim, Finding, FindingKind, Part, Protected, Restored, Scheme, Secret
from medveil.schemes.bundle import Progress, Verified
from medveil.schemes.sealed import folder as folders
from medveil.schemes.sealed.body import SealOptions, seal
from medveil.schemes.sealed.format import HEADER_READ, OBJECT_ID_SIZE, SHARE_MAGIC, Manifest, Mode, ShareHeader
from medveil.schemes.sealed.offers import Chosen, choose, look_at
from medveil.schemes.sealed.opening import Nowhere, Opened, open_with, tags_with, unseal_key
from medveil.schemes.sealed.records import pack_part
from medveil.schemes.sealed.repair import check_shares
from medveil.schemes.sealed.shares import BytesShare, Findings, ShareReader
from medveil.schemes.sealed.tiles import CELL, compare_pixels

_FIELDS: Final = {"v", "object", "version", "digest", "manifest", "key", "owner"}
_MAX_SECRET: Final = 4096
_MAX_PARTS: Final = 64


class Sealed(Scheme):
    """Authenticated encryption, then dispersal over n places; any k parts and the secret give every byte back.

    threshold: (k, n). mode: "keyed" (A), "two-factor" (B), "keyless" (C; only with insecure_keyless=True, since
    any k holders can read) or "perfect" (D). codec: "archive" (HTJ2K), "ingest" (JPEG XL effort 1) or "none".
    chunk: bytes, None chooses by size. owner: signs and can open; without one a fresh owner is made and goes into
    the secret. Raises UsageError for options that do not exist.
    """

    name: ClassVar[str] = "sealed"
    version: ClassVar[int] = 1
    claim: Claim = Claim(
        lossless=True,
        authenticated=True,
        localises=True,
        tile=CELL,
        repairs=True,
        any_file=True,
        threshold=(2, 4),
        thresholds=True,
        private_below_threshold=True,
        bit_depths=(1, 8, 10, 12, 14, 16, 32),
        signed=True,
        colour=True,
        multiframe=True,
        floats=True,
        roi=True,
    )
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}, "1/1": {"threshold": (1, 1)}}

    def __init__(
        self,
        threshold: tuple[int, int] = (2, 4),
        mode: str = Mode.KEYED.value,
        codec: str = "archive",
        chunk: int | None = None,
        owner: OwnerKey | None = None,
        *,
        insecure_keyless: bool = False,
    ) -> None:
        if mode not in list(Mode):
            raise UsageError(f"there is no mode {mode!r}: choose one of {', '.join(Mode)}")
        if mode == Mode.KEYLESS and not insecure_keyless:
            raise UsageError("in mode keyless any k holders can read: pass insecure_keyless=True if that is wanted")
        self._options = SealOptions((threshold[0], threshold[1]), Mode(mode), codec, chunk)
        if threshold[0] == threshold[1]:  # without a part to spare, what was changed is refused, not shown or mended
            narrowed = replace(type(self).claim, localises=False, tile=None, repairs=False)
        else:
            narrowed = type(self).claim
        self.claim = replace(narrowed, threshold=self._options.threshold)
        self._owner = owner

    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:
        """Seal an image; see `Scheme.protect`."""
        owner = self._owner or OwnerKey.generate()
        sinks = [io.BytesIO() for _ in range(self._options.threshold[1])]
        record = seal(image, sinks, owner=owner, options=self._options, roi=roi)
        parts = tuple(
            Part(index, pack_part(record.manifest, record.envelopes, sink.getvalue()))
            for index, sink in enumerate(sinks, start=1)
        )
        secret = canonical.encode(
            {
                "v": 1,
                "object": record.parsed.object_id,
                "version": record.parsed.version,
                "digest": record.parsed.digest,
                "manifest": tagged("sealed manifest file", record.manifest),
                "key": record.key,
                "owner": b"" if self._owner is not None else owner.root,
            }
        )
        return Protected(parts, Secret(self.name, secret), record.manifest)

    def restore(self, parts: Sequence[Part | bytes], secret: Secret, *, partial: bool = False) -> Restored:
        """Verify parts in any order and give the image back; see `Scheme.restore`.

        partial: where chunks are lost, give what is intact with zeros in between, marked in the map.
        """
        opened = self._open(parts, secret, None, partial=partial)
        return Restored(opened.image(), opened.findings, opened.tamper_map)

    def verify(self, parts: Sequence[Part | bytes], secret: Secret | None = None) -> tuple[Finding, ...]:
        """Say what is wrong with the parts; see `Scheme.verify`. Without a secret the manifest's origin is unproved."""
        if secret is not None:
            return self._open(parts, secret, cast(BinaryIO, Nowhere()), partial=True).findings
        findings = Findings()
        chosen = choose(look_at(_readers(parts), findings), None, None, findings)
        findings.add(*check_shares(chosen.manifest, chosen.shares))
        return findings.result()

    def compare(self, image: MedicalImage, parts: Sequence[Part | bytes], secret: Secret) -> Verified:
        """Say which tiles of an image that came back another way (a PACS) differ from what was protected.

        Raises InputError where its dimensions differ, and as `restore`.
        """
        pinned = _unpack(secret)
        chosen = self._choose(parts, pinned, Findings())
        findings, drawn = compare_pixels(image, tags_with(chosen.manifest, pinned["key"], chosen.shares))
        return Verified(findings, drawn, image)

    def _open(self, parts: Sequence[Part | bytes], secret: Secret, sink: BinaryIO | None, *, partial: bool) -> Opened:
        pinned, findings = _unpack(secret), Findings()
        chosen = self._choose(parts, pinned, findings)
        self._check_envelope(chosen, pinned, findings)
        return open_with(chosen.manifest, pinned["key"], chosen.shares, sink, partial=partial, findings=findings)

    def _check_envelope(self, chosen: Chosen, pinned: dict[str, Any], findings: Findings) -> None:
        """Report an owner's envelope that was changed in every part that is there, so that no copy differs from it."""
        owner = OwnerKey(pinned["owner"]) if pinned["owner"] else self._owner
        manifest = chosen.manifest
        if owner is None or owner.owner_id != manifest.owner_id or manifest.mode is Mode.KEYLESS:
            return
        try:
            intact = unseal_key(manifest, chosen.envelopes, owner) == pinned["key"]
        except WrongKeyError:
            intact = False
        if not intact:
            for place in chosen.shares:
                message = f"the owner's envelope in part {place} was changed"
                findings.add(Finding(FindingKind.TAMPER, message, part=place, place="record"))

    def _choose(self, parts: Sequence[Part | bytes], pinned: dict[str, Any], findings: Findings) -> Chosen:
        def accept(manifest: Manifest) -> Manifest:
            if tagged("sealed manifest file", manifest.data) == pinned["manifest"]:
                return manifest
            if manifest.object_id != pinned["object"]:
                raise WrongKeyError("the secret does not open these parts: they are of another object")
            if manifest.version < pinned["version"]:
                raise StaleError(
                    f"the parts are of version {manifest.version} where version {pinned['version']} belongs"
                )
            raise TamperedError("the manifest is not the one that was protected: it was changed or replaced")

        return choose(look_at(_readers(parts), findings), None, accept, findings)

    # ------------------------------------------------------------------------------------------- folders of parts

    def protect_folder(
        self, source: Path, folder: Path, *, owner: OwnerKey, roi: ROI, progress: Progress | None
    ) -> tuple[Finding, ...]:
        """Write part-1 ... part-n and the manifest of the file `source` into `folder`; see `bundle.FolderScheme`."""
        folders.protect(source, folder, owner=owner, options=self._options, roi=roi, progress=progress)
        return ()

    def restore_folder(
        self, folder: Path, *, owner: OwnerKey, out: Path, partial: bool, progress: Progress | None
    ) -> Restored:
        """Write the verified original to `out`; see `bundle.FolderScheme`."""
        return folders.restore(folder, owner=owner, out=out, partial=partial, progress=progress)

    def verify_folder(self, folder: Path, *, owner: OwnerKey | None, progress: Progress | None) -> Verified:
        """Check the parts of a folder, with the owner's key also what they hold; see `bundle.FolderScheme`."""
        return folders.verify(folder, owner=owner, progress=progress)


def _readers(parts: Sequence[Part | bytes]) -> dict[int, ShareReader]:
    """Give each part its place: the one it says, or for bare bytes the one in its share header, or a free one."""
    if len(parts) > _MAX_PARTS:
        raise UsageError(f"{len(parts)} parts at once: no object has more than 32")
    readers: dict[int, ShareReader] = {}
    homeless: list[bytes] = []
    for part in parts:
        data = part.data if isinstance(part, Part) else part
        place = part.index if isinstance(part, Part) else _claimed(data)
        if place is None or place in readers:
            homeless.append(data)
        else:
            readers[place] = BytesShare(data)
    free = (place for place in range(1, 256) if place not in readers)
    for data in homeless:
        readers[next(free)] = BytesShare(data)
    return readers


def _claimed(data: bytes) -> int | None:
    at = data.find(SHARE_MAGIC)
    if at < 0:
        return None
    try:
        return ShareHeader.decode(data[at : at + HEADER_READ]).index
    except FormatError:
        return None


def _unpack(secret: Secret) -> dict[str, Any]:
    """Read the secret. Raises FormatError, LimitError, WrongKeyError where it is another scheme's."""
    if secret.scheme != Sealed.name:
        raise WrongKeyError(f"this is a secret of scheme {secret.scheme}: it does not open sealed parts")
    record = canonical.decode(secret.data, limit=_MAX_SECRET)
    if not isinstance(record, dict) or set(record) != _FIELDS or record["v"] != 1:
        raise FormatError("the secret is of an unknown form or version")
    sizes = {"object": {OBJECT_ID_SIZE}, "digest": {HASH_SIZE}, "manifest": {HASH_SIZE}}
    sizes |= {"key": {0, KEY_SIZE}, "owner": {0, ROOT_SIZE}}
    for field, allowed in sizes.items():
        if not isinstance(record[field], bytes) or len(record[field]) not in allowed:
            raise FormatError("the secret has values of the wrong form")
    if type(record["version"]) is not int:
        raise FormatError("the secret has values of the wrong form")
    return record
