"""The same entries as audit messages of DICOM PS3.15 A.5 (IHE ATNA), one syslog line (RFC 5424) each.

Persons and objects are the hashes of the log, under a code of our own: an audit repository can follow them without
learning a name or a UID. The lines lie beside the tiles and can be sent on by any syslog relay; they are not signed,
and what they say is checked against the log.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from medveil.vault.audit.events import Action, Event, Outcome

MESSAGE_ID: Final = "DICOM+RFC3881"
"""MSGID of the syslog lines (PS3.15 A.6)."""

_PRIORITY: Final = 10 * 8 + 5  # authpriv, notice
_OUTCOMES: Final = {Outcome.SUCCESS: "0", Outcome.REFUSED: "4", Outcome.FAILED: "8"}
_ACCESSED: Final = ("110103", "DICOM Instances Accessed")
_ALERT: Final = ("110113", "Security Alert")
_EVENTS: Final[dict[Action, tuple[tuple[str, str], str, tuple[str, str] | None]]] = {
    Action.START: (("110100", "Application Activity"), "E", ("110120", "Application Start")),
    Action.STOP: (("110100", "Application Activity"), "E", ("110121", "Application Stop")),
    Action.PUT: (("110104", "DICOM Instances Transferred"), "C", None),
    Action.TRANSFER: (("110104", "DICOM Instances Transferred"), "R", None),
    Action.GET: (_ACCESSED, "R", None),
    Action.VERIFY: (_ACCESSED, "R", None),
    Action.REPAIR: (_ACCESSED, "U", None),
    Action.SEARCH: (("110112", "Query"), "E", None),
    Action.LOGIN: (("110114", "User Authentication"), "E", ("110122", "Login")),
    Action.FINDING: (_ALERT, "E", ("110135", "Object Security Attributes Changed")),
    Action.ACCEPT: (_ALERT, "E", ("110135", "Object Security Attributes Changed")),
    Action.GRANT: (_ALERT, "E", ("110135", "Object Security Attributes Changed")),
    Action.REVOKE: (_ALERT, "E", ("110135", "Object Security Attributes Changed")),
    Action.RECIPIENT: (_ALERT, "E", ("110137", "User Security Attributes Changed")),
    Action.ROTATE: (_ALERT, "E", ("110130", "Security Configuration")),
}


def audit_message(event: Event, source: str) -> bytes:
    """Return an event as one AuditMessage (PS3.15 A.5.1), UTF-8. source: what the log is called."""
    (code, meaning), action, kind = _EVENTS[event.action]
    message = ET.Element("AuditMessage")
    identified = ET.SubElement(
        message,
        "EventIdentification",
        EventActionCode=action,
        EventDateTime=event.time.isoformat(),
        EventOutcomeIndicator=_OUTCOMES[event.outcome],
    )
    _code(identified, "EventID", code, "DCM", meaning)
    if kind is not None:
        _code(identified, "EventTypeCode", kind[0], "DCM", kind[1])
    participant = ET.SubElement(message, "ActiveParticipant", UserID=event.actor or "owner", UserIsRequestor="true")
    if event.action in (Action.START, Action.STOP):
        _code(participant, "RoleIDCode", "110150", "DCM", "Application")
    audited = ET.SubElement(message, "AuditSourceIdentification", AuditSourceID=source)
    ET.SubElement(audited, "AuditSourceTypeCode", {"csd-code": "4"})
    if event.subject:
        thing = ET.SubElement(
            message,
            "ParticipantObjectIdentification",
            ParticipantObjectID=event.subject,
            ParticipantObjectTypeCode="2",
            ParticipantObjectTypeCodeRole="3",
        )
        _code(thing, "ParticipantObjectIDTypeCode", "salted-hash", "99MEDVEIL", "salted hash of an object's id")
        for key, value in sorted(event.detail.items()):
            encoded = base64.b64encode(str(value).encode()).decode()
            ET.SubElement(thing, "ParticipantObjectDetail", type=key, value=encoded)
    return str(ET.tostring(message, encoding="unicode")).encode()


def syslog_lines(events: Sequence[Event], source: str, host: str = "-") -> bytes:
    """Return events as lines of RFC 5424 with an audit message each."""
    lines = []
    for event in events:
        when = event.time.strftime("%Y-%m-%dT%H:%M:%SZ")
        front = f"<{_PRIORITY}>1 {when} {host} medveil - {MESSAGE_ID} - ".encode()
        lines.append(front + b"\xef\xbb\xbf" + audit_message(event, source))
    return b"".join(line + b"\n" for line in lines)


def _code(parent: ET.Element, tag: str, code: str, system: str, meaning: str) -> None:
    ET.SubElement(parent, tag, {"csd-code": code, "codeSystemName": system, "originalText": meaning})
