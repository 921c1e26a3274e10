"""Three processes of one program over loopback: TLS 1.3 as in production, or plain TCP as peers are measured."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.mpc import wan
from medveil.mpc import certificates
from medveil.mpc.local_servers import free_ports
from medveil.mpc.party import _tune_process
from medveil.mpc.session import ComparisonForm, Session
from medveil.mpc.transport.tcp import TcpTransport

Program = Callable[[Session], Any]


def _connect(party: int, ports: list[int], folder: str, hosts: list[str]) -> TcpTransport:
    server = socket.create_server((hosts[party], ports[party]))
    outgoing: dict[int, socket.socket] = {}
    incoming: dict[int, socket.socket] = {}

    def dial(other: int) -> None:
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                plain = socket.create_connection((hosts[other], ports[other]))
                break
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.sendall(bytes([party]))
        outgoing[other] = plain
        if folder:
            outgoing[other] = _tls(party, folder, server=False).wrap_socket(plain, server_hostname=f"party-{other}")

    dials = [threading.Thread(target=dial, args=(o,)) for o in range(3) if o != party]
    for thread in dials:
        thread.start()
    for _ in dials:
        plain, _ = server.accept()
        other = plain.recv(1)[0]
        incoming[other] = _tls(party, folder, server=True).wrap_socket(plain, server_side=True) if folder else plain
    for thread in dials:
        thread.join()
    server.close()
    return TcpTransport(party, outgoing, incoming, patience=120)


def _tls(party: int, folder: str, *, server: bool) -> Any:
    where = Path(folder)
    return certificates.context(
        server=server, ca=where / "ca.pem", certificate=where / f"party-{party}.pem", key=where / f"party-{party}.key"
    )


def _party(
    party: int, ports: list[int], folder: str, gate: str, form: ComparisonForm | None, program: Program, results: Any
) -> None:
    if gate:
        wan.enter(party, gate)
    _tune_process()
    transport = _connect(party, ports, folder, [wan.address(p) if gate else "127.0.0.1" for p in range(3)])
    session = Session.open(transport, comparison=form or "low_byte")
    if form is None:
        session.measure_link()  # as a server does before a job
    results.put((party, program(session)))
    transport.close()


def run(
    program: Program,
    *,
    tls: bool = True,
    over_wan: bool = False,
    form: ComparisonForm | None = None,
    timeout: float = 900,
) -> list[Any]:
    """Return program(session) of the three parties; `over_wan` puts the emulated network of `wan` between them."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    ports = free_ports()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        gate = stack.enter_context(wan.Network()).gate if over_wan else ""
        if tls:
            certificates.make_certificates(Path(folder), [f"party-{p}" for p in range(3)])
        processes = [
            context.Process(target=_party, args=(p, ports, folder if tls else "", gate, form, program, results))
            for p in range(3)
        ]
        for process in processes:
            process.start()
        found = sorted((results.get(timeout=timeout) for _ in processes), key=lambda x: x[0])
        for process in processes:
            process.join()
    return [value for _, value in found]
