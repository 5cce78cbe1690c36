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
from heartbeat_core.features.series import FLOOR, changes, mean_over, moments, percentiles
from heartbeat_core.features.signal import N_FFT, RATE_HZ, mfcc
from heartbeat_core.features.statistics_columns import N_MFCC, RHYTHM, TIMBRE, TRACK


def compute_statistics(power: Values, log_mel: Values, rhythm_envelopes: Values) -> NDArray[np.float32]:
    """Summarise a recording.

    Parameters
    ----------
    power : ndarray, [n_frames, 129] float64
        The ``signal.power_spectra`` of the recording.
    log_mel : ndarray, [n_frames, 40] float64
        Its ``signal.log_mel``.
    rhythm_envelopes : ndarray, [3, n] float64
        Its envelopes in the bands of ``RHYTHM_BANDS_HZ``.

    Returns
    -------
    ndarray, [392] float32
        Finite values in the order of ``statistics_columns.NAMES``.
    """
    of_tracks = summarise_tracks(np.concatenate([mfcc(log_mel).T, dominant(power)]))
    of_bands = summarise_rhythm(rhythm_envelopes)
    timbre = np.concatenate([of_tracks[name][:N_MFCC] for name in TIMBRE])
    rhythm = np.array([of_bands[name] for name in RHYTHM]).T
    strongest = np.array([of_tracks[name][N_MFCC:] for name in TRACK]).T
    return np.concatenate([timbre, rhythm.ravel(), strongest.ravel()]).astype(np.float32)


def dominant(power: Values) -> Values:
    """Return [2, n_frames] float64: frequency in Hz and natural log magnitude of the strongest bin of each frame.

    Parameters
    ----------
    power : ndarray, [n_frames, 129] float64
        As ``signal.power_spectra`` returns it.
    """
    peak = power.argmax(axis=1)
    level = 0.5 * np.log(power[np.arange(len(power)), peak] + FLOOR)
    return np.array([peak * (RATE_HZ / N_FFT), level])


def summarise_tracks(tracks: Values) -> dict[str, Values]:
    """Summarise tracks over time, and their changes from frame to frame.

    Parameters
    ----------
    tracks : ndarray, [n_tracks, n_frames] float64

    Returns
    -------
    dict[str, ndarray]
        [n_tracks] float64 for each summary, under the names of ``statistics_columns.TRACK``.
    """
    over_time = tracks.T
    mean, deviation, skew, kurtosis = moments(over_time)
    steps = changes(over_time)
    step = mean_over(steps, axis=0)
    return {
        "mean": mean,
        "std": deviation,
        **percentiles(over_time, (10, 25, 50, 75, 90)),
        "min": over_time.min(axis=0),
        "max": over_time.max(axis=0),
        "skew": skew,
        "kurtosis": kurtosis,
        "change_abs_mean": mean_over(np.abs(steps), axis=0),
        "change_std": np.sqrt(mean_over(np.square(steps - step), axis=0)),
    }
