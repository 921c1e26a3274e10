"""The DICOM door: C-ECHO, C-STORE in; C-FIND, C-MOVE and C-GET out (PS3.4 annexes B and C)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import AllTransferSyntaxes, ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from medveil.errors import (
    ConfigError,
    InputError,
    MedveilError,
    ObjectMissingError,
    PolicyError,
)
from medveil.gateway import matching
from medveil.gateway.access import Access, Client
from medveil.gateway.archive import Archive
from medveil.gateway.config import GatewayConfig, Right
from medveil.gateway.dimse_server import BoundedServer, Memory, Watch, peer_certificate, server_context
from medveil.gateway.dimse_words import (
    CANCELLED,
    IMPLICIT,
    OUT_OF_RESOURCES,
    PENDING,
    answer,
    client_context,
    find_status,
    no_delay,
    proposed,
    wish_of,
)
from medveil.gateway.instances import Received, from_file, from_wire
from medveil.gateway.journal import Journal
from medveil.gateway.matching import Attributes, Wish
from medveil.gateway.metrics import Metrics
from medveil.gateway.outgoing import Outgoing, lost
from medveil.gateway.receiving import NOT_AUTHORISED, Reception
from medveil.vault.search import Instance, Study

_MOST_STUDIES: Final = 10_000
_MOST_INSTANCES: Final = 65_535  # counts of sub-operations have 16 bits
_SYNTAXES: Final = sorted(AllTransferSyntaxes, key=lambda one: (one != ExplicitVRLittleEndian, one != IMPLICIT))
"""Transfer syntaxes that are taken and given. Of several in one context the first of these is agreed on."""


class DicomDoor:
    """A DICOM server. `start`, then `close_door` to accept no more, then `stop`."""

    def __init__(
        self, config: GatewayConfig, access: Access, reception: Reception, archive: Archive, journal: Journal,
        metrics: Metrics, memory: Memory,
    ) -> None:  # fmt: skip
        if config.dicom is None:
            raise ConfigError("the configuration has no table [dicom]")
        self._table = config.dicom
        self._access = access
        self._reception = reception
        self._archive = archive
        self._journal = journal
        self._metrics = metrics
        self._outgoing = Outgoing()
        self._destinations = {one.ae_title: one for one in config.destination}
        self._watch = Watch(
            memory, self._cut, max_pdu=self._table.max_pdu, max_message=config.queue.max_instance,
            timeout=self._table.timeout,
        )  # fmt: skip
        _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
        _config.LOG_HANDLER_LEVEL = "none"
        self._entity = self._new_entity([one.ae_title for one in config.client])
        self._server: BoundedServer | None = None

    def _new_entity(self, titles: list[str | None]) -> AE:
        entity = AE(ae_title=self._table.ae_title)
        entity.maximum_pdu_size = self._table.max_pdu
        entity.maximum_associations = self._table.max_associations
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = self._table.timeout
        entity.require_called_aet = True
        if all(titles):
            entity.require_calling_aet = [title for title in titles if title]
        entity.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), _SYNTAXES, scu_role=True, scp_role=True)
        for model in (
            StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelMove,
            StudyRootQueryRetrieveInformationModelGet, PatientRootQueryRetrieveInformationModelFind,
            PatientRootQueryRetrieveInformationModelMove, PatientRootQueryRetrieveInformationModelGet,
        ):  # fmt: skip
            entity.add_supported_context(model)
        return entity

    def start(self) -> None:
        """Listen. Raises ConfigError where the address or a certificate cannot be used."""
        handlers = [
            *self._watch.handlers,
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_DIMSE_SENT, self._outgoing.replace),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_GET, self._get),
            (evt.EVT_C_MOVE, self._move),
        ]
        context = server_context(self._table, need_certificate=True)
        try:
            self._server = BoundedServer(
                self._entity, (self._table.bind, self._table.port), handlers, context=context,
                timeout=self._table.timeout,
            )  # fmt: skip
        except OSError as error:
            raise ConfigError(
                f"cannot listen for DICOM on {self._table.bind}:{self._table.port}: {error.strerror or error}"
            ) from None
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True, name="dicom server"
        ).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return 0 if self._server is None else int(self._server.server_address[1])

    @property
    def busy(self) -> int:
        """Associations now."""
        return 0 if self._server is None else len(self._server.active_associations)

    def close_door(self) -> None:
        """Accept no more associations."""
        if self._server is not None:
            self._server.shutdown()

    def stop(self) -> None:
        """Abort the associations that are left."""
        for association in [] if self._server is None else self._server.active_associations:
            association.abort()

    # ------------------------------------------------------------------------------------------------- associations

    def _client(self, event: Any, right: Right | None = None) -> Client:
        """Return who is at the other end. Raises PolicyError where nobody is known, or it has not the right."""
        peer = event.assoc.requestor
        client = self._access.by_title(peer.ae_title, peer.address, peer_certificate(event.assoc))
        if right is not None:
            client.need(right)
        return client

    def _accepted(self, event: Any) -> None:
        self._metrics.associations.set(self.busy)
        try:
            client = self._client(event)
        except PolicyError as error:
            self._refused(error, "association")
            return
        self._journal.write("association", via="dicom", client=client.name)
        self._archive.log_in(client.name, "dicom")

    def _closed(self, event: Any) -> None:
        self._outgoing.forget(id(event.assoc))
        self._metrics.associations.set(max(0, self.busy - 1))

    def _cut(self, reason: str) -> None:
        self._metrics.refused.labels("dicom", reason).inc()
        self._journal.write("connection cut", via="dicom", reason=reason)

    def _refused(self, error: MedveilError, what: str, client: str | None = None) -> None:
        self._metrics.refused.labels("dicom", type(error).__name__).inc()
        self._journal.write("refused", via="dicom", kind=what, client=client, error=type(error).__name__)
        if isinstance(error, PolicyError):
            self._archive.log_refusal(client or "", "dicom", error)

    def _echo(self, event: Any) -> int:
        try:
            self._client(event)
        except PolicyError as error:
            self._refused(error, "echo")
            return NOT_AUTHORISED
        return 0

    # ------------------------------------------------------------------------------------------------------ storing

    def _store(self, event: Any) -> int:
        try:
            client = self._client(event, "store")
        except PolicyError as error:
            self._refused(error, "store")
            return NOT_AUTHORISED
        request = event.request
        try:
            instance = from_wire(
                request.DataSet.getvalue() if request.DataSet is not None else b"",
                str(request.AffectedSOPClassUID),
                str(request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax),
            )
        except InputError as error:
            return self._reception.refuse(error, via="dicom", client=client.name).status
        try:
            return self._reception.take(instance, via="dicom", client=client.name).status
        finally:
            self._watch.release(event.assoc)

    # ------------------------------------------------------------------------------------------------------ finding

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        client_name = None
        try:
            client = self._client(event, "query")
            client_name = client.name
            wish, asked = wish_of(event.identifier)
            self._metrics.searches.labels("dicom").inc()
            answers = self._matches(client, wish)
        except MedveilError as error:
            self._refused(error, "find", client_name)
            yield find_status(error), None
            return
        for attributes in answers:
            if event.is_cancelled:
                yield CANCELLED, None
                return
            yield PENDING, answer(wish, asked, attributes, self._table.ae_title)

    def _matches(self, client: Client, wish: Wish) -> list[Attributes]:
        if wish.level in ("PATIENT", "STUDY"):
            studies = self._archive.search(client, wish.query(), limit=_MOST_STUDIES, offset=0)
            return matching.patients(studies) if wish.level == "PATIENT" else [dict(one.attributes) for one in studies]
        study = self._study(client, wish.study)
        if study is None:
            return []
        if wish.level == "SERIES":
            return matching.series_of(study, wish)
        return [attributes for _, attributes in matching.instances_of(study, wish)]

    def _study(self, client: Client, uid: str) -> Study | None:
        try:
            return self._archive.study(client, uid)
        except (ObjectMissingError, PolicyError):
            return None

    # --------------------------------------------------------------------------------------------------- retrieving

    def _get(self, event: Any) -> Iterator[Any]:
        found = self._wanted(event, "get")
        if isinstance(found, int):
            yield 1
            yield found, None
            return
        client, instances = found
        yield len(instances)
        yield from self._deliver(event, client, instances, id(event.assoc))

    def _move(self, event: Any) -> Iterator[Any]:
        destination = self._destinations.get(str(event.move_destination).strip())
        found = self._wanted(event, "move")
        if destination is None or isinstance(found, int):
            # Nothing is connected to for somebody who gets nothing; "destination unknown" is all that can be said.
            yield None, None
            return
        client, instances = found
        key = id(event)  # the association to the destination does not exist yet
        options: dict[str, Any] = {
            "ae_title": destination.ae_title,
            "contexts": proposed(instances),
            "evt_handlers": [
                (evt.EVT_CONN_OPEN, no_delay),
                (evt.EVT_DIMSE_SENT, lambda sent: self._outgoing.replace(sent, key)),
            ],
        }
        if destination.ca is not None:
            options["tls_args"] = (client_context(destination), destination.host)
        yield destination.host, destination.port, options
        yield len(instances)
        try:
            yield from self._deliver(event, client, instances, key)
        finally:
            self._outgoing.forget(key)

    def _wanted(self, event: Any, kind: str) -> int | tuple[Client, list[tuple[Study, Instance]]]:
        """Return who asks and what it is to get, or the status that refuses it."""
        client_name = None
        try:
            client = self._client(event, "retrieve")
            client_name = client.name
            wish, _ = wish_of(event.identifier)
            found = self._instances(client, wish)
        except MedveilError as error:
            self._refused(error, kind, client_name)
            return find_status(error)
        if len(found) > _MOST_INSTANCES:
            return OUT_OF_RESOURCES
        return client, found

    def _instances(self, client: Client, wish: Wish) -> list[tuple[Study, Instance]]:
        if wish.level == "PATIENT":
            found = self._archive.search(client, wish.query({"PatientID"}), limit=_MOST_STUDIES, offset=0)
            uids = [str(one.attributes.get("StudyInstanceUID", "")) for one in found]
        else:
            uids = [uid for uid in wish.keys.get("StudyInstanceUID", "").split("\\") if uid]
        if not uids and wish.level != "PATIENT":
            raise InputError("name the StudyInstanceUID of what is to be retrieved")
        chosen: list[tuple[Study, Instance]] = []
        lower = {k: v for k, v in wish.keys.items() if k in ("SeriesInstanceUID", "SOPInstanceUID")}
        for uid in uids:
            study = self._archive.study(client, uid)
            chosen += [(study, one) for one, _ in matching.instances_of(study, Wish("IMAGE", lower))]
        return chosen

    def _deliver(
        self, event: Any, client: Client, instances: list[tuple[Study, Instance]], key: int
    ) -> Iterator[tuple[int, Dataset | None]]:
        for study, instance in instances:
            if event.is_cancelled:
                yield CANCELLED, None
                return
            try:
                original: Received = from_file(self._archive.read(client, study, instance))
            except MedveilError as error:
                self._refused(error, "retrieve", client.name)
                yield PENDING, lost(str(instance.attributes.get("SOPInstanceUID", "")))
                continue
            yield PENDING, self._outgoing.stand_in(key, original)
            self._metrics.sent.labels("dicom").inc()
