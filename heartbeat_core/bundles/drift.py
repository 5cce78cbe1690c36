"""How far recordings lie from the training data of a model: sums over a shard, which add up to those of a whole run.

The scaler of a bundle holds the mean and the deviation of each column over the training rows, altered copies among
them. In its units, z, training rows have mean 0 and mean square 1. From the sums follow, for any group of columns,

- the **shift** that the recordings have in common: the root of the mean, over the columns, of the squared mean of z.
  What the spread of n recordings alone adds to it, the mean of z² over n, is taken away, so that few recordings have no
  larger shift than many;
- the **distance** of single recordings, the root mean square of z over the columns, as a histogram.

Only models of vectors have such a scaler.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.features.catalogue import shape_read
from heartbeat_core.features.extract import join_vectors
from heartbeat_core.features.groups import GroupColumns, groups_read

if TYPE_CHECKING:
    from heartbeat_core.bundles.bundle import Bundle
    from heartbeat_core.recordings.process import RecordingResult

DISTANCE_EDGES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
"""Upper edges of the bins of the histograms; the last bin is open."""
_MOST_Z = 10.0
"""Values are clipped here, so that one broken recording does not move the sums of a whole shard."""
_STEPS = 25
"""Means of a shard are stored in steps of 1/25, as single bytes: a thousand columns take 1.4 kB in a commit record."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Sums over n recordings.

    Attributes
    ----------
    n : int
    sums : ndarray, [width] float64
        Of z, by column.
    squares : ndarray, [1 + n_groups] float64
        Of z, each recording's mean over the columns: of all columns, and of those of each group.
    distances : ndarray, [1 + n_groups, n_bins] int64
        Recordings in the bins of ``DISTANCE_EDGES``, by group as in ``squares``.
    """

    n: int
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    distances: NDArray[np.int64]

    def __add__(self, other: Drift) -> Drift:
        """Return the sums over the recordings of both."""
        return Drift(
            self.n + other.n, self.sums + other.sums, self.squares + other.squares, self.distances + other.distances
        )

    def shift(self, columns: NDArray[np.int64] | None = None, group: int = 0) -> float:
        """Return the shift over a group's columns; 0 if the spread explains it, NaN of fewer than two recordings.

        Parameters
        ----------
        columns : ndarray, [k] int64 | None
            Places of the group's columns, as ``GroupColumns.columns``. None takes all columns.
        group : int
            The place of the group in ``squares``: 0 for all columns, and otherwise that of ``columns``.

        Returns
        -------
        float
            In deviations of the training rows.
        """
        if self.n < 2:
            return float("nan")
        sums = self.sums if columns is None else self.sums[columns]
        squared = (np.square(sums).mean() - self.squares[group]) / (self.n * (self.n - 1))
        return float(np.sqrt(max(0.0, squared)))

    def stored(self) -> dict[str, Any]:
        """Return the sums as JSON holds them; ``read`` reads them back.

        Arrays are texts (base64): a driver holds the records of all shards, and lists would take five times the memory.

        Returns
        -------
        dict[str, Any]
            ``n``, ``means`` to 1/50 of a deviation, cut at ±5.08, ``squares`` in float32, and ``distances``.
        """
        steps = np.clip(np.rint(self.sums / max(1, self.n) * _STEPS), -127, 127)
        return {
            "n": self.n,
            "means": _text(steps, "<i1"),
            "squares": _text(self.squares, "<f4"),
            "distances": _text(self.distances, "<u4"),
        }

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """Return what ``stored`` returned.

        Parameters
        ----------
        stored : Mapping[str, Any]
            With the keys ``n``, ``means``, ``squares`` and ``distances``.

        Raises
        ------
        KeyError, ValueError
            It is damaged.
        """
        n, squares = int(stored["n"]), _array(stored["squares"], "<f4")
        distances = _array(stored["distances"], "<u4").astype(np.int64).reshape(len(squares), -1)
        return cls(n, _array(stored["means"], "<i1") / _STEPS * n, squares, distances)


def _text(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def _array(text: str, kind: str) -> NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(text), kind).astype(np.float64)


def measure_drift(bundle: Bundle, results: Sequence[RecordingResult]) -> Drift | None:
    """Measure the recordings of a shard.

    Parameters
    ----------
    bundle : Bundle
    results : Sequence[RecordingResult]
        Processed with the feature sets that the model reads.

    Returns
    -------
    Drift | None
        None if there are no recordings, or if the model reads no vectors or is no network.

    Raises
    ------
    ValueError
        A result lacks a feature set that the model reads.
    """
    recipe_input = bundle.manifest.recipe.input
    form = bundle.model.form()
    if form is None or shape_read(recipe_input) != "vector" or not results:
        return None
    rows = np.stack([join_vectors(one.features, recipe_input) for one in results])
    return drift_of((rows - form.mean) / form.scale, groups_read(recipe_input))


def drift_of(z: NDArray[np.float64], groups: Sequence[GroupColumns]) -> Drift:
    """Return the sums over rows.

    Parameters
    ----------
    z : ndarray, [n, width] float64
        Values in deviations of the training rows; they are clipped at ±10.
    groups : Sequence[GroupColumns]
        The groups of the columns, as ``groups_read`` returns them.

    Examples
    --------
    >>> drift = drift_of(np.array([[2.0, 2.0], [2.0, 2.0]]), [])
    >>> drift.n, drift.shift()
    (2, 2.0)
    """
    z = np.clip(z, -_MOST_Z, _MOST_Z)
    squared = np.square(z)
    squares = np.stack([squared.mean(axis=1), *(squared[:, one.columns].mean(axis=1) for one in groups)])
    places = np.searchsorted(DISTANCE_EDGES, np.sqrt(squares), side="right")
    n_bins = len(DISTANCE_EDGES) + 1
    distances = np.stack([np.bincount(row, minlength=n_bins) for row in places])
    return Drift(len(z), z.sum(axis=0), squares.sum(axis=1), distances)
