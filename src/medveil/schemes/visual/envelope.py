"""What every carrier carries: a share's proof, and the signing session that it refers to where that fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from medveil.attestation.proof import MAX_PROOF
from medveil.attestation.session import MAX_SESSION, Session
from medveil.crypto import canonical
from medveil.errors import FormatError

DOMAIN: Final = "MPVC-CARRIED/1"
MAX_ENVELOPE: Final = MAX_PROOF + MAX_SESSION + 64
"""Longest envelope that is read, in bytes."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """proof: as `medveil.attestation.proof` reads it. session: an encoded session or empty."""

    proof: bytes = field(repr=False)
    session: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """Return the bytes for a carrier."""
        return canonical.encode([DOMAIN, self.proof, self.session])

    @classmethod
    def decode(cls, data: bytes) -> Envelope:
        """Read an envelope; nothing of it is verified. Raises LimitError and FormatError."""
        fields = canonical.decode(data, limit=MAX_ENVELOPE)
        if not isinstance(fields, list) or len(fields) != 3 or fields[0] != DOMAIN:
            raise FormatError(f"what the share carries does not start with {DOMAIN}: it is not its proof")
        _, proof, session = fields
        if not isinstance(proof, bytes) or not isinstance(session, bytes):
            raise FormatError("what the share carries is not of its types: it was altered")
        return cls(proof, session)

    def read_session(self) -> Session | None:
        """Return the session that came along, or None. Raises FormatError."""
        return Session.decode(self.session) if self.session else None
