"""Held-out rows and honest figures: split by patient, the trivial rule beside the model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score
from sklearn.model_selection import StratifiedGroupKFold

from heartbeat_core.config import LABELS
from heartbeat_core.errors import DatasetError
from heartbeat_core.figures import Figures, HoldoutReport
from heartbeat_core.rules import Codes, majority, majority_rule


def holdout_split(
    codes: Codes, groups: Sequence[str], n_folds: int, seed: int, kept_in_training: str | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows into training and held-out ones so that no group is on both sides.

    Takes the first fold of a shuffled ``StratifiedGroupKFold`` that leaves ``kept_in_training`` in training: the
    group of the alignment reference, which every training row has been compared with.

    Returns:
        Ascending row numbers ``(training, held out)``, each int64.

    Raises:
        DatasetError: too few groups to hold one fold out.
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

    Args:
        codes: [n_rows] int64, which the folds keep in proportion.
        groups: each row's patient.

    Returns:
        For each fold, ascending row numbers ``(training, held out)``, each int64; every row is held out once.

    Raises:
        DatasetError: too few groups, or too few rows of each label.
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


def compute_figures(true: Codes, predicted: Codes) -> Figures:
    """Compare predictions with labels, both [n_rows] int64 codes."""
    present = sorted(set(true.tolist()))
    shown = sorted(set(true.tolist()) | set(predicted.tolist()))
    table = confusion_matrix(true, predicted, labels=range(len(LABELS)))[np.ix_(shown, shown)]
    return Figures(
        accuracy=float(accuracy_score(true, predicted)),
        balanced_accuracy=float(recall_score(true, predicted, labels=present, average="macro")),
        macro_f1=float(f1_score(true, predicted, labels=present, average="macro", zero_division=0)),
        labels=tuple(LABELS[code] for code in shown),
        confusion_matrix=tuple(tuple(int(cell) for cell in row) for row in table),
    )


def report_holdout(
    training_codes: Codes, holdout_codes: Codes, predicted: Codes, n_holdout_patients: int, protocol: str
) -> HoldoutReport:
    """Put the model's figures beside those of the rule that always says the training rows' commonest label."""
    commonest = majority(training_codes)
    return HoldoutReport(
        protocol=protocol,
        n_training_rows=len(training_codes),
        n_holdout_rows=len(holdout_codes),
        n_holdout_patients=n_holdout_patients,
        model=compute_figures(holdout_codes, predicted),
        majority_label=LABELS[commonest],
        majority_rule=compute_figures(holdout_codes, majority_rule(training_codes, len(holdout_codes))),
    )
