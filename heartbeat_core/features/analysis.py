"""The data that feature sets are computed from."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.audio.quality import Quality, measure
from heartbeat_core.features.decoding import Segmentation, segment
from heartbeat_core.features.segmenter import band_envelopes, log_posteriors, network_for, standardise
from heartbeat_core.features.signal import Signal, envelope, log_mel, power_spectra, prepare
from heartbeat_core.features.statistics_columns import RHYTHM_BANDS_HZ


class Analysis:
    """The data that feature sets are computed from; each part is computed once, when it is first needed.

    Parameters
    ----------
    samples : ndarray, [n] float32
        Mono, n > 0.
    sample_rate_hz : int
        Native sample rate.
    person : str | None
        Who was recorded, as the groups of datasets name persons (``patient:circor_14241``), where that may be a person
        of the segmenter's training data: the heart sounds are then found by a network that never saw that person. None,
        as in serving, takes the network trained on all.

    Raises
    ------
    SignalOverflow
        By all attributes but ``quality``: the samples are so large that the resampled ones overflow float32.

    Examples
    --------
    >>> from heartbeat_core.audio.synthesis import synthesise
    >>> analysis = Analysis(synthesise("normal", 4_000, 6.0, np.random.default_rng(0)), 4_000)
    >>> analysis.power.shape
    (297, 129)
    >>> analysis.segmentation.states.shape
    (300,)
    """

    def __init__(self, samples: NDArray[np.float32], sample_rate_hz: int, person: str | None = None) -> None:
        self.samples = samples
        self.sample_rate_hz = sample_rate_hz
        self.person = person

    @cached_property
    def quality(self) -> Quality:
        """Return how usable the recording is as it was made."""
        return measure(self.samples, self.sample_rate_hz)

    @cached_property
    def signal(self) -> Signal:
        """Return the recording at the common rate and level; raises SignalOverflow as ``prepare``."""
        return prepare(self.samples, self.sample_rate_hz)

    @cached_property
    def power(self) -> Values:
        """Return [n_frames, 129] float64, the ``power_spectra`` of the signal."""
        return power_spectra(self.signal.samples)

    @cached_property
    def log_mel(self) -> Values:
        """Return [n_frames, 40] float64, the ``log_mel`` of the power."""
        return log_mel(self.power)

    @cached_property
    def rhythm_envelopes(self) -> Values:
        """Return [3, n] float64 at 100 Hz, the envelopes of the bands of ``RHYTHM_BANDS_HZ``."""
        return np.array([envelope(self.signal, *band_hz) for band_hz in RHYTHM_BANDS_HZ.values()])

    @cached_property
    def segmentation(self) -> Segmentation:
        """Return the states of the heart, every 20 ms."""
        envelopes = band_envelopes(self.signal)
        if not self.signal.samples.any():
            return Segmentation.of_silence(len(envelopes))
        return segment(log_posteriors(standardise(envelopes), network_for(self.person)))
