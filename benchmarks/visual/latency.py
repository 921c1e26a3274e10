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
from medveil.attestation.proof import attest_statement
from medveil.attestation.statement import report_data, share_digest
from medveil.schemes.visual import carriers, halftone, sharing
from medveil.schemes.visual.signing import Plan

RUNS = 21
SIZES = ((128, 128), (256, 256), (512, 512), (786, 512))
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
            with self._server.wrap_socket(connection, server_side=True) as secure:
                left = int.from_bytes(secure.recv(8), "big")
                while left > 0:
                    left -= len(secure.recv(min(left, 1 << 16)))
                secure.sendall(b"k")

    def send(self, data: bytes) -> None:
        raw = socket.create_connection(self._listener.getsockname())
        with self._client.wrap_socket(raw, server_hostname="localhost") as secure:
            secure.sendall(len(data).to_bytes(8, "big"))
            secure.sendall(data)
            assert secure.recv(1) == b"k"


def figures() -> None:
    rgb = crop()
    signer, quoting, key, plain = (
        session_signer(),
        provider(),
        rsa.generate_private_key(65537, 3072),
        Ed25519PrivateKey.generate(),
    )
    sink = TlsSink()
    print(f"Figures 2 and 3, milliseconds, median of {RUNS}; 'quote' is simulated")
    for columns, rows in SIZES:
        picture = np.ascontiguousarray(rgb[:rows, :columns])
        raw = picture.tobytes()
        plane = sharing.pack(halftone.halftone(picture))
        plan = Plan(k=2, n=2, rows=rows, columns=columns, channels=3, halftone="floyd-steinberg",
                    made_at=signer.session.not_before + 1, pairing=bytes(16))  # fmt: skip

        def deal(picture: np.ndarray = picture) -> None:
            bits = halftone.halftone(picture)
            for share in sharing.share(bits, 2, 2):
                carriers.pixels_of(share, bits.shape, b"")

        def hybrid(raw: bytes = raw) -> None:
            secret, nonce = os.urandom(32), os.urandom(12)
            key.public_key().encrypt(secret, OAEP)
            AESGCM(secret).encrypt(nonce, raw, None)

        def both_ends(raw: bytes = raw) -> None:
            secret, nonce = os.urandom(32), os.urandom(12)
            wrapped = key.public_key().encrypt(secret, OAEP)
            sealed = AESGCM(secret).encrypt(nonce, raw, None)
            AESGCM(key.decrypt(wrapped, OAEP)).decrypt(nonce, sealed, None)

        def quote(plane: np.ndarray = plane, plan: Plan = plan) -> None:
            statement = plan.statement(1, plane)
            attest_statement(statement, quoting.evidence(report_data(statement.encode())))

        calls = {
            "sign the digest, Ed25519": lambda plane=plane, c=columns, r=rows: plain.sign(
                share_digest(c, r, 3, plane.tobytes())
            ),
            "sign the statement, session key": lambda plane=plane, plan=plan: signer.sign(plan.statement(1, plane)),
            "quote the statement (simulated)": quote,
            "share (2,2): halftone, grids, pixels": deal,
            "AES-256-GCM": lambda raw=raw: AESGCM(bytes(32)).encrypt(os.urandom(12), raw, None),
            "RSA-3072-OAEP + AES-256-GCM, encrypt": hybrid,
            "RSA-3072-OAEP + AES-256-GCM, both ends": both_ends,
            "TLS 1.3 loopback, handshake and transfer": lambda raw=raw: sink.send(raw),
        }
        print(f"  {columns} x {rows} RGB")
        for name, timing in time_in_turn(calls, runs=RUNS, warmup=2).items():
            print(f"    {name:44} {1e3 * timing.median:8.3f}")
