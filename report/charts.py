"""SVG charts, drawn here and nowhere else: no library, no script, no outside resource.

Everything is set in presentation attributes, so that the page's policy may forbid inline styles. Widths are those
of A4 between the margins (680 units are 170 mm); type is 11 units (about 8 pt) or more. Colours come from a
colour-blind-safe scale whose steps also differ in lightness, and the two gravest levels carry a pattern, so that
the charts survive a black-and-white printer.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta
from math import ceil, log10

from event.incident import Certainty, Level
from report.document import MatrixChart, RiskBand, RiskChart, TimeChart, TimelineChart, TimelineEvent
from report.escape import html, line
from report.wording import BEIJING

WIDTH = 680
LEVEL_COLOURS: dict[Level, str] = {
    "critical": "#5b1a18",
    "high": "#c8500f",
    "medium": "#eda528",
    "low": "#6fb1dc",
    "informational": "#c9ccd1",
}
BAND_COLOURS: dict[RiskBand, str] = {
    "very_high": "#5b1a18",
    "high": "#c8500f",
    "medium": "#eda528",
    "low": "#6fb1dc",
    "very_low": "#c9ccd1",
}
HEAT = ("#eaf3fb", "#cfe3f4", "#a6cbe8", "#74aad6", "#3f82bb", "#1d5790", "#0b3160")
"""Light to dark, one hue."""
CERTAINTY_SHAPES: dict[Certainty, str] = {
    "confirmed": "disc",
    "inferred": "ring",
    "unknown": "square",
    "not_observed": "cross",
}
_INK, _SOFT, _GRID = "#1f2328", "#57606a", "#d8dee4"
_FONT = "Noto Sans CJK SC, Source Han Sans SC, Microsoft YaHei, PingFang SC, SimHei, Arial, sans-serif"


def text_width(text: str, size: float) -> float:
    """About how wide text will be, in units: full-width characters are one em, others 0.56 em."""
    return sum(size if unicodedata.east_asian_width(c) in "WF" else 0.56 * size for c in text)


def fit(text: str, size: float, room: float) -> str:
    """Text cut with an ellipsis so that it fits ``room`` units."""
    flat = line(text)
    if text_width(flat, size) <= room:
        return flat
    out = ""
    for char in flat:
        if text_width(out + char + "…", size) > room:
            break
        out += char
    return out + "…"


def wrap(text: str, size: float, room: float, lines: int) -> list[str]:
    """Text over at most ``lines`` lines of ``room`` units, broken at spaces where there are any nearby."""
    rest = line(text)
    out: list[str] = []
    while rest and len(out) < lines:
        if text_width(rest, size) <= room:
            out.append(rest)
            return out
        if len(out) == lines - 1:
            out.append(fit(rest, size, room))
            return out
        cut = 1
        while text_width(rest[: cut + 1], size) <= room:
            cut += 1
        space = rest.rfind(" ", cut // 2, cut + 1)
        if space > 0 and rest[cut : cut + 1].isascii():
            cut = space
        out.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return out


def ticks(top: float, count: int = 5) -> list[int]:
    """Round whole numbers from 0 to at least ``top``."""
    if top <= 0:
        return [0, 1]
    raw = top / count
    magnitude = 10 ** int(log10(raw)) if raw >= 1 else 1
    step = next((m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= raw), 10 * magnitude)
    step = max(1, int(step))
    return list(range(0, ceil(top / step) * step + 1, step))


class _Svg:
    def __init__(self, height: float, title: str, description: str) -> None:
        self.height = height
        self.parts: list[str] = [
            f"<title>{html(title)}</title>",
            f"<desc>{html(description)}</desc>",
            f'<rect x="0" y="0" width="{WIDTH}" height="{height:g}" fill="#ffffff"/>',
        ]

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 11,
        anchor: str = "start",
        colour: str = _INK,
        bold: bool = False,
        turn: float | None = None,
    ) -> None:
        weight = ' font-weight="bold"' if bold else ""
        turned = f' transform="rotate({turn:g} {x:g} {y:g})"' if turn is not None else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="{colour}"'
            f"{weight}{turned}>{html(line(text))}</text>"
        )

    def rect(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        fill: str,
        *,
        stroke: str = "none",
        width: float = 1,
        tip: str = "",
    ) -> None:
        inner = f"<title>{html(line(tip))}</title>" if tip else ""
        self.parts.append(
            f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(0.0, w):.2f}" height="{max(0.0, h):.2f}" fill="{fill}"'
            f' stroke="{stroke}" stroke-width="{width:g}">{inner}</rect>'
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str = _GRID, width: float = 1, dash: str = ""
    ) -> None:
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" stroke="{colour}"'
            f' stroke-width="{width:g}"{dashed}/>'
        )

    def hatch(self, x: float, y: float, w: float, h: float, pattern: str) -> None:
        """Lines over a bar: drawn one by one, for patterns need ids that clash between charts on a page."""
        if w <= 2 or h <= 2:
            return
        if pattern == "across":
            at = y + 4
            while at < y + h - 0.5:
                self.line(x, at, x + w, at, "#ffffff", 0.5)
                at += 6
        elif pattern == "up":
            at = x + 4
            while at < x + w - 0.5:
                self.line(at, y, at, y + h, "#ffffff", 0.5)
                at += 7

    def done(self) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:g}" width="{WIDTH}"'
            f' height="{self.height:g}" role="img" font-family="{_FONT}">' + "".join(self.parts) + "</svg>"
        )


_HATCH = {"critical": "across", "very_high": "across", "high": "up"}


def draw(chart: TimeChart | RiskChart | MatrixChart | TimelineChart, certainty_words: dict[Certainty, str]) -> str:
    """Draw any chart as an ``<svg>`` element.

    Args:
        chart: What to draw; titles and notes are set by the page, not in the picture.
        certainty_words: Words for the legend of a timeline.
    """
    if isinstance(chart, TimeChart):
        return time_chart(chart)
    if isinstance(chart, RiskChart):
        return risk_chart(chart)
    if isinstance(chart, MatrixChart):
        return matrix_chart(chart)
    return timeline_chart(chart, certainty_words)


def clock_labels(times: list[datetime], seconds: float) -> list[str]:
    """Labels for instants on an axis: as much of date and time as the step needs."""
    local = [t.astimezone(BEIJING) for t in times]
    if seconds >= 86400:
        return [f"{t:%m-%d}" for t in local]
    pattern = "%H:%M:%S" if seconds < 60 else "%H:%M"
    days = {t.date() for t in local}
    return [t.strftime(pattern if len(days) == 1 else "%m-%d " + pattern) for t in local]


def time_chart(chart: TimeChart) -> str:
    """Stacked bars: gravest level at the bottom, where lengths compare best."""
    left, right, top, bottom, height = 56, 12, 34, 52, 270
    svg = _Svg(height, chart.title, f"{chart.y_label}; {chart.x_label}")
    n = max(1, len(chart.starts))
    room, tall = WIDTH - left - right, height - top - bottom
    sums = [sum(s.values[i] for s in chart.series) for i in range(len(chart.starts))]
    marks = ticks(max(sums, default=0))
    scale = tall / marks[-1]
    base = top + tall
    for mark in marks:
        y = base - mark * scale
        svg.line(left, y, WIDTH - right, y)
        svg.text(left - 6, y + 4, f"{mark:,}", anchor="end", colour=_SOFT)
    slot = room / n
    wide = min(30.0, slot * 0.78)
    for i in range(len(chart.starts)):
        x, y = left + i * slot + (slot - wide) / 2, float(base)
        for series in chart.series:
            value = series.values[i]
            if not value:
                continue
            h = value * scale
            y -= h
            svg.rect(
                x,
                y,
                wide,
                h,
                LEVEL_COLOURS[series.level],
                stroke="#ffffff",
                width=0.6,
                tip=f"{series.label} {value} {chart.unit}",
            )
            svg.hatch(x, y, wide, h, _HATCH.get(series.level, ""))
    svg.line(left, base, WIDTH - right, base, _INK)
    labels = clock_labels(list(chart.starts), chart.bucket_seconds)
    size = max((text_width(t, 10.5) for t in labels), default=1) + 14
    every = max(1, ceil(size / slot))
    for i in range(0, len(labels), every):
        x = left + i * slot + slot / 2
        svg.line(x, base, x, base + 4, _INK)
        svg.text(x, base + 17, labels[i], size=10.5, anchor="middle", colour=_SOFT)
    svg.text(left + room / 2, height - 8, _dated(chart.x_label, list(chart.starts)), anchor="middle")
    svg.text(14, top + tall / 2, chart.y_label, anchor="middle", turn=-90)
    x = float(left)
    for series in chart.series:
        svg.rect(x, 9, 13, 13, LEVEL_COLOURS[series.level])
        svg.hatch(x, 9, 13, 13, _HATCH.get(series.level, ""))
        word = f"{series.label} {sum(series.values):,} {chart.unit}"
        svg.text(x + 18, 20, word)
        x += 18 + text_width(word, 11) + 20
    return svg.done()


def _dated(label: str, times: list[datetime]) -> str:
    if not times:
        return label
    a, b = times[0].astimezone(BEIJING).date(), times[-1].astimezone(BEIJING).date()
    return f"{label} {a}" if a == b else f"{label} {a} – {b}"


def risk_chart(chart: RiskChart) -> str:
    """Horizontal bars, the gravest on top, with the value at the end of each."""
    left, right, top, bottom, pitch = 190, 46, 12, 78, 30
    plot = pitch * max(1, len(chart.bars))
    height = top + plot + bottom
    svg = _Svg(height, chart.title, f"{chart.y_label}; {chart.x_label}")
    room = WIDTH - left - right
    scale = room / chart.maximum
    for mark in (m for m in ticks(chart.maximum) if m <= chart.maximum):
        x = left + mark * scale
        svg.line(x, top, x, top + plot)
        svg.text(x, top + plot + 16, f"{mark}", anchor="middle", colour=_SOFT)
    for i, bar in enumerate(chart.bars):
        y = top + i * pitch
        if bar.detail:
            svg.text(left - 8, y + 13, fit(bar.label, 11, left - 30), anchor="end")
            svg.text(left - 8, y + 25, fit(bar.detail, 9.5, left - 30), size=9.5, anchor="end", colour=_SOFT)
        else:
            svg.text(left - 8, y + 19, fit(bar.label, 11, left - 30), anchor="end")
        svg.rect(left, y + 4, bar.value * scale, pitch - 11, BAND_COLOURS[bar.band])
        svg.hatch(left, y + 4, bar.value * scale, pitch - 11, _HATCH.get(bar.band, ""))
        svg.text(left + bar.value * scale + 6, y + 19, f"{bar.value:g} {chart.unit}")
    svg.line(left, top, left, top + plot, _INK)
    svg.text(left + room / 2, top + plot + 36, chart.x_label, anchor="middle")
    svg.text(14, top + plot / 2, chart.y_label, anchor="middle", turn=-90)
    words = [word for _, word in chart.legend]
    x = (WIDTH - sum(18 + text_width(t, 11) + 16 for t in words)) / 2
    for band, word in chart.legend:
        svg.rect(x, height - 21, 13, 13, BAND_COLOURS[band])
        svg.hatch(x, height - 21, 13, 13, _HATCH.get(band, ""))
        svg.text(x + 18, height - 10, word)
        x += 18 + text_width(word, 11) + 16
    return svg.done()


def heat_step(value: int, top: int) -> int:
    """Step of ``HEAT`` for a value, on a logarithmic scale: traffic spans orders of magnitude."""
    if value <= 0 or top <= 1:
        return 0
    return min(len(HEAT) - 1, int(log10(max(1, value)) / log10(top) * (len(HEAT) - 1) + 0.5))


def heat_floor(step: int, top: int) -> int:
    """Smallest value that ``heat_step`` puts on ``step``, about; for the legend."""
    return 0 if step == 0 else max(1, ceil(top ** ((step - 0.5) / (len(HEAT) - 1))))


def matrix_chart(chart: MatrixChart) -> str:
    """Heat map; every cell carries its number, cells with alerts a heavy frame."""
    longest = max((text_width(r, 10.5) for r in chart.rows), default=60)
    left = min(210.0, longest + 40)
    head = min(150.0, max((text_width(c, 10.5) for c in chart.columns), default=60) * 0.72 + 26)
    room = WIDTH - left - 70
    cell_w = min(96.0, room / max(1, len(chart.columns)))
    cell_h = 28.0
    tall = cell_h * len(chart.rows)
    height = head + tall + 82
    svg = _Svg(height, chart.title, f"{chart.y_label} → {chart.x_label}; {chart.unit}")
    top_value = max((v for row in chart.values for v in row if v), default=0)
    svg.text(left + cell_w * len(chart.columns) / 2, 13, chart.x_label, anchor="middle")
    svg.text(13, head + tall / 2, chart.y_label, anchor="middle", turn=-90)
    for j, name in enumerate(chart.columns):
        svg.text(left + j * cell_w + cell_w / 2, head - 6, fit(name, 10.5, 150), size=10.5, turn=-42)
    for i, name in enumerate(chart.rows):
        svg.text(left - 7, head + i * cell_h + 17, fit(name, 10.5, left - 32), size=10.5, anchor="end")
        for j in range(len(chart.columns)):
            value = chart.values[i][j]
            x, y = left + j * cell_w, head + i * cell_h
            if value is None:
                svg.rect(x, y, cell_w, cell_h, "#ffffff", stroke=_GRID)
                svg.text(x + cell_w / 2, y + 17, "·", anchor="middle", colour="#8c959f")
                continue
            step = heat_step(value, top_value)
            svg.rect(
                x,
                y,
                cell_w,
                cell_h,
                HEAT[step],
                stroke="#ffffff",
                tip=f"{name} → {chart.columns[j]}: {value:,} {chart.unit}",
            )
            svg.text(
                x + cell_w / 2,
                y + 17,
                short(value),
                size=10.5,
                anchor="middle",
                colour="#ffffff" if step >= 4 else _INK,
            )
    for i, j in chart.marked:
        svg.rect(
            left + j * cell_w + 1.2,
            head + i * cell_h + 1.2,
            cell_w - 2.4,
            cell_h - 2.4,
            "none",
            stroke="#c8500f",
            width=2.4,
        )
    y = head + tall + 24
    x = left
    svg.text(x - 7, y + 11, chart.unit, anchor="end")
    floors = [heat_floor(s, top_value) for s in range(len(HEAT))]
    for step, colour in enumerate(HEAT):
        if step and floors[step] <= floors[step - 1]:
            continue
        svg.rect(x, y, 44, 14, colour, stroke=_GRID)
        svg.text(x + 22, y + 27, f"≥{short(floors[step])}", size=10, anchor="middle", colour=_SOFT)
        x += 44
    x = left
    y += 40
    svg.rect(x + 1, y - 9, 20, 12, "#ffffff", stroke="#c8500f", width=2.4)
    svg.text(x + 28, y + 1, chart.marked_label)
    x += 28 + text_width(chart.marked_label, 11) + 24
    svg.rect(x, y - 9, 20, 12, "#ffffff", stroke=_GRID)
    svg.text(x + 10, y + 1, "·", anchor="middle", colour="#8c959f")
    svg.text(x + 28, y + 1, chart.none_label)
    return svg.done()


def short(value: int) -> str:
    """A number in at most five characters."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if value >= size:
            scaled = value / (size if letter != "k" else 1000)
            return f"{scaled:.1f}{letter}" if scaled < 10 else f"{scaled:.0f}{letter}"
    return f"{value}"


