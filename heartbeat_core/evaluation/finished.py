"""Judge a finished model on labelled recordings, without training anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from heartbeat_core.arrays import Codes, Values
from heartbeat_core.errors import DatasetError
from heartbeat_core.evaluation.baselines import guess_by_rules
from heartbeat_core.evaluation.calls import Calls, count_calls
from heartbeat_core.evaluation.figures import Judgement
from heartbeat_core.evaluation.judging import Truth, judge_rows, no_better, rank_rows
from heartbeat_core.evaluation.rank_figures import LabelRanks
from heartbeat_core.evaluation.splits import folds
from heartbeat_core.evaluation.unsure import UnsureShares, marked, rightness, shares_of
from heartbeat_core.settings import Settings

MODEL_EVALUATION: Final = "heartbeat-model-evaluation"
"""Tells its figures from those of an ``Evaluation``."""
RULE_FOLDS = 5
"""The rules guess each fifth of the patients from the labels of the others."""
Overlap = Literal["all", "some", "none", "likely", "unknown"]
"""Which recordings are known to be in a model's training data: all, some or none. Where the bundle of an earlier
version does not tell: some are likely to be, because the recording that the model is aligned with is among them; or
nothing is known."""


@dataclass(frozen=True, slots=True)
class ModelPredictions:
    """What a model predicts for rows.

    Attributes
    ----------
    rows : ndarray, [n] int64
        Row numbers among the labelled rows; those that could not be predicted are missing.
    predicted : ndarray, [n] int64
        Codes.
    probabilities : ndarray, [n, n_labels] float64
    unsure : ndarray, [n] bool
        Whether the prediction is marked as unsure.
    """

    rows: Codes
    predicted: Codes
    probabilities: Values
    unsure: NDArray[np.bool_]


class ModelEvaluation(Settings):
    """All figures of a finished model on labelled recordings: the ``figures.json`` of ``evaluate --model``.

    ``labels`` are those of the model.
    """

    format: Literal["heartbeat-model-evaluation"] = MODEL_EVALUATION
    model_id: str
    labels: tuple[str, ...]
    data_fingerprint: str
    """As in ``Evaluation``."""
    overlap: Overlap
    n_trained_on: int | None = None
    """Labelled recordings that the model was trained on; None where its bundle does not tell."""
    training_data: str | None = None
    """What the model was trained on, in the words of its bundle."""
    n_rows: int
    """Recordings that were predicted."""
    n_patients: int
    failures: dict[str, int]
    """Recordings that could not be predicted, by ``error_type``."""
    judgement: Judgement | None
    """For the rows with one known label; None if there are none."""
    rules: dict[str, Judgement] = Field(default_factory=dict)
    """For the same rows, the trivial rules: what can be guessed without the sound. Empty if the rows have fewer than
    two labels or are too few for ``RULE_FOLDS`` folds."""
    no_better_than: tuple[str, ...] = ()
    """The rules that the model does not beat."""
    calls: Calls = Field(default_factory=dict)
    """For each database, what the same rows are called."""
    calls_by_device: Calls = Field(default_factory=dict)
    against_rest: tuple[LabelRanks, ...]
    unsure: dict[str, UnsureShares]
    """For each database."""
    unsure_pooled: UnsureShares

    @property
    def n_failed(self) -> int:
        """Recordings that could not be predicted."""
        return sum(self.failures.values())


def judge_model(
    truth: Truth,
    predictions: ModelPredictions,
    trained: Codes,
    *,
    model_id: str,
    data_fingerprint: str,
    overlap: Overlap,
    n_trained_on: int | None = None,
    training_data: str | None = None,
    error_types: Sequence[str] = (),
) -> ModelEvaluation:
    """Compute all figures of the predictions of a model.

    Parameters
    ----------
    truth : Truth
        The facts about all labelled rows, with the labels of the model.
    predictions : ModelPredictions
        Of at least one row.
    trained : ndarray, [n_trained] int64
        Codes of the labels that the model was trained on. The others are not judged against the rest.
    model_id, data_fingerprint, overlap, n_trained_on, training_data
        As in ``ModelEvaluation``.
    error_types : Sequence[str]
        The error of each row that could not be predicted.
    """
    rows, targets = predictions.rows, truth.targets.take(predictions.rows)
    is_trained = np.isin(np.arange(len(targets.labels)), trained)
    judged = (rows, predictions.predicted, predictions.probabilities)
    decides, right = rightness(targets, predictions.predicted, trained)
    unsure = predictions.unsure[decides]
    databases = [truth.databases[row] for row in rows[decides].tolist()]
    judgement = judge_rows(truth, *judged) if len(targets.definite) else None
    rules = _judge_rules(truth, rows)
    calls, calls_by_device = (
        count_calls(truth.targets, places, [(rows, predictions.predicted)])
        for places in (truth.databases, truth.devices)
    )
    return ModelEvaluation(
        model_id=model_id,
        labels=targets.labels,
        data_fingerprint=data_fingerprint,
        overlap=overlap,
        n_trained_on=n_trained_on,
        training_data=training_data,
        n_rows=len(rows),
        n_patients=len({truth.groups[row] for row in rows.tolist()}),
        failures=dict(sorted(Counter(error_types).items())),
        judgement=judgement,
        rules=rules,
        no_better_than=() if judgement is None else tuple(no_better(judgement, rules)),
        calls=calls,
        calls_by_device=calls_by_device,
        against_rest=tuple(rank_rows(truth, rows, np.where(is_trained, predictions.probabilities, np.nan))),
        unsure=marked(right, unsure, databases),
        unsure_pooled=shares_of(right, unsure),
    )


def _judge_rules(truth: Truth, rows: Codes) -> dict[str, Judgement]:
    """Judge the trivial rules on those of the rows whose label is known; each patient's are guessed from others'."""
    known = rows[truth.targets.codes[rows] >= 0]
    codes, index = truth.targets.codes[known], known.tolist()
    if len(np.unique(codes)) < 2:
        return {}
    try:
        splits = folds(codes, [truth.groups[row] for row in index], RULE_FOLDS, seed=0)
    except DatasetError:
        return {}
    guesses = guess_by_rules(codes, [truth.devices[row] for row in index], splits)
    certain = np.eye(len(truth.targets.labels))
    return {name: judge_rows(truth, known, guess, certain[guess]) for name, guess in guesses.items()}
