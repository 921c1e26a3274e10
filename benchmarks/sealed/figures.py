"""One slice in memory, stored size on real DICOM, peak memory by size of the object, localisation, mutations."""

from __future__ import annotations

import csv
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tests.conftest import find_shared_data

from benchmarks.measure import time_in_turn
from benchmarks.sealed.material import files, large
from medveil.crypto.keyfile import OwnerKey
from medveil.errors import MedveilError
from medveil.imaging import samples
from medveil.imaging.image import MedicalImage
from medveil.imaging.reader import read, read_any
from medveil.schemes.sealed import Sealed

ROOT = Path(__file__).resolve().parents[2]


def one_slice(runs: int = 41) -> str:
    """Milliseconds to protect and restore one 512x512 16-bit CT slice, everything included, in memory."""
    shared = find_shared_data()
    path = shared / "dicom_zoo/pydicom_older_tests/693_UNCR.dcm" if shared else samples.path("ct-thorax.dcm")
    image = read(path)
    owner = OwnerKey.generate()
    lines = ["| threshold, codec | protect, ms | restore, ms |", "|---|---|---|"]
    for threshold, codec in (((2, 3), "archive"), ((2, 3), "ingest"), ((2, 3), "none"), ((2, 4), "archive")):
        scheme = Sealed(threshold=threshold, codec=codec, owner=owner)
        made = scheme.protect(image)
        taken = time_in_turn(
            {
                "protect": lambda s=scheme: s.protect(image),
                "restore": lambda s=scheme, m=made, k=threshold[0]: s.restore(m.parts[:k], m.secret),
            },
            runs=runs,
            warmup=3,
        )
        name = f"{threshold[0]} of {threshold[1]}, {codec}"
        cells = " | ".join(f"{1000 * t.median:.2f} ({1000 * min(t.seconds):.2f})" for t in taken.values())
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def stored_size() -> str:
    """Stored bytes of all parts over bytes of the file, 2 of 3, for real uncompressed 16-bit DICOM files and all."""
    shared = find_shared_data()
    if shared is None:
        return "The shared DICOM zoo is not here: not measured."
    with (shared / "dicom_zoo/manifest.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["decodes_here"] == "ok"]
    scheme = Sealed(threshold=(2, 3))
    chosen: dict[str, list[float]] = {}
    for row in rows:
        path = shared / "dicom_zoo" / row["path"]
        size = path.stat().st_size
        stored = sum(len(part.data) for part in scheme.protect(read_any(path)).parts)
        raw = "Little Endian" in row["transfer_syntax"] or "Big Endian" in row["transfer_syntax"]
        deep = row["bits_allocated"] == "16" and raw
        groups = ["every file that decodes", "uncompressed" if raw else "compressed already"]
        if deep:
            groups.append("16-bit, uncompressed")
            if size >= 256 * 1024:
                groups.append("16-bit, uncompressed, 256 KiB or more")
        for group in groups:
            chosen.setdefault(group, []).append(stored / size)
    lines = ["| files | number | median stored/original | least | largest |", "|---|---|---|---|---|"]
    for group, ratios in chosen.items():
        lines.append(
            f"| {group} | {len(ratios)} | {statistics.median(ratios):.3f} | {min(ratios):.3f} | {max(ratios):.2f} |"
        )
    return "\n".join(lines)


_PEAK = """
import sys
from pathlib import Path
from medveil.crypto.keyfile import OwnerKey
from medveil.schemes.sealed import SealOptions, seal
from medveil.schemes.sealed.source import FileSource
class Sink:
    def write(self, data): return len(data)
def seal_one(path):
    seal(FileSource(Path(path)), [Sink(), Sink(), Sink()], owner=OwnerKey.generate(),
         options=SealOptions((2, 3), codec=sys.argv[3]))
def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))
seal_one(sys.argv[1])  # everything imported, compiled and warm
Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
before = status("VmRSS")
seal_one(sys.argv[2])
print(status("VmHWM") - before, status("VmHWM"))
"""


def peak_memory(sizes: tuple[int, ...] = (16 << 20, 128 << 20, 1 << 30)) -> str:
    """Peak resident memory while sealing one file, above what the warm process held before, and in all."""
    lines = ["| object | codec | peak above the warm process, MiB | in all, MiB |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        small = large(4 << 20, Path(folder) / "small.bin")
        for size in sizes:
            path = large(size, Path(folder) / "large.bin")
            for codec in ("none", "archive"):
                command = [sys.executable, "-c", _PEAK, str(small), str(path), codec]
                told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                above, whole = (int(word) / 1024 for word in told)
                lines.append(f"| {size >> 20} MiB | {codec} | {above:.0f} | {whole:.0f} |")
    return "\n".join(lines)


def localisation(tries: int = 400) -> str:
    """Change pixels of real images that come back another way: every changed tile is named, and no other."""
    rng = np.random.default_rng(2)
    images = [image for path in files() if isinstance(image := _quiet(path), MedicalImage)]
    images = [image for image in images if image.pixels.dtype.kind in "ui" and image.pixels.size < 1 << 21]
    exact = missed = false = tried = 0
    scheme = Sealed(threshold=(2, 3))
    for number in range(tries):
        image = images[number % len(images)]
        made = scheme.protect(image)
        pixels = image.pixels.copy()
        expected = np.zeros(pixels.shape[:3], np.bool_)
        for _ in range(int(rng.integers(1, 6))):
            frame, row, column = (int(rng.integers(side)) for side in pixels.shape[:3])
            pixels[frame, row, column] ^= 1
            expected[frame, row // 64 * 64 : row // 64 * 64 + 64, column // 64 * 64 : column // 64 * 64 + 64] = True
        changed = MedicalImage(pixels, image.bits_stored, image.photometric)
        if np.array_equal(pixels, image.pixels):
            continue  # a pixel was changed twice
        tried += 1
        drawn = scheme.compare(changed, made.parts[:2], made.secret).tamper_map
        touched = np.zeros_like(expected) if drawn is None else drawn.touched
        missed += bool((expected & ~touched).any())
        false += bool((touched & ~expected).any())
        exact += bool(np.array_equal(touched, expected))
    told = f"{exact} exact, {missed} missed a tile, {false} named one too many"
    return f"{tried} images of {len(images)} kinds changed in 1 to 5 pixels: {told}."


def _quiet(path: Path) -> object:
    try:
        return read_any(path)
    except MedveilError:
        return None


def mutations(number: int) -> str:
    """Run the tests of random mutation with more tries, and say what they tried."""
    command = [sys.executable, "-m", "pytest", "-q", "--timeout", "0", "tests/schemes/sealed/test_sealed_mutations.py"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "MEDVEIL_MUTATIONS": str(number)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = re.search(r"\d+ passed.*", done.stdout)
    if done.returncode or told is None:
        raise RuntimeError(done.stdout[-2000:])
    return f"{number:,} mutated part sets, restored and verified: 0 wrong outputs, 0 crashes, 0 hangs."
