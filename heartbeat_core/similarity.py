"""Self-similarity: how like itself a recording is from one moment to others, where an extra beat or a knock stands out.

The levels of all bands in windows of 0.6 s are compared with each other, as the matrix profile does with one channel
(Yeh et al., ICDM 2016). Bounded: the first 400 windows, one every 0.04 s, which are 16.56 s.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from heartbeat_core.cycles_names import (
    APART_STEPS,
    BEST_5_SHARES,
    BEST_SHARES,
    LAG_SHARES,
    NEXT_SHARES,
    REPEATS,
    STEPS_HZ,
    apart,
)
from heartbeat_core.summaries import Values, percentile_values

WINDOW = 30
"""Values of a window, 20 ms each."""
MOST_WINDOWS = 400
_FLOOR = -2.5
"""Quieter is silence, whatever noise there is in it."""
_OTHER = 8
"""Windows that are so many steps apart count as others."""


def summarise_similarity(levels: Values, period: int) -> dict[str, float]:
    """Summarise the levels [n_bands, n] at 100 Hz of a recording whose heart has a period, in units of 10 ms."""
    matrix = similarity_matrix(levels)
    n_windows = len(matrix)
    steps = np.abs(np.subtract.outer(np.arange(n_windows), np.arange(n_windows)))
    best = np.sort(np.where(steps >= _OTHER, matrix, -1.0), axis=1)
    n_best = min(5, n_windows)
    found = {
        **_named("similarity_best", best[:, -1], BEST_SHARES),
        **_named("similarity_best_5", best[:, -n_best:].mean(axis=1), BEST_5_SHARES),
        **_summarise_repeats(matrix, max(period * STEPS_HZ / 100, 2.0)),
    }
    for distance in APART_STEPS:
        is_there = distance < n_windows
        found[f"similarity_{apart(distance)}"] = float(np.diagonal(matrix, distance).mean()) if is_there else 0.0
    return found


def similarity_matrix(levels: Values) -> Values:
    """Return [n_windows, n_windows]: the correlation of windows of the levels [n_bands, n], each band less its mean."""
    n_bands, n_values = levels.shape
    halved = levels[:, : n_values // 2 * 2].reshape(n_bands, -1, 2).mean(axis=2)
    halved = np.maximum(halved, _FLOOR)
    halved -= halved.mean(axis=1, keepdims=True) if halved.shape[1] else 0.0
    missing = 2 * WINDOW - halved.shape[1]
    if missing > 0:
        halved = np.pad(halved, ((0, 0), (0, missing)))
    windows = sliding_window_view(halved, WINDOW, axis=1)[:, : 2 * MOST_WINDOWS : 2].transpose(1, 0, 2)
    flat = (windows - windows.mean(axis=2, keepdims=True)).reshape(len(windows), -1)
    flat /= np.sqrt(np.square(flat).sum(axis=1, keepdims=True)) + 1e-6
    matrix: Values = flat @ flat.T
    return matrix


def _summarise_repeats(matrix: Values, period: float) -> dict[str, float]:
    """Summarise the best next repeat of each window, half to 1.7 periods (in steps) later."""
    n_windows = len(matrix)
    lags = np.arange(max(5, round(0.5 * period)), round(1.7 * period) + 1)
    lags = lags[lags < n_windows - 4]
    if len(lags) <= 3 or lags[-1] < period:
        return {f"similarity_{name}": 0.0 for name in REPEATS}
    rows = np.arange(n_windows - lags[-1])[:, np.newaxis]
    later = matrix[rows, rows + lags]
    relative_lag = lags[later.argmax(axis=1)] / period
    best = later.max(axis=1)
    at_period = later[:, np.abs(lags - period) <= max(1.0, 0.08 * period)].max(axis=1)
    return {
        **_named("similarity_next", best, NEXT_SHARES),
        **_named("similarity_at_period", at_period, NEXT_SHARES),
        **{f"{name}_ratio": value for name, value in _named("similarity_lag", relative_lag, LAG_SHARES).items()},
        "similarity_lag_std_ratio": float(relative_lag.std()),
        "similarity_gain_mean": float((best - at_period).mean()),
        "similarity_gain_max": float((best - at_period).max()),
        "similarity_lag_share_15_percent_off": float(np.mean(np.abs(relative_lag - 1) > 0.15)),
    }


def _named(prefix: str, values: Values, shares: tuple[int, ...]) -> dict[str, float]:
    found = percentile_values(values, shares).tolist()
    return {f"{prefix}_p{share:02d}": value for share, value in zip(shares, found, strict=True)}
