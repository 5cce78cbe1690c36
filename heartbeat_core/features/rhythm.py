"""The rhythm of bands' envelopes at 100 Hz: periods, levels, beats, modulation, and how steady the period is.

All bands of a recording are summarised together: each function takes one row a band and returns one value a band.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.features.series import (
    ENVELOPE_HZ,
    FLOOR,
    PERIOD_S,
    autocorrelation,
    distant_maxima,
    moments,
    percentile_values,
    percentiles,
    smoothed,
    squared_magnitudes,
)
from heartbeat_core.features.statistics_columns import BEATS, MODULATION, MODULATION_EDGES_HZ, N_PEAKS

STABILITY_WINDOW_S, STABILITY_HOP_S = 3.0, 0.5
BEAT_DISTANCE_S = 0.15
"""Peaks that are closer count as one."""
N_BEATS_MIN = 3
INTERVAL_SHARES, HEIGHT_SHARES = (10, 25, 50, 75, 90), (10, 50, 90)
ByBand = dict[str, Values]
"""[n_bands] float64 by name."""


def summarise_rhythm(envelopes: Values) -> ByBand:
    """Summarise the envelopes of bands.

    Parameters
    ----------
    envelopes : ndarray, [n_bands, n] float64
        At 100 Hz, not negative. The gain has no effect.

    Returns
    -------
    dict[str, ndarray]
        62 times [n_bands] float64, under the names of ``statistics_columns.RHYTHM``. All are computed from the
        envelopes divided by their means.
    """
    levels = envelopes.mean(axis=1, keepdims=True)
    sounds = levels > FLOOR
    relative = np.where(sounds, envelopes / np.where(sounds, levels, 1.0), 0.0)
    return {
        **_periodicity(autocorrelation(relative)),
        **_levels(relative),
        **_beats(relative),
        **_modulation(relative),
        **_stability(relative),
    }


def _periodicity(correlations: Values) -> ByBand:
    """Summarise autocorrelations: their four highest peaks and their lags, the heart's period, the lowest value."""
    inner = correlations[:, 1:-1]
    is_peak = (inner > correlations[:, :-2]) & (inner >= correlations[:, 2:])
    is_peak[:, : round(BEAT_DISTANCE_S * ENVELOPE_HZ) - 1] = False
    order = np.argsort(np.where(is_peak, -inner, np.inf), axis=1, kind="stable")[:, :N_PEAKS]
    is_found = np.take_along_axis(is_peak, order, axis=1)
    heights = np.where(is_found, np.take_along_axis(inner, order, axis=1), 0.0)
    lags_s = np.where(is_found, (order + 1) / ENVELOPE_HZ, 0.0)
    found = {}
    for rank in range(N_PEAKS):
        found[f"autocorrelation_peak_{rank + 1}"] = heights[:, rank]
        found[f"autocorrelation_peak_{rank + 1}_lag_s"] = lags_s[:, rank]
    bands, period, least = np.arange(len(correlations)), _period(correlations), correlations.argmin(axis=1)
    return {
        **found,
        "period_s": period / ENVELOPE_HZ,
        "autocorrelation_at_period": correlations[bands, period],
        "autocorrelation_at_half_period": correlations[bands, np.rint(period / 2).astype(np.intp)],
        "autocorrelation_at_four_thirds_period": correlations[bands, np.rint(period * 4 / 3).astype(np.intp)],
        "autocorrelation_min": correlations[bands, least],
        "autocorrelation_min_lag_s": least / ENVELOPE_HZ,
    }


def _period(correlation: Values) -> NDArray[np.intp]:
    """Return [...]: the lag of the highest value of [..., 201] within the range of heart cycles."""
    first, last = (round(seconds * ENVELOPE_HZ) for seconds in PERIOD_S)
    lags: NDArray[np.intp] = first + correlation[..., first : last + 1].argmax(axis=-1)
    return lags


def _levels(relative: Values) -> ByBand:
    logs = np.log(relative + 1e-3)
    log_percentiles = percentiles(logs.T, (5, 10, 25, 50, 75, 90, 95, 99))
    log_median = log_percentiles.pop("p50")
    _, deviations, skews, kurtoses = (one.reshape(2, -1) for one in moments(np.concatenate([relative, logs]).T))
    return {
        **{f"log_envelope_{name}_less_p50": values - log_median for name, values in log_percentiles.items()},
        "log_envelope_p50": log_median,
        "envelope_std": deviations[0],
        "envelope_skew": skews[0],
        "envelope_kurtosis": kurtoses[0],
        "log_envelope_std": deviations[1],
        "log_envelope_skew": skews[1],
        "log_envelope_kurtosis": kurtoses[1],
    }


