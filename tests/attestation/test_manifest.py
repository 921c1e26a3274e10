"""The Gramine manifest: it renders to TOML and leaves nothing to the host. It was not run on SGX hardware."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import pytest

jinja2 = pytest.importorskip("jinja2", reason="renders the template as gramine-manifest would")


class Gramine:
    libos = "/usr/lib/gramine/libsysdb.so"

    def runtimedir(self) -> str:
        return "/usr/lib/gramine/runtime/glibc"


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    text = (files("medveil.attestation.providers") / "medveil-signer.manifest.template").read_text()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    return tomllib.loads(
        environment.from_string(text).render(
            gramine=Gramine(),
            python="/usr/bin/python3",
            python_path=["/usr/lib/python3.11", "/usr/lib/python311.zip"],
            site="/opt/medveil/site-packages",
            exchange="/srv/exchange",
            threshold="2/3",
            arch_libdir="/lib/x86_64-linux-gnu",
        )
    )


def test_the_enclave_is_not_for_debugging_and_can_be_attested(manifest: dict[str, Any]) -> None:
    assert manifest["sgx"]["debug"] is False
    assert manifest["sgx"]["remote_attestation"] == "dcap"


def test_nothing_comes_from_the_host(manifest: dict[str, Any]) -> None:
    def keys(value: Any, path: str = "") -> list[str]:
        if not isinstance(value, dict):
            return [path]
        return [found for name, inner in value.items() for found in keys(inner, f"{path}.{name}")]

    assert not [name for name in keys(manifest) if "insecure" in name]
    assert manifest["loader"]["argv"][:4] == ["python3", "-I", "-m", "medveil"]
    assert all(isinstance(value, str) for value in manifest["loader"]["env"].values())
    assert manifest["sgx"]["allowed_files"] == ["file:/srv/exchange/"]


def test_every_mounted_file_is_measured(manifest: dict[str, Any]) -> None:
    trusted = [entry.removeprefix("file:") for entry in manifest["sgx"]["trusted_files"]]
    for mount in manifest["fs"]["mounts"]:
        if mount.get("type") == "tmpfs" or mount["path"] == "/exchange":
            continue
        source = mount["uri"].removeprefix("file:")
        assert source in trusted or source + "/" in trusted, source
