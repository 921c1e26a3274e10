"""Collateral of Intel quotes: what Intel signs about a platform, read strictly and with its validity.

The form is the JSON object that quoting services and `dcap-qvl` exchange (QuoteCollateralV3): TCB info and QE
identity as the exact strings that Intel signed, their signatures and revocation lists in hexadecimal, and the
certificate chains as PEM. Reading it here does not verify it; it finds what is malformed, and between which
moments all of its parts are valid, before any signature is looked at.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

from medveil.attestation.quote import Tee
from medveil.errors import FormatError, LimitError

MAX_COLLATERAL: Final = 1 << 19
"""Longest collateral that is read, in bytes."""

UNREADABLE: Final = (ValueError, UnsupportedAlgorithm, x509.InvalidVersion)
"""What `cryptography` raises for certificates and lists that are damaged; UnicodeError is a ValueError."""

_TEXTS: Final = (
    "pck_crl_issuer_chain",
    "tcb_info_issuer_chain",
    "tcb_info",
    "qe_identity_issuer_chain",
    "qe_identity",
)
_BINARIES: Final = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
_OPTIONAL: Final = "pck_certificate_chain"
_QE_IDS: Final = {Tee.SGX: "QE", Tee.TDX: "TD_QE"}
_TEES: Final = {"SGX": Tee.SGX, "TDX": Tee.TDX}


@dataclass(frozen=True)
class Collateral:
    """Parsed collateral, not verified.

    text: the JSON as read. tee, fmspc: what it is for (fmspc: 12 lower-case hexadecimal digits).
    evaluation_number: the lower of the two tcbEvaluationDataNumbers. issued_at: the earlier issue date of TCB info
    and QE identity. valid_from, valid_until: Unix seconds between which every part is valid, certificates and
    revocation lists included, the end excluded. statuses: every TCB status that occurs in TCB info and QE identity.
    """

    text: str = field(repr=False)
    tee: Tee
    fmspc: str
    evaluation_number: int
    issued_at: int
    valid_from: int
    valid_until: int
    statuses: frozenset[str]

    @classmethod
    def from_json(cls, text: str | bytes) -> Collateral:
        """Read collateral.

        Raises LimitError where it is longer than 512 KiB and FormatError where a part is missing, unknown, of the
        wrong type or unreadable.
        """
        if len(text) > MAX_COLLATERAL:
            raise LimitError(f"collateral of {len(text)} bytes is larger than the {MAX_COLLATERAL} allowed")
        try:
            text = text.decode("utf-8") if isinstance(text, bytes) else text.encode("utf-8").decode("utf-8")
        except UnicodeError:
            raise FormatError("the collateral is not UTF-8 text: fetch it again") from None
        parts = _object(text, "collateral")
        _check_parts(parts)
        tcb, identity = _object(parts["tcb_info"], "TCB info"), _object(parts["qe_identity"], "QE identity")
        tee = _TEES.get(str(tcb.get("id")))
        if tee is None or identity.get("id") != _QE_IDS[tee]:
            raise FormatError("the collateral's TCB info and QE identity are not of one TEE: fetch it again")
        starts, ends = _windows(parts)
        issued = [_moment(tcb, "issueDate"), _moment(identity, "issueDate")]
        starts += issued
        ends += [_moment(tcb, "nextUpdate"), _moment(identity, "nextUpdate")]
        return cls(
            text=text,
            tee=tee,
            fmspc=_fmspc(tcb),
            evaluation_number=min(_number(tcb), _number(identity)),
            issued_at=min(issued),
            valid_from=max(starts),
            valid_until=min(ends),
            statuses=frozenset(_statuses(tcb) | _statuses(identity)),
        )

    @cached_property
    def parts(self) -> Mapping[str, str]:
        """The members of the JSON object."""
        return dict(json.loads(self.text))


def _object(text: str, what: str) -> dict[str, Any]:
    """Parse a JSON object without duplicate members. Raises FormatError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise FormatError(f"the {what} has a member twice: it was altered")
        return dict(pairs)

    try:
        found = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError):  # ValueError: no JSON, or a number of absurd length
        raise FormatError(f"the {what} is not JSON: fetch it again") from None
    if not isinstance(found, dict):
        raise FormatError(f"the {what} is not a JSON object: fetch it again")
    return found


