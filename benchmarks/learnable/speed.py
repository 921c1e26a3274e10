"""Speed of encryption and of the minimum difference attack, one core; and encryption's share of a training epoch."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks.learnable.images import MRI, load
from benchmarks.measure import machine
from medveil.attacks.minimum_difference import minimum_difference
from medveil.imaging.samples import path
from medveil.schemes import registry
from medveil.schemes.learnable import kernels
from medveil.schemes.learnable.family import MEMBERS
from medveil.schemes.learnable.keystream import Stream
from medveil.schemes.learnable.scrambling import scramble_pixels

KEY = bytes(range(32))
SHARE = 0.05  # of an epoch, at most
GOALS = {"skk": 500, "smoothing": 200, "minimum difference": 100}


def picture() -> np.ndarray:
    """A real chest X-ray of 1024 x 1024 in three channels, (1, 1024, 1024, 3)."""
    from medveil.imaging.reader import read

    grey = read(path("xray-chest-1024.png")).pixels[0]
    return np.stack([grey, np.roll(grey, 1, axis=0), np.roll(grey, 1, axis=1)], axis=2)[None].copy()


def cpu_in_turn(calls: dict[str, Callable[[], object]], runs: int = 9) -> dict[str, list[float]]:
    """CPU seconds of calls taken in turn, after a warm-up; one thread, so other work on the machine counts little."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(runs + 1):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            if turn:
                taken[name].append(time.thread_time() - start)
    return taken


def throughput() -> str:
    x = picture()
    scrambled = scramble_pixels(x[0], KEY, 8)
    kinds = np.repeat(Stream(KEY, "smoothing filters").below(4, 256 * 256).reshape(256, 256, 1), 3, axis=2)
    work, together = scrambled.copy(), False

    def smoothing() -> None:
        work[:] = scrambled
        kernels.smooth(work.reshape(1024, -1), 3, 4, kinds, together, 8, 0)

    made = {name: registry.load(f"learnable-{name}")(key=KEY) for name in MEMBERS}
    calls: dict[str, Callable[[], object]] = {
        name: functools.partial(scheme.encrypt, x) for name, scheme in made.items()
    }
    calls["smoothing"] = smoothing
    calls["minimum difference"] = lambda: minimum_difference(scrambled)
    lines = ["| what, 1024 x 1024 RGB | MB/s, median of 9 | fastest to slowest | goal |", "|---|---|---|---|"]
    for name, seconds in cpu_in_turn(calls).items():
        rates = sorted(x.nbytes / 1e6 / s for s in seconds)
        said = {"smoothing": "the smoothing stage alone, M = 4", "smoothed": "smoothed (M = 4), whole"}.get(name, name)
        goal = f">= {GOALS[name]}" if name in GOALS else ""
        lines.append(f"| {said} | {statistics.median(rates):.0f} | {rates[-1]:.0f} - {rates[0]:.0f} | {goal} |")
    return f"On {machine()}, one thread, by CPU time.\n\n" + "\n".join(lines)


def share_of_epoch() -> str:
    """Encryption of 400 pictures beside one epoch of the fastest network on them, at 64 x 64."""
    from medveil.recognition.datasets import Dataset
    from medveil.recognition.plan import TrainingPlan
    from medveil.recognition.training import train

    some = load(MRI, "train").spread(400).sized(64)
    images = np.stack(some.pictures)[..., None]
    labels = np.array([i % 2 for i in range(len(images))], np.int64)
    given = Dataset(images, labels, ("a", "b"), tuple(f"={n}" for n in some.names), tuple(some.names))
    lines = [
        "| network, 400 pictures of 64 x 64 | one epoch, CPU s | encryption (smoothed, M = 4), CPU s | share |",
        "|---|---|---|---|",
    ]
    scheme = registry.load("learnable-smoothed")(key=KEY)
    encryption = statistics.median(cpu_in_turn({"encrypt": functools.partial(scheme.encrypt, images)})["encrypt"])
    train(given, TrainingPlan(model="small-cnn", epochs=1, validate=0), None)  # loads what is loaded once
    missed = []
    for model in ("small-cnn", "resnet18", "densenet121"):
        seconds = []
        for epochs in (1, 3):
            started = time.process_time()
            train(given, TrainingPlan(model=model, epochs=epochs, validate=0), None)
            seconds.append(time.process_time() - started)
        epoch = (seconds[1] - seconds[0]) / 2
        if encryption > SHARE * epoch:
            missed.append(model)
        lines.append(f"| {model} | {epoch:.2f} | {encryption:.3f} | {encryption / epoch:.1%} |")
    return (
        "\n".join(lines)
        + "\n\nPictures are encrypted once (median of 9) and trained on for many epochs; the share is of a "
        f"single one. The goal is at most {SHARE:.0%}: "
        + (f"missed for {', '.join(missed)}." if missed else "met for every network.")
    )
