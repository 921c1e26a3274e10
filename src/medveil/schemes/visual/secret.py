"""What the owner keeps of a set of shares: enough to recognise each of them, nothing that recovers the image alone.

Canonical CBOR: {v, statement of share 1, files: BLAKE3 of each part's bytes, planes: the digest of each share as its
statement has it, layers: BLAKE3 of each share's part of the original file, recovery}. The secret is not a key: k shares
and a policy are enough without it; it is how the owner verifies his own shares without one, in whatever carrier they
come back, on paper too. Its digests are not salted: whoever has it and one share can confirm a guess of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medveil.attestation.statement import Statement
from medveil.crypto import canonical
from medveil.crypto.hashing import tagged
from medveil.errors import FormatError, MedveilError, RefusedError, TamperedError, UnrecoverableError
from medveil.schemes.base import Finding, FindingKind, Part
from medveil.schemes.visual import carriers
from medveil.schemes.visual.admission import Admitted, by_secret, claimed, measure
from medveil.schemes.visual.carriers import ShareFile

_FIELDS: Final = {"v", "statement", "files", "planes", "layers", "recovery"}
_LIMIT: Final = 1 << 16


def file_digest(data: bytes) -> bytes:
    """Return the digest of a part's bytes."""
    return tagged("visual share file", data)


def layer_digest(layer: bytes) -> bytes:
    """Return the digest of a share's lossless layer."""
    return tagged("visual share layer", layer)


@dataclass(frozen=True, slots=True)
class OwnerRecord:
    """statement: of share 1. files, planes, layers: digests by index - 1. recovery: how the picture is shown."""

    statement: Statement
    files: tuple[bytes, ...]
    planes: tuple[bytes, ...]
    layers: tuple[bytes, ...]
    recovery: str

    def pack(self) -> bytes:
        """Return the secret's bytes."""
        return canonical.encode(
            {
                "v": 1,
                "statement": self.statement.encode(),
                "files": list(self.files),
                "planes": list(self.planes),
                "layers": list(self.layers),
                "recovery": self.recovery,
            }
        )

    @classmethod
    def unpack(cls, data: bytes) -> OwnerRecord:
        """Read a secret. Raises FormatError where it is not one of this version."""
        fields = canonical.decode(data, limit=_LIMIT)
        if not isinstance(fields, dict) or set(fields) != _FIELDS or fields["v"] != 1:
            raise FormatError("the secret is not one of the visual scheme, or of an unknown version")
        raw, recovery = fields["statement"], fields["recovery"]
        if not isinstance(raw, bytes) or not isinstance(recovery, str):
            raise FormatError("the secret's fields are not of their types: it was altered")
        statement = Statement.decode(raw)
        lists = [fields[name] for name in ("files", "planes", "layers")]
        for digests in lists:
            whole = isinstance(digests, list) and len(digests) == statement.shares
            if not whole or not all(isinstance(d, bytes) and len(d) == 32 for d in digests):
                raise FormatError("the secret does not name every share once: it was altered")
        files, planes, layers = (tuple(digests) for digests in lists)
        return cls(statement, files, planes, layers, recovery)

    def admit(self, parts: Sequence[Part | bytes | ShareFile], *, all_of_them: bool = True) -> Admitted:
        """Compare parts with what was written, and admit those that are the owner's own.

        all_of_them: whether parts that were not given are missing. A share whose picture is right but whose lossless
        layer is gone or changed is admitted without a layer.
        Raises TamperedError where none of them is, and UnrecoverableError where too few are.
        """
        found: dict[int, ShareFile] = {}
        findings: list[Finding] = []
        refusals: list[MedveilError] = []
        for part in parts:
            self._take(part, found, findings, refusals)
        if refusals and not found:
            raise TamperedError(f"none of the parts is one that was written: {refusals[0]}")
        accused = {finding.part for finding in findings}
        wanted = range(1, self.statement.shares + 1) if all_of_them else ()
        missing = [i for i in wanted if i not in found and i not in accused]
        findings += [Finding(FindingKind.MISSING, f"part {i} is not there", part=i) for i in missing]
        if len(found) < self.statement.threshold:
            why = f" ({refusals[0]})" if refusals else ""
            raise UnrecoverableError(
                f"{len(found)} of {self.statement.threshold} needed shares are intact{why}: bring more"
            )
        return by_secret(found, tuple(findings), self.statement)

    def _take(
        self,
        part: Part | bytes | ShareFile,
        found: dict[int, ShareFile],
        findings: list[Finding],
        refusals: list[MedveilError],
    ) -> None:
        data, said = (part.data, part.index) if isinstance(part, Part) else (part, None)
        try:
            index, share, told = self._recognise(data)
        except RefusedError as error:
            refusals.append(error)
            findings.append(Finding(FindingKind.TAMPER, f"a part is not what was written: {error}", part=said))
            return
        if said not in (None, index):
            findings.append(Finding(FindingKind.SWAPPED, f"part {said} is really part {index}", part=said))
        if told is not None:
            findings.append(told)
        if index not in found or share.layer:
            found[index] = share

    def _recognise(self, data: bytes | ShareFile) -> tuple[int, ShareFile, Finding | None]:
        """Return the true index, the share, and what is to say of it. Raises RefusedError."""
        if isinstance(data, bytes) and (digest := file_digest(data)) in self.files:
            return self.files.index(digest) + 1, carriers.read(data), None
        share = data if isinstance(data, ShareFile) else carriers.read(data)
        plane = measure(share)[3]
        if plane in self.planes:
            index = self.planes.index(plane) + 1
            if layer_digest(share.layer) == self.layers[index - 1]:
                message = f"part {index} was stored again, without loss"
                return index, share, Finding(FindingKind.MODIFIED, message, part=index)
            bare = ShareFile(share.pixels, share.envelope, b"", share.reason)
            if not share.layer:
                message = f"part {index} has its picture only: its share of the original file was left behind"
                return index, bare, Finding(FindingKind.MODIFIED, message, part=index)
            message = f"the lossless layer of part {index} was changed: only its picture is used"
            return index, bare, Finding(FindingKind.TAMPER, message, part=index)
        if share.envelope is not None and claimed(share).pairing != self.statement.pairing:
            raise TamperedError("it belongs to another image")
        raise TamperedError("its pixels were changed")
