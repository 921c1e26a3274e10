"""Writes the halftone and frame vectors by plain loops that share nothing with the package.

    python vectors/visual/generate.py

One case a file: headers `expect`, `comment`, then the fields as hexadecimal. Pixels come from a formula, so that
nothing but this file is needed to make them again.
"""

from __future__ import annotations

import zlib
from math import sin
from pathlib import Path

HERE = Path(__file__).resolve().parent
WEIGHTS = {
    "floyd-steinberg": (16, {(0, 1): 7, (1, -1): 3, (1, 0): 5, (1, 1): 1}),
    "jarvis": (48, dict(zip([(0, 1), (0, 2), *((y, x) for y in (1, 2) for x in range(-2, 3))],
                            [7, 5, 3, 5, 7, 5, 3, 1, 3, 5, 3, 1], strict=True))),
    "stucki": (42, dict(zip([(0, 1), (0, 2), *((y, x) for y in (1, 2) for x in range(-2, 3))],
                            [8, 4, 2, 4, 8, 4, 2, 1, 2, 4, 2, 1], strict=True))),
}  # fmt: skip


def diffuse(pixels: list[list[int]], method: str) -> list[list[int]]:
    total, weights = WEIGHTS[method]
    rows, columns = len(pixels), len(pixels[0])
    carry = [[0] * columns for _ in range(rows)]
    bits = [[0] * columns for _ in range(rows)]
    for y in range(rows):
        for x in range(columns):
            v = total * pixels[y][x] + carry[y][x]
            b = 1 if 2 * v >= total * 255 else 0
            bits[y][x] = b
            q = v - total * 255 * b
            q1 = q // total
            for (dy, dx), weight in weights.items():
                share = q - (total - weight) * q1 if (dy, dx) == (0, 1) else weight * q1
                if y + dy < rows and 0 <= x + dx < columns:
                    carry[y + dy][x + dx] += share
    return bits


def picture(rows: int, columns: int, kind: str) -> list[list[int]]:
    formulas = {
        "ramp": lambda y, x: 255 * x // max(1, columns - 1),
        "waves": lambda y, x: int(127.5 + 127 * sin(x / 3.1) * sin(y / 4.7 + 0.3)),
        "hash": lambda y, x: zlib.crc32(bytes([y, x])) & 255,
        "black": lambda y, x: 0,
        "white": lambda y, x: 255,
        "middle": lambda y, x: 127,
    }
    return [[formulas[kind](y, x) for x in range(columns)] for y in range(rows)]


def flat(values: list[list[int]]) -> str:
    return bytes(v for row in values for v in row).hex()


def write(name: str, expect: str, comment: str, **fields: object) -> None:
    lines = [f"expect: {expect}", f"comment: {comment}", *(f"{key}: {value}" for key, value in fields.items())]
    (HERE / f"{name}.vector").write_text("\n".join(lines) + "\n", encoding="ascii")


def main() -> None:
    for method in WEIGHTS:
        for rows, columns, kind in ((17, 23, "ramp"), (16, 31, "waves"), (9, 12, "hash"), (1, 40, "ramp"),
                                    (40, 1, "waves"), (1, 1, "middle"), (6, 7, "black"), (7, 6, "white")):  # fmt: skip
            pixels = picture(rows, columns, kind)
            write(f"halftone-{method}-{kind}-{rows}x{columns}", "bits", f"{kind} of {rows} x {columns}", method=method,
                  rows=rows, columns=columns, pixels=flat(pixels), bits=flat(diffuse(pixels, method)))  # fmt: skip
    head = b"MVSH\x01\x00"
    for name, payload in (("empty", b""), ("short", b"proof"), ("long", bytes(range(256)) * 20)):
        framed = head + len(payload).to_bytes(4, "big") + payload
        framed += zlib.crc32(framed).to_bytes(4, "big")
        write(
            f"frame-{name}",
            "payload",
            "random bits may follow",
            frame=(framed + b"\xa5\x5a").hex(),
            payload=payload.hex(),
        )
        if name == "short":
            write("frame-magic", "FormatError", "another magic", frame=(b"MVSX" + framed[4:]).hex())
            write("frame-version", "FormatError", "version 2", frame=(b"MVSH\x02" + framed[5:]).hex())
            write("frame-flags", "FormatError", "an unknown flag", frame=(b"MVSH\x01\x80" + framed[6:]).hex())
            write(
                "frame-crc",
                "TamperedError",
                "one bit of the payload",
                frame=(framed[:11] + b"\x00" + framed[12:]).hex(),
            )
            write("frame-cut", "TamperedError", "the last byte is not there", frame=framed[:-1].hex())
            write("frame-length", "TamperedError", "claims 4 GiB", frame=(framed[:6] + b"\xff" * 4 + framed[10:]).hex())
            write("frame-nothing", "FormatError", "no bytes at all", frame="")


if __name__ == "__main__":
    main()
