"""Writes the vectors of this folder: `python vectors/roi_watermark/generate.py`.

Each is made from a small cut of a real image that the package carries, with seeded randomness, and then damaged in one
way. Running it again gives the same files.

A vector is text: `expect:` (restored, or the kind of refusal), `comment:`, for restored ones `pixels:` (SHA-256 of the
pixels as stored, C order, little endian) and `findings:`, then `secret:` (hexadecimal) and `part:` (base64) lines.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np

from medveil.crypto.prg import allow_insecure_randomness, insecure_seeded
from medveil.errors import MedveilError
from medveil.imaging import reader
from medveil.imaging.image import MedicalImage
from medveil.imaging.roi import Polygon, Rectangle
from medveil.imaging.samples import FOLDER as SAMPLES
from medveil.schemes.base import FindingKind, Secret
from medveil.schemes.roi_watermark import RoiWatermark, carriers, copies, hardened, keys, regions
from medveil.schemes.roi_watermark import chaos as maps
from medveil.schemes.roi_watermark.secret import ImageSecret

HERE = Path(__file__).resolve().parent
KINDS = {
    "WrongKeyError": "wrong-key",
    "TamperedError": "tampered",
    "StaleError": "stale",
    "FormatError": "format",
    "LimitError": "limit",
    "UnrecoverableError": "unrecoverable",
}


def cut(name, frames, rows, columns, frame=0):
    image = reader.read(SAMPLES / name)
    pixels = np.ascontiguousarray(image.pixels[frame : frame + frames, rows, columns])
    return MedicalImage(pixels, 8 * pixels.dtype.itemsize, image.photometric)


ULTRASOUND = cut("us-breast-benign.png", 1, slice(60, 100), slice(80, 132))
NOISY = cut("us-breast-malignant.png", 1, slice(64, 128), slice(0, 64))
CT = cut("ct-thorax.dcm", 1, slice(200, 248), slice(180, 230))
COLOUR = cut("us-doppler-8-frames.dcm", 1, slice(100, 133), slice(120, 160))
FRAMES = cut("mr-10-frames.dcm", 3, slice(10, 45), slice(8, 56))
ROI = (Rectangle(4, 7, 30, 40),)


def protect(image, roi=(), seed=0, **options):
    options.setdefault("carrier", "bytes")
    with allow_insecure_randomness("test"):
        made = RoiWatermark(**options)._protect(image, roi, insecure_seeded(seed, "roi-watermark vectors"))
    return [part.data for part in made.parts], made.secret.data


def canonical(restored):
    """Return findings as the reference writes them."""
    out = []
    for f in restored.findings:
        if f.place == "sealed file record":
            out.append(f"{f.kind.value}:record")
        elif f.kind is FindingKind.TAMPER:
            out.append(f"tamper:{f.part}")
        elif f.kind is FindingKind.UNVERIFIED:
            out.append("unverified")
        else:
            out.append(f"{f.kind.value}:{f.part or '-'}:{f.chunk}")
    return sorted(out)


def outcome(parts, secret):
    """Return (expect, pixels' SHA-256, findings) as the package sees it."""
    try:
        restored = RoiWatermark().restore(parts, Secret("roi-watermark", secret))
    except MedveilError as error:
        return KINDS[type(error).__name__], "", []
    pixels = restored.image.pixels
    stored = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
    return "restored", hashlib.sha256(stored).hexdigest(), canonical(restored)


def write(name, expect, comment, parts, secret):
    found, pixels, findings = outcome(parts, secret)
    if found != expect:
        raise SystemExit(f"{name}: the package says {found}, not {expect}")
    lines = [f"expect: {expect}", f"comment: {comment}"]
    if expect == "restored":
        lines += [f"pixels: {pixels}", f"findings: {' '.join(findings)}"]
    lines += [f"secret: {secret.hex()}"]
    lines += [f"part: {base64.b64encode(part).decode()}" for part in parts]
    (HERE / f"{name}.vector").write_text("\n".join(lines) + "\n")


def flip(data, at, by=0x40):
    at %= len(data)
    return data[:at] + bytes([data[at] ^ by]) + data[at + 1 :]


def resealed(data):
    """Give a share's header the check that belongs to it, as an attacker would."""
    return data[:112] + hashlib.sha256(data[:112]).digest()[:16] + data[128:]


def reshared(data):
    """Give a whole share the checksum that belongs to it, as an attacker would."""
    share = carriers.unpack(data)
    return carriers.pack(replace(share, header=replace(share.header, checksum=share.checksum())), "bytes").data


def clean():
    for name, comment, image, roi, options in (
        ("clean-8-bit-roi", "8 bits, rectangle, sides not multiples of 16", ULTRASOUND, ROI, {}),
        ("clean-16-bit-signed", "signed 16 bits, the whole image is the region", CT, (), {}),
        ("clean-colour", "three samples a pixel", COLOUR, ROI, {}),
        ("clean-frames", "three frames", FRAMES, ROI, {}),
        ("clean-polygon", "a polygon and a rectangle", ULTRASOUND, (Polygon(((2, 2), (30, 5), (20, 45))), *ROI), {}),
        ("clean-split", "split 2 of 2 by XOR", ULTRASOUND, ROI, {"split": True}),
        ("clean-png", "as PNG", ULTRASOUND, ROI, {"carrier": "png"}),
        ("paper-clean-roi", "profile paper, rectangle", ULTRASOUND, ROI, {"profile": "paper"}),
        ("paper-clean-16-bit", "profile paper, signed 16 bits, two byte planes", CT, (), {"profile": "paper"}),
        ("paper-clean-polygon", "profile paper, polygon", ULTRASOUND, (Polygon(((2, 2), (30, 5), (20, 45))),),
         {"profile": "paper"}),
    ):  # fmt: skip
        write(name, "restored", comment, *protect(image, roi, **options))
    parts, secret = protect(CT, ROI, carrier="png")
    again = [imagecodecs.png_encode(imagecodecs.png_decode(part), level=9) for part in parts]
    write("clean-png-16-bit-again", "restored", "16-bit PNG, stored again by another program", again, secret)


def damaged():
    parts, secret = protect(ULTRASOUND, ROI)
    body = len(parts[0]) - ImageSecret.unpack(secret).header.record_size
    high, low = parts
    for name, comment, changed in (
        ("high-half", "one byte of share 1", [flip(high, 128 + 700), low]),
        ("low-half", "one byte of share 2, its lowest bit", [high, flip(low, 128 + 901, 1)]),
        ("padding", "one byte beyond the image's last row", [flip(high, body - 3), low]),
        ("both-halves", "the same place in both shares", [flip(high, 128 + 20), flip(low, 128 + 20)]),
        ("two-blocks", "different blocks of the two shares", [flip(high, 128 + 5), flip(low, body - 1)]),
        ("share-replaced", "all containers of share 2 are zeros", [high, low[:128] + bytes(body - 128) + low[body:]]),
        ("record-one", "the file record of share 1", [flip(high, body + 4), low]),
        ("record-both", "the file records of both shares", [flip(high, body + 4), flip(low, body + 4)]),
        ("checksum", "only the checksum in the header of share 1", [resealed(flip(high, 100)), low]),
        ("swapped-order", "share 2 is given first", [low, high]),
    ):
        write(f"damaged-{name}", "restored", comment, changed, secret)
    parts, secret = protect(ULTRASOUND, ROI, split=True)
    write("damaged-split", "restored", "one byte of the pad", [flip(parts[0], 900), parts[1]], secret)
    approximate_and_lost()


def approximate_and_lost():
    """Damage a block whose copy is lossy, and a block together with its copy."""
    parts, secret = protect(NOISY)
    own = ImageSecret.unpack(secret)
    share = carriers.unpack(parts[0])
    k = keys.derive(own.key, own.salt)
    plain = hardened.undiffuse(share.containers, *k.streams[:2])
    grid = regions.to_blocks(np.arange(plain.size).reshape(plain.shape))
    for block in range(grid.shape[0]):
        changed = [flip(parts[0], 128 + int(grid[block, 30])), parts[1]]
        if any(f.startswith("approximate") for f in outcome(changed, secret)[2]):
            write("damaged-approximate", "restored", "a block whose copy lacks low bits", changed, secret)
            break
    else:
        raise SystemExit("no copy of the noisy cut is lossy")
    half = bytearray(parts[0])
    for block in range(grid.shape[0]):
        half[128 + int(grid[block, 9])] ^= 2
    changed = [bytes(half), flip(parts[1], 128 + int(grid[3, 9]))]
    write("damaged-lost", "restored", "every block of share 1 and one of share 2", changed, secret)
    assert own.placement.mode == copies.SINGLE


def refused():
    parts, secret = protect(ULTRASOUND, ROI)
    other, other_secret = protect(ULTRASOUND, ROI, seed=1)
    name = bytes(range(16))
    old, old_secret = protect(ULTRASOUND, ROI, seed=2, object_id=name, object_version=3)
    new, new_secret = protect(ULTRASOUND, ROI, seed=3, object_id=name, object_version=4)
    twin, _ = protect(ULTRASOUND, ROI, seed=4, object_id=name, object_version=4)
    body = len(parts[0]) - ImageSecret.unpack(secret).header.record_size
    paper, paper_secret = protect(ULTRASOUND, ROI, profile="paper")
    size = struct.pack("<I", 1 << 20)
    for label, expect, comment, given, key in (
        ("other-secret", "wrong-key", "the secret of another image", parts, other_secret),
        ("secret-bit", "wrong-key", "one bit of K is wrong", parts, flip(secret, 80)),
        ("secret-other-k", "wrong-key", "another K in a secret that is whole in itself", parts,
         replace(ImageSecret.unpack(secret), key=bytes(32)).pack()),
        ("secret-version", "format", "a secret of format version 2", parts, flip(secret, 4, 3)),
        ("secret-cut", "format", "the secret's first 40 bytes", parts, secret[:40]),
        ("foreign-share", "tampered", "share 2 is of another image", [parts[0], other[1]], secret),
        ("replayed-share", "stale", "share 2 is of the version before", [new[0], old[1]], new_secret),
        ("old-secret", "stale", "the secret is of the version before", new, old_secret),
        ("twin-share", "stale", "share 2 is of another protection of this version", [new[0], twin[1]], new_secret),
        ("missing", "unrecoverable", "only share 1", parts[:1], secret),
        ("same-twice", "unrecoverable", "share 2 twice", [parts[1], parts[1]], secret),
        ("truncated", "tampered", "share 1 ends 7 bytes early", [parts[0][:-7], parts[1]], secret),
        ("trailing", "tampered", "share 1 has a byte too many", [parts[0] + b"\0", parts[1]], secret),
        ("header-bit", "tampered", "one bit of the header", [flip(parts[0], 33), parts[1]], secret),
        ("header-rows", "tampered", "rows edited and the check made to fit",
         [resealed(parts[0][:32] + struct.pack("<I", 41) + parts[0][36:]), parts[1]], secret),
        ("header-commitment", "tampered", "another key commitment", [resealed(flip(parts[0], 70)), parts[1]], secret),
        ("header-index", "unrecoverable", "share 1 poses as share 2",
         [resealed(flip(parts[0], 6, 3)), parts[1]], secret),
        ("header-profile", "tampered", "share 1 poses as profile paper",
         [resealed(flip(parts[0], 5, 3))[: 128 + 40 * 52 + len(parts[0]) - body], parts[1]], secret),
        ("header-reserved", "format", "a reserved field is not zero", [resealed(flip(parts[0], 42)), parts[1]], secret),
        ("version", "format", "a share of format version 9", [flip(parts[0], 4, 8), parts[1]], secret),
        ("bomb", "limit", "a share that claims 2^20 frames of 2^20 rows",
         [resealed(parts[0][:28] + size + size + parts[0][36:]), parts[1]], secret),
        ("jpeg", "format", "share 1 was stored again as JPEG",
         [imagecodecs.jpeg8_encode(np.zeros((48, 64), np.uint8)), parts[1]], secret),
        ("all-replaced", "tampered", "all containers of both shares are zeros",
         [p[:128] + bytes(body - 128) + p[body:] for p in parts], secret),
        ("paper-wrong-share", "wrong-key", "profile paper with the secret of another image", paper, other_secret),
        ("paper-replaced", "tampered", "profile paper, all containers zeros",
         [p[:128] + bytes(40 * 52) + p[128 + 40 * 52 :] for p in paper], paper_secret),
    ):  # fmt: skip
        write(f"refused-{label}", expect, comment, given, key)
    png, png_secret = protect(ULTRASOUND, ROI, carrier="png")
    write("refused-png-end", "tampered", "one byte of a PNG's last chunk", [flip(png[0], -6), png[1]], png_secret)
    write("damaged-png", "restored", "one byte of a PNG's pixels", [flip(png[0], 600), png[1]], png_secret)
    write("damaged-png-check", "restored", "only the check of a PNG's pixels", [flip(png[0], -14), png[1]], png_secret)
    write("refused-png-cut", "tampered", "a PNG without its end", [png[0][:-12], png[1]], png_secret)


def paper_damage():
    parts, secret = protect(ULTRASOUND, ROI, profile="paper")
    inside = 128 + 20 * 52 + 20
    write("paper-damaged-roi", "restored", "a byte inside the region", [flip(parts[0], inside), parts[1]], secret)
    # A byte outside the region whose container stays of the same kind, the checksum made to fit: nobody notices.
    for at in range(128 + 36 * 52, 128 + 40 * 52):
        for by in range(1, 256):
            given = [reshared(flip(parts[0], at, by)), parts[1]]
            if outcome(given, secret)[2] == ["unverified"]:
                write("paper-unseen", "restored", "a byte outside the region: WRONG PIXELS, unseen", given, secret)
                return
    raise SystemExit("every change outside the region was seen")


def chaos():
    """Known answers of both maps: half keys of the paper's two example keys and of chosen values."""
    lines = ["expect: equal", "comment: half key, then 32 bytes of the Sine-Sine and of the Chebyshev-Chebyshev stream"]
    halves = [
        "50192EC81EFD534E", "D830D3BE68F0B53F", "8437EBF46D99CB55", "A00D77FCDF143369",
        "0000000000000000", "FFFFFFFFFFFFFFFF", "2000000000000000", "0000000000000001", "E123456789ABCDEF",
    ]  # fmt: skip
    for half in halves:
        key = maps.MapKey.from_half(bytes.fromhex(half))
        sine, chebyshev = (maps.stream(key, 32, chebyshev=c).hex() for c in (False, True))
        lines.append(f"stream: {half} {sine} {chebyshev}")
    (HERE / "chaos-streams.vector").write_text("\n".join(lines) + "\n")


def main():
    for old in HERE.glob("*.vector"):
        old.unlink()
    for make in (clean, damaged, refused, paper_damage, chaos):
        make()
    print(len(list(HERE.glob("*.vector"))), "vectors")


if __name__ == "__main__":
    main()
