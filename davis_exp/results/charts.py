"""Pictures as SVG text: to stand alone or inside a page, without anything from outside."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from davis_exp.results.charts_legend import legend

# A page gives the colours (page.css); a picture that stands alone has those that follow the commas.
STYLE = """
svg.chart { font: 12px system-ui, sans-serif; color: var(--ink, #333); background: var(--paper, #fff); }
svg.chart { max-width: 100%; height: auto; }
svg.chart text { fill: currentColor; }
svg.chart .axis { stroke: var(--faint, #999); fill: none; }
svg.chart .grid { stroke: var(--line, #ddd); }
svg.chart .limit { stroke: var(--bad, #c0392b); stroke-dasharray: 5 4; }
svg.chart .front { stroke: var(--first, #1f5fa8); fill: none; stroke-width: 1.5; }
svg.chart .point { fill: var(--faint, #7a8a99); fill-opacity: .65; }
svg.chart .point.best { fill: var(--first, #1f5fa8); fill-opacity: 1; }
svg.chart .point.bad { fill: var(--bad, #c0392b); fill-opacity: .45; }
svg.chart .bar { fill: var(--faint, #7a8a99); }
svg.chart .bar.first { fill: var(--first, #1f5fa8); }
svg.chart .bar.second { fill: var(--second, #b34700); }
svg.chart .mean { stroke: var(--first, #1f5fa8); stroke-width: 2; }
svg.chart .series { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
svg.chart .series { stroke: var(--faint, #7a8a99); }
svg.chart .series.first { stroke: var(--first, #1f5fa8); }
svg.chart .series.second { stroke: var(--second, #b34700); }
svg.chart .series.third { stroke: var(--third, #7a3ea8); }
svg.chart .series.other { stroke-width: 1.3; stroke-dasharray: 4 3; }
svg.chart .series.raw { stroke-width: 1; stroke-opacity: .45; }
svg.chart .cursor { stroke: currentColor; stroke-width: 1; }
""".strip()


@dataclass(frozen=True)
class Area:
    """Pixels: of a whole picture, and of the margins that the axes are written in."""

    width: int = 760
    height: int = 400
    left: int = 70
    right: int = 20
    top: int = 20
    bottom: int = 50


LARGE = Area()
SMALL = Area(440, 280, 46, 10, 26, 40)


@dataclass(frozen=True)
class Point:
    """A mark: where, what a pointer over it reads, and its kind ("" plain, "best" on the front, "bad")."""

    x: float
    y: float
    text: str
    kind: str = ""
    label: str = ""  # written beside it, where there is room


@dataclass(frozen=True)
class Line:
    """A curve through (x, y) points; a y of None leaves a gap. Its kind is one of STYLE's series."""

    name: str  # in the legend; "" leaves it out
    points: Sequence[tuple[float, float | None]]
    kind: str = "first"


@dataclass(frozen=True)
class Axis:
    """A scale. Values at or below 0 lie at the lower end of a logarithmic one."""

    title: str
    low: float
    high: float
    log: bool = False

    @classmethod
    def over(cls, title: str, values: Sequence[float], log: bool = False) -> "Axis":
        """The scale that holds all of `values`, with some air."""
        if log:
            logs = [math.log10(value) for value in values if value > 0] or [0.0]
            low, high = math.floor(min(logs) * 5) / 5 - 0.2, math.ceil(max(logs) * 5) / 5 + 0.2
            return cls(title, 10**low, 10**high, log)
        low, high = min(values, default=0.0), max(values, default=1.0)
        air = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        return cls(title, low - air, high + air)

    def __call__(self, value: float) -> float:
        """Where `value` lies, from 0 to 1."""
        if self.log:
            lowest, highest = math.log10(self.low), math.log10(self.high)
            return (math.log10(max(value, self.low)) - lowest) / (highest - lowest)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values on it, some five of them."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1,) if len(decades) > 4 else (1, 2, 5)
            ticks = [step * 10.0**decade for decade in decades for step in steps]
        else:
            raw = (self.high - self.low) / 5
            unit = 10.0 ** math.floor(math.log10(raw))
            step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
            ticks = [step * i for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [tick for tick in ticks if self.low <= tick <= self.high]


def scatter(
    points: Sequence[Point],
    x: Axis,
    y: Axis,
    *,
    front: Sequence[Point] = (),
    limit: float | None = None,
    limit_text: str = "limit",
) -> str:
    """Points, the front as a staircase through those on it, and a limit of x drawn in."""
    place = _placer(x, y, LARGE)
    body = [_frame(x, y, place, LARGE)]
    if limit is not None and x.low <= limit <= x.high:
        at, top = place(limit, y.high)
        body.append(
            f'<line class="limit" x1="{at:.1f}" y1="{top:.1f}" x2="{at:.1f}" y2="{LARGE.height - LARGE.bottom}"/>'
        )
        body.append(
            f'<text x="{at - 5:.1f}" y="{top + 12:.1f}" text-anchor="end">{html.escape(limit_text)}</text>'
        )
    if front:
        corners = sorted(place(point.x, point.y) for point in front)
        path = f"M{corners[0][0]:.1f} {corners[0][1]:.1f}"
        path += "".join(f" H{px:.1f} V{py:.1f}" for px, py in corners[1:])
        body.append(f'<path class="front" d="{path}"/>')
    body += [_mark(point, *place(point.x, point.y)) for point in points]
    body += _labels(points, place)
    return _svg(body, LARGE, f"{y.title} against {x.title}")


def strips(groups: Mapping[str, Sequence[Point]], y: Axis, title: str) -> str:
    """A column of points for each group, with its mean as a bar; the points' x is passed over."""
    x = Axis(title, -0.5, len(groups) - 0.5)
    place = _placer(x, y, LARGE)
    body = [_frame(x, y, place, LARGE, ticks=list(enumerate(groups)))]
    for i, points in enumerate(groups.values()):
        for j, point in enumerate(points):
            spread = (j - (len(points) - 1) / 2) * min(0.06, 0.5 / len(points))
            body.append(_mark(point, *place(i + spread, point.y)))
        if points:
            left, at = place(i - 0.3, sum(point.y for point in points) / len(points))
            right, _ = place(i + 0.3, y.low)
            body.append(f'<line class="mean" x1="{left:.1f}" y1="{at:.1f}" x2="{right:.1f}" y2="{at:.1f}"/>')
    return _svg(body, LARGE, f"{y.title} by {title}")


def bars(
    panels: Sequence[tuple[Axis, Sequence[Point]]], x: Axis, names: Sequence[tuple[str, str]], title: str
) -> str:
    """Panels below each other on one scale of x, a bar for each point of a panel; `names` of the bars' kinds."""
    body, _ = legend(
        [(name, kind) for name, kind in names], LARGE.left, LARGE.top - 6, LARGE.width - LARGE.right
    )
    for i, (y, points) in enumerate(panels):
        place = _placer(x, y, LARGE)
        drawn = [_frame(x, y, place, LARGE)]
        for point in points:
            (left, top), (right, floor) = place(point.x - 0.4, point.y), place(point.x + 0.4, y.low)
            size = f'width="{right - left:.2f}" height="{floor - top:.1f}"'
            text = f"<title>{html.escape(point.text)}</title>"
            drawn.append(f'<rect class="bar {point.kind}" x="{left:.2f}" y="{top:.1f}" {size}>{text}</rect>')
        body.append("\n".join([f'<g transform="translate(0 {i * LARGE.height})">', *drawn, "</g>"]))
    return _svg(body, replace(LARGE, height=len(panels) * LARGE.height), title)


def lines(series: Sequence[Line], x: Axis, y: Axis, title: str, area: Area = SMALL) -> str:
    """Curves with a legend above them, and a hairline (class `cursor`) for a page to move.

    A legend that takes several lines makes the picture taller.
    """
    named = [(line.name, line.kind) for line in series if line.name]
    names, taller = legend(named, area.left, area.top - 10, area.width - area.right)
    area = replace(area, top=area.top + taller, height=area.height + taller)
    place = _placer(x, y, area)
    body = [_frame(x, y, place, area), *names]
    for line in sorted(series, key=lambda line: line.kind, reverse=True):  # the first is drawn last
        body.append(f'<path class="series {line.kind}" d="{_path(line.points, place)}"/>')
    body.append(
        f'<line class="cursor" y1="{area.top}" y2="{area.height - area.bottom}" visibility="hidden"/>'
    )
    return _svg(body, area, title)


def standalone(svg: str) -> str:
    """A picture as a file of its own, with its style inside."""
    head, _, rest = svg.partition(">")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}>\n<style>{STYLE}</style>{rest}\n'


def short(value: float) -> str:
    """A number as an axis states it: 50M, 1.2k, 0.85."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


Place = Callable[[float, float], tuple[float, float]]


def _placer(x: Axis, y: Axis, area: Area) -> Place:
    width, height = area.width - area.left - area.right, area.height - area.top - area.bottom
    return lambda vx, vy: (area.left + x(vx) * width, area.top + (1 - y(vy)) * height)


def _frame(
    x: Axis, y: Axis, place: Place, area: Area, ticks: Sequence[tuple[float, str]] | None = None
) -> str:
    """Axes, grid and titles; `ticks` names the places on x that are no numbers."""
    floor, left, right, top = area.height - area.bottom, area.left, area.width - area.right, area.top
    lines = []
    for tick in y.ticks():
        _, at = place(x.low, tick)
        lines.append(f'<line class="grid" x1="{left}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
        lines.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for value, name in ticks if ticks is not None else [(tick, short(tick)) for tick in x.ticks()]:
        at, _ = place(value, y.low)
        lines.append(f'<text x="{at:.1f}" y="{floor + 18}" text-anchor="middle">{html.escape(name)}</text>')
    lines.append(f'<path class="axis" d="M{left} {top} V{floor} H{right}"/>')
    middle = (left + right) / 2
    lines.append(
        f'<text x="{middle}" y="{area.height - 8}" text-anchor="middle">{html.escape(x.title)}</text>'
    )
    turned = f'transform="translate(14 {(top + floor) / 2}) rotate(-90)"'
    lines.append(f'<text {turned} text-anchor="middle">{html.escape(y.title)}</text>')
    return "\n".join(lines)


def _mark(point: Point, x: float, y: float) -> str:
    kind = f"point {point.kind}".strip()
    text = html.escape(point.text)
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{text}</title></circle>'


def _labels(points: Sequence[Point], place: Place) -> list[str]:
    """The points' labels, except those that would cover another."""
    taken: list[tuple[float, float, float]] = []
    lines = []
    for point in points:
        x, y = place(point.x, point.y)
        width = 6.5 * len(point.label)
        start = x + 7 if x + 7 + width < LARGE.width else x - 7 - width
        free = all(abs(y - oy) > 13 or start > end or start + width < begin for begin, end, oy in taken)
        if point.label and free:
            taken.append((start, start + width, y))
            lines.append(f'<text x="{start:.1f}" y="{y + 4:.1f}">{html.escape(point.label)}</text>')
    return lines


def _path(points: Sequence[tuple[float, float | None]], place: Place) -> str:
    """A polyline with a gap wherever there is no value; a point between two gaps is a dot."""
    words, drawing = [], False
    for px, py in points:
        known = py is not None and math.isfinite(py)
        if known and py is not None:
            at = "{:.1f} {:.1f}".format(*place(px, py))
            words.append(f"L{at}" if drawing else f"M{at}h0")
        drawing = known
    return "".join(words)


def _svg(body: Sequence[str], area: Area, title: str) -> str:
    size = f'width="{area.width}" height="{area.height}" viewBox="0 0 {area.width} {area.height}"'
    name = html.escape(title, quote=True)
    head = f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{name}">'
    return "\n".join([head, *body, "</svg>"])
