"""Summaries of an array along its first axis, and values by their names.

Percentiles and medians are those of NumPy, which takes several times as long for arrays of this size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import SupportsFloat

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Named = Mapping[str, SupportsFloat]
"""Single values by their names."""

FLOOR = 1e-10
"""What deviates less is constant."""


def changes(values: Values) -> Values:
    """Return [n - 1, ...]: the differences between neighbours, and one of 0 where there are none."""
    return np.diff(values, axis=0) if len(values) > 1 else np.zeros_like(values)


def moments(values: Values) -> tuple[Values, Values, Values, Values]:
    """Return mean, deviation, skewness and excess kurtosis along the first axis; the last two 0 where constant."""
    mean = values.mean(axis=0)
    centred = values - mean
    squares = centred * centred
    deviation = np.sqrt(squares.mean(axis=0))
    varies = deviation > FLOOR
    scale = np.where(varies, deviation, 1.0)
    skew = np.where(varies, (squares * centred).mean(axis=0) / scale**3, 0.0)
    kurtosis = np.where(varies, (squares * squares).mean(axis=0) / scale**4 - 3.0, 0.0)
    return mean, deviation, skew, kurtosis


def percentiles(values: Values, shares: Sequence[int]) -> dict[str, Values]:
    """Return percentiles along the first axis by their names, such as ``p05``."""
    return {f"p{share:02d}": found for share, found in zip(shares, percentile_values(values, shares), strict=True)}


def percentile_values(values: Values, shares: Sequence[float]) -> Values:
    """Return [n_shares, ...]: percentiles along the first axis, linear between neighbours."""
    ordered = np.sort(values, axis=0)
    places = np.array(shares) / 100 * (len(values) - 1)
    below = places.astype(np.intp)
    share_above = (places - below).reshape(-1, *[1] * (values.ndim - 1))
    above = np.minimum(below + 1, len(values) - 1)
    found: Values = ordered[below] + (ordered[above] - ordered[below]) * share_above
    return found


def median(values: Values) -> float:
    """Return the median of [n]."""
    ordered, middle = np.sort(values), len(values) // 2
    return float(ordered[middle] if len(values) % 2 else 0.5 * (ordered[middle - 1] + ordered[middle]))


def prefixed(prefix: str, values: Named) -> Named:
    """Return the values with a prefix before each name."""
    return {f"{prefix}_{name}": value for name, value in values.items()}
