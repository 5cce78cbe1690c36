"""Make altered copies of a recording, as another device, room or moment might have produced it; for training only.

In PASCAL, the label correlates with the device. A model that has seen every training recording through many simulated
devices gains less from recognising the device. Random filters alter the spectrum as in Nam et al. (FilterAugment,
ICASSP 2022); noise and speed change as in Ko et al. (INTERSPEECH 2015, ICASSP 2017).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import scipy  # scipy.fft is loaded when it is used first: a driver does without
import soxr
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.audio.synthetic_artifacts import artifact
from heartbeat_core.features.signal import RATE_HZ, resample

PIECE_MIN_S = 4.0
"""A shorter recording is used as a whole."""
SHORT_S = (2.0, 6.0)
"""Range of the lengths of short pieces."""
MAINS_HZ = (50.0, 60.0)
HUM_DB = (0.0, 20.0)
"""Range of the recording's level over the amplitude of hum."""
_POINTS_HZ = np.array([20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2000.0])
"""Frequencies at which a device's response is drawn. Between them it is linear in the logarithm of the frequency."""
_SILENCE = 1e-12


@dataclass(frozen=True, slots=True)
class Extent:
    """How far copies may differ from the recording.

    Attributes
    ----------
    curve_db, tilt_db : float
        Deviation of a device's response at each of its points, and of its slope an octave.
    upper_edge_hz : tuple[float, float]
        Range of the highest frequency that a device passes.
    upper_orders : int
        Its steepness: up to this many times 6 dB an octave.
    noisy : float
        Share of the copies with noise.
    noise_exponent : float
        Noise power falls by up to this power of the frequency.
    noise_db : tuple[float, float]
        Range of the recording's level over that of the noise.
    foreign : float
        Share of the noisy copies whose noise is a recording without a heart: speech, rubbing, music, knocks.
    hum : float
        Share of the copies with hum of the mains: 50 or 60 Hz and twice and three times that.
    """

    curve_db: float = 4.0
    tilt_db: float = 3.0
    upper_edge_hz: tuple[float, float] = (300.0, 2000.0)
    upper_orders: int = 2
    noisy: float = 0.6
    noise_exponent: float = 2.0
    noise_db: tuple[float, float] = (8.0, 40.0)
    foreign: float = 0.0
    hum: float = 0.0


MILD = Extent()
HARSH = Extent(
    curve_db=5.0,
    tilt_db=4.0,
    upper_edge_hz=(180.0, 2000.0),
    upper_orders=4,
    noisy=0.7,
    noise_exponent=2.5,
    noise_db=(5.0, 40.0),
    foreign=0.25,
    hum=0.25,
)


def altered_copies(
    samples: NDArray[np.float32], sample_rate_hz: int, n_copies: int, extent: Extent = MILD
) -> list[NDArray[np.float32]]:
    """Make altered copies of a recording; the same samples always give the same copies.

    Parameters
    ----------
    samples : ndarray, [n] float32
        Mono.
    sample_rate_hz : int
        Native sample rate.
    n_copies : int
        Number of copies.
    extent : Extent

    Returns
    -------
    list[ndarray]
        ``n_copies`` of [n_i] float32, at 4 kHz; their lengths differ.
    """
    resampled = resample(samples, sample_rate_hz)
    seed = _seed_of(samples)
    return [alter(resampled, np.random.default_rng([seed, copy]), extent) for copy in range(n_copies)]


def short_pieces(samples: NDArray[np.float32], sample_rate_hz: int, n_pieces: int) -> list[NDArray[np.float32]]:
    """Return pieces of 2 to 6 s from anywhere in a recording, all of it if it is shorter.

    A few heart cycles give other values than many. The logarithm of the length is drawn uniformly; the same samples
    always give the same pieces.

    Parameters
    ----------
    samples : ndarray, [n] float32
        Mono.
    sample_rate_hz : int
        Native sample rate, which pieces keep.
    n_pieces : int
        Number of pieces.

    Returns
    -------
    list[ndarray]
        ``n_pieces`` of [n_i] float32, views of the samples.
    """
    rng, pieces = np.random.default_rng(_seed_of(samples)), []
    for _ in range(n_pieces):
        n_kept = min(len(samples), round(sample_rate_hz * np.exp(rng.uniform(*np.log(SHORT_S)))))
        start = int(rng.integers(0, len(samples) - n_kept + 1))
        pieces.append(samples[start : start + n_kept])
    return pieces


def _seed_of(samples: NDArray[np.float32]) -> int:
    return zlib.crc32(np.ascontiguousarray(samples).tobytes())


