"""What a carrier carries: the proof of one share, in one of three forms.

==============  ==========================================  ==========================================
form            bytes                                       needs besides
==============  ==========================================  ==========================================
`SignedProof`   COSE_Sign1 of the statement                 the `Session`, once for all shares
`CompactProof`  statement, quote without certificates       the platform's PEM chain, once a platform
`QuoteProof`    statement, whole evidence                   nothing
==============  ==========================================  ==========================================

Every form is one deterministic CBOR value; `read_proof` tells them apart by their first byte and field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from medveil.attestation import cose
from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.quote import MAX_QUOTE, parse_quote
from medveil.attestation.session import DealerKey, decode_evidence, encode_evidence
from medveil.attestation.statement import MAX_STATEMENT, Statement, report_data
from medveil.crypto import canonical
from medveil.errors import FormatError, InputError, NotAuthenticError

DOMAIN: Final = "MPVC-EVIDENCE/1"
"""First field of a proof that is not a bare COSE_Sign1."""
MAX_PROOF: Final = 65536
"""Longest proof that is read, in bytes."""

_QUOTE, _COMPACT = 1, 2
_COSE_ARRAY: Final = 0x84
_CHAIN_HASH: Final = 16


@dataclass(frozen=True, slots=True)
class SignedProof:
    """A COSE_Sign1 by a session's key; `session_id` says which session is needed."""

    message: bytes = field(repr=False)
    session_id: bytes

    def encode(self) -> bytes:
        """Return the bytes for a carrier."""
        return self.message


@dataclass(frozen=True, slots=True)
class QuoteProof:
    """A statement and the evidence that vouches for it; `binding` is the dealer's signature or empty."""

    statement: bytes = field(repr=False)
    evidence: Evidence
    binding: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """Return the bytes for a carrier."""
        return canonical.encode([DOMAIN, _QUOTE, self.statement, encode_evidence(self.evidence), self.binding])


@dataclass(frozen=True, slots=True)
class CompactProof:
    """A statement and an Intel quote cut off where its certificates begin; `chain_hash` says which belong to it."""

    statement: bytes = field(repr=False)
    head: bytes = field(repr=False)
    simulated: bool
    chain_hash: bytes
    binding: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """Return the bytes for a carrier."""
        fields = [DOMAIN, _COMPACT, self.statement, self.head, self.simulated, self.chain_hash, self.binding]
        return canonical.encode(fields)

    def expand(self, chain: bytes) -> QuoteProof:
        """Return the whole proof with the certificates of `chain`. Raises NotAuthenticError for another chain."""
        if sha256(chain).digest()[:_CHAIN_HASH] != self.chain_hash:
            raise NotAuthenticError("these certificates do not belong to this quote: give those of its platform")
        return QuoteProof(self.statement, Evidence(EvidenceKind.DCAP, self.head + chain, self.simulated), self.binding)


Proof = SignedProof | QuoteProof | CompactProof


def attest_statement(statement: Statement, evidence: Evidence, dealer: DealerKey | None = None) -> QuoteProof:
    """Put together the proof of a share whose evidence was made over its `report_data`.

    Raises InputError where the statement names another dealer than `dealer`.
    """
    if statement.dealer != (dealer.public if dealer else b""):
        raise InputError("the statement names another dealer than the one that signs it")
    raw = statement.encode()
    return QuoteProof(raw, evidence, dealer.bind(report_data(raw)) if dealer else b"")


def compact(proof: QuoteProof) -> tuple[CompactProof, bytes]:
    """Return the compact form of a proof by an Intel quote, and the certificates it leaves out (PEM).

    Raises InputError for other evidence and FormatError for a quote that is not canonical.
    """
    if proof.evidence.kind is not EvidenceKind.DCAP:
        raise InputError("only an Intel quote has a compact form: carry this evidence whole")
    quote = parse_quote(proof.evidence.data)
    head, chain = quote.raw[: quote.chain_at], quote.raw[quote.chain_at :]
    digest = sha256(chain).digest()[:_CHAIN_HASH]
    return CompactProof(proof.statement, head, proof.evidence.simulated, digest, proof.binding), chain


def read_proof(data: bytes) -> Proof:
    """Read a proof of any form; nothing of it is verified.

    Raises LimitError past 64 KiB and FormatError where it is not in its one form.
    """
    if data[:1] == bytes([_COSE_ARRAY]):
        return SignedProof(bytes(data), cose.parse(data, limit=MAX_PROOF).key_id)
    fields = canonical.decode(data, limit=MAX_PROOF)
    if not isinstance(fields, list) or len(fields) < 3 or fields[0] != DOMAIN:
        raise FormatError("these bytes are not the proof of a share: nothing is verified by them")
    if fields[1] == _QUOTE and len(fields) == 5:
        statement, binding = _statement(fields[2]), _binding(fields[4])
        return QuoteProof(statement, decode_evidence(fields[3]), binding)
    if fields[1] == _COMPACT and len(fields) == 7:
        return _read_compact(fields)
    raise FormatError("a proof of an unknown form: it was altered or made by a newer program")


def _read_compact(fields: list[Any]) -> CompactProof:
    _, _, statement, head, simulated, chain_hash, binding = fields
    if not isinstance(head, bytes) or len(head) > MAX_QUOTE or not isinstance(simulated, bool):
        raise FormatError("a compact proof holds no quote of an allowed size: it was altered")
    if not isinstance(chain_hash, bytes) or len(chain_hash) != _CHAIN_HASH:
        raise FormatError("a compact proof does not say which certificates belong to it: it was altered")
    return CompactProof(_statement(statement), head, simulated, chain_hash, _binding(binding))


def _statement(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) > MAX_STATEMENT:
        raise FormatError("a proof holds no statement of an allowed size: it was altered")
    return value


def _binding(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) not in (0, 64):
        raise FormatError("a proof's dealer signature does not have 64 bytes: it was altered")
    return value
