"""Summaries of an array along its first axis, and named values.

Percentiles and medians equal those of NumPy, which takes several times as long for arrays of this size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from heartbeat_core.arrays import Named, Values

FLOOR = 1e-10
"""Values with a smaller deviation count as constant."""


def changes(values: Values) -> Values:
    """Return [n - 1, ...]: the differences between neighbours, or a single 0 if there are none."""
    return np.diff(values, axis=0) if len(values) > 1 else np.zeros_like(values)


def moments(values: Values) -> tuple[Values, Values, Values, Values]:
    """Return mean, deviation, skewness and excess kurtosis along the first axis; the last two are 0 for constants."""
    mean = values.mean(axis=0)
    centred = values - mean
    squares = centred * centred
    deviation = np.sqrt(squares.mean(axis=0))
    varies = deviation > FLOOR
    scale = np.where(varies, deviation, 1.0)
    skew = np.where(varies, (squares * centred).mean(axis=0) / scale**3, 0.0)
    kurtosis = np.where(varies, (squares * squares).mean(axis=0) / scale**4 - 3.0, 0.0)
    return mean, deviation, skew, kurtosis


def percentiles(values: Values, shares: Sequence[int]) -> dict[str, Values]:
    """Return percentiles along the first axis by name, such as ``p05``."""
    return {f"p{share:02d}": found for share, found in zip(shares, percentile_values(values, shares), strict=True)}


def percentile_values(values: Values, shares: Sequence[float]) -> Values:
    """Return [n_shares, ...]: percentiles along the first axis, interpolated linearly between neighbours."""
    ordered = np.sort(values, axis=0)
    places = np.array(shares) / 100 * (len(values) - 1)
    below = places.astype(np.intp)
    share_above = (places - below).reshape(-1, *[1] * (values.ndim - 1))
    above = np.minimum(below + 1, len(values) - 1)
    found: Values = ordered[below] + (ordered[above] - ordered[below]) * share_above
    return found


def percentile(values: Values, share: float) -> float:
    """Return one percentile of [n], as ``percentile_values`` does but without sorting all."""
    place = share / 100 * (len(values) - 1)
    below = int(place)
    parted = np.partition(values, below)
    least, above = float(parted[below]), parted[below + 1 :]
    return least + (float(above.min()) - least) * (place - below) if len(above) else least


def median(values: Values) -> float:
    """Return the median of [n]."""
    ordered, middle = np.sort(values), len(values) // 2
    return float(ordered[middle] if len(values) % 2 else 0.5 * (ordered[middle - 1] + ordered[middle]))


def median_row(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [...] float32: the median along the first axis."""
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
    padded = np.zeros((*values.shape[:-1], values.shape[-1] + 4))
    padded[..., 2:-2] = values
    smooth = padded[..., :-4] + padded[..., 4:]
    smooth += 4.0 * (padded[..., 1:-3] + padded[..., 3:-1])
    smooth += 6.0 * values
    smooth *= 1 / 16
    return smooth


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
    spectrum = scipy.fft.rfft(values - values.mean(axis=-1, keepdims=True), length)
    raw = scipy.fft.irfft(squared_magnitudes(spectrum), length)[..., :n_lags]
    # Beyond the length of the values there is only rounding, whose peaks would differ between machines.
    raw[..., n_values:] = 0.0
    energy = raw[..., :1]
    varies = energy > FLOOR * n_values
    correlation: Values = np.where(varies, raw / np.where(varies, energy, 1.0), 0.0)
    return correlation


def local_maxima(values: Values) -> NDArray[np.intp]:
    """Return the indices of the inner local maxima, ascending; of a plateau, the first index.

    ``scipy.signal.find_peaks`` takes the middle of a plateau, and the features are defined with its start.
    """
    inner = values[1:-1]
    return np.flatnonzero((inner > values[:-2]) & (inner >= values[2:])) + 1


def distant_maxima(values: Values, distance: int) -> NDArray[np.intp]:
    """Return the maxima above the median, ascending; of maxima nearer than ``distance`` only the highest."""
    maxima = local_maxima(values)
    maxima = maxima[values[maxima] > median(values)]
    # Which peaks are kept depends on those kept before, one by one: plain bytes are faster here than arrays.
    taken, around = bytearray(len(values) + 2 * distance), b"\1" * (2 * distance - 1)
    kept = []
    for peak in maxima[np.argsort(-values[maxima], kind="stable")].tolist():
        if not taken[peak + distance]:
            kept.append(peak)
            taken[peak + 1 : peak + 2 * distance] = around
    return np.array(sorted(kept), dtype=np.intp)


def hann(n_fft: int) -> NDArray[np.float64]:
    """Return [n_fft]: the periodic Hann window, ``0.5 - 0.5 cos(2 pi k / n_fft)``, with the arithmetic of scipy.signal.

    scipy.signal itself takes half a second to load.
    """
    return np.ones(1) if n_fft == 1 else 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, n_fft + 1)[:-1])
