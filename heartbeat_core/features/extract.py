"""Waveform to what a model reads, before anything that is fitted to training rows.

Every kind is an array [n, width] float32:

* ``frames``: the original's frames, Hz and linear magnitude, [n_frames, 2];
* ``statistics``: the summary statistics (``statistics_names.NAMES``) of the recording, then those of its altered
  copies, [1 + copies, 392];
* ``statistics+cycles``: the same with the statistics of the heart cycles behind them, [1 + copies, 652];
* ``mfcc``: mean and deviation over time of 20 MFCCs, [1, 40];
* ``spectral-contrast``: mean and deviation over time of the spectral contrast in octaves from 100 Hz (Jiang et al.,
  ICME 2002), [1, 8];
* ``log-mel``: log power in 40 mel bands to 1 kHz every 20 ms, [n_frames, 40].

All but the frames are taken of the recording at 4 kHz, band-passed and scaled as ``prepare`` does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Inputs, Values
from heartbeat_core.audio.decode import Waveform
from heartbeat_core.features.augmentation import altered_copies
from heartbeat_core.features.cycles import compute_cycles
from heartbeat_core.features.frames import compute_frames
from heartbeat_core.features.signal import RATE_HZ, log_mel, mfcc, power_spectra, prepare
from heartbeat_core.features.statistics import summarise_signal
from heartbeat_core.recipe import Recipe

N_CONTRAST_BANDS = 3
CONTRAST_MIN_HZ = 100.0


def compute_inputs(waveform: Waveform, recipe: Recipe) -> Inputs:
    """Return [n, width] float32: what the recipe's model reads of a recording.

    Raises
    ------
    RecordingError
        A named child, where no frames can be made of it.
    """
    if recipe.reads_frames:
        return compute_frames(waveform.samples, waveform.sample_rate_hz, recipe.frames)
    if recipe.reads_statistics:
        return _statistics(waveform, recipe)
    power = power_spectra(prepare(waveform.samples, waveform.sample_rate_hz).samples)
    if recipe.input == "log-mel":
        return log_mel(power).astype(np.float32)
    track = mfcc(power) if recipe.input == "mfcc" else _spectral_contrast(power)
    summary: Inputs = np.concatenate([track.mean(axis=0), track.std(axis=0)])[np.newaxis].astype(np.float32)
    return summary


def _statistics(waveform: Waveform, recipe: Recipe) -> Inputs:
    """Return [1 + copies, width]: of the recording as it is, then of its altered copies."""
    with_cycles = recipe.input == "statistics+cycles"
    rows = [summarise(waveform.samples, waveform.sample_rate_hz, with_cycles)]
    copies = altered_copies(waveform.samples, waveform.sample_rate_hz, recipe.augmentation.copies)
    rows += [summarise(copy, RATE_HZ, with_cycles) for copy in copies]
    return np.stack(rows)


def _spectral_contrast(power: Values) -> Values:
    """Return [n_frames, 4] in dB."""
    # Imported here: it takes a second, and no other input needs it.
    import librosa

    contrast: Values = librosa.feature.spectral_contrast(
        S=np.sqrt(power.T), sr=RATE_HZ, n_bands=N_CONTRAST_BANDS, fmin=CONTRAST_MIN_HZ
    ).T
    return contrast


def summarise(samples: NDArray[np.float32], sample_rate_hz: int, with_cycles: bool) -> NDArray[np.float32]:
    """Summarise a recording.

    Parameters
    ----------
    samples : ndarray, [n] float32
        Mono, as ``statistics.compute_statistics`` takes them.
    sample_rate_hz : int
        Native sample rate.
    with_cycles : bool
        Whether the statistics of the heart cycles follow.

    Returns
    -------
    ndarray of float32
        [392] or [652] float32, finite: ``statistics_names.NAMES``, then ``cycles_names.NAMES``.

    Raises
    ------
    NonFiniteSamples
        The samples are so large that the resampled ones overflow float32.
    """
    signal = prepare(samples, sample_rate_hz)
    power = power_spectra(signal.samples)
    statistics = summarise_signal(signal, power)
    return np.concatenate([statistics, compute_cycles(signal, power)]) if with_cycles else statistics
