"""Compute 392 named summary statistics of a waveform (``pcg-stats-v1``): timbre, rhythm and dominant frequency.

All are computed at a common rate and level, so that they do not depend on the sample rate or the gain of the device:
the recording is resampled to 4 kHz, band-passed to 20-900 Hz with zero phase, and scaled by its 99th percentile.
Each value is computed under its name. Only ``statistics_columns.NAMES`` decides the order.

Timbre (180 values) and dominant frequency (26) come from spectra of 64 ms every 20 ms. Rhythm (62 in each of three
bands) comes from the envelope of the band at 100 Hz.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Named, Values
from heartbeat_core.features.rhythm import summarise_rhythm
from heartbeat_core.features.series import (
    FLOOR,
    changes,
    moments,
    percentiles,
    prefixed,
)
from heartbeat_core.features.signal import N_FFT, RATE_HZ, Signal, envelope, mfcc
from heartbeat_core.features.statistics_columns import NAMES, RHYTHM_BANDS_HZ


def compute_statistics(signal: Signal, power: Values) -> NDArray[np.float32]:
    """Summarise a recording.

    Parameters
    ----------
    signal : Signal
        The recording as ``signal.prepare`` returns it.
    power : ndarray, [n_frames, 129] float64
        Its ``signal.power_spectra``.

    Returns
    -------
    ndarray, [392] float32
        Finite values in the order of ``statistics_columns.NAMES``.
    """
    found = {**_timbre(power), **_dominant(power)}
    for name, band_hz in RHYTHM_BANDS_HZ.items():
        found |= prefixed(f"rhythm_{name}", summarise_rhythm(envelope(signal, *band_hz)))
    return np.array([float(found[name]) for name in NAMES], np.float32)


def _timbre(power: Values) -> Named:
    """Summarise the MFCCs over time, and their changes from frame to frame."""
    coefficients = mfcc(power)
    mean, deviation, skew, _ = moments(coefficients)
    steps = changes(coefficients)
    summaries = {
        "mean": mean,
        "std": deviation,
        **percentiles(coefficients, (10, 50, 90)),
        "max": coefficients.max(axis=0),
        "skew": skew,
        "change_std": steps.std(axis=0),
        "change_abs_mean": np.abs(steps).mean(axis=0),
    }
    return {
        f"mfcc_{i:02d}_{name}": value for name, values in summaries.items() for i, value in enumerate(values.tolist())
    }


def _dominant(power: Values) -> Named:
    peak = power.argmax(axis=1)
    level = 0.5 * np.log(power[np.arange(len(power)), peak] + FLOOR)
    return {
        **prefixed("dominant_hz", _track(peak * (RATE_HZ / N_FFT))),
        **prefixed("dominant_log_magnitude", _track(level)),
    }


def _track(values: Values) -> Named:
    mean, deviation, skew, kurtosis = moments(values)
    steps = changes(values)
    return {
        "mean": mean,
        "std": deviation,
        **percentiles(values, (10, 25, 50, 75, 90)),
        "min": values.min(),
        "max": values.max(),
        "skew": skew,
        "kurtosis": kurtosis,
        "change_abs_mean": np.abs(steps).mean(),
        "change_std": steps.std(),
    }
