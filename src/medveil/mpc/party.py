"""A long-running server: takes shares and jobs from clients, runs the jobs with the two other servers.

Party 0 decides the order of the jobs; the others start one when party 0 comes to it, so two clients at once
cannot make the servers wait for each other. Every connection is TLS 1.3 with both certificates; a client sees only
what it uploaded and its own jobs' results.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import queue
import re
import secrets
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from medveil.errors import ConfigError, MedveilError, PolicyError, ProtocolError
from medveil.mpc import wire
from medveil.mpc.cluster import PartyConfig, load_party
from medveil.mpc.desk import Desk
from medveil.mpc.jobs import JobContext, run_job
from medveil.mpc.ledger import Job, Ledger
from medveil.mpc.meeting import Key, MeetingPoint, meet
from medveil.mpc.session import Session
from medveil.mpc.shelf import Shelf
from medveil.mpc.warm import compile_kernels

log = logging.getLogger("medveil.mpc.party")
_CLIENT_TIMEOUT = 30.0
_JOB_WAIT = 6.0
_MAX_CONNECTIONS = 128
_POLL = 0.25
# Whatever a job breaks on ends that job, not the server.
FOREIGN = (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)


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
        self._ledger = Ledger(config.state, config.max_jobs)
        self._desk = Desk(config, self.shelf, self._ledger, self._enqueue)
        self._point = MeetingPoint()
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

    def __repr__(self) -> str:
        return f"Party({self.config.party})"

    @property
    def address(self) -> str:
        """Return the host:port that it listens on."""
        host, port = self._socket.getsockname()[:2]
        return f"{host}:{port}"

    def serve(self) -> None:
        """Accept connections until `close`."""
        if self.config.party == 0:
            threading.Thread(target=self._conduct, name="conductor", daemon=True).start()
        log.info("party %d is ready", self.config.party)
        self._socket.settimeout(_POLL)
        while True:
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:  # a signal that another thread was given is seen at the next turn
                continue
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
        self._point.discard()

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
                threading.Thread(target=self._execute, args=(key, _JOB_WAIT), daemon=True).start()
            return True
        # No dot in an owner: it separates owner and name on the shelf.
        if role != "client" or not re.fullmatch(r"client-[A-Za-z0-9_-]{1,64}", name):
            raise PolicyError(
                f"the certificate of {name!r} may not act as a client: its common name must be client-NAME, NAME of "
                "letters, digits, dash and underscore"
            )
        wire.send_json(connection, {"ok": True, "party": self.config.party})
        connection.settimeout(_CLIENT_TIMEOUT)
        while self._desk.answer(connection, name):
            pass
        return False

    def _enqueue(self, name: str) -> None:
        if self.config.party == 0:
            self._queue.put(name)

    def _conduct(self) -> None:
        """Party 0: run the queue in order."""
        while True:
            self._execute((self._queue.get(), secrets.token_hex(8)))

    def _cancel(self, key: Key, sender: int, reason: str) -> None:
        failure = ProtocolError(f"party {sender} gave up the job: {reason}")
        self._point.cancel(key, str(failure))
        if self.config.party:  # what waits at party 0 has no attempt yet that another party could give up
            self._ledger.give_up(key[0], wire.error_message(failure)["error"])

    def _execute(self, key: Key, wait: float = 0.0) -> None:
        """Run the job that party 0 came to, once its client has submitted it here."""
        with self._running:
            job = self._ledger.begin(key[0], wait, lambda: self._point.given_up(key))
            if job is None:
                log.warning("party 0 came to a job that waits for nothing here, or that no client submitted here")
                self._point.discard(key)
                return
            problem: MedveilError | None = None
            try:
                self._run(job, key)
            except MedveilError as e:
                problem = e
            except FOREIGN as e:
                # The message of a foreign exception may quote data: only its kind is reported.
                problem = ProtocolError(f"party {self.config.party} failed with {type(e).__name__}: see its operator")
            if problem is not None:
                log.warning("job %s failed: %s", key[0], problem)
            self._ledger.end(job, wire.error_message(problem)["error"] if problem else None)

    def _run(self, job: Job, key: Key) -> None:
        transport = meet(self.cluster, self._point, self.config.party, key)
        try:
            session = Session.open(transport)
            run_job(JobContext(session, self.shelf, job.request, job.progress.update, job.resume))
        except (MedveilError, *FOREIGN) as e:
            with contextlib.suppress(ProtocolError):
                transport.abort(str(e) if isinstance(e, MedveilError) else type(e).__name__)
            raise
        finally:
            transport.close()


def main(path: Path, ready: Callable[[int, str], None] | None = None) -> None:
    """Run the server of a configuration file until the process is interrupted or told to terminate.

    Args:
        path: party.toml.
        ready: is told the party's number and its host:port once it listens.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    _tune_process()
    config = load_party(path)
    compile_kernels()
    server = Party(config)
    for number in (signal.SIGINT, signal.SIGTERM):  # set here, as a shell starts background jobs deaf to the first
        signal.signal(number, lambda _number, _frame: server.close())
    if ready is not None:
        ready(server.config.party, server.address)
    server.serve()
    log.info("party %d stopped; unfinished jobs can be resumed", server.config.party)
