"""The owner's side: pin recipients, grant studies, revoke in three levels, rotate the dataset's keys.

The ledger decides and the stores follow: every step is one transaction or can be done again, so whatever interrupts a
grant, a revocation or a rotation, the next call of any of them, or `resume`, brings it to its end.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from medveil.crypto.envelope import RecipientKey
from medveil.errors import ConflictError, InputError, MedveilError, ObjectMissingError, PolicyError, StoreError
from medveil.schemes.base import Finding
from medveil.vault.audit import Action
from medveil.vault.auditing import audited
from medveil.vault.grants import places
from medveil.vault.grants.ledger import GrantRow, Pack
from medveil.vault.grants.members import Members, unknown
from medveil.vault.grants.recipients import Recipient, check_pinned, read_public, write_invitation
from medveil.vault.grants.records import PACK, StudyEntry, content_hash, seal_record
from medveil.vault.keys import StudyKeys, study_keys

if TYPE_CHECKING:
    from medveil.vault.session import Session

Progress = Callable[[int, int], None]

SKEW: Final = 300
"""Seconds by which two clocks may differ."""
Packs = list[tuple[Pack, Sequence[bytes]]]

_NEVER: Final = 1 << 61


class Level(enum.StrEnum):
    """How far a revocation goes."""

    STOP = "stop"
    ROTATE = "rotate"
    REENCRYPT = "reencrypt"


LIMITS: Final = {
    Level.STOP: "stop: the grant is withdrawn and the gateway refuses at once. Who kept the study's key and can still "
    "reach the stores can read its old files, and new ones until the next rotation. What was read cannot be recalled",
    Level.ROTATE: "rotate: files that are put from now on have keys that the recipient never had. Who kept the old key "
    "and can still reach the stores can read the old files. What was read cannot be recalled",
    Level.REENCRYPT: "reencrypt: the study's files were encrypted anew and the old ciphertext was deleted, so a key "
    "that was kept opens nothing that the stores still hold. A copy of the old ciphertext that somebody made before is "
    "still readable with it. What was read cannot be recalled",
}
"""What each level does not do; the program prints it."""


@dataclass(frozen=True, slots=True)
class GrantEntry:
    """One grant. study: hex token; not_before, expires: Unix seconds or None; label: what the owner sees it as."""

    recipient: str
    study: str
    not_before: int | None
    expires: int | None
    label: str = ""


@dataclass(frozen=True, slots=True)
class GrantReport:
    """What was granted: studies by token, hex."""

    recipient: str
    studies: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class RevokeReport:
    """What was revoked. limit: what this level does not do; reencrypted: objects that were encrypted anew."""

    recipient: str
    studies: tuple[str, ...]
    level: Level
    limit: str
    epoch: int
    reencrypted: int = 0
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class RotateReport:
    """The new epoch, and how many grants were wrapped for it."""

    epoch: int
    grants: int
    findings: tuple[Finding, ...] = ()


class Grants:
    """The grants of an open vault. Made by `Vault.grants`. Threads may share one; grants are one machine's work."""

    def __init__(self, session: Session, members: Members) -> None:
        self._session = session
        self._members = members
        self._ledger = members.ledger

    # ------------------------------------------------------------------------------------------------ recipients

    def add_recipient(self, name: str, public: bytes, fingerprint: str, *, replace: bool = False) -> Recipient:
        """Pin a recipient's key under a name.

        public: the file that they gave (`medveil keygen --recipient --public`). fingerprint: as they read it out over
        another channel. Raises PolicyError where it is not this key's, or the name means another key already and
        `replace` is not set; FormatError.
        """
        if not name or len(name) > 64 or not name.isprintable():
            raise InputError("a recipient's name has 1 to 64 printable characters")
        with audited(self._session, Action.RECIPIENT, name.encode()):
            key = read_public(public)
            check_pinned(name, key, fingerprint)
            held = self._ledger.recipient(name)
            if held is not None and held[1] != key.to_bytes():
                if not replace:
                    raise PolicyError(
                        f"{name} is pinned with another key: if they really have a new one, revoke what they have and "
                        "add the new key with --replace"
                    )
                self._ledger.take(name, None)
                self.resume()
            added = int(time.time())
            self._ledger.pin(name, key.to_bytes(), added)
        return Recipient(name, key, added)

    def recipients(self) -> tuple[Recipient, ...]:
        """Return all pinned recipients, by name."""
        return tuple(
            Recipient(name, RecipientKey.from_bytes(key), added) for name, key, added in self._ledger.recipients()
        )

    def invitation(self, name: str) -> bytes:
        """Return what a recipient needs to open this vault (`Vault.join`)."""
        session = self._session
        label = session.state.meta("label").decode()
        return write_invitation(session.owner(), session.dataset, label, self._key(name))

    def _key(self, name: str) -> RecipientKey:
        held = self._ledger.recipient(name)
        if held is None:
            raise PolicyError(f"there is no recipient {name!r}: pin their key with vault recipient add")
        return RecipientKey.from_bytes(held[1])

    # ---------------------------------------------------------------------------------------------------- grants

    def token(self, study: str) -> bytes:
        """Return the token of a study: from its UID, its token in hex, or an object's id.

        Raises ObjectMissingError where nothing of it is stored here.
        """
        ledger = self._ledger
        hexadecimal = len(study) == 32 and not set(study.lower()) - set("0123456789abcdef")
        candidates = [self._members.token(study, b"")]
        if hexadecimal:
            raw = bytes.fromhex(study)
            candidates += [raw, ledger.study_of(raw) or self._members.token("", raw)]
        for token in candidates:
            if ledger.members(token):
                return token
        raise ObjectMissingError(
            "nothing of that study is known to be stored: give a Study Instance UID, its token, or an object's id; "
            "vault list makes this machine know what others put"
        )

    def grant(
        self,
        recipient: str,
        studies: Iterable[str],
        *,
        expires: float | None = None,
        not_before: float | None = None,
        now: float | None = None,
    ) -> GrantReport:
        """Let a pinned recipient read studies (UIDs, tokens or object ids), with all files that come later.

        expires, not_before: Unix seconds. Raises PolicyError for an unknown recipient, InputError for a time that is
        over or a range that is empty, ObjectMissingError for a study that is not stored, StoreUnavailableError where
        too few stores took it: it is decided then, and the next call puts it there.
        """
        clock = self._now(now)
        if expires is not None and expires <= max(clock, not_before or 0):
            raise InputError("the grant would end before it begins, or has ended: give a later time")
        self._key(recipient)
        self._catch_up()
        tokens = list(dict.fromkeys(self.token(study) for study in studies))
        if not tokens:
            raise InputError("no study was given to grant")
        with audited(self._session, Action.GRANT, tokens[0] if len(tokens) == 1 else recipient.encode()) as note:
            self._ledger.give(recipient, tokens, int(not_before or 0), int(expires or 0))
            findings = self.resume(now=clock)
            note.detail = {"count": len(tokens)}
        return GrantReport(recipient, tuple(token.hex() for token in tokens), findings)

    def revoke(
        self,
        recipient: str,
        studies: Iterable[str] | None = None,
        *,
        level: Level | str = Level.STOP,
        progress: Progress | None = None,
    ) -> RevokeReport:
        """Withdraw grants, all of a recipient by default. level: see `LIMITS`, which says what none of them can do.

        Raises PolicyError where nothing of it was granted, as `grant` for the rest. What is decided here counts at once
        for `check`, whatever the stores do.
        """
        wanted = Level(level)
        self._key(recipient)
        tokens = None if studies is None else [self.token(study) for study in studies]
        with audited(self._session, Action.REVOKE, recipient.encode()) as note:
            taken = self._ledger.take(
                recipient, tokens, rotate=wanted is not Level.STOP, reencrypt=wanted is Level.REENCRYPT
            )
            if not taken:
                raise PolicyError(f"nothing of that is granted to {recipient}: vault grants lists what is")
            note.detail = {"count": len(taken), "level": wanted.value}
            waiting = len(self._ledger.to_reencrypt())
            findings = self.resume(progress=progress)
        done = waiting - len(self._ledger.to_reencrypt())
        hexes = tuple(token.hex() for token in taken)
        return RevokeReport(recipient, hexes, wanted, LIMITS[wanted], self._ledger.epoch, done, findings)

    def rotate(self, *, progress: Progress | None = None) -> RotateReport:
        """Begin a new epoch: new keys for all that is put from now on, wrapped for every grant that is in force.

        A rotation that was interrupted is brought to its end instead. Raises as `grant`.
        """
        with audited(self._session, Action.ROTATE) as note:
            if not self._ledger.stage:
                self._ledger.begin_rotation()
            findings = self.resume(progress=progress)
            note.detail = {"epoch": self._ledger.epoch}
        return RotateReport(self._ledger.epoch, len(self._ledger.grants()), findings)

    def list(self, recipient: str | None = None) -> tuple[GrantEntry, ...]:
        """List grants, of one recipient or all."""
        return tuple(
            GrantEntry(one.recipient, one.study.hex(), one.not_before or None, one.expires or None, self._label(one))
            for one in self._ledger.grants(recipient)
        )

    def _label(self, row: GrantRow) -> str:
        for member in self._ledger.members(row.study)[:1]:
            said = self._members.said(member)
            return str(said.study.get("StudyInstanceUID", "")) or said.name
        return ""

    # --------------------------------------------------------------------------------------------------- checking

    def check(self, recipient: str, study: str, *, now: float | None = None) -> None:
        """Return where a recipient may read a study now: the gateway asks this before it serves anything.

        study: UID, token or object id. Raises PolicyError where it was not granted, was revoked, has not begun or has
        expired, or where this machine's clock went back behind what it showed before.
        """
        clock = self._now(now)
        try:
            token = self.token(study)
        except ObjectMissingError:
            raise PolicyError(f"this study is not granted to {recipient}") from None
        row = self._ledger.granted(recipient, token)
        if row is None:
            raise PolicyError(f"this study is not granted to {recipient}")
        check_times(row.not_before, row.expires, clock)

    def allowed(self, recipient: str, *, now: float | None = None) -> set[bytes]:
        """Return the tokens of all studies that a recipient may read now. Raises PolicyError for an unknown one."""
        clock = self._now(now)
        self._key(recipient)
        return {
            one.study
            for one in self._ledger.grants(recipient)
            if one.not_before - SKEW <= clock < (one.expires or _NEVER)
        }

    def accept_clock(self) -> None:
        """Take this machine's time for right although it showed a later one before."""
        self._ledger.set_clock(int(time.time()))

    def _now(self, now: float | None) -> float:
        clock = time.time() if now is None else now
        latest = self._ledger.clock
        if clock > latest + 60:
            latest = self._ledger.tick(int(clock))
        if clock < latest - SKEW:
            raise PolicyError(
                f"this machine's clock went back by {latest - clock:.0f} seconds: set it right before grants are "
                "judged by it, or say that it is right now with vault grants --accept-clock"
            )
        return clock

    # --------------------------------------------------------------------------------------------------- the work

    def resume(self, *, now: float | None = None, progress: Progress | None = None) -> tuple[Finding, ...]:
        """Bring everything that was decided to its end: records, rotation, re-encryption. Raises StoreError."""
        if not self._ledger.stage:
            adopt_epoch(self._session)
        findings = list(self._reissue(now))
        if self._ledger.stage == "grants":
            self._ledger.set_stage("index")
        if self._ledger.stage == "index":
            if self._session.indexing is not None:
                self._session.indexing.index.compact()
            self._ledger.set_stage("announce")
        if self._ledger.stage == "announce":
            findings += self._announce(self._ledger.epoch)
            self._ledger.set_stage("")
        findings += self._reencrypt(progress)
        return tuple(dict.fromkeys(findings))

    def _announce(self, epoch: int) -> tuple[Finding, ...]:
        """Tell the owner's other machines, through the stores, that an epoch began."""
        session = self._session
        name, data = places.epoch_record(session.owner(), session.dataset, epoch)

        def as_good(held: bytes) -> bool:
            return places.says_epoch(held, session.dataset, session.public, epoch)

        return places.publish(session.fleet, name, data, session.k, as_good=as_good)

    def _reencrypt(self, progress: Progress | None) -> tuple[Finding, ...]:
        from medveil.vault.grants.reencrypting import reencrypt

        findings: list[Finding] = []
        waiting = self._ledger.to_reencrypt()
        for done, object_id in enumerate(waiting, start=1):
            findings += reencrypt(self._session, object_id)
            self._ledger.reencrypted(object_id)
            if progress is not None:
                progress(done, len(waiting))
        return (*findings, *self._reissue(None)) if waiting else ()

    def _reissue(self, now: float | None) -> tuple[Finding, ...]:
        """Write the records that are due, then put new ones into the stores and take dead ones out."""
        for recipient, due in self._ledger.stale().items():
            self._issue(recipient, [study for study in due if study], int(time.time() if now is None else now))
        findings: list[Finding] = []
        for pack in self._ledger.packs(None, "new"):
            findings += places.publish(self._session.fleet, pack.name, pack.record, self._session.k)
            self._ledger.published(pack.recipient, pack.serial)
        for pack in self._ledger.packs(None, "dead"):
            left = places.withdraw(self._session.fleet, pack.name)
            if not left:
                self._ledger.removed(pack.recipient, pack.serial)
            findings += left
        return tuple(findings)

    def _issue(self, recipient: str, studies: Sequence[bytes], issued: int) -> None:
        """Decide on the records that carry these studies from now on: one transaction, with all bytes in it."""
        session, ledger = self._session, self._ledger
        key, epoch = self._key(recipient), ledger.epoch
        rows = {row.study: row for row in ledger.grants(recipient)}
        wanted = [one for one in studies if one in rows and (not rows[one].expires or issued < rows[one].expires)]
        keys = _KeyRing(session)
        serials = dict(ledger.serials(recipient))
        following = max(serials, default=0) + 1
        used = ledger.still_used(recipient, set(studies))
        dead = {serial for serial, state in serials.items() if state in ("new", "live") and serial not in used}
        pieces = [wanted[at : at + PACK] for at in range(0, len(wanted), PACK)] or [[]]
        fresh = range(following, following + len(pieces))
        live = tuple(sorted((used & set(serials)) | set(fresh)))
        packs: Packs = []
        for serial, piece in zip(fresh, pieces, strict=True):
            entries = [self._entry(rows[study], keys, epoch) for study in piece]
            record = seal_record(
                entries,
                key,
                session.owner(),
                dataset=session.dataset,
                epoch=epoch,
                serial=serial,
                live=live,
                issued=issued,
            )
            name = places.grant_name(session.dataset, key.key_id, serial, content_hash(record))
            packs.append((Pack(recipient, serial, name, record, "new"), piece))
        ledger.issue(recipient, packs, dead)

    def _entry(self, row: GrantRow, keys: _KeyRing, epoch: int) -> StudyEntry:
        members = self._ledger.members(row.study)
        epochs = {epoch, *(member.epoch for member in members)}
        return StudyEntry(
            row.study,
            row.not_before,
            row.expires,
            {one: keys(one)(row.study) for one in epochs},
            [(one.object_id, one.version, one.epoch, self._members.plain(one)) for one in members],
        )

    def _catch_up(self) -> None:
        """Put what this machine has seen and not listed into the lists of studies."""
        from medveil.vault.grants.reencrypting import learn

        for object_id in unknown(self._session):
            try:
                learn(self._session, self._members, object_id)
            except (StoreError, ConflictError):
                raise
            except MedveilError:
                continue  # what cannot be read cannot be granted


def adopt_epoch(session: Session) -> None:
    """Take over the epoch that another machine of the owner began, where a store shows a higher one than is known."""
    if session.members is not None:
        newest = places.newest_epoch(session.fleet, session.dataset, session.public)
        session.members.ledger.adopt_epoch(newest)


class _KeyRing:
    """Study keys of several epochs."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held: dict[int, StudyKeys] = {}

    def __call__(self, epoch: int) -> StudyKeys:
        if epoch not in self._held:
            self._held[epoch] = study_keys(self._session.owner(), self._session.dataset, epoch)
        return self._held[epoch]


def check_times(not_before: int, expires: int, now: float) -> None:
    """Refuse a grant that has not begun or has expired. Raises PolicyError."""
    if now < not_before - SKEW:
        raise PolicyError("the grant has not begun yet: look at its dates, and at this machine's clock")
    if expires and now >= expires:
        raise PolicyError("the grant has expired: ask the owner for a new one")
