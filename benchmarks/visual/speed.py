"""Speed of halftones beside Pillow's, of protect, and of verifying one share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image

from benchmarks.measure import Timing, time_in_turn
from benchmarks.visual.material import crop, platform, provider, session_signer
from medveil.attestation.policy import parse_policy
from medveil.attestation.session import Session
from medveil.attestation.sets import verify_shares
from medveil.attestation.verifier import Verifier
from medveil.cli.attest import simulation_policy
from medveil.imaging import reader, samples
from medveil.imaging.image import MedicalImage, Photometric
from medveil.imaging.windowing import to_display
from medveil.metrics.image_quality import hvs_psnr
from medveil.schemes.visual import Visual, admission, carriers, halftone, recovery

K = TypeVar("K")
RUNS = 31


def table(head: str, rows: list[str]) -> str:
    columns = head.count("|") - 1
    return "\n".join([head, "|" + "---|" * columns, *rows])


def halftones() -> str:
    grey = to_display(reader.read(samples.load("xray-chest-1024.png")))
    rgb = crop()
    pillow, channels = Image.fromarray(grey), [Image.fromarray(np.ascontiguousarray(rgb[..., c])) for c in range(3)]
    large, small = "1024 x 1024 grey", "786 x 512 RGB"
    calls: dict[tuple[str, str], Callable[[], object]] = {
        (f"ours, {name}", large): lambda name=name: halftone.halftone(grey, name) for name in halftone.HALFTONES
    }
    calls["Pillow convert('1')", large] = lambda: pillow.convert("1")
    calls["ours, floyd-steinberg", small] = lambda: halftone.halftone(rgb)
    calls["Pillow convert('1'), three channels", small] = lambda: [one.convert("1") for one in channels]
    took = _timed(calls)
    dithered = np.asarray(pillow.convert("1")).astype(np.uint8) * 255
    quality = {
        f"ours, {name}": hvs_psnr(grey, halftone.halftone(grey, name) * np.uint8(255)) for name in halftone.HALFTONES
    }
    quality["Pillow convert('1')"] = hvs_psnr(grey, dithered)
    rows = []
    for (name, size), timing in took.items():
        samples_done = grey.size if size == large else rgb.size
        seen = f"{quality[name]:.2f}" if size == large else ""
        rate = f"{samples_done / timing.median / 1e6:.0f} ({samples_done / min(timing.seconds) / 1e6:.0f})"
        rows.append(f"| {name} | {size} | {rate} | {seen} |")
    ratio = took["Pillow convert('1')", large].median / took["ours, floyd-steinberg", large].median
    return (
        f"**Halftones**, one thread, processor time, in turn: million samples a second, median (best) of {RUNS}. Ours "
        f"is {ratio:.1f} times Pillow's (target: 2), at the same quality.\n\n"
        + table("| halftone | picture | Msamples/s | HVS-PSNR, dB |", rows)
    )  # fmt: skip


def protecting() -> str:
    rgb = crop()
    image = MedicalImage(rgb[np.newaxis], 8, Photometric.RGB)
    signer = session_signer()
    parts = Visual(signer=signer, lossless=False, carrier="lsb").protect(image).parts
    shares = [carriers.read(part.data) for part in parts]
    write = carriers.write

    def without_png(**options: object) -> None:
        carriers.write = lambda *_: b""  # type: ignore[assignment]
        try:
            Visual(signer=signer, carrier="lsb", **options).protect(image)  # type: ignore[arg-type]
        finally:
            carriers.write = write

    bits = [(share.pixels >> 7).astype(np.uint8) for share in shares]
    calls: dict[str, Callable[[], object]] = {
        "protect (2, 2), no lossless layer, without PNG coding (target 10)": lambda: without_png(lossless=False),
        "protect (2, 2), with lossless layer, without PNG coding": without_png,
        "protect (3, 5), no lossless layer, without PNG coding": lambda: without_png(lossless=False, threshold=(3, 5)),
        "protect (2, 2), no lossless layer, with PNG coding": lambda: Visual(
            signer=signer, lossless=False, carrier="lsb").protect(image),
        "read one share's PNG": lambda: carriers.read(parts[0].data),
        "stack, XOR": lambda: (recovery.stack(bits), recovery.xor(bits)),
        "descreen": lambda: recovery.recover(bits, 2, 2),
    }  # fmt: skip
    rows = [f"| {name} | {_milliseconds(timing)} |" for name, timing in _timed(calls).items()]
    return f"**786 x 512 RGB**, session open, one thread, processor time, median (best) of {RUNS}.\n\n" + table(
        "| step | ms |", rows
    )


def verifying() -> str:
    """One share of a 786 x 512 RGB image, from its pixels in memory: digest, proof, evidence, policy."""
    image = MedicalImage(crop()[np.newaxis], 8, Photometric.RGB)
    now, rules = int(time.time()), parse_policy(simulation_policy(platform()))
    verifier, text = Verifier(), platform().collateral(now - 60)
    calls: dict[str, Callable[[], object]] = {}
    for proof in ("session", "quote"):
        scheme = Visual(provider=provider(), proof=proof, lossless=False)
        shares = [carriers.read(part.data) for part in scheme.protect(image).parts]
        given = [s for s in (share.envelope.read_session() for share in shares if share.envelope) if s is not None]

        def whole(shares: list[carriers.ShareFile], given: list[Session] = given) -> None:
            presented = [admission.present(share) for share in shares]
            verify_shares(presented, rules, verifier=verifier, collateral=lambda _: text, now=now, sessions=given[:1])

        calls[f"one share alone under a policy, {proof}"] = lambda whole=whole, shares=shares: whole(shares[:1])
        calls[f"set of two under a policy, {proof}, a share"] = lambda whole=whole, shares=shares: whole(shares)
        calls[f"one share's form, digest and {'signature' if proof == 'session' else 'quote binding'}, no policy"] = (
            lambda share=shares[0]: admission.check_consistent(share)
        )
    rows = []
    for name, timing in _timed(calls).items():
        divisor = 2 if name.startswith("set") else 1
        rows.append(f"| {name} | {1e3 * timing.median / divisor:.2f} ({1e3 * min(timing.seconds) / divisor:.2f}) |")
    head = (
        f"**Verifying one share** of 786 x 512 RGB in memory (target 2), simulated SGX quote, processor time, "
        f"median (best) of {RUNS}."
    )
    return head + "\n\n" + table("| what | ms a share |", rows)


def _timed(calls: dict[K, Callable[[], object]]) -> dict[K, Timing]:
    took = time_in_turn(
        {str(number): call for number, call in enumerate(calls.values())}, runs=RUNS, warmup=3, clock=time.process_time
    )
    return {key: took[str(number)] for number, key in enumerate(calls)}


def _milliseconds(timing: Timing) -> str:
    return f"{1e3 * timing.median:.2f} ({1e3 * min(timing.seconds):.2f})"
