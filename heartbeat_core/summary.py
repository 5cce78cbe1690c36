"""Waveform to its summary: the statistics and, behind them, those of the heart cycles, of one preparation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.cycles import compute_cycles
from heartbeat_core.statistics import power_spectra, prepare, summarise_signal


def summarise(samples: NDArray[np.float32], sample_rate_hz: int, with_cycles: bool) -> NDArray[np.float32]:
    """Summarise a recording.

    Args:
        samples: [n] float32, mono, as ``statistics.compute_statistics`` takes them.
        sample_rate_hz: native sample rate.
        with_cycles: whether the statistics of the heart cycles follow.

    Returns:
        [392] or [652] float32, finite: ``statistics_names.NAMES``, then ``cycles_names.NAMES``.

    Raises:
        NonFiniteSamples: the samples are so large that the resampled ones overflow float32.
    """
    signal = prepare(samples, sample_rate_hz)
    power = power_spectra(signal.samples)
    statistics = summarise_signal(signal, power)
    return np.concatenate([statistics, compute_cycles(signal, power)]) if with_cycles else statistics
