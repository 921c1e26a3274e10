"""Charts of the report as inline SVG: leakage against utility, ROC, cost. No script, no font, nothing from outside."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH, HEIGHT = 560, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 16, 48
_INK, _SOFT, _LINE = "var(--ink)", "var(--soft)", "var(--line)"  # the page's, light and dark

# Okabe and Ito's colours, which people with colour blindness tell apart too.
FAMILIES: Final = {
    "plain": "var(--plain)",
    "aes": "#6b7280",
    "sealed-jpeg-ls": "#6b7280",
    "sealed-htj2k": "#6b7280",
    "sealed": "#0072b2",
    "roi-watermark": "#009e73",
    "visual": "#cc79a7",
    "learnable": "#e69f00",
    "deep": "#d55e00",
    "three-server": "#56b4e9",
}


def colour(label: str) -> str:
    """Return the colour of a row's family; third parties' rows share one."""
    return next((c for prefix, c in FAMILIES.items() if label.startswith(prefix)), "#7a4fbf")


@dataclass(frozen=True, slots=True)
class Point:
    """One row in a chart: its number in the legend, and where it lies, both 0 to 1."""

    number: int
    label: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One row's bar: a positive value, and words behind it."""

    label: str
    value: float
    words: str


def _text(x: float, y: float, words: str, *, anchor: str = "middle", size: int = 12, fill: str = _SOFT) -> str:
    said = html.escape(words)
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">{said}</text>'


def _x(value: float) -> float:
    return _LEFT + value * (WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return HEIGHT - _BOTTOM - value * (HEIGHT - _TOP - _BOTTOM)


def _frame(across: str, up: str, title: str) -> list[str]:
    wide, tall = _x(1) - _x(0), _y(0) - _y(1)
    out = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        f'<rect x="{_x(0)}" y="{_y(1)}" width="{wide}" height="{tall}" fill="var(--card)" stroke="{_LINE}"/>',
    ]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        out.append(f'<line x1="{_x(tick)}" x2="{_x(tick)}" y1="{_y(0)}" y2="{_y(1)}" stroke="{_LINE}"/>')
        out.append(f'<line x1="{_x(0)}" x2="{_x(1)}" y1="{_y(tick)}" y2="{_y(tick)}" stroke="{_LINE}"/>')
        out.append(_text(_x(tick), _y(0) + 18, f"{tick:g}"))
        out.append(_text(_x(0) - 8, _y(tick) + 4, f"{tick:g}", anchor="end"))
    out.append(_text((_x(0) + _x(1)) / 2, HEIGHT - 8, across, size=13, fill=_INK))
    middle = (_y(0) + _y(1)) / 2
    out.append(
        f'<text transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle" font-size="13" '
        f'fill="{_INK}">{html.escape(up)}</text>'
    )
    return out


def scatter(points: Sequence[Point], across: str, up: str, title: str, better: str = "") -> str:
    """Return numbered points; those that would hide one another are moved apart. better: words in the best corner."""
    out = _frame(across, up, title)
    if better:
        out.append(_text(_x(0) + 8, _y(1) + 18, better, anchor="start", fill="var(--better)"))
    taken: list[tuple[float, float]] = []
    for point in points:
        true = (_x(min(1.0, max(0.0, point.x))), _y(min(1.0, max(0.0, point.y))))
        at = _free(true, taken)
        taken.append(at)
        if at != true:
            out.append(
                f'<line x1="{true[0]:.1f}" y1="{true[1]:.1f}" x2="{at[0]:.1f}" y2="{at[1]:.1f}" '
                f'stroke="{colour(point.label)}" stroke-width="1"/>'
                f'<circle cx="{true[0]:.1f}" cy="{true[1]:.1f}" r="2.5" fill="{colour(point.label)}"/>'
            )
        said = html.escape(f"{point.label}: {across} {point.x:.2f}, {up} {point.y:.2f}")
        out.append(
            f'<g><title>{said}</title><circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="10" fill="{colour(point.label)}"/>'
            + _text(
                at[0], at[1] + 4, str(point.number), size=11, fill="var(--card)" if point.label == "plain" else "#fff"
            )
            + "</g>"
        )
    return "".join([*out, "</svg>"])


