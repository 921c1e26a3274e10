"""The statements of a set of shares and their proofs: session key, compact, or a quote for each share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from medveil.attestation.proof import attest_statement, compact
from medveil.attestation.providers.base import Provider
from medveil.attestation.session import DealerKey, Session, SessionSigner
from medveil.attestation.statement import Statement, new_pairing, report_data, share_digest
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import InputError
from medveil.schemes.visual.envelope import Envelope
from medveil.schemes.visual.sharing import Packed

PROOFS: Final = ("session", "compact", "quote")
SCHEME_XOR: Final = "mpvc-xor/1"
SCHEME_COLUMNS: Final = "mpvc-columns/1"
PACKING: Final = "msb-raster"
POLARITY: Final = {1: "grey-white-1", 3: "rgb-white-1"}
"""Of the bits. In print C, M and Y are the complements of R, G and B: ink where the bit is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all shares of a set have in common."""

    k: int
    n: int
    rows: int
    columns: int
    channels: int
    halftone: str
    made_at: int
    pairing: bytes
    commitments: Mapping[str, bytes] = field(default_factory=dict)
    context: bytes = b""
    dealer: bytes = b""

    def statement(self, index: int, plane: Packed) -> Statement:
        """Return the statement of share `index` (1-based) with these most significant bits."""
        return Statement(
            scheme=SCHEME_XOR if self.k == self.n else SCHEME_COLUMNS,
            threshold=self.k,
            shares=self.n,
            index=index,
            width=self.columns,
            height=self.rows,
            channels=self.channels,
            polarity=POLARITY[self.channels],
            packing=PACKING,
            halftone=self.halftone,
            pairing=self.pairing,
            digest=share_digest(self.columns, self.rows, self.channels, plane.tobytes()),
            made_at=self.made_at,
            commitments=self.commitments,
            context=self.context,
            dealer=self.dealer,
        )


def fresh_pairing(rng: Randomness = SYSTEM) -> bytes:
    """Return a pairing number for one set."""
    return new_pairing(rng)


@dataclass(frozen=True, slots=True)
class Signed:
    """envelopes: one for each share. session: its id where a session signed, else empty. simulated: marked so."""

    envelopes: tuple[Envelope, ...]
    session: Session | None
    chain: bytes = b""


def sign_by_session(statements: list[Statement], signer: SessionSigner, *, carry_session: bool) -> Signed:
    """Sign statements with a session's key; `carry_session` puts the session into every envelope."""
    session = signer.session.encode() if carry_session else b""
    envelopes = tuple(Envelope(signer.sign(statement), session) for statement in statements)
    return Signed(envelopes, signer.session)


def sign_by_quotes(statements: list[Statement], provider: Provider, dealer: DealerKey | None, *, short: bool) -> Signed:
    """Have `provider` vouch for every statement on its own; `short` leaves the platform's certificates out.

    The left-out certificates come back as `chain`; a verifier needs them.
    """
    envelopes, chain = [], b""
    for statement in statements:
        proof = attest_statement(statement, provider.evidence(report_data(statement.encode())), dealer)
        if short:
            small, chain = compact(proof)
            envelopes.append(Envelope(small.encode()))
        else:
            envelopes.append(Envelope(proof.encode()))
    return Signed(tuple(envelopes), None, chain)


def check_proof(name: str) -> None:
    """Raise InputError for a proof form that is not in `PROOFS`."""
    if name not in PROOFS:
        raise InputError(f"there is no proof {name!r}: choose one of {', '.join(PROOFS)}")
