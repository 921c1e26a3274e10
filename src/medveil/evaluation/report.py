"""The report: one HTML file with every picture and chart inside, which loads nothing from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from medveil.errors import MissingExtraError
from medveil.evaluation import charts, measures
from medveil.evaluation.charts import Bar, Point
from medveil.evaluation.results import Record, Results
from medveil.evaluation.scorecard import COLUMNS, Row, Verdict, false_claims, missing, number, rate

_ATTACK_PICTURES: Final = 3
_TABLE: Final = (  # of paper 004: heading, figure, digits
    ("MSE", "mse", 2),
    ("RMSE", "rmse", 2),
    ("as printed", "mse_as_printed_in_paper_004", 3),
    ("PSNR dB", "psnr", 1),
    ("SSIM", "ssim", 3),
    ("MS-SSIM", "ms_ssim", 3),
    ("exact", "pixels_exact", 3),
    ("stored kB", "stored_kb", 2),
    ("bits/pixel", "bits_per_pixel", 2),
    ("secret bytes", "secret_bytes", 0),
    ("protect ms", "protect_seconds", 1),
    ("restore ms", "restore_seconds", 1),
)


@dataclass(slots=True)
class Chart:
    """A chart with its legend: rows of (number or swatch, label, words)."""

    title: str
    about: str
    svg: str
    legend: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Picture:
    """A picture as a data URI, with words under it; state colours its frame: "", "good", "bad"."""

    uri: str
    title: str
    words: str = ""
    state: str = ""
    wide: bool = False


def render(results: Results, rows: Sequence[Row], folder: Path) -> str:
    """Return the report. folder: where ``evidence/`` lies. Raises MissingExtraError without jinja2."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise MissingExtraError("the report", "evaluate") from None
    environment = Environment(
        loader=PackageLoader("medveil.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    return environment.get_template("report.html.j2").render(
        results=results,
        rows=rows,
        columns=COLUMNS,
        Verdict=Verdict,
        false_claims=false_claims(list(rows)),
        missing=missing(list(rows)),
        summary=summary(rows),
        charts=charts_of(results),
        tables=[(name, _table(results, name)) for name in results.corpora],
        table_heads=[*(head for head, _, _ in _TABLE), *(f"{n} pairs, dB" for n in _known_counts(results))],
        gallery=[(row, _pictures(results, row.subject, folder)) for row in rows],
        details=[(row, _details(results, row.subject)) for row in rows],
        measures=[measures.load(name) for name in measures.names()],
        colour=charts.colour,
    )


def summary(rows: Sequence[Row]) -> dict[str, int]:
    """Return what the head of the report counts."""
    cells = [cell for row in rows for cell in row.cells.values()]
    whole = [
        row
        for row in rows
        if all(row.cells[name].verdict is Verdict.PASS for name in ("known plaintext", "unlinkable", "one part"))
    ]
    return {
        "rows": len(rows),
        "columns": len(COLUMNS),
        "passed": sum(c.verdict is Verdict.PASS for c in cells),
        "failed": sum(c.verdict is Verdict.FAIL for c in cells),
        "missing": sum(c.verdict is Verdict.MISSING for c in cells),
        "unbroken": len(whole),
        "false": sum(not c.agrees for c in cells),
    }


def figure(value: Any, digits: int = 4) -> str:
    """Return a figure as a person reads it: intervals with their ends, numbers with so many digits."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        said = figure(value.get("value"), digits)
        if value.get("low") is not None and value.get("low") != value.get("high"):
            said += f" [{figure(value['low'], digits)}, {figure(value['high'], digits)}]"
        if value.get("chance") is not None:
            said += f", chance {figure(value['chance'], digits)}"
        return said
    if isinstance(value, float):
        return f"{value:.{digits}g}" if value and (abs(value) < 1e-3 or abs(value) >= 1e5) else f"{value:.{digits}f}"
    return str(value)


def _attack_records(results: Results, subject: str, corpus: str | None = None) -> list[Record]:
    return [r for r in results.of(subject, "attacks") if r.status == "done" and (corpus is None or r.corpus == corpus)]


def _leak(results: Results, subject: str, corpus: str, name: str) -> tuple[float, float] | None:
    """Return the best score that any attack reached, scaled to 0..1, and the score itself.

    An attack that tries several ways (known plaintext from so many pairs) counts with its best one where it broke the
    scheme; where it did not, its figures are those of the mean picture, which anybody has.
    """
    best: tuple[float, float] | None = None
    for record in _attack_records(results, subject, corpus):
        broken = record.values.get("broken")
        for key, said in record.values.items():
            counts = key == name or (key.startswith(f"{name} ") and not key.endswith("of the owner") and broken is True)
            if counts and broken is not None and isinstance(said, Mapping) and said.get("value") is not None:
                value = float(said["value"])
                if best is None or value > best[1]:
                    best = (min(1.0, max(0.0, value)), value)
    return best


def charts_of(results: Results) -> list[Chart]:
    """Return the charts: leakage against utility and ROC for each corpus, and cost."""
    found = []
    for corpus, facts in results.corpora.items():
        for name, words in (("ssim", "best reconstruction, SSIM"), ("top1", "found in a gallery, top-1")):
            chart = _trade_off(results, corpus, name, words, str(facts["title"]))
            if chart is not None:
                found.append(chart)
        roc = _roc(results, corpus, str(facts["title"]))
        if roc is not None:
            found.append(roc)
    cost = _cost(results)
    return [*found, cost] if cost else found


def _trade_off(results: Results, corpus: str, name: str, words: str, title: str) -> Chart | None:
    points: list[Point] = []
    legend: list[tuple[str, str, str]] = []
    for subject in ["plain", *results.subjects]:
        utility = [r for r in results.of(subject, "utility") if r.corpus == corpus and r.status == "done"]
        leak = (1.0, 1.0) if subject == "plain" else _leak(results, subject, corpus, name)
        if not utility or leak is None:
            continue
        f1 = number(utility[0].values["f1_macro"]) or 0.0
        place = len(points) + 1
        points.append(Point(place, subject, leak[0], f1))
        legend.append((str(place), subject, f"{leak[1]:.2f}, F1 {f1:.2f}"))
    if len(points) < 2:
        return None
    about = (
        f"{title}. Across: what the best attack got ({words}). Up: macro F1 of a small network trained on what the "
        "cloud sees. Up and left is better; nothing stays there that still looks like its images to a network."
    )
    svg = charts.scatter(points, words, "macro F1", f"Leakage against utility, {title}", "hides, and can be learnt")
    return Chart(f"Leakage against utility: {words.split(',')[0]}", about, svg, legend)


def _roc(results: Results, corpus: str, title: str) -> Chart | None:
    curves, legend, seen = [], [], dict[str, int]()
    for subject in ["plain", *results.subjects]:
        for r in results.of(subject, "utility"):
            if r.corpus == corpus and r.curves.get("roc"):
                curves.append((subject, r.curves["roc"]))
                count = seen[charts.colour(subject)] = seen.get(charts.colour(subject), -1) + 1
                area = number(r.values.get("auc"))
                legend.append((charts.swatch(subject, count), subject, "" if area is None else f"AUC {area:.2f}"))
    if not curves:
        return None
    svg = charts.lines(curves, "false positive rate", "true positive rate", f"ROC, {title}")
    about = f"{title}: classes told apart by a small network trained on each scheme's parts. The dotted line is chance."
    return Chart("ROC of what the cloud can learn", about, svg, legend)


def _cost(results: Results) -> Chart | None:
    found = []
    for subject in results.subjects:
        for r in results.of(subject, "speed"):
            if r.status == "done":
                ways = [number(r.values.get(f"{way}_mb_per_s")) for way in ("protect", "restore")]
                slower = min(way for way in ways if way is not None)
                stored = number(r.values.get("stored_over_original")) or 0.0
                found.append(Bar(subject, slower, f"{rate(slower)} MB/s, stores {stored:.2f} x"))
    if not found:
        return None
    about = (
        "Megabytes of pixels a second on one core, the slower of protecting and restoring, and bytes stored in all "
        "places for each byte of pixels."
    )
    return Chart("Cost", about, charts.bars(found, "MB/s, one core", "Cost"))


def _table(results: Results, corpus: str) -> list[dict[str, Any]]:
    """Return paper 004's table over one corpus: figures, and what known plaintext got, by pairs."""
    rows = []
    for subject in results.subjects:
        record = next((r for r in results.of(subject, "reconstruction") if r.corpus == corpus), None)
        if record is None or record.status != "done":
            continue
        cells = []
        for _, name, digits in _TABLE:
            value = number(record.values.get(name))
            scaled = value * 1000 if value is not None and name.endswith("_seconds") else value
            cells.append("-" if scaled is None else f"{scaled:,.{digits}f}")
        pairs = [_reached(results, subject, corpus, count) for count in _known_counts(results)]
        cells = [*cells, *pairs]
        rows.append({"subject": subject, "key": record.key, "cells": cells, "known": _known(results, subject, corpus)})
    return rows


def _known_counts(results: Results) -> list[int]:
    return [int(count) for count in results.plan["effort"]["known"]]


def _reached(results: Results, subject: str, corpus: str, pairs: int) -> str:
    """Return the best PSNR in dB that any learner of known plaintext reached with so many pairs."""
    scores = [
        number(value)
        for r in results.of(subject, "attacks", "known-plaintext")
        if r.corpus == corpus and r.status == "done"
        for name, value in r.values.items()
        if name.startswith("psnr") and name.endswith(f" {pairs}")
    ]
    return f"{max(s for s in scores if s is not None):.1f}" if any(s is not None for s in scores) else "-"


def _known(results: Results, subject: str, corpus: str) -> str:
    """Return what the attacks with known pairs got, in a few words."""
    from medveil.attacks import registry

    said = []
    for r in _attack_records(results, subject, corpus):
        if r.detail in registry.names() and "known" in registry.load(r.detail).needs:
            said.append(("broken: " if r.values.get("broken") else "") + r.note)
    return "; ".join(said) or "-"


def _uri(folder: Path, file: str) -> str | None:
    path = folder / "evidence" / file
    if not path.is_file():
        return None
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _pictures(results: Results, subject: str, folder: Path) -> list[tuple[str, list[Picture]]]:
    """Return for each corpus a strip: original, parts, best attacks, restored."""
    strips = []
    for corpus, facts in results.corpora.items():
        shown: list[Picture] = []
        held = [r for r in results.of(subject, "reconstruction") if r.corpus == corpus]
        names = held[0].pictures if held else {}
        for name in sorted(names, key=lambda n: (n != "original", n == "restored", n)):
            uri = _uri(folder, names[name])
            if uri and name != "restored":
                title = name if name == "original" else f"{name.replace('-', ' ')}: what a cloud sees"
                shown.append(Picture(uri, title))
        shown += _attack_pictures(results, subject, corpus, folder)
        if "restored" in names and (uri := _uri(folder, names["restored"])):
            exact = number(held[0].values.get("exact_images")) == 1
            psnr = number(held[0].values.get("psnr"))
            words = "exact" if exact else f"{psnr:.1f} dB" if psnr is not None else ""
            shown.append(Picture(uri, "restored by its owner", words, "good" if exact else ""))
        elif held and held[0].values.get("one_way"):
            shown.append(Picture("", "never restored", "one-way by design"))
        if shown:
            strips.append((str(facts["title"]), shown))
    return strips


def _attack_pictures(results: Results, subject: str, corpus: str, folder: Path) -> list[Picture]:
    """Return pictures of the attacks that got most, the strongest first."""
    from medveil.attacks import registry

    def strength(r: Record) -> tuple[bool, float]:
        return bool(r.values.get("broken")), number(r.values.get("ssim")) or number(r.values.get("top1")) or 0.0

    found = []
    for r in sorted(_attack_records(results, subject, corpus), key=strength, reverse=True):
        for file in list(r.pictures.values())[:1]:
            uri = _uri(folder, file)
            title = registry.load(r.detail).title if r.detail in registry.names() else r.detail
            if uri:
                found.append(
                    Picture(uri, f"attacked: {title}", r.note, "bad" if r.values.get("broken") else "", wide=True)
                )
    return found[:_ATTACK_PICTURES]


def _details(results: Results, subject: str) -> list[Record]:
    return [r for r in results.records if r.subject == subject]
