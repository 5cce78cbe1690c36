"""Compute the spectrum of the heart cycle, phase by phase (``pcg-cycle-spectrum-v3``): 1024 values."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.features.cycle_spectrum_columns import BANDS_HZ, COLUMNS, N_BANDS, N_DIASTOLE, N_SYSTOLE
from heartbeat_core.features.decoding import Segmentation
from heartbeat_core.features.series import hann, median_row, squared_magnitudes, windows
from heartbeat_core.features.signal import N_FFT, Signal, bins_used, mel_filters

WINDOW, HOP = 160, 40
FRAMES_HZ = 100
QUIET_PHASES = slice(N_SYSTOLE + 4, N_SYSTOLE + N_DIASTOLE - 2)
"""The part of diastole without the end of S2 and the beginning of S1."""
POWER_FLOOR = np.float32(1e-8)
LEVEL_FLOOR = np.float32(0.05)
"""Added to what levels are divided by, so that those of a recording without heart sounds stay near 0."""
_SMALL_SAMPLES = np.array([1.0, 1.0, 1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107])
"""The factors of ``median_distance`` for 0 to 9 values."""


def compute_cycle_spectrum(signal: Signal, segmentation: Segmentation) -> NDArray[np.float32]:
    """Summarise the log-mel spectra of all systoles and all diastoles.

    A recording of two seconds has two or three whole cycles. The systole and the diastole that its ends leave whole
    count as well.

    Parameters
    ----------
    signal : Signal
        The recording, as ``signal.prepare`` returns it.
    segmentation : Segmentation
        Of the same signal.

    Returns
    -------
    ndarray, [1024] float32
        Finite values in the order of ``cycle_spectrum_columns.COLUMNS``; 0 if there is no systole or no diastole.
    """
    systoles, diastoles = segmentation.systoles, segmentation.diastoles
    if not len(systoles) or not len(diastoles):
        return np.zeros(len(COLUMNS), np.float32)
    levels = log_mel(signal.samples)
    in_systole, in_diastole = at_phases(levels, systoles, N_SYSTOLE), at_phases(levels, diastoles, N_DIASTOLE)
    middle = np.concatenate([median_row(in_systole), median_row(in_diastole)])
    spread = np.concatenate([median_distance(in_systole), median_distance(in_diastole)])
    level = middle - median_row(middle[QUIET_PHASES])
    # How far the sounds stand out of the noise depends on the room and the device.
    level /= np.sqrt(np.mean(np.square(level))) + LEVEL_FLOOR
    return np.concatenate([level.ravel(), spread.ravel()])


def log_mel(samples: Values) -> NDArray[np.float32]:
    """Return [n_frames, 16] float32: log power in mel bands, in Hann-windowed frames centred every 10 ms from 0.

    Parameters
    ----------
    samples : ndarray, [n] float64
        At 4 kHz, as in ``Signal``.
    """
    half = WINDOW // 2
    padded = np.zeros(len(samples) + 2 * half + HOP, np.float32)
    padded[half : half + len(samples)] = samples
    framed = windows(padded, WINDOW, HOP)
    # Zeros behind the windows here are one copy less than those that the transform would add.
    windowed = np.zeros((len(framed), N_FFT), np.float32)
    np.multiply(framed, _window(), out=windowed[:, :WINDOW])
    spectra = scipy.fft.rfft(windowed)
    filters = _filters()
    levels: NDArray[np.float32] = np.log(squared_magnitudes(spectra[:, : len(filters)]) @ filters + POWER_FLOOR)
    return levels


def at_phases(levels: NDArray[np.float32], spans: Values, n_phases: int) -> NDArray[np.float32]:
    """Return [k, n_phases, n_bands] float32: levels at the middle of each phase, interpolated linearly between frames.

    Parameters
    ----------
    levels : ndarray, [n_frames, n_bands] float32
        At 100 Hz.
    spans : ndarray, [k, 2] float64
        Where each span begins and ends, in seconds.
    n_phases : int
        How many parts of equal length a span has.
    """
    start, end = spans[:, :1], spans[:, 1:]
    places = (start + (end - start) * ((np.arange(n_phases) + 0.5) / n_phases)) * FRAMES_HZ
    before = np.minimum(places.astype(np.intp), len(levels) - 1)
    after = np.minimum(before + 1, len(levels) - 1)
    share = (places - before).astype(np.float32)[..., np.newaxis]
    found: NDArray[np.float32] = levels[before] * (1 - share) + levels[after] * share
    return found


def median_distance(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [...] float32: the median distance of values from their median, along the first axis.

    That of a few values is smaller than that of many, so it is multiplied by the factor with which it is right for a
    normal distribution (Croux, Rousseeuw, Computational Statistics 1, 1992). That of a single value is 0.

    Parameters
    ----------
    values : ndarray, [k, ...] float32
        k > 0.

    Examples
    --------
    >>> median_distance(np.array([[1.0], [2.0], [4.0]], np.float32)).tolist()
    [1.4950000047683716]
    """
    n = len(values)
    factor = _SMALL_SAMPLES[n] if n < len(_SMALL_SAMPLES) else n / (n - 0.8)
    found: NDArray[np.float32] = median_row(np.abs(values - median_row(values))) * np.float32(factor)
    return found


@lru_cache(maxsize=1)
def _window() -> NDArray[np.float32]:
    return hann(WINDOW).astype(np.float32)


@lru_cache(maxsize=1)
def _filters() -> NDArray[np.float32]:
    """Return [n_bins, 16] float32, up to the highest bin that a band needs."""
    filters = mel_filters(N_BANDS, *BANDS_HZ)
    return np.ascontiguousarray(filters[:, : bins_used(filters)].T, np.float32)
