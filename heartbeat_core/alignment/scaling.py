"""One mean and one scale for each position and channel of the padded sequences.

The definition is that of ``sklearn.preprocessing.StandardScaler`` (population variance, scale 1 where it is 0), fitted
on raw aligned values of the training rows. Rows are unpadded and have an offset. The zeros around them are only
counted, so the cost of a row depends on its own length and not on that of the reference. Partial fits from different
workers are merged with the update of Chan, Golub and LeVeque (1979), which is exact up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scaler:
    """A fitted scaler.

    Attributes
    ----------
    mean : ndarray, [length, 2] float64
        Hz, linear magnitude.
    scale : ndarray, [length, 2] float64
        The standard deviation, or 1 where it is 0.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def transform(self, padded: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``(padded - mean) / scale`` as float32, same shape [..., length, 2], computed in float64.

        Parameters
        ----------
        padded : ndarray, [..., length, 2] float32
            Hz, linear magnitude; zeros outside of the recording.
        """
        scaled: NDArray[np.float32] = ((padded - self.mean) / self.scale).astype(np.float32)
        return scaled


class ScalerFit:
    """An unfinished scaler: the moments of the rows that cover each position.

    Parameters
    ----------
    length : int
        Frames of the reference.

    Attributes
    ----------
    n_rows : int
        Number of rows seen.
    covered : ndarray, [length] int64
        Number of rows whose frames cover the position.
    mean : ndarray, [length, 2] float64
        Mean over the rows that cover the position.
    m2 : ndarray, [length, 2] float64
        Sum of squared deviations from this mean.
    """

    def __init__(self, length: int) -> None:
        self.n_rows = 0
        self.covered: NDArray[np.int64] = np.zeros(length, dtype=np.int64)
        self.mean: NDArray[np.float64] = np.zeros((length, 2))
        self.m2: NDArray[np.float64] = np.zeros((length, 2))

    def add(self, frames: NDArray[np.float32], offset_frames: int) -> None:
        """Add one row: its frames from an offset on, with zeros elsewhere.

        Parameters
        ----------
        frames : ndarray, [n, 2] float32
            Without padding: Hz, linear magnitude.
        offset_frames : int
            Number of zero frames in front.

        Raises
        ------
        ValueError
            The row reaches beyond the scaler's length.
        """
        if offset_frames < 0 or offset_frames + len(frames) > len(self.covered):
            raise ValueError(
                f"{len(frames)} frames at offset {offset_frames} reach beyond {len(self.covered)} positions"
            )
        window = slice(offset_frames, offset_frames + len(frames))
        self.n_rows += 1
        self.covered[window] += 1
        deviation = frames - self.mean[window]
        self.mean[window] += deviation / self.covered[window, np.newaxis]
        self.m2[window] += deviation * (frames - self.mean[window])

    def merge(self, other: ScalerFit) -> Self:
        """Add all rows of another fit of the same length; returns self.

        Raises
        ------
        ValueError
            The lengths differ.
        """
        if len(other.covered) != len(self.covered):
            raise ValueError(f"scalers of {len(self.covered)} and {len(other.covered)} positions cannot be merged")
        self.mean, self.m2 = _combine((self.covered, self.mean, self.m2), (other.covered, other.mean, other.m2))
        self.covered = self.covered + other.covered
        self.n_rows += other.n_rows
        return self

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the moments as named arrays, which can be stored and which ``from_state`` reads back.

        Returns
        -------
        dict[str, ndarray]
            ``n_rows`` [1] int64, and the attributes ``covered``, ``mean`` and ``m2``, not copied.
        """
        return {
            "n_rows": np.array([self.n_rows]),
            "covered": self.covered,
            "mean": self.mean,
            "m2": self.m2,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[np.generic]]) -> Self:
        """Restore a fit from its ``state``.

        Parameters
        ----------
        state : Mapping[str, ndarray]
            The four arrays that ``state`` returns.
        """
        fit = cls(len(state["covered"]))
        fit.n_rows = int(state["n_rows"][0])
        fit.covered = state["covered"].astype(np.int64)
        fit.mean = state["mean"].astype(np.float64)
        fit.m2 = state["m2"].astype(np.float64)
        return fit

    def finish(self) -> Scaler:
        """Return the scaler over all rows, including the zeros of the padding.

        Raises
        ------
        ValueError
            No row was added.
        """
        if self.n_rows == 0:
            raise ValueError("a scaler needs at least one row")
        zeros = (self.n_rows - self.covered, np.zeros_like(self.mean), np.zeros_like(self.m2))
        mean, m2 = _combine((self.covered, self.mean, self.m2), zeros)
        variance = m2 / self.n_rows
        # The test of StandardScaler for a constant column: a variance that rounding alone explains.
        epsilon = np.finfo(np.float64).eps
        constant = variance <= self.n_rows * epsilon * variance + np.square(self.n_rows * mean * epsilon)
        return Scaler(mean, np.where(constant, 1.0, np.sqrt(variance)))


def fit_scaler(frames: Sequence[NDArray[np.float32]], offsets: NDArray[np.int64], length: int) -> Scaler:
    """Fit the scaler of each position and channel to aligned rows; zeros of the padding count.

    Parameters
    ----------
    frames : Sequence[ndarray], n of [m, 2] float32
        The frames of each recording without padding: Hz, linear magnitude.
    offsets : ndarray, [n] int64
        The number of zero frames in front of each.
    length : int
        Frames of the reference.

    Returns
    -------
    Scaler
        Means and deviations, [length, 2].

    Raises
    ------
    ValueError
        There are no rows, a row reaches beyond the length, or there are not as many offsets as rows.

    Examples
    --------
    >>> rows = [np.full((2, 2), 3, np.float32), np.full((1, 2), 5, np.float32)]
    >>> fit_scaler(rows, np.array([0, 1]), 3).mean.tolist()
    [[1.5, 1.5], [4.0, 4.0], [0.0, 0.0]]
    """
    fit = ScalerFit(length)
    for row, offset in zip(frames, offsets.tolist(), strict=True):
        fit.add(row, offset)
    return fit.finish()


_Moments = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def _combine(a: _Moments, b: _Moments) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the sum of squared deviations of two sets of rows together."""
    n_a, mean_a, m2_a = a[0][:, np.newaxis], a[1], a[2]
    n_b, mean_b, m2_b = b[0][:, np.newaxis], b[1], b[2]
    total = np.maximum(n_a + n_b, 1)
    shift = mean_b - mean_a
    return mean_a + shift * (n_b / total), m2_a + m2_b + np.square(shift) * (n_a * (n_b / total))
