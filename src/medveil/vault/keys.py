"""From the owner's root to the key of one object: what a grant hands over is the key of a study in an epoch.

::

    dataset key  = owner root, for (dataset, epoch)
    study key    = PRF(dataset key, study token)
    object key   = PRF(study key, object id, version)      what the envelope of that version holds

A study's token is a pseudorandom function of its UID; a file that is no DICOM is a study of its own. Whoever has the
key of a study in an epoch can open every object of it that was put in that epoch, and no other. PRF: keyed BLAKE3.
"""

from __future__ import annotations

from medveil.crypto.hashing import keyed
from medveil.crypto.keyfile import OwnerKey


def study_name(uid: str, object_id: bytes) -> str:
    """Return what a token is made of: the Study Instance UID, or the object where it has none."""
    return uid or f"object {object_id.hex()}"


def study_token(owner: OwnerKey, dataset: bytes, name: str) -> bytes:
    """Return the 16-byte token of a study (`study_name`): what it is called in the index, in grants and in audit."""
    return keyed(keyed(owner.derive("search documents", dataset), b"studies"), name.encode())[:16]


def study_key(owner: OwnerKey, dataset: bytes, epoch: int, token: bytes) -> bytes:
    """Return the 32-byte key of a study in an epoch."""
    return keyed(owner.derive("dataset key", dataset, epoch.to_bytes(8, "big")), b"study", token)


def study_keys(owner: OwnerKey, dataset: bytes, epoch: int) -> StudyKeys:
    """Return what derives the keys of many studies in one epoch."""
    return StudyKeys(owner.derive("dataset key", dataset, epoch.to_bytes(8, "big")))


class StudyKeys:
    """Derives study keys of one epoch. Never shown."""

    __slots__ = ("_dataset_key",)

    def __init__(self, dataset_key: bytes) -> None:
        self._dataset_key = dataset_key

    def __call__(self, token: bytes) -> bytes:
        """Return the key of one study."""
        return keyed(self._dataset_key, b"study", token)

    def __repr__(self) -> str:
        return "StudyKeys(<secret>)"


def object_key(key: bytes, object_id: bytes, version: int) -> bytes:
    """Return the 32-byte key of one version of an object, from the key of its study."""
    return keyed(key, b"object", object_id, version.to_bytes(8, "big"))
