"""Every single-bit change of the real quotes, appraised in worker processes; shared with the benchmark."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.attestation.conftest import production, read_samples, rule_of

from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.verifier import Verifier

ACCEPTED = "accepted"


def flip_range(folder: Path, name: str, start: int, end: int) -> Counter[str]:
    """Flip each bit from `start` to `end` of one quote; return how often which refusal came first."""
    sample = read_samples(folder)[name]
    policy, verifier = production([rule_of(sample)]), Verifier()
    outcomes: Counter[str] = Counter()
    raw = bytearray(sample.raw)
    for bit in range(start, end):
        raw[bit // 8] ^= 1 << (bit % 8)
        evidence = Evidence(EvidenceKind.DCAP, bytes(raw), simulated=False)
        reasons = verifier.appraise(evidence, sample.collateral, sample.now, policy).reasons
        outcomes[reasons[0].code.value if reasons else ACCEPTED] += 1
        raw[bit // 8] ^= 1 << (bit % 8)
    return outcomes


def all_flips(folder: Path, *, workers: int = 2, piece: int = 4096) -> dict[str, Counter[str]]:
    """Flip every bit of every sample; return the outcomes of each."""
    samples = read_samples(folder)
    jobs = [
        (name, start, min(start + piece, 8 * len(sample.raw)))
        for name, sample in samples.items()
        for start in range(0, 8 * len(sample.raw), piece)
    ]
    found: dict[str, Counter[str]] = {name: Counter() for name in samples}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        names, starts, ends = zip(*jobs, strict=True)
        for name, outcomes in zip(names, pool.map(flip_range, [folder] * len(jobs), names, starts, ends), strict=True):
            found[name] += outcomes
    return found
