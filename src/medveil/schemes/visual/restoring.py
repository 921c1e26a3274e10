"""From admitted shares to an image: the lossless layer where there is one, else the picture that the shares show."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medveil.errors import TamperedError
from medveil.imaging import banner
from medveil.imaging.image import MedicalImage, Photometric
from medveil.schemes.base import Finding, FindingKind, Restored
from medveil.schemes.visual import lossless, recovery
from medveil.schemes.visual.admission import Admitted


def picture(admitted: Admitted, method: str = "descreen", sigma: float = recovery.SIGMA) -> npt.NDArray[np.uint8]:
    """Return what the shares show, uint8 (rows, columns[, 3]), by `recovery.recover`, without any mark."""
    bits = [(share.pixels >> 7).astype(np.uint8) for share in admitted.shares.values()]
    return recovery.recover(bits, admitted.statement.threshold, admitted.statement.shares, method, sigma)


def visual_image(admitted: Admitted, method: str = "descreen", sigma: float = recovery.SIGMA) -> MedicalImage:
    """Return what the shares show; where the set must be marked, with a band of text below the picture."""
    pixels = banner.append(picture(admitted, method, sigma)[np.newaxis], admitted.mark, white=255)
    photometric = Photometric.RGB if pixels.ndim == 4 else Photometric.MONOCHROME2
    return MedicalImage(pixels, 8, photometric, name=admitted.mark.lower())


def restore(admitted: Admitted, method: str = "descreen") -> Restored:
    """Return the original from the lossless layer, or else the picture, marked as approximate.

    A set that must be marked gives the marked picture only: unverified layers are never taken for an original.
    Raises TamperedError where the layers of verified shares do not give what was dealt.
    """
    statement = admitted.statement
    if lossless.LABEL in statement.commitments and not admitted.mark:
        layers = {index: share.layer for index, share in admitted.shares.items() if share.layer}
        if len(layers) < statement.threshold:
            raise TamperedError(
                f"{len(layers)} of {statement.threshold} needed shares have their part of the original file: it was "
                "left behind or changed; bring the files that were written, or take the picture that the shares show"
            )
        image, changed = lossless.join(layers, statement)
        said = tuple(
            Finding(FindingKind.TAMPER, f"the lossless layer of part {i} was changed", i) for i in sorted(changed)
        )
        return Restored(image, admitted.findings + said)
    message = f"a picture recovered by {method} from a halftone: not the original, not for diagnosis"
    finding = Finding(FindingKind.APPROXIMATE, message)
    return Restored(visual_image(admitted, method), (*admitted.findings, finding))
