"""The face of the package: few names, all working, quick to import, no optional package loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import medveil as mv

EXTRAS = (
    "c2pa", "cv2", "dcap_qvl", "dicomanonymizer", "dicomweb_client", "highdicom", "matplotlib", "monai", "nibabel",
    "obstore", "paramiko", "psycopg", "pyarrow", "pynetdicom", "pypdfium2",
    "ray", "reportlab", "scipy", "sklearn", "torch", "torchmetrics", "webdav4",
)  # fmt: skip


def test_names_are_pinned() -> None:
    assert mv.__all__ == [
        "Finding",
        "MedicalImage",
        "MedveilError",
        "OwnerKey",
        "Rectangle",
        "Vault",
        "mpc",
        "protect",
        "read",
        "restore",
        "verify",
    ]
    assert len(mv.__all__) <= 12


@pytest.mark.parametrize("name", mv.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    assert getattr(mv, name).__doc__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mv.nothing  # type: ignore[attr-defined]


def _loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize(
    "statement",
    [
        "import medveil",
        "import medveil.cli.main",
        "import medveil as mv\nfor name in mv.__all__: getattr(mv, name)",
        "import medveil as mv\nmv.mpc.connect, mv.mpc.local",
    ],
)
def test_import_loads_no_extra(statement: str) -> None:
    assert _loaded_by(statement).isdisjoint(EXTRAS)


def test_import_alone_loads_next_to_nothing() -> None:
    heavy = {"numpy", "numba", "pydicom", "imagecodecs", "cryptography", "rich", "typer", "pydantic"}
    assert _loaded_by("import medveil").isdisjoint(heavy)


def test_the_import_contract_names_every_scheme() -> None:
    root = Path(__file__).resolve().parents[1]
    contract = (root / ".importlinter").read_text(encoding="utf-8")
    for room in (root / "src/medveil/schemes").iterdir():
        if (room / "__init__.py").is_file():
            assert f"    medveil.schemes.{room.name}\n" in contract
