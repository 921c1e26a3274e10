"""Leakage against utility: what a network learns from each condition, beside what two kinds of attack take from it.

Utility is the macro F1 that Table 3's quick plan recorded; leakage is measured here, on the very pictures that the
plan trains on. Cells that are not recorded yet show as such, and running this again fills them in.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learnable.images import Set
from benchmarks.learnable.leakage import material, run
from benchmarks.pages import write as write_section
from medveil.attacks.base import Score
from medveil.crypto.prg import allow_insecure_randomness
from medveil.errors import UnsupportedError
from medveil.recognition import curves, plans
from medveil.recognition.datasets import Dataset, load

PLAN = "paper-001-table-3-quick"
SECTION = "leakage-utility"
LOOKED_AT, SEARCHED, CANDIDATES = 24, 120, 480  # pictures reconstructed, pictures looked for, and among how many
OTHERS = ("tanaka", "ele", "etc", "patchwise")  # schemes of which the plan trains nothing
LOOKS = ("leading-bit", "minimum-difference", "tanaka-known-plaintext", "patchwise-known-plaintext", "jigsaw")


@dataclass(frozen=True, slots=True)
class Row:
    """One condition: its recorded F1 (mean and spread over folds, None where there is none), and what it leaks."""

    name: str
    scheme: str | None
    side: int  # pixels a side at which pictures are encrypted and attacked
    f1: float | None
    spread: float | None
    linkage: dict[str, float]
    ssim: dict[str, float]
    attack: str  # the one that reached this SSIM


def write(data: Path, _work: Path, page: Path, kept: Path) -> None:
    """Measure the leakage of every condition, and write the chart, its numbers and the section of the page."""
    record = json.loads((kept / f"{PLAN}.json").read_text(encoding="utf-8"))
    plan = plans.read(PLAN)
    said = (
        f"{SEARCHED} pictures are looked for among {CANDIDATES} of their set, {LOOKED_AT} are reconstructed; in "
        "brackets, 95 % over patients or clusters. Keys are seeded. Pictures are encrypted in three channels, at the "
        "size at which the plan encrypts: 256 x 256 for M > 1, 64 x 64 for the others."
    )
    sections, numbers = [said], {}
    for source in plan.data:
        rows = _rows(plan, record, source.name, data)
        picture = f"{SECTION}-{source.name}.png"
        curves.write_figure(kept / picture, _figure(source.name, rows))
        sections.append(f"![{_title(source.name)}: F1 against linkage and SSIM](results/recognition/{picture})")
        sections.append(_table(source.name, rows))
        numbers[source.name] = [asdict(row) for row in rows]
    (kept / f"{SECTION}.json").write_text(json.dumps(numbers, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(text := "\n\n".join(sections))
    write_section(page, SECTION, text)


def _rows(plan: plans.Plan, record: dict[str, Any], name: str, data: Path) -> list[Row]:
    source = plan.named_data(name)
    recorded = {cell["column"]: cell for cell in record["cells"] if cell["row"] == name}
    sets: dict[int, Set] = {}
    rows = []
    for said, scheme, side, options in _conditions(plan, source.size):
        cell = recorded.get(said)
        f1, spread = (None, None) if cell is None else (cell["f1_macro"]["mean"], cell["f1_macro"]["sd"])
        if side not in sets:
            sets[side] = _pictures(source, side, plan.seed, data)
        whole, ssim, attack = {"value": 1.0, "low": 1.0, "high": 1.0}, {"value": 1.0, "low": 1.0, "high": 1.0}, "none"
        if scheme is not None:
            with allow_insecure_randomness("experiment"):  # keys of the experiment are seeded
                found, looks, attack = _leaks(scheme, options, sets[side])
            whole, ssim = _numbers(found), _numbers(looks)
        rows.append(Row(said, scheme, side, f1, spread, whole, ssim, attack))
    return rows


def _conditions(plan: plans.Plan, size: int) -> list[tuple[str, str | None, int, dict[str, Any]]]:
    """Return (the table's column, scheme, side in pixels, options), plain first; schemes that are not trained last."""
    found: list[tuple[str, str | None, int, dict[str, Any]]] = []
    for condition in plan.condition:
        column = "plain" if condition.scheme is None else f"M = {condition.options.get('block', 1)}"
        scheme = condition.scheme and condition.scheme.removeprefix("learnable-")
        found.append((column, scheme, condition.source_size or size, dict(condition.options)))
    return [*found, *((name, name, size, {"grey": "three"}) for name in OTHERS)]


def _pictures(source: plans.Data, side: int, seed: int, data: Path) -> Set:
    """Return the pictures of the plan, at that size, in one order for all sizes, classes mixed."""
    found: Dataset = load(data / source.path, side, source.mode, split=source.split)
    if source.subset is not None:
        found = found.subset(source.subset, seed)
    order = np.random.default_rng(seed).permutation(len(found))
    taken = [int(i) for i in order]
    return Set(
        [found.images[i, ..., 0] for i in taken], [found.groups[i] for i in taken], [found.names[i] for i in taken]
    )


def _first(images: Set, count: int, start: int = 0) -> Set:
    part = slice(start, start + count)
    return Set(images.pictures[part], images.groups[part], images.names[part])


def _leaks(scheme: str, options: dict[str, Any], images: Set) -> tuple[Score, Score, str]:
    """Return linkage's top-1, the best SSIM of the attacks that apply, and which attack reached it."""
    gallery = _first(images, CANDIDATES)
    linked = run("linkage", material(scheme, _first(images, SEARCHED), gallery, options=options))
    known = images.pictures[CANDIDATES : CANDIDATES + 4]
    found = material(scheme, _first(images, LOOKED_AT), options=options, known=known)
    best: tuple[Score, str] | None = None
    for attack in LOOKS:
        try:
            result = run(attack, found)
        except UnsupportedError:
            continue  # another scheme's attack
        if best is None or result.scores["ssim"].value > best[0].value:
            best = result.scores["ssim"], attack
    if best is None:
        raise SystemExit(f"no attack applies to {scheme}")
    return linked.scores["top1"], *best


def _numbers(score: Score) -> dict[str, float]:
    return {"value": score.value, "low": score.low, "high": score.high, "chance": score.chance or 0.0}


def _title(name: str) -> str:
    return {"brain": "Brain MR", "chest": "Chest X-ray"}.get(name, name)


def _label(row: Row) -> str:
    return f"{row.name} (SKK)" if row.scheme == "skk" else row.name


def _table(name: str, rows: list[Row]) -> str:
    lines = [
        f"| {_title(name)} | macro F1, ± over folds | found among candidates, top-1 | best SSIM (chance) | by |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        f1 = "not recorded" if row.f1 is None else f"{row.f1:.3f} ± {row.spread:.3f}"
        linked, ssim = (f"{s['value']:.3f} [{s['low']:.3f}, {s['high']:.3f}]" for s in (row.linkage, row.ssim))
        if row.scheme is None:
            lines.append(f"| {_label(row)} | {f1} | 1 | 1 | in clear |")
        else:
            lines.append(f"| {_label(row)} | {f1} | {linked} | {ssim} ({row.ssim['chance']:.3f}) | {row.attack} |")
    return "\n".join(lines)


def _figure(name: str, rows: list[Row]) -> Any:
    """Draw F1 over each kind of leakage; below, by name, the leakage of conditions without a recorded F1."""
    trained = sorted((row for row in rows if row.f1 is not None), key=lambda row: -(row.f1 or 0.0))
    others = [row for row in rows if row.f1 is None]
    heights = [3.6, 0.3 + 0.2 * len(others)]
    figure, axes = curves.pyplot().subplots(
        2, 2, figsize=(11, sum(heights) + 0.9), sharex=True, sharey="row", layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    words = {
        "linkage": "who it is: found among the candidates, top-1",
        "ssim": "what it looks like: best SSIM of our attacks",
    }
    for column, (field, across) in enumerate(words.items()):
        above, below = axes[0][column], axes[1][column]
        taken: list[tuple[float, float]] = []
        for row in trained:
            colour = "black" if row.scheme is None else "tab:orange"
            _point(above, getattr(row, field), row.f1 or 0.0, row.spread, colour)
            _name(above, _label(row), (getattr(row, field)["value"], row.f1 or 0.0), taken, colour)
        for place, row in enumerate(others):
            _point(below, getattr(row, field), place, None, "tab:gray")
        above.set(title=across, ylabel="" if column else "macro F1 of the small CNN")
        above.annotate("better", (0.02, 0.98), xycoords="axes fraction", va="top", color="tab:green")
        below.set(ylim=(len(others) - 0.4, -0.6), xlim=(-0.03, 1.28), ylabel="" if column else "no F1 recorded")
        below.set_yticks(range(len(others)), [_label(row) for row in others], fontsize=8)
        below.set_xticks(np.linspace(0, 1, 6))
        for axis in (above, below):
            axis.grid(alpha=0.3)
    figure.suptitle(f"{_title(name)}: utility against leakage; | is what chance reaches, lines are 95 % and folds")
    return figure


def _point(axis: Any, score: dict[str, float], y: float, spread: float | None, colour: str) -> None:
    reach = [[score["value"] - score["low"]], [score["high"] - score["value"]]]
    axis.errorbar(score["value"], y, xerr=reach, yerr=spread, fmt="o", color=colour, lw=0.8, ms=6)
    if "chance" in score:
        axis.plot(score["chance"], y, marker="|", color=colour, ms=9)


def _name(axis: Any, label: str, at: tuple[float, float], taken: list[tuple[float, float]], colour: str) -> None:
    """Write a label right of its point, at the nearest height that no other label near it has."""
    step, x = 0.009, at[0] + 0.05
    heights = (at[1] + move * step for move in sorted(range(-20, 21), key=abs))
    y = next(y for y in heights if all(abs(y - b) >= 0.99 * step or abs(x - a) > 0.24 for a, b in taken))
    taken.append((x, y))
    axis.annotate(
        label, at, (x, y), fontsize=8, va="center", color=colour,
        arrowprops={"arrowstyle": "-", "lw": 0.5, "color": colour}, bbox={"fc": "white", "ec": "none", "pad": 0.6},
    )  # fmt: skip
