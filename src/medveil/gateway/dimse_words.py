"""What the DICOM door understands and says: identifiers of queries, answers, statuses, and what it proposes."""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from medveil.errors import InputError, MedveilError, PolicyError, StoreUnavailableError, UnsupportedError
from medveil.gateway.config import DestinationTable
from medveil.gateway.matching import Attributes, Wish
from medveil.gateway.receiving import NOT_AUTHORISED
from medveil.vault.search import Instance, Study

PENDING: Final = 0xFF00
CANCELLED: Final = 0xFE00
UNABLE: Final = 0xC001
NO_MATCH_FOR_CLASS: Final = 0xA900
OUT_OF_RESOURCES: Final = 0xA700
IMPLICIT: Final = "1.2.840.10008.1.2"
_PROPOSED: Final = 128


def wish_of(identifier: Dataset) -> tuple[Wish, list[str]]:
    """Return what an identifier asks for, and the keywords that an answer is to have. Raises InputError."""
    level = str(identifier.get("QueryRetrieveLevel", "STUDY") or "STUDY").strip()
    if level not in ("PATIENT", "STUDY", "SERIES", "IMAGE"):
        raise InputError("the query's level is none of PATIENT, STUDY, SERIES, IMAGE")
    keys: dict[str, str] = {}
    asked: list[str] = []
    for element in identifier:
        keyword = keyword_for_tag(element.tag)
        if not keyword:
            continue
        asked.append(keyword)
        if element.VR != "SQ":
            value = element.value
            several = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
            keys[keyword] = "\\".join("" if one is None else str(one) for one in several)
    return Wish(level, keys), asked


def answer(wish: Wish, asked: list[str], attributes: Attributes, ae_title: str) -> Dataset:
    """Return the answer to a C-FIND: the keywords that were asked for, with what is known of them."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.QueryRetrieveLevel = wish.level
    dataset.RetrieveAETitle = ae_title
    for keyword in asked:
        if keyword not in ("SpecificCharacterSet", "QueryRetrieveLevel", "RetrieveAETitle"):
            setattr(dataset, keyword, attributes.get(keyword, None))
    return dataset


def find_status(error: MedveilError) -> int:
    """Return the status that refuses a query or a retrieval."""
    if isinstance(error, PolicyError):
        return NOT_AUTHORISED
    if isinstance(error, InputError | UnsupportedError):
        return NO_MATCH_FOR_CLASS
    if isinstance(error, StoreUnavailableError):
        return OUT_OF_RESOURCES
    return UNABLE


def proposed(instances: list[tuple[Study, Instance]]) -> list[Any]:
    """Return what to propose to a destination: each class with the syntax that its instances have."""
    wanted: dict[tuple[str, str], None] = {}
    for _, instance in instances:
        sop_class = str(instance.attributes.get("SOPClassUID", ""))
        syntax = str(instance.attributes.get("TransferSyntaxUID", IMPLICIT))
        wanted[sop_class, syntax] = None
    return [build_context(*pair) for pair in wanted if all(pair)][:_PROPOSED] or [build_context(Verification)]


def no_delay(event: Any) -> None:
    """Handle EVT_CONN_OPEN of an association of ours: switch Nagle's algorithm off."""
    link = event.assoc.dul.socket.socket
    if link is not None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def client_context(destination: DestinationTable) -> ssl.SSLContext:
    """Return the TLS for sending to a destination."""
    context = ssl.create_default_context(cafile=destination.ca)
    if destination.certificate is not None:
        context.load_cert_chain(destination.certificate, destination.key)
    return context
