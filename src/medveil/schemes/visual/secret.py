"""What the owner keeps of a set of shares: enough to recognise each of them, nothing that recovers the image alone.

Canonical CBOR: {v, statement of share 1, session id, files: BLAKE3 of each part's bytes, contents: BLAKE3 of what each
part holds}. The secret is not a key: k shares and a policy are enough without it; it is how the owner verifies his
own shares without one.
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
from medveil.schemes.visual.admission import Admitted, by_secret, claimed
from medveil.schemes.visual.carriers import ShareFile

_FIELDS: Final = {"v", "statement", "files", "contents", "recovery"}
_LIMIT: Final = 1 << 16


def file_digest(data: bytes) -> bytes:
    """Return the digest of a part's bytes."""
    return tagged("visual share file", data)


def content_digest(share: ShareFile) -> bytes:
    """Return the digest of what a part holds, whatever its container: pixels, proof, layer."""
    shape = canonical.encode(list(share.shape))
    envelope = share.envelope.encode() if share.envelope else b""
    return tagged("visual share content", shape, share.pixels.tobytes(), envelope, share.layer)


@dataclass(frozen=True, slots=True)
class OwnerRecord:
    """statement: of share 1. files, contents: digests by index - 1. recovery: how the picture is shown."""

    statement: Statement
    files: tuple[bytes, ...]
    contents: tuple[bytes, ...]
    recovery: str

    def pack(self) -> bytes:
        """Return the secret's bytes."""
        return canonical.encode(
            {
                "v": 1,
                "statement": self.statement.encode(),
                "files": list(self.files),
                "contents": list(self.contents),
                "recovery": self.recovery,
            }
        )

    @classmethod
    def unpack(cls, data: bytes) -> OwnerRecord:
        """Read a secret. Raises FormatError where it is not one of this version."""
        fields = canonical.decode(data, limit=_LIMIT)
        if not isinstance(fields, dict) or set(fields) != _FIELDS or fields["v"] != 1:
            raise FormatError("the secret is not one of the visual scheme, or of an unknown version")
        files, contents, raw, recovery = (fields[name] for name in ("files", "contents", "statement", "recovery"))
        if not isinstance(raw, bytes) or not isinstance(recovery, str):
            raise FormatError("the secret's fields are not of their types: it was altered")
        statement = Statement.decode(raw)
        for digests in (files, contents):
            whole = isinstance(digests, list) and len(digests) == statement.shares
            if not whole or not all(isinstance(d, bytes) and len(d) == 32 for d in digests):
                raise FormatError("the secret does not name every share once: it was altered")
        return cls(statement, tuple(files), tuple(contents), recovery)

    def admit(self, parts: Sequence[Part | bytes]) -> Admitted:
        """Compare parts with what was written, and admit those that are the owner's own.

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
        missing = [i for i in range(1, self.statement.shares + 1) if i not in found and i not in accused]
        findings += [Finding(FindingKind.MISSING, f"part {i} is not there", part=i) for i in missing]
        if len(found) < self.statement.threshold:
            why = f" ({refusals[0]})" if refusals else ""
            raise UnrecoverableError(
                f"{len(found)} of {self.statement.threshold} needed shares are intact{why}: bring more"
            )
        return by_secret(found, tuple(findings), self.statement)

    def _take(
        self,
        part: Part | bytes,
        found: dict[int, ShareFile],
        findings: list[Finding],
        refusals: list[MedveilError],
    ) -> None:
        data, said = (part.data, part.index) if isinstance(part, Part) else (part, None)
        try:
            index, share, rewritten = self._recognise(data)
        except RefusedError as error:
            refusals.append(error)
            findings.append(Finding(FindingKind.TAMPER, f"a part is not what was written: {error}", part=said))
            return
        if said not in (None, index):
            findings.append(Finding(FindingKind.SWAPPED, f"part {said} is really part {index}", part=said))
        if rewritten:
            findings.append(Finding(FindingKind.MODIFIED, f"part {index} was stored again, without loss", part=index))
        found[index] = share

    def _recognise(self, data: bytes) -> tuple[int, ShareFile, bool]:
        """Return the true index, the share, and whether its file was written again. Raises RefusedError."""
        digest = file_digest(data)
        if digest in self.files:
            return self.files.index(digest) + 1, carriers.read(data), False
        share = carriers.read(data)
        content = content_digest(share)
        if content in self.contents:
            return self.contents.index(content) + 1, share, True
        if share.envelope is not None and claimed(share).pairing != self.statement.pairing:
            raise TamperedError("it belongs to another image")
        raise TamperedError("its pixels, proof or lossless layer were changed")
