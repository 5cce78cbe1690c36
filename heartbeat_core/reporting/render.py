"""A report as one HTML file, which loads nothing and runs no script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from heartbeat_core.reporting.drawing import draw
from heartbeat_core.reporting.page import Cell, Figure, Report

TEMPLATE = "report.html.jinja"


def render(report: Report, made_at: str, made_with: str) -> str:
    """Return the page.

    Parameters
    ----------
    report : Report
    made_at, made_with : str
        For the last line.

    Returns
    -------
    str
        HTML that loads nothing and runs no script.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"svg": _svg, "cell": _cell, "heading": _heading, "zip_rows": _rows}
    environment.tests["number"] = lambda value: isinstance(value, int | float)
    template = (files("heartbeat_core.reporting") / TEMPLATE).read_text("utf-8")
    return environment.from_string(template).render(report=report, made_at=made_at, made_with=made_with)


def _svg(figure: Figure) -> Markup:
    return Markup(draw(figure))  # Its texts are escaped there.


def _cell(value: Cell) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else value


def _rows(columns: Iterable[Sequence[Cell]]) -> list[tuple[Cell, ...]]:
    return list(zip(*columns, strict=True))


def _heading(name: str) -> str:
    return name.replace("_", " ")
