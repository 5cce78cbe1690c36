"""Cross terms of distance profiles: ``sum over t and both channels of x[t] r[i+t]`` at all offsets ``i``, by real FFTs.

Query and reference are float32. The mean of the reference is subtracted from both, which does not change distances and
reduces rounding. Each correlator gives a bound for the error of its terms; this module makes no decisions.

* ``WholeCorrelator``: float64, with transforms as long as the reference.
* ``BlockCorrelator``: float32, with query and reference cut into blocks. The transforms of the blocks stay in the
  cache, and the processor's vector units compute several at a time (uniformly partitioned overlap-save; Stockham,
  AFIPS 1966; Kulp, AES 1988). This takes half the time.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
import scipy  # scipy.fft is loaded when it is used first: a driver does without
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from heartbeat_core.arrays import Frames

EPSILON = float(np.finfo(np.float64).eps)
_EPSILON_32 = float(np.finfo(np.float32).eps)

_BLOCKS: tuple[int, ...] = tuple(2**k for k in range(8, 21))
_MULTIPLICATION = 0.35
_ROW = 1_500
"""Costs of a complex multiplication, and of the Python call for a block. The unit is one value of a vectorised
transform."""
_VECTOR = 4
"""Number of rows that a transform computes at once. Each remaining row takes twice as long."""


class Correlator(Protocol):
    """Computes cross terms with one reference."""

    def cross(self, query: Frames) -> tuple[NDArray[np.float64], float, float]:
        """Return the cross terms, the energy of the query, and a bound for the error.

        Parameters
        ----------
        query : ndarray, [n, 2] float32
            Hz, linear magnitude; ``1 <= n <= length``.

        Returns
        -------
        tuple[ndarray of float64, float, float]
            The cross terms [length - n + 1], one for each offset; ``|x|^2``; and the largest error that
            ``|x|^2 - 2 cross[i]`` can have for any ``i``.
        """


class WholeCorrelator:
    """Cross terms in float64, by transforms as long as the reference; valid lags do not wrap.

    Parameters
    ----------
    reference : ndarray, [length, 2] float32
        Hz, linear magnitude.
    """

    def __init__(self, reference: Frames) -> None:
        self._reference = reference
        self._mean = mean_of(reference)
        self._energy = float(np.square(centre(reference, self._mean)).sum())

    @cached_property
    def _fft_length(self) -> int:
        return int(scipy.fft.next_fast_len(len(self._reference), real=True))

    @cached_property
    def _spectra(self) -> NDArray[np.complex128]:
        spectra: NDArray[np.complex128] = scipy.fft.rfft(centre(self._reference, self._mean).T, self._fft_length)
        return spectra

    def cross(self, query: Frames) -> tuple[NDArray[np.float64], float, float]:
        """Return the values that ``Correlator.cross`` describes."""
        centred = centre(query, self._mean)
        energy = float(np.square(centred).sum())
        spectra = scipy.fft.rfft(centred.T, self._fft_length)
        np.conjugate(spectra, out=spectra)
        spectra *= self._spectra
        spectra[0] += spectra[1]
        cross: NDArray[np.float64] = scipy.fft.irfft(spectra[0], self._fft_length, overwrite_x=True)
        error = EPSILON * error_factor(self._fft_length) * np.sqrt(energy * self._energy)
        return cross[: len(self._reference) - len(query) + 1], energy, float(error)


class BlockCorrelator:
    """Cross terms in float32, by blocks.

    With blocks of ``b`` frames, ``X_j`` the spectrum (of ``2 b`` points) of the query's block ``j`` and ``R_k`` that of
    the reference from ``k b`` to ``(k + 2) b``, the terms of the offsets ``k b`` to ``(k + 1) b - 1`` are the first
    half of the inverse of ``sum over j of conj(X_j) R_{k+j}``: ``t < b`` and ``i < b``, so that no lag wraps.

    Parameters
    ----------
    reference : ndarray, [length, 2] float32
        Hz, linear magnitude.
    """

    def __init__(self, reference: Frames) -> None:
        self._reference = reference
        self._mean = mean_of(reference)
        self._energy = running_energy(reference)
        # Powers of two, so that scaling is exact and float32 does not overflow.
        self._scale = _scale_of(float(np.abs(centre(reference, self._mean)).max()))
        self._spectra_by_block: dict[int, NDArray[np.complex64]] = {}

    def cross(self, query: Frames) -> tuple[NDArray[np.float64], float, float]:
        """Return the values that ``Correlator.cross`` describes."""
        n_frames, n_offsets = len(query), len(self._reference) - len(query) + 1
        block = best_block(n_frames, n_offsets)
        n_query, n_out = -(-n_frames // block), -(-n_offsets // block)
        centred = centre(query, self._mean)
        energy = float(np.square(centred).sum())
        scale = _scale_of(float(np.abs(centred).max()))
        padded = np.zeros((n_query * block, 2), np.float32)
        np.multiply(centred, 1.0 / scale, out=padded[:n_frames], casting="same_kind")
        query_spectra = scipy.fft.rfft(padded.reshape(n_query, block, 2).transpose(0, 2, 1), 2 * block)
        query_spectra = np.conjugate(query_spectra, out=query_spectra).reshape(2 * n_query, block + 1)
        reference_spectra = self._spectra(block)
        spectra = np.empty((n_out, block + 1), np.complex64)
        products = np.empty_like(query_spectra)
        for k in range(n_out):
            np.multiply(reference_spectra[2 * k : 2 * (k + n_query)], query_spectra, out=products)
            np.add.reduce(products, axis=0, out=spectra[k])
        blocks = scipy.fft.irfft(spectra, 2 * block, overwrite_x=True)
        cross = blocks[:, :block].reshape(-1)[:n_offsets].astype(np.float64)
        cross *= scale * self._scale
        return cross, energy, self._error(block, n_query, n_out, energy)

    def _error(self, block: int, n_query: int, n_out: int, query_energy: float) -> float:
        """Bound the error with the Cauchy-Schwarz inequality over the blocks, which use each reference frame twice."""
        starts = np.arange(n_out) * block
        ends = np.minimum(starts + (n_query + 1) * block, len(self._reference))
        reference_energy = 2.0 * float((self._energy[ends] - self._energy[starts]).max())
        factor = error_factor(2 * block) + 4.0 * n_query
        return float(_EPSILON_32 * factor * np.sqrt(query_energy * reference_energy))

    def _spectra(self, block: int) -> NDArray[np.complex64]:
        """Return the spectra [2 * n_blocks, block + 1] of each block and channel in turn; they are computed once."""
        if block not in self._spectra_by_block:
            n_blocks = -(-len(self._reference) // block) + 1
            padded = np.zeros((2, (n_blocks + 1) * block), np.float32)
            centred = centre(self._reference, self._mean)
            padded[:, : len(centred)] = (centred / self._scale).T
            windows = sliding_window_view(padded, 2 * block, axis=1)[:, ::block].transpose(1, 0, 2)
            self._spectra_by_block[block] = scipy.fft.rfft(windows).reshape(-1, block + 1)
        return self._spectra_by_block[block]


def best_block(n_frames: int, n_offsets: int) -> int:
    """Return the block length with the lowest cost for a query of ``n_frames`` at this number of offsets."""

    def transforms(rows: int) -> int:
        return int(rows + rows % _VECTOR)

    def cost(block: int) -> float:
        n_query, n_out = -(-n_frames // block), -(-n_offsets // block)
        transformed = 2 * block * (transforms(2 * n_query) + transforms(n_out))
        return transformed + _MULTIPLICATION * 2 * n_query * n_out * block + _ROW * n_out

    return min(_BLOCKS, key=cost)


def error_factor(fft_length: int) -> float:
    """Return the error of a convolution by FFT, in units of ``epsilon |x| |r|``.

    ``|error| <= c epsilon log2(N) |x| |r|`` (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section
    24.1), with a generous c for three transforms of mixed radix.
    """
    return 32.0 * float(np.log2(fft_length + 1))


def mean_of(frames: Frames) -> NDArray[np.float64]:
    """Return [2] float64: the mean of each channel of frames [n, 2] float32, n > 0."""
    mean: NDArray[np.float64] = frames.mean(axis=0, dtype=np.float64)
    return mean


def centre(frames: Frames, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [n, 2] float64: ``frames - mean``.

    Parameters
    ----------
    frames : ndarray, [n, 2] float32
        No other dtype: pairs are read as complex64.
    mean : ndarray, [2] float64
    """
    # Computed as complex numbers, because NumPy is five times slower over rows of two.
    pairs = np.ascontiguousarray(frames).view(np.complex64) - np.array([complex(*mean.tolist())])
    centred: NDArray[np.float64] = pairs.view(np.float64)
    return centred


def running_energy(frames: Frames) -> NDArray[np.float64]:
    """Return [n + 1] float64: the energy of the first 0, 1, … n frames over both channels, minus their mean.

    Parameters
    ----------
    frames : ndarray, [n, 2] float32
        n > 0.
    """
    return _running_sum(np.square(centre(frames, mean_of(frames))).sum(axis=1))


def _scale_of(largest: float) -> float:
    """Return a power of two that is at least ``largest``; 1 for 0."""
    return float(np.ldexp(1.0, int(np.frexp(largest)[1]))) if largest else 1.0


def _running_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [n + 1]: sums of the first 0, 1, … n values, added in two levels so that errors stay near sqrt(n)."""
    block = max(1, int(np.sqrt(len(values))))
    padded = np.zeros(-(-len(values) // block) * block)
    padded[: len(values)] = values
    within = np.cumsum(padded.reshape(-1, block), axis=1)
    before = np.concatenate(([0.0], np.cumsum(within[:-1, -1])))
    sums = (within + before[:, np.newaxis]).ravel()[: len(values)]
    return np.concatenate(([0.0], sums))
