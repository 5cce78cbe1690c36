"""Summaries of an array along its first axis, and named values.

Percentiles and medians equal those of NumPy, which takes several times as long for arrays of this size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from heartbeat_core.arrays import Named, Values

FLOOR = 1e-10
"""Values with a smaller deviation count as constant."""
_SMOOTHING = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def changes(values: Values) -> Values:
    """Return [n - 1, ...]: the differences between neighbours [n, ...], or a single 0 if there are none."""
    return values[1:] - values[:-1] if len(values) > 1 else np.zeros_like(values)


def moments(values: Values) -> tuple[Values, Values, Values, Values]:
    """Return mean, deviation, skewness and excess kurtosis along the first axis; the last two are 0 for constants.

    Parameters
    ----------
    values : ndarray, [n, ...] float64
        n > 0.

    Returns
    -------
    tuple[ndarray, ndarray, ndarray, ndarray]
        [...] float64 each. The deviation is that of the population.
    """
    mean = mean_over(values, axis=0)
    centred = values - mean
    squares = centred * centred
    deviation = np.sqrt(mean_over(squares, axis=0))
    varies = deviation > FLOOR
    scale = np.where(varies, deviation, 1.0)
    skew = np.where(varies, mean_over(squares * centred, axis=0) / scale**3, 0.0)
    kurtosis = np.where(varies, mean_over(squares * squares, axis=0) / scale**4 - 3.0, 0.0)
    return mean, deviation, skew, kurtosis


def mean_over(values: Values, axis: int, *, keepdims: bool = False) -> Values:
    """Return NumPy's mean along an axis, without what its Python costs for small arrays."""
    mean: Values = values.sum(axis=axis, keepdims=keepdims) / values.shape[axis]
    return mean


def percentiles(values: Values, shares: Sequence[int]) -> dict[str, Values]:
    """Return percentiles along the first axis, [...] float64 each, by name, such as ``p05``.

    Parameters
    ----------
    values : ndarray, [n, ...] float64
        n > 0.
    shares : Sequence[int]
        In percent.
    """
    return {f"p{share:02d}": found for share, found in zip(shares, percentile_values(values, shares), strict=True)}


def percentile_values(values: Values, shares: Sequence[float]) -> Values:
    """Return percentiles along the first axis, interpolated linearly between neighbours.

    Parameters
    ----------
    values : ndarray, [n, ...] float64
        n > 0.
    shares : Sequence[float]
        In percent.

    Returns
    -------
    ndarray, [n_shares, ...] float64
    """
    places = np.array(shares) / 100 * (len(values) - 1)
    below = places.astype(np.intp)
    above = np.minimum(below + 1, len(values) - 1)
    parted = np.partition(values, np.concatenate([below, above]), axis=0)
    lower, share_above = parted[below], (places - below).reshape(-1, *[1] * (values.ndim - 1))
    found: Values = lower + (parted[above] - lower) * share_above
    return found


def percentile(values: Values, share: float) -> float:
    """Return one percentile of values, as ``percentile_values`` does but without sorting all.

    Parameters
    ----------
    values : ndarray, [n] float64
        n > 0.
    share : float
        In percent.
    """
    place = share / 100 * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    parted = np.partition(values, (below, above))
    least = float(parted[below])
    return least + (float(parted[above]) - least) * (place - below)


def median(values: Values) -> float:
    """Return the median of [n], n > 0."""
    below, above = (len(values) - 1) // 2, len(values) // 2
    parted = np.partition(values, (below, above))
    return 0.5 * float(parted[below] + parted[above])


