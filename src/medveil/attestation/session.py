"""The session-key form: one quote vouches for a key made inside, and the key signs every share's statement.

A quote takes 4 to 5 kB, too much for a small share. So the signer, once it runs, draws an Ed25519 key that never
leaves its memory, has a quote made over the session's statement (the public key, the dealer, from when to when),
and from then on signs each share's statement as a COSE_Sign1 of a few hundred bytes. The chain is: policy -> quote
-> session key -> statement -> digest of the share.

Neither form says who dealt: everybody may run a listed program. A dealer's own Ed25519 key therefore signs what the
quote vouches for (`DealerKey`), and a policy lists dealers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medveil.attestation import cose
from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.providers.base import Provider
from medveil.attestation.quote import MAX_QUOTE
from medveil.attestation.statement import DOMAIN, HASH_SIZE, REPORT_DATA_SIZE, Statement, report_data
from medveil.crypto import canonical
from medveil.errors import FormatError, InputError, NotAuthenticError, TamperedError

SESSION_DOMAIN: Final = "MPVC-SESSION/1"
"""First field of a session's statement and prefix of what its quote vouches for."""
DEALER_DOMAIN: Final = b"MPVC-DEALER/1"
"""Prefix of what a dealer signs."""
MAX_SESSION: Final = 24576
"""Longest session that is read, in bytes."""
MAX_LIFETIME: Final = 30 * 86400
"""Longest life of a session key, in seconds."""

_NOBODY: Final = b""
_SIGNATURE: Final = 64
_MAX_AUXILIARY: Final = 1 << 13


class DealerKey:
    """The key of who deals shares: signs what a quote vouches for. Never shown, compared or pickled."""

    __slots__ = ("_key",)

    def __init__(self, seed: bytes) -> None:
        """Raises InputError unless the seed has 32 bytes."""
        if len(seed) != HASH_SIZE:
            raise InputError(f"a dealer key's seed has {len(seed)} bytes where {HASH_SIZE} belong")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public(self) -> bytes:
        """The 32-byte public key: what a statement names and a policy lists."""
        return self._key.public_key().public_bytes_raw()

    def bind(self, reported: bytes) -> bytes:
        """Return the 64-byte signature over 64 bytes of report data. Raises InputError for another length."""
        if len(reported) != REPORT_DATA_SIZE:
            raise InputError(f"report data has {len(reported)} bytes where {REPORT_DATA_SIZE} belong")
        return self._key.sign(DEALER_DOMAIN + reported)

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise InputError("a dealer key is not serialised: keep its seed in a key file")

    def __repr__(self) -> str:
        return f"DealerKey(<secret>, public {self.public.hex()})"


def check_dealer(dealer: bytes, binding: bytes, reported: bytes) -> None:
    """Check that `dealer` (32-byte public key) signed `reported`; where no dealer is named, that nobody signed.

    Raises TamperedError where the signature is missing, wrong, or there without a dealer.
    """
    if dealer == _NOBODY:
        if binding:
            raise TamperedError("a dealer's signature stands where no dealer is named: the evidence was put together")
        return
    try:
        Ed25519PublicKey.from_public_bytes(dealer).verify(binding, DEALER_DOMAIN + reported)
    except (InvalidSignature, ValueError):
        raise TamperedError(
            "the dealer's signature is missing or not valid: the named dealer did not deal this"
        ) from None


@dataclass(frozen=True, slots=True)
class Session:
    """The public part of a session: its statement, the evidence for it and the dealer's signature.

    public_key: 32 bytes. dealer: 32-byte public key or empty. not_before, not_after: Unix seconds.
    """

    public_key: bytes
    dealer: bytes
    not_before: int
    not_after: int
    evidence: Evidence
    binding: bytes = field(repr=False)

    @property
    def statement(self) -> bytes:
        """What the evidence vouches for, in its one encoding."""
        return _session_statement(self.public_key, self.dealer, self.not_before, self.not_after)

    @property
    def reported(self) -> bytes:
        """The report data that the evidence must carry."""
        return report_data(self.statement, SESSION_DOMAIN)

    @property
    def id(self) -> bytes:
        """The 8-byte key id that shares of this session carry."""
        return sha256(self.statement).digest()[: cose.KEY_ID_SIZE]

    def encode(self) -> bytes:
        """Return the one encoding of this session; shared by all its shares, as a sidecar or a file."""
        return canonical.encode([self.statement, encode_evidence(self.evidence), self.binding])

    @classmethod
    def decode(cls, data: bytes) -> Session:
        """Read a session. Raises LimitError past 24 KiB and FormatError where it is not in its one form."""
        fields = canonical.decode(data, limit=MAX_SESSION)
        if not isinstance(fields, list) or len(fields) != 3:
            raise FormatError("a session does not have its three fields: it was altered")
        statement, evidence, binding = fields
        if not isinstance(statement, bytes) or not isinstance(binding, bytes) or len(binding) not in (0, _SIGNATURE):
            raise FormatError("a session's fields are not of their types: it was altered")
        inner = canonical.decode(statement, limit=256)
        if not isinstance(inner, list) or len(inner) != 5 or inner[0] != SESSION_DOMAIN:
            raise FormatError(f"a session's statement does not start with {SESSION_DOMAIN}")
        _, public_key, dealer, start, end = inner
        _check_session(public_key, dealer, start, end)
        return cls(public_key, dealer, start, end, decode_evidence(evidence), binding)

    def open_share(self, message: bytes) -> Statement:
        """Check a share's COSE_Sign1 under this session's key and return its statement.

        The session itself is not checked here. Raises FormatError, TamperedError, or NotAuthenticError where the
        statement names another dealer or lies outside the session's life.
        """
        signed = cose.parse(message, limit=8192)
        if signed.key_id != self.id:
            raise NotAuthenticError("the share belongs to another signing session: give that session too")
        key = Ed25519PublicKey.from_public_bytes(self.public_key)
        statement = Statement.decode(cose.verify(signed, key, kind=DOMAIN.encode()))
        if statement.dealer != self.dealer:
            raise NotAuthenticError("the share names another dealer than its signing session")
        if not self.not_before <= statement.made_at <= self.not_after:
            raise NotAuthenticError("the share was not made within the life of its signing session")
        return statement


