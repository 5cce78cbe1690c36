"""Alignment padding: place a sequence where it is nearest to the reference, with zeros elsewhere.

The original project tries every offset in a Python loop (its preprocessor 2). Here the distance profile comes from a
cross-correlation by real FFTs. Rounding can hide which offset is the minimum, so every possible one is computed again
exactly as in the loop. The offset is therefore always the same as in the loop, also for ties.

The profile is computed in float32 first. If this leaves many possible offsets, as for a constant tone, the profile is
computed again in float64.

Terms follow the matrix-profile literature: the sequence is the query, a window of the reference is a subsequence, and
the distances at all offsets are the distance profile (Mueen et al., MASS, 2017).
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
"""For up to this many windows, the exact computation of the loop is faster than a profile in float64."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a sequence lies within the length of the reference.

    Attributes
    ----------
    offset_frames : int
        Number of zero frames in front.
    n_frames : int
        Number of frames that are kept. A sequence longer than the reference is cut.
    distance : float
        Euclidean distance, over both channels, between the kept frames and the reference at this offset. Its unit is
        the mixed unit of the frames (Hz and magnitude).

    Examples
    --------
    >>> Placement(offset_frames=3, n_frames=10, distance=0.0).offset_frames
    3
    """

    offset_frames: int
    n_frames: int
    distance: float


class Reference:
    """The longest sequence of a training set, with values that are computed from it once.

    Parameters
    ----------
    frames : ndarray, [length, 2] float32
        Hz, linear magnitude.
    correlator : Callable[[Frames], Correlator] | None
        Makes the correlator for given frames. None computes on this processor, in float32 first.

    Attributes
    ----------
    frames : ndarray, [length, 2] float32
        Read-only: Hz, linear magnitude.

    Raises
    ------
    ValueError
        The frames are empty, or not [length, 2].

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
        """Return the squared distances at all offsets, and a bound for their absolute error.

        Parameters
        ----------
        query : ndarray, [n, 2] float32
            With ``1 <= n <= length``.
        correlator : Correlator | None
            Computes the cross terms; None takes the most precise one of this reference.

        Returns
        -------
        tuple[ndarray of float64, float]
            The distance profile [length - n + 1]: ``D2[i] = sum |x|^2 + (S[i+n] - S[i]) - 2 sum_t x[t] r[i+t]``, where
            ``S`` is the running sum of ``|r|^2``, with the mean of the reference subtracted from both (which does not
            change the distance and reduces rounding). The second value is the largest error that any of them can have
            against the value of the loop.
        """
        profile, query_energy, error = (correlator or self._correlators[-1]).cross(query)
        profile *= -2.0
        profile += self._energy[len(query) :]
        profile -= self._energy[: len(profile)]
        profile += query_energy
        # The running sum has two levels of about sqrt(length) additions each. This bound also covers the sum in the
        # loop, which is pairwise, and its root.
        sums = 8.0 * (np.sqrt(len(self)) + 16.0) * (float(self._energy[-1]) + query_energy)
        return profile, float(error + EPSILON * sums)

    def best_offset(self, query: Frames) -> tuple[int, float]:
        """Return the first offset with the smallest Euclidean distance, and this distance, exactly as the loop does.

        Parameters
        ----------
        query : ndarray, [n, 2] float32
            Hz, linear magnitude; ``1 <= n <= length``.

        Returns
        -------
        tuple[int, float]
            The offset in frames, 0 to ``length - n``, and the distance.
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
        """Return the offsets that may be the first one with the smallest distance, ascending."""
        profile, error = self.distance_profile(query, correlator)
        candidates = np.flatnonzero(profile <= profile.min() + 2.0 * error)
        # A window that equals the one before it has the same distance and comes later, so it cannot be the first.
        repeated = np.zeros(len(candidates), dtype=bool)
        repeated[1:] = (np.diff(candidates) == 1) & (self._run[candidates[1:] + len(query) - 1] >= len(query))
        return candidates[~repeated]


def euclidean_distance(query: NDArray[np.float64], subsequence: Frames) -> float:
    """Return the distance of the loop: the root of the sum of squares over both channels, in float64.

    This uses NumPy's summation and not BLAS, because the result of BLAS changes with the number of threads.

    Parameters
    ----------
    query : ndarray, [n, 2] float64
    subsequence : ndarray, [n, 2] float32
    """
    return float(np.sqrt(np.sum(np.square(query - subsequence))))


def place(query: Frames, reference: Reference, pad_mode: PadMode) -> Placement:
    """Choose where a sequence lies within the length of the reference.

    Parameters
    ----------
    query : ndarray, [n, 2] float32
        Hz, linear magnitude. A query as long as the reference is not moved; a longer one is cut to its length.
    reference : Reference
    pad_mode : PadMode
        ``both``: at the first offset with the smallest distance. ``front``: at the end, with all zeros in front.
        ``back``: at the start, with all zeros behind.

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
    """Return a sequence at its offset, with zeros elsewhere.

    Parameters
    ----------
    query : ndarray, [n, 2] float32
        Hz, linear magnitude.
    offset_frames : int
        Number of zero frames in front.
    length : int
        Frames of the reference; what lies beyond is cut.

    Returns
    -------
    ndarray, [length, 2] float32

    Examples
    --------
    >>> import numpy as np
    >>> pad(np.ones((2, 2), np.float32), 1, 4)[:, 0].tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    padded = np.zeros((length, 2), dtype=np.float32)
    kept = query[: length - offset_frames]
    padded[offset_frames : offset_frames + len(kept)] = kept
    return padded


def _run_lengths(frames: Frames) -> NDArray[np.int64]:
    """Return [length] int64: how many rows in a row, up to this one, equal the row before them."""
    same = np.zeros(len(frames), dtype=bool)
    same[1:] = (frames[1:] == frames[:-1]).all(axis=1)
    index = np.arange(len(frames))
    last_change = np.maximum.accumulate(np.where(same, 0, index))
    return index - last_change
