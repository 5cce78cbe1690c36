"""What a recorder makes of a sound at the chest: its response, and the noise of room, skin and lungs.

* A phone's microphone is made for speech. Here it rolls off below 60 to 120 Hz with 12 dB an octave and is raised at
  120 to 250 Hz, and its gain control compresses what is loud: the spectra of PASCAL's ``set_a`` are alike. How far
  phones differ: C. Kardous, P. Shaw, "Evaluation of smartphone sound measurement applications", J. Acoust. Soc. Am. 135
  (2014), EL186-EL192.
* A digital stethoscope has a bell mode (20 to 200 Hz) and a diaphragm mode (20 to 1000 Hz): S. Leng et al., "The
  electronic stethoscope", Biomed. Eng. Online 14 (2015), 66.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.audio.synthetic_artifacts import add_knock
from heartbeat_core.audio.synthetic_waves import (
    Filter,
    Transient,
    add_envelope,
    band_noise,
    coloured_noise,
    normalised,
)

PHONE_FROM_HZ = 16_000
"""From this sample rate on a recording is a phone's, below it a digital stethoscope's."""

_FLOOR_DB, _LUNGS_DB, _CRACKLES_DB = (15.0, 35.0), (30.0, 50.0), (18.0, 40.0)
"""How far the RMS of a noise is below the loud parts of the heart, both as recorded."""
_KNOCKED = 0.15
"""The share of recordings with a knock."""
_BELL = 0.3
_RESONANCE_QUALITY = 2.0


def through_recorder(sound: Values, rate_hz: int, rng: np.random.Generator) -> Values:
    """Return a sound as the recorder that such a sample rate has gives it back.

    Parameters
    ----------
    sound : ndarray, [n] float64
        The sound at the recorder.
    rate_hz : int
        Its sample rate, which tells the recorder: see ``PHONE_FROM_HZ``.
    rng : numpy.random.Generator
        The source of randomness.

    Returns
    -------
    ndarray, [n] float64
        With a peak of 1.
    """
    is_phone = rate_hz >= PHONE_FROM_HZ
    response = _draw_phone(rng) if is_phone else _draw_stethoscope(rng)
    n_samples = len(sound)
    record = Filter(response, rate_hz, n_samples)
    heard = record(sound)
    loud = max(float(np.percentile(np.abs(heard), 98)), 1e-9)
    for make, decibels in (
        (_floor, _FLOOR_DB),
        (_lungs, _LUNGS_DB),
        (_crackles, _CRACKLES_DB),
    ):
        noise = normalised(record(make(rate_hz, n_samples, rng)))
        heard += loud * 10 ** (-rng.uniform(*decibels) / 20) * noise
    if rng.random() < _KNOCKED:
        add_knock(heard, rate_hz, rng.uniform(0, n_samples / rate_hz), rng.uniform(0.5, 2) * loud, rng)
    if is_phone:
        drive = rng.uniform(0.3, 1.5) / max(float(np.abs(heard).max()), 1e-12)
        heard = np.tanh(drive * heard)
    return heard / max(float(np.abs(heard).max()), 1e-12)


@dataclass(frozen=True, slots=True)
class _Response:
    """A Butterworth band of second order at both edges, raised around a resonance by up to ``1 + resonance_gain``."""

    low_hz: float
    high_hz: float
    resonance_hz: float = 1.0
    resonance_gain: float = 0.0

    def __call__(self, frequency_hz: Values) -> NDArray[np.complex128]:
        above, below, place = (frequency_hz / hz for hz in (self.low_hz, self.high_hz, self.resonance_hz))
        # With s = i f / f0, so that s ** 2 is real.
        high_pass = -above * above / (1 - above * above + 1j * np.sqrt(2) * above)
        low_pass = 1 / (1 - below * below + 1j * np.sqrt(2) * below)
        damping = 1j * place / _RESONANCE_QUALITY
        resonance = self.resonance_gain * damping / (1 - place * place + damping)
        found: NDArray[np.complex128] = high_pass * low_pass * (1 + resonance)
        return found


def _draw_phone(rng: np.random.Generator) -> _Response:
    return _Response(rng.uniform(60, 120), rng.uniform(2_000, 8_000), rng.uniform(120, 250), rng.uniform(1, 5))


def _draw_stethoscope(rng: np.random.Generator) -> _Response:
    return _Response(20, 200 if rng.random() < _BELL else 1_000)


def _floor(rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    """Return noise of room and hand, which wavers and falls with frequency, and white noise of the electronics."""
    wavering = np.exp(rng.uniform(0, 0.8) * band_noise(0.3, 3, rate_hz, n_samples, rng))
    room = normalised(wavering * coloured_noise(rng.uniform(1.5, 3.5), 30, rate_hz, n_samples, rng))
    floor: Values = room + 10 ** (-rng.uniform(14, 36) / 20) * rng.standard_normal(n_samples)
    return floor


def _lungs(rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    time_s = np.arange(n_samples) / rate_hz
    breath = np.sin(np.pi * rng.uniform(0.2, 0.3) * time_s + rng.uniform(0, np.pi)) ** 4
    sound: Values = breath * band_noise(100, 400, rate_hz, n_samples, rng)
    return sound


def _crackles(rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    """Return skin and hair that rub the recorder: short bursts of noise at random moments."""
    duration_s = n_samples / rate_hz
    envelope = np.zeros(n_samples)
    for at_s in rng.uniform(0, duration_s, rng.poisson(rng.uniform(0.5, 6) * duration_s)):
        burst = Transient(0, 0, 0.001, 0.002 * 30 ** rng.random(), rng.lognormal(0, 1))
        add_envelope(envelope, rate_hz, at_s, burst)
    return envelope * coloured_noise(rng.uniform(1, 3), 40, rate_hz, n_samples, rng)
