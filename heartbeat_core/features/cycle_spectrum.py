"""Compute the spectrum of the heart cycle, phase by phase (``pcg-cycle-spectrum-v2``): 1024 values."""

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


def compute_cycle_spectrum(signal: Signal, segmentation: Segmentation) -> NDArray[np.float32]:
    """Summarise the log-mel spectra of all heart cycles.

    Returns
    -------
    ndarray, [1024] float32
        Finite values in the order of ``cycle_spectrum_columns.COLUMNS``; 0 if there is no whole cycle.
    """
    cycles = segmentation.cycles
    if not len(cycles):
        return np.zeros(len(COLUMNS), np.float32)
    spectra = at_phases(log_mel(signal.samples), cycles)
    middle = median_row(spectra)
    spread = median_row(np.abs(spectra - middle))
    level = middle - median_row(middle[QUIET_PHASES])
    # How far the sounds stand out of the noise depends on the room and the device.
    level /= np.sqrt(np.mean(np.square(level))) + LEVEL_FLOOR
    return np.concatenate([level.ravel(), spread.ravel()])


def log_mel(samples: Values) -> NDArray[np.float32]:
    """Return [n_frames, 16] float32: log power in mel bands, in Hann-windowed frames centred every 10 ms from 0."""
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


def at_phases(levels: NDArray[np.float32], cycles: Values) -> NDArray[np.float32]:
    """Return [k, 32, n_bands] float32: levels at the middle of each phase, interpolated linearly between frames.

    Parameters
    ----------
    levels : ndarray, [n_frames, n_bands] float32
        At 100 Hz.
    cycles : ndarray, [k, 3] float64
        As ``Segmentation.cycles`` returns them.
    """
    first, second, end = cycles[:, :1], cycles[:, 1:2], cycles[:, 2:]
    systole = first + (second - first) * ((np.arange(N_SYSTOLE) + 0.5) / N_SYSTOLE)
    diastole = second + (end - second) * ((np.arange(N_DIASTOLE) + 0.5) / N_DIASTOLE)
    places = np.concatenate([systole, diastole], axis=1) * FRAMES_HZ
    before = np.minimum(places.astype(np.intp), len(levels) - 1)
    after = np.minimum(before + 1, len(levels) - 1)
    share = (places - before).astype(np.float32)[..., np.newaxis]
    found: NDArray[np.float32] = levels[before] * (1 - share) + levels[after] * share
    return found


@lru_cache(maxsize=1)
def _window() -> NDArray[np.float32]:
    return hann(WINDOW).astype(np.float32)


@lru_cache(maxsize=1)
def _filters() -> NDArray[np.float32]:
    """Return [n_bins, 16] float32, up to the highest bin that a band needs."""
    filters = mel_filters(N_BANDS, *BANDS_HZ)
    return np.ascontiguousarray(filters[:, : bins_used(filters)].T, np.float32)
