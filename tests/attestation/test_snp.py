"""SEV-SNP reports under a chain of AMD's shape made here: parser, binding to the chip, revocation, policy."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from tests.attestation.conftest import NOW, production, rule
from tests.attestation.snp_machine import SnpMachine

from medveil.attestation.appraisal import Appraisal, Evidence, EvidenceKind, Refusal
from medveil.attestation.policy import SnpTcb, TcbStatus, VendorRoot
from medveil.attestation.quote import Tee
from medveil.attestation.snp import SnpCollateral, parse_report
from medveil.attestation.verifier import Verifier
from medveil.errors import FormatError, LimitError

REPORT = bytes(range(64))
MINIMUM = SnpTcb(bootloader=3, tee=0, snp=20, microcode=209)


@pytest.fixture
def appraise(snp_machine: SnpMachine, verifier: Verifier, simulation: Any) -> Any:
    pin = sha256(snp_machine.ark.public_bytes(Encoding.DER)).hexdigest()

    def run(report: bytes, collateral: Any = None, now: int = NOW, **changes: Any) -> Appraisal:
        fields: dict[str, Any] = {
            "simulator_root_sha256": pin,
            "measurements": (rule(Tee.SNP, {"measurement": "07" * 48}, minimum_isv_svn=5),),
            "platforms": (snp_machine.chip.hex(),),
            "minimum_snp_tcb": MINIMUM,
        }
        evidence = Evidence(EvidenceKind.SNP, report, simulated=True)
        return verifier.appraise(
            evidence, collateral or snp_machine.collateral(), now, simulation(**(fields | changes))
        )

    return run


def codes(appraisal: Appraisal) -> list[Refusal]:
    return [reason.code for reason in appraisal.reasons]


def test_a_good_report_is_accepted(appraise: Any, snp_machine: SnpMachine) -> None:
    appraisal = appraise(snp_machine.report(REPORT)).require()
    assert appraisal.report_data == REPORT
    assert appraisal.tee is Tee.SNP
    assert appraisal.ppid == snp_machine.chip.hex()
    assert appraisal.simulated


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"minimum_snp_tcb": None}, Refusal.STATUS),
        ({"minimum_snp_tcb": SnpTcb(bootloader=3, tee=0, snp=21, microcode=0)}, Refusal.STATUS),
        ({"measurements": ()}, Refusal.MEASUREMENT_UNLISTED),
        ({"platforms": ("00" * 64,)}, Refusal.PLATFORM),
        ({"simulator_root_sha256": "11" * 32}, Refusal.ROOT),
        (
            {"measurements": (rule(Tee.SNP, {"measurement": "07" * 48}, minimum_isv_svn=6),)},
            Refusal.SECURITY_VERSION,
        ),
    ],
)
def test_policy(changes: dict[str, Any], code: Refusal, appraise: Any, snp_machine: SnpMachine) -> None:
    assert codes(appraise(snp_machine.report(REPORT), **changes)) == [code]


def test_old_firmware_can_be_accepted_explicitly(appraise: Any, snp_machine: SnpMachine) -> None:
    newer = SnpTcb(bootloader=3, tee=0, snp=21, microcode=0)
    appraisal = appraise(snp_machine.report(REPORT), minimum_snp_tcb=newer, accepted_statuses=(TcbStatus.OUT_OF_DATE,))
    assert appraisal.require().tcb_status == "OutOfDate"


def test_debug_guests_are_refused(appraise: Any, snp_machine: SnpMachine) -> None:
    assert codes(appraise(snp_machine.report(REPORT, debug=True))) == [Refusal.DEBUG]


@pytest.mark.parametrize(
    ("at", "value"), [(0, 1), (0, 6), (0x30, 1), (0x34, 2), (0x48, 4), (0x48, 2)], ids=lambda v: hex(v)
)
def test_other_reports_are_malformed(at: int, value: int, appraise: Any, snp_machine: SnpMachine) -> None:
    report = snp_machine.report(REPORT, changes={at: value})
    assert codes(appraise(report)) == [Refusal.MALFORMED]


@pytest.mark.parametrize(("at", "value"), [(0x180, 4), (0x186, 21), (0x187, 1), (0x1A0, 9)], ids=lambda v: hex(v))
def test_signed_but_of_another_chip_or_firmware(at: int, value: int, appraise: Any, snp_machine: SnpMachine) -> None:
    report = snp_machine.report(REPORT, changes={at: value})
    assert codes(appraise(report)) == [Refusal.NOT_AUTHENTIC]


def test_every_single_bit_flip_is_refused(appraise: Any, snp_machine: SnpMachine) -> None:
    report = bytearray(snp_machine.report(REPORT))
    collateral = snp_machine.collateral()
    for bit in range(0, 8 * len(report), 5):
        report[bit // 8] ^= 1 << (bit % 8)
        assert codes(appraise(bytes(report), collateral))[0] in (Refusal.MALFORMED, Refusal.NOT_AUTHENTIC)
        report[bit // 8] ^= 1 << (bit % 8)


def test_sizes() -> None:
    with pytest.raises(FormatError):
        parse_report(bytes(1183))
    with pytest.raises(LimitError):
        parse_report(bytes(1185))


def test_collateral(appraise: Any, snp_machine: SnpMachine, platform: Any) -> None:
    report = snp_machine.report(REPORT)
    good = snp_machine.collateral()
    stranger = rsa.generate_private_key(65537, 2048)
    other = SnpMachine(NOW)
    cases: list[tuple[Any, Refusal]] = [
        (platform.collateral(NOW), Refusal.COLLATERAL_OTHER_TEE),
        (snp_machine.collateral(b"no list"), Refusal.COLLATERAL_MALFORMED),
        (snp_machine.collateral(bytes(70000)), Refusal.COLLATERAL_MALFORMED),
        (SnpCollateral(b"nothing", good.ask, good.ark, good.crl), Refusal.COLLATERAL_MALFORMED),
        (SnpCollateral(good.ask, good.ask, good.ark, good.crl), Refusal.NOT_AUTHENTIC),
        (SnpCollateral(other.collateral().vcek, good.ask, good.ark, good.crl), Refusal.NOT_AUTHENTIC),
        (SnpCollateral(good.vcek, other.collateral().ask, good.ark, good.crl), Refusal.NOT_AUTHENTIC),
        (snp_machine.collateral(snp_machine.crl(key=stranger)), Refusal.NOT_AUTHENTIC),
        (snp_machine.collateral(snp_machine.crl(snp_machine.ask)), Refusal.NOT_AUTHENTIC),
    ]
    for collateral, code in cases:
        assert codes(appraise(report, collateral)) == [code]
    assert codes(appraise(report, good, now=NOW - 90000)) == [Refusal.COLLATERAL_FUTURE]
    assert codes(appraise(report, good, now=NOW + 91 * 86400)) == [Refusal.COLLATERAL_EXPIRED]


def test_production_policies_refuse_this_chain(snp_machine: SnpMachine, verifier: Verifier) -> None:
    policy = production([rule(Tee.SNP, {"measurement": "07" * 48})], roots=tuple(VendorRoot), minimum_snp_tcb=MINIMUM)
    for claimed, code in ((True, Refusal.SIMULATED), (False, Refusal.ROOT)):
        evidence = Evidence(EvidenceKind.SNP, snp_machine.report(REPORT), simulated=claimed)
        assert codes(verifier.appraise(evidence, snp_machine.collateral(), NOW, policy)) == [code]


def test_other_products_are_refused(verifier: Verifier, simulation: Any, appraise: Any) -> None:
    turin = SnpMachine(NOW, product=b"Turin-B1")
    pin = sha256(turin.ark.public_bytes(Encoding.DER)).hexdigest()
    appraisal = appraise(turin.report(REPORT), turin.collateral(), simulator_root_sha256=pin)
    assert codes(appraisal) == [Refusal.COLLATERAL_MALFORMED]
    assert "Milan or Genoa" in appraisal.reasons[0].message
