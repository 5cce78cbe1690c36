"""Charts as SVG, by matplotlib, for a page that has light and dark colours.

Matplotlib writes the colours below, and what is returned names CSS variables of the page in their place. Text stays
text. Every id is unique in the page.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator

from heartbeat_core.reporting.page import Bars, Chart, Figure, Histogram, Line, Ranges

_INK, _GRID, _MARK = "#010101", "#020202", "#030303"
_SERIES = ("#040404", "#050505", "#060606")
_VARIABLES = {
    _INK: "var(--ink)",
    _GRID: "var(--grid)",
    _MARK: "var(--mark)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES, start=1)},
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
_WIDTH, _HEIGHT, _ROW = 4.7, 2.3, 0.27
"""Inches; the width fits a phone without making text too small to read."""
_LONGEST_NAME = 30
_LETTER, _LEGEND_LINE = 0.072, 0.19
"""Inches that a letter of a row's name takes on average, and a line of the legend."""

# The font cache that it builds at the first use is nobody's concern.
logging.getLogger("matplotlib").setLevel(logging.ERROR)


def draw(figure: Figure) -> str:
    """Return the chart of a figure as an SVG element.

    Raises
    ------
    ValueError
        The figure has no chart.
    """
    if figure.chart is None:
        raise ValueError(f"figure '{figure.name}' has no chart")
    style = {**_STYLE, "svg.hashsalt": figure.name}
    # Names of files and labels may hold signs that the font, which only measures, does not have.
    with matplotlib.rc_context(style), warnings.catch_warnings(action="ignore", category=UserWarning):
        height = _height(figure.chart)
        canvas = Canvas(figsize=(_WIDTH, height))
        FigureCanvasSVG(canvas)
        axes = canvas.add_subplot()
        _draw(axes, figure.chart)
        _place(axes, figure.chart, height)
        sink = io.StringIO()
        canvas.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(sink.getvalue(), figure)


def _height(chart: Chart) -> float:
    if isinstance(chart, Bars):
        rows = len(chart.names) * (1 if len(chart.series) == 1 else 1.5)
    elif isinstance(chart, Ranges):
        rows = len(chart.names)
    else:
        return _HEIGHT
    return 0.95 + _ROW * max(rows, 1)


def _place(axes: Axes, chart: Chart, height: float) -> None:
    """Leave room for names, ticks and legend. Matplotlib's own layouts draw every chart twice to find it."""
    if isinstance(chart, Bars | Ranges):
        left = 0.12 + _LETTER * max((len(name) for name in _shown(chart.names)), default=0)
    else:
        left = 0.62
    legend = axes.get_legend()
    lines = 0 if legend is None else -(-len(legend.get_texts()) // _columns(chart))
    top = 0.08 + _LEGEND_LINE * lines
    axes.figure.subplots_adjust(left / _WIDTH, 0.44 / height, 1 - 0.14 / _WIDTH, 1 - top / height)


def _draw(axes: Axes, chart: Chart) -> None:
    axes.set_axisbelow(True)
    if isinstance(chart, Bars):
        _draw_bars(axes, chart)
    elif isinstance(chart, Ranges):
        _draw_ranges(axes, chart)
    elif isinstance(chart, Histogram):
        _draw_histogram(axes, chart)
    else:
        _draw_line(axes, chart)


def _draw_bars(axes: Axes, chart: Bars) -> None:
    n_series = len(chart.series)
    thickness = 0.72 / n_series
    for number, (name, values) in enumerate(chart.series.items()):
        places = [row - 0.36 + thickness * (number + 0.5) for row in range(len(chart.names))]
        axes.barh(places, values, thickness * 0.92, color=_SERIES[number], label=name)
    _name_rows(axes, chart.names)
    longest = max(
        [*(value for values in chart.series.values() for value in values), *(chart.marks or {}).values(), 1e-9]
    )
    axes.set_xlim(0, longest * 1.05)
    _mark(axes.axvline, chart.marks)
    axes.set_xlabel(chart.unit)
    axes.grid(axis="x", color=_GRID, linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=chart.unit == "recordings", steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    if n_series > 1 or chart.marks:
        _legend_above(axes, _columns(chart))


def _draw_ranges(axes: Axes, chart: Ranges) -> None:
    rows = range(len(chart.names))
    p10, p25, p50, p75, p90 = ([one[k] for one in chart.percentiles] for k in range(5))
    axes.hlines(rows, p10, p90, color=_SERIES[0], linewidth=1.2, label="10 to 90 % of the recordings")
    axes.hlines(rows, p25, p75, color=_SERIES[0], linewidth=6, label="25 to 75 %")
    axes.plot(p50, rows, "o", color=_SERIES[1], markersize=4.5, label="median")
    _name_rows(axes, chart.names)
    axes.set_xlim(0, max([*p90, *chart.marks.values()]) * 1.05)
    _mark(axes.axvline, chart.marks)
    axes.set_xlabel(chart.unit)
    axes.grid(axis="x", color=_GRID, linewidth=0.6)
    _legend_above(axes, _columns(chart))


def _draw_histogram(axes: Axes, chart: Histogram) -> None:
    widths = [high - low for low, high in zip(chart.edges[:-1], chart.edges[1:], strict=True)]
    bottom = [0] * len(widths)
    for number, (name, counts) in enumerate(chart.series.items()):
        axes.bar(chart.edges[:-1], counts, widths, bottom, align="edge", color=_SERIES[number], label=name)
        bottom = [below + count for below, count in zip(bottom, counts, strict=True)]
    axes.set_xlim(chart.edges[0], chart.edges[-1])
    axes.set_xlabel(chart.unit)
    axes.set_ylabel("recordings")
    axes.grid(axis="y", color=_GRID, linewidth=0.6)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))
    if len(chart.series) > 1:
        _legend_above(axes, _columns(chart))


