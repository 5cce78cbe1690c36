"""Charts as SVG elements for a page that has light and dark colours.

Colours are CSS variables of the page, text stays text, and no element has an id that another chart could have too. The
charts are written directly: to load matplotlib and to draw a report with it took a second of each job.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain, cycle

from heartbeat_core.reporting.page import Bars, Chart, Figure, Histogram, Line, Ranges

_WIDTH, _RIGHT = 340, 10
"""Units of the view box, which fits a phone without making text too small to read; and the room beside the plot."""
_FONT, _LETTER = 9, 5.2
"""Height of the text, and the width that a letter takes on average."""
_PLOT_HEIGHT, _ROW = 120, 19
_BELOW, _BESIDE = 32, 45
"""Room for numbers and the unit below the plot, and beside it."""
_LEGEND_LINE, _SWATCH = 14, 18
_LONGEST_NAME = 30
_MOST_POINTS = 40
"""A line with fewer points shows each of them."""
_MARK_DASHES = ("5 3", "1.5 2.5")

Legend = Sequence[tuple[str, str]]
"""Names, and the elements that stand before them, around (0, 0)."""


def draw(figure: Figure) -> str:
    """Return the chart of a figure as an SVG element.

    Raises
    ------
    ValueError
        The figure has no chart.
    """
    if figure.chart is None:
        raise ValueError(f"figure '{figure.name}' has no chart")
    plot = _drawn(figure.chart)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {plot.height:g}" role="img" '
        f'aria-label="{escape(figure.alt)}" font-size="{_FONT}" font-family="system-ui, sans-serif" fill="var(--ink)">'
        f"{''.join(plot.elements)}</svg>"
    )


def ticks(low: float, high: float, about: int, *, whole: bool = False) -> list[float]:
    """Return round values of a range, ascending: multiples of 1, 2 or 5 times a power of ten.

    Parameters
    ----------
    low, high : float
        The range; high is above low.
    about : int
        How many steps fit into it at most.
    whole : bool
        Only whole numbers.

    Returns
    -------
    list[float]
        Both ends are among them if they are such multiples.

    Examples
    --------
    >>> ticks(0, 47, 5)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """
    least = (high - low) / about
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    return [step * k for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values to places on the page."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start), 1)


class _Plot:
    """A plot with its axes and its legend; what is drawn later lies above what was drawn before."""

    def __init__(
        self, left: float, height: float, x: tuple[float, float], y: tuple[float, float], legend: Legend
    ) -> None:
        self.elements = [*_legend(legend)]
        self.left, self.right, self.top = left, _WIDTH - _RIGHT, 8 + _LEGEND_LINE * _n_lines(legend)
        self.bottom = self.top + height
        self.height = self.bottom + _BELOW
        self.x = _Axis(*_wide(*x), left, self.right)
        self.y = _Axis(*_wide(*y), self.bottom, self.top)

    def frame(self) -> None:
        """Draw the two axes."""
        self.elements.append(
            f'<path d="M{self.left} {self.top}V{self.bottom}H{self.right}" fill="none" stroke="var(--grid)"/>'
        )

    def x_numbers(self, values: Sequence[float], unit: str, *, grid: bool) -> None:
        """Write numbers and their unit below the plot, with lines of the grid on request."""
        for value in values:
            place = self.x(value)
            if grid:
                self.elements.append(_line(place, self.top, place, self.bottom, "var(--grid)", 0.6))
            self.elements.append(_text(place, self.bottom + 12, _number(value), "middle"))
        self.elements.append(_text((self.left + self.right) / 2, self.bottom + 26, unit, "middle"))

    def y_numbers(self, values: Sequence[float], unit: str) -> None:
        """Write numbers and their unit beside the plot, with lines of the grid."""
        for value in values:
            place = self.y(value)
            self.elements.append(_line(self.left, place, self.right, place, "var(--grid)", 0.6))
            self.elements.append(_text(self.left - 4, place + 3, _number(value), "end"))
        middle = (self.top + self.bottom) / 2
        self.elements.append(f'<g transform="translate(11 {middle:g}) rotate(-90)">{_text(0, 0, unit, "middle")}</g>')

    def rows(self, names: Sequence[str]) -> None:
        """Write the names of rows beside the plot."""
        for row, name in enumerate(names):
            self.elements.append(_text(self.left - 4, self.y(row) + 3, _short(name), "end"))

    def bar(self, x: tuple[float, float], y: tuple[float, float], colour: str) -> None:
        """Draw a bar from and to these values."""
        (x_low, x_high), (y_low, y_high) = sorted(map(self.x, x)), sorted(map(self.y, y))
        self.elements.append(
            f'<rect x="{x_low:g}" y="{y_low:g}" width="{x_high - x_low:.1f}" height="{y_high - y_low:.1f}" '
            f'fill="{colour}"/>'
        )

    def marks(self, marks: Mapping[str, float] | None, *, vertical: bool) -> None:
        """Draw dashed lines through the plot."""
        for value, dashes in zip((marks or {}).values(), cycle(_MARK_DASHES), strict=False):
            x, y = self.x(value), self.y(value)
            (x1, y1), (x2, y2) = ((x, self.top), (x, self.bottom)) if vertical else ((self.left, y), (self.right, y))
            self.elements.append(_line(x1, y1, x2, y2, "var(--mark)", 1.2, dashes))


def _drawn(chart: Chart) -> _Plot:
    if isinstance(chart, Bars):
        return _bars(chart)
    if isinstance(chart, Ranges):
        return _ranges(chart)
    return _histogram(chart) if isinstance(chart, Histogram) else _curve(chart)


def _bars(chart: Bars) -> _Plot:
    n_series, n_rows = len(chart.series), len(chart.names)
    squares = [(name, _square(_colour(number))) for number, name in enumerate(chart.series)]
    legend = [*squares, *_mark_legend(chart.marks)] if n_series > 1 or chart.marks else []
    longest = max([*chain(*chart.series.values()), *(chart.marks or {}).values(), 1e-9])
    row = _ROW * (1 if n_series == 1 else 1.5)
    plot = _Plot(_room_for(chart.names), row * max(n_rows, 1), (0, longest * 1.05), (n_rows - 0.5, -0.5), legend)
    plot.x_numbers(ticks(0, longest * 1.05, 5, whole=chart.unit == "recordings"), chart.unit, grid=True)
    plot.rows(chart.names)
    thickness = 0.72 / n_series
    for number, values in enumerate(chart.series.values()):
        for place, value in enumerate(values):
            above = place - 0.36 + thickness * number
            plot.bar((0, value), (above, above + 0.92 * thickness), _colour(number))
    plot.marks(chart.marks, vertical=True)
    plot.frame()
    return plot


def _ranges(chart: Ranges) -> _Plot:
    first, second = _colour(0), _colour(1)
    legend = [
        ("10 to 90 % of the recordings", _line(-7, 0, 7, 0, first, 1.2)),
        ("25 to 75 %", _line(-7, 0, 7, 0, first, 6)),
        ("median", _dot(0, 0, 2.3, second)),
        *_mark_legend(chart.marks),
    ]
    n_rows, highest = len(chart.names), max([*(one[4] for one in chart.percentiles), *chart.marks.values(), 1e-9])
    plot = _Plot(_room_for(chart.names), _ROW * max(n_rows, 1), (0, highest * 1.05), (n_rows - 0.5, -0.5), legend)
    plot.x_numbers(ticks(0, highest * 1.05, 5), chart.unit, grid=True)
    plot.rows(chart.names)
    for row, percentiles in enumerate(chart.percentiles):
        p10, p25, p50, p75, p90 = map(plot.x, percentiles)
        y = plot.y(row)
        plot.elements += [_line(p10, y, p90, y, first, 1.2), _line(p25, y, p75, y, first, 6), _dot(p50, y, 2.3, second)]
    plot.marks(chart.marks, vertical=True)
    plot.frame()
    return plot


def _histogram(chart: Histogram) -> _Plot:
    legend = [(name, _square(_colour(number))) for number, name in enumerate(chart.series)]
    n_bins = len(chart.edges) - 1
    most = max([*map(sum, zip(*chart.series.values(), strict=True)), 1])
    edges = chart.edges[0], chart.edges[-1]
    plot = _Plot(_BESIDE, _PLOT_HEIGHT, edges, (0, most * 1.05), legend if len(legend) > 1 else [])
    plot.x_numbers(ticks(plot.x.low, plot.x.high, 6), chart.unit, grid=False)
    plot.y_numbers(ticks(0, most * 1.05, 5, whole=True), "recordings")
    bottom = [0] * n_bins
    for number, counts in enumerate(chart.series.values()):
        for k, count in enumerate(counts):
            if count:
                plot.bar((chart.edges[k], chart.edges[k + 1]), (bottom[k], bottom[k] + count), _colour(number))
            bottom[k] += count
    plot.frame()
    return plot


def _curve(chart: Line) -> _Plot:
    highest = max([*chart.y, *(chart.marks or {}).values(), 1e-9]) * 1.1
    span = min(chart.x, default=0.0), max(chart.x, default=1.0)
    plot = _Plot(_BESIDE, _PLOT_HEIGHT, span, (0, highest), _mark_legend(chart.marks))
    plot.x_numbers(ticks(plot.x.low, plot.x.high, 5), chart.x_unit, grid=False)
    plot.y_numbers(ticks(0, highest, 5), chart.y_unit)
    points = [(plot.x(x), plot.y(y)) for x, y in zip(chart.x, chart.y, strict=True)]
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    plot.elements.append(f'<polyline points="{path}" fill="none" stroke="{_colour(0)}" stroke-width="1.6"/>')
    if len(points) < _MOST_POINTS:
        plot.elements += [_dot(x, y, 1.6, _colour(0)) for x, y in points]
    plot.marks(chart.marks, vertical=False)
    plot.frame()
    return plot


def _wide(low: float, high: float) -> tuple[float, float]:
    """Return the range, or one around it where its values are nearly the same."""
    nearly = 1e-9 * max(abs(low), abs(high), 1.0)
    return (low, high) if abs(high - low) > nearly else (low - 0.5, low + 0.5)


def _legend(legend: Legend) -> Iterator[str]:
    for (name, swatch), (x, line) in zip(legend, _legend_places(legend), strict=True):
        y = 10 + _LEGEND_LINE * line
        yield f'<g transform="translate({x + 8:g} {y - 3:g})">{swatch}</g>{_text(x + _SWATCH, y, name, "start")}'


def _legend_places(legend: Legend) -> list[tuple[float, int]]:
    """Return where each entry begins, and in which line: one after the other, as far as they fit."""
    places: list[tuple[float, int]] = []
    x, line = 0.0, 0
    for name, _ in legend:
        width = _SWATCH + _LETTER * len(name)
        if x and x + width > _WIDTH:
            x, line = 0.0, line + 1
        places.append((x, line))
        x += width + 8
    return places


def _n_lines(legend: Legend) -> int:
    return _legend_places(legend)[-1][1] + 1 if legend else 0


def _mark_legend(marks: Mapping[str, float] | None) -> Legend:
    return [
        (name, _line(-7, 0, 7, 0, "var(--mark)", 1.2, dashes))
        for name, dashes in zip(marks or {}, cycle(_MARK_DASHES), strict=False)
    ]


def _room_for(names: Sequence[str]) -> float:
    return 10 + _LETTER * max((len(_short(name)) for name in names), default=0)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _number(value: float) -> str:
    for factor, least, letter in ((1e6, 1e6, "M"), (1e3, 1e4, "k")):
        if abs(value) >= least:
            return f"{value / factor:g}{letter}"
    return f"{value:g}"


def _colour(number: int) -> str:
    return f"var(--series-{number + 1})"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashed}/>'


def _dot(x: float, y: float, radius: float, colour: str) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{colour}"/>'


def _square(colour: str) -> str:
    return f'<rect x="-6" y="-4" width="12" height="8" fill="{colour}"/>'
