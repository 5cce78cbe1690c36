"""Turn a waveform into a signal at a common rate and level, and compute its spectra and envelopes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
import soxr
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.errors import SignalOverflow
from heartbeat_core.features.series import (
    ENVELOPE_HZ,
    FLOOR,
    hann,
    percentile,
    squared_magnitudes,
    windows,
)
from heartbeat_core.features.statistics_columns import N_MFCC

RATE_HZ = 4_000
BAND_HZ = (20.0, 900.0)
LEVEL_PERCENTILE = 99.0
N_FFT, HOP_LENGTH = 256, 80
N_MELS, MEL_MAX_HZ = 40, 1_000.0
_STEP = RATE_HZ // ENVELOPE_HZ
_FINE = 32
_EDGE = 0.2
"""Half the relative width of a band's edges, which have the shape of a quarter of a sine."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A recording at the common rate and level.

    Attributes
    ----------
    samples : ndarray, [n] float64
        At ``RATE_HZ``, band-passed. The 99th percentile of the magnitudes is 1; all samples are 0 if silent.
    spectrum : ndarray, [m] complex128
        The transform of the samples, which are followed by zeros.
    """

    samples: Values
    spectrum: NDArray[np.complex128]


def prepare(samples: NDArray[np.float32], sample_rate_hz: int) -> Signal:
    """Resample to 4 kHz, band-pass 20-900 Hz and scale by the 99th percentile of the magnitudes.

    Parameters
    ----------
    samples : ndarray, [n] float32
        Mono. A recording shorter than 64 ms is extended with zeros.
    sample_rate_hz : int
        Native sample rate.

    Returns
    -------
    Signal
        A signal of max(256, n at 4 kHz) samples. The band-pass multiplies the spectrum by a quarter of a sine from
        0.8 to 1.2 of each edge. A signal that is below 1e-10 afterwards is silent.

    Raises
    ------
    SignalOverflow
        The samples are so large that the resampled ones overflow float32.
    """
    resampled = resample(samples, sample_rate_hz)
    if not np.isfinite(resampled).all():
        raise SignalOverflow(f"resampling overflows: samples reach {np.abs(samples).max():.3g}")
    n_samples = max(N_FFT, len(resampled))
    # An offset would leave steps at both ends, next to the zeros.
    resampled -= resampled.mean() if len(resampled) else 0.0
    # A whole number of envelope steps, and a length with a fast transform.
    length = _STEP * scipy.fft.next_fast_len(-(-n_samples // _STEP))
    spectrum = scipy.fft.rfft(resampled, length)
    bins = _bins(*BAND_HZ, RATE_HZ / length)
    spectrum[: bins.start] = 0.0
    spectrum[bins.stop :] = 0.0
    _fade(spectrum[bins], *BAND_HZ, RATE_HZ / length)
    band_passed = scipy.fft.irfft(spectrum, length)[:n_samples]
    level = percentile(np.abs(band_passed), LEVEL_PERCENTILE)
    scale = 1.0 / level if level > FLOOR else 0.0
    spectrum *= scale
    band_passed *= scale
    return Signal(band_passed, spectrum)


def resample(samples: NDArray[np.float32], sample_rate_hz: int) -> Values:
    """Resample a recording to 4 kHz; samples that are too large overflow to infinity.

    Parameters
    ----------
    samples : ndarray, [n] float32
        Mono.
    sample_rate_hz : int
        Native sample rate.

    Returns
    -------
    ndarray, [m] float64
    """
    return np.asarray(soxr.resample(samples, sample_rate_hz, RATE_HZ), dtype=np.float64)


def power_spectra(samples: Values) -> Values:
    """Return [n_frames, 129] float64: power of Hann-windowed frames of 64 ms every 20 ms.

    Parameters
    ----------
    samples : ndarray, [n] float64
        At 4 kHz, n at least 256, contiguous.
    """
    spectra = scipy.fft.rfft(windows(samples, N_FFT, HOP_LENGTH) * hann(N_FFT))
    return squared_magnitudes(spectra)


def log_mel(power: Values) -> Values:
    """Return [n_frames, 40] float64: the natural logarithm of the power in 40 mel bands to 1 kHz.

    Parameters
    ----------
    power : ndarray, [n_frames, 129] float64
        As ``power_spectra`` returns it.
    """
    filters = _filters()
    return np.log(power[:, : len(filters)] @ filters + FLOOR)


def mfcc(log_bands: Values) -> Values:
    """Return [n_frames, 20] float64, in columns: the orthonormal cosine transform of ``log_mel``.

    Parameters
    ----------
    log_bands : ndarray, [n_frames, 40] float64
        As ``log_mel`` returns it.
    """
    coefficients: Values = (_cosines() @ log_bands.T).T
    return coefficients


def bins_used(filters: Values) -> int:
    """Return how many of the first bins filters [n_mels, n_bins] read: the bands end at 1 kHz, half of the bins."""
    return int(np.flatnonzero(filters.any(axis=0))[-1]) + 1


@lru_cache(maxsize=1)
def _filters() -> Values:
    filters = mel_filters()
    return np.ascontiguousarray(filters[:, : bins_used(filters)].T)


@lru_cache(maxsize=1)
def _cosines() -> Values:
    """Return [20, 40] float64: the first rows of the orthonormal cosine transform."""
    return np.ascontiguousarray(scipy.fft.dct(np.eye(N_MELS), norm="ortho")[:, :N_MFCC].T)


@lru_cache(maxsize=2)
def mel_filters(n_mels: int = N_MELS, low_hz: float = 0.0, high_hz: float = MEL_MAX_HZ) -> Values:
    """Return [n_mels, 129] float64: triangles on the mel scale of O'Shaughnessy (1987), each of unit area in Hz.

    Parameters
    ----------
    n_mels : int
        Number of bands.
    low_hz, high_hz : float
        Where the lowest band begins and where the highest ends.
    """
    low_mel, high_mel = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (low_hz, high_hz))
    edges_hz = 700.0 * (10.0 ** (np.linspace(low_mel, high_mel, n_mels + 2) / 2595.0) - 1.0)
    low, centre, high = (edges_hz[i : i + n_mels, np.newaxis] for i in range(3))
    bin_hz = RATE_HZ / N_FFT
    # Averaged over each bin, because the lowest triangles are narrower than a bin.
    points = ((np.arange(N_FFT // 2 + 1)[:, np.newaxis] + (np.arange(64) - 31.5) / 64) * bin_hz).reshape(-1)
    triangles = np.clip(np.minimum((points - low) / (centre - low), (high - points) / (high - centre)), 0.0, None)
    filters: Values = triangles.reshape(n_mels, -1, 64).mean(axis=2) * (2.0 / (high - low))
    return filters


def envelope(signal: Signal, low_hz: float, high_hz: float) -> Values:
    """Return the magnitude of a band's analytic signal, averaged over each 10 ms.

    Parameters
    ----------
    signal : Signal
        As ``prepare`` returns it.
    low_hz, high_hz : float
        The edges of the band. The upper one is at least 1.5 times the lower, so that they do not overlap.

    Returns
    -------
    ndarray, [n] float64
        At 100 Hz.
    """
    length = _length(signal.spectrum)
    bins = _bins(low_hz, high_hz, RATE_HZ / length)
    # The band is shifted to 0 Hz, which does not change the magnitude: few points then hold the whole band.
    n_values, n_bins = length // _STEP, bins.stop - bins.start
    oversampling = -(-n_bins // n_values)
    shifted = np.zeros(oversampling * n_values, np.complex128)
    shifted[:n_bins] = signal.spectrum[bins]
    _fade(shifted[:n_bins], low_hz, high_hz, RATE_HZ / length)
    magnitude = np.abs(scipy.fft.ifft(shifted, overwrite_x=True))
    # A product, because NumPy's mean is slow over rows of a few values.
    means: Values = magnitude.reshape(n_values, oversampling) @ np.full(oversampling, 2.0 / _STEP)
    return means[: -(-len(signal.samples) // _STEP)]


def _bins(low_hz: float, high_hz: float, bin_hz: float) -> slice:
    """Return the bins of a spectrum that a band reaches into."""
    return slice(int((1 - _EDGE) * low_hz / bin_hz), int((1 + _EDGE) * high_hz / bin_hz) + 1)


def _fade(band: NDArray[np.complex128], low_hz: float, high_hz: float, bin_hz: float) -> None:
    """Multiply the edges of a band of a spectrum in place: a quarter of a sine from 0.8 to 1.2 of each edge."""
    # Between its edges the gain is 1.
    rise, _ = _edge(low_hz, bin_hz)
    _, fall = _edge(high_hz, bin_hz)
    band[: len(rise)] *= rise
    band[len(band) - len(fall) :] *= fall


@lru_cache(maxsize=16)
def _edge(hz: float, bin_hz: float) -> tuple[Values, Values]:
    """Return the gains at the bins of an edge, where it is a band's lower and where it is its upper edge.

    Bands that touch share an edge, so edges are kept for the bands that follow. Sines and cosines come from products of
    a coarse and a fine turn, in a third of the time.
    """
    bins = _bins(hz, hz, bin_hz)
    quarter, n = 0.25 * np.pi / _EDGE, bins.stop - bins.start
    step = quarter * bin_hz / hz
    coarse = step * np.arange(bins.start, bins.stop, _FINE) - quarter * (1 - _EDGE)
    turns = (np.exp(1j * coarse)[:, np.newaxis] * np.exp(1j * step * np.arange(_FINE))).ravel()[:n]
    rise, fall = turns.imag.copy(), turns.real.copy()
    # The first bin may lie a little outside of the edge.
    if rise[0] < 0.0:
        rise[0], fall[0] = 0.0, 1.0
    return rise, fall


def _length(spectrum: NDArray[np.complex128]) -> int:
    """Return the length of a transform; here it is always even."""
    return 2 * (len(spectrum) - 1)