def median_row(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [...] float32: the median of values [n, ...] float32, n > 0, along the first axis."""
    ordered, middle = np.sort(values, axis=0), len(values) // 2
    found: NDArray[np.float32] = (
        ordered[middle] if len(values) % 2 else np.float32(0.5) * (ordered[middle - 1] + ordered[middle])
    )
    return found


def squared_magnitudes(spectra: NDArray[np.complexfloating[Any, Any]]) -> NDArray[Any]:
    """Return the squares of the magnitudes of complex numbers [...], in the precision of their parts."""
    squares: NDArray[Any] = np.square(spectra.real)
    squares += np.square(spectra.imag)
    return squares


def smoothed(values: Values) -> Values:
    """Return [..., n]: values [..., n] smoothed by 1, 4, 6, 4, 1 sixteenths, with zeros around them."""
    n = values.shape[-1]
    padded = np.zeros((*values.shape[:-1], n + len(_SMOOTHING) // 2))
    padded[..., :n] = values
    # The zeros behind each row keep it from the next one.
    smooth: Values = np.convolve(padded.ravel(), _SMOOTHING)[2:-2].reshape(padded.shape)
    return smooth[..., :n]


def prefixed(prefix: str, values: Named) -> Named:
    """Return the values with a prefix added to each name."""
    return {f"{prefix}_{name}": value for name, value in values.items()}


ENVELOPE_HZ = 100
MAX_LAG_S = 2.0
PERIOD_S = (0.35, 1.5)
"""Range of a heart cycle: 40 to 171 beats per minute."""


def autocorrelation(values: Values) -> Values:
    """Return [..., 201] float64: the normalised autocorrelation of envelopes [..., n] up to 2 s; 0 if constant."""
    n_lags, n_values = int(MAX_LAG_S * ENVELOPE_HZ) + 1, values.shape[-1]
    length = scipy.fft.next_fast_len(n_values + n_lags, real=True)
    spectrum = scipy.fft.rfft(values - mean_over(values, axis=-1, keepdims=True), length)
    raw = scipy.fft.irfft(squared_magnitudes(spectrum), length)[..., :n_lags]
    # Beyond the length of the values there is only rounding, whose peaks would differ between machines.
    raw[..., n_values:] = 0.0
    energy = raw[..., :1]
    varies = energy > FLOOR * n_values
    correlation: Values = np.where(varies, raw / np.where(varies, energy, 1.0), 0.0)
    return correlation


def local_maxima(values: Values) -> NDArray[np.intp]:
    """Return the indices of the inner local maxima of [n], ascending; of a plateau, the first index.

    ``scipy.signal.find_peaks`` takes the middle of a plateau, and the features are defined with its start.
    """
    inner = values[1:-1]
    return np.flatnonzero((inner > values[:-2]) & (inner >= values[2:])) + 1


def distant_maxima(values: Values, distance: int) -> NDArray[np.intp]:
    """Return the indices of maxima above the median, ascending; of maxima nearer than a distance only the highest.

    Parameters
    ----------
    values : ndarray, [n] float64
        n > 0.
    distance : int
        In samples, at least 1.

    Returns
    -------
    ndarray, [k] intp
    """
    maxima = local_maxima(values)
    heights = values[maxima]
    is_high = heights > median(values)
    maxima, heights = maxima[is_high], heights[is_high]
    # Which peaks are kept depends on those kept before, one by one: plain bytes are faster here than arrays.
    taken, around = bytearray(len(values) + 2 * distance), b"\1" * (2 * distance - 1)
    kept = []
    for peak in maxima[np.argsort(-heights, kind="stable")].tolist():
        if not taken[peak + distance]:
            kept.append(peak)
            taken[peak + 1 : peak + 2 * distance] = around
    return np.array(sorted(kept), dtype=np.intp)


def windows(values: NDArray[Any], length: int, step: int) -> NDArray[Any]:
    """Return a view of values in windows that may overlap; read it only.

    ``sliding_window_view`` takes twenty times as long, which counts beside the transforms of a short recording.

    Parameters
    ----------
    values : ndarray, [..., n]
        Contiguous.
    length : int
        Of a window, at most n.
    step : int
        From the start of one window to that of the next.

    Returns
    -------
    ndarray, [..., n_windows, length]
        ``n_windows = (n - length) // step + 1``.
    """
    n_windows, size = (values.shape[-1] - length) // step + 1, values.itemsize
    shape, strides = (*values.shape[:-1], n_windows, length), (*values.strides[:-1], step * size, size)
    return np.ndarray(shape, values.dtype, values, 0, strides)


@lru_cache(maxsize=8)
def hann(n_fft: int) -> NDArray[np.float64]:
    """Return [n_fft]: the periodic Hann window, ``0.5 - 0.5 cos(2 pi k / n_fft)``, with the arithmetic of scipy.signal.

    scipy.signal itself takes half a second to load. The window is kept: read it only.
    """
    return np.ones(1) if n_fft == 1 else 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, n_fft + 1)[:-1])
