"""The rhythm of one band's envelope at 100 Hz: periods, levels, beats, modulation, and how steady the period is."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from heartbeat_core.arrays import Named, Values
from heartbeat_core.features.series import (
    ENVELOPE_HZ,
    FLOOR,
    PERIOD_S,
    autocorrelation,
    distant_maxima,
    local_maxima,
    median,
    moments,
    percentile_values,
    percentiles,
    prefixed,
)
from heartbeat_core.features.statistics_columns import BEATS, MODULATION, MODULATION_EDGES_HZ, N_PEAKS

STABILITY_WINDOW_S, STABILITY_HOP_S = 3.0, 0.5
BEAT_DISTANCE_S = 0.15
"""Peaks that are closer count as one."""


def summarise_rhythm(values: Values) -> Named:
    """Summarise one band's envelope.

    Parameters
    ----------
    values : ndarray, [n] float64
        At 100 Hz, not negative. The gain has no effect.

    Returns
    -------
    Named
        62 values, under the names that follow the name of the band in ``statistics_columns.NAMES``. All are computed
        from the envelope divided by its mean.
    """
    level = float(values.mean())
    relative = values / level if level > FLOOR else np.zeros_like(values)
    return {
        **_periodicity(autocorrelation(relative)),
        **_levels(relative),
        **_beats(relative),
        **_modulation(relative),
        **_stability(relative),
    }


def _periodicity(correlation: Values) -> Named:
    """Summarise an autocorrelation: its four highest peaks and their lags, the heart's period, the lowest value."""
    peaks = local_maxima(correlation)
    peaks = peaks[peaks >= BEAT_DISTANCE_S * ENVELOPE_HZ]
    highest = peaks[np.argsort(-correlation[peaks], kind="stable")[:N_PEAKS]]
    found = {}
    for rank in range(1, N_PEAKS + 1):
        lag = int(highest[rank - 1]) if rank <= len(highest) else None
        found[f"autocorrelation_peak_{rank}"] = 0.0 if lag is None else correlation[lag]
        found[f"autocorrelation_peak_{rank}_lag_s"] = 0.0 if lag is None else lag / ENVELOPE_HZ
    period, least = int(_period(correlation)), int(correlation.argmin())
    return {
        **found,
        "period_s": period / ENVELOPE_HZ,
        "autocorrelation_at_period": correlation[period],
        "autocorrelation_at_half_period": correlation[round(period / 2)],
        "autocorrelation_at_four_thirds_period": correlation[round(period * 4 / 3)],
        "autocorrelation_min": correlation[least],
        "autocorrelation_min_lag_s": least / ENVELOPE_HZ,
    }


def _period(correlation: Values) -> NDArray[np.intp]:
    """Return [...]: the lag of the highest value of [..., 201] within the range of heart cycles."""
    first, last = (round(seconds * ENVELOPE_HZ) for seconds in PERIOD_S)
    lags: NDArray[np.intp] = first + correlation[..., first : last + 1].argmax(axis=-1)
    return lags


def _levels(relative: Values) -> Named:
    logs = np.log(relative + 1e-3)
    log_percentiles = percentiles(logs, (5, 10, 25, 50, 75, 90, 95, 99))
    log_median = log_percentiles.pop("p50")
    _, deviation, skew, kurtosis = moments(relative)
    _, log_deviation, log_skew, log_kurtosis = moments(logs)
    return {
        **{f"log_envelope_{name}_less_p50": value - log_median for name, value in log_percentiles.items()},
        "log_envelope_p50": log_median,
        "envelope_std": deviation,
        "envelope_skew": skew,
        "envelope_kurtosis": kurtosis,
        "log_envelope_std": log_deviation,
        "log_envelope_skew": log_skew,
        "log_envelope_kurtosis": log_kurtosis,
    }


def _beats(relative: Values) -> Named:
    """Summarise the envelope's peaks: their rate, intervals and heights, and how the last two alternate (S1 and S2)."""
    smooth = np.convolve(relative, np.array([1, 4, 6, 4, 1]) / 16, mode="same")
    peaks = distant_maxima(smooth, round(BEAT_DISTANCE_S * ENVELOPE_HZ))
    heights, intervals_s = smooth[peaks], np.diff(peaks) / ENVELOPE_HZ
    rate_hz = len(peaks) * ENVELOPE_HZ / len(relative)
    if len(intervals_s) < 2:
        return {**dict.fromkeys(BEATS, 0.0), "beat_rate_hz": rate_hz}
    mean_s, deviation_s, mean_height = intervals_s.mean(), intervals_s.std(), heights.mean()
    interval_percentiles = percentiles(intervals_s, (10, 25, 50, 75, 90))
    return {
        "beat_rate_hz": rate_hz,
        "interval_mean_s": mean_s,
        "interval_std_s": deviation_s,
        "interval_std_ratio": deviation_s / mean_s,
        **{f"interval_{name}_s": value for name, value in interval_percentiles.items()},
        "height_mean": mean_height,
        "height_std_ratio": heights.std() / mean_height,
        **prefixed("height", percentiles(heights, (10, 50, 90))),
        "interval_alternation": _alternation(intervals_s),
        "height_alternation": _alternation(heights),
        "interval_serial_1": _serial(intervals_s, 1),
        "interval_serial_2": _serial(intervals_s, 2),
    }


def _modulation(relative: Values) -> Named:
    """Return the shares of the envelope's power by modulation frequency, and the frequency with the most power."""
    centred = (relative - relative.mean()) * np.hanning(len(relative))
    n_points = max(1024, scipy.fft.next_fast_len(len(centred), real=True))
    power = np.square(np.abs(scipy.fft.rfft(centred, n_points)))
    edges = np.round(np.array(MODULATION_EDGES_HZ) * n_points / ENVELOPE_HZ).astype(np.intp)
    bands = np.add.reduceat(power[: edges[-1]], edges[:-1])
    total = float(bands.sum())
    if total <= FLOOR:
        return dict.fromkeys(MODULATION, 0.0)
    top_hz = (edges[0] + power[edges[0] : edges[-1]].argmax()) * ENVELOPE_HZ / n_points
    return dict(zip(MODULATION, (*(bands / total), top_hz), strict=True))


def _stability(relative: Values) -> Named:
    """Summarise the heart's period in windows of 3 s. All values but the median are in units of the median."""
    window, hop = (round(seconds * ENVELOPE_HZ) for seconds in (STABILITY_WINDOW_S, STABILITY_HOP_S))
    windows = sliding_window_view(relative, min(window, len(relative)))[::hop]
    periods_s = _period(autocorrelation(windows)) / ENVELOPE_HZ
    low_s, middle_s, high_s = percentile_values(periods_s, (25, 50, 75))
    return {
        "window_period_p50_s": middle_s,
        "window_period_std_ratio": periods_s.std() / middle_s,
        "window_period_iqr_ratio": (high_s - low_s) / middle_s,
        "window_period_min_ratio": periods_s.min() / middle_s,
        "window_period_max_ratio": periods_s.max() / middle_s,
    }


def _alternation(values: Values) -> float:
    """Return the ratio of the medians of the values at even and at odd places, larger over smaller; at least 1."""
    even, odd = median(values[::2]), median(values[1::2])
    return max(even, odd) / max(min(even, odd), FLOOR)


def _serial(values: Values, lag: int) -> float:
    """Return the serial correlation of values; 0 if there are too few or all are equal."""
    centred = values - values.mean()
    energy = float(centred @ centred)
    return float(centred[lag:] @ centred[:-lag]) / energy if len(values) > lag and energy > FLOOR else 0.0
