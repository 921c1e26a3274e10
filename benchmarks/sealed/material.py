"""The real files that are measured: the shared DICOM zoo, or the package's samples where it is absent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.conftest import find_shared_data

from medveil.imaging import samples


def files() -> list[Path]:
    """Every file of the DICOM zoo, or the package's samples."""
    shared = find_shared_data()
    folder = shared / "dicom_zoo" if shared else Path(samples.__file__).parent
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix not in {".py", ".md", ".txt", ".csv"})


def large(size: int, out: Path) -> Path:
    """Write `size` bytes of real files, one after the other and again, to `out`."""
    with out.open("wb") as handle:
        for data in _forever():
            piece = data[: size - handle.tell()]
            handle.write(piece)
            if handle.tell() == size:
                return out
    raise RuntimeError("there are no files to measure with")


def _forever() -> Iterator[bytes]:
    held = [path.read_bytes() for path in files()]
    while any(held):
        yield from held
