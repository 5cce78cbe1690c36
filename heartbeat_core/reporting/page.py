"""What a report is made of: findings, a summary, and sections of charts and tables. Nothing here draws or writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Cell = str | int | float | None
Numbers = Mapping[str, Sequence[Any]]
"""Columns of the same length, by name; their values are cells."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Horizontal bars: a row for each name, one bar for each series.

    Attributes
    ----------
    unit : str
    names : Sequence[str]
        Of the n rows, from top to bottom.
    series : Mapping[str, Sequence[float]]
        By name, n values from 0 up, in ``unit``.
    marks : Mapping[str, float] | None
        Vertical lines, by their names; None draws none.
    """

    unit: str
    names: Sequence[str]
    series: Mapping[str, Sequence[float]]
    marks: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts in bins, in series that are stacked.

    Attributes
    ----------
    unit : str
        Of the edges.
    edges : Sequence[float]
        [n_bins + 1], ascending.
    series : Mapping[str, Sequence[int]]
        By name, [n_bins] counts of recordings.
    """

    unit: str
    edges: Sequence[float]
    series: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Ranges:
    """The spread of values, a row for each name.

    Attributes
    ----------
    unit : str
    names : Sequence[str]
    percentiles : Sequence[Sequence[float]]
        For each name the 10th, 25th, 50th, 75th and 90th percentile.
    marks : Mapping[str, float]
        As in ``Bars``.
    """

    unit: str
    names: Sequence[str]
    percentiles: Sequence[Sequence[float]]
    marks: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One value over another.

    Attributes
    ----------
    x_unit, y_unit : str
    x, y : Sequence[float]
        n points, in the order in which they are joined.
    marks : Mapping[str, float] | None
        Horizontal lines, by their names; None draws none.
    """

    x_unit: str
    y_unit: str
    x: Sequence[float]
    y: Sequence[float]
    marks: Mapping[str, float] | None = None


Chart = Bars | Histogram | Ranges | Line


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart, or a table where ``chart`` is None.

    Attributes
    ----------
    name : str
        Unique in the report: the anchor, and the name of the Parquet file with the numbers.
    title : str
    help : str
        One line: what is shown, and how to read it.
    numbers : Numbers
        What is plotted.
    chart : Chart | None
    alt : str
        What the chart shows, for those who do not see it.
    note : str | None
        What the numbers were taken from, if not from all rows.
    """

    name: str
    title: str
    help: str
    numbers: Numbers
    chart: Chart | None = None
    alt: str = ""
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    name : str
        Unique in the report: the anchor.
    title : str
    lead : Sequence[str]
        Sentences before the figures.
    figures : Sequence[Figure]
    """

    name: str
    title: str
    lead: Sequence[str] = ()
    figures: Sequence[Figure] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a reader must know.

    Attributes
    ----------
    level : Literal["good", "look", "bad"]
    text : str
        One or two sentences.
    """

    level: Literal["good", "look", "bad"]
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """A whole page.

    Attributes
    ----------
    title, subtitle : str
        What was run, and its state.
    findings : Sequence[Finding]
        The worst first.
    summary : Sequence[tuple[str, str]]
        The figures that the page begins with.
    sections : Sequence[Section]
        In their order; the last is where all this comes from.
    """

    title: str
    subtitle: str
    findings: Sequence[Finding]
    summary: Sequence[tuple[str, str]]
    sections: Sequence[Section]

    @property
    def figures(self) -> list[Figure]:
        """All figures, in order."""
        return [figure for section in self.sections for figure in section.figures]
