"""Reliability diagrams of one label as SVG: the share of rows with the label over the mean probability of a bin.

Text and frame have a grey that can be read on a light page and on a dark one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from heartbeat_core.evaluation.rank_figures import ReliabilityBin

MIN_ROWS = 5
"""A point of fewer rows says little, and is not drawn."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Those of Okabe and Ito, which people with colour blindness can tell apart, on light and on dark."""
_SIDE, _LEFT, _TOP, _WIDTH = 240, 52, 40, 320
"""Pixels: the side of the square, what lies beside it, and the width of a panel."""
_LINE = 16


def diagram_name(label: str) -> str:
    """Return the file name of a label's diagram that lies beside a report."""
    return f"reliability-{label}.svg"


def reliability_svg(label: str, tables: Mapping[str, Sequence[ReliabilityBin]]) -> str:
    """Return the diagram of one label, with one line for each database that has a bin of at least ``MIN_ROWS`` rows.

    Parameters
    ----------
    label : str
    tables : Mapping[str, Sequence[ReliabilityBin]]
        The bins of each database, as ``LabelRanks.reliability`` holds them.

    Returns
    -------
    str
        An SVG document.
    """
    panel = _panel(f"{label} against the rest", tables)
    return "\n".join([*_head(label, 1, len(tables)), *panel, "</svg>\n"])


def reliability_panels(label: str, panels: Mapping[str, Mapping[str, Sequence[ReliabilityBin]]]) -> str:
    """Return the diagrams of one label side by side.

    Parameters
    ----------
    label : str
    panels : Mapping[str, Mapping[str, Sequence[ReliabilityBin]]]
        The title of each panel, and its tables as in ``reliability_svg``; at least one.

    Returns
    -------
    str
        An SVG document.
    """
    drawn = [
        f'<g transform="translate({_WIDTH * number} 0)">\n{chr(10).join(_panel(f"{label}: {title}", tables))}\n</g>'
        for number, (title, tables) in enumerate(panels.items())
    ]
    n_names = max(len(tables) for tables in panels.values())
    return "\n".join([*_head(label, len(panels), n_names), *drawn, "</svg>\n"])


def _head(label: str, n_panels: int, n_names: int) -> list[str]:
    width, height = _WIDTH * n_panels, _TOP + _SIDE + 50 + _LINE * n_names
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11" fill="currentColor" stroke="none" color="#777">',
        f"<title>Reliability of the probability of {escape(label)}</title>",
    ]


def _panel(title: str, tables: Mapping[str, Sequence[ReliabilityBin]]) -> list[str]:
    drawn = {name: [one for one in bins if one.n >= MIN_ROWS] for name, bins in tables.items()}
    bottom, middle = _TOP + _SIDE, _LEFT + _SIDE / 2
    left_title = f"{_LEFT - 36} {_TOP + _SIDE / 2}"
    return [
        f'<text x="{middle}" y="20" text-anchor="middle" font-size="13">{escape(title)}</text>',
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="currentColor"/>',
        f'<path d="M{_LEFT} {bottom}L{_LEFT + _SIDE} {_TOP}" stroke="currentColor" stroke-dasharray="4 4"/>',
        *(_ticks(tick) for tick in (0.0, 0.5, 1.0)),
        f'<text x="{middle}" y="{bottom + 32}" text-anchor="middle">mean probability</text>',
        f'<text transform="translate({left_title}) rotate(-90)" text-anchor="middle">share with the label</text>',
        *(_line(name, bins, number) for number, (name, bins) in enumerate(drawn.items()) if bins),
        *(_legend(name, bins, number) for number, (name, bins) in enumerate(drawn.items())),
    ]


def _place(x: float, y: float) -> tuple[float, float]:
    return round(_LEFT + _SIDE * x, 1), round(_TOP + _SIDE * (1 - y), 1)


def _ticks(value: float) -> str:
    x, y = _place(value, value)
    return (
        f'<text x="{x}" y="{_TOP + _SIDE + 15}" text-anchor="middle">{value:g}</text>'
        f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>'
    )


def _line(name: str, bins: Sequence[ReliabilityBin], number: int) -> str:
    colour, paint = _paint(number)
    dashes = ' stroke-dasharray="3 3"' * (number >= len(_COLOURS))
    places = [_place(one.mean_probability, one.share_positive) for one in bins]
    path = " ".join(f"{x},{y}" for x, y in places)
    points = "".join(
        f'<circle cx="{x}" cy="{y}" r="3"><title>{escape(name)}: {one.n} rows</title></circle>'
        for (x, y), one in zip(places, bins, strict=True)
    )
    return f'<g {paint}><polyline points="{path}" fill="none" stroke="{colour}"{dashes}/>{points}</g>'


def _paint(number: int) -> tuple[str, str]:
    """Return the colour of a line and how its points are painted: hollow where the colours begin again."""
    colour = _COLOURS[number % len(_COLOURS)]
    return colour, f'fill="{colour}"' if number < len(_COLOURS) else f'fill="none" stroke="{colour}"'


def _legend(name: str, bins: Sequence[ReliabilityBin], number: int) -> str:
    y = _TOP + _SIDE + 50 + _LINE * number
    _, paint = _paint(number)
    note = "" if bins else f": no bin of {MIN_ROWS} rows"
    return (
        f'<circle cx="{_LEFT + 4}" cy="{y - 4}" r="4" {paint}/>'
        f'<text x="{_LEFT + 14}" y="{y}">{escape(name)}{note}</text>'
    )
