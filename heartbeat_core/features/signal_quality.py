"""Judge the signal of a recording (``signal-quality-v1``): energy by band, periodicity, regularity, a score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.audio.quality import Quality
from heartbeat_core.features.series import ENVELOPE_HZ, FLOOR, PERIOD_S, autocorrelation
from heartbeat_core.features.signal import RATE_HZ, Signal
from heartbeat_core.features.signal_quality_columns import (
    BANDS_HZ,
    ENTROPY_HZ,
    ENTROPY_SECONDS,
    HEART_MAX_HZ,
    MAX_CLIPPED,
    MAX_SILENT,
    NAMES,
)

_TOLERANCE = 0.2
"""Of the standard deviation: windows nearer than this are alike."""
_WINDOW = 2


def judge_signal(quality: Quality, signal: Signal, rhythm_envelopes: Values) -> NDArray[np.float32]:
    """Judge a recording.

    Parameters
    ----------
    quality : Quality
        Of the recording as it is: clipping and silence show there.
    signal : Signal
        The same recording, prepared.
    rhythm_envelopes : ndarray, [3, n] float64
        Its envelopes at 100 Hz, the lowest band first: from 25 to 150 Hz, where hearts are loudest.

    Returns
    -------
    ndarray, [8] float32
        Finite values in the order of ``signal_quality_columns.NAMES``.
    """
    if not signal.samples.any():
        return np.zeros(len(NAMES), np.float32)
    shares = band_shares(signal)
    heart = rhythm_envelopes[0]
    periodicity = _periodicity(heart)
    entropy = sample_entropy(_coarse(heart))
    low = sum(share for share, (_, high) in zip(shares, BANDS_HZ, strict=True) if high <= HEART_MAX_HZ)
    unclipped = max(0.0, 1.0 - quality.clipped_fraction / MAX_CLIPPED)
    sounding = max(0.0, 1.0 - quality.silent_fraction / MAX_SILENT)
    score = (low * periodicity * np.exp(-entropy)) ** (1 / 3) * unclipped * sounding
    return np.array([*shares, periodicity, entropy, min(score, 1.0)], np.float32)


def band_shares(signal: Signal) -> list[float]:
    """Return the share of each of ``BANDS_HZ`` in the energy of a signal that is not silent; their sum is 1."""
    energy = np.square(signal.spectrum.real) + np.square(signal.spectrum.imag)
    hz = np.linspace(0.0, RATE_HZ / 2, len(energy))
    edges = np.searchsorted(hz, [low for low, _ in BANDS_HZ] + [BANDS_HZ[-1][1]])
    edges[0], edges[-1] = 0, len(energy)  # The flanks of the band-pass belong to the outer bands.
    sums = np.add.reduceat(energy, edges[:-1])
    return [float(one) for one in sums / sums.sum()]


def sample_entropy(values: Values) -> float:
    """Return the sample entropy, with windows of 2 values and a tolerance of 0.2 standard deviations.

    ``-ln(A / B)``: of all pairs of different windows of 2 values that are alike, B, in A the next values are alike as
    well (Richman, Moorman, Physiological time-series analysis using approximate entropy and sample entropy, Am. J.
    Physiol. 2000). Where no pair is alike, the most that so many values can have; 0 for a constant.

    Parameters
    ----------
    values : ndarray, [n] float64
        Time and memory grow with the square of n.
    """
    n = len(values) - _WINDOW
    if n < 2 or (deviation := float(values.std())) <= FLOOR:
        return 0.0
    near = np.abs(values[:, np.newaxis] - values) <= _TOLERANCE * deviation
    alike = near[:n, :n] & near[1 : n + 1, 1 : n + 1]
    n_pairs = (np.count_nonzero(alike) - n) // 2
    n_longer = (np.count_nonzero(alike & near[2 : n + 2, 2 : n + 2]) - n) // 2
    if n_longer == 0:
        return float(np.log(n * (n - 1) / 2))
    return float(np.log(n_pairs / n_longer))


def _coarse(heart: Values) -> Values:
    """Return the first minute of an envelope at ``ENTROPY_HZ``: the time grows with the square of its length."""
    step = ENVELOPE_HZ // ENTROPY_HZ
    held = heart[: ENTROPY_SECONDS * ENVELOPE_HZ]
    means: Values = held[: len(held) // step * step].reshape(-1, step).mean(axis=1)
    return means


def _periodicity(heart: Values) -> float:
    first, last = (int(seconds * ENVELOPE_HZ) for seconds in PERIOD_S)
    return max(0.0, float(autocorrelation(heart)[first : last + 1].max()))
