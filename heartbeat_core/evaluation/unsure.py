"""How many wrong predictions a model marks as unsure, and how many right ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Codes
from heartbeat_core.labels import Targets
from heartbeat_core.settings import Settings


class UnsureShares(Settings):
    """The shares of predictions that are marked as unsure.

    Attributes
    ----------
    n_right, n_wrong : int
        Right and wrong predictions.
    of_right, of_wrong : float | None
        The shares of these that are marked, 0 to 1; None if there are no such predictions.
    """

    n_right: int
    n_wrong: int
    of_right: float | None
    of_wrong: float | None


def rightness(targets: Targets, predicted: Codes, trained: Codes) -> tuple[Codes, NDArray[np.bool_]]:
    """Tell which predictions are right: those of a label that the row may have.

    Parameters
    ----------
    targets : Targets
        What the labels say of the n rows.
    predicted : ndarray, [n] int64
        Codes.
    trained : ndarray, [n_trained] int64
        Codes of the labels that the model predicts. A row that may have each of them decides nothing.

    Returns
    -------
    tuple[ndarray, ndarray]
        The numbers of the rows that decide, [m] int64, ascending, and whether their predictions are right, [m] bool.
    """
    possible = targets.possible
    decides = np.flatnonzero(possible.any(axis=1) & ~possible[:, trained].all(axis=1))
    return decides, possible[decides, predicted[decides]]


def marked(right: NDArray[np.bool_], unsure: NDArray[np.bool_], databases: Sequence[str]) -> dict[str, UnsureShares]:
    """Return the shares of right and of wrong predictions that are marked as unsure, for each database.

    Parameters
    ----------
    right, unsure : ndarray, [n] bool
        Whether each prediction is right, and whether it is marked.
    databases : Sequence[str]
        The database of each row.

    Returns
    -------
    dict[str, UnsureShares]
        By database, in alphabetical order.

    Examples
    --------
    >>> shares = marked(np.array([True, False, False]), np.array([False, True, False]), ["a", "a", "a"])
    >>> shares["a"].of_right, shares["a"].of_wrong
    (0.0, 0.5)
    """
    names = np.asarray(databases)
    return {name: shares_of(right[names == name], unsure[names == name]) for name in sorted(set(databases))}


def shares_of(right: NDArray[np.bool_], unsure: NDArray[np.bool_]) -> UnsureShares:
    """Return the shares of all rows together.

    Parameters
    ----------
    right, unsure : ndarray, [n] bool
        As in ``marked``.
    """
    n_right = int(right.sum())
    n_wrong = len(right) - n_right
    return UnsureShares(
        n_right=n_right,
        n_wrong=n_wrong,
        of_right=int((right & unsure).sum()) / n_right if n_right else None,
        of_wrong=int((~right & unsure).sum()) / n_wrong if n_wrong else None,
    )