def _beats(relative: Values) -> ByBand:
    """Summarise the envelopes' peaks: rate, intervals and heights, and how the last two alternate (S1 and S2)."""
    smooth = smoothed(relative)
    peaks = [distant_maxima(row, round(BEAT_DISTANCE_S * ENVELOPE_HZ)) for row in smooth]
    n_peaks = np.array([len(places) for places in peaks])
    found = {name: np.zeros(len(relative)) for name in BEATS}
    found["beat_rate_hz"] = n_peaks * ENVELOPE_HZ / relative.shape[1]
    bands = np.flatnonzero(n_peaks >= N_BEATS_MIN)
    if len(bands):
        counts = np.stack([n_peaks[bands] - 1, n_peaks[bands]])
        series = np.zeros((2, len(bands), counts.max()))
        for row, band in enumerate(bands):
            series[0, row, : counts[0, row]] = np.diff(peaks[band]) / ENVELOPE_HZ
            series[1, row, : counts[1, row]] = smooth[band, peaks[band]]
        for name, values in _intervals_and_heights(series, counts).items():
            found[name][bands] = values
    return found


def _intervals_and_heights(series: Values, counts: NDArray[np.intp]) -> ByBand:
    """Summarise [2, n_bands, n]: intervals in seconds and heights, of which ``counts`` [2, n_bands] are, then zeros."""
    means = series.sum(axis=-1) / counts
    centred = np.where(np.arange(series.shape[-1]) < counts[..., np.newaxis], series - means[..., np.newaxis], 0.0)
    energies = np.square(centred).sum(axis=-1)
    deviations = np.sqrt(energies / counts)
    of_intervals = _row_percentiles(series[0], counts[0], INTERVAL_SHARES)
    of_heights = _row_percentiles(series[1], counts[1], HEIGHT_SHARES)
    even = _row_percentiles(series[..., ::2], (counts + 1) // 2, (50,))[0]
    odd = _row_percentiles(series[..., 1::2], counts // 2, (50,))[0]
    alternation = np.maximum(even, odd) / np.maximum(np.minimum(even, odd), FLOOR)
    varies = energies[0] > FLOOR
    serial = {}
    for lag in (1, 2):
        products = (centred[0, :, lag:] * centred[0, :, :-lag]).sum(axis=-1)
        serial[f"interval_serial_{lag}"] = np.where(varies, products / np.where(varies, energies[0], 1.0), 0.0)
    return {
        "interval_mean_s": means[0],
        "interval_std_s": deviations[0],
        "interval_std_ratio": deviations[0] / means[0],
        **{f"interval_p{share:02d}_s": row for share, row in zip(INTERVAL_SHARES, of_intervals, strict=True)},
        "height_mean": means[1],
        "height_std_ratio": deviations[1] / means[1],
        **{f"height_p{share:02d}": row for share, row in zip(HEIGHT_SHARES, of_heights, strict=True)},
        "interval_alternation": alternation[0],
        "height_alternation": alternation[1],
        **serial,
    }


def _row_percentiles(values: Values, counts: NDArray[np.intp], shares: Sequence[int]) -> Values:
    """Return [n_shares, ...]: percentiles of the first ``counts`` [...] values of each row of [..., n], at least 1."""
    ordered = np.sort(np.where(np.arange(values.shape[-1]) < counts[..., np.newaxis], values, np.inf), axis=-1)
    last = counts[..., np.newaxis] - 1
    places = np.array(shares) / 100 * last
    below = places.astype(np.intp)
    lower = np.take_along_axis(ordered, below, axis=-1)
    upper = np.take_along_axis(ordered, np.minimum(below + 1, last), axis=-1)
    found: Values = np.moveaxis(lower + (upper - lower) * (places - below), -1, 0)
    return found


def _modulation(relative: Values) -> ByBand:
    """Return the shares of the envelopes' power by modulation frequency, and the frequency with the most power."""
    n_values = relative.shape[1]
    centred = (relative - relative.mean(axis=1, keepdims=True)) * np.hanning(n_values)
    n_points = max(1024, scipy.fft.next_fast_len(n_values, real=True))
    edges = np.round(np.array(MODULATION_EDGES_HZ) * n_points / ENVELOPE_HZ).astype(np.intp)
    power = squared_magnitudes(scipy.fft.rfft(centred, n_points)[:, edges[0] : edges[-1]])
    sums = np.add.reduceat(power, edges[:-1] - edges[0], axis=1)
    totals = sums.sum(axis=1)
    moves = totals > FLOOR
    shares = np.where(moves, sums.T / np.where(moves, totals, 1.0), 0.0)
    top_hz = np.where(moves, (edges[0] + power.argmax(axis=1)) * ENVELOPE_HZ / n_points, 0.0)
    return dict(zip(MODULATION, (*shares, top_hz), strict=True))


def _stability(relative: Values) -> ByBand:
    """Summarise the heart's period in windows of 3 s. All values but the median are in units of the median."""
    window, hop = (round(seconds * ENVELOPE_HZ) for seconds in (STABILITY_WINDOW_S, STABILITY_HOP_S))
    windows = sliding_window_view(relative, min(window, relative.shape[1]), axis=1)[:, ::hop]
    periods_s = _period(autocorrelation(windows)) / ENVELOPE_HZ
    low_s, middle_s, high_s = percentile_values(periods_s.T, (25, 50, 75))
    return {
        "window_period_p50_s": middle_s,
        "window_period_std_ratio": periods_s.std(axis=1) / middle_s,
        "window_period_iqr_ratio": (high_s - low_s) / middle_s,
        "window_period_min_ratio": periods_s.min(axis=1) / middle_s,
        "window_period_max_ratio": periods_s.max(axis=1) / middle_s,
    }
