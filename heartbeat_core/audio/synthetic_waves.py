"""The waves that synthetic recordings are made of: damped chirps, and noise of a given spectrum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from heartbeat_core.arrays import Values

_N_DECAYS = 7
"""A transient ends after so many decay times, at a thousandth of its amplitude."""
_SETTLE_S = 0.3
"""Zeros after a signal that is filtered, in which the lowest resonance dies away."""


@dataclass(frozen=True, slots=True)
class Transient:
    """A damped chirp.

    ``amplitude * (1 - exp(-t / attack_s)) * exp(-t / decay_s) * sin(phase(t))``, where the frequency goes from
    ``start_hz`` to ``end_hz`` with the decay time as its time constant.

    Attributes
    ----------
    start_hz, end_hz : float
        The frequency at the onset, and the one that it approaches.
    attack_s, decay_s : float
        Time constants of the rise and of the fall.
    amplitude : float
        Linear; the peak is lower, as the wave falls while it rises.
    delay_s : float
        From the onset of the sound that the transient is a part of.
    """

    start_hz: float
    end_hz: float
    attack_s: float
    decay_s: float
    amplitude: float = 1.0
    delay_s: float = 0.0

    def envelope(self, time_s: Values) -> Values:
        """Return the envelope [n] float64, linear, at times [n] in s from the onset."""
        rise = 1 - np.exp(-time_s / self.attack_s)
        found: Values = self.amplitude * rise * np.exp(-time_s / self.decay_s)
        return found


def add(signal: Values, rate_hz: int, at_s: float, transient: Transient, gain: float = 1.0) -> None:
    """Add a transient in place, between samples where it falls there; the part outside the signal is dropped.

    Parameters
    ----------
    signal : ndarray, [n] float64
        It is changed.
    rate_hz : int
        Its sample rate.
    at_s : float
        The onset of the sound that the transient is a part of, in s from the start of the signal; may be negative.
    transient : Transient
    gain : float
        Linear; multiplies the amplitude.
    """
    inside, time_s = _extent(len(signal), rate_hz, at_s, transient)
    fall = 1 - np.exp(-time_s / transient.decay_s)
    glide = (transient.start_hz - transient.end_hz) * transient.decay_s * fall
    wave = np.sin(2 * np.pi * (transient.end_hz * time_s + glide))
    signal[inside] += gain * transient.envelope(time_s) * wave


def add_envelope(signal: Values, rate_hz: int, at_s: float, transient: Transient, gain: float = 1.0) -> None:
    """Add the envelope of a transient in place; parameters as for ``add``."""
    inside, time_s = _extent(len(signal), rate_hz, at_s, transient)
    signal[inside] += gain * transient.envelope(time_s)


def _extent(n_samples: int, rate_hz: int, at_s: float, transient: Transient) -> tuple[slice, Values]:
    """Return which samples a transient reaches, and their times from its onset."""
    onset_s = at_s + transient.delay_s
    first = min(max(math.ceil(onset_s * rate_hz), 0), n_samples)
    last = min(max(math.ceil((onset_s + _N_DECAYS * transient.decay_s) * rate_hz), first), n_samples)
    return slice(first, last), np.arange(first, last) / rate_hz - onset_s


def band_noise(low_hz: float, high_hz: float, rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    """Make Gaussian noise with an RMS of 1; at both edges it falls with 24 dB an octave.

    Parameters
    ----------
    low_hz, high_hz : float
        Edges of the band.
    rate_hz : int
        Sample rate.
    n_samples : int
    rng : numpy.random.Generator
        The source of randomness.

    Returns
    -------
    ndarray, [n_samples] float64
    """

    def gain(frequency_hz: Values) -> Values:
        below, above = (low_hz / frequency_hz) ** 2, (frequency_hz / high_hz) ** 2
        return 1 / np.sqrt((1 + (below * below) ** 2) * (1 + (above * above) ** 2))

    return _noise(gain, rate_hz, n_samples, rng)


def coloured_noise(slope: float, low_hz: float, rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    """Make Gaussian noise with an RMS of 1, whose power falls with ``frequency ** -slope`` above ``low_hz``.

    Parameters
    ----------
    slope : float
    low_hz : float
        Below it the power is even.
    rate_hz, n_samples, rng
        As for ``band_noise``.

    Returns
    -------
    ndarray, [n_samples] float64
    """
    return _noise(lambda frequency_hz: np.maximum(frequency_hz, low_hz) ** (-slope / 2), rate_hz, n_samples, rng)


class Filter:
    """The response of an analog filter, sampled at the frequencies of a transform.

    Zeros after the signal take up what rings on, so that nothing wraps around.

    Parameters
    ----------
    response : Callable
        The complex response [m] complex128 to frequencies [m] float64 in Hz, all above 0.
    rate_hz : int
        The sample rate.
    n_samples : int
        The length of what is filtered.
    """

    def __init__(self, response: Callable[[Values], NDArray[np.complex128]], rate_hz: int, n_samples: int) -> None:
        self._length = scipy.fft.next_fast_len(n_samples + math.ceil(_SETTLE_S * rate_hz), real=True)
        self._gain = response(_frequencies_hz(rate_hz, self._length))

    def __call__(self, signal: Values) -> Values:
        """Return the signal [n_samples] float64 after the filter."""
        spectrum = scipy.fft.rfft(signal, self._length) * self._gain
        passed: Values = scipy.fft.irfft(spectrum, self._length)[: len(signal)]
        return passed


def normalised(signal: Values) -> Values:
    """Return the signal [n] float64 with an RMS of 1; silence stays silent."""
    return signal / max(float(np.sqrt(np.square(signal).mean())), 1e-12)


def _noise(gain: Callable[[Values], Values], rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    length = scipy.fft.next_fast_len(max(n_samples, 2), real=True)
    gains = gain(_frequencies_hz(rate_hz, length))
    spectrum = gains * rng.standard_normal((len(gains), 2)).view(np.complex128)[:, 0]
    return normalised(scipy.fft.irfft(spectrum, length)[:n_samples])


def _frequencies_hz(rate_hz: int, length: int) -> Values:
    """Return the frequencies [length // 2 + 1] of a transform; half a step stands for 0, by which responses divide."""
    places = np.arange(length // 2 + 1, dtype=np.float64)
    places[0] = 0.5
    return places * (rate_hz / length)