def _draw_line(axes: Axes, chart: Line) -> None:
    axes.plot(chart.x, chart.y, color=_SERIES[0], linewidth=1.6, marker="o" if len(chart.x) < 40 else "", markersize=3)
    axes.set_ylim(0, max([*chart.y, *(chart.marks or {}).values(), 1e-9]) * 1.1)
    _mark(axes.axhline, chart.marks)
    axes.set_xlabel(chart.x_unit)
    axes.set_ylabel(chart.y_unit)
    axes.grid(axis="y", color=_GRID, linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))
    if chart.marks:
        _legend_above(axes, _columns(chart))


def _columns(chart: Chart) -> int:
    """Return how many entries of a legend fit beside one another."""
    return 2 if isinstance(chart, Ranges) else 3


def _legend_above(axes: Axes, n_columns: int) -> None:
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(0.0, 1.0),
        bbox_transform=axes.figure.transFigure,
        ncols=n_columns,
        handlelength=1.2,
        columnspacing=1.0,
    )


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), _shown(names))
    axes.set_ylim(len(names) - 0.5, -0.5)


def _shown(names: Sequence[str]) -> list[str]:
    return [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names]


def _mark(line: Callable[..., object], marks: Mapping[str, float] | None) -> None:
    for number, (name, value) in enumerate((marks or {}).items()):
        line(value, color=_MARK, linewidth=1.2, linestyle=("--", ":")[number % 2], label=name)


def _tick(value: float, _: object) -> str:
    for factor, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * factor / (10 if letter == "M" else 1):
            return f"{value / factor:g}{letter}"
    return f"{value:g}"


def _for_page(svg: str, figure: Figure) -> str:
    """Return the SVG element with the colours of the page, ids of its own, and a text for those who do not see it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda one: f' id="{figure.name}-{one[1]}"' if one[1] in used else "", svg)
    svg = re.sub(r'(xlink:href="#|url\(#)([^")]+)', rf"\g<1>{figure.name}-\g<2>", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font: \1 system-ui, sans-serif", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    view = re.search(r'viewBox="([^"]+)"', svg)
    box = view[1] if view else ""
    head = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg" viewBox="{box}"'
    return re.sub(r"<svg[^>]*>", f'{head} role="img" aria-label="{escape(figure.alt)}">', svg, count=1).strip()
