"""`python -m benchmarks.mpc.report FOLDER` turns the JSON results of a folder into the tables of docs/mpc.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_OURS, _TLS, _OPERATIONS, _WAN = (
    "ours, plain TCP", "ours, TLS 1.3", "ours, operations, plain TCP", "ours, WAN, TLS 1.3",
)  # fmt: skip
_SPU, _SPU_WAN = "SPU (ABY3), plain TCP", "SPU (ABY3), WAN, plain TCP"


def _cell(figure: dict[str, Any] | None) -> str:
    if not figure or "seconds" not in figure:
        return "-"
    cpu = figure.get("CPU seconds, three parties")
    sent = figure.get("bytes_a_party")
    text = f"{figure['seconds']:.3g} s"
    text += "" if cpu is None else f" ({cpu:.2g} s)"
    return text + ("" if sent is None else f", {sent / 1e6:.3g} MB")


def speeds(result: dict[str, Any]) -> str:
    """Return times, CPU seconds and bytes, ours beside SPU's."""
    lines = ["| job | ours, plain TCP | ours, TLS 1.3 | rounds | SPU 0.9.5 | SPU's CPU over ours |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    ours = {**result.get(_OURS, {}), **result.get(_OPERATIONS, {})}
    for job, figure in ours.items():
        peer = result.get(_SPU, {}).get(job)
        ratio = "-"
        if peer and "CPU seconds, three parties" in peer:
            ratio = f"{peer['CPU seconds, three parties'] / figure['CPU seconds, three parties']:.3g}"
        secure = _cell(result.get(_TLS, {}).get(job)).split(",")[0]
        lines.append(f"| {job} | {_cell(figure)} | {secure} | {figure['rounds']} | {_cell(peer)} | {ratio} |")
    return "\n".join(lines)


def wide_area(result: dict[str, Any]) -> str:
    """Return the figures over the emulated WAN."""
    lines = ["| job over the WAN | ours, TLS 1.3 | rounds | SPU 0.9.5, plain TCP |", "|---|---|---|---|"]
    for job, figure in result.get(_WAN, {}).items():
        peer = _cell(result.get(_SPU_WAN, {}).get(job))
        lines.append(f"| {job} | {_cell(figure)} | {figure['rounds']} | {peer} |")
    return "\n".join(lines)


def paper(folder: Path) -> str:
    """Return the accuracies and the client's work of the paper's experiment."""
    names = ("data", "images (train, test)", "test accuracy, private", "plain", "points apart", "same prediction",
             "client's CPU", "plain training's CPU", "client sent")  # fmt: skip
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for path in sorted(folder.glob("*.json")):
        r = json.loads(path.read_text())
        if "test predictions that agree" not in r:
            continue
        client, alone = r["client's own seconds (CPU), private"], r["plain training, seconds (CPU)"]
        private, plain = r["test accuracy, private"], r["test accuracy, plain"]
        lines.append(
            f"| {path.stem} | {r['train images']}, {r['test images']} | {private:.3f} | {plain:.3f} | "
            f"{100 * abs(private - plain):.1f} | {r['test predictions that agree']} of {r['test images']} | "
            f"{client:.2g} s | {alone:.2g} s | "
            f"{r['bytes the client sent'] / 1e6:.0f} MB |"
        )
    return "\n".join(lines)


def layers(rows: list[dict[str, Any]]) -> str:
    """Return the communication of one prediction by layer (the paper's table 3)."""
    lines = ["| layer | outputs | rounds | bytes, all parties: measured | derived |", "|---|---|---|---|---|"]
    lines += [f"| {r['layer']} | {r['outputs']} | {r['rounds']} | {r['measured']} | {r['derived']} |" for r in rows]
    return "\n".join(lines)


def main() -> None:
    folder = Path(sys.argv[1])
    result = json.loads((folder / "benchmark.json").read_text())
    tables = [
        speeds(result),
        wide_area(result),
        paper(folder),
        layers(json.loads((folder / "layers.json").read_text())),
    ]
    sys.stdout.write("\n\n".join(tables) + "\n")


if __name__ == "__main__":
    main()
