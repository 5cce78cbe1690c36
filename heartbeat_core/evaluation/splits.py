"""Split rows by patient, so that figures on the held-out rows are honest."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from heartbeat_core.arrays import Codes
from heartbeat_core.errors import DatasetError
from heartbeat_core.labels import Targets
from heartbeat_core.wording import counted


@dataclass(frozen=True, slots=True)
class Split:
    """One division of rows into those to train on and those to judge.

    Attributes
    ----------
    name : str
        The number of the fold, or the database or device that is left out of the training.
    training, test : ndarray of int64
        Ascending row numbers.
    """

    name: str
    training: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Task:
    """The labels that classifiers have to tell apart: all labels, or all but those left out of training and test.

    Attributes
    ----------
    name : str
        The name as shown: '5 classes', or '4 classes' without artifact.
    dropped : tuple[str, ...]
        The labels that are left out.
    """

    name: str
    dropped: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Return the name of the task's folder."""
        return "-".join(["all", *(f"without-{label}" for label in self.dropped)])

    def targets(self, targets: Targets) -> Targets:
        """Return the same rows without the labels that are left out; raises ValueError if the targets lack one."""
        return targets.without(targets.labels.index(label) for label in self.dropped)

    def rows(self, targets: Targets) -> Codes:
        """Return the numbers of the rows that the task uses, ascending: those that say something about its labels.

        Parameters
        ----------
        targets : Targets
            What the labels say of all rows.

        Returns
        -------
        ndarray, [n_kept] int64

        Raises
        ------
        ValueError
            A label that the task leaves out is none of those of the targets.
        """
        return self.targets(targets).informative()


def holdout_split(
    codes: Codes, groups: Sequence[str], n_folds: int, seed: int, kept_in_training: str | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows into training and held-out ones so that no group is on both sides.

    This holds out the first fold of a shuffled ``StratifiedGroupKFold`` that leaves ``kept_in_training`` in training.
    That is the group of the alignment reference, with which every training row was compared.

    Parameters
    ----------
    codes, groups, n_folds, seed
        As for ``folds``.
    kept_in_training : str | None
        The group that is not held out; None if any may be.

    Returns
    -------
    tuple[ndarray of int64, ndarray of int64]
        Ascending row numbers ``(training, held out)``, each int64.

    Raises
    ------
    DatasetError
        As for ``folds``, or the group to keep is held out in every fold.
    """
    names = np.asarray(groups)
    for training, holdout in folds(codes, groups, n_folds, seed):
        if kept_in_training not in names[holdout]:
            return training, holdout
    raise DatasetError("every fold holds the alignment reference's own patient")


def folds(
    codes: Codes, groups: Sequence[str], n_folds: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split rows into shuffled ``StratifiedGroupKFold`` folds, so that no group is on both sides of one.

    Parameters
    ----------
    codes : ndarray, [n_rows] int64
        The folds keep the proportions of these numbers, which are not negative (``Targets.strata``).
    groups : Sequence[str]
        The patient of each row.
    n_folds : int
        At least 2.
    seed : int
        Decides the shuffle: the same seed gives the same folds.

    Returns
    -------
    list[tuple[ndarray of int64, ndarray of int64]]
        For each fold, ascending row numbers ``(training, held out)``, each int64; every row is held out once.

    Raises
    ------
    DatasetError
        There are fewer groups than folds, or no label has as many rows as there are folds.

    Examples
    --------
    >>> [held_out.tolist() for _, held_out in folds(np.array([0, 1, 0, 1]), ["a", "a", "b", "b"], 2, seed=0)]
    [[2, 3], [0, 1]]
    """
    n_groups = len(set(groups))
    if n_groups < n_folds:
        are = "is" if n_groups == 1 else "are"
        raise DatasetError(f"{counted(n_groups, 'patient')} {are} too few to hold out one of {n_folds} folds")
    most = int(np.bincount(codes).max())
    if most < n_folds:
        raise DatasetError(f"no label has the {n_folds} rows that {n_folds} folds need; the most is {most}")
    splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A label with fewer rows than folds is held out in some folds only; its row count is in the report.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter.split(codes, codes, np.asarray(groups)))


def seeds_text(n_seeds: int) -> str:
    """Return which seeds an evaluation has, in words: those from 0 to ``n_seeds`` - 1."""
    return "seed 0" if n_seeds == 1 else f"seeds 0 to {n_seeds - 1}"


def folds_protocol(n_folds: int, n_seeds: int) -> str:
    """Return a text that says how an evaluation by grouped folds splits its rows, and where it fits what."""
    return (
        f"Protocol: StratifiedGroupKFold({n_folds}, shuffle) by patient, a recording without a patient being "
        f"its own group; {seeds_text(n_seeds)}; reference, scaler, weights, thresholds and temperature "
        "fitted in the training folds only (the last by inner folds of these); out-of-fold predictions pooled."
    )
