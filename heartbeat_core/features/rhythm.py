"""The rhythm of bands' envelopes at 100 Hz: periods, levels, beats, modulation, and how steady the period is.

All bands of a recording are summarised together: each function takes one row a band and returns one value a band.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.features.series import (
    ENVELOPE_HZ,
    FLOOR,
    PERIOD_S,
    autocorrelation,
    distant_maxima,
    mean_over,
    moments,
    percentile_values,
    percentiles,
    smoothed,
    squared_magnitudes,
    windows,
)
from heartbeat_core.features.statistics_columns import BEATS, MODULATION, MODULATION_EDGES_HZ, N_PEAKS

STABILITY_WINDOW_S, STABILITY_HOP_S = 3.0, 0.5
BEAT_DISTANCE_S = 0.15
"""Peaks that are closer count as one."""
N_BEATS_MIN = 3
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
    levels = mean_over(envelopes, axis=1, keepdims=True)
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
    bands = np.arange(len(correlations))
    highest = np.argsort(np.where(is_peak, -inner, np.inf), axis=1, kind="stable")[:, :N_PEAKS].T
    is_found = is_peak[bands, highest]
    heights, lags_s = inner[bands, highest] * is_found, (highest + 1) * is_found / ENVELOPE_HZ
    found = {}
    for rank in range(N_PEAKS):
        found[f"autocorrelation_peak_{rank + 1}"] = heights[rank]
        found[f"autocorrelation_peak_{rank + 1}_lag_s"] = lags_s[rank]
    period, least = _period(correlations), correlations.argmin(axis=1)
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
    found = np.zeros((len(BEATS), len(relative)))
    bands = np.flatnonzero(n_peaks >= N_BEATS_MIN)
    if len(bands):
        counts = n_peaks[bands] - np.array([[1], [0]])
        rows = np.zeros((2, len(bands), counts.max() + counts.max() % 2))
        for row, band in enumerate(bands.tolist()):
            places = peaks[band]
            rows[0, row, : len(places) - 1] = places[1:] - places[:-1]
            rows[1, row, : len(places)] = smooth[band, places]
        rows[0] /= ENVELOPE_HZ
        values = _intervals_and_heights(rows, counts)
        found[:, bands] = [values[name] if name in values else 0.0 * counts[0] for name in BEATS]
    return {**dict(zip(BEATS, found, strict=True)), "beat_rate_hz": n_peaks * ENVELOPE_HZ / relative.shape[1]}


def _intervals_and_heights(rows: Values, counts: NDArray[np.intp]) -> ByBand:
    """Summarise intervals in seconds and heights: [2, n_bands, n], n even, zeros after the first ``counts`` values."""
    means = rows.sum(axis=-1) / counts
    centred = rows - means[..., np.newaxis]
    centred[np.arange(rows.shape[-1]) >= counts[..., np.newaxis]] = 0.0
    energies = np.square(centred).sum(axis=-1)
    deviations = np.sqrt(energies / counts)
    of_intervals, of_heights = _row_percentiles(rows, counts, (10, 25, 50, 75, 90)).transpose(1, 0, 2)
    alternate = rows.reshape(*counts.shape, -1, 2).transpose(3, 0, 1, 2)
    [medians] = _row_percentiles(alternate, np.stack([(counts + 1) // 2, counts // 2]), (50,))
    alternations = medians.max(axis=0) / np.maximum(medians.min(axis=0), FLOOR)
    intervals, energy = centred[0], energies[0]
    serial = [(intervals[:, lag:] * intervals[:, :-lag]).sum(axis=-1) / np.maximum(energy, FLOOR) for lag in (1, 2)]
    varies = energy > FLOOR
    return {
        "interval_mean_s": means[0],
        "interval_std_s": deviations[0],
        "interval_std_ratio": deviations[0] / means[0],
        **{
            f"interval_{name}_s": row
            for name, row in zip(("p10", "p25", "p50", "p75", "p90"), of_intervals, strict=True)
        },
        "height_mean": means[1],
        "height_std_ratio": deviations[1] / means[1],
        **{f"height_{name}": row for name, row in zip(("p10", "p50", "p90"), of_heights[::2], strict=True)},
        "interval_alternation": alternations[0],
        "height_alternation": alternations[1],
        "interval_serial_1": serial[0] * varies,
        "interval_serial_2": serial[1] * varies,
    }


def _row_percentiles(values: Values, counts: NDArray[np.intp], shares: Sequence[int]) -> Values:
    """Return [n_shares, ...]: percentiles of the first ``counts`` [...] values of each row of [..., n], at least 1."""
    n, last = values.shape[-1], counts.ravel() - 1
    ordered = values.reshape(-1, n).copy()
    ordered[np.arange(n) > last[:, np.newaxis]] = np.inf
    ordered.sort(axis=-1)
    places = np.array(shares)[:, np.newaxis] / 100 * last
    below, rows = places.astype(np.intp), np.arange(len(ordered))
    lower = ordered[rows, below]
    found = lower + (ordered[rows, np.minimum(below + 1, last)] - lower) * (places - below)
    return found.reshape(len(places), *counts.shape)


def _modulation(relative: Values) -> ByBand:
    """Return the shares of the envelopes' power by modulation frequency, and the frequency with the most power."""
    n_values = relative.shape[1]
    centred = (relative - mean_over(relative, axis=1, keepdims=True)) * np.hanning(n_values)
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
    correlations = autocorrelation(windows(relative, min(window, relative.shape[1]), hop))
    periods_s = _period(correlations) / ENVELOPE_HZ
    low_s, middle_s, high_s = percentile_values(periods_s.T, (25, 50, 75))
    return {
        "window_period_p50_s": middle_s,
        "window_period_std_ratio": periods_s.std(axis=1) / middle_s,
        "window_period_iqr_ratio": (high_s - low_s) / middle_s,
        "window_period_min_ratio": periods_s.min(axis=1) / middle_s,
        "window_period_max_ratio": periods_s.max(axis=1) / middle_s,
    }
