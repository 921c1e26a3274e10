"""Write vectors/attestation/statements: run from the repository's root with cbor2, without medveil's encoder."""

from __future__ import annotations

import json
from hashlib import sha512
from pathlib import Path

import cbor2

FOLDER = Path(__file__).parent / "statements"
FIELDS = {
    0: "MPVC-SHARE/1", 1: "visual-xor", 2: 2, 3: 3, 4: 1, 5: 786, 6: 512, 7: 3, 8: "rgb", 9: "msb-first",
    10: "floyd-steinberg", 11: bytes(range(16)), 12: bytes(range(32)), 13: {}, 14: b"", 15: 1790000000,
    16: bytes(range(32, 64)),
}  # fmt: skip


def write(name: str, comment: str, raw: bytes, fields: dict[int, object] | None = None) -> None:
    vector: dict[str, object] = {"expect": "ok" if fields else "refused", "comment": comment, "statement": raw.hex()}
    if fields:
        vector["report_data"] = sha512(b"MPVC-SHARE/1" + raw).hexdigest()
        plain = {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items() if k != 13}
        vector["fields"] = {str(k): v for k, v in plain.items()}
    (FOLDER / f"{name}.json").write_text(json.dumps(vector, indent=1) + "\n")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    good = cbor2.dumps(FIELDS, canonical=True)
    write("plain", "no commitments, no context", good, FIELDS)
    committed = FIELDS | {13: {"original": bytes([1]) * 32, "halftone": bytes([2]) * 32}}
    write("commitments", "two salted commitments", cbor2.dumps(committed, canonical=True), committed)
    write("trailing", "a byte follows the statement", good + b"\x00")
    write("truncated", "the last byte is missing", good[:-1])
    write("unsorted", "keys in another order", cbor2.dumps(dict(reversed(FIELDS.items()))))
    write("wrong-domain", "another version", cbor2.dumps(FIELDS | {0: "MPVC-SHARE/2"}, canonical=True))
    write("unknown-field", "a field of a later version", cbor2.dumps(FIELDS | {17: 0}, canonical=True))
    write(
        "missing-field", "no pairing number", cbor2.dumps({k: v for k, v in FIELDS.items() if k != 11}, canonical=True)
    )
    write("index-out-of-range", "share 4 of 3", cbor2.dumps(FIELDS | {4: 4}, canonical=True))
    write("float", "a number that is not whole", cbor2.dumps(FIELDS | {5: 786.5}, canonical=True))
    write("long-head", "a number in more bytes than needed", good.replace(b"\x02\x02\x03\x03", b"\x02\x18\x02\x03\x03"))
    write("indefinite", "a map of indefinite length", b"\xbf" + good[1:] + b"\xff")


if __name__ == "__main__":
    main()
