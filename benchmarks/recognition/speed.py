"""Images a second of each network, and what encrypting the images costs beside one epoch; one thread."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from benchmarks.pages import write as write_section
from medveil.networks.architectures import ARCHITECTURES
from medveil.recognition import loop
from medveil.recognition.datasets import load
from medveil.recognition.protections import encrypt_images
from medveil.recognition.training import TrainingPlan

SHARE = 0.05
IMAGES = 140  # four batches: enough for a rate that repeats within a few per cent


def write(data: Path, _work: Path, page: Path, _kept: Path) -> None:
    torch.set_num_threads(1)
    rgb = load(data / "chest_xray_nih", 64, "rgb").subset(IMAGES // 2, 1)
    lines = [
        "| network, 64 x 64, RGB, bf16, one thread | images/s | SKK, share of an epoch | M = 4 |",
        "|---|---|---|---|",
    ]
    seconds = {}
    for name, scheme, options in (("SKK", "learnable-skk", {}), ("M = 4", "learnable-smoothed", {"block": 4})):
        encrypt_images(rgb.take(range(4)), scheme, options)  # compiles the kernels
        seconds[name] = min(_time(lambda s=scheme, o=options: encrypt_images(rgb, s, o)) for _ in range(3))
    for name, network in ARCHITECTURES.items():
        plan = TrainingPlan(model=name, epochs=1, precision="bf16", validate=0)
        loop.fit(rgb.take(range(0, len(rgb), 4)), plan)  # allocations and code paths warm
        epoch = min(_time(lambda p=plan: loop.fit(rgb, p)) for _ in range(2))
        shares = [seconds[s] / epoch for s in seconds]
        said = " | ".join(f"{100 * s:.1f} %{'' if s <= SHARE else ' (more than 5 %)'}" for s in shares)
        lines.append(f"| {network.title} | {len(rgb) / epoch:.0f} | {said} |")
    print("\n".join(lines))
    write_section(page, "recognition-speed", "\n".join(lines))


def _time(call: object) -> float:
    start = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - start