def alter(samples: Values, rng: np.random.Generator, extent: Extent = MILD) -> NDArray[np.float32]:
    """Return one altered copy of a recording; each change has its own probability.

    The changes, in this order: a piece of three quarters or more; a speed of 0.9 to 1.1; those of ``alter_sound``.

    Parameters
    ----------
    samples : ndarray, [n] float64
        Mono, at 4 kHz.
    rng : numpy.random.Generator
        The only source of randomness.
    extent : Extent

    Returns
    -------
    ndarray, [m] float32
        At 4 kHz.
    """
    if len(samples) > PIECE_MIN_S * RATE_HZ and rng.random() < 0.7:
        n_kept = int(len(samples) * rng.uniform(0.75, 1.0))
        start = int(rng.integers(0, len(samples) - n_kept + 1))
        samples = samples[start : start + n_kept]
    if rng.random() < 0.7:
        samples = np.asarray(soxr.resample(samples, RATE_HZ * rng.uniform(0.9, 1.1), RATE_HZ, quality="MQ"))
    return alter_sound(samples, rng, extent)


def alter_sound(samples: Values, rng: np.random.Generator, extent: Extent = MILD) -> NDArray[np.float32]:
    """Return an altered copy of a recording, in which all happens when it happened.

    The changes, in this order, each with its own probability: a device's response (a random curve with a tilt, and a
    low and a high edge, the low one of up to 12 dB per octave); soft clipping; noise; hum.

    Parameters
    ----------
    samples, rng, extent
        As for ``alter``.

    Returns
    -------
    ndarray, [n] float32
        At 4 kHz.
    """
    if rng.random() < 0.85:
        samples = _through_a_device(samples, rng, extent)
    level = float(samples.std()) + _SILENCE if len(samples) else _SILENCE
    if rng.random() < 0.15:
        ceiling = level * rng.uniform(2.0, 5.0)
        samples = np.tanh(samples / ceiling) * ceiling
    if rng.random() < extent.noisy:
        if extent.foreign and rng.random() < extent.foreign:
            foreign = artifact(RATE_HZ, len(samples), rng)
            noise = foreign / (foreign.std() + _SILENCE)
        else:
            noise = coloured_noise(len(samples), rng.uniform(0.0, extent.noise_exponent), rng)
        samples = samples + noise * (level * 10 ** (-rng.uniform(*extent.noise_db) / 20))
    if extent.hum and rng.random() < extent.hum:
        samples = samples + _hum(len(samples), rng) * (level * 10 ** (-rng.uniform(*HUM_DB) / 20))
    return samples.astype(np.float32)


def _hum(n_samples: int, rng: np.random.Generator) -> Values:
    """Return hum [n_samples] float64 at 4 kHz: the mains frequency with amplitude 1, multiples with up to a half."""
    turns = np.arange(n_samples) * (2 * np.pi * (rng.choice(MAINS_HZ) + rng.uniform(-0.2, 0.2)) / RATE_HZ)
    hum: Values = np.sin(turns) + rng.uniform(0, 0.5) * np.sin(2 * turns) + rng.uniform(0, 0.5) * np.sin(3 * turns)
    return hum


def coloured_noise(n_samples: int, exponent: float, rng: np.random.Generator) -> Values:
    """Return noise of unit deviation; its power falls as ``frequency ** -exponent`` from 20 Hz.

    Parameters
    ----------
    n_samples : int
    exponent : float
        0 for white noise.
    rng : numpy.random.Generator
        The source of randomness.

    Returns
    -------
    ndarray, [n_samples] float64
        At 4 kHz.
    """
    length = scipy.fft.next_fast_len(max(n_samples, 2), real=True)
    frequencies_hz = np.maximum(np.arange(length // 2 + 1) * (RATE_HZ / length), 20.0)
    spectrum = scipy.fft.rfft(rng.standard_normal(length)) * frequencies_hz ** (-exponent / 2)
    noise: Values = scipy.fft.irfft(spectrum, length)[:n_samples]
    return noise / (noise.std() + _SILENCE) if n_samples else noise


def _through_a_device(samples: Values, rng: np.random.Generator, extent: Extent) -> Values:
    octaves = np.log2(_POINTS_HZ)
    slope_octaves = octaves - np.log2(160.0)
    curve_db = rng.normal(0.0, extent.curve_db, len(octaves)) + rng.normal(0.0, extent.tilt_db) * slope_octaves
    edges_hz = ((15.0, 70.0), extent.upper_edge_hz)
    low_hz, high_hz = (2 ** rng.uniform(np.log2(least), np.log2(most)) for least, most in edges_hz)
    low_order, high_order = rng.integers(0, [3, extent.upper_orders + 1]).tolist()
    length = scipy.fft.next_fast_len(len(samples) + RATE_HZ // 2, real=True)
    frequencies_hz = np.maximum(np.arange(length // 2 + 1) * (RATE_HZ / length), 1.0)
    gain = 10 ** (np.interp(np.log2(frequencies_hz), octaves, curve_db) / 20)
    gain /= (1 + (low_hz / frequencies_hz) ** 2) ** (low_order / 2)
    gain /= (1 + (frequencies_hz / high_hz) ** 2) ** (high_order / 2)
    filtered: Values = scipy.fft.irfft(scipy.fft.rfft(samples, length) * gain, length)[: len(samples)]
    return filtered
