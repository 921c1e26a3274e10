"""A secret for one recipient: an HPKE envelope that opens only for that person and that study.

The envelope's info binds the Study Instance UID, the recipient's name and (by `crypto.envelope`) the recipient's key,
so an envelope moved to another study, or claimed for another person, does not open.
"""

from __future__ import annotations

from typing import Final

from medveil.crypto import envelope
from medveil.errors import InputError, WrongKeyError
from medveil.schemes.base import Secret

_LABEL: Final = b"medveil/v1/roi-watermark/envelope\x00"
_SCHEME: Final = "roi-watermark"


def seal_secret(secret: Secret, recipient: envelope.RecipientKey, *, study_uid: str, recipient_name: str) -> bytes:
    """Return the envelope of a secret for one recipient and study.

    The recipient's key must be pinned or owner-signed, never one that a cloud handed out. Raises InputError for
    another scheme's secret or a name that is empty or longer than 65535 bytes, LimitError where the secret is longer
    than an envelope holds.
    """
    if secret.scheme != _SCHEME:
        raise InputError(f"a secret of scheme {secret.scheme!r}: this envelope is for {_SCHEME!r}")
    return envelope.seal(recipient, secret.data, core=_core(study_uid, recipient_name))


def open_secret(sealed: bytes, private: envelope.RecipientPrivateKey, *, study_uid: str, recipient_name: str) -> Secret:
    """Return the secret.

    Raises WrongKeyError where the envelope is for another person, study or key, or was altered.
    """
    data = envelope.open_(private, sealed, core=_core(study_uid, recipient_name))
    if data[:4] != b"MVRS":
        raise WrongKeyError("the envelope holds no secret of this scheme: ask the owner for another")
    return Secret(_SCHEME, data)


def _core(study_uid: str, recipient_name: str) -> bytes:
    out = [_LABEL]
    for what, value in (("study UID", study_uid), ("recipient's name", recipient_name)):
        raw = value.encode()
        if not 0 < len(raw) < 1 << 16:
            raise InputError(f"an envelope is bound to a {what} of 1 to 65535 bytes: got {len(raw)}")
        out.append(len(raw).to_bytes(2, "big") + raw)
    return b"".join(out)
