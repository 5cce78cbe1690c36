"""Alignment padding: place a sequence where it lies nearest to the reference, zeros elsewhere.

The original project tries every offset in a Python loop (its preprocessor 2). Here the distance profile
comes from one cross-correlation by real FFTs, and every offset that rounding could have confused with the
minimum is evaluated again as the loop does it. The offset is the loop's, always, ties included.

Terms follow the matrix-profile literature: the sequence is the query, a window of the reference a
subsequence, and the distances at all offsets are the distance profile (Mueen et al., MASS, 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from heartbeat_core.config import PadMode

Frames = NDArray[np.float32]
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a sequence lies within the reference's length.

    ``offset_frames`` counts the zeros in front; ``distance`` is the Euclidean distance over both channels
    between the (cut) sequence and the reference there, in the mixed unit of the frames (Hz and magnitude).
    """

    offset_frames: int
    n_frames: int
    distance: float


class Reference:
    """The longest sequence of a training set, with what is computed from it once.

    Attributes:
        frames: [length, 2] float32, read-only: Hz, linear magnitude.
    """

    def __init__(self, frames: Frames) -> None:
        if frames.ndim != 2 or frames.shape[1] != 2 or len(frames) == 0:
            raise ValueError(f"a reference is [length > 0, 2], not {frames.shape}")
        self.frames: Frames = np.array(frames, dtype=np.float32, order="C")
        self.frames.flags.writeable = False
        self._mean: NDArray[np.float64] = self.frames.mean(axis=0, dtype=np.float64)
        centred = (self.frames - self._mean).T
        self._fft_length: int = scipy.fft.next_fast_len(len(frames), real=True)
        self._spectra: NDArray[np.complex128] = scipy.fft.rfft(centred, self._fft_length)
        self._energy = _running_sum(np.square(centred).sum(axis=0))
        self._run = _run_lengths(self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def distance_profile(self, query: Frames) -> tuple[NDArray[np.float64], float]:
        """Return the squared distances at all offsets, and the bound of their absolute error.

        Args:
            query: [n, 2] float32 with ``1 <= n <= length``.

        Returns:
            [length - n + 1] float64, ``D2[i] = sum |x|^2 + (S[i+n] - S[i]) - 2 sum_t x[t] r[i+t]`` where ``S`` is
            the running sum of ``|r|^2``, both less the reference's mean (which leaves the distance as it is and
            shrinks the rounding); and the largest error that any of them can have against the loop's own value.
        """
        n_offsets = len(self) - len(query) + 1
        centred = (query - self._mean).T
        spectra = scipy.fft.rfft(centred, self._fft_length)
        np.conjugate(spectra, out=spectra)
        spectra *= self._spectra
        spectra[0] += spectra[1]
        cross = scipy.fft.irfft(spectra[0], self._fft_length, overwrite_x=True)[:n_offsets]
        query_energy = float(np.square(centred).sum())
        profile: NDArray[np.float64] = self._energy[len(query) :] - self._energy[:n_offsets]
        profile += query_energy
        cross *= 2.0
        profile -= cross
        return profile, self._error_bound(query_energy)

    def best_offset(self, query: Frames) -> tuple[int, float]:
        """Return the first offset of least Euclidean distance, and that distance, exactly as the loop does.

        Args:
            query: [n, 2] float32 with ``1 <= n <= length``.
        """
        profile, error = self.distance_profile(query)
        candidates = np.flatnonzero(profile <= profile.min() + 2.0 * error)
        # A window that equals the one before it has the same distance and comes later: it can't be the first.
        repeated = np.zeros(len(candidates), dtype=bool)
        repeated[1:] = (np.diff(candidates) == 1) & (self._run[candidates[1:] + len(query) - 1] >= len(query))
        exact_query = query.astype(np.float64)
        best, least = -1, np.inf
        for offset in candidates[~repeated].tolist():
            distance = euclidean_distance(exact_query, self.frames[offset : offset + len(query)])
            if distance < least:
                best, least = offset, distance
                if distance == 0.0:
                    break
        return best, least

    def _error_bound(self, query_energy: float) -> float:
        """Bound the rounding of ``distance_profile`` and of the loop's own sum, in squared units.

        Convolution by FFT: ``|error| <= c eps log2(N) |x| |r|`` (Higham, Accuracy and Stability of Numerical
        Algorithms, 2002, section 24.1), c generous for three transforms of mixed radix. Running sum: two levels
        of about sqrt(length) additions each, which also covers the loop's pairwise summation and its root.
        """
        reference_energy = float(self._energy[-1])
        transforms = 32.0 * np.log2(self._fft_length + 1) * np.sqrt(query_energy * reference_energy)
        sums = 8.0 * (np.sqrt(len(self)) + 16.0) * (reference_energy + query_energy)
        return float(_EPSILON * (transforms + sums))


def euclidean_distance(query: NDArray[np.float64], subsequence: Frames) -> float:
    """Return the loop's distance: the root of the summed squares over both channels, in float64.

    NumPy's own summation is used and not BLAS, whose result changes with the number of threads.
    """
    return float(np.sqrt(np.sum(np.square(query - subsequence))))


def place(query: Frames, reference: Reference, pad_mode: PadMode) -> Placement:
    """Choose where ``query`` [n, 2] lies within the reference's length.

    ``both``: at the first offset of least distance; ``front``: at the end, all zeros in front; ``back``: at the
    start, all zeros behind. A sequence as long as the reference stays as it is; a longer one is cut to it.
    """
    length = len(reference)
    if len(query) < length and pad_mode == "both":
        offset, distance = reference.best_offset(query)
        return Placement(offset, len(query), distance)
    kept = query[:length]
    offset = length - len(kept) if pad_mode == "front" else 0
    subsequence = reference.frames[offset : offset + len(kept)]
    return Placement(offset, len(kept), euclidean_distance(kept.astype(np.float64), subsequence))


def pad(query: Frames, offset_frames: int, length: int) -> Frames:
    """Return [length, 2] float32: ``query`` from ``offset_frames`` on (cut at ``length``), zeros elsewhere."""
    padded = np.zeros((length, 2), dtype=np.float32)
    kept = query[: length - offset_frames]
    padded[offset_frames : offset_frames + len(kept)] = kept
    return padded


def _running_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [n + 1] sums of the first 0, 1, … n values, added in two levels so that errors stay near sqrt(n)."""
    block = max(1, int(np.sqrt(len(values))))
    padded = np.zeros(-(-len(values) // block) * block)
    padded[: len(values)] = values
    within = np.cumsum(padded.reshape(-1, block), axis=1)
    before = np.concatenate(([0.0], np.cumsum(within[:-1, -1])))
    sums = (within + before[:, np.newaxis]).ravel()[: len(values)]
    return np.concatenate(([0.0], sums))


def _run_lengths(frames: Frames) -> NDArray[np.int64]:
    """Return [length] int64: how many rows up to and with this one equal their own predecessor, unbroken."""
    same = np.zeros(len(frames), dtype=bool)
    same[1:] = (frames[1:] == frames[:-1]).all(axis=1)
    index = np.arange(len(frames))
    last_change = np.maximum.accumulate(np.where(same, 0, index))
    return index - last_change
