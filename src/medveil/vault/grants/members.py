"""Which objects a study has, kept at each put for the grants to come; encrypted, since it names patients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medveil.crypto import canonical
from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import SYSTEM
from medveil.errors import StoreError
from medveil.vault.grants.ledger import Ledger, Member
from medveil.vault.grants.records import Said
from medveil.vault.keys import study_name, study_token
from medveil.vault.search.attributes import Described

if TYPE_CHECKING:
    from medveil.vault.session import Session

_NONCE: Final = 12


class Members:
    """Writes and reads the encrypted lists. Threads may share one."""

    def __init__(self, ledger: Ledger, owner: OwnerKey, dataset: bytes) -> None:
        self.ledger = ledger
        self._owner = owner
        self._dataset = dataset
        self._cipher = AESGCM(owner.derive("study members", dataset))

    def token(self, uid: str, object_id: bytes) -> bytes:
        """Return the token of the study of an object."""
        return study_token(self._owner, self._dataset, study_name(uid, object_id))

    def note(
        self, object_id: bytes, version: int, epoch: int, size: int, described: Described, name: str, key: bytes = b""
    ) -> None:
        """Remember an object's newest version."""
        token = self.token(described.study_uid, object_id)
        plain = Said(size, described.study, described.instance, name, key).encode()
        nonce = SYSTEM.bytes(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, plain, _where(object_id, version))
        self.ledger.join(token, Member(object_id, version, epoch, sealed))

    def plain(self, member: Member) -> bytes:
        """Return what is kept of an object, encoded. Raises StoreError where the ledger was damaged."""
        try:
            return self._cipher.decrypt(
                member.sealed[:_NONCE], member.sealed[_NONCE:], _where(member.object_id, member.version)
            )
        except (InvalidTag, ValueError):
            raise StoreError("the ledger of grants is damaged: restore grants.sqlite from a backup") from None

    def said(self, member: Member) -> Said:
        """Return what is kept of an object. Raises StoreError where the ledger was damaged."""
        return Said.decode(self.plain(member))


def _where(object_id: bytes, version: int) -> bytes:
    return canonical.encode(["member", object_id, version])


def unknown(session: Session) -> list[bytes]:
    """Return the objects that this machine has seen and that are in no list: after a crash, or put elsewhere."""
    if session.members is None:
        return []
    known = session.state.objects()
    return [one for one, found in known.items() if not session.members.ledger.is_member(one, found.version)]
