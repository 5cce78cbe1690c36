"""Alignment padding: place a sequence where it lies nearest to the reference, zeros elsewhere.

The original project tries every offset in a Python loop (its preprocessor 2). Here the distance profile
comes from a cross-correlation by real FFTs, and every offset that rounding could have confused with the
minimum is evaluated again as the loop does it. The offset is the loop's, always, ties included.

The profile is made in float32 first. Where that leaves many offsets in question, as in a constant tone, it is
made again in float64.

Terms follow the matrix-profile literature: the sequence is the query, a window of the reference a
subsequence, and the distances at all offsets are the distance profile (Mueen et al., MASS, 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.alignment.correlation import EPSILON, BlockCorrelator, Correlator, WholeCorrelator, running_energy
from heartbeat_core.arrays import Frames
from heartbeat_core.recipe import PadMode

FEW_CANDIDATES = 16
"""So many windows are sooner evaluated as the loop does it than told apart by a profile in float64."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a sequence lies within the reference's length.

    Attributes
    ----------
    offset_frames : int
        Zeros in front.
    n_frames : int
        Frames that are kept: a sequence longer than the reference is cut.
    distance : float
        Euclidean distance over both channels between the kept frames and the reference there, in the mixed unit of the
        frames (Hz and magnitude).

    Examples
    --------
    >>> Placement(offset_frames=3, n_frames=10, distance=0.0).offset_frames
    3
    """

    offset_frames: int
    n_frames: int
    distance: float


class Reference:
    """The longest sequence of a training set, with what is computed from it once.

    Parameters
    ----------
    frames : ndarray, [length, 2] float32
        Hz, linear magnitude.
    correlator : Callable[[Frames], Correlator] | None
        What makes the cross terms, given the frames; this processor, first in float32, where it is None.

    Attributes
    ----------
    frames : ndarray, [length, 2] float32
        Read-only: Hz, linear magnitude.

    Examples
    --------
    >>> import numpy as np
    >>> frames = np.arange(20, dtype=np.float32).reshape(10, 2)
    >>> reference = Reference(frames)
    >>> len(reference)
    10
    >>> reference.best_offset(frames[4:7])
    (4, 0.0)
    """

    def __init__(self, frames: Frames, correlator: Callable[[Frames], Correlator] | None = None) -> None:
        if frames.ndim != 2 or frames.shape[1] != 2 or len(frames) == 0:
            raise ValueError(f"a reference is [length > 0, 2], not {frames.shape}")
        self.frames: Frames = np.array(frames, dtype=np.float32, order="C")
        self.frames.flags.writeable = False
        self._energy = running_energy(self.frames)
        self._run = _run_lengths(self.frames)
        self._correlators: tuple[Correlator, ...] = (
            (BlockCorrelator(self.frames), WholeCorrelator(self.frames))
            if correlator is None
            else (correlator(self.frames),)
        )

    def __len__(self) -> int:
        return len(self.frames)

    def distance_profile(
        self, query: Frames, correlator: Correlator | None = None
    ) -> tuple[NDArray[np.float64], float]:
        """Return the squared distances at all offsets, and the bound of their absolute error.

        Parameters
        ----------
        query : ndarray, [n, 2] float32
            With ``1 <= n <= length``.
        correlator : Correlator | None
            What makes the cross terms; the most precise one of this reference where it is None.

        Returns
        -------
        ndarray, [length - n + 1] float64
            ``D2[i] = sum |x|^2 + (S[i+n] - S[i]) - 2 sum_t x[t] r[i+t]`` where ``S`` is the running sum of ``|r|^2``,
            both less the reference's mean (which leaves the distance as it is and shrinks the rounding); and the
            largest error that any of them can have against the loop's own value.
        """
        profile, query_energy, error = (correlator or self._correlators[-1]).cross(query)
        profile *= -2.0
        profile += self._energy[len(query) :]
        profile -= self._energy[: len(profile)]
        profile += query_energy
        # The running sum has two levels of about sqrt(length) additions each. This also covers the loop's own sum,
        # which is pairwise, and its root.
        sums = 8.0 * (np.sqrt(len(self)) + 16.0) * (float(self._energy[-1]) + query_energy)
        return profile, float(error + EPSILON * sums)

    def best_offset(self, query: Frames) -> tuple[int, float]:
        """Return the first offset of least Euclidean distance, and that distance, exactly as the loop does.

        Parameters
        ----------
        query : ndarray, [n, 2] float32
            With ``1 <= n <= length``.
        """
        candidates = np.empty(0, np.intp)
        for correlator in self._correlators:
            candidates = self._candidates(query, correlator)
            if len(candidates) <= FEW_CANDIDATES:
                break
        exact_query = query.astype(np.float64)
        best, least = -1, np.inf
        for offset in candidates.tolist():
            distance = euclidean_distance(exact_query, self.frames[offset : offset + len(query)])
            if distance < least:
                best, least = offset, distance
                if distance == 0.0:
                    break
        return best, least

    def _candidates(self, query: Frames, correlator: Correlator) -> NDArray[np.intp]:
        """Return, ascending, the offsets that may be the first of least distance."""
        profile, error = self.distance_profile(query, correlator)
        candidates = np.flatnonzero(profile <= profile.min() + 2.0 * error)
        # A window that equals the one before it has the same distance and comes later: it can't be the first.
        repeated = np.zeros(len(candidates), dtype=bool)
        repeated[1:] = (np.diff(candidates) == 1) & (self._run[candidates[1:] + len(query) - 1] >= len(query))
        return candidates[~repeated]


def euclidean_distance(query: NDArray[np.float64], subsequence: Frames) -> float:
    """Return the loop's distance: the root of the summed squares over both channels, in float64.

    NumPy's own summation is used and not BLAS, whose result changes with the number of threads.
    """
    return float(np.sqrt(np.sum(np.square(query - subsequence))))


def place(query: Frames, reference: Reference, pad_mode: PadMode) -> Placement:
    """Choose where a sequence lies within the reference's length.

    Parameters
    ----------
    query : ndarray, [n, 2] float32
        Hz, linear magnitude. One as long as the reference stays as it is; a longer one is cut to it.
    reference : Reference
    pad_mode : PadMode
        ``both``: at the first offset of least distance. ``front``: at the end, all zeros in front. ``back``: at the
        start, all zeros behind.

    Returns
    -------
    Placement

    Examples
    --------
    >>> import numpy as np
    >>> reference = Reference(np.arange(20, dtype=np.float32).reshape(10, 2))
    >>> place(reference.frames[2:5], reference, "both")
    Placement(offset_frames=2, n_frames=3, distance=0.0)
    >>> place(reference.frames[2:5], reference, "front").offset_frames
    7
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


def _run_lengths(frames: Frames) -> NDArray[np.int64]:
    """Return [length] int64: how many rows up to and with this one equal their own predecessor, unbroken."""
    same = np.zeros(len(frames), dtype=bool)
    same[1:] = (frames[1:] == frames[:-1]).all(axis=1)
    index = np.arange(len(frames))
    last_change = np.maximum.accumulate(np.where(same, 0, index))
    return index - last_change
