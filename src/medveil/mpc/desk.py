"""What a party answers its clients: uploads, jobs, results. A client sees and names only what is its own."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Callable
from typing import Any

from medveil.errors import LimitError, MedveilError, PolicyError, ProtocolError
from medveil.mpc import wire
from medveil.mpc.cluster import PartyConfig
from medveil.mpc.ledger import Ledger
from medveil.mpc.requests import JobRequest, reveals
from medveil.mpc.shelf import Shelf, allocate, buffers, byte_count, check_entries, describe

log = logging.getLogger("medveil.mpc.party")
_RESULT = re.compile(r"result|metrics[0-9]{1,6}")


class Desk:
    """Answers requests of a client whose certificate was checked; `queue` takes the names of accepted jobs."""

    def __init__(self, config: PartyConfig, shelf: Shelf, ledger: Ledger, queue: Callable[[str], None]) -> None:
        self._config, self._shelf, self._ledger, self._queue = config, shelf, ledger, queue
        self._handlers = {
            "put": self._put, "drop": self._drop, "submit": self._submit, "status": self._status, "get": self._get,
            "describe": self._describe, "forget": self._forget,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"Desk(party {self._config.party})"

    def answer(self, connection: ssl.SSLSocket, owner: str) -> bool:
        """Answer one request; returns whether the client may send another."""
        try:
            message = wire.receive_json(connection)
        except (ProtocolError, TimeoutError):
            return False
        handler = self._handlers.get(str(message.get("op")))
        if handler is None:
            wire.send_json(connection, wire.error_message(ProtocolError("this server does not know that request")))
            return False
        try:
            handler(connection, owner, message)
        except MedveilError as e:
            log.warning("a request was refused: %s", e)
            wire.send_json(connection, wire.error_message(e))
            return False
        return True

    def _put(self, connection: ssl.SSLSocket, owner: str, message: dict[str, Any]) -> None:
        entries = check_entries(message.get("entries"), self._config.max_upload_bytes)
        name = f"{owner}.{message.get('name')}"
        self._shelf.path(name)
        if message.get("bytes") != byte_count(entries):
            raise LimitError("the announced length does not fit the entries: nothing was read")
        if self._stored(owner) + byte_count(entries) > self._config.max_client_bytes:
            raise LimitError(
                f"this client's shares would take more than {self._config.max_client_bytes} bytes on this server: "
                "forget finished runs and unused uploads first"
            )
        wire.send_json(connection, {"ok": True})
        bundle = allocate(entries)
        for view in buffers(bundle):
            wire.receive_exactly(connection, view)
        self._shelf.put(name, bundle)
        wire.send_json(connection, {"ok": True})

    def _stored(self, owner: str) -> int:
        """Return the bytes of everything that a client keeps here, results and checkpoints among them."""
        return sum(self._shelf.stored(f"{prefix}.") for prefix in (owner, *self._ledger.of(owner)))

    def _unused(self, owner: str) -> dict[str, int]:
        """Return the client's uploads that none of its jobs reads, with their bytes on disk."""
        jobs = self._ledger.of(owner)
        used = {f"{owner}.{name}" for job in jobs.values() for name in job.request.inputs.values()}
        used |= {f"{owner}.{name}" for name in jobs}
        names = [n for n in self._shelf.names() if n.startswith(f"{owner}.") and n not in used]
        return {name.removeprefix(f"{owner}."): self._shelf.stored(name) for name in names}

    def _drop(self, connection: ssl.SSLSocket, owner: str, message: dict[str, Any]) -> None:
        """Remove an upload that no job reads."""
        name = str(message.get("name"))
        path = self._shelf.path(f"{owner}.{name}")
        if path.exists() and name not in self._unused(owner):
            raise PolicyError("a job reads these shares: forget the job first")
        self._shelf.remove(f"{owner}.{name}")
        wire.send_json(connection, {"ok": True})

    def _submit(self, connection: ssl.SSLSocket, owner: str, message: dict[str, Any]) -> None:
        request = JobRequest.from_message(message, owner)
        for name in request.inputs.values():
            if not self._shelf.path(f"{owner}.{name}").exists():
                raise PolicyError(f"the job reads {name}, which this client has not uploaded here")
        if self._ledger.accept(request, resume=bool(message.get("resume"))):
            self._queue(request.job)
        opened = self._reveals(request)
        log.info("job %s accepted; can be opened: %s", request.job, "; ".join(opened))
        wire.send_json(connection, {"ok": True, "reveals": opened})

    def _reveals(self, request: JobRequest) -> list[str]:
        return reveals(request, weights=self._config.allow_reveal_weights)

    def _status(self, connection: ssl.SSLSocket, owner: str, message: dict[str, Any]) -> None:
        if message.get("job") is None:
            states = {name: job.state for name, job in self._ledger.of(owner).items()}
            wire.send_json(connection, {"ok": True, "jobs": states, "unused": self._unused(owner)})
            return
        job = self._ledger.own(owner, str(message.get("job")))
        wire.send_json(connection, {"ok": True, "state": job.state, "failure": job.error, "progress": job.progress})

    def _describe(self, connection: ssl.SSLSocket, owner: str, message: dict[str, Any]) -> None:
        """Answer with a job's public request, so that its owner can come back to it from anywhere."""
        request = self._ledger.own(owner, str(message.get("job"))).request
        wire.send_json(connection, {"ok": True, "request": request.to_message(), "reveals": self._reveals(request)})

    def _get(self, connection: ssl.SSLSocket, owner: str, message: dict[str, Any]) -> None:
        request = self._ledger.own(owner, str(message.get("job"))).request
        name = str(message.get("name"))
        if not _RESULT.fullmatch(name):
            raise PolicyError("a client can open a job's result and metrics only")
        if name == "result" and request.kind == "train" and not self._config.allow_reveal_weights:
            raise PolicyError(
                "this server's operator does not let trained weights be opened: predict with them instead"
            )
        bundle, _ = self._shelf.get(f"{request.job}.{name}")
        wire.send_json(connection, {"ok": True, "entries": describe(bundle)})
        for view in buffers(bundle):
            connection.sendall(view)

    def _forget(self, connection: ssl.SSLSocket, owner: str, message: dict[str, Any]) -> None:
        """Remove a finished job: its results, checkpoints and inputs; the weights that a prediction read stay."""
        request = self._ledger.remove(owner, str(message.get("job")))
        for name in self._shelf.names():
            if name.startswith(f"{request.job}.") or name == f"{owner}.{request.job}":
                self._shelf.remove(name)
        unused = self._unused(owner)
        for key, name in request.inputs.items():
            if name in unused and not (request.kind == "predict" and key == "weights"):
                self._shelf.remove(f"{owner}.{name}")
        wire.send_json(connection, {"ok": True})
