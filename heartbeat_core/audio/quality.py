"""Measure the acquisition quality of a waveform: whether it contains a usable signal.

The figures describe how a recording was made (too loud, too quiet, off-centre, with dropouts). They decide nothing: a
recording with poor figures is still predicted, and its row holds them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLIPPING_AMPLITUDE = 0.999
"""A sample with at least this magnitude counts as clipped: converters saturate a little below full scale."""

SILENCE_AMPLITUDE = 2.0**-12
"""A window with a lower peak is silent: less than 8 steps of a 16-bit converter."""

SILENCE_WINDOW_S = 0.05
"""Shorter than any pause between heart sounds that a working sensor records without noise."""

_BLOCK = 2**15


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of one recording; amplitudes are linear, with a full scale of 1."""

    peak_amplitude: float
    """max |x|"""
    rms_amplitude: float
    """sqrt(mean x²), including the offset."""
    dc_offset: float
    """mean x"""
    clipped_fraction: float
    """Share of the samples with |x| >= ``CLIPPING_AMPLITUDE``, from 0 to 1."""
    silent_fraction: float
    """Share of the windows of ``SILENCE_WINDOW_S`` with max |x| < ``SILENCE_AMPLITUDE``, from 0 to 1.

    The last window may be shorter and counts like the others.
    """


def measure(samples: NDArray[np.float32], sample_rate_hz: int) -> Quality:
    """Measure a waveform.

    Parameters
    ----------
    samples : ndarray, [n] float32
        Mono, full scale ±1, n > 0.
    sample_rate_hz : int

    Returns
    -------
    Quality
        The figures. Sums use float64, so a long recording loses no digits.

    Examples
    --------
    >>> loud = measure(np.array([0.5, -1.0, 0.5, 0.0], np.float32), 4_000)
    >>> loud.peak_amplitude, loud.dc_offset, loud.clipped_fraction, loud.silent_fraction
    (1.0, 0.0, 0.25, 0.0)
    """
    total = sum_of_squares = 0.0
    for start in range(0, len(samples), _BLOCK):
        # A block at a time: this makes no float64 copy of the recording.
        block = samples[start : start + _BLOCK].astype(np.float64)
        total += float(np.add.reduce(block))
        sum_of_squares += float(block @ block)
    magnitudes = np.abs(samples)
    window_samples = max(1, round(SILENCE_WINDOW_S * sample_rate_hz))
    window_peaks = np.maximum.reduceat(magnitudes, np.arange(0, len(samples), window_samples))
    return Quality(
        peak_amplitude=float(window_peaks.max()),
        rms_amplitude=math.sqrt(sum_of_squares / len(samples)),
        dc_offset=total / len(samples),
        clipped_fraction=float(np.count_nonzero(magnitudes >= CLIPPING_AMPLITUDE) / len(samples)),
        silent_fraction=float(np.count_nonzero(window_peaks < SILENCE_AMPLITUDE) / len(window_peaks)),
    )
