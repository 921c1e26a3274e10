"""What every protection scheme is: `protect` turns an image into parts, `restore` turns parts into the image.

A scheme's promises are data (`Claim`); the conformance suite tests every claim of every registered scheme on
real images, and a false one fails it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.roi import ROI


class FindingKind(StrEnum):
    """What a verification or a restore noticed; the value is what `--json` prints."""

    MISSING = "missing"  # a part is not there
    TAMPER = "tamper"  # bytes of a part were changed
    TRUNCATED = "truncated"  # a part is shorter or longer than its manifest says
    STALE = "stale"  # a part of an older version
    FOREIGN = "foreign"  # a part of another object
    SWAPPED = "swapped"  # a right part in the wrong place
    LOST = "lost"  # data that no k parts could give back
    REPAIRED = "repaired"  # data restored exactly from the other parts
    APPROXIMATE = "approximate"  # data restored in a lossy way, marked in the map
    DEGRADED = "degraded"  # fewer than n parts are in place; repair is queued
    UNVERIFIED = "unverified"  # nothing could be said
    MODIFIED = "modified"  # pixels differ from those that were protected
    UNREACHABLE = "unreachable"  # a store could not be asked


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation: what, in which part (1-based), which chunk or block, and a sentence for a person."""

    kind: FindingKind
    message: str
    part: int | None = None
    chunk: int | None = None
    place: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "kind": self.kind.value,
            "message": self.message,
            "part": self.part,
            "chunk": self.chunk,
            "place": self.place,
        }


@dataclass(frozen=True, slots=True, eq=False)
class TamperMap:
    """Where in the picture something was touched.

    touched: bool (frames, rows, columns): pixels whose stored data was changed in some part, repaired or not.
    lost: bool, same shape: pixels that could not be restored exactly.
    tile: side of the squares that localisation works in outside a region of interest, in pixels.
    """

    touched: npt.NDArray[np.bool_]
    lost: npt.NDArray[np.bool_]
    tile: int

    @property
    def clean(self) -> bool:
        """Whether nothing was touched."""
        return not self.touched.any()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a scheme promises. Each field is tested by the conformance suite on real images.

    lossless: the restored file (`any_file`) or pixels equal the original exactly.
    any_file: the original file comes back byte for byte, and files that are not images can be protected too.
    authenticated: a changed part is never accepted silently.
    localises: a change is located in the picture (to `tile` pixels).
    repairs: damage of up to n - k parts is repaired exactly.
    learnable: a network can be trained on the parts without restoring.
    one_way: restoring is impossible by design (learnable encryption).
    threshold: (k, n) of the default options; thresholds: whether other (k, n) can be chosen.
    private_below_threshold: k - 1 parts without the secret reveal nothing but size.
    bit_depths, signed, colour, multiframe, floats: the pixels that can be taken without loss.
    roi: whether a region of interest changes the result.
    secure: False where an attack of ours breaks the scheme; `notes` says which.
    """

    lossless: bool
    authenticated: bool
    localises: bool = False
    tile: int | None = None
    repairs: bool = False
    learnable: bool = False
    one_way: bool = False
    any_file: bool = False
    threshold: tuple[int, int] = (1, 1)
    thresholds: bool = False
    private_below_threshold: bool = False
    bit_depths: tuple[int, ...] = (8,)
    signed: bool = False
    colour: bool = False
    multiframe: bool = False
    floats: bool = False
    roi: bool = False
    secure: bool = True
    notes: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What one cloud gets: `data` is complete in itself (it carries whatever public record the scheme needs)."""

    index: int  # 1-based
    data: bytes = field(repr=False)
    media_type: str = "application/octet-stream"
    suffix: str = ""  # of a file name, for example ".png"


@dataclass(frozen=True, slots=True, eq=False)
class Secret:
    """What the owner keeps for one protected image: opaque bytes in the scheme's own versioned format."""

    scheme: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Protected:
    """The parts, the owner's secret, and the public `manifest` (also carried inside each part where needed)."""

    parts: tuple[Part, ...]
    secret: Secret
    manifest: bytes = b""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Restored:
    """A verified result: the image (or opaque file), what was noticed on the way, and where."""

    image: MedicalImage | OpaqueFile
    findings: tuple[Finding, ...] = ()
    tamper_map: TamperMap | None = None

    @property
    def exact(self) -> bool:
        """Whether the image is exactly the one that was protected."""
        inexact = (FindingKind.LOST, FindingKind.APPROXIMATE)
        return not any(f.kind in inexact for f in self.findings)


class Scheme(ABC):
    """A way to protect an image. Options are constructor keywords; an instance holds no image and no secret."""

    name: ClassVar[str]
    version: ClassVar[int]
    claim: Claim  # of the class's default options; an instance may narrow it to its options
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}
    """Forms that an evaluation measures each in a row of its own: the row's suffix, and the options that make it."""

    @classmethod
    def for_evaluation(cls, **options: Any) -> Scheme:
        """Return an instance to test, attack and measure the scheme with; never for a patient's image.

        A scheme that needs a trained key takes a public one here, which the package carries and which protects
        nothing. Every other scheme is made as always. Raises as the constructor.
        """
        return cls(**options)

    @abstractmethod
    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:
        """Turn an image into parts and a secret.

        Raises UnsupportedError where the image is of a form that `claim` does not cover, InputError where `roi`
        does not lie in the image.
        """

    @abstractmethod
    def restore(self, parts: Sequence[Part | bytes], secret: Secret) -> Restored:
        """Verify the parts and give the image back.

        Raises WrongKeyError, TamperedError, StaleError or FormatError where what is there is not authentic, and
        UnrecoverableError where too little is left; never returns unverified pixels.
        """

    @abstractmethod
    def verify(self, parts: Sequence[Part | bytes], secret: Secret | None = None) -> tuple[Finding, ...]:
        """Say what is wrong with the parts, without a secret as far as that goes.

        Returns an empty tuple where all is well. Raises as `restore` where nothing authentic is left.
        """
