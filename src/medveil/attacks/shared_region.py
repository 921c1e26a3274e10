"""Known plaintext on the ROI watermark: images that agree in the region of interest, some of them known.

In profile paper the keys are unkeyed hashes of the region, so images with one region (an earlier export, a template, a
blank corner) share their keystream, and a few known images read the others. The hardened profile is attacked alike.
See `attacks.roi_watermark.keystream_reuse`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.attacks.base import Attack, Material, Outcome, Progress, Score, measured
from medveil.attacks.material import image_of
from medveil.attacks.roi_watermark import keystream_reuse
from medveil.attacks.views import grey
from medveil.errors import UnsupportedError
from medveil.imaging.roi import Rectangle
from medveil.metrics.uncertainty import bootstrap
from medveil.schemes import registry

Array = npt.NDArray[Any]
_SCHEME: Final = "roi-watermark"


class SharedRegion(Attack):
    """Reads the high halves of pixels outside a region that all images share, from `known` known ones.

    The pictures are protected anew, with the middle of the first in all of them as their region of interest.
    """

    name: ClassVar[str] = "shared-region"
    title: ClassVar[str] = "Known plaintext with a shared region of interest"
    needs: ClassVar[frozenset[str]] = frozenset({"originals", "known"})

    def __init__(self, *, known: int = 6) -> None:
        self.known = known

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Attack every original; raises UnsupportedError for other schemes than roi-watermark."""
        if material.scheme != _SCHEME:
            raise UnsupportedError(f"this attack is on {_SCHEME}: other schemes have no keys made from a region")
        first = grey(material.originals[0])
        rows, columns = first.shape
        region = (Rectangle(rows // 4, columns // 4, 3 * rows // 4, 3 * columns // 4),)
        scheme = registry.load(_SCHEME)(**{k: v for k, v in material.options.items() if k != "key"})

        def sharing(picture: Array) -> Array:
            out = grey(picture).copy()
            inside = np.s_[rows // 4 : 3 * rows // 4, columns // 4 : 3 * columns // 4]
            out[inside] = first[inside]
            return out

        known = [image_of(sharing(plain)) for plain, _ in material.known[: self.known]]
        pairs = [(image, scheme.protect(image, roi=region)) for image in known]
        fractions, chances = [], []
        for picture in material.originals:
            image = image_of(sharing(picture))
            found = keystream_reuse(pairs, image, scheme.protect(image, roi=region), region)
            fractions.append(found.fraction)
            chances.append(found.chance)
            progress(len(fractions), len(material.originals))
        score = measured(fractions, float(np.mean(chances)), groups=material.groups, seed=int(rng.integers(1 << 31)))
        gain = bootstrap(np.array(fractions) - np.array(chances), groups=material.groups or None)
        note = (
            f"{len(pairs)} known images with the same region read {score.value:.0%} of the high halves outside it "
            f"(guessing: {score.chance:.0%})"
        )
        scores = {"read": score, "above_guess": Score(gain.value, gain.low, gain.high, 0.0, len(fractions))}
        return Outcome(scores, {}, gain.low > 0, note)


ATTACK = SharedRegion
