"""Curves of a private training over those of a plain one: as characters for a terminal, as SVG for a page."""

from __future__ import annotations

from collections.abc import Sequence

Curve = Sequence[dict[str, float]]
_PRIVATE, _PLAIN, _BOTH = "●", "○", "◉"
_COLOURS = {"train": "#1f77b4", "test": "#d62728"}


def _top(name: str, *curves: Curve) -> float:
    """Return the upper end of a measure's axis: 1 for an accuracy, the greatest value for a loss."""
    values = [row[name] for curve in curves for row in curve if name in row]
    return 1.0 if "accuracy" in name else max(values, default=1.0) * 1.05


def text_plot(name: str, private: Curve, plain: Curve = (), *, epochs: int, width: int = 56, height: int = 8) -> str:
    """Return one measure by epoch as lines of text: private ●, plain ○, both in one place ◉."""
    top = _top(name, private, plain)
    cells = [[" "] * width for _ in range(height)]
    for curve, mark in ((plain, _PLAIN), (private, _PRIVATE)):
        for epoch, row in enumerate(curve):
            x = round(epoch * (width - 1) / max(1, epochs - 1))
            y = min(height - 1, max(0, int((1 - row[name] / top) * height)))
            cells[y][x] = mark if cells[y][x] in (" ", mark) else _BOTH
    lines = [f"{top * (1 - i / height):6.2f} ┤{''.join(line).rstrip()}" for i, line in enumerate(cells)]
    legend = f"{_PRIVATE} private" + (f"  {_PLAIN} plain  {_BOTH} both" if plain else "")
    return "\n".join([f"{name.replace('_', ' ')} by epoch   {legend}", *lines, f"{0:6.2f} ┴{'─' * width}"])


def svg(private: Curve, plain: Curve) -> str:
    """Return loss and accuracy by epoch as an SVG: private solid, plain dashed, training blue, test red."""
    wide, high, margin = 360, 220, 34
    body: list[str] = []
    for column, kind in enumerate(("loss", "accuracy")):
        left = margin + column * (wide + margin)
        names = [f"{part}_{kind}" for part in _COLOURS if private and f"{part}_{kind}" in private[0]]
        top = max((_top(n, private, plain) for n in names), default=1.0)
        body.append(f'<rect x="{left}" y="{margin}" width="{wide}" height="{high}" fill="none" stroke="#999"/>')
        body.append(f'<text x="{left}" y="22">{kind}: training blue, test red; plain dashed</text>')
        body.append(f'<text x="{left - 4}" y="{margin + 8}" text-anchor="end">{top:.2g}</text>')
        body.append(f'<text x="{left - 4}" y="{margin + high}" text-anchor="end">0</text>')
        body.append(f'<text x="{left + wide}" y="{margin + high + 14}" text-anchor="end">epoch {len(private)}</text>')
        for name in names:
            colour = _COLOURS[name.partition("_")[0]]
            for rows, dash in ((private, ""), (plain, ' stroke-dasharray="5 4"')):
                points = " ".join(
                    f"{left + i * wide / max(1, len(rows) - 1):.1f},{margin + high * (1 - row[name] / top):.1f}"
                    for i, row in enumerate(rows)
                )
                body.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5"{dash} points="{points}"/>')
    size = f'width="{2 * wide + 3 * margin}" height="{high + 2 * margin}"'
    style = 'font-family="sans-serif" font-size="11"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(body)}</svg>\n'