def _free(true: tuple[float, float], taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the nearest place, on rings around a point, that no circle covers and that lies in the frame."""
    for ring in range(12):
        for step in range(max(1, 6 * ring)):
            angle = 2 * math.pi * step / max(1, 6 * ring)
            at = (true[0] + 12 * ring * math.cos(angle), true[1] + 12 * ring * math.sin(angle))
            inside = _x(0) - 4 <= at[0] <= _x(1) + 4 and _y(1) - 4 <= at[1] <= _y(0) + 4
            if inside and all(math.dist(at, other) >= 21 for other in taken):
                return at
    return true


def lines(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]], across: str, up: str, title: str) -> str:
    """Return curves within 0 to 1, in their rows' colours; rows of one family are told apart by dashes."""
    out = _frame(across, up, title)
    out.append(f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="{_SOFT}" stroke-dasharray="2 4"/>')
    seen: dict[str, int] = {}
    for label, points in curves:
        count = seen[colour(label)] = seen.get(colour(label), -1) + 1
        path = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
        out.append(
            f'<polyline points="{path}" fill="none" stroke="{colour(label)}" stroke-width="2" '
            f'stroke-dasharray="{dashes(count)}"><title>{html.escape(label)}</title></polyline>'
        )
    return "".join([*out, "</svg>"])


def dashes(count: int) -> str:
    """Return the dashes of a family's n-th curve."""
    return ("none", "7 3", "2 3", "9 3 2 3", "12 4", "4 4", "1 4")[count % 7]


def swatch(label: str, count: int) -> str:
    """Return a short piece of a curve for a legend."""
    return (
        f'<svg class="swatch" viewBox="0 0 28 10"><line x1="0" y1="5" x2="28" y2="5" stroke="{colour(label)}" '
        f'stroke-width="3" stroke-dasharray="{dashes(count)}"/></svg>'
    )


def bars(found: Sequence[Bar], unit: str, title: str) -> str:
    """Return horizontal bars on a logarithmic scale."""
    shown = [b for b in found if b.value > 0]
    if not shown:
        return ""
    low = 10 ** math.floor(math.log10(min(b.value for b in shown)))
    high = 10 ** math.ceil(math.log10(max(b.value for b in shown) * 1.01))
    step, left, right = 26, 190, 150
    height = step * len(shown) + 44
    wide = WIDTH + 160

    def at(value: float) -> float:
        return left + (wide - left - right) * math.log10(value / low) / math.log10(high / low)

    out = [f'<svg viewBox="0 0 {wide} {height}" role="img" aria-label="{html.escape(title)}">']
    tick = low
    while tick <= high * 1.001:
        out.append(f'<line x1="{at(tick):.1f}" x2="{at(tick):.1f}" y1="4" y2="{height - 36}" stroke="{_LINE}"/>')
        out.append(_text(at(tick), height - 20, f"{tick:g}"))
        tick *= 10
    out.append(_text((at(low) + at(high)) / 2, height - 4, unit, size=13, fill=_INK))
    for i, bar in enumerate(shown):
        y = 6 + i * step
        width = max(2.0, at(bar.value) - left)
        out.append(_text(left - 8, y + 14, bar.label, anchor="end", fill=_INK))
        out.append(
            f'<rect x="{left}" y="{y}" width="{width:.1f}" height="18" rx="2" fill="{colour(bar.label)}">'
            f"<title>{html.escape(f'{bar.label}: {bar.words}')}</title></rect>"
        )
        out.append(_text(left + width + 6, y + 14, bar.words, anchor="start"))
    return "".join([*out, "</svg>"])
