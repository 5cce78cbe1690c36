"""Sounds without a heart: speech, rubbing, music, feedback, knocks, hum and hiss.

Speech is harmonics of a wandering pitch under two formants, by the syllable, with the ranges of G. E. Peterson and
H. L. Barney, "Control methods used in a study of the vowels", J. Acoust. Soc. Am. 24 (1952), 175-184.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from heartbeat_core.arrays import Values
from heartbeat_core.audio.synthetic_waves import Transient, add, band_noise

_TONES_TO = 0.45
"""The highest tone as a share of the sample rate."""


def artifact(rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    """Make a sound without a heart: one to three disturbances, one of them the loudest.

    Parameters
    ----------
    rate_hz : int
        Sample rate.
    n_samples : int
    rng : numpy.random.Generator
        The only source of randomness.

    Returns
    -------
    ndarray, [n_samples] float64
        The loudest disturbance alone has a peak of 1.
    """
    kinds = rng.choice(len(_DISTURBANCES), rng.integers(1, 4), replace=False)
    signal = np.zeros(n_samples)
    gain = 1.0
    for kind in kinds:
        sound = _DISTURBANCES[kind](rate_hz, n_samples, rng)
        signal += gain * sound / max(float(np.abs(sound).max()), 1e-12)
        gain = rng.uniform(0.1, 0.5)
    return signal


def add_knock(signal: Values, rate_hz: int, at_s: float, gain: float, rng: np.random.Generator) -> None:
    """Add a bump against the recorder in place: a click, and the body of the recorder that rings.

    Parameters
    ----------
    signal : ndarray, [n] float64
        It is changed.
    rate_hz : int
        Its sample rate.
    at_s : float
        When the knock begins, in s from the start of the signal.
    gain : float
        Linear amplitude.
    rng : numpy.random.Generator
        The source of randomness.
    """
    body_hz = rng.uniform(20, 120)
    add(signal, rate_hz, at_s, Transient(body_hz, 0.8 * body_hz, 0.004, rng.uniform(0.01, 0.05), gain))
    click_hz = min(rng.uniform(200, 900), _TONES_TO * rate_hz)
    add(signal, rate_hz, at_s, Transient(click_hz, 0.6 * click_hz, 0.0008, 0.004, 0.6 * gain))


def _pieces(
    duration_s: float, length_s: tuple[float, float], pause_s: tuple[float, float], rng: np.random.Generator
) -> Iterator[tuple[float, float]]:
    """Yield the start and length of pieces with pauses between them."""
    at_s = -rng.uniform(0, length_s[1])
    while at_s < duration_s:
        piece_s = rng.uniform(*length_s)
        yield at_s, piece_s
        at_s += piece_s + rng.uniform(*pause_s) * rng.choice([0.3, 1.0, 2.0])


def _add_window(envelope: Values, rate_hz: int, start_s: float, length_s: float, gain: float) -> None:
    time_s = np.arange(len(envelope)) / rate_hz - start_s
    inside = (time_s > 0) & (time_s < length_s)
    envelope[inside] += gain * np.sin(np.pi * time_s[inside] / length_s) ** 2


def _speech(rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    signal = np.zeros(n_samples)
    pitch_hz = rng.uniform(90, 250)
    for start_s, length_s in _pieces(n_samples / rate_hz, (0.1, 0.35), (0.02, 0.3), rng):
        first = max(0, round(start_s * rate_hz))
        last = max(first, min(n_samples, round((start_s + length_s) * rate_hz)))
        time_s = np.arange(first, last) / rate_hz - start_s
        pitch = pitch_hz * rng.uniform(0.85, 1.2) * (1 - rng.uniform(0, 0.2) * time_s / length_s)
        phase = 2 * np.pi * np.cumsum(pitch) / rate_hz
        formants_hz = np.array([rng.uniform(270, 850), rng.uniform(850, 2300)])
        loudness = rng.uniform(0.4, 1) * np.sin(np.pi * np.clip(time_s / length_s, 0, 1)) ** 0.7
        for number in range(1, int(min(3_000, _TONES_TO * rate_hz) / (1.2 * pitch_hz)) + 1):
            distance = (number * pitch_hz - formants_hz) / np.array([90, 130])
            weight = 0.05 / number + float((np.array([1, 0.5]) / (1 + distance**2)).sum())
            signal[first:last] += loudness * weight * np.sin(number * phase)
    return signal


def _rubbing(rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    envelope = np.zeros(n_samples)
    for start_s, length_s in _pieces(n_samples / rate_hz, (0.1, 1.2), (0.05, 0.8), rng):
        _add_window(envelope, rate_hz, start_s, length_s, rng.uniform(0.2, 1))
    # Cloth sticks and slips, which roughens the noise.
    rough = 1 + 0.6 * band_noise(5, 40, rate_hz, n_samples, rng)
    low_hz = rng.uniform(60, 250)
    return envelope * rough * band_noise(low_hz, rng.uniform(3, 12) * low_hz, rate_hz, n_samples, rng)


def _music(rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    time_s = np.arange(n_samples) / rate_hz
    signal = np.zeros(n_samples)
    for start_s, length_s in _pieces(n_samples / rate_hz, (0.15, 1.0), (0.0, 0.1), rng):
        inside = (time_s > start_s) & (time_s < start_s + length_s)
        since_s = time_s[inside] - start_s
        note_hz = 110 * 2 ** (rng.integers(0, 30) / 12)
        loudness = rng.uniform(0.4, 1) * np.clip(since_s / 0.01, 0, 1) * np.exp(-2 * since_s / length_s)
        for number in range(1, 6):
            if number * note_hz < _TONES_TO * rate_hz:
                signal[inside] += loudness / number**1.3 * np.sin(2 * np.pi * number * note_hz * since_s)
    return signal


def _squeal(rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    """Return feedback between speaker and microphone: a tone that builds up and wavers."""
    time_s = np.arange(n_samples) / rate_hz
    tone_hz = min(rng.uniform(250, 1_800), 0.4 * rate_hz)
    wavering = 1 + rng.uniform(0, 0.1) * np.sin(2 * np.pi * rng.uniform(0.5, 6) * time_s)
    build_up = 1 / (1 + np.exp(-(time_s - rng.uniform(-0.5, 0.4) * n_samples / rate_hz) * rng.uniform(2, 8)))
    tone: Values = np.tanh(3 * build_up * np.sin(2 * np.pi * np.cumsum(tone_hz * wavering) / rate_hz))
    return tone


def _knocks(rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    signal = np.zeros(n_samples)
    for start_s, _ in _pieces(n_samples / rate_hz, (0.1, 0.5), (0.1, 1.5), rng):
        add_knock(signal, rate_hz, max(0.0, start_s), rng.uniform(0.2, 1), rng)
    return signal


def _hum(rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    time_s = np.arange(n_samples) / rate_hz
    mains_hz = float(rng.choice([50, 60]))
    signal = np.zeros(n_samples)
    for number in range(1, int(min(600, _TONES_TO * rate_hz) / mains_hz) + 1):
        signal += rng.uniform(0, 1) / number * np.sin(2 * np.pi * number * mains_hz * time_s + rng.uniform(0, 6.28))
    return signal


def _hiss(rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    return band_noise(rng.uniform(30, 400), _TONES_TO * rate_hz, rate_hz, n_samples, rng)


_DISTURBANCES = (_speech, _rubbing, _music, _squeal, _knocks, _hum, _hiss)
