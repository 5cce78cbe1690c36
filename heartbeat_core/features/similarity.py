"""Measure how a recording repeats itself, by the similarity of its windows of 0.6 s; this needs no beats.

In a regular heart, each window has a nearly equal one a period later. A premature beat or a short noise has none. The
levels of all bands are compared, as the matrix profile does with one channel (Yeh et al., ICDM 2016).
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from heartbeat_core.arrays import Named, Values
from heartbeat_core.features.cycles_columns import (
    APART_STEPS,
    BEST_5_SHARES,
    BEST_SHARES,
    LAG_SHARES,
    NEXT_SHARES,
    REPEATS,
    STEPS_HZ,
    apart,
)
from heartbeat_core.features.series import percentiles, prefixed

N_WINDOWS_MAX = 400
"""Time and memory grow with the square of this number."""
WINDOW, STEP = 30, 2
"""In points of 20 ms."""
N_POINTS_MIN = 2 * WINDOW
QUIETEST = -2.5
"""Lower levels are noise."""
CONSTANT = 1e-6
"""A window whose levels have a smaller norm is almost constant; its shape is rounding."""
N_STEPS_OTHER = 8
"""Windows that are nearer to each other overlap too much to be informative."""
NEXT_RANGE = (0.5, 1.7)
"""Range in which the next repeat is searched, in periods."""


def summarise_similarity(levels: Values, period_s: float) -> Named:
    """Summarise how similar the windows of a recording are.

    Parameters
    ----------
    levels : ndarray, [n_bands, n] float64
        At 100 Hz, natural logarithms.
    period_s : float
        Period of the heart.

    Returns
    -------
    Named
        50 values, under the names that follow ``similarity`` in ``cycles_columns.NAMES``.
    """
    similarity = window_similarity(levels)
    places = np.arange(len(similarity))
    is_other = np.abs(np.subtract.outer(places, places)) >= N_STEPS_OTHER
    # The lowest possible value, if there are fewer than five others.
    best = np.sort(np.partition(np.where(is_other, similarity, -1.0), -5, axis=1)[:, -5:], axis=1)
    averages = {
        apart(steps): similarity.diagonal(steps).mean() if steps < len(similarity) else 0.0 for steps in APART_STEPS
    }
    return {
        **prefixed("best", percentiles(best[:, -1], BEST_SHARES)),
        **prefixed("best_5", percentiles(best.mean(axis=1), BEST_5_SHARES)),
        **_repeats(similarity, period_s * STEPS_HZ),
        **averages,
    }


def window_similarity(levels: Values) -> Values:
    """Return [m, m] float64, m from 16 to 400: correlations of windows of 0.6 s every 40 ms, over all bands.

    Parameters
    ----------
    levels : ndarray, [n_bands, n] float64
        At 100 Hz, n at least 2. Levels shorter than 1.2 s are extended with their mean.

    Returns
    -------
    Values
        ``x · y / (|x| |y|)`` of windows minus their mean in each band; 0 if one is constant.
    """
    n_points = min(levels.shape[1] // 2, (N_WINDOWS_MAX - 1) * STEP + WINDOW)
    points = np.maximum(levels[:, : 2 * n_points].reshape(len(levels), n_points, 2).mean(axis=2), QUIETEST)
    if n_points < N_POINTS_MIN:
        points = np.pad(points - points.mean(axis=1, keepdims=True), ((0, 0), (0, N_POINTS_MIN - n_points)))
    windows = sliding_window_view(points, WINDOW, axis=1)[:, ::STEP].transpose(1, 0, 2)
    flat = (windows - windows.mean(axis=2, keepdims=True)).reshape(len(windows), -1)
    norms = np.sqrt(np.square(flat).sum(axis=1, keepdims=True))
    varies = norms > CONSTANT
    unit = np.where(varies, flat / np.where(varies, norms, 1.0), 0.0)
    similarity: Values = unit @ unit.T
    return similarity


def _repeats(similarity: Values, period: float) -> Named:
    """Summarise each window's best next repeat, and the best one within 8 % (at least a step) of a period later."""
    lags = np.arange(max(5, round(NEXT_RANGE[0] * period)), round(NEXT_RANGE[1] * period) + 1)
    lags = lags[lags < len(similarity) - 4]
    if len(lags) <= 3 or lags[-1] < period:
        return dict.fromkeys(REPEATS, 0.0)
    windows = np.arange(len(similarity) - lags[-1])[:, np.newaxis]
    later = similarity[windows, windows + lags]
    is_near = np.abs(lags - period) <= max(1.0, 0.08 * period)
    best, at_period = later.max(axis=1), later[:, is_near].max(axis=1)
    best_lags = lags[later.argmax(axis=1)]
    ratios = best_lags / period
    return {
        **prefixed("next", percentiles(best, NEXT_SHARES)),
        **prefixed("at_period", percentiles(at_period, NEXT_SHARES)),
        **{f"lag_{name}_ratio": value for name, value in percentiles(ratios, LAG_SHARES).items()},
        "lag_std_ratio": ratios.std(),
        "gain_mean": (best - at_period).mean(),
        "gain_max": (best - at_period).max(),
        # Computed in whole numbers and quarters, so that 1.15 is exactly as far from 1 as 0.85.
        "lag_share_15_percent_off": np.mean(20 * np.abs(best_lags - period) > 3 * period),
    }
