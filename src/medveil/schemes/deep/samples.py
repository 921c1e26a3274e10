"""The public keys that the package carries so that the deep schemes can be tested and attacked without training.

Whoever has the package has these keys, so they protect nothing and are named so. `benchmarks/deep` trains them from
real chest X-rays (NIH ChestX-ray14; Wang et al., ChestX-ray8, CVPR 2017; NIH Clinical Center). A file is the body of a
`DeepKey`, compressed by zlib, and is refused where it differs from what was shipped.
"""

from __future__ import annotations

import hashlib
import zlib
from functools import cache
from pathlib import Path
from typing import Final

from medveil.errors import TamperedError, UsageError
from medveil.schemes.deep.key import DeepKey

NAME: Final = "insecure-sample"
"""What the option `trained_key` is set to for the public key."""
METHODS: Final = ("invertible", "backprop", "scramble_aae", "cyclegan")
FOLDER: Final = Path(__file__).resolve().parent / "insecure_samples"
SHA256: Final = {
    "backprop": "fded2f28f5efbb75909b7a3eb31ec63acde593861a9765554df84f218488c17f",
    "cyclegan": "463c0c38ba840d9c8999c3248c082e75fcb4e69e711d1e306c08b4e813a0ff07",
    "scramble_aae": "f909379cbda01a67113b89bb9bae42f43ba18e01e54045d8f9c77001827683d9",
    "invertible": "1bf853743950dd2bdb0f735a266488c3c03b0431d345be0edf9f27dd1a0f1858",
}
_MAX_BODY: Final = 4 << 20


def path_of(method: str) -> Path:
    """Return where a method's sample lies."""
    return FOLDER / f"{method}.sample"


@cache
def load(method: str) -> DeepKey:
    """Return the public key of a method, marked as such.

    Raises UsageError for a method without one, TamperedError where the file is not the one that was shipped.
    """
    if method not in SHA256:
        raise UsageError(f"there is no sample key of method {method!r}: there are {', '.join(SHA256)}")
    data = path_of(method).read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256[method]:
        raise TamperedError(f"the sample key of {method} differs from the one shipped: install the package again")
    return unpack(data)


def pack(key: DeepKey) -> bytes:
    """Return a sample file of a key that is meant to be public."""
    return zlib.compress(key.pack(), 9)


def unpack(data: bytes) -> DeepKey:
    """Read a sample file. Raises FormatError, TamperedError where it does not decompress."""
    reader = zlib.decompressobj()
    try:
        body = reader.decompress(data, _MAX_BODY)
    except zlib.error:
        raise TamperedError("a sample key does not decompress: install the package again") from None
    return DeepKey.unpack(body, insecure_sample=True)
