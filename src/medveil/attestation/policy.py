"""The policy: what evidence is accepted, as a typed file.

A `ProductionPolicy` names vendors' roots from an enumeration, so it cannot hold a simulator's root; a
`SimulationPolicy` holds exactly one simulator's root and no vendor's. Which of the two a file is stands in the file
(`kind`), and no environment variable or argument changes it. Every list denies what it does not name, so an empty
one denies everything; where anything shall be accepted, the file must say ``"any"``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError, model_validator

from medveil.attestation.quote import Tee
from medveil.crypto import canonical
from medveil.errors import ConfigError, LimitError, PolicyError

FORMAT: Final = "medveil-attestation-policy/1"
"""First field of a policy file."""
MAX_POLICY: Final = 1 << 20
"""Longest policy file that is read, in bytes."""


class VendorRoot(StrEnum):
    """The roots of hardware vendors; nothing else can be pinned by a production policy."""

    INTEL_SGX = "intel-sgx-root"
    AMD_MILAN = "amd-ark-milan"
    AMD_GENOA = "amd-ark-genoa"


ROOT_SHA256: Final[Mapping[VendorRoot, str]] = {
    VendorRoot.INTEL_SGX: "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
    VendorRoot.AMD_MILAN: "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
    VendorRoot.AMD_GENOA: "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
}
"""SHA-256 of each vendor root's certificate in DER."""


class TcbStatus(StrEnum):
    """Intel's TCB statuses that a policy may accept; `Revoked` is none of them."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _hex(size: int) -> Any:
    return Field(pattern=rf"^[0-9a-f]{{{2 * size}}}$")


Sha256 = Annotated[str, _hex(32)]
DealerKey = Annotated[str, _hex(32)]
Platform = Annotated[str, Field(pattern=r"^([0-9a-f]{32}|[0-9a-f]{128})$")]
Advisory = Annotated[str, Field(pattern=r"^[A-Z0-9-]{4,40}$")]
Svn = Annotated[StrictInt, Field(ge=0, le=65535)]

_REGISTERS: Final = {
    Tee.SGX: (("mrenclave", 32), ("mrsigner", 32)),
    Tee.TDX: (("mrtd", 48), ("rtmr0", 48), ("rtmr1", 48), ("rtmr2", 48), ("rtmr3", 48), ("mrseam", 48)),
    Tee.SNP: (("measurement", 48), ("host_data", 32)),
}
# What has to be named for the measurement to say which program runs. mrsigner alone would accept any program of
# its signer; mrtd alone would accept any kernel.
_REQUIRED: Final = {
    Tee.SGX: {"mrenclave"},
    Tee.TDX: {"mrtd", "rtmr0", "rtmr1", "rtmr2"},
    Tee.SNP: {"measurement"},
}


class MeasurementRule(_Model):
    """One program that is accepted, between two dates (both included, UTC), unless revoked.

    registers: name -> lower-case hexadecimal; SGX needs mrenclave, TDX mrtd and rtmr0 to rtmr2, SNP measurement.
    minimum_isv_svn: lowest security version (SGX ISVSVN, SNP guest SVN; ignored for TDX, which has none).
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    tee: Tee
    registers: dict[str, str]
    valid_from: date
    valid_until: date
    minimum_isv_svn: Svn
    revoked: StrictBool = False

    @model_validator(mode="after")
    def _known_registers(self) -> MeasurementRule:
        sizes = dict(_REGISTERS[self.tee])
        for name, value in self.registers.items():
            if name not in sizes:
                raise ValueError(f"{self.tee} has no register {name}")
            if len(value) != 2 * sizes[name] or not set(value) <= set("0123456789abcdef"):
                raise ValueError(f"register {name} must have {2 * sizes[name]} lower-case hexadecimal digits")
        missing = _REQUIRED[self.tee] - set(self.registers)
        if missing:
            raise ValueError(f"a {self.tee} measurement must name {', '.join(sorted(missing))}")
        if self.valid_until < self.valid_from:
            raise ValueError("valid_until lies before valid_from")
        return self

    def matches(self, tee: Tee, measurement: Mapping[str, str]) -> bool:
        """Whether every register that this rule names has the value it names."""
        return tee is self.tee and all(measurement.get(name) == value for name, value in self.registers.items())

    def covers(self, now: int) -> bool:
        """Whether `now` (Unix seconds) lies between the dates."""
        return self.valid_from <= datetime.fromtimestamp(now, UTC).date() <= self.valid_until


