"""Time: megabytes of pixels a second, one core, on a real 1024 x 1024 chest X-ray where the scheme takes it."""

from __future__ import annotations

import time
from collections.abc import Callable

from medveil.errors import UnsupportedError
from medveil.evaluation.measures.bench import Bench, Measure, Measured, image_of
from medveil.schemes.base import Protected, Scheme

_RUNS, _SECONDS = 5, 3.0


def _least(call: Callable[[], object]) -> float:
    """Return the least seconds of up to five calls within three seconds, after a first one to warm up.

    The least, since other work on the machine only ever adds.
    """
    call()
    taken: list[float] = []
    while len(taken) < _RUNS and sum(taken) < _SECONDS:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


def take(bench: Bench) -> Measured:
    """Time protect and restore."""
    scheme = bench.subject.make()
    picture = bench.corpus.large
    try:
        protected = scheme.protect(image_of(picture))
    except UnsupportedError:
        picture = bench.corpus.images[0]
        protected = scheme.protect(image_of(picture))
    image = image_of(picture)
    protects = _least(lambda: scheme.protect(image))
    restores = _restoring(scheme, protected)
    megabytes = picture.size / 1e6
    stored = sum(len(part.data) for part in protected.parts)
    return Measured(
        {
            "pixels": int(picture.size),
            "protect_seconds": protects,
            "restore_seconds": restores,
            "protect_mb_per_s": megabytes / protects,
            "stored_over_original": stored / picture.size,
            "secret_bytes": len(protected.secret.data),
            "restore_mb_per_s": None if restores is None else megabytes / restores,
        },
        note=f"on a picture of {picture.shape[0]} x {picture.shape[1]} pixels, 8 bit",
    )


def _restoring(scheme: Scheme, protected: Protected) -> float | None:
    if scheme.claim.one_way:
        return None
    return _least(lambda: scheme.restore(protected.parts, protected.secret))


MEASURE = Measure(
    "speed",
    "Speed",
    "Seconds and megabytes a second of one core. Says nothing about security.",
    take,
    per_corpus=False,
)
