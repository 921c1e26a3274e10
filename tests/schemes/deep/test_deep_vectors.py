"""Every vector of `deep-invertible`, held against the package and against the second implementation."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medveil import errors
from medveil.schemes import registry
from medveil.schemes.base import Secret
from medveil.schemes.deep import container
from medveil.schemes.deep.invertible import to_planes

FOLDER = Path(__file__).resolve().parents[3] / "vectors" / "deep"
VECTORS = sorted(FOLDER.glob("*.vector"))
KINDS = {"wrong-key": errors.WrongKeyError, "tampered": errors.TamperedError, "format": errors.FormatError}


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deep_reference", FOLDER / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(path: Path) -> dict[str, str]:
    return dict(
        line.split(": ", 1) if ": " in line else (line.rstrip(":"), "") for line in path.read_text().splitlines()
    )


def test_there_are_vectors() -> None:
    assert len(VECTORS) == 14


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_vector(path: Path, reference: ModuleType) -> None:
    vector = load(path)
    secret, part = base64.b64decode(vector["secret"]), base64.b64decode(vector["part"])
    own = Secret("deep-invertible", secret)
    if vector["expect"] != "restored":
        with pytest.raises(KINDS[vector["expect"]]):
            registry.restore([part], own)
        with pytest.raises(reference.Refused, match=vector["expect"]):
            reference.open_part(part, secret)
        return
    pixels = registry.restore([part], own).image.pixels  # type: ignore[union-attr]
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    assert hashlib.sha256(little).hexdigest() == vector["pixels"]
    assert reference.open_part(part, secret) == little
    opened = container.unpack_secret(own, "deep-invertible", "invertible")
    key = reference.layers_of(opened.key)
    planes = to_planes(pixels)
    again = [reference.encrypt_plane(p.tobytes(), *p.shape, key) for p in planes]
    assert b"".join(again) == container.codes_in(part)
