"""A vault with pinned recipients, each with a machine and a key of their own."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
from tests.vault.vault_room import CLOUDS, LARGE, OWNER, Room, config, sample

from medveil.crypto.envelope import RecipientPrivateKey
from medveil.vault import Vault
from medveil.vault.grants import GrantedVault
from medveil.vault.grants.recipients import fingerprint_of, public_file

KEYS = {
    name: RecipientPrivateKey(bytes([number]) * 32) for number, name in enumerate(("alice", "bob", "carol"), start=1)
}


def dicom(study: str, number: int = 0, name: str = LARGE, **changes: object) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(sample(name)))
    dataset.StudyInstanceUID, dataset.SOPInstanceUID = study, f"{study}.{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = f"{study}.{number}"
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def pin(vault: Vault, name: str) -> None:
    key = KEYS[name].public
    vault.grants.add_recipient(name, public_file(key), fingerprint_of(key))


def joined(room: Room, name: str, folder: str = "") -> GrantedVault:
    """Open the vault as a recipient on a machine of their own."""
    machine = config(room.folder / (folder or name), CLOUDS)
    stores = room.stores()
    if (machine.state / "state.sqlite").exists():
        return Vault.open_granted(machine, KEYS[name], stores=stores)
    invitation = room.vault.grants.invitation(name)
    return Vault.join(machine, invitation, KEYS[name], OWNER.public.fingerprint, stores=stores)


def reads(vault: GrantedVault, object_id: str, folder: Path, **options: float) -> bytes:
    out = folder / "granted"
    vault.get(object_id, out, force=True, **options)
    return out.read_bytes()
