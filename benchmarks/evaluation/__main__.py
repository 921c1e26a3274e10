"""Publish a finished evaluation in docs/results and in the README.

    medveil evaluate --quick --data ../shared/data --out report
    python -m benchmarks.evaluation report
    python -m benchmarks.evaluation --sp800-22       # only time the fifteen tests over a million bits

Everything on the pages is written from report/results.json; nothing by hand.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from pathlib import Path
from typing import Any

from benchmarks.measure import machine, time_call
from medveil.evaluation import report, scorecard
from medveil.evaluation import results as records
from medveil.evaluation.charts import HEIGHT, WIDTH
from medveil.evaluation.results import Results
from medveil.evaluation.scorecard import Row, Verdict, number
from medveil.metrics.sp800_22 import battery, bits

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "results"
BEGIN, END = "<!-- scorecard: written by python -m benchmarks.evaluation -->", "<!-- end: scorecard -->"
_LARGEST = 6 << 20  # of a report that is committed

_TABLE = (
    ("MSE", "mse", 2), ("PSNR dB", "psnr", 1), ("SSIM", "ssim", 3), ("exact pixels", "pixels_exact", 3),
    ("stored kB", "stored_kb", 2), ("bits/pixel", "bits_per_pixel", 2), ("secret bytes", "secret_bytes", 0),
    ("protect ms", "protect_seconds", 2), ("restore ms", "restore_seconds", 2),
)  # fmt: skip

_FONT = 'font-family="system-ui, sans-serif" style="background:#fff" '
_LIGHT = {  # the report's light colours, for files that stand alone
    "ink": "#1d2733", "soft": "#66717d", "line": "#dfe4e9", "card": "#fff", "plain": "#1d2733", "better": "#0b6b50",
}  # fmt: skip

_ABOUT_TABLE = """MSE is the mean squared error (the paper's formula has a misplaced root); 100 dB stands for equal
pictures; stored kB are those of all parts; known plaintext is the PSNR of an adversary with so many pairs, beside that
of the mean picture.
"""


def machine_line(environment: dict[str, Any]) -> str:
    """Return what the figures depend on in a sentence."""
    packages = ", ".join(f"{k} {v}" for k, v in environment["packages"].items() if v)
    where = f"{environment['processor']}, {environment['cores']} cores, {environment['system']}"
    return f"On {where}, Python {environment['python']}; {packages}.\n"


def paper_table(results: Results, corpus: str) -> str:
    """Return paper 004's table over one corpus as Markdown."""
    head = ["scheme", *(h for h, _, _ in _TABLE), "known plaintext, 16 pairs", "64 pairs"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for subject in results.subjects:
        found = [r for r in results.of(subject, "reconstruction") if r.corpus == corpus and r.status == "done"]
        if not found:
            continue
        cells = []
        for _, name, digits in _TABLE:
            value = number(found[0].values.get(name))
            scaled = value * 1000 if value is not None and name.endswith("seconds") else value
            cells.append("-" if scaled is None else f"{scaled:,.{digits}f}")
        cells += [known(results, subject, corpus, pairs) for pairs in (16, 64)]
        lines.append("| " + " | ".join([subject, *cells]) + " |")
    return "\n".join(lines) + "\n"


def known(results: Results, subject: str, corpus: str, pairs: int) -> str:
    """Return the best PSNR that known plaintext reached with so many pairs, and what the mean picture gives."""
    best: tuple[float, float] | None = None
    for record in results.of(subject, "attacks", "known-plaintext"):
        if record.corpus != corpus or record.status != "done":
            continue
        for name, value in record.values.items():
            if name.startswith("psnr") and name.endswith(f" {pairs}") and isinstance(value, dict):
                reached = float(value["value"])
                if best is None or reached > best[0]:
                    best = (reached, float(value["chance"] or 0.0))
    return "-" if best is None else f"{best[0]:.1f} dB (mean {best[1]:.1f})"


def draw(results: Results, folder: Path) -> str:
    """Write the report's charts of leakage against utility as SVG files; return them as Markdown."""
    lines = []
    for place, chart in enumerate((c for c in report.charts_of(results) if "against utility" in c.title), start=1):
        svg = re.sub(r"var\(--(\w+)\)", lambda found: _LIGHT[found[1]], chart.svg)
        size = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        name = f"leakage-utility-{place}.svg"
        (folder / name).write_text(svg.replace("<svg ", size + _FONT, 1) + "\n", encoding="utf-8")
        key = "; ".join(f"{number_of} {label}" for number_of, label, _ in chart.legend)
        lines += [f"![{chart.title}]({name})\n", f"{chart.about} {key}.\n"]
    return "\n".join(lines)


def page(results: Results, rows: list[Row], *, report: bool, charts: str) -> str:
    """Return docs/results/README.md."""
    environment = results.environment
    false, missing = scorecard.false_claims(rows), scorecard.missing(rows)
    parts = [
        "# Results of `medveil evaluate`\n",
        f"Command: `{results.command}`, seed {results.plan['seed']}, finished {results.finished}.\n",
        machine_line(environment),
        "What a cell means and when it passes: [the evaluation](../evaluation.md#the-columns). All figures with "
        "intervals and seeds: [results.parquet](results.parquet)"
        + (", and the whole report with pictures: [report.html](report.html).\n" if report else ".\n"),
        "Written by `python -m benchmarks.evaluation`, nothing by hand.\n",
        "## Scorecard\n",
        scorecard.as_markdown(rows),
        "✓ holds, ✗ does not, ? was not measured. A failed cell is no fault where the scheme promises nothing.\n",
        "False claims: " + ("none." if not false else "") + "".join(f"\n- {line}" for line in false) + "\n",
        "Not measured: " + ("nothing." if not missing else "") + "".join(f"\n- {line}" for line in missing) + "\n",
        "## Leakage against utility\n",
        charts,
        "## Why each cell fails\n",
        why(rows),
    ]
    for corpus, facts in results.corpora.items():
        size = "x".join(str(v) for v in facts["size"])
        parts += [
            f"## Paper 004's table: {facts['title']}\n",
            f"{facts['source']}; {facts['images']} used, {size}, {facts['groups']} patients, `{facts['digest']}`.",
            _ABOUT_TABLE,
            paper_table(results, corpus),
        ]
    return "\n".join(parts)


def why(rows: list[Row]) -> str:
    """Return a list of the reasons of failed cells."""
    lines = []
    for row in rows:
        failed = [(name, cell) for name, cell in row.cells.items() if cell.verdict is Verdict.FAIL]
        if failed:
            lines.append(f"- **{row.subject}**: " + "; ".join(f"{name}: {cell.why}" for name, cell in failed))
    return "\n".join(lines) + "\n"


def sp800_22() -> str:
    """Time the fifteen tests over a million bits of the operating system."""
    held = bits.from_bytes(os.urandom(125_000))
    taken = time_call(lambda: battery.run(held), runs=5)
    return f"SP 800-22, fifteen tests over 1,000,000 bits: {taken.median:.2f} s ({taken.spread}) on {machine()}"


def put(text: str, path: Path) -> None:
    """Put a text between the marks of a page."""
    said = path.read_text(encoding="utf-8")
    if BEGIN not in said or END not in said:
        raise SystemExit(f"{path.name} has no marks for the scorecard")
    before, rest = said.split(BEGIN, 1)
    path.write_text(before + BEGIN + "\n\n" + text + "\n" + END + rest.split(END, 1)[1], encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="what medveil evaluate --out wrote")
    parser.add_argument("--sp800-22", action="store_true", dest="tests")
    given: Any = parser.parse_args()
    if given.tests:
        print(sp800_22())
        return
    if given.folder is None:
        parser.error("name the folder that medveil evaluate wrote")
    results = records.read(given.folder)
    rows = scorecard.build(results)
    whole = given.folder / "report.html"
    small = whole.is_file() and whole.stat().st_size <= _LARGEST
    FOLDER.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(given.folder / records.TABLE, FOLDER / records.TABLE)
    if small:
        shutil.copyfile(whole, FOLDER / "report.html")
    charts = draw(results, FOLDER)
    (FOLDER / "README.md").write_text(page(results, rows, report=small, charts=charts), encoding="utf-8")
    put(scorecard.as_markdown(rows), ROOT / "README.md")
    print(f"{len(rows)} rows; {len(scorecard.false_claims(rows))} false claims; {len(scorecard.missing(rows))} missing")


if __name__ == "__main__":
    main()
