"""Control messages between a client and a party, and the hello that opens every connection.

    "MVC1" | length 4 | JSON | payload

The JSON says what the payload is; its size is bounded and checked before anything is allocated.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from typing import Any

from medveil import errors
from medveil.errors import ConfigError, MedveilError, ProtocolError
from medveil.mpc import certificates
from medveil.mpc.cluster import Cluster

VERSION = 1
_MAGIC = b"MVC1"
_MAX_JSON = 8 << 20
CONNECT_TIMEOUT = 4.0


def send_json(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send one control message."""
    text = json.dumps(message).encode()
    connection.sendall(_MAGIC + len(text).to_bytes(4, "big") + text)


def receive_exactly(connection: socket.socket, target: memoryview) -> None:
    """Fill a buffer; refuses a connection that ends early."""
    while target:
        count = connection.recv_into(target)
        if count == 0:
            raise ProtocolError("the other side closed the connection in the middle of a message")
        target = target[count:]


def receive_json(connection: socket.socket) -> dict[str, Any]:
    """Return one control message.

    Raises:
        ProtocolError: the bytes are not one, or it is too large.
    """
    start = bytearray(8)
    receive_exactly(connection, memoryview(start))
    length = int.from_bytes(start[4:], "big")
    if start[:4] != _MAGIC or length > _MAX_JSON:
        raise ProtocolError("these bytes are not a control message of this program: check address and version")
    text = bytearray(length)
    receive_exactly(connection, memoryview(text))
    try:
        message = json.loads(text)
    except ValueError as e:
        raise ProtocolError("a control message is not JSON: the other side runs another program") from e
    if not isinstance(message, dict):
        raise ProtocolError("a control message is not an object: the other side runs another program")
    return message


def error_message(error: MedveilError) -> dict[str, Any]:
    """Return an error as a control message."""
    return {"error": {"type": type(error).__name__, "message": str(error)}}


def raise_error(message: dict[str, Any]) -> None:
    """Raise the error that a control message carries, if it carries one."""
    error = message.get("error")
    if not isinstance(error, dict):
        return
    kind = getattr(errors, str(error.get("type", "")), ProtocolError)
    if not (isinstance(kind, type) and issubclass(kind, MedveilError)) or kind is errors.MissingExtraError:
        kind = ProtocolError
    raise kind(str(error.get("message", "the server gave no reason"))[:2000])


def dial(cluster: Cluster, party: int, hello: dict[str, Any], timeout: float = CONNECT_TIMEOUT) -> ssl.SSLSocket:
    """Return a TLS connection to a party whose certificate is that party's, after an accepted hello.

    Raises:
        ProtocolError: the party cannot be reached, shows another certificate or refuses.
        ConfigError: it belongs to another cluster or runs another version.
    """
    host, port = cluster.address(party)
    connection = None
    try:
        plain = socket.create_connection((host, port), timeout=timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = cluster.tls.context(server=False).wrap_socket(plain, server_hostname=f"party-{party}")
        send_json(connection, {"version": VERSION, "cluster": cluster.identity, **hello})
        raise_error(receive_json(connection))
    except ssl.SSLError as e:
        _close(connection)
        raise ProtocolError(
            f"party {party} at {host}:{port} failed the TLS handshake ({e.reason or type(e).__name__}): "
            "its certificate or ours is not of this cluster"
        ) from e
    except OSError as e:
        _close(connection)
        raise ProtocolError(
            f"party {party} at {host}:{port} cannot be reached ({e.strerror or type(e).__name__}): start it, then retry"
        ) from e
    except MedveilError:
        _close(connection)
        raise
    return connection


def _close(connection: socket.socket | None) -> None:
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.close()


def check_hello(connection: ssl.SSLSocket, cluster: Cluster) -> tuple[str, dict[str, Any]]:
    """Return the certificate's name and the hello of a connection that was just accepted.

    Raises:
        ConfigError: the other side is of another cluster or version.
        ProtocolError: it sent something else.
    """
    hello = receive_json(connection)
    if hello.get("version") != VERSION:
        raise ConfigError(f"this server speaks version {VERSION}, not {hello.get('version')!r}: update the older side")
    if hello.get("cluster") != cluster.identity:
        raise ConfigError("this server belongs to another cluster: check the name and the authority in the file")
    return certificates.common_name(connection), hello
