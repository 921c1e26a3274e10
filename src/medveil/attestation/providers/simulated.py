"""The simulated provider: real formats and real signatures under a root that no production policy can hold.

A `SimulatedPlatform` makes SGX quotes of version 3 and TDX quotes of versions 4 and 5, and the collateral that
belongs to them, in the same binary layout as Intel's. They are verified by the same code as real ones, under the
simulator's root. It proves nothing about anybody's machine; it is for development, tests and demonstrations.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from hashlib import sha256, sha384
from pathlib import Path
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.serialization import Encoding

from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.collateral import Collateral
from medveil.attestation.providers.base import Provider, check_echo, check_report_data
from medveil.attestation.providers.simulated_pki import (
    PckIdentity,
    SimulatedPki,
    derive_key,
    pem,
    raw_public,
    raw_signature,
)
from medveil.attestation.quote import QE_VENDOR, Tee
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import ConfigError, InputError, OutputExistsError

FORMAT: Final = "medveil-simulated-platform/1"
"""First field of a platform's file."""
SEED_SIZE: Final = 32
"""Length of a platform's seed, in bytes."""

QuoteForm = Literal["sgx-3", "tdx-4", "tdx-5"]

_QE_SIGNER: Final = sha256(b"medveil simulated quoting enclave").digest()
_SEPT_VE_DISABLE: Final = 0x10  # TDATTRIBUTES byte 3, bit 28; every accepted TD sets it
_SGX_INIT: Final = 0x05  # ATTRIBUTES byte 0: initialised, 64 bit


class SimulatedPlatform:
    """One simulated machine: `seed` and `made_at` (Unix seconds) determine its keys and certificates.

    fmspc, ppid: what its certificate says of it.
    """

    def __init__(self, seed: bytes, made_at: int) -> None:
        if len(seed) != SEED_SIZE:
            raise InputError(f"a simulated platform's seed has {len(seed)} bytes where {SEED_SIZE} belong")
        self._seed = seed
        self.made_at = made_at
        self.ppid = sha256(b"ppid" + seed).digest()[:16]
        self.fmspc = b"SIM" + sha256(b"fmspc" + seed).digest()[:3]
        identity = PckIdentity(ppid=self.ppid, cpu_svn=bytes([4] * 16), pce_svn=11, fmspc=self.fmspc)
        self._pki = SimulatedPki.build(seed, made_at, identity)
        self._attestation_key = derive_key(seed, "attestation")

    @classmethod
    def create(cls, made_at: int, rng: Randomness = SYSTEM) -> SimulatedPlatform:
        """Make a new platform."""
        return cls(rng.bytes(SEED_SIZE), made_at)

    @classmethod
    def load(cls, path: Path) -> SimulatedPlatform:
        """Read a platform's file. Raises ConfigError where it is not one."""
        try:
            fields = json.loads(path.read_text(encoding="ascii"))
            if fields["format"] != FORMAT:
                raise ConfigError(f"{path.name} is not a simulated platform of this version")
            return cls(bytes.fromhex(fields["seed"]), int(fields["made_at"]))
        except (OSError, ValueError, TypeError, KeyError, InputError):
            raise ConfigError(f"{path.name} is not the file of a simulated platform: make a new one") from None

    def save(self, path: Path) -> None:
        """Write the platform's file, readable by its owner only. Raises OutputExistsError where `path` exists."""
        text = json.dumps({"format": FORMAT, "seed": self._seed.hex(), "made_at": self.made_at}) + "\n"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise OutputExistsError(f"{path.name} exists: a platform's file is never overwritten") from None
        with os.fdopen(descriptor, "w", encoding="ascii") as target:
            target.write(text)

    @property
    def root(self) -> bytes:
        """The root certificate in DER."""
        return self._pki.root.public_bytes(Encoding.DER)

    @property
    def root_sha256(self) -> str:
        """What a `SimulationPolicy` pins, hexadecimal."""
        return sha256(self.root).hexdigest()

    def measurement(self, program: str, form: QuoteForm = "sgx-3") -> dict[str, str]:
        """Return the registers that a policy must list for a simulated `program`."""
        if form == "sgx-3":
            return {"mrenclave": sha256(b"simulated enclave " + program.encode()).hexdigest()}
        registers = {"mrtd": sha384(b"simulated td " + program.encode()).hexdigest()}
        return registers | {f"rtmr{i}": sha384(f"rtmr{i} {program}".encode()).hexdigest() for i in range(3)}

    def quote(
        self,
        report_data: bytes,
        *,
        program: str = "signer",
        form: QuoteForm = "sgx-3",
        debug: bool = False,
        svn: int = 1,
    ) -> bytes:
        """Return a quote over `report_data` as if made by `program`; svn: its ISVSVN (SGX)."""
        check_report_data(report_data)
        version = {"sgx-3": 3, "tdx-4": 4, "tdx-5": 5}[form]
        header = version.to_bytes(2, "little") + b"\x02\x00" + (0 if version == 3 else 0x81).to_bytes(4, "little")
        header += bytes(4) + QE_VENDOR + bytes(20)
        if version == 3:
            attributes = bytes([_SGX_INIT | (2 if debug else 0)]) + bytes(15)
            enclave = bytes.fromhex(self.measurement(program)["mrenclave"])
            body = _enclave_report(enclave, sha256(b"simulated signer").digest(), attributes, 1, svn, report_data)
        else:
            body = self._td_report(report_data, program, form, debug=debug)
        signed = header + body
        section = raw_signature(self._attestation_key, signed) + raw_public(self._attestation_key)
        section += _certified(self._quoting_enclave(version), version)
        return signed + len(section).to_bytes(4, "little") + section

    def collateral(
        self,
        now: int,
        *,
        tee: Tee = Tee.SGX,
        days: int = 30,
        status: str = "UpToDate",
        advisories: tuple[str, ...] = (),
        evaluation_number: int = 17,
        revoked: bool = False,
    ) -> Collateral:
        """Return collateral issued at `now` for this platform, valid for `days`.

        status, advisories: what it says of the platform. revoked: whether its revocation list names the platform.
        """
        end = now + days * 86400
        tcb_info, identity = self._tcb_info(tee, now, end), _qe_identity(tee, now, end, evaluation_number)
        tcb_info["tcbEvaluationDataNumber"] = evaluation_number
        tcb_info["tcbLevels"][0] |= {"tcbStatus": status, "advisoryIDs": list(advisories)}
        texts = {"tcb_info": json.dumps(tcb_info), "qe_identity": json.dumps(identity)}
        signatures = {
            f"{k}_signature": raw_signature(self._pki.signing_key, v.encode()).hex() for k, v in texts.items()
        }
        chain = pem(self._pki.signing, self._pki.root)
        pck = self._pki.pck if revoked else None
        parts = {
            "pck_crl_issuer_chain": pem(self._pki.ca, self._pki.root),
            "root_ca_crl": self._pki.crl(of_root=True, start=now, end=end).hex(),
            "pck_crl": self._pki.crl(of_root=False, start=now, end=end, revoked=pck).hex(),
            "tcb_info_issuer_chain": chain,
            "qe_identity_issuer_chain": chain,
        }
        return Collateral.from_json(json.dumps(parts | texts | signatures))

    def _td_report(self, report_data: bytes, program: str, form: QuoteForm, *, debug: bool) -> bytes:
        registers = self.measurement(program, form)
        body = bytearray(584)
        body[120] = 1 if debug else 0
        body[123] = _SEPT_VE_DISABLE
        body[136:184] = bytes.fromhex(registers["mrtd"])
        for i in range(3):
            body[328 + 48 * i : 376 + 48 * i] = bytes.fromhex(registers[f"rtmr{i}"])
        body[520:584] = report_data
        if form == "tdx-4":
            return bytes(body)
        body += bytes(64)
        return b"\x03\x00" + len(body).to_bytes(4, "little") + bytes(body)

    def _quoting_enclave(self, version: int) -> bytes:
        """Return its report, the report's signature, authentication data and the certificate chain, as in a quote."""
        authentication = sha256(b"authentication" + self._seed).digest()
        bound = sha256(raw_public(self._attestation_key) + authentication).digest() + bytes(32)
        attributes = bytes([0x11]) + bytes(15)
        product = 1 if version == 3 else 2
        report = _enclave_report(_QE_SIGNER, _QE_SIGNER, attributes, product, 8, bound)
        chain = pem(self._pki.pck, self._pki.ca, self._pki.root).encode()
        out = report + raw_signature(self._pki.pck_key, report)
        out += len(authentication).to_bytes(2, "little") + authentication
        return out + b"\x05\x00" + len(chain).to_bytes(4, "little") + chain

    def _tcb_info(self, tee: Tee, start: int, end: int) -> dict[str, Any]:
        components = [{"svn": 4}] * 16
        level: dict[str, Any] = {"tcb": {"sgxtcbcomponents": components, "pcesvn": 11}, "tcbDate": _moment(start)}
        info: dict[str, Any] = {
            "id": tee.upper(),
            "version": 3,
            "issueDate": _moment(start),
            "nextUpdate": _moment(end),
            "fmspc": self.fmspc.hex().upper(),
            "pceId": "0000",
            "tcbType": 0,
            "tcbLevels": [level],
        }
        if tee is Tee.TDX:
            level["tcb"]["tdxtcbcomponents"] = [{"svn": 0}] * 16
            info["tdxModule"] = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
        return info


