"""Reliability tables: how often rows with some probability of a label have it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.evaluation.metrics import N_BINS, bins_of
from heartbeat_core.evaluation.rank_figures import ReliabilityBin


def reliability_bins(probabilities: Values, is_positive: NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    """Return the bins of equal width that have rows, in ascending order.

    Parameters
    ----------
    probabilities : ndarray, [n] float64
        From 0 to 1.
    is_positive : ndarray, [n] bool
        Whether each row has the label.

    Examples
    --------
    >>> [one] = reliability_bins(np.array([0.41, 0.45]), np.array([True, False]))
    >>> one.number, one.n, round(one.mean_probability, 2), one.share_positive
    (6, 2, 0.43, 0.5)
    """
    bins = bins_of(probabilities)
    counts, sums, positive = (np.bincount(bins, weights, N_BINS) for weights in (None, probabilities, is_positive))
    return tuple(
        ReliabilityBin(
            number=number,
            n=int(counts[number]),
            mean_probability=float(sums[number] / counts[number]),
            share_positive=float(positive[number] / counts[number]),
        )
        for number in np.flatnonzero(counts).tolist()
    )


def merge_bins(tables: Sequence[Sequence[ReliabilityBin]]) -> tuple[ReliabilityBin, ...]:
    """Return the table of the rows of all tables together.

    Parameters
    ----------
    tables : Sequence[Sequence[ReliabilityBin]]
        As ``reliability_bins`` returns them, such as one for each seed.

    Returns
    -------
    tuple[ReliabilityBin, ...]
        The bins that any table has, in ascending order.
    """
    by_number: dict[int, list[ReliabilityBin]] = {}
    for one in chain.from_iterable(tables):
        by_number.setdefault(one.number, []).append(one)
    return tuple(_merge(by_number[number]) for number in sorted(by_number))


def _merge(bins: Sequence[ReliabilityBin]) -> ReliabilityBin:
    n = sum(one.n for one in bins)
    return ReliabilityBin(
        number=bins[0].number,
        n=n,
        mean_probability=sum(one.n * one.mean_probability for one in bins) / n,
        share_positive=sum(one.n * one.share_positive for one in bins) / n,
    )
