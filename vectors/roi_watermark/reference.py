"""A second, independent restorer of roi-watermark parts: plain Python and `cryptography`, nothing of medveil.

Slow and short on purpose: integers, lists and bytes. It reads parts carried as bytes or PNG and answers as the
specification (docs/schemes/roi-watermark.md and the module docstrings it names) says; `tests/schemes/roi_watermark/
test_vectors.py` holds it against the package on every vector.

    restore(parts, secret) -> (pixel bytes, sorted findings)      raises Refused(kind)
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import zlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

M64 = (1 << 64) - 1
HEADER_FORM = "<4sBBBB16sIIIIBBHQ16s16sHHQ16s16s"
OWNER_FORM = "<4sBBBB16sIIIIBBHQ16s32s48s"


class Refused(Exception):
    """The parts are refused; `args[0]` is the kind."""


# --- shares -----------------------------------------------------------------------------------------------------------


def read_header(data):
    if len(data) < 128 or data[:4] != b"MVRW" or data[4] != 1:
        raise Refused("format")
    if hashlib.sha256(data[:112]).digest()[:16] != data[112:128]:
        raise Refused("tampered")
    names = (
        "magic", "version", "profile", "index", "flags", "object_id", "object_version", "frames", "rows", "columns",
        "samples", "size", "zero", "record", "iid", "commitment", "high_peaks", "low_peaks", "payload", "checksum",
        "check",
    )  # fmt: skip
    h = dict(zip(names, struct.unpack(HEADER_FORM, data[:128]), strict=True))
    fine = h["profile"] in (1, 2) and h["index"] in (1, 2) and h["flags"] < 8 and h["size"] in (1, 2)
    fine = fine and min(h["frames"], h["rows"], h["columns"]) > 0 and h["zero"] == 0
    fine = fine and h["samples"] in (1, 3, 4) and (h["samples"] > 1) == bool(h["flags"] & 2)
    fine = fine and (h["profile"] == 1 or not (h["high_peaks"] or h["low_peaks"] or h["payload"]))
    if not fine:
        raise Refused("format")
    if h["frames"] * h["rows"] * h["columns"] * h["samples"] > 1 << 30 or h["record"] > 1 << 31:
        raise Refused("limit")
    up = lambda n: -(-n // 16) * 16  # noqa: E731
    planes = h["frames"] * h["samples"]
    if h["profile"] == 1:
        h["grid"], h["word"] = (planes * h["size"], h["rows"], h["columns"]), 1
    else:
        h["grid"] = (planes * (1 + (h["flags"] & 1)), up(h["rows"]), up(h["columns"]))
        h["word"] = h["size"]
    h["raw"] = data[:128]
    return h


def read_share(data):
    """Return (header, containers as bytes, record, stray)."""
    if data[:4] == b"MVRW":
        h = read_header(data[:128])
        planes, rows, columns = h["grid"]
        body = planes * rows * columns * h["word"]
        if len(data) != 128 + body + h["record"]:
            raise Refused("tampered")
        return h, data[128 : 128 + body], data[128 + body :], False
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return split_rows(*read_png(data))
    raise Refused("format")


def read_png(data):
    """Return (width, bytes of a word, little-endian bytes of all rows, whether a pixel chunk's check fails)."""
    at, chunks, damaged = 8, [], False
    while at < len(data) and (not chunks or chunks[-1][0] != b"IEND"):
        if at + 12 > len(data):
            raise Refused("tampered")
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            raise Refused("tampered")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if zlib.crc32(kind + body) != struct.unpack_from(">I", data, at + 8 + length)[0]:
            if kind != b"IDAT":
                raise Refused("tampered")
            damaged = True
        chunks.append((kind, body))
        at += 12 + length
    kinds = [k for k, _ in chunks]
    if at != len(data) or kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or b"IDAT" not in kinds:
        raise Refused("tampered")
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[0][1])
    if colour != 0 or depth not in (8, 16):
        raise Refused("format")
    word = depth // 8
    line, rows, above = width * word, [], bytes(width * word)
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    if damaged:
        try:
            raw = zlib.decompressobj(-15).decompress(packed[2:], height * (line + 1))
        except zlib.error:
            raw = b""
        if len(raw) != height * (line + 1) or any(raw[:: line + 1]):
            raise Refused("tampered")
    else:
        raw = zlib.decompress(packed)
    for y in range(height):
        filtered, values = raw[y * (line + 1)], bytearray(raw[y * (line + 1) + 1 : (y + 1) * (line + 1)])
        for x in range(line):
            a = values[x - word] if x >= word else 0
            b, c = above[x], above[x - word] if x >= word else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            values[x] = (values[x] + (0, a, b, (a + b) // 2, paeth)[filtered]) & 255
        above = bytes(values)
        rows.append(above)
    flat = b"".join(rows)
    if word == 2:
        swapped = bytearray(flat)
        swapped[0::2], swapped[1::2] = flat[1::2], flat[0::2]
        flat = bytes(swapped)
    return width, word, flat, damaged


def split_rows(width, word, flat, damaged):
    line = width * word
    head = -(-128 // line) * line
    h = read_header(flat[:128])
    planes, rows, columns = h["grid"]
    body, record = planes * rows * line, -(-h["record"] // line) * line
    if columns != width or h["word"] != word or len(flat) < head + body + record:
        raise Refused("tampered")
    tail = flat[head + body :]
    return h, flat[head : head + body], tail[: h["record"]], damaged or any(flat[128:head]) or any(tail[h["record"] :])


# --- the secret -------------------------------------------------------------------------------------------------------


def read_secret(data):
    size = struct.calcsize(OWNER_FORM)
    if len(data) < size + 20 or data[:4] != b"MVRS" or data[4] != 1:
        raise Refused("format")
    names = (
        "magic", "version", "profile", "flags", "zero", "object_id", "object_version", "frames", "rows", "columns",
        "samples", "size", "pad", "record", "iid", "key", "salt",
    )  # fmt: skip
    s = dict(zip(names, struct.unpack_from(OWNER_FORM, data), strict=True))
    if not hmac.compare_digest(hmac.new(s["key"], data[:-16], hashlib.sha256).digest()[:16], data[-16:]):
        raise Refused("wrong-key")
    if s["profile"] == 2:
        s["mac1"], s["mac2"], mode, s["fill"], s["turn1"], s["turn2"] = struct.unpack_from("<32s32sBHII", data, size)
        s["mode"], s["whole"] = mode & 3, bool(mode & 4)
        size += 75
    else:
        values = struct.unpack_from("<16s16sHHQ", data, size)
        s["key1"], s["key2"], s["high_peaks"], s["low_peaks"], s["payload"] = values
        size += 44
    (length,) = struct.unpack_from("<I", data, size)
    s["region"] = data[size + 4 : size + 4 + length]
    s["shapes"] = list(read_region(s["region"]))
    k = HKDF(SHA256(), 288, s["salt"], b"medveil/v1/roi-watermark").derive(s["key"])
    s["keys"] = [k[i : i + 32] for i in range(0, 288, 32)]
    return s


def read_region(data):
    at = 4
    for _ in range(struct.unpack_from("<I", data)[0]):
        if data[at] == 0:
            yield struct.unpack_from("<IIII", data, at + 1)
            at += 17
        else:
            (n,) = struct.unpack_from("<I", data, at + 1)
            yield [struct.unpack_from("<dd", data, at + 5 + 16 * i) for i in range(n)]
            at += 5 + 16 * n


def in_region(shapes, row, column):
    if not shapes:
        return True
    for shape in shapes:
        if isinstance(shape, tuple):
            top, left, bottom, right = shape
            if top <= row < bottom and left <= column < right:
                return True
        else:
            inside = False
            for (r0, c0), (r1, c1) in zip(shape, shape[1:] + shape[:1], strict=True):
                if (r0 <= row + 0.5) != (r1 <= row + 0.5):
                    inside ^= column + 0.5 >= c0 + (row + 0.5 - r0) * (c1 - c0) / (r1 - r0)
            if inside:
                return True
    return False


# --- the checks before any block --------------------------------------------------------------------------------------


def pair(parts, s):
    shares = [read_share(part) for part in parts]
    kinds = []
    for h, *_ in shares:
        if h["object_id"] != s["object_id"]:
            kinds.append("foreign")
            continue
        if h["object_version"] != s["object_version"] or h["iid"] != s["iid"]:
            raise Refused("stale")
        if h["profile"] != s["profile"]:
            raise Refused("tampered")
        kinds.append("own")
    if kinds and "own" not in kinds:
        raise Refused("wrong-key")
    if "foreign" in kinds:
        raise Refused("tampered")
    found = {share[0]["index"]: share for share in shares}
    if set(found) != {1, 2}:
        raise Refused("unrecoverable")
    same = ["flags", "frames", "rows", "columns", "samples", "size", "record"]
    if s["profile"] == 1:
        same += ["high_peaks", "low_peaks", "payload"]
    if found[1][0]["commitment"] == found[2][0]["commitment"] != s["keys"][8][:16]:
        raise Refused("wrong-key")
    for h, *_ in found.values():
        if any(h[name] != s[name] for name in same) or h["commitment"] != s["keys"][8][:16]:
            raise Refused("tampered")
    return found[1], found[2]


def checksum(share):
    h, body, record, _ = share
    return hashlib.sha256(h["raw"][:96] + bytes(16) + body + record).digest()[:16]


def open_record(sealed, s):
    try:
        plain = AESGCM(s["keys"][7]).decrypt(bytes(12), sealed, s["iid"])
    except InvalidTag:
        return None
    (length,) = struct.unpack_from("<I", plain)
    return json.loads(plain[4 : 4 + length])


def record_findings(sealed, s):
    good = [open_record(r, s) is not None for r in sealed]
    if not any(good):
        return ["lost:record"]
    return [] if all(good) else ["repaired:record"]


def sbox():
    def times(a, b):
        out = 0
        while b:
            out, a, b = out ^ (a if b & 1 else 0), (a << 1) ^ (0x11B if a & 128 else 0), b >> 1
        return out

    table = []
    for v in range(256):
        inverse = next((w for w in range(256) if times(v, w) == 1), 0)
        bits = [inverse >> i & 1 for i in range(8)]
        table.append(sum((bits[i] ^ bits[(i + 4) % 8] ^ bits[(i + 5) % 8] ^ bits[(i + 6) % 8] ^ bits[(i + 7) % 8]
                          ^ (0x63 >> i & 1)) << i for i in range(8)))  # fmt: skip
    return table


INVERSE = [0] * 256
for _i, _v in enumerate(sbox()):
    INVERSE[_v] = _i


# --- profile hardened -------------------------------------------------------------------------------------------------


def aes_stream(key, n):
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(n))


def undiffuse(body, a, b):
    return bytes(((c ^ y) - x) & 255 for c, x, y in zip(body, a, b, strict=True))


def mac16(key, *pieces):
    return hmac.new(key, b"".join(pieces), hashlib.sha256).digest()[:16]


def restore_hardened(first, second, s):
    h, word = first[0], first[0]["word"]
    half = 4 * word
    k = s["keys"]
    bad = []
    for number, share in ((1, first), (2, second)):
        raw, body, record, stray = share[0]["raw"], *share[1:]
        head = bytes([number]) + s["iid"] + struct.pack("<Q", len(s["region"])) + s["region"]
        if hmac.new(k[5], head + raw + body + record, hashlib.sha256).digest() != s[f"mac{number}"] or stray:
            bad.append(number)
    bodies, records = [first[1], second[1]], [first[2], second[2]]
    if h["flags"] & 1:
        xor = lambda a, b: bytes(x ^ y for x, y in zip(a, b, strict=True))  # noqa: E731
        both, records = xor(*bodies), [xor(*records)]
        bodies = [both[: len(both) // 2], both[len(both) // 2 :]]
    flat = [undiffuse(bodies[i], aes_stream(k[2 * i], len(bodies[i])), aes_stream(k[2 * i + 1], len(bodies[i])))
            for i in (0, 1)]  # fmt: skip
    rows, columns = h["grid"][1:]
    planes, across = h["frames"] * h["samples"], columns // 16
    blocks = planes * rows * columns // 256

    def place(i, p):
        plane, inside = divmod(i, rows * columns // 256)
        return plane, inside // across * 16 + p // 16, inside % across * 16 + p % 16

    def word_at(data, at):
        return int.from_bytes(data[at * word : (at + 1) * word], "little")

    state = {
        "intact": [[], []],
        "tags": [[], []],
        "fields": [[], []],
        "pixels": [],
        "sound": [],
        "right": [],
        "roi": [],
    }
    for i in range(blocks):
        where = [place(i, p) for p in range(256)]
        index = [(z * rows + y) * columns + x for z, y, x in where]
        mask = [y < h["rows"] and x < h["columns"] and in_region(s["shapes"], y, x) for _, y, x in where]
        c = [[word_at(flat[share], at) for at in index] for share in (0, 1)]
        pixels, fields = read_block(c, mask, half)
        low_bits = [[v & 1 for v in c[share]] for share in (0, 1)]
        tags = [bits_to_bytes(low_bits[share][:128]) for share in (0, 1)]
        intact = []
        for share in (0, 1):
            bare = b"".join(v.to_bytes(word, "little") for v in without_tag(c[share], half, share))
            intact.append(mac16(k[6], s["iid"], bytes([share + 1]), struct.pack("<Q", i), bare) == fields[share][:16])
        tag = mac16(k[4], s["iid"], struct.pack("<Q", i), b"".join(v.to_bytes(word, "little") for v in pixels))
        zeros = not any(low_bits[0][128:]) and not any(low_bits[1][128:])
        state["sound"].append(all(intact) and tags == [tag, tag] and zeros)
        state["right"].append(state["sound"][-1] or any(intact[j] and tags[j] == tag for j in (0, 1)))
        state["pixels"].append(pixels)
        state["roi"].append(any(mask))
        for share in (0, 1):
            state["intact"][share].append(intact[share])
            state["fields"][share].append(fields[share])
    if not any(a or b for a, b in zip(*state["intact"], strict=True)):
        raise Refused("tampered")
    if not all(state["sound"]) and not bad:
        raise Refused("tampered")
    findings = [f"tamper:{number}" for number in bad]
    copies = read_copies(state, s, half, bool(h["flags"] & 4)) if not all(state["right"]) else {}
    for i in range(blocks):
        if state["sound"][i]:
            continue
        guilty = bad if h["flags"] & 1 else [j + 1 for j in (0, 1) if not state["intact"][j][i]]
        kind = "repaired"
        if not state["right"][i]:
            dropped, state["pixels"][i] = copies.get(i, (None, [0] * 256))
            kind = "lost" if dropped is None else "approximate" if dropped else "repaired"
        findings.append(f"{kind}:{guilty[0] if len(guilty) == 1 else '-'}:{i}")
    findings += record_findings(records, s)
    out = bytearray(planes * h["rows"] * h["columns"] * word)
    for i in range(blocks):
        for p in range(256):
            z, y, x = place(i, p)
            if y < h["rows"] and x < h["columns"]:
                frame, sample = divmod(z, h["samples"])
                at = ((frame * h["rows"] + y) * h["columns"] + x) * h["samples"] + sample
                out[at * word : (at + 1) * word] = state["pixels"][i][p].to_bytes(word, "little")
    return bytes(out), sorted(findings)


def read_block(c, mask, half):
    """Return the 256 pixels and both fields of a block's containers."""
    pixels, streams = [], [0, 0]
    for p in range(256):
        v = (c[0][p] >> half) << half | (c[1][p] >> 1) & ((1 << half) - 1)
        if mask[p]:
            v = INVERSE[v] if half == 4 else INVERSE[v >> 8] << 8 | INVERSE[v & 255]
        pixels.append(v)
        streams[0] |= (c[0][p] >> 1 & ((1 << half - 1) - 1)) << (half - 1) * p
        streams[1] |= (c[1][p] >> half + 1) << (half - 1) * p
    return pixels, [stream.to_bytes(32 * (half - 1), "little") for stream in streams]


def without_tag(words, half, share):
    free, shift = half - 1, 1 if share == 0 else half + 1
    out = []
    for p, v in enumerate(words):
        tagged = max(0, min(free, 128 - p * free))
        out.append(v & ~(((1 << tagged) - 1) << shift))
    return out


def bits_to_bytes(bits):
    return sum(b << i for i, b in enumerate(bits)).to_bytes(len(bits) // 8, "little")


def read_copies(state, s, half, signed):
    """Return block -> (dropped bits, pixels), the best copy of each."""
    n, fill = len(state["pixels"]), s["fill"]
    copied = [i for i in range(n) if s["whole"] or state["roi"][i]]
    if s["mode"] == 2:
        streams = [[(share, (g + s[f"turn{share + 1}"]) % n) for g in range(n)] for share in (0, 1)]
    elif s["mode"] == 1:
        streams = [[(g & 1, ((g >> 1) + s["turn1"]) % n) for g in range(2 * n)]]
    else:
        streams = []
    best = {}
    for carriers in streams:
        known = {}  # position in the stream -> byte
        starts = []
        for g, (share, block) in enumerate(carriers):
            if state["intact"][share][block]:
                piece = state["fields"][share][block][16 : 20 + fill]
                known.update({g * fill + i: piece[4 + i] for i in range(fill)})
                if piece[3] != 255:
                    starts.append((int.from_bytes(piece[:3], "little"), g * fill + piece[3]))
        for first, position in starts:
            number, at = first, position
            while number < len(copied) and at in known and at + 1 in known:
                word = known[at] | known[at + 1] << 8
                length, dropped = word & 0xFFF, word >> 12
                span = range(at + 2, at + 2 + length)
                if all(i in known for i in span):
                    block = copied[number]
                    if block not in best or best[block][0] > dropped:
                        best[block] = (dropped, bytes(known[i] for i in span))
                number, at = number + 1, at + 2 + length
    flip = 1 << (2 * half - 1) if signed else 0
    return {i: (d, decode_copy(record, 2 * half, flip, d)) for i, (d, record) in best.items()}


def decode_copy(record, bits, flip, dropped):
    kept, stream, at = bits - dropped, int.from_bytes(record, "little"), 0
    x, z = [0] * 256, [0] * 256
    for p in range(256):
        row, column = divmod(p, 16)
        if p == 0:
            k = max(0, kept - 2)
        else:
            left, up = z[p - 1] if column else 0, z[p - 16] if row else 0
            if row == 0:
                total = 6 * left
            elif column == 0:
                total = 4 * up + 2 * z[p - 15]
            else:
                total = 2 * left + 2 * up + z[p - 17] + (z[p - 15] if column < 15 else up)
            k = min(kept, next(k for k in range(64) if 6 << k > total))
        ones = 0
        while ones < 14 and stream >> at + ones & 1:
            ones += 1
        if ones == 14:
            z[p], at = stream >> at + 14 & (1 << kept) - 1, at + 14 + kept
        else:
            z[p], at = ones << k | stream >> at + ones + 1 & (1 << k) - 1, at + ones + 1 + k
        error = z[p] // 2 if z[p] % 2 == 0 else -(z[p] + 1) // 2
        if p == 0:
            guess = 0
        elif row == 0:
            guess = x[p - 1]
        elif column == 0:
            guess = x[p - 16]
        else:
            guess = sorted((x[p - 1], x[p - 16], x[p - 1] + x[p - 16] - x[p - 17]))[1]
        x[p] = (guess + error) % (1 << kept)
    return [((v << dropped) | (1 << dropped) >> 1) ^ flip for v in x]


# --- profile paper ----------------------------------------------------------------------------------------------------


def pi_digits():
    """Return floor(pi * 10^60) by Machin's formula."""
    one = 10**70

    def arctan_inverse(n):
        total, term, i = 0, one // n, 0
        while term:
            total += term // (2 * i + 1) * (-1) ** i
            term, i = term // (n * n), i + 1
        return total

    return 4 * (4 * arctan_inverse(5) - arctan_inverse(239)) // 10**10


def sine_coefficients():
    half, scale, power, factorial, out = pi_digits() // 2, 10**60, pi_digits() // 2, 1, []
    for i in range(11):
        out.append((2 * (power << 62) + scale * factorial) // (2 * scale * factorial))
        power, factorial = power * half // scale * half // scale, factorial * (2 * i + 2) * (2 * i + 3)
    return out


C = sine_coefficients()


def chaos_stream(half_key, count, *, chebyshev):
    value = int.from_bytes(half_key, "big")
    u, k, skip, x0 = value >> 61, value >> 57 & 15, value >> 45 & 4095, value & (1 << 45) - 1
    u, k, skip = u or 8, k if k >= 8 else k + 12, skip if skip >= 3000 else skip + 1000
    x, w, out = (x0 << 64) // 10**14, value, bytearray()
    for i in range(skip + count):
        w = (w + 0x9E3779B97F4A7C15) & M64
        if chebyshev:
            c = x >> 2
            a, b = 1 << 62, c
            for _ in range(u):
                a, b = b, (c * b >> 61) - a
            x = ((b << k + 2) + w) & M64
        else:
            t = min(2 * min(x, (1 << 64) - x), M64)
            t2, a = t * t >> 64, C[10]
            for j in range(9, -1, -1):
                a = C[j] - (a * t2 >> 64)
            x = (((a * t >> 64) * u << k + 2) + w) & M64
        if i >= skip:
            out.append((x * 10**14 >> 64) & 255)
    return bytes(out)


def restore_paper(first, second, s):
    h = first[0]
    planes, rows, columns = h["grid"]
    values, marks = [], []
    for share, key, peaks, high in (
        (first, s["key1"], h["high_peaks"], True),
        (second, s["key2"], h["low_peaks"], False),
    ):
        n = len(share[1])
        body = undiffuse(share[1], chaos_stream(key[:8], n, chebyshev=False), chaos_stream(key[8:], n, chebyshev=True))
        plane, payload = take_marks(body, peaks, h["payload"], high)
        values.append(plane)
        marks.append([int("".join(map(str, payload[i : i + 128])), 2).to_bytes(16, "big")
                      for i in range(0, h["payload"], 128)])  # fmt: skip
    pixels = bytearray(a << 4 | b for a, b in zip(*values, strict=True))
    for at in range(len(pixels)):
        _, y, x = at // (rows * columns), at // columns % rows, at % columns
        if in_region(s["shapes"], y, x):
            pixels[at] = INVERSE[pixels[at]]
    changed = []
    for number, (z, top, left, bottom, right) in enumerate(paper_blocks(s["shapes"], planes, rows, columns)):
        lines = [slice((z * rows + y) * columns + left, (z * rows + y) * columns + right) for y in range(top, bottom)]
        digest = hashlib.sha256(b"".join(bytes(pixels[line]) for line in lines)).digest()
        folded = bytes(a ^ b for a, b in zip(digest[:16], digest[16:], strict=True))
        if folded != marks[0][number] or folded != marks[1][number]:
            changed.append((number, lines))
    if len(changed) * 128 == h["payload"]:
        raise Refused("tampered")
    findings = [
        f"tamper:{i}" for i, share in ((1, first), (2, second)) if checksum(share) != share[0]["checksum"] or share[3]
    ]
    for number, lines in changed:
        findings.append(f"lost:-:{number}")
        for line in lines:
            pixels[line] = bytes(line.stop - line.start)
    findings += record_findings([first[2], second[2]], s)
    if s["shapes"]:
        findings.append("unverified")
    if h["size"] == 2:
        plane = rows * columns
        pixels = b"".join(
            bytes([pixels[(2 * z + 1) * plane + i], pixels[2 * z * plane + i]])
            for z in range(planes // 2)
            for i in range(plane)
        )
    word, samples = h["size"], h["samples"]
    words = [bytes(pixels[i : i + word]) for i in range(0, len(pixels), word)]
    area = rows * columns
    ordered = [
        words[(f * samples + c) * area + i] for f in range(h["frames"]) for i in range(area) for c in range(samples)
    ]
    return b"".join(ordered), sorted(findings)


def take_marks(body, peaks, count, high):
    table, shift = {}, 0
    for v in range(16):
        peak, at = peaks >> v & 1, 16 * v if high else v + shift
        for bit in range(1 + peak):
            table[at + bit] = (v, bit, peak)
        shift += peak
    plane, payload = [], []
    for c in body:
        v, bit, peak = table.get(c, (c >> 4 if high else 0, 0, 0))
        plane.append(v)
        if peak:
            payload.append(bit)
    return plane, (payload + [0] * count)[:count]


def paper_blocks(shapes, planes, rows, columns):
    boxes = []
    for shape in shapes or [(0, 0, rows, columns)]:
        if isinstance(shape, tuple):
            boxes.append(shape)
        else:
            ys, xs = zip(*shape, strict=True)
            boxes.append((int(min(ys)), int(min(xs)), -int(-max(ys) // 1), -int(-max(xs) // 1)))
    return [
        (z, y, x, min(y + 16, bottom), min(x + 16, right))
        for z in range(planes)
        for top, left, bottom, right in boxes
        for y in range(top, bottom, 16)
        for x in range(left, right, 16)
    ]


def restore(parts, secret):
    """Return (pixels as stored, C order, little endian; sorted findings); raise Refused(kind)."""
    s = read_secret(secret)
    first, second = pair(parts, s)
    return (restore_hardened if s["profile"] == 2 else restore_paper)(first, second, s)
