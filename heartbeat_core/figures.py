"""How good a model was found to be: figures with the protocol that made them."""

from __future__ import annotations

from heartbeat_core.config import Settings


class Figures(Settings):
    """How well predictions meet the labels of held-out rows.

    ``confusion_matrix[i][j]`` counts rows of ``labels[i]`` predicted as ``labels[j]``. ``balanced_accuracy`` is
    the mean recall over the labels that occur; ``macro_f1`` the mean F1 over the same labels.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    labels: tuple[str, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]


class HoldoutReport(Settings):
    """The figures of one hold-out, with the protocol that made them and the trivial rule beside them."""

    protocol: str
    n_training_rows: int
    n_holdout_rows: int
    n_holdout_patients: int
    model: Figures
    majority_label: str
    majority_rule: Figures