class SessionSigner:
    """Signs statements with a key that was made in this process and never leaves it."""

    __slots__ = ("_key", "session")

    def __init__(self, provider: Provider, now: int, *, lifetime: int = 86400, dealer: DealerKey | None = None) -> None:
        """Draw a key and have `provider` vouch for it from `now` for `lifetime` seconds (at most 30 days).

        Raises InputError for another lifetime, and what the provider raises.
        """
        if not 1 <= lifetime <= MAX_LIFETIME:
            raise InputError(f"a signing session lives 1 to {MAX_LIFETIME} seconds")
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes_raw()
        name = dealer.public if dealer else _NOBODY
        reported = report_data(_session_statement(public, name, now, now + lifetime), SESSION_DOMAIN)
        binding = dealer.bind(reported) if dealer else b""
        self.session = Session(public, name, now, now + lifetime, provider.evidence(reported), binding)

    def sign(self, statement: Statement) -> bytes:
        """Return the COSE_Sign1 of a share's statement.

        Raises InputError where it names another dealer or a time outside the session.
        """
        if statement.dealer != self.session.dealer:
            raise InputError("the statement names another dealer than this signing session")
        if not self.session.not_before <= statement.made_at <= self.session.not_after:
            raise InputError("the statement's time lies outside this signing session: open a new session")
        return cose.sign(statement.encode(), self._key, kind=DOMAIN.encode(), key_id=self.session.id)

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise InputError("a signing session is not serialised: its key never leaves the process")

    def __repr__(self) -> str:
        return f"SessionSigner(<secret>, session {self.session.id.hex()})"


def encode_evidence(evidence: Evidence) -> list[Any]:
    """Return evidence as a value for canonical encoding."""
    return [evidence.kind.value, evidence.data, evidence.simulated, evidence.auxiliary]


def decode_evidence(value: object) -> Evidence:
    """Read what `encode_evidence` gave. Raises FormatError."""
    if not isinstance(value, list) or len(value) != 4:
        raise FormatError("evidence does not have its four fields: it was altered")
    kind, data, simulated, auxiliary = value
    if kind not in tuple(EvidenceKind) or not isinstance(simulated, bool):
        raise FormatError("evidence is of an unknown kind: it was altered or made by a newer program")
    if not isinstance(data, bytes) or len(data) > MAX_QUOTE:
        raise FormatError("evidence holds no quote of an allowed size")
    if not isinstance(auxiliary, bytes) or len(auxiliary) > _MAX_AUXILIARY:
        raise FormatError("evidence holds no certificates of an allowed size")
    return Evidence(EvidenceKind(kind), data, simulated, auxiliary)


def _session_statement(public_key: bytes, dealer: bytes, start: int, end: int) -> bytes:
    return canonical.encode([SESSION_DOMAIN, public_key, dealer, start, end])


def _check_session(public_key: object, dealer: object, start: object, end: object) -> None:
    for value, sizes in ((public_key, (HASH_SIZE,)), (dealer, (0, HASH_SIZE))):
        if not isinstance(value, bytes) or len(value) not in sizes:
            raise FormatError("a session's keys do not have 32 bytes: it was altered")
    if isinstance(start, bool) or isinstance(end, bool) or not isinstance(start, int) or not isinstance(end, int):
        raise FormatError("a session's times are not whole seconds: it was altered")
    if not 0 <= start < end <= start + MAX_LIFETIME:
        raise FormatError("a session's life is not 1 second to 30 days: it was altered")
