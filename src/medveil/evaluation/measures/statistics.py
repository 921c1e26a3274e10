"""The usual tables of encrypted images, with critical values, over many keys; and SP 800-22 over what parts hold."""

from __future__ import annotations

from itertools import pairwise
from math import isqrt
from typing import Any

import numpy as np

from medveil.attacks.material import takes_data_set_key
from medveil.attacks.views import grey, view
from medveil.evaluation.measures.bench import Bench, Measure, Measured, Pixels, contents, image_of, keyed
from medveil.imaging.roi import Rectangle
from medveil.metrics import cipher_statistics as cipher
from medveil.metrics import key_statistics as keys
from medveil.metrics.sp800_22 import battery, bits
from medveil.schemes.base import Part

_PAIRS, _TRIALS = 16_384, 8
_TAIL, _PARTS = 16_384, 40  # bytes at the end of a part in which a period is looked for, and in how many parts
_SIDE = 256  # of the picture, which is a part of a chest X-ray of 1024 x 1024


def shown(part: Part, picture: Pixels) -> Pixels:
    """Return a part as a grey picture: its own, or what it holds laid out in a square, nothing repeated."""
    if part.media_type.startswith("image/"):
        return grey(view(part, picture.shape))
    held = contents(part)
    side = isqrt(len(held))
    return held[: side * side].reshape(side, side)


def _seen(bench: Bench, picture: Pixels, *, roi: bool = False) -> Pixels:
    """Return the first part of a picture under fresh keys, as a grey picture."""
    scheme = bench.subject.make()
    quarter = picture.shape[0] // 4
    region = (Rectangle(quarter, quarter, 3 * quarter, 3 * quarter),) if roi else ()
    return shown(scheme.protect(image_of(picture), roi=region).parts[0], picture)


def take(bench: Bench) -> Measured:
    """Take all of them of the first part."""
    picture = bench.sizeable(_SIDE)
    images = [_seen(bench, picture) for _ in range(bench.effort.keys)]
    out = Measured()
    worst = keys.over_keys(cipher.entropy, images)
    p = keys.chi_square_p_values(images)
    pairs = keys.summarise([cipher.judge_pair(a, b) for a, b in pairwise(images)])
    rng = bench.rng
    out.values |= {
        "entropy": float(np.median([cipher.entropy(i) for i in images])),
        "entropy_of_worst_key": worst.worst,
        "keys": worst.keys,
        "chi_square_p_median": float(np.median(p)),
        "chi_square_p_lowest": float(p.min()),
        "chi_square_p_uniform": battery.assess(p.tolist()).uniform,
        "npcr": pairs.npcr,
        "uaci": pairs.uaci,
        "pairs_random": pairs.share_random,
        "pairs_below_random": pairs.below,
        "pairs_suspiciously_above_random": pairs.above,
    }
    for direction in ("horizontal", "vertical", "diagonal"):
        found = cipher.adjacent_correlation(images[0], direction, pairs=_PAIRS, rng=rng)
        out.values[f"correlation_{direction}"] = found
    out.values["period"] = _period(images)
    out.values |= _sensitivity(bench)
    out.values |= _bits(bench)
    bounds = cipher.critical_values(images[0].size, 0.05)
    out.note = (
        f"critical values at {images[0].size} pixels, level 0.05: NPCR {100 * bounds.npcr:.4f} to "
        f"{100 * bounds.npcr_high:.4f} %, UACI {100 * bounds.uaci[0]:.4f} to {100 * bounds.uaci[1]:.4f} %"
    )
    counts, edges = np.histogram(images[0], bins=64, range=(0, 256))
    out.curves["histogram"] = [(float(e), float(c)) for e, c in zip(edges, counts, strict=False)]
    return out


def _period(images: list[Pixels]) -> int | None:
    """Return the shortest period in which the end of a part repeats itself under any key; None where it never does.

    A period counts where it is seen twice and over 16 bytes at least, which noise does in one part of 10^36.
    """
    lengths = []
    for image in images[:_PARTS]:
        values = image.reshape(-1)[-_TAIL:]
        found = keys.cycle_of_output(values)
        if found is not None and len(values) - found.tail >= max(16, 2 * found.length):
            lengths.append(found.length)
    return min(lengths, default=None)


def _sensitivity(bench: Bench) -> dict[str, Any]:
    """One key bit, and one pixel inside and outside a region of interest, under one key where the scheme takes one."""
    picture, rng = bench.sizeable(_SIDE), bench.rng
    key = rng.bytes(32)
    found: dict[str, Any] = {"key_sensitivity": None}
    held = takes_data_set_key(bench.subject.load())
    if held:

        def under(k: bytes) -> Pixels:
            return shown(keyed(bench.subject, k).protect(image_of(picture)).parts[0], picture)

        found["key_sensitivity"] = keys.key_sensitivity(under, key, bits=range(0, 256, 32)).share_random
    inside = np.zeros(picture.shape, np.bool_)
    quarter = picture.shape[0] // 4
    inside[quarter : 3 * quarter, quarter : 3 * quarter] = True

    def encrypt(pixels: Pixels) -> Pixels:
        if held:
            return shown(keyed(bench.subject, key).protect(image_of(pixels)).parts[0], pixels)
        return _seen(bench, pixels, roi=bench.subject.make().claim.roi)

    sides = keys.plaintext_sensitivity(encrypt, picture, inside, _TRIALS, rng)
    for name, side in (("roi", sides.inside), ("outside_roi", sides.outside)):
        if side is not None:
            found[f"npcr_one_pixel_{name}"] = side.npcr
            found[f"uaci_one_pixel_{name}"] = side.uaci
    return found


def _bits(bench: Bench) -> dict[str, Any]:
    """The fifteen tests over the first parts of one picture under as many keys as it takes."""
    scheme, wanted = bench.subject.make(), bench.effort.bits // 8
    held: list[Pixels] = []
    picture = bench.sizeable(_SIDE)
    while sum(map(len, held)) < wanted:
        held.append(contents(scheme.protect(image_of(picture)).parts[0]))
    found = battery.run(bits.from_bytes(np.concatenate(held)[:wanted].tobytes()))
    lowest = {f"sp800_22_{name.replace(' ', '_').replace('-', '_')}": o.lowest for name, o in found.items()}
    made = {n: o for n, o in found.items() if o.p}
    passed = sum(o.lowest >= 0.01 / len(o.p) for o in made.values())
    return lowest | {"sp800_22_passed": passed, "sp800_22_made": len(made), "sp800_22_bits": 8 * wanted}


MEASURE = Measure(
    "statistics",
    "Statistics of the encrypted image",
    "Entropy, chi-square, correlation, NPCR, UACI and SP 800-22 say that a picture looks like noise. They say nothing "
    "about security: keystream reuse, guessed keys and unseen tampering change none of them.",
    take,
    per_corpus=False,
)
