"""Counts, histograms and percentiles of sampled columns, and how numbers are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.reporting.page import Figure, Histogram, Numbers
from heartbeat_core.results.sample import Sample

N_BINS = 30
_TAIL = 0.005
"""Share of the values at each end that share the outermost bins."""


def numbers_of(sample: Sample | None, name: str) -> NDArray[np.float64]:
    """Return the finite values of a column of numbers.

    Parameters
    ----------
    sample : Sample | None
    name : str
        The column; booleans are 0 and 1.

    Returns
    -------
    ndarray, [n] float64
        In the order of the rows; none if there is no sample or no such column.
    """
    if sample is None or name not in sample.columns:
        return np.empty(0)
    values = np.asarray(sample.columns[name], np.float64)
    return values[np.isfinite(values)]


def count_values(sample: Sample | None, *names: str) -> dict[str, int]:
    """Count the combinations of columns of a sample as texts.

    Parameters
    ----------
    sample : Sample | None
    *names : str
        The columns, whose values a text joins with ``·``.

    Returns
    -------
    dict[str, int]
        The commonest first, then in alphabetical order. Rows with a missing cell are left out; empty if there is no
        sample or if it lacks a column.
    """
    if sample is None or any(name not in sample.columns for name in names):
        return {}
    cells = zip(*(sample.columns[name].tolist() for name in names), strict=True)
    counts = Counter(" · ".join(map(_text, row)) for row in cells if not any(map(_is_missing, row)))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def edges_for(values: NDArray[np.float64], low: float | None = None, high: float | None = None) -> list[float]:
    """Return round edges of about ``N_BINS`` bins.

    Parameters
    ----------
    values : ndarray, [n] float64
        Finite.
    low, high : float | None
        The ends of the bins; None leaves out half a percent of the values at that end.

    Returns
    -------
    list[float]
        Ascending, at even distances; the outer ones lie at or beyond ``low`` and ``high``.

    Examples
    --------
    >>> edges_for(np.array([0.2, 7.9]), low=0.0)[:3]
    [0.0, 0.5, 1.0]
    """
    least, most = np.quantile(values, [_TAIL, 1.0 - _TAIL]) if len(values) else (0.0, 1.0)
    low = float(least) if low is None else low
    high = float(most) if high is None else high
    if high <= low:
        high = low + 1.0
    step = _round_step((high - low) / N_BINS)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [round(float(k * step), 12) for k in np.arange(first, last + 1)]


def bin_counts(values: NDArray[np.float64], edges: Sequence[float]) -> list[int]:
    """Count the values between edges; what lies outside counts in the outermost bins.

    Parameters
    ----------
    values : ndarray, [n] float64
    edges : Sequence[float]
        Of n_bins bins, [n_bins + 1], ascending.

    Returns
    -------
    list[int]
        [n_bins]
    """
    inside = np.clip(values, edges[0], edges[-1])
    counts: list[int] = np.histogram(inside, edges)[0].tolist()
    return counts


def histogram_figure(
    name: str,
    title: str,
    told: str,
    unit: str,
    values: NDArray[np.float64] | Mapping[str, NDArray[np.float64]],
    note: str | None,
    *,
    low: float | None = None,
    high: float | None = None,
) -> Figure:
    """Return a histogram of values, or of several series of values, which are stacked.

    Parameters
    ----------
    name, title, told, note
        As in ``Figure``, where ``told`` is called ``help``.
    unit : str
        Of the values.
    values : ndarray, [n] float64 | Mapping[str, ndarray]
        One series, or several by name.
    low, high : float | None
        The ends of the bins; None takes all values but the tails.

    Returns
    -------
    Figure
        With a ``Histogram``, and the columns ``from``, ``to`` and one for each series (``recordings`` for a single
        one).
    """
    series = values if isinstance(values, Mapping) else {"recordings": values}
    together = np.concatenate(list(series.values()))
    edges = edges_for(together, low, high)
    counts = {one: bin_counts(there, edges) for one, there in series.items()}
    numbers: Numbers = {"from": edges[:-1], "to": edges[1:], **counts}
    alt = f"Histogram of {title[0].lower()}{title[1:]}: {describe(together, unit)}"
    return Figure(name, title, told, numbers, Histogram(unit, edges, counts), alt, note)


def describe(values: NDArray[np.float64], unit: str) -> str:
    """Return the median and the middle 80 % of values in words.

    Parameters
    ----------
    values : ndarray, [n] float64
    unit : str
        Of the values.

    Examples
    --------
    >>> describe(np.array([1.0, 2.0, 3.0]), "s")
    'median 2 s, 80 % between 1.2 and 2.8'
    """
    if not len(values):
        return "no values"
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return f"median {middle:.3g} {unit}, 80 % between {low:.3g} and {high:.3g}"


def sampled(sample: Sample | None, of: int) -> str | None:
    """Return what a sample is, in words.

    Parameters
    ----------
    sample : Sample | None
    of : int
        How many rows the whole table has.

    Returns
    -------
    str | None
        None if the sample is all there is, or if there is none.
    """
    if sample is None or sample.is_complete:
        return None
    return f"From a sample: {whole(sample.n_rows)} of {whole(of)} rows, at even distances in the listing."


def percent(part: float, total: float) -> str:
    """Return a share as a percentage; ``–`` where the total is 0.

    Examples
    --------
    >>> percent(1, 3), percent(1, 5000), percent(0, 3)
    ('33 %', '0.02 %', '0 %')
    """
    if not total:
        return "–"
    share = 100.0 * part / total
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.2g} %"


def whole(number: int) -> str:
    """Return a count with commas between thousands."""
    return f"{number:,}"


def _round_step(step: float) -> float:
    power = 10.0 ** np.floor(np.log10(step))
    return float(next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= step * (1 - 1e-9)))


def _is_missing(cell: object) -> bool:
    return cell is None or cell != cell


def _text(cell: object) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)
