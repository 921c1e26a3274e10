"""Writes the vectors of this folder: `python vectors/deep/generate.py`.

Each is made from a small cut of a real image that the package carries, with a small drawn key (2 layers, 8 hidden
channels; the format allows it) and seeded randomness, and then changed in one way. Running it again gives the same
files.

A vector is text: `expect:` (restored, or the kind of refusal), `comment:`, for restored ones `pixels:` (SHA-256 of the
pixels, C order, little endian), then `secret:` and `part:` (base64).
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import numpy as np

from medveil.crypto import canonical
from medveil.crypto.hashing import tagged
from medveil.crypto.prg import allow_insecure_randomness, insecure_seeded
from medveil.imaging import reader
from medveil.imaging.image import MedicalImage
from medveil.imaging.samples import FOLDER as SAMPLES
from medveil.schemes.deep import container
from medveil.schemes.deep.integer_flow import draw_key
from medveil.schemes.deep.invertible import Invertible

HERE = Path(__file__).resolve().parent


def cut(name, frames, rows, columns):
    image = reader.read(SAMPLES / name)
    pixels = np.ascontiguousarray(image.pixels[:frames, rows, columns])
    return MedicalImage(pixels, image.bits_stored, image.photometric)


def write(name, expect, comment, secret, part, pixels=None):
    lines = [f"expect: {expect}", f"comment: {comment}"]
    if pixels is not None:
        little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
        lines.append(f"pixels: {hashlib.sha256(little.tobytes()).hexdigest()}")
    lines += [f"secret: {base64.b64encode(secret).decode()}", f"part: {base64.b64encode(part).decode()}"]
    (HERE / f"{name}.vector").write_text("\n".join(lines) + "\n")


def rebuilt(part, **changes):
    """The part with fields of its record changed, its unkeyed digest made to fit."""
    length = int.from_bytes(part[-9:-5], "big")
    record = canonical.decode(part[-9 - length : -9])
    codes = changes.pop("codes", part[: -9 - length])
    record = canonical.encode(record | {"size": len(codes), "digest": tagged("deep codes", codes)} | changes)
    return codes + record + len(record).to_bytes(4, "big") + container.MAGIC


def main():
    with allow_insecure_randomness("test"):
        rng = insecure_seeded(b"medveil deep vectors", "vectors")
        scheme = Invertible(trained_key=draw_key(rng, shape={"layers": 2, "hidden": 8}))
        images = {
            "exact-8-bit": (cut("us-breast-benign.png", 1, slice(60, 84), slice(80, 112)), "8 bits, sides by 4"),
            "exact-odd-sides": (cut("us-breast-benign.png", 1, slice(60, 79), slice(80, 101)), "padded to 20 x 24"),
            "exact-16-bit-signed": (cut("ct-thorax.dcm", 1, slice(200, 216), slice(200, 220)), "two byte planes"),
            "exact-frames": (cut("mr-10-frames.dcm", 3, slice(20, 32), slice(20, 36)), "three frames of 12 bits"),
            "exact-colour": (cut("us-doppler-8-frames.dcm", 1, slice(100, 112), slice(150, 162)), "three samples"),
        }
        made = {name: (scheme._protect(image, (), rng), image, comment) for name, (image, comment) in images.items()}
    for name, (protected, image, comment) in made.items():
        write(name, "restored", comment, protected.secret.data, protected.parts[0].data, image.pixels)
    protected = made["exact-8-bit"][0]
    secret, part = protected.secret.data, protected.parts[0].data
    changed = bytearray(part)
    changed[100] ^= 1
    write("tampered-codes", "tampered", "a bit of the codes changed", secret, bytes(changed))
    codes = bytearray(part[: 24 * 32])
    codes[5] ^= 1
    write(
        "tampered-digest-fits",
        "tampered",
        "codes changed, unkeyed digest too",
        secret,
        rebuilt(part, codes=bytes(codes)),
    )
    write("tampered-cut", "tampered", "the first byte is missing", secret, part[1:])
    write("format-cut-end", "format", "the last byte is missing", secret, part[:-1])
    write("format-empty", "format", "nothing", secret, b"")
    write("format-other-method", "format", "a part of another method", secret, rebuilt(part, method="backprop"))
    write("format-other-version", "format", "a record of version 2", secret, rebuilt(part, v=2))
    other = made["exact-odd-sides"][0]
    write("wrong-key-other-image", "wrong-key", "the secret of another image", other.secret.data, part)
    later = canonical.encode(canonical.decode(secret, limit=1 << 20) | {"v": 2})
    write("format-secret-version", "format", "a secret of version 2", later, part)


if __name__ == "__main__":
    main()