class SimulatedProvider(Provider):
    """Evidence of a simulated platform; always marked as such."""

    name = "simulated"

    def __init__(self, platform: SimulatedPlatform, *, program: str = "signer", form: QuoteForm = "sgx-3") -> None:
        self._platform, self._program, self._form = platform, program, form

    def evidence(self, report_data: bytes) -> Evidence:
        """Return a simulated quote over `report_data`."""
        data = self._platform.quote(report_data, program=self._program, form=self._form)
        return check_echo(Evidence(EvidenceKind.DCAP, data, simulated=True), report_data)


def _enclave_report(
    enclave: bytes, signer: bytes, attributes: bytes, product: int, svn: int, report_data: bytes
) -> bytes:
    report = bytearray(384)
    report[:16] = bytes([4] * 16)
    report[48:64] = attributes
    report[64:96], report[128:160] = enclave, signer
    report[256:258], report[258:260] = product.to_bytes(2, "little"), svn.to_bytes(2, "little")
    report[320:384] = report_data
    return bytes(report)


def _certified(inner: bytes, version: int) -> bytes:
    """Wrap the quoting enclave's part as versions 4 and 5 do."""
    return inner if version == 3 else b"\x06\x00" + len(inner).to_bytes(4, "little") + inner


def _qe_identity(tee: Tee, start: int, end: int, evaluation_number: int) -> dict[str, Any]:
    return {
        "id": "QE" if tee is Tee.SGX else "TD_QE",
        "version": 2,
        "issueDate": _moment(start),
        "nextUpdate": _moment(end),
        "tcbEvaluationDataNumber": evaluation_number,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11" + "00" * 15,
        "attributesMask": "FB" + "FF" * 7 + "00" * 8,
        "mrsigner": _QE_SIGNER.hex().upper(),
        "isvprodid": 1 if tee is Tee.SGX else 2,
        "tcbLevels": [{"tcb": {"isvsvn": 8}, "tcbDate": _moment(start), "tcbStatus": "UpToDate"}],
    }


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
