"""Gathers material for attacks: encrypts real pictures with any scheme and keeps what a cloud would see.

Works through the scheme's public interface only, so every registered scheme, ours or a third party's, is attacked
alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.attacks.base import Material, Progress
from medveil.attacks.views import view
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import InputError
from medveil.imaging.image import MedicalImage, Photometric
from medveil.schemes import registry
from medveil.schemes.base import Scheme
from medveil.schemes.learnable.base import LearnableScheme

Array = npt.NDArray[Any]


def image_of(picture: Array) -> MedicalImage:
    """Return a uint8 picture (rows, columns) or (rows, columns, 3) as an image in memory."""
    photometric = Photometric.RGB if picture.ndim == 3 else Photometric.MONOCHROME2
    return MedicalImage(np.ascontiguousarray(picture)[np.newaxis], 8 * picture.dtype.itemsize, photometric)


def seen(scheme: Scheme, picture: Array, part: int = 1) -> Array:
    """Protect a picture and return what the keeper of that part (1-based) would look at.

    A learnable scheme's part is a PNG file of exactly the samples that `encrypt` gives; the file is left out here.
    """
    if isinstance(scheme, LearnableScheme) and part == 1:
        return np.asarray(scheme.encrypt(picture[None])[0])
    parts = scheme.protect(image_of(picture)).parts
    if not 1 <= part <= len(parts):
        raise InputError(f"there is no part {part} of {len(parts)}")
    return view(parts[part - 1], picture.shape)


def takes_data_set_key(cls: type[Scheme]) -> bool:
    """Whether a scheme takes one key for a whole data set (the class says so by ``data_set_key``)."""
    return bool(getattr(cls, "data_set_key", False))


def fresh(scheme: str | type[Scheme], options: Mapping[str, Any], rng: Randomness = SYSTEM) -> Scheme:
    """Return a scheme to attack, with a fresh data set key where it takes one and `options` hold none."""
    cls = registry.load(scheme) if isinstance(scheme, str) else scheme
    key = {"key": rng.bytes(32)} if takes_data_set_key(cls) and "key" not in options else {}
    return cls.for_evaluation(**options, **key)


def encrypter(
    scheme: str | type[Scheme], options: Mapping[str, Any], *, part: int = 1, rng: Randomness = SYSTEM
) -> Callable[[Array], Array]:
    """Return the public algorithm for an adversary: picture to protected picture, a fresh key for each call."""
    return lambda picture: seen(fresh(scheme, options, rng), picture, part)


def gather(
    scheme: str,
    originals: Sequence[Array],
    *,
    options: Mapping[str, Any] | None = None,
    cls: type[Scheme] | None = None,
    part: int = 1,
    groups: Sequence[str] = (),
    gallery: Sequence[Array] = (),
    gallery_index: Sequence[int] = (),
    gallery_groups: Sequence[str] = (),
    again: int = 0,
    again_images: int | None = None,
    known: Sequence[Array] = (),
    public: Sequence[Array] = (),
    rng: Randomness = SYSTEM,
    progress: Progress | None = None,
) -> Material:
    """Encrypt `originals` with a registered scheme under fresh keys and return the material of an attack.

    options: as `Scheme.for_evaluation` takes them; a scheme that takes a data set key gets one for all of `originals`
    and `known`. cls: the scheme's class, where it is not registered.
    again: further encryptions of each of the first `again_images` images (all where None), each under fresh
    randomness and, where the scheme takes a key, a fresh key: this is what a data set sent twice shows.
    part: which part the adversary keeps. rng: where the drawn keys come from.
    Raises what the scheme raises, InputError for lists that do not fit.
    """
    if len(gallery_index) not in (0, len(originals)) or len(groups) not in (0, len(originals)):
        raise InputError(f"{len(originals)} originals need as many groups and gallery indices, or none")
    given = dict(options or {})
    tick = progress or (lambda _done, _total: None)
    own = fresh(cls or scheme, given, rng)
    encrypt_public = encrypter(cls or scheme, given, part=part, rng=rng)
    material = Material(
        scheme=scheme,
        options={k: v for k, v in given.items() if k != "key"},
        originals=list(originals),
        groups=list(groups),
        gallery=list(gallery),
        gallery_index=list(gallery_index),
        gallery_groups=list(gallery_groups),
        oracle=lambda picture: seen(own, picture, part),
        public=list(public),
        encrypt_public=encrypt_public,
    )
    repeated = len(originals) if again_images is None else min(again_images, len(originals))
    total = len(originals) + len(known) + again * repeated
    done = 0
    for picture in originals:
        material.protected.append(seen(own, picture, part))
        tick(done := done + 1, total)
    for picture in known:
        material.known.append((picture, seen(own, picture, part)))
        tick(done := done + 1, total)
    if again:
        for picture in originals[:repeated]:
            material.again.append([encrypt_public(picture) for _ in range(again)])
            tick(done := done + again, total)
    return material