def timeline_chart(chart: TimelineChart, certainty_words: dict[Certainty, str]) -> str:
    """Lanes by tactic; each event a numbered mark, its shape says how sure it is."""
    left = min(166.0, max(112.0, 40 + max(text_width(lane, 11) for lane in chart.lanes)))
    right, top, bottom = 22, 34, 58
    placed = _places(chart, left + 16.0, WIDTH - right - 16.0)
    depth = {lane: 1 + max((lv for _, lv, e in placed if e.lane == lane), default=0) for lane in chart.lanes}
    heights = [max(34, 16 + 18 * depth[lane]) for lane in chart.lanes]
    tall = sum(heights)
    height = top + tall + bottom
    svg = _Svg(height, chart.title, f"{chart.y_label}; {chart.x_label}")
    room = WIDTH - left - right
    times = [e.time for e in chart.events]
    low, high = min(times), max(times)
    span = max((high - low).total_seconds(), 1.0)
    starts: dict[str, float] = {}
    y = float(top)
    for k, (lane, lane_h) in enumerate(zip(chart.lanes, heights, strict=True)):
        starts[lane] = y
        svg.rect(left, y, room, lane_h, "#f1f4f7" if k % 2 == 0 else "#ffffff")
        rows = wrap(lane, 11, left - 36, 2)
        for r, row in enumerate(rows):
            svg.text(left - 8, y + lane_h / 2 + 4 + (r - (len(rows) - 1) / 2) * 13, row, anchor="end")
        y += lane_h
    count = 5
    points = [low + timedelta(seconds=span * k / count) for k in range(count + 1)]
    for point, label in zip(points, clock_labels(points, span / count), strict=True):
        x = left + 16.0 + (room - 32.0) * (point - low).total_seconds() / span
        svg.line(x, top, x, top + tall)
        svg.text(x, top + tall + 16, label, size=10.5, anchor="middle", colour=_SOFT)
    svg.line(left, top + tall, WIDTH - right, top + tall, _INK)
    for n, (x, level, event) in enumerate(placed, 1):
        y = starts[event.lane] + 17 + level * 18
        _mark(svg, x, y, event.certainty)
        inside = "#ffffff" if event.certainty == "confirmed" else _INK
        svg.text(x, y + 3.6, str(n), size=10, anchor="middle", colour=inside, bold=True)
    svg.text(left + room / 2, height - 20, _dated(chart.x_label, times), anchor="middle")
    svg.text(14, top + tall / 2, chart.y_label, anchor="middle", turn=-90)
    x = float(left)
    for certainty in dict.fromkeys(e.certainty for e in chart.events):
        _mark(svg, x + 8, 15, certainty)
        word = certainty_words[certainty]
        svg.text(x + 22, 19, word)
        x += 22 + text_width(word, 11) + 22
    return svg.done()


