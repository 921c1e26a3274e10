"""The gateway's configuration: what is taken, and what is refused with the reason."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

import pytest

from medveil.errors import ConfigError, PolicyError
from medveil.gateway.access import Access, UnknownClientError, hash_token, new_token
from medveil.gateway.config import ClientTable, load_config

GOOD = """
[dicom]
port = 11112
[web]
[[client]]
name = "ct"
ae_title = "CT1"
may = ["store"]
"""


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return load_config(path)


def test_takes_a_small_one_and_makes_paths_absolute(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD + '[gateway]\nvault = "v.toml"\nstate = "/var/lib/x"\n')
    assert config.gateway.vault == tmp_path / "v.toml"  # type: ignore[attr-defined]
    assert config.gateway.state == Path("/var/lib/x")  # type: ignore[attr-defined]


BAD = {
    "nothing": ("", "listens nowhere"),
    "no client": ("[dicom]\n", "nobody may use it"),
    "an unknown key": (GOOD + "[queue]\nsize = 3\n", "queue.size"),
    "an unknown table": (GOOD + "[gatway]\n", "gatway"),
    "no TOML": ("[[", "not valid TOML"),
    "another's machine without TLS": (GOOD.replace("[web]", '[web]\nbind = "0.0.0.0"'), "unencrypted"),
    "a certificate without a key": (GOOD.replace("[web]", '[web]\ncertificate = "c"'), "belong together"),
    "client_ca without TLS": (GOOD.replace("[web]", '[web]\nclient_ca = "c"'), "asks for TLS"),
    "no address": (GOOD.replace("[web]", '[web]\nbind = "localhost"'), "address of an interface"),
    "an AE title that is none": (GOOD.replace("CT1", "A" * 17), "ae_title"),
    "an AE title with a backslash": (GOOD.replace("CT1", "A\\\\B"), "ae_title"),
    "a reader without a recipient": (GOOD.replace("store", "query"), "recipient"),
    "a recipient that sees everything": (
        GOOD.replace('may = ["store"]', 'may = ["query"]\nrecipient = "r"\nall_studies = true'), "recipient"),
    "known by nothing": (GOOD.replace('ae_title = "CT1"\n', ""), "known by nothing"),
    "a right that is none": (GOOD.replace("store", "delete"), "may"),
    "two of one name": (GOOD + '[[client]]\nname = "ct"\nae_title = "X"\nmay = ["store"]\n', "two clients"),
    "a token in clear": (GOOD + 'token_sha256 = "secret"\n', "token_sha256"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_refuses(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_secret_in_a_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD + 'token_sha256 = "hunter2-hunter2"\n')
    assert "hunter2" not in str(caught.value)


def client(**fields: object) -> ClientTable:
    return ClientTable.model_validate({"name": "one", "may": ["store"], **fields})


def test_tokens() -> None:
    token = new_token()
    assert len(token) == 64
    access = Access([client(token_sha256=hash_token(token), expires=datetime.date(2030, 1, 1))])
    assert access.by_token(token, today=datetime.date(2029, 12, 31)).name == "one"
    for wrong, today in ((token[:-1], None), ("", None), ("\ud800", None), (token, datetime.date(2030, 1, 1))):
        with pytest.raises(UnknownClientError):
            access.by_token(wrong, today=today)


def test_certificates_and_titles() -> None:
    certificate = b"any DER bytes"
    fingerprint = hashlib.sha256(certificate).hexdigest()
    access = Access(
        [
            client(ae_title="CT1", address="10.1.2.0/24", certificate=fingerprint),
            client(name="two", ae_title="WS", address="10.0.0.1"),
            client(name="three", token_sha256="0" * 64),
        ]
    )
    assert access.by_certificate(certificate).name == "one"
    assert access.by_title("CT1 ", "10.1.2.77", certificate).name == "one"
    assert access.by_title("WS", "10.0.0.1", None).name == "two"
    for title, address, shown in (
        ("CT1", "10.1.2.3", None),
        ("CT1", "10.9.2.3", certificate),
        ("CT2", "10.1.2.3", certificate),
        ("WS", "10.0.0.2", None),
        ("WS", "no address", None),
        ("", "10.0.0.1", None),
        ("three", "10.0.0.1", None),
    ):
        with pytest.raises(UnknownClientError):
            access.by_title(title, address, shown)
    with pytest.raises(UnknownClientError):
        access.by_certificate(b"another")


def test_rights() -> None:
    one = Access([client(ae_title="CT1")]).by_title("CT1", "127.0.0.1", None)
    one.need("store")
    with pytest.raises(PolicyError, match="may not query"):
        one.need("query")
