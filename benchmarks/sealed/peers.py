"""medveil beside age, rclone crypt and restic: whole processes, in turn, on the same files and the same disk."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import run_command
from benchmarks.sealed.material import files, large

_PASSPHRASE = "measured, not kept"  # noqa: S105 - of keys that live as long as the measurement


@dataclass(frozen=True)
class Peer:
    """One program: how it protects everything under `given` into `kept`, and gives it back into `back`."""

    name: str
    protect: Callable[[Path, Path], None]
    restore: Callable[[Path, Path, Path], None]


def _medveil(*arguments: str | Path, env: dict[str, str]) -> None:
    run_command([sys.executable, "-m", "medveil", *map(str, arguments)], env=env)


def _ours(work: Path, threshold: str) -> Peer:
    (work / "passphrase").write_text(_PASSPHRASE)
    env = {"MEDVEIL_PASSPHRASE_FILE": str(work / "passphrase")}
    key = work / f"owner-{threshold.replace('/', '-')}.key"
    _medveil("keygen", "--out", key, env=env)

    def protect(given: Path, kept: Path) -> None:
        _medveil("protect", given, "--threshold", threshold, "--key", key, "--out", kept, env=env)

    def restore(_: Path, kept: Path, back: Path) -> None:
        _medveil("restore", kept, "--key", key, "--out", back, env=env)

    return Peer(f"medveil {threshold.replace('/', ' of ')}", protect, restore)


def _age(work: Path) -> Peer:
    run_command(["age-keygen", "-o", str(work / "age.key")])
    recipient = subprocess.run(
        ["age-keygen", "-y", str(work / "age.key")], capture_output=True, text=True, check=True
    ).stdout.strip()

    def protect(given: Path, kept: Path) -> None:
        for path in sorted(p for p in given.rglob("*") if p.is_file()):
            out = kept / path.relative_to(given)
            out.parent.mkdir(parents=True, exist_ok=True)
            run_command(["age", "-r", recipient, "-o", f"{out}.age", str(path)])

    def restore(given: Path, kept: Path, back: Path) -> None:
        for path in sorted(p for p in given.rglob("*") if p.is_file()):
            name = path.relative_to(given)
            (back / name).parent.mkdir(parents=True, exist_ok=True)
            run_command(["age", "-d", "-i", str(work / "age.key"), "-o", str(back / name), f"{kept / name}.age"])

    return Peer("age", protect, restore)


def _rclone(work: Path) -> Peer:
    hidden = subprocess.run(
        ["rclone", "obscure", "-"], input=_PASSPHRASE, capture_output=True, text=True, check=True
    ).stdout.strip()

    def remote(kept: Path) -> dict[str, str]:
        return {
            "RCLONE_CONFIG": str(work / "rclone.conf"),
            "RCLONE_CONFIG_SEALED_TYPE": "crypt",
            "RCLONE_CONFIG_SEALED_REMOTE": str(kept),
            "RCLONE_CONFIG_SEALED_PASSWORD": hidden,
        }

    def protect(given: Path, kept: Path) -> None:
        run_command(["rclone", "copy", "--ignore-times", str(given), "sealed:"], env=remote(kept))

    def restore(_: Path, kept: Path, back: Path) -> None:
        run_command(["rclone", "copy", "--ignore-times", "sealed:", str(back)], env=remote(kept))

    return Peer("rclone crypt", protect, restore)


def _restic(work: Path) -> Peer:
    def env(kept: Path) -> dict[str, str]:
        (work / "restic.pass").write_text(_PASSPHRASE)
        return {
            "RESTIC_REPOSITORY": str(kept / "repository"),
            "RESTIC_PASSWORD_FILE": str(work / "restic.pass"),
            "RESTIC_CACHE_DIR": str(work / "restic-cache"),
        }

    def protect(given: Path, kept: Path) -> None:
        run_command(["restic", "init"], env=env(kept))
        run_command(["restic", "backup", str(given)], env=env(kept))

    def restore(_: Path, kept: Path, back: Path) -> None:
        run_command(["restic", "restore", "latest", "--target", str(back)], env=env(kept))

    return Peer("restic", protect, restore)


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _once(peer: Peer, given: Path, work: Path) -> tuple[float, float, int]:
    kept, back = work / "kept", work / "back"
    for folder in (kept, back):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    if peer.name.startswith("medveil"):
        kept.rmdir()
        back.rmdir()
    start = time.perf_counter()
    peer.protect(given, kept)
    middle = time.perf_counter()
    stored = _size(kept)
    again = time.perf_counter()
    peer.restore(given, kept, back)
    end = time.perf_counter()
    if sum(1 for p in back.rglob("*") if p.is_file()) != sum(1 for p in given.rglob("*") if p.is_file()):
        raise RuntimeError(f"{peer.name} did not give every file back")
    return middle - start, end - again, stored


def compare(size: int = 100 << 20, runs: int = 3) -> str:
    """Return a table of seconds and stored bytes for one file of `size` bytes and for the DICOM zoo."""
    missing = [name for name in ("age", "rclone", "restic") if shutil.which(name) is None]
    lines = [f"Not installed here and left out: {', '.join(missing)}.\n"] if missing else []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        peers = [_ours(work, "2/3"), _ours(work, "1/1")]
        makers = {"age": _age, "rclone": _rclone, "restic": _restic}
        peers += [make(work) for name, make in makers.items() if name not in missing]
        for title, given in (("one file of 100 MiB", _one(work, size)), ("the DICOM zoo", _zoo(work))):
            total = _size(given)
            count = sum(1 for p in given.rglob("*") if p.is_file())
            lines += [
                f"**{title}** ({count} files, {total / 2**20:.0f} MiB)\n",
                "| program | protect, s | restore, s | stored/original |",
                "|---|---|---|---|",
            ]
            taken: dict[str, list[tuple[float, float, int]]] = {peer.name: [] for peer in peers}
            for turn in range(runs + 1):
                for peer in peers:
                    told = _once(peer, given, work)
                    if turn:
                        taken[peer.name].append(told)
            for name, rows in taken.items():
                seconds = [statistics.median(column) for column in list(zip(*rows, strict=True))[:2]]
                lines.append(f"| {name} | {seconds[0]:.2f} | {seconds[1]:.2f} | {rows[-1][2] / total:.3f} |")
            lines.append("")
    return "\n".join(lines)


def _one(work: Path, size: int) -> Path:
    folder = work / "one"
    folder.mkdir()
    large(size, folder / "large.bin")
    return folder


def _zoo(work: Path) -> Path:
    folder = work / "zoo"
    folder.mkdir()
    for number, path in enumerate(files()):
        target = folder / f"{number:03}-{path.name}"
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)
    return folder
