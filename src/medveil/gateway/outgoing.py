"""Instances on their way out over DIMSE: the very bytes that came in.

pynetdicom encodes datasets anew when it sends them. Here it is given a stand-in that has only the UIDs, and just
before its message is cut into PDUs the stand-in's bytes are replaced by the original's. Where a receiver did not accept
the transfer syntax that an uncompressed instance came in, pydicom converts it, which changes no value.
"""

from __future__ import annotations

import io
import threading
import warnings
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pynetdicom import dsutils

from medveil.gateway.instances import Received


class Outgoing:
    """The originals that associations are about to send. Safe for several threads."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, str], Received] = {}
        self._lock = threading.Lock()

    def stand_in(self, association_key: int, instance: Received) -> Dataset:
        """Return what pynetdicom is given for an instance that one association will send."""
        with self._lock:
            self._held[association_key, instance.uid] = instance
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = UID(instance.transfer_syntax)
        dataset.SOPClassUID, dataset.SOPInstanceUID = instance.sop_class, instance.uid
        return dataset

    def forget(self, association_key: int) -> None:
        """Drop what an association did not send."""
        with self._lock:
            for key in [key for key in self._held if key[0] == association_key]:
                del self._held[key]

    def replace(self, event: Any, association_key: int | None = None) -> None:
        """Handle EVT_DIMSE_SENT: put the original's bytes into a C-STORE request."""
        message = event.message
        if type(message).__name__ != "C_STORE_RQ":
            return
        key = id(event.assoc) if association_key is None else association_key
        with self._lock:
            instance = self._held.pop((key, str(message.command_set.AffectedSOPInstanceUID)), None)
        # Without an original nothing may leave: the stand-in is no instance, and an empty dataset is refused.
        message.data_set = io.BytesIO(b"" if instance is None else _encoded(instance, _syntax(event, message)))


def lost(uid: str) -> Dataset:
    """Return what makes pynetdicom count an instance as failed, by its UID."""
    dataset = Dataset()
    dataset.SOPInstanceUID = uid
    return dataset


def _syntax(event: Any, message: Any) -> str:
    for context in event.assoc.accepted_contexts:
        if context.context_id == message.context_id:
            return str(context.transfer_syntax[0])
    return ""


def _encoded(instance: Received, syntax: str) -> bytes:
    if syntax == instance.transfer_syntax:
        return instance.data[instance.dataset :]
    wanted = UID(syntax)
    if wanted.is_compressed or UID(instance.transfer_syntax).is_compressed:
        return b""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(io.BytesIO(instance.data))
        encoded = dsutils.encode(dataset, wanted.is_implicit_VR, wanted.is_little_endian, wanted.is_deflated)
    return encoded or b""
