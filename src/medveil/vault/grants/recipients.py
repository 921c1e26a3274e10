"""Recipients: keys that the owner pinned after comparing a fingerprint, and what they get to begin with.

A recipient makes a key (`medveil keygen --recipient`), gives the public half to the owner over any channel and reads
the fingerprint out over another. The owner pins it under a name. From then on the name means that key, whatever a
cloud or a mail may offer. The owner's answer is an invitation: dataset, label and owner's public key, signed.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from medveil.crypto import canonical
from medveil.crypto.envelope import RECIPIENT_KEY_SIZE, RecipientKey
from medveil.crypto.hashing import tagged
from medveil.crypto.keyfile import OwnerKey, OwnerPublic
from medveil.crypto.signatures import SIGNATURE_SIZE
from medveil.errors import FormatError, PolicyError, WrongKeyError

MAX_FILE: Final = 16384

_DOMAIN: Final = "vault invitation"

_NO_KEY: Final = (
    "this is no recipient's public key of a known version: they make one with medveil keygen --recipient --public FILE"
)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A pinned recipient. added: Unix seconds."""

    name: str
    key: RecipientKey
    added: int

    @property
    def key_id(self) -> str:
        """Hex of the key's id."""
        return self.key.key_id.hex()

    @property
    def fingerprint(self) -> str:
        """What two people compare."""
        return fingerprint_of(self.key)


def fingerprint_of(key: RecipientKey) -> str:
    """Return 160 bits of a hash of a recipient's key in base32, eight groups of four."""
    text = base64.b32encode(tagged("recipient fingerprint", key.to_bytes())[:20]).decode().lower()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def same_fingerprint(given: str, expected: str) -> bool:
    """Whether a typed fingerprint is the expected one, whatever its spaces and case."""
    return "".join(given.split()).lower().replace("-", "") == expected.replace(" ", "")


def public_file(key: RecipientKey) -> bytes:
    """Return what a recipient gives the owner."""
    return canonical.encode({"v": 1, "kind": "recipient public", "key": key.to_bytes()})


def read_public(data: bytes) -> RecipientKey:
    """Read a recipient's public file. Raises FormatError, LimitError."""
    record = canonical.decode(data, limit=MAX_FILE)
    if not isinstance(record, dict) or set(record) != {"v", "kind", "key"} or record["v"] != 1:
        raise FormatError(_NO_KEY)
    key = record["key"]
    if record["kind"] != "recipient public" or not isinstance(key, bytes) or len(key) != RECIPIENT_KEY_SIZE:
        raise FormatError(_NO_KEY)
    return RecipientKey.from_bytes(key)


def check_pinned(name: str, key: RecipientKey, given: str) -> None:
    """Refuse a key whose fingerprint is not the one that was compared. Raises PolicyError."""
    if not same_fingerprint(given, fingerprint_of(key)):
        raise PolicyError(
            f"this key's fingerprint is not the one that was given for {name}: ask them to read theirs out, and trust "
            "no key that came through a cloud"
        )


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a recipient needs to begin: which dataset, what it is called, whose it is, and for which key this is."""

    dataset: bytes
    label: str
    owner: OwnerPublic
    recipient: bytes


def write_invitation(owner: OwnerKey, dataset: bytes, label: str, recipient: RecipientKey) -> bytes:
    """Return an invitation, signed by the owner."""
    body = canonical.encode(
        {
            "v": 1,
            "dataset": dataset,
            "label": label,
            "owner": owner.public.to_bytes(),
            "recipient": recipient.key_id,
        }
    )
    return body + owner.signing.sign(_DOMAIN, body)


def read_invitation(data: bytes, fingerprint: str, recipient: RecipientKey) -> Invitation:
    """Verify an invitation. fingerprint: the owner's, as it was compared over another channel.

    Raises PolicyError where the fingerprint is another, WrongKeyError where it is for another recipient, TamperedError,
    FormatError.
    """
    wrong = FormatError("this is no invitation to a vault of a known version")
    if len(data) > MAX_FILE or len(data) <= SIGNATURE_SIZE:
        raise wrong
    body, signature = data[:-SIGNATURE_SIZE], data[-SIGNATURE_SIZE:]
    record = canonical.decode(body, limit=MAX_FILE)
    fields = {"v": int, "dataset": bytes, "label": str, "owner": bytes, "recipient": bytes}
    if not isinstance(record, dict) or set(record) != set(fields) or record["v"] != 1:
        raise wrong
    if not all(type(record[name]) is kind for name, kind in fields.items()) or len(record["dataset"]) != 16:
        raise wrong
    owner = OwnerPublic.from_bytes(record["owner"])
    if not same_fingerprint(fingerprint, owner.fingerprint):
        raise PolicyError(
            "the invitation's owner has another fingerprint than was given: ask the owner to read it out again"
        )
    owner.verifying.verify(_DOMAIN, body, signature)
    if record["recipient"] != recipient.key_id:
        raise WrongKeyError("the invitation is for another recipient's key")
    return Invitation(record["dataset"], record["label"], owner, record["recipient"])
