"""nginx with its WebDAV modules, over TLS with a certificate of its own and a password: a real WebDAV server."""

from __future__ import annotations

import contextlib
import datetime
import getpass
import grp
import ipaddress
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.integration.servers.process import Server, free_ports, need_programs, running

PACKAGES = "nginx libnginx-mod-http-dav-ext"
MODULE = Path("/usr/lib/nginx/modules/ngx_http_dav_ext_module.so")

_CONFIG = """
load_module {module};
{user_line}
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 128; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/temp/body;
    proxy_temp_path {folder}/temp/proxy;
    fastcgi_temp_path {folder}/temp/fastcgi;
    uwsgi_temp_path {folder}/temp/uwsgi;
    scgi_temp_path {folder}/temp/scgi;
    client_max_body_size 64m;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.key;
        root {folder}/served;
        auth_basic medveil;
        auth_basic_user_file {folder}/users;
        location /vault/ {{
            dav_methods PUT DELETE MKCOL COPY MOVE;
            dav_ext_methods PROPFIND OPTIONS;
        }}
        location /moved/ {{ return 307 https://127.0.0.1:{port}/vault/; }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running server, who may use it, and the certificate to trust."""

    url: str
    user: str
    password: str = field(repr=False)
    ca_file: Path
    root: Path
    access_log: Path


@contextlib.contextmanager
def run_nginx(folder: Path) -> Iterator[Nginx]:
    """Run nginx in `folder`; skips the test where it or its module is not installed."""
    program = need_programs(PACKAGES, "nginx")["nginx"]
    if not MODULE.exists():
        pytest.skip(f"needs {MODULE.name}: apt-get install --no-install-recommends {PACKAGES}")
    folder.chmod(0o755)
    (folder / "served" / "vault").mkdir(parents=True)
    (folder / "temp").mkdir()
    password = secrets.token_urlsafe(18)
    (folder / "users").write_text(f"medveil:{{PLAIN}}{password}\n")
    _write_certificates(folder)
    (port,) = free_ports(1)
    as_root = os.geteuid() == 0
    user_line = f"user {getpass.getuser()} {grp.getgrgid(os.getegid()).gr_name};" if as_root else ""
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(module=MODULE, user_line=user_line, folder=folder, port=port))
    command = [program, "-c", str(config), "-p", str(folder), "-e", str(folder / "error.log")]
    with running(Server(command, port, folder / "output.log")):
        yield Nginx(
            f"https://127.0.0.1:{port}/vault/",
            "medveil",
            password,
            folder / "ca.pem",
            folder / "served" / "vault",
            folder / "access.log",
        )


def _write_certificates(folder: Path) -> None:
    """Write an authority (ca.pem) and a certificate that it signed for the loopback address."""
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "medveil test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "medveil test server")])
    now = datetime.datetime.now(datetime.UTC)

    def build(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        )

    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False
    )  # fmt: skip
    root = (
        build(issuer, authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
        .sign(authority, hashes.SHA256())
    )
    leaf = (
        build(subject, server)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **usage), critical=True
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(authority, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (folder / "server.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    key = folder / "server.key"
    key.touch(mode=0o600)
    key.write_bytes(server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """A WebDAV server."""
    with run_nginx(tmp_path_factory.mktemp("nginx")) as started:
        yield started
