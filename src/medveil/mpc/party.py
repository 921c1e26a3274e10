"""A long-running server: takes shares and jobs from clients, runs the jobs with the two other servers.

Party 0 decides the order of the jobs; the others start one when party 0 comes to it, so two clients at once
cannot make the servers wait for each other. Every connection is TLS 1.3 with both certificates; a client sees only
what it uploaded and its own jobs' results.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import queue
import re
import secrets
import socket
import ssl
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medveil.errors import ConfigError, LimitError, MedveilError, PolicyError, ProtocolError
from medveil.mpc import certificates, wire
from medveil.mpc.cluster import PartyConfig, load_party
from medveil.mpc.jobs import JobContext, JobRequest, reveals, run_job
from medveil.mpc.meeting import Key, MeetingPoint, meet
from medveil.mpc.session import Session
from medveil.mpc.shelf import Shelf, allocate, buffers, byte_count, check_entries, describe

log = logging.getLogger("medveil.mpc.party")
_CLIENT_TIMEOUT = 30.0
_JOB_WAIT = 6.0
_MAX_CONNECTIONS = 128


@dataclass
class Job:
    """A job at this party: queued, running, done, failed, or interrupted by a restart."""

    request: JobRequest
    state: str = "queued"
    error: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    resume: bool = False


def _tune_process() -> None:
    """Keep freed memory and switch threads often: large tensors come and go, and sender threads must not wait."""
    sys.setswitchinterval(0.0005)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


class Party:
    """One server. `serve` blocks; `close` ends it."""

    def __init__(self, config: PartyConfig) -> None:
        self.config = config
        self.cluster = config.cluster
        self.shelf = Shelf(config.state)
        self.jobs: dict[str, Job] = {}
        self._point = MeetingPoint()
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._queue: queue.Queue[str] = queue.Queue()
        self._running = threading.Lock()
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._tls = config.cluster.tls.context(server=True)
        host, port = config.cluster.address(config.party)
        if config.listen:
            host, _, text = config.listen.rpartition(":")
            port = int(text)
        try:
            self._socket = socket.create_server((host, port), reuse_port=False)
        except OSError as e:
            raise ConfigError(f"cannot listen on {host}:{port} ({e.strerror}): free the port or change it") from e
        self._load_jobs()

    def __repr__(self) -> str:
        return f"Party({self.config.party})"

    def _job_file(self, job: str) -> Path:
        return self.config.state / f"{job}.job"

    def _load_jobs(self) -> None:
        for path in sorted(self.config.state.glob("*.job")):
            raw = json.loads(path.read_text("utf-8"))
            state = raw["state"] if raw["state"] in ("done", "failed") else "interrupted"
            request = JobRequest.from_message(raw["request"], str(raw["owner"]))
            self.jobs[request.job] = Job(request, state, raw.get("error", {}))

    def _save_job(self, job: Job) -> None:
        text = {
            "request": job.request.to_message(), "owner": job.request.owner, "state": job.state, "error": job.error,
        }  # fmt: skip
        path = self._job_file(job.request.job)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(text), "utf-8")
        partial.replace(path)

    def serve(self) -> None:
        """Accept connections until `close`."""
        if self.config.party == 0:
            threading.Thread(target=self._conduct, name="conductor", daemon=True).start()
        log.info("party %d is ready", self.config.party)
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            if not self._slots.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._welcome, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stop accepting; running jobs end with the process."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _welcome(self, plain: socket.socket) -> None:
        connection = None
        keep = False
        try:
            plain.settimeout(wire.CONNECT_TIMEOUT)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self._tls.wrap_socket(plain, server_side=True)
            keep = self._greet(connection)
        except MedveilError as e:
            log.warning("a connection was refused: %s", e)
            if connection is not None:
                with contextlib.suppress(OSError):
                    wire.send_json(connection, wire.error_message(e))
        except OSError as e:
            log.warning("a connection broke: %s", type(e).__name__)
        finally:
            self._slots.release()
            if not keep:
                with contextlib.suppress(OSError):
                    (connection or plain).close()

    def _greet(self, connection: ssl.SSLSocket) -> bool:
        """Sort a connection by its certificate; returns whether somebody else owns it now."""
        name, hello = wire.check_hello(connection, self.cluster)
        role = hello.get("role")
        if role in ("party", "cancel"):
            if name != f"party-{hello.get('party')}" or hello.get("party") == self.config.party:
                raise PolicyError(f"the certificate of {name!r} is not that of the party it claims to be")
            key = (str(hello.get("job")), str(hello.get("attempt")))
            wire.send_json(connection, {"ok": True})
            if role == "cancel":
                self._cancel(key, int(hello["party"]), str(hello.get("reason", ""))[:300])
                return False
            self._point.arrive(key, int(hello["party"]), connection)
            if int(hello["party"]) == 0:
                threading.Thread(target=self._follow, args=(key,), daemon=True).start()
            return True
        # No dot in an owner: it separates owner and name on the shelf.
        if role != "client" or not re.fullmatch(r"client-[A-Za-z0-9_-]{1,64}", name):
            raise PolicyError(
                f"the certificate of {name!r} may not act as a client: its common name must be client-NAME, NAME of "
                "letters, digits, dash and underscore"
            )
        wire.send_json(connection, {"ok": True, "party": self.config.party})
        connection.settimeout(_CLIENT_TIMEOUT)
        while self._answer(connection, name):
            pass
        return False

    # Clients ---------------------------------------------------------------------------------------------------

    def _answer(self, connection: ssl.SSLSocket, owner: str) -> bool:
        """Answer one request; returns whether the client may send another."""
        try:
            message = wire.receive_json(connection)
        except (ProtocolError, TimeoutError):
            return False
        handlers = {
            "put": self._put, "submit": self._submit, "status": self._status, "get": self._get,
            "describe": self._describe, "forget": self._forget,
        }  # fmt: skip
        handler = handlers.get(str(message.get("op")))
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
        entries = check_entries(message.get("entries"), self.config.max_upload_bytes)
        name = f"{owner}.{message.get('name')}"
        self.shelf.path(name)
        if message.get("bytes") != byte_count(entries):
            raise LimitError("the announced length does not fit the entries: nothing was read")
        wire.send_json(connection, {"ok": True})
        bundle = allocate(entries)
        for view in buffers(bundle):
            wire.receive_exactly(connection, view)
        self.shelf.put(name, bundle)
        wire.send_json(connection, {"ok": True})

    def _submit(self, connection: ssl.SSLSocket, owner: str, message: dict[str, Any]) -> None:
        request = JobRequest.from_message(message, owner)
        for name in request.inputs.values():
            if not self.shelf.path(f"{owner}.{name}").exists():
                raise PolicyError(f"the job reads {name}, which this client has not uploaded here")
        with self._arrived:
            known = self.jobs.get(request.job)
            if known is not None and known.request.owner != owner:
                raise PolicyError("this job belongs to another client")
            waiting = sum(j.state in ("queued", "running") for j in self.jobs.values())
            if known is not None and known.state in ("queued", "running"):
                raise PolicyError("this job is running already: wait for it")
            if waiting >= self.config.max_jobs:
                raise LimitError("this server's queue is full: retry later")
            job = Job(request, resume=bool(message.get("resume")))
            self.jobs[request.job] = job
            self._save_job(job)
            self._arrived.notify_all()
        if self.config.party == 0:
            self._queue.put(request.job)
        opened = reveals(request, weights=self.config.allow_reveal_weights)
        log.info("job %s accepted; can be opened: %s", request.job, "; ".join(opened))
        wire.send_json(connection, {"ok": True, "reveals": opened})

    def _own_job(self, owner: str, message: dict[str, Any]) -> Job:
        with self._lock:
            job = self.jobs.get(str(message.get("job")))
        if job is None or job.request.owner != owner:
            raise PolicyError("there is no such job of this client here")
        return job

    def _status(self, connection: ssl.SSLSocket, owner: str, message: dict[str, Any]) -> None:
        if message.get("job") is None:
            with self._lock:
                mine = {k: j.state for k, j in self.jobs.items() if j.request.owner == owner}
            wire.send_json(connection, {"ok": True, "jobs": mine})
            return
        job = self._own_job(owner, message)
        wire.send_json(connection, {"ok": True, "state": job.state, "failure": job.error, "progress": job.progress})

    def _describe(self, connection: ssl.SSLSocket, owner: str, message: dict[str, Any]) -> None:
        """Answer with a job's public request, so that its owner can come back to it from anywhere."""
        request = self._own_job(owner, message).request
        opened = reveals(request, weights=self.config.allow_reveal_weights)
        wire.send_json(connection, {"ok": True, "request": request.to_message(), "reveals": opened})

    def _get(self, connection: ssl.SSLSocket, owner: str, message: dict[str, Any]) -> None:
        job = self._own_job(owner, message)
        name = str(message.get("name"))
        if name != "result" and not (name.startswith("metrics") and name.removeprefix("metrics").isdigit()):
            raise PolicyError("a client can open a job's result and metrics only")
        if name == "result" and job.request.kind == "train" and not self.config.allow_reveal_weights:
            raise PolicyError(
                "this server's operator does not let trained weights be opened: predict with them instead"
            )
        bundle, _ = self.shelf.get(f"{job.request.job}.{name}")
        wire.send_json(connection, {"ok": True, "entries": describe(bundle)})
        for view in buffers(bundle):
            connection.sendall(view)

    def _forget(self, connection: ssl.SSLSocket, owner: str, message: dict[str, Any]) -> None:
        """Remove a finished job: its results, checkpoints and inputs; the weights that a prediction read stay."""
        request = self._own_job(owner, message).request
        with self._lock:
            if self.jobs[request.job].state in ("queued", "running"):
                raise PolicyError("this job is running: wait for it")
            del self.jobs[request.job]
        self._job_file(request.job).unlink(missing_ok=True)
        kept = ("weights",) if request.kind == "predict" else ()
        for name in self.shelf.names():
            if name.startswith(f"{request.job}.") or name == f"{owner}.{request.job}":
                self.shelf.remove(name)
        for key, name in request.inputs.items():
            if key not in kept:
                self.shelf.remove(f"{owner}.{name}")
        wire.send_json(connection, {"ok": True})

    # Jobs ------------------------------------------------------------------------------------------------------

    def _conduct(self) -> None:
        """Party 0: run the queue in order."""
        while True:
            name = self._queue.get()
            self._execute((name, secrets.token_hex(8)))

    def _follow(self, key: Key) -> None:
        """Parties 1 and 2: run the job that party 0 came to, once its client has submitted it here."""
        deadline = time.monotonic() + _JOB_WAIT
        with self._arrived:
            while key[0] not in self.jobs or self.jobs[key[0]].state not in ("queued", "running"):
                left = deadline - time.monotonic()
                if left <= 0:
                    log.warning("party 0 came to a job that no client submitted here")
                    return
                self._arrived.wait(left)
        self._execute(key)

    def _cancel(self, key: Key, sender: int, reason: str) -> None:
        failure = ProtocolError(f"party {sender} gave up the job: {reason}")
        self._point.cancel(key, str(failure))
        with self._lock:
            job = self.jobs.get(key[0])
            if job is not None and job.state == "queued":
                job.state, job.error = "failed", wire.error_message(failure)["error"]
                self._save_job(job)

    def _execute(self, key: Key) -> None:
        job = self.jobs[key[0]]
        with self._running:
            job.state, job.error = "running", {}
            try:
                self._run(job, key)
                job.state = "done"
            except MedveilError as e:
                job.state, job.error = "failed", wire.error_message(e)["error"]
                log.warning("job %s failed: %s", key[0], e)
            except (OSError, MemoryError, ValueError) as e:
                # The message of a foreign exception may quote data: only its kind is reported.
                problem = ProtocolError(f"party {self.config.party} failed with {type(e).__name__}: see its operator")
                job.state, job.error = "failed", wire.error_message(problem)["error"]
                log.warning("job %s failed with %s", key[0], type(e).__name__)
            with contextlib.suppress(OSError):
                self._save_job(job)

    def _run(self, job: Job, key: Key) -> None:
        transport = meet(self.cluster, self._point, self.config.party, key)
        try:
            session = Session.open(transport)
            resume = job.resume
            run_job(JobContext(session, self.shelf, job.request, job.progress.update, resume))
        except (MedveilError, OSError, MemoryError, ValueError) as e:
            with contextlib.suppress(ProtocolError):
                transport.abort(str(e) if isinstance(e, MedveilError) else type(e).__name__)
            raise
        finally:
            transport.close()


def main(path: Path) -> None:
    """Run the server of a configuration file until the process ends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    _tune_process()
    Party(load_party(path)).serve()


__all__ = ["Job", "Party", "certificates", "main"]