def _places(chart: TimelineChart, low_x: float, high_x: float) -> list[tuple[float, int, TimelineEvent]]:
    """Place and level of every event: marks of one lane stand beside or below each other, never on each other.

    A mark keeps the place of its time unless three levels are full there; then it moves right as little as it can.
    """
    times = [e.time for e in chart.events]
    low = min(times)
    span = max((max(times) - low).total_seconds(), 1.0)
    last: dict[tuple[str, int], float] = {}
    placed = []
    for event in chart.events:
        x = low_x + (high_x - low_x) * (event.time - low).total_seconds() / span
        free = [max(x, last.get((event.lane, level), -99.0) + 19) for level in range(3)]
        level = free.index(min(free))
        last[event.lane, level] = free[level]
        placed.append((min(free[level], high_x + 10), level, event))
    return placed


def _mark(svg: _Svg, x: float, y: float, certainty: Certainty) -> None:
    shape = CERTAINTY_SHAPES[certainty]
    if shape == "disc":
        svg.parts.append(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="8.5" fill="#1d5790"/>')
    elif shape == "ring":
        svg.parts.append(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="8" fill="#ffffff" stroke="#c8500f" stroke-width="2"/>')
    elif shape == "square":
        svg.rect(x - 8, y - 8, 16, 16, "#ffffff", stroke=_SOFT, width=2)
    else:
        svg.rect(x - 8, y - 8, 16, 16, "#ffffff", stroke=_SOFT, width=1.2)
        svg.line(x - 8, y - 8, x + 8, y + 8, _SOFT, 0.8)
