"""A small evaluation that several tests look at, with a third party's scheme from a real installed distribution."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medveil.evaluation import plan as plans
from medveil.evaluation import run as running
from medveil.evaluation.results import Results

ACME = '''
"""A third party's scheme. It loses each sample's lowest bit and claims that it is lossless."""
from dataclasses import replace
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from medveil.evaluation.floors import AesGcm
from medveil.schemes.base import Part, Protected, Restored, Secret

class AcmeVault(AesGcm):
    """Encrypts, and rounds on the way back."""
    name = "acme-vault"
    variants = {"fast": {}, "thorough": {}}

    def restore(self, parts, secret):
        image = super().restore(parts, secret).image
        return Restored(replace(image, pixels=image.pixels >> 1 << 1))

class AcmeChained(AesGcm):
    """AES-CBC under one key with a fixed nonce: from the first block that differs on, everything does; none before."""
    name = "acme-chained"

    def protect(self, image, *, roi=()):
        data = image.pixels.tobytes()
        cbc = Cipher(algorithms.AES(bytes(32)), modes.CBC(bytes(16))).encryptor()
        return Protected((Part(1, cbc.update(data + bytes(-len(data) % 16)) + cbc.finalize()),), Secret(self.name, b""))

class AcmeBroken(AesGcm):
    """Has a bug."""
    name = "acme-broken"

    def restore(self, parts, secret):
        raise ZeroDivisionError("a bug")
'''


@dataclass(frozen=True)
class Finished:
    """A finished evaluation and the folder it lies in."""

    results: Results
    folder: Path
    plan: plans.Plan


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed distribution, as pip would leave it: a module, and metadata with entry points."""
    site = tmp_path_factory.mktemp("site-packages")
    (site / "acme_vault.py").write_text(textwrap.dedent(ACME))
    meta = site / "acme_vault-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-vault\nVersion: 1.0\n")
    classes = {"acme-vault": "AcmeVault", "acme-chained": "AcmeChained", "acme-broken": "AcmeBroken"}
    points = "".join(f"{name} = acme_vault:{cls}\n" for name, cls in classes.items())
    (meta / "entry_points.txt").write_text(f"[medveil.schemes]\n{points}")
    (meta / "RECORD").write_text("")
    return site


@contextmanager
def installed(site: Path) -> Iterator[None]:
    """Put the distribution on the path of this process and of those it starts, and take it away again."""
    before = os.environ.get("PYTHONPATH", "")
    sys.path.insert(0, str(site))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(site), before])
    try:
        yield
    finally:
        sys.path.remove(str(site))
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def acme(site: Path) -> Iterator[Path]:
    """Have the third party's distribution installed for one test."""
    with installed(site):
        yield site


def small(**changes: Any) -> dict[str, Any]:
    """A plan of seconds over the package's own pictures."""
    return {
        "title": "a small evaluation",
        "seed": 5,
        "workers": 2,
        "corpora": [{"name": "chest-xray", "title": "Chest X-rays", "size": 64, "images": 60}],
        "schemes": [
            {"scheme": "aes-256-gcm"},
            {"scheme": "acme-vault"},
            {"scheme": "roi-watermark", "label": "roi-watermark paper", "options": {"profile": "paper"}},
        ],
        "metrics": ["reconstruction", "speed", "tampering", "secrecy", "attacks"],
        "attacks": ["linkage", "leading-bit", "shared-region"],
        "effort": {
            "images": 6,
            "gallery": 40,
            "tampers": 6,
            "keys": 4,
            "known": [8],
        },
    } | changes


@pytest.fixture(scope="session")
def finished(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Run the small plan once for all tests."""
    folder = tmp_path_factory.mktemp("evaluation") / "report"
    command = "medveil evaluate --plan small.toml --out report"
    with installed(site):
        chosen = plans.parse(small())
        return Finished(running.run(chosen, folder, command=command), folder, chosen)