def _check_parts(parts: dict[str, Any]) -> None:
    names = set(parts) - {_OPTIONAL}
    if names != {*_TEXTS, *_BINARIES}:
        odd = sorted(names ^ {*_TEXTS, *_BINARIES})
        raise FormatError(f"the collateral lacks or adds the member {odd[0]!r}: fetch it again")
    for name, value in parts.items():
        if name == _OPTIONAL and value is None:
            continue
        if not isinstance(value, str):
            raise FormatError(f"the collateral's {name} is not text: fetch it again")
    for name in _BINARIES:
        try:
            bytes.fromhex(parts[name])
        except ValueError:
            raise FormatError(f"the collateral's {name} is not hexadecimal: fetch it again") from None


def _windows(parts: Mapping[str, str]) -> tuple[list[int], list[int]]:
    """Return the starts and ends of validity of all certificates and revocation lists."""
    with warnings.catch_warnings():
        # A damaged certificate is refused by its signature; what it also breaks in RFC 5280 is nobody's concern.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return _read_windows(parts)


def _read_windows(parts: Mapping[str, str]) -> tuple[list[int], list[int]]:
    starts: list[int] = []
    ends: list[int] = []
    for name in ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"):
        try:
            chain = x509.load_pem_x509_certificates(parts[name].encode("ascii"))
            starts += [_seconds(c.not_valid_before_utc) for c in chain]
            ends += [_seconds(c.not_valid_after_utc) for c in chain]
        except UNREADABLE:
            raise FormatError(f"the collateral's {name} cannot be read: fetch it again") from None
    for name in ("root_ca_crl", "pck_crl"):
        try:
            crl = x509.load_der_x509_crl(bytes.fromhex(parts[name]))
            until, since = crl.next_update_utc, crl.last_update_utc
        except UNREADABLE:
            raise FormatError(f"the collateral's {name} cannot be read: fetch it again") from None
        if until is None:
            raise FormatError(f"the collateral's {name} does not say until when it is valid")
        starts.append(_seconds(since))
        ends.append(_seconds(until))
    return starts, ends


def _moment(record: Mapping[str, Any], name: str) -> int:
    try:
        return int(datetime.strptime(str(record.get(name)), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise FormatError(f"the collateral's {name} is not a moment in UTC: fetch it again") from None


def _statuses(record: Mapping[str, Any]) -> set[str]:
    """Return every tcbStatus of a record's levels and of its TDX modules' levels."""
    found: set[str] = set()
    levels = record.get("tcbLevels")
    for level in levels if isinstance(levels, list) else []:
        if not isinstance(level, dict) or not isinstance(level.get("tcbStatus"), str):
            raise FormatError("the collateral has a TCB level without a status: fetch it again")
        found.add(level["tcbStatus"])
    modules = record.get("tdxModuleIdentities")
    for module in modules if isinstance(modules, list) else []:
        if isinstance(module, dict):
            found |= _statuses(module)
    return found


def _number(record: Mapping[str, Any]) -> int:
    number = record.get("tcbEvaluationDataNumber")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1 << 31:
        raise FormatError("the collateral's tcbEvaluationDataNumber is not a whole number: fetch it again")
    return number


def _fmspc(record: Mapping[str, Any]) -> str:
    value = record.get("fmspc")
    if not isinstance(value, str) or len(value) != 12:
        raise FormatError("the collateral's fmspc does not have 12 hexadecimal digits: fetch it again")
    try:
        return bytes.fromhex(value).hex()
    except ValueError:
        raise FormatError("the collateral's fmspc does not have 12 hexadecimal digits: fetch it again") from None


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
