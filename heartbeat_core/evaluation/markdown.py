"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from heartbeat_core.evaluation.intervals import Interval

NOTHING = "–"
"""Stands for a figure that is not defined."""


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; characters that would break it are removed or escaped.

    Parameters
    ----------
    head : Sequence[str]
        The names of the columns.
    rows : Sequence[Sequence[str]]
        The cells of each row, one for each column.
    """
    lines = [[one_line(cell).replace("|", r"\|") for cell in cells] for cells in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def one_line(text: str) -> str:
    """Return a text without line breaks."""
    return " ".join(text.split())


def interval_cell(figure: Interval | None) -> str:
    """Return a figure with its interval, as a cell of a table; ``NOTHING`` for None, a figure that is not defined."""
    return NOTHING if figure is None else f"{figure.value:.3f} ({figure.low:.2f} to {figure.high:.2f})"
