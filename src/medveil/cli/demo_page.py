"""The demo's page: one self-contained HTML file with every picture inside."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]  # (rows, columns) or (rows, columns, 3)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with the words under it; `state` colours its frame: "", "bad", "good"."""

    picture: Picture
    title: str
    words: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """What happened to one study: rows of pictures, and facts as (label, value) pairs."""

    title: str
    source: str
    rows: Sequence[Sequence[Panel]]
    facts: Sequence[tuple[str, str]] = ()
    findings: Sequence[str] = ()


@dataclass(slots=True)
class Page:
    """The whole page."""

    title: str
    lead: str
    studies: list[Study] = field(default_factory=list)
    steps: list[tuple[str, str]] = field(default_factory=list)
    outro: str = ""


_STYLE = """
:root{--ink:#17202a;--soft:#5d6d7e;--line:#d6dbdf;--bad:#b03a2e;--good:#1e8449;--paper:#fbfcfc}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
margin:0 auto;max-width:76rem;padding:2rem 1.25rem}
h1{font-size:1.9rem;margin:0 0 .25rem}h2{margin:2.5rem 0 .25rem;border-top:1px solid var(--line);padding-top:1.5rem}
.lead,.source,figcaption small{color:var(--soft)}ol.steps{padding-left:1.3rem}ol.steps b{display:inline-block}
.row{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:1rem;margin:1rem 0}
figure{margin:0;background:#fff;border:1px solid var(--line);border-radius:.4rem;padding:.5rem}
figure img{width:100%;aspect-ratio:1;object-fit:contain;background:#000;image-rendering:auto;display:block}
figure.bad{border-color:var(--bad);box-shadow:0 0 0 1px var(--bad)}
figure.good{border-color:var(--good);box-shadow:0 0 0 1px var(--good)}
figcaption{font-size:.9rem;margin-top:.4rem}figcaption b{display:block}
table{border-collapse:collapse;font-size:.92rem;margin:.75rem 0}td{padding:.15rem 1rem .15rem 0;vertical-align:top}
td:first-child{color:var(--soft);white-space:nowrap}td:last-child{font-family:ui-monospace,monospace;
overflow-wrap:anywhere}ul.findings{font-size:.92rem}
"""


def data_uri(picture: Picture) -> str:
    """Return a picture as a PNG data URI."""
    from medveil.imaging.raster import encode_png

    return "data:image/png;base64," + base64.b64encode(encode_png(picture)).decode("ascii")


def _panel(panel: Panel) -> str:
    words = f"<small>{html.escape(panel.words)}</small>" if panel.words else ""
    title = html.escape(panel.title)
    return (
        f'<figure class="{panel.state}"><img alt="{title}" src="{data_uri(panel.picture)}">'
        f"<figcaption><b>{title}</b>{words}</figcaption></figure>"
    )


def _study(study: Study) -> str:
    rows = "".join(f'<div class="row">{"".join(map(_panel, row))}</div>' for row in study.rows)
    facts = "".join(f"<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td></tr>" for a, b in study.facts)
    found = "".join(f"<li>{html.escape(line)}</li>" for line in study.findings)
    return (
        f"<h2>{html.escape(study.title)}</h2><p class=source>{html.escape(study.source)}</p>{rows}"
        + (f"<ul class=findings>{found}</ul>" if found else "")
        + (f"<table>{facts}</table>" if facts else "")
    )


def render(page: Page) -> str:
    """Return the page as one HTML document that loads nothing from anywhere."""
    steps = "".join(f"<li><b>{html.escape(a)}</b> {html.escape(b)}</li>" for a, b in page.steps)
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        "<link rel=icon href='data:,'>"
        f"<title>{html.escape(page.title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(page.title)}</h1><p class=lead>{html.escape(page.lead)}</p>"
        f"<ol class=steps>{steps}</ol>{''.join(map(_study, page.studies))}"
        f"<p>{html.escape(page.outro)}</p></body></html>\n"
    )


def bytes_as_picture(data: bytes, side: int = 256) -> Picture:
    """Show a file's first bytes as grey pixels, at most side x side of them: what its keeper sees."""
    side = max(1, min(side, math.isqrt(len(data))))
    return np.frombuffer(data[: side * side].ljust(side * side, b"\0"), dtype=np.uint8).reshape(side, side)


def overlay(picture: Picture, mask: npt.NDArray[np.bool_], colour: Iterable[int] = (220, 40, 30)) -> Picture:
    """Tint the masked pixels and outline their edges; returns (rows, columns, 3)."""
    rgb = np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else picture.copy()
    tint = np.asarray(tuple(colour), dtype=np.float32)
    inside = mask.astype(bool)
    rgb[inside] = (0.55 * rgb[inside] + 0.45 * tint).astype(np.uint8)
    core = inside.copy()
    core[1:] &= inside[:-1]
    core[:-1] &= inside[1:]
    core[:, 1:] &= inside[:, :-1]
    core[:, :-1] &= inside[:, 1:]
    rgb[inside & ~core] = tint.astype(np.uint8)
    return rgb
