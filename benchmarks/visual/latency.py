"""Paper 000's Figures 2 and 3: plain against attested signing, and sharing against encryption and transfer.

There is no SGX here: "attested" is a quote made by the simulated provider, so the cost of entering an enclave and of
Intel's quoting enclave is not in it. TLS 1.3 runs over loopback in two threads with a self-signed certificate.
"""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID

from benchmarks.measure import time_in_turn
from benchmarks.visual.material import crop, provider, session_signer
from benchmarks.visual.speed import table
from medveil.attestation.proof import attest_statement
from medveil.attestation.statement import report_data, share_digest
from medveil.schemes.visual import carriers, frame, halftone, sharing
from medveil.schemes.visual.envelope import Envelope
from medveil.schemes.visual.signing import Plan

RUNS = 21
SIZES = ((128, 128), (256, 256), (512, 512), (512, 786))
"""(rows, columns)."""
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class TlsSink:
    """A TLS 1.3 server on loopback that takes one message a connection and answers one byte."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        made = made.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
        certificate = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        pem = certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        pem_key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "server.pem"
            path.write_bytes(pem_key + pem)
            path.chmod(0o600)
            self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._server.load_cert_chain(path)
        self._client = ssl.create_default_context(cadata=pem.decode())
        for context in (self._server, self._client):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._server.wrap_socket(connection, server_side=True) as secure:
                left = int.from_bytes(secure.recv(8), "big")
                while left > 0:
                    left -= len(secure.recv(min(left, 1 << 16)))
                secure.sendall(b"k")

    def send(self, data: bytes) -> None:
        raw = socket.create_connection(self._listener.getsockname())
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else waiting for acknowledgements is measured
        with self._client.wrap_socket(raw, server_hostname="localhost") as secure:
            secure.sendall(len(data).to_bytes(8, "big"))
            secure.sendall(data)
            assert secure.recv(1) == b"k"


def deal(picture: np.ndarray) -> None:
    bits = halftone.halftone(picture)
    for share in sharing.share(bits, 2, 2):
        carriers.pixels_of(share, bits.shape, b"")


def figure_2(folder: Path) -> str:
    """Plain against attested signing of one share's statement, at several sizes."""
    signer, quoting, plain = session_signer(), provider(), Ed25519PrivateKey.generate()
    series: dict[str, list[float]] = {}
    for rows, columns in SIZES:
        picture = sized(rows, columns)
        plane = sharing.pack(halftone.halftone(picture))
        plan = Plan(k=2, n=2, rows=rows, columns=columns, channels=3, halftone="floyd-steinberg",
                    made_at=signer.session.not_before + 1, pairing=bytes(16))  # fmt: skip

        def digest(plane: np.ndarray = plane, size: tuple[int, int] = (rows, columns)) -> bytes:
            return share_digest(size[1], size[0], 3, plane.tobytes())

        def quote(plane: np.ndarray = plane, plan: Plan = plan) -> None:
            statement = plan.statement(1, plane)
            attest_statement(statement, quoting.evidence(report_data(statement.encode())))

        calls: dict[str, Callable[[], object]] = {
            "plain: Ed25519 over the digest": lambda digest=digest: plain.sign(digest()),
            "attested, open session: COSE over the statement": lambda plane=plane, plan=plan: signer.sign(
                plan.statement(1, plane)
            ),
            "attested, a quote a share (simulated)": quote,
            "opening a session (simulated), once": session_signer,
        }
        _collect(series, calls)
    _plot(folder / "figure-2.png", series, "Signing one share")
    return (
        f"**Figure 2**, signing one RGB share, milliseconds of processor time, median of {RUNS}. The quotes are "
        "simulated: what entering an enclave and the vendor's quoting enclave cost is **not** in them; no SGX machine "
        "was at hand.\n\n" + _table(series) + f"\n\n![latency of signing]({folder.name}/figure-2.png)"
    )


def figure_3(folder: Path) -> str:
    """Sharing and signing against encryption and transfer, at several sizes."""
    signer, key = session_signer(), rsa.generate_private_key(65537, 3072)
    sink = TlsSink()
    series: dict[str, list[float]] = {}
    for rows, columns in SIZES:
        picture = sized(rows, columns)
        raw = picture.tobytes()

        def both(picture: np.ndarray = picture) -> None:
            bits = halftone.halftone(picture)
            planes = sharing.share(bits, 2, 2)
            plan = Plan(k=2, n=2, rows=bits.shape[0], columns=bits.shape[1], channels=3, halftone="floyd-steinberg",
                        made_at=signer.session.not_before + 1, pairing=bytes(16))  # fmt: skip
            for i, plane in enumerate(planes):
                framed = frame.write(Envelope(signer.sign(plan.statement(i + 1, plane))).encode(), bits.size)
                carriers.pixels_of(plane, bits.shape, framed)

        def encrypt(raw: bytes = raw) -> tuple[bytes, bytes, bytes]:
            secret, nonce = os.urandom(32), os.urandom(12)
            return key.public_key().encrypt(secret, OAEP), nonce, AESGCM(secret).encrypt(nonce, raw, None)

        def both_ends(encrypt: Callable[[], tuple[bytes, bytes, bytes]] = encrypt) -> None:
            wrapped, nonce, sealed = encrypt()
            AESGCM(key.decrypt(wrapped, OAEP)).decrypt(nonce, sealed, None)

        calls: dict[str, Callable[[], object]] = {
            "two shares, no proof": lambda picture=picture: deal(picture),
            "two shares, attested by an open session": both,
            "AES-256-GCM": lambda raw=raw: AESGCM(bytes(32)).encrypt(os.urandom(12), raw, None),
            "RSA-3072-OAEP + AES-256-GCM, sender": encrypt,
            "RSA-3072-OAEP + AES-256-GCM, both ends": both_ends,
            "TLS 1.3 loopback, handshake and transfer": lambda raw=raw: sink.send(raw),
        }
        _collect(series, calls)
    _plot(folder / "figure-3.png", series, "Sharing, encrypting, sending one image")
    return (
        f"**Figure 3**, one RGB image, milliseconds of processor time, median of {RUNS}. TLS is a new connection over "
        "loopback with ECDSA P-256; the work of both ends is counted, waiting is not.\n\n"
        + _table(series)
        + f"\n\n![latency of sharing and encryption]({folder.name}/figure-3.png)\n\n"
        "The paper has its approach faster than RSA and TLS. With AES-GCM for the picture and RSA for its key only, "
        "encrypting is the faster one. What sharing buys is not speed but that there is no key to keep."
    )


def sized(rows: int, columns: int) -> np.ndarray:
    return np.ascontiguousarray(crop()[:rows, :columns])


def _collect(series: dict[str, list[float]], calls: dict[str, Callable[[], object]]) -> None:
    for name, timing in time_in_turn(calls, runs=RUNS, warmup=3, clock=time.process_time).items():
        series.setdefault(name, []).append(1e3 * timing.median)


def _table(series: dict[str, list[float]]) -> str:
    head = "| | " + " | ".join(f"{columns} x {rows}" for rows, columns in SIZES) + " |"
    return table(head, [f"| {name} | {' | '.join(f'{v:.2f}' for v in values)} |" for name, values in series.items()])


def _plot(path: Path, series: dict[str, list[float]], title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
    at = [3 * rows * columns / 1e6 for rows, columns in SIZES]
    for name, values in series.items():
        axes.plot(at, values, marker="o", label=name)
    axes.set(xlabel="million samples", ylabel="milliseconds of processor time", title=title, yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
