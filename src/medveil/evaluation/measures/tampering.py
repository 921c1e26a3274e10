"""Changed parts: are they noticed, is the place shown, does the image still come back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from medveil.attacks.roi_watermark import tamper_outside
from medveil.errors import InputError, MedveilError, RefusedError, UnrecoverableError
from medveil.evaluation.measures.bench import (
    Bench,
    Measure,
    Measured,
    changed,
    image_of,
    interval,
    picture_of,
    with_part,
)
from medveil.evaluation.three_servers import ThreeServerShares
from medveil.imaging.image import MedicalImage
from medveil.imaging.raster import encode_png
from medveil.imaging.roi import ROI, Rectangle
from medveil.metrics.uncertainty import proportion
from medveil.schemes.base import FindingKind, Part, Protected, Restored, Scheme
from medveil.schemes.roi_watermark import RoiWatermark

_SILENT = (FindingKind.UNVERIFIED, FindingKind.APPROXIMATE)  # said of clean parts too: no sign that a change was seen


def edited(part: Part, row: int, column: int) -> Part:
    """Change a pixel's lowest bit in a part that is a picture, as an image editor would; else a byte."""
    if not part.media_type.startswith("image/"):
        return changed(part, (row * 4099 + column) % len(part.data), 1)
    pixels = picture_of(part).copy()
    pixels[0, row % pixels.shape[1], column % pixels.shape[2]] ^= 1
    return Part(part.index, encode_png(pixels[0]), part.media_type, part.suffix)


def region_of(image: MedicalImage) -> ROI:
    """Return the middle of a picture as region of interest: a scheme may guard the rest less."""
    return (Rectangle(image.rows // 4, image.columns // 4, 3 * image.rows // 4, 3 * image.columns // 4),)


class _Trials:
    """Counts what becomes of changed parts."""

    def __init__(self, scheme: Scheme, image: MedicalImage) -> None:
        self.scheme, self.image = scheme, image
        self.protected = scheme.protect(image, roi=region_of(image) if scheme.claim.roi else ())
        self.trials = self.refused = self.reported = self.silent = self.silent_and_wrong = 0
        self.exact = 0

    def restore(self, parts: Sequence[Part]) -> Restored | None:
        """Restore and count; None where it was refused."""
        self.trials += 1
        try:
            restored = self.scheme.restore(parts, self.protected.secret)
        except (RefusedError, UnrecoverableError, InputError):
            self.refused += 1
            return None
        right = isinstance(restored.image, MedicalImage) and np.array_equal(restored.image.pixels, self.image.pixels)
        seen = any(f.kind not in _SILENT for f in restored.findings)
        self.reported += seen
        self.silent += not seen
        self.silent_and_wrong += not seen and not right
        self.exact += right
        return restored


def take(bench: Bench) -> Measured:
    """Change one byte or pixel of each part, many times; then whole parts."""
    scheme = bench.subject.make()
    if scheme.claim.one_way:
        return Measured(
            {"noticed": None, "localised": None, "repaired": None, "one_way": True},
            note="nothing is ever restored, so a changed picture can only be used as it is: no change is noticed",
        )
    image = image_of(bench.sizeable())
    trials, drawn = _Trials(scheme, image), []
    for damaged in _damaged(trials.protected, bench.effort.tampers, bench.rng):
        restored = trials.restore(with_part(trials.protected.parts, damaged))
        if restored is not None and restored.tamper_map is not None:
            drawn.append(float(restored.tamper_map.touched.mean()))
    out = Measured()
    noticed = proportion(trials.trials - trials.silent, trials.trials)
    out.values |= {
        "noticed": interval(noticed, trials.trials),
        "silent": trials.silent,
        "silent_and_wrong": trials.silent_and_wrong,
        "refused": trials.refused,
        "one_byte_repaired": interval(proportion(trials.exact, trials.trials), trials.trials),
    }
    drawn = [share for share in drawn if share]  # a change of a record, and not of the picture, is not in a map
    localised = [share <= 0.5 for share in drawn]
    out.values["localised"] = interval(proportion(sum(localised), len(drawn)), len(drawn)) if drawn else False
    out.values["touched_share"] = float(np.mean(drawn)) if drawn else None
    out.values |= _whole_parts(scheme, image, trials)
    if bench.subject.scheme == RoiWatermark.name:
        out.values["adversary"] = _adversary(bench, image)
    if isinstance(scheme, ThreeServerShares):
        before = trials.silent_and_wrong
        trials.restore(scheme.lie(trials.protected.parts))
        out.values["lie_unnoticed"] = trials.silent_and_wrong > before
        out.note = "three servers compared notice a changed share, not a wrong value that one of them passes on"
    return out


def _adversary(bench: Bench, image: MedicalImage) -> dict[str, object]:
    """Return how many changes outside the region go unseen when the adversary makes unkeyed checksums fit again."""
    scheme = bench.subject.make(carrier="bytes")
    region = region_of(image)
    found = tamper_outside(scheme, image, scheme.protect(image, roi=region), region, bench.effort.tampers, bench.rng)
    return interval(proportion(found.unseen, found.trials), found.trials)


def _damaged(protected: Protected, count: int, rng: np.random.Generator) -> Iterator[Part]:
    """Give single changes, `count` for each part: bytes anywhere, and for pictures every other time a pixel."""
    for part in protected.parts:
        for number in range(count):
            if number % 2 and part.media_type.startswith("image/"):
                yield edited(part, int(rng.integers(1 << 12)), int(rng.integers(1 << 12)))
            else:
                yield changed(part, int(rng.integers(len(part.data))), int(rng.integers(1, 256)))


def _whole_parts(scheme: Scheme, image: MedicalImage, trials: _Trials) -> dict[str, object]:
    """Damage as many whole parts as the scheme can miss (n - k), every choice of them, at most 28."""
    from itertools import combinations, islice

    k, n = scheme.claim.threshold
    if n == k:
        return {"spare_parts": 0, "parts_repaired": None}
    exact = count = 0
    for chosen in islice(combinations(range(n), n - k), 28):
        parts = list(trials.protected.parts)
        for i in chosen:
            data = np.frombuffer(parts[i].data, np.uint8) ^ np.uint8(0x5A)
            parts[i] = Part(parts[i].index, data.tobytes(), parts[i].media_type, parts[i].suffix)
        count += 1
        try:
            back = scheme.restore(parts, trials.protected.secret).image
        except MedveilError:
            continue
        exact += isinstance(back, MedicalImage) and np.array_equal(back.pixels, image.pixels)
    return {"spare_parts": n - k, "parts_repaired": interval(proportion(exact, count), count)}


MEASURE = Measure(
    "tampering",
    "Tampering",
    "Whether one changed byte, pixel or part is noticed, shown in the picture, and repaired.",
    take,
    per_corpus=False,
)
