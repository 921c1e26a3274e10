"""What another key makes of a part; of deep-learning schemes also keys near the right one, batch sizes and a GPU."""

from __future__ import annotations

import numpy as np

from medveil.attacks.base import PSNR_CAP
from medveil.attacks.views import side_by_side
from medveil.errors import MedveilError
from medveil.evaluation.measures.bench import Bench, Measure, Measured, Pixels, image_of, interval
from medveil.imaging.image import MedicalImage
from medveil.metrics.image_quality import psnr
from medveil.metrics.uncertainty import bootstrap
from medveil.schemes.base import Scheme
from medveil.schemes.deep import comparisons, layout
from medveil.schemes.deep.container import Grid
from medveil.schemes.deep.key import DeepKey
from medveil.schemes.deep.samples import NAME, load
from medveil.schemes.deep.scheme import DeepScheme

_SHOWN = 6


def take(bench: Bench) -> Measured:
    """Restore with the secret of another picture; of a deep-learning scheme also decode with other networks."""
    scheme, pictures = bench.subject.make(), bench.corpus.images[: min(32, bench.effort.images)]
    if scheme.claim.one_way:
        return Measured({"foreign_restore": None}, note="nothing is ever restored, with any key")
    out = Measured({"secret_bytes": len(scheme.protect(image_of(pictures[0])).secret.data)})
    out.values["foreign_restore"] = _foreign(scheme, pictures)
    if isinstance(scheme, DeepScheme):
        _networks(bench, scheme, pictures, out)
    return out


def _foreign(scheme: Scheme, pictures: Pixels) -> str:
    """Return what becomes of a part with the secret of another picture: "refused", or how like the original it is."""
    one, other = (scheme.protect(image_of(p)) for p in pictures[:2])
    try:
        back = scheme.restore(one.parts, other.secret).image
    except MedveilError:
        return "refused"
    if not isinstance(back, MedicalImage) or back.pixels[0].shape != pictures[0].shape:
        return "no picture of that size"
    return f"{min(PSNR_CAP, psnr(pictures[0], np.asarray(back.pixels[0]))):.1f} dB"


def _networks(bench: Bench, scheme: DeepScheme, pictures: Pixels, out: Measured) -> None:
    given = bench.subject.options.get("trained_key", NAME)
    key = given if isinstance(given, DeepKey) else load(scheme.method)
    tiles = _tiles(pictures, key)
    codes = comparisons.encoded(key, tiles)
    found = comparisons.decoded_by_others(key, tiles, bench.rng)
    guess = np.rint(tiles.mean(axis=0)).astype(np.uint8)
    out.values |= {
        "key_bytes": len(key.pack()),
        "decoding_key_bytes": len(scheme.decoding_half(key).pack()),
        "codes_bytes": int(codes.size // len(pictures)),
        "codes_bits_per_pixel": 8 * codes.size / pictures.size,
        "psnr_mean_picture": float(np.mean([psnr(t, guess) for t in tiles])),
    }
    for name, back in found.items():
        values = [min(PSNR_CAP, psnr(a, b)) for a, b in zip(tiles, back, strict=True)]
        label = f"psnr_{name.replace(' %', '_percent').replace(' ', '_')}"
        out.values[label] = interval(bootstrap(values, seed=bench.seed), len(values))
    single, shipped = comparisons.changed_by_batches(key, tiles)
    same = comparisons.same_on_a_gpu(key, tiles)
    out.values |= {
        "changed_by_batch_size_float32": single,
        "changed_by_batch_size": shipped,
        "same_on_a_gpu": "no GPU here" if same is None else same,
    }
    rows = [list(tiles[:_SHOWN]), *(list(back[:_SHOWN]) for back in found.values())]
    out.pictures["originals; own key, weights off by 1 %, by 10 %, another key"] = side_by_side(*rows)
    percent = out.values["psnr_weights_off_by_10_percent"]["value"]
    out.note = (
        f"with every weight off by 10 % {percent:.1f} dB, with another key "
        f"{out.values['psnr_another_key']['value']:.1f} dB; the mean picture has "
        f"{out.values['psnr_mean_picture']:.1f} dB; batches of 1 to 32 change {shipped:.4%} of pixels"
    )


def _tiles(pictures: Pixels, key: DeepKey) -> Pixels:
    """Cut pictures into what the key's networks take."""
    side = key.size or 4
    count, rows, columns = pictures.shape
    padded = np.pad(pictures, ((0, 0), (0, -rows % side), (0, -columns % side)), mode="edge")
    if key.size is None:
        return padded
    return layout.cut(padded, Grid(count, padded.shape[1] // side, padded.shape[2] // side, side))


MEASURE = Measure(
    "keys",
    "Other keys, other batches",
    "Whether a wrong key opens nothing, and whether keys near the right one do: where they do, there are fewer keys "
    "than their size says. That another key fails says nothing about attacks.",
    take,
)
