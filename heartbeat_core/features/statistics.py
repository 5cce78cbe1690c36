"""Compute 392 named summary statistics of a waveform (``pcg-stats-v1``): timbre, rhythm and dominant frequency.

All are computed at a common rate and level, so that they do not depend on the sample rate or the gain of the device:
the recording is resampled to 4 kHz, band-passed to 20-900 Hz with zero phase, and scaled by its 99th percentile.
Each value is computed under its name. Only ``statistics_columns`` decides the order.

Timbre (180 values) and dominant frequency (26) come from spectra of 64 ms every 20 ms. Rhythm (62 in each of three
bands) comes from the envelope of the band at 100 Hz. All tracks are summarised together, and all bands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.features.rhythm import summarise_rhythm
from heartbeat_core.features.series import FLOOR, changes, moments, percentiles
from heartbeat_core.features.signal import N_FFT, RATE_HZ, Signal, envelope, mfcc
from heartbeat_core.features.statistics_columns import N_MFCC, RHYTHM, RHYTHM_BANDS_HZ, TIMBRE, TRACK


def compute_statistics(signal: Signal, power: Values, log_mel: Values) -> NDArray[np.float32]:
    """Summarise a recording.

    Parameters
    ----------
    signal : Signal
        The recording as ``signal.prepare`` returns it.
    power : ndarray, [n_frames, 129] float64
        Its ``signal.power_spectra``.
    log_mel : ndarray, [n_frames, 40] float64
        Its ``signal.log_mel``.

    Returns
    -------
    ndarray, [392] float32
        Finite values in the order of ``statistics_columns.NAMES``.
    """
    of_tracks = summarise_tracks(np.concatenate([mfcc(log_mel).T, dominant(power)]))
    of_bands = summarise_rhythm(np.stack([envelope(signal, *band_hz) for band_hz in RHYTHM_BANDS_HZ.values()]))
    timbre = np.concatenate([of_tracks[name][:N_MFCC] for name in TIMBRE])
    rhythm = np.stack([of_bands[name] for name in RHYTHM], axis=1)
    strongest = np.stack([of_tracks[name][N_MFCC:] for name in TRACK], axis=1)
    return np.concatenate([timbre, rhythm.ravel(), strongest.ravel()]).astype(np.float32)


def dominant(power: Values) -> Values:
    """Return [2, n_frames] float64: frequency in Hz and log magnitude of the strongest bin of each frame."""
    peak = power.argmax(axis=1)
    level = 0.5 * np.log(power[np.arange(len(power)), peak] + FLOOR)
    return np.stack([peak * (RATE_HZ / N_FFT), level])


def summarise_tracks(tracks: Values) -> dict[str, Values]:
    """Return for each summary [n_tracks] float64: the tracks [n_tracks, n_frames] over time, and their changes."""
    over_time = tracks.T
    mean, deviation, skew, kurtosis = moments(over_time)
    steps = changes(over_time)
    return {
        "mean": mean,
        "std": deviation,
        **percentiles(over_time, (10, 25, 50, 75, 90)),
        "min": over_time.min(axis=0),
        "max": over_time.max(axis=0),
        "skew": skew,
        "kurtosis": kurtosis,
        "change_abs_mean": np.abs(steps).mean(axis=0),
        "change_std": steps.std(axis=0),
    }