class SnpTcb(_Model):
    """The lowest firmware versions of an SEV-SNP platform that count as up to date."""

    bootloader: Annotated[StrictInt, Field(ge=0, le=255)]
    tee: Annotated[StrictInt, Field(ge=0, le=255)]
    snp: Annotated[StrictInt, Field(ge=0, le=255)]
    microcode: Annotated[StrictInt, Field(ge=0, le=255)]


class _Rules(_Model):
    """What both kinds of policy have in common."""

    format: Literal["medveil-attestation-policy/1"] = FORMAT
    measurements: tuple[MeasurementRule, ...]
    accepted_statuses: tuple[TcbStatus, ...]
    accepted_advisories: tuple[Advisory, ...] = ()
    minimum_tcb_evaluation_data_number: Annotated[StrictInt, Field(ge=1, le=1 << 31)]
    platforms: tuple[Platform, ...] | Literal["any"]
    dealers: tuple[DealerKey, ...] | Literal["any"]
    maximum_share_age_days: Annotated[StrictInt, Field(ge=1, le=36500)]
    maximum_collateral_age_days: Annotated[StrictInt, Field(ge=1, le=366)] = 30
    minimum_snp_tcb: SnpTcb | None = None
    result_signers: tuple[Sha256, ...] = ()  # fingerprints of verifiers' keys whose results stand for collateral

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the policy in canonical form, hexadecimal; names the policy in results."""
        return sha256(canonical.encode(self.model_dump(mode="json"))).hexdigest()


class ProductionPolicy(_Rules):
    """A policy for real hardware: it pins roots of vendors and refuses every simulator."""

    kind: Literal["production"] = "production"
    roots: tuple[VendorRoot, ...]

    def pins(self) -> frozenset[str]:
        """Return the SHA-256 of each root certificate that evidence may end at.

        Raises PolicyError where a root is not a vendor's, which validation already prevents: a policy object that
        was put together without validation is caught here.
        """
        try:
            return frozenset(ROOT_SHA256[VendorRoot(root)] for root in self.roots)
        except ValueError:
            raise PolicyError("a production policy names a root that is no vendor's: it is refused whole") from None


class SimulationPolicy(_Rules):
    """A policy for a developer's simulator: it accepts that simulator's evidence only, and marks every result."""

    kind: Literal["simulation"] = "simulation"
    simulator_root_sha256: Sha256

    @model_validator(mode="after")
    def _no_vendor(self) -> SimulationPolicy:
        if self.simulator_root_sha256 in ROOT_SHA256.values():
            raise ValueError("a simulation policy cannot pin a vendor's root: write a production policy")
        return self

    def pins(self) -> frozenset[str]:
        """Return the SHA-256 of the simulator's root certificate."""
        return frozenset({self.simulator_root_sha256})


Policy = ProductionPolicy | SimulationPolicy


def parse_policy(text: str) -> Policy:
    """Read a policy from TOML.

    Raises LimitError where it is longer than 1 MiB and ConfigError where it is not a valid policy; the message
    names each wrong field.
    """
    if len(text) > MAX_POLICY:
        raise LimitError(f"a policy of {len(text)} characters is larger than the {MAX_POLICY} allowed")
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the attestation policy is not valid TOML: {error}") from None
    if fields.get("format") != FORMAT:
        raise ConfigError(f'the attestation policy must say format = "{FORMAT}"')
    models: dict[Any, type[Policy]] = {"production": ProductionPolicy, "simulation": SimulationPolicy}
    kind = fields.get("kind")
    if kind not in models:
        raise ConfigError('the attestation policy must say kind = "production" or kind = "simulation"')
    try:
        return models[kind].model_validate(fields)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'policy'}: {e['msg'].lower()}" for e in error.errors())
        raise ConfigError(f"the attestation policy is not valid: {found}") from None


def load_policy(path: Path) -> Policy:
    """Read a policy file. Raises ConfigError or LimitError as `parse_policy`, ConfigError where it cannot be read."""
    try:
        if path.stat().st_size > MAX_POLICY:
            raise LimitError(f"the policy file is larger than the {MAX_POLICY} bytes allowed")
        return parse_policy(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the policy file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError("the policy file is not UTF-8 text") from None
