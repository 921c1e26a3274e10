"""Attack results as one self-contained HTML page, pictures as PNG files, and the same as JSON."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from medveil.attacks import registry
from medveil.attacks.base import AttackResult, Score
from medveil.imaging.raster import encode_png
from medveil.schemes.bundle import new_folder

_STYLE: Final = """
:root{--ink:#17202a;--soft:#5d6d7e;--line:#d6dbdf;--bad:#b03a2e;--good:#1e8449;--paper:#fbfcfc}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
margin:0 auto;max-width:72rem;padding:2rem 1.25rem}h1{font-size:1.7rem;margin:0}
h2{margin:2rem 0 .25rem;border-top:1px solid var(--line);padding-top:1.25rem}
.headline{font-size:1.25rem;font-weight:600;margin:.5rem 0 1.25rem}.headline.bad{color:var(--bad)}
.soft,figcaption{color:var(--soft);font-size:.92rem}figure{margin:1rem 0}
figure img{max-width:100%;background:#000;image-rendering:pixelated;border:1px solid var(--line)}
table{border-collapse:collapse;font-size:.95rem;margin:.75rem 0}th,td{padding:.2rem 1rem .2rem 0;text-align:left;
vertical-align:top;border-bottom:1px solid var(--line)}td.n{font-family:ui-monospace,monospace;white-space:nowrap}
.bad{color:var(--bad)}.good{color:var(--good)}svg{display:block}
"""
_BAR: Final = 220


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says. headline: its first line. rows: further (what, value) facts. skipped: attacks and why not."""

    title: str
    headline: str
    bad: bool
    results: Sequence[AttackResult]
    facts: Sequence[tuple[str, str]] = ()
    paragraphs: Sequence[str] = ()
    skipped: Sequence[tuple[str, str]] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "headline": self.headline,
            "attacks": [result.as_dict() for result in self.results],
            "skipped": [{"attack": name, "why": why} for name, why in self.skipped],
            **self.extra,
        }


def write(page: Page, out: Path, *, force: bool = False) -> None:
    """Write `index.html`, `result.json` and `pictures/` to a new folder.

    Raises OutputExistsError where `out` exists and `force` is not set.
    """
    with new_folder(out, force=force) as folder:
        (folder / "index.html").write_text(render(page), encoding="utf-8")
        text = json.dumps(page.as_dict(), indent=1, sort_keys=True, allow_nan=False)
        (folder / "result.json").write_text(text + "\n", encoding="utf-8")
        (folder / "pictures").mkdir()
        for result in page.results:
            for name, picture in result.pictures.items():
                (folder / "pictures" / f"{result.attack}-{_slug(name)}.png").write_bytes(encode_png(picture))


def render(page: Page) -> str:
    """Return the page as one HTML document that loads nothing from anywhere."""
    facts = "".join(f"<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td></tr>" for a, b in page.facts)
    paragraphs = "".join(f"<p>{html.escape(p)}</p>" for p in page.paragraphs)
    skipped = "".join(f"<li>{html.escape(name)}: {html.escape(why)}</li>" for name, why in page.skipped)
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'><link rel=icon href='data:,'>"
        f"<title>{html.escape(page.title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(page.title)}</h1>"
        f"<p class='headline{' bad' if page.bad else ''}'>{html.escape(page.headline)}</p>"
        f"{paragraphs}<table>{facts}</table><h2>What was tried</h2>{_table(page.results)}"
        "<p class=soft>The line in a bar is what a guess without the protected picture reaches; in brackets stand 95 % "
        "bootstrap intervals.</p>"
        + (f"<p class=soft>Not tried:</p><ul class=soft>{skipped}</ul>" if skipped else "")
        + "".join(_section(result) for result in page.results)
        + "</body></html>\n"
    )


def _table(results: Sequence[AttackResult]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(_title(r))}</td><td class='{_colour(r)}'>{_verdict(r)}</td>"
        f"<td>{html.escape(name)}</td><td>{_bar(score)}</td><td class=n>{_figure(score)}</td></tr>"
        for r in results
        for name, score in list(r.scores.items())[:1]
    )
    return f"<table><tr><th>attack</th><th>succeeds</th><th>measure</th><th></th><th></th></tr>{rows}</table>"


def _section(result: AttackResult) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td class=n>{_figure(score)}</td><td class=n>{_chance(score)}</td>"
        f"<td class=n>{score.n}</td></tr>"
        for name, score in result.scores.items()
    )
    shown = "".join(
        f"<figure><img alt='{html.escape(name)}' src='{_data_uri(picture)}'>"
        f"<figcaption>From top to bottom: {html.escape(name)}</figcaption></figure>"
        for name, picture in result.pictures.items()
    )
    return (
        f"<h2>{html.escape(_title(result))}</h2><p>{html.escape(result.note)}</p>{shown}"
        f"<table><tr><th>measure</th><th>value</th><th>chance</th><th>images</th></tr>{rows}</table>"
    )


def _title(result: AttackResult) -> str:
    return registry.load(result.attack).title if result.attack in registry.names() else result.attack


def _verdict(result: AttackResult) -> str:
    return {True: "yes", False: "no", None: "-"}[result.broken]


def _colour(result: AttackResult) -> str:
    return {True: "bad", False: "good", None: "soft"}[result.broken]


def _figure(score: Score) -> str:
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def _chance(score: Score) -> str:
    return "-" if score.chance is None else f"{score.chance:.3f}"


def _bar(score: Score) -> str:
    """Return a bar of a value from 0 to 1 with its interval and the chance level."""
    if not 0 <= score.value <= 1:
        return ""
    low, value, high = (min(1.0, max(0.0, v)) * _BAR for v in (score.low, score.value, score.high))
    mark = "" if score.chance is None else (
        f"<rect x='{min(1.0, max(0.0, score.chance)) * _BAR:.1f}' y='0' width='2' height='16' fill='#17202a'/>"
    )  # fmt: skip
    return (
        f"<svg width='{_BAR + 2}' height='16' role='img'><rect width='{_BAR}' y='3' height='10' fill='#eaeded'/>"
        f"<rect width='{value:.1f}' y='3' height='10' fill='#b03a2e'/>"
        f"<rect x='{low:.1f}' width='{max(1.0, high - low):.1f}' y='7' height='2' fill='#17202a'/>{mark}</svg>"
    )


def _data_uri(picture: npt.NDArray[Any]) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(picture)).decode("ascii")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
