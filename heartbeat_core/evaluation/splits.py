"""Held-out rows and honest figures: split by patient, the trivial rule beside the model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from heartbeat_core.arrays import Codes
from heartbeat_core.errors import DatasetError


def holdout_split(
    codes: Codes, groups: Sequence[str], n_folds: int, seed: int, kept_in_training: str | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows into training and held-out ones so that no group is on both sides.

    Takes the first fold of a shuffled ``StratifiedGroupKFold`` that leaves ``kept_in_training`` in training: the
    group of the alignment reference, which every training row has been compared with.

    Returns
    -------
    tuple[ndarray of int64, ndarray of int64]
        Ascending row numbers ``(training, held out)``, each int64.

    Raises
    ------
    DatasetError
        Too few groups to hold one fold out.
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
        Which the folds keep in proportion.
    groups : Sequence[str]
        Each row's patient.

    Returns
    -------
    list[tuple[ndarray of int64, ndarray of int64]]
        For each fold, ascending row numbers ``(training, held out)``, each int64; every row is held out once.

    Raises
    ------
    DatasetError
        Too few groups, or too few rows of each label.
    """
    n_groups = len(set(groups))
    if n_groups < n_folds:
        raise DatasetError(f"{n_groups} patients are too few to hold out one of {n_folds} folds")
    most = int(np.bincount(codes).max())
    if most < n_folds:
        raise DatasetError(f"no label has the {n_folds} rows that {n_folds} folds need; the most is {most}")
    splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A label with fewer rows than folds is held out in some folds only; its row count is in the report.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter.split(codes, codes, np.asarray(groups)))
