"""Small figures as SVG text: lines with bands, and grids of coloured cells. The same numbers give the same bytes.

Plain text and no library: a figure in a repository should change only if its numbers do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[float | None]
Scale = Callable[[float], float]

_FONT = 'font-family="system-ui, sans-serif"'
_INK, _FAINT, _PAPER = "#1f2328", "#d0d7de", "#ffffff"
# Distinguishable in print and by most eyes (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True)
class Line:
    """One curve; ``low`` and ``high``: a band around it. None values break it."""

    name: str
    values: Points
    low: Points | None = None
    high: Points | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves over 0, 1, 2, ... with one scale; ``marks``: labelled vertical lines."""

    title: str
    lines: Sequence[Line]
    x_label: str
    y_label: str
    marks: Sequence[tuple[float, str]] = ()


def panels(title: str, shown: Sequence[Panel], width: int = 400, height: int = 260) -> str:
    """Panels side by side."""
    body = [_panel(panel, index * width, width, height) for index, panel in enumerate(shown)]
    return _document(title, width * len(shown), height + 24, body)


def _panel(panel: Panel, left: float, width: float, height: float) -> str:
    box = (left + 52.0, 46.0, left + width - 14.0, height - 16.0)  # left, top, right, bottom of the plot
    values = [
        value
        for line in panel.lines
        for points in (line.values, line.low or (), line.high or ())
        for value in points
        if value is not None
    ]
    low, high = _limits(values)
    longest = max((len(line.values) for line in panel.lines), default=1)

    def x(position: float) -> float:
        return box[0] + (box[2] - box[0]) * (position / max(1, longest - 1))

    def y(value: float) -> float:
        return box[3] - (box[3] - box[1]) * (value - low) / (high - low)

    parts = [_text(left + 10, 18, panel.title, size=13, bold=True)]
    for tick in _ticks(low, high):
        parts.append(_segment(box[0], y(tick), box[2], y(tick), _FAINT))
        parts.append(_text(box[0] - 6, y(tick) + 4, f"{tick:g}", anchor="end"))
    for tick in _whole_ticks(longest):
        parts.append(_text(x(tick), box[3] + 15, f"{tick}", anchor="middle"))
    parts.append(_text(box[2], box[3] + 30, panel.x_label, anchor="end"))
    parts.append(_text(left + 10, 34, panel.y_label))
    for position, name in panel.marks:
        parts.append(_segment(x(position), box[1], x(position), box[3], _INK, dashed=True))
        parts.append(_text(x(position) + 3, box[1] + 10, name))
    for number, line in enumerate(panel.lines):
        colour = COLOURS[number % len(COLOURS)]
        if line.low is not None and line.high is not None:
            parts += _band(line.low, line.high, x, y, colour)
        parts += _curve(line.values, x, y, colour, line.dashed)
    for number, line in enumerate(panel.lines):
        colour, baseline = COLOURS[number % len(COLOURS)], box[1] + 12 + 15 * number
        parts.append(
            _segment(box[2] - 130, baseline - 4, box[2] - 112, baseline - 4, colour, width=2, dashed=line.dashed)
        )
        parts.append(_text(box[2] - 107, baseline, line.name))
    return "\n".join(parts)


def _curve(values: Points, x: Scale, y: Scale, colour: str, dashed: bool) -> list[str]:
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    return [
        f'<polyline points="{_places(run, x, y)}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        for run in _runs(values)
    ]


def _band(low: Points, high: Points, x: Scale, y: Scale, colour: str) -> list[str]:
    both = [None if a is None or b is None else a for a, b in zip(low, high, strict=True)]
    polygons = []
    for run in _runs(both):
        upper_edge = [(index, high[index] or 0.0) for index, _ in reversed(run)]
        polygons.append(f'<polygon points="{_places([*run, *upper_edge], x, y)}" fill="{colour}" fill-opacity="0.15"/>')
    return polygons


def _runs(values: Points) -> list[list[tuple[int, float]]]:
    """Stretches without a gap."""
    runs: list[list[tuple[int, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((index, value))
    return [run for run in runs if run]


def _places(run: Sequence[tuple[int, float]], x: Scale, y: Scale) -> str:
    return " ".join(f"{x(index):.1f},{y(value):.1f}" for index, value in run)


def grid(
    title: str,
    values: Sequence[Points],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    low: float,
    high: float,
    middle: float | None = None,
    numbers: str | None = None,
    cell: tuple[int, int] = (34, 20),
    side: int = 190,
    above: int = 150,
) -> str:
    """Cells coloured from ``low`` to ``high``; with a ``middle``, blue below it and orange above. ``numbers``: format
    of the number in each cell; None: no numbers.
    """
    across, down = cell
    top = above if max(map(len, columns), default=0) > 4 else 44
    parts = [_text(10, 18, title, size=13, bold=True)]
    for index, name in enumerate(columns):
        x, y = side + index * across + across / 2, top - 6
        turned = top == above
        parts.append(
            _text(x + 4 if turned else x, y, name, anchor="start" if turned else "middle", turn=-60 if turned else 0)
        )
    for down_at, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = top + down_at * down
        parts.append(_text(side - 6, y + down - 6, name, anchor="end"))
        for index, value in enumerate(row):
            x = side + index * across
            fill = "#eeeeee" if value is None else _shade(value, low, high, middle)
            parts.append(f'<rect x="{x}" y="{y}" width="{across - 1}" height="{down - 1}" fill="{fill}"/>')
            if value is not None and numbers is not None:
                parts.append(
                    _text(x + across / 2, y + down - 6, format(value, numbers), anchor="middle", size=10, on=fill)
                )
    return _document(title, side + across * len(columns) + 40, top + down * len(rows) + 14, parts)


def _shade(value: float, low: float, high: float, middle: float | None) -> str:
    if middle is None:
        return _mix("#ffffff", "#0072b2", (value - low) / (high - low) if high > low else 0.0)
    if value < middle:
        return _mix("#ffffff", "#0072b2", (middle - value) / (middle - low) if middle > low else 0.0)
    return _mix("#ffffff", "#d55e00", (value - middle) / (high - middle) if high > middle else 0.0)


def _mix(one: str, other: str, share: float) -> str:
    share = min(1.0, max(0.0, share))
    pairs = [(int(one[start : start + 2], 16), int(other[start : start + 2], 16)) for start in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low >= 0 and high <= 1 and high > 0.2:  # shares and probabilities
        return 0.0, 1.0
    margin = (high - low or 1.0) * 0.05
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """At most seven round numbers between two limits."""
    rough = (high - low) / 5
    size = 1.0
    while size > rough:
        size /= 10
    while size * 10 <= rough:
        size *= 10
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first = int(low // step) + (low % step != 0)
    return [round(step * n, 10) + 0.0 for n in range(first, int(high // step) + 1)]


def _whole_ticks(longest: int) -> list[int]:
    step = max(1, -(-(longest - 1) // 10))
    return list(range(0, longest, step))


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 11,
    anchor: str = "start",
    bold: bool = False,
    turn: int = 0,
    on: str = _PAPER,
) -> str:
    dark = sum(int(on[start : start + 2], 16) for start in (1, 3, 5)) < 330
    weight = ' font-weight="600"' if bold else ""
    turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    colour = _PAPER if dark else _INK
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{weight}{turned}>'
        f"{escape(text)}</text>"
    )


def _segment(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: int = 1, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width}"{dash}/>'


def _document(title: str, width: float, height: float, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" {_FONT}>'
    )
    ground = f'<rect width="100%" height="100%" fill="{_PAPER}"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", ground, *body, "</svg>"]) + "\n"
