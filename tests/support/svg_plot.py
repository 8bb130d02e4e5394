"""Plots as SVG text: lines over time in panels, and bars in groups. Pure, and nothing but text.

A plotting library would be the largest dependency of the house, for two pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#7f7f7f")
WIDTH, PANEL, GAP, LEFT, RIGHT, TOP = 860, 120, 46, 64, 18, 64
BAR, LABEL = 20, 250
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Line:
    """Values over time, in order."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines that share an axis, which begins at 0."""

    title: str
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Bar:
    """One value, and what is written beside it."""

    label: str
    value: float
    note: str


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that share an axis."""

    title: str
    bars: Sequence[Bar]


def lines(title: str, under: str, panels: Sequence[Panel], *, mark: float | None = None) -> str:
    """Panels below each other over one axis of time; ``mark`` is a moment in all of them."""
    end = max(x for panel in panels for line in panel.lines for x, _ in line.points) or 1
    height = TOP + len(panels) * (PANEL + GAP) + 10
    colours = _colours(line.name for panel in panels for line in panel.lines)
    body = [_text(LEFT, 24, title, size=16), *_legend(colours)]
    for number, panel in enumerate(panels):
        top = TOP + 14 + number * (PANEL + GAP)
        body += [*_axes(panel, top, end, mark), *_drawn(panel, top, end, colours)]
    body.append(_text(WIDTH - RIGHT, height - 8, under, anchor="end"))
    return _svg(height, body)


def bars(title: str, groups: Sequence[Group]) -> str:
    """Groups below each other, each on a scale of its own."""
    body, y = [_text(16, 24, title, size=16)], 52.0
    colours = _colours(bar.label for group in groups for bar in group.bars)
    for group in groups:
        body.append(_text(16, y, group.title, weight="bold"))
        most = max((bar.value for bar in group.bars), default=0) or 1
        for bar in group.bars:
            y += BAR
            width = (WIDTH - LABEL - 170) * bar.value / most
            place = f'x="{LABEL}" y="{y - 4:.1f}" width="{width:.1f}" height="{BAR - 5}"'
            body += [
                _text(LABEL - 8, y + 9, bar.label, anchor="end"),
                f'<rect {place} fill="{colours[bar.label]}"/>',
                _text(LABEL + width + 6, y + 9, bar.note),
            ]
        y += BAR + 18
    return _svg(y, body)


def ticks(most: float) -> list[float]:
    """Round values from 0 to at least ``most``, four or so of them."""
    power = 1.0
    while power * 10 <= most / 4:
        power *= 10
    while power > most / 4:
        power /= 10
    step = next(power * step for step in STEPS if power * step * 4 >= most)
    found = [0.0]
    while found[-1] < most:
        found.append(step * len(found))
    return found


def _colours(names: Iterable[str]) -> dict[str, str]:
    """The same name has the same colour everywhere."""
    return dict(zip(dict.fromkeys(names), cycle(COLOURS), strict=False))


def _legend(colours: dict[str, str]) -> Iterable[str]:
    for number, (name, colour) in enumerate(colours.items()):
        x = LEFT + number * 150
        yield f'<rect x="{x}" y="38" width="14" height="4" fill="{colour}"/>'
        yield _text(x + 20, 46, name)


def _marks(panel: Panel) -> list[float]:
    return ticks(max((y for line in panel.lines for _, y in line.points), default=0) or 1)


def _across(x: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * x / end


def _axes(panel: Panel, top: float, end: float, mark: float | None) -> Iterable[str]:
    marks = _marks(panel)
    yield _text(LEFT, top - 8, panel.title, weight="bold")
    for value in marks:
        y = top + PANEL * (1 - value / marks[-1])
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield _text(LEFT - 6, y + 4, f"{value:g}", anchor="end")
    for x in ticks(end):
        if x <= end:
            yield _text(_across(x, end), top + PANEL + 14, f"{x:g}", anchor="middle")
    if mark is not None:
        place = f"M{_across(mark, end):.1f} {top}v{PANEL}"
        yield f'<path d="{place}" stroke="#999" stroke-dasharray="4 3"/>'


def _drawn(panel: Panel, top: float, end: float, colours: dict[str, str]) -> Iterable[str]:
    most = _marks(panel)[-1]
    for line in panel.lines:
        points = " ".join(
            f"{_across(x, end):.1f},{top + PANEL * (1 - y / most):.1f}" for x, y in line.points
        )
        look = f'fill="none" stroke="{colours[line.name]}" stroke-width="1.4"'
        yield f'<polyline points="{points}" {look}/>'


def _text(
    x: float, y: float, said: str, *, anchor: str = "start", size: int = 12, weight: str = "normal"
) -> str:
    style = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(said)}</text>'


def _svg(height: float, body: Iterable[str]) -> str:
    drawn = "\n".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" font-family="sans-serif" fill="#222">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{drawn}\n</svg>\n'
    )
