"""A second implementation of `deep-invertible`, from docs/schemes/deep.md alone: nothing of medveil, no NumPy.

Slow, in Python's own integers. `open_part` returns the pixels' bytes (little endian, C order), or raises Refused with
the kind of refusal.
"""

from __future__ import annotations

from math import prod

import cbor2
from blake3 import blake3

TRAILER = b"MVDP\x01"
CONTEXT = "medveil v1 "


class Refused(Exception):
    """`args[0]` is the kind: format, tampered or wrong-key."""


def tagged(tag, data):
    return blake3(len(data).to_bytes(8, "big") + data, derive_key_context=CONTEXT + tag).digest()


def signed(data, width):
    return [int.from_bytes(data[i : i + width], "little", signed=True) for i in range(0, len(data), width)]


def layers_of(body):
    """The key as a list of layers of three (weights[o][i][3][3], biases[o])."""
    record = cbor2.loads(body)
    if record["method"] != "invertible":
        raise Refused("format")
    out = []
    for layer in range(record["shape"]["layers"]):
        triple = []
        for place in range(3):
            kind, sizes, data = record["tensors"][f"flow.{layer}.{place}.weight"]
            flat = iter(signed(data, 1))
            assert kind == "|i1"
            weights = [
                [[[next(flat) for _ in range(3)] for _ in range(3)] for _ in range(sizes[1])] for _ in range(sizes[0])
            ]
            triple.append((weights, signed(record["tensors"][f"flow.{layer}.{place}.bias"][2], 4)))
        out.append(triple)
    return out


def f(channels, triple, layer):
    """The convolutions of one layer, mod 256: 8 channels to 8 channels."""
    rows, columns = len(channels[0]), len(channels[0][0])
    values = [[[v - 128 for v in row] for row in channel] for channel in channels]
    for place, (weights, biases) in enumerate(triple):
        shift, reach = ((9, 1), (10, 2 ** (layer % 6)), (6, 2 ** ((layer + 3) % 6)))[place]
        out = []
        for kernels, bias in zip(weights, biases, strict=True):
            plane = []
            for r in range(rows):
                line = []
                for c in range(columns):
                    total = bias
                    for kernel, channel in zip(kernels, values, strict=True):
                        for i in range(3):
                            y = r + (i - 1) * reach
                            if 0 <= y < rows:
                                for j in range(3):
                                    x = c + (j - 1) * reach
                                    if 0 <= x < columns:
                                        total += kernel[i][j] * channel[y][x]
                    total >>= shift
                    line.append(min(255, max(0, total)) if place < 2 else total % 256)
                plane.append(line)
            out.append(plane)
        values = out
    return values


def combined(one, other, sign):
    return [
        [[(x + sign * y) % 256 for x, y in zip(p, q, strict=True)] for p, q in zip(m, n, strict=True)]
        for m, n in zip(one, other, strict=True)
    ]


def unshuffled(plane, rows, columns):
    """The 16 channels of a plane given as bytes, row by row."""
    return [
        [[plane[(4 * r + i) * columns + 4 * c + j] for c in range(columns // 4)] for r in range(rows // 4)]
        for i in range(4)
        for j in range(4)
    ]


def shuffled(channels, rows, columns):
    return bytes(channels[4 * (y % 4) + x % 4][y // 4][x // 4] for y in range(rows) for x in range(columns))


def encrypt_plane(plane, rows, columns, key):
    channels = unshuffled(plane, rows, columns)
    a, b = channels[:8], channels[8:]
    for number, triple in enumerate(key):
        a, b = combined(b, f(a, triple, number), 1), a
    return shuffled(a + b, rows, columns)


def decrypt_plane(plane, rows, columns, key):
    channels = unshuffled(plane, rows, columns)
    a, b = channels[:8], channels[8:]
    for number in range(len(key) - 1, -1, -1):
        a, b = b, combined(a, f(b, key[number], number), -1)
    return shuffled(a + b, rows, columns)


def open_part(part, secret):
    """The pixels of a part as bytes, little endian, C order."""
    own = cbor2.loads(secret)
    if own["v"] != 1 or own["method"] != "invertible":
        raise Refused("format")
    if len(part) < 9 or part[-5:] != TRAILER:
        raise Refused("format")
    end = len(part) - 9
    length = int.from_bytes(part[end : end + 4], "big")
    if not 0 < length <= end:
        raise Refused("format")
    record, codes = cbor2.loads(part[end - length : end]), part[: end - length]
    if record["v"] != 1 or record["method"] != "invertible":
        raise Refused("format")
    if len(codes) != record["size"] or tagged("deep codes", codes) != record["digest"]:
        raise Refused("tampered")
    if record["id"] != own["id"]:
        raise Refused("wrong-key")
    if tagged("deep part", part) != own["part"] or len(codes) != prod(own["codes"]):
        raise Refused("tampered")
    key = layers_of(own["key"])
    count, high, wide = own["codes"]
    planes = [decrypt_plane(codes[i * high * wide : (i + 1) * high * wide], high, wide, key) for i in range(count)]
    frames, rows, columns = own["shape"][:3]
    each = count // frames  # samples times bytes of a sample
    return bytes(
        planes[frame * each + k][y * wide + x]
        for frame in range(frames)
        for y in range(rows)
        for x in range(columns)
        for k in range(each)
    )
