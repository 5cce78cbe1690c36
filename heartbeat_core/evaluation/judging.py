"""Judge a recipe by its pooled out-of-fold predictions, with intervals over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support

from heartbeat_core.arrays import Codes, Values
from heartbeat_core.evaluation.against_rest import pool_ranks, rank
from heartbeat_core.evaluation.baselines import guess_by_rules, majority, majority_rule
from heartbeat_core.evaluation.calls import count_calls
from heartbeat_core.evaluation.figures import (
    DeviceFigures,
    HoldoutReport,
    Judgement,
    LabelFigures,
    PooledJudgement,
    RecipeFigures,
)
from heartbeat_core.evaluation.intervals import Interval
from heartbeat_core.evaluation.metrics import brier_score, calibration_error, compute_figures, risk_coverage
from heartbeat_core.evaluation.pooling import pool
from heartbeat_core.evaluation.rank_figures import LabelRanks
from heartbeat_core.evaluation.splits import Split, Task
from heartbeat_core.evaluation.unsure import UnsureShares, marked, rightness, shares_of
from heartbeat_core.labels import Labels, Targets
from heartbeat_core.recipe import Recipe

N_RESAMPLES = 1_000
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class FoldResult:
    """The predictions of a fold.

    Attributes
    ----------
    rows : ndarray, [n] int64
        Row numbers among the labelled rows of the dataset.
    predicted : ndarray, [n] int64
        Codes.
    probabilities : ndarray, [n, n_labels] float64
    unsure : ndarray, [n] bool
        Whether the prediction is unsure by its confidence, its distance or the segmentation. The quality of the
        recording, by which a bundle marks predictions as well, is not known in folds.
    fit_s : float
        Seconds that fitting took.
    n_bytes : int | None
        Size of the model; None if it is not known.
    """

    rows: Codes
    predicted: Codes
    probabilities: Values
    unsure: NDArray[np.bool_]
    fit_s: float
    n_bytes: int | None


class Truth(Protocol):
    """The facts about labelled rows; ``datasets.labelled.Labelled`` has them."""

    @property
    def targets(self) -> Targets:
        """Return the labels of the rows."""

    @property
    def groups(self) -> Sequence[str]:
        """Return the patient of each row."""

    @property
    def devices(self) -> Sequence[str]:
        """Return the recording device of each row."""

    @property
    def databases(self) -> Sequence[str]:
        """Return the database of each row."""

    @property
    def traits(self) -> Mapping[str, Sequence[str]]:
        """Return the age, sex and site of each row, where they are known; see ``evaluation.traits``."""


@dataclass(frozen=True)
class OutOfFold:
    """Out-of-fold predictions of one recipe, one task and one seed, pooled over its folds."""

    labels: Labels
    """The labels that codes stand for."""
    true: Codes
    """[n] int64 codes."""
    predicted: Codes
    """[n] int64 codes."""
    probabilities: NDArray[np.float64]
    """[n, n_labels] float64, one column for each label."""
    groups: list[str]
    """The patient of each row."""
    devices: list[str]
    """The recording device of each row."""
    databases: list[str]
    """The database of each row."""


def judge(rows: OutOfFold, seed: int = 0) -> Judgement:
    """Compute all figures for the predictions of one seed; ``seed`` is the seed of the bootstrap.

    Raises
    ------
    ValueError
        There are no rows, or a probability is not a number.
    """
    figures = compute_figures(rows.true, rows.predicted, rows.labels)
    points = (figures.accuracy, figures.balanced_accuracy, figures.macro_f1)
    lows, highs = np.percentile(_bootstrap(rows, seed), PERCENTILES, axis=0).tolist()
    if len(set(rows.groups)) == 1:  # One patient says nothing of others.
        lows, highs = [0.0] * len(points), [1.0] * len(points)
    accuracy, balanced_accuracy, macro_f1 = (
        Interval(value=value, low=low, high=high) for value, low, high in zip(points, lows, highs, strict=True)
    )
    confidence = rows.probabilities[np.arange(len(rows.true)), rows.predicted]
    correct = rows.true == rows.predicted
    risks, area = risk_coverage(confidence, correct)
    return Judgement(
        n_rows=len(rows.true),
        n_patients=len(set(rows.groups)),
        labels=figures.labels,
        accuracy=accuracy,
        balanced_accuracy=balanced_accuracy,
        macro_f1=macro_f1,
        by_label=_by_label(rows, figures.labels),
        confusion_matrix=figures.confusion_matrix,
        within_devices=_within(rows, rows.devices),
        within_databases=_within(rows, rows.databases) if len(set(rows.databases)) > 1 else {},
        ece=calibration_error(confidence, correct),
        brier=brier_score(rows.true, rows.probabilities),
        risk_coverage=risks,
        aurc=area,
    )


def judge_recipe(
    truth: Truth,
    task: Task,
    recipe: Recipe,
    of_seeds: Sequence[Sequence[FoldResult]],
    rules: Sequence[RecipeFigures],
    leaves_out: bool = False,
) -> RecipeFigures:
    """Judge a recipe by the folds of all seeds.

    Parameters
    ----------
    truth : Truth
        The facts about all labelled rows.
    task : Task
    recipe : Recipe
    of_seeds : Sequence[Sequence[FoldResult]]
        All folds, for each seed.
    rules : Sequence[RecipeFigures]
        The trivial rules, as ``judge_rules`` judges them. The recipe is compared with the rules for the same task.
    leaves_out : bool
        Whether each fold is a database or device that was left out of the training.

    Raises
    ------
    ValueError
        There are no seeds, they predict different rows, or no row has one known label.
    """
    ranks = pool_ranks([_rank_folds(truth, results, leaves_out) for results in of_seeds])
    judgement = pool(
        [
            judge_rows(
                truth,
                np.concatenate([fold.rows for fold in results]),
                np.concatenate([fold.predicted for fold in results]),
                np.concatenate([fold.probabilities for fold in results]),
            )
            for results in of_seeds
        ],
        truth.targets.labels,
    )
    results = [fold for seed in of_seeds for fold in seed]
    unsure, unsure_pooled = _unsure_shares(truth, results)
    sizes = [fold.n_bytes for fold in results if fold.n_bytes is not None]
    beside = {rule.name: rule.judgement for rule in rules if rule.task == task.name}
    return RecipeFigures(
        name=recipe.name,
        task=task.name,
        dropped_labels=task.dropped,
        judgement=judgement,
        recipe_fingerprint=recipe.fingerprint(),
        no_better_than=tuple(no_better(judgement, beside)),
        against_rest=tuple(ranks),
        unsure=unsure,
        unsure_pooled=unsure_pooled,
        calls=count_calls(truth.targets, truth.databases, ((fold.rows, fold.predicted) for fold in results)),
        fit_s=fmean(fold.fit_s for fold in results),
        weights_bytes=max(sizes) if sizes else None,
    )


def _unsure_shares(truth: Truth, results: Sequence[FoldResult]) -> tuple[dict[str, UnsureShares], UnsureShares]:
    """Return the shares by database and of all rows; each row counts once for each seed."""
    right, unsure, databases = [], [], list[str]()
    for fold in results:
        # A model gives a label that it was not trained on a probability of exactly 0.
        trained = np.flatnonzero((fold.probabilities > 0).any(axis=0))
        decides, is_right = rightness(truth.targets.take(fold.rows), fold.predicted, trained)
        right.append(is_right)
        unsure.append(fold.unsure[decides])
        databases += [truth.databases[row] for row in fold.rows[decides].tolist()]
    all_right, all_unsure = np.concatenate(right), np.concatenate(unsure)
    return marked(all_right, all_unsure, databases), shares_of(all_right, all_unsure)


def _rank_folds(truth: Truth, results: Sequence[FoldResult], leaves_out: bool) -> list[LabelRanks]:
    """Return the figures of each label against the rest, for the predictions of one seed."""
    rows = np.concatenate([fold.rows for fold in results])
    return rank_rows(truth, rows, np.concatenate([_where_trained(fold.probabilities, leaves_out) for fold in results]))


def rank_rows(truth: Truth, rows: Codes, probabilities: Values) -> list[LabelRanks]:
    """Return the figures of each label against the rest for the n rows with these numbers; see ``rank``."""
    index = rows.tolist()
    groups, databases, devices = (
        [values[i] for i in index] for values in (truth.groups, truth.databases, truth.devices)
    )
    traits = {name: [values[i] for i in index] for name, values in truth.traits.items()}
    return rank(truth.targets.take(rows), probabilities, groups, databases, devices, traits=traits)


def _where_trained(probabilities: Values, leaves_out: bool) -> Values:
    """Return NaN for the labels that a model was not trained on, if a whole database or device was left out.

    In grouped folds such a label counts as one that is never predicted: which fold lacks a label depends on the seed
    there, and the figures of all seeds must be of the same rows.
    """
    if not leaves_out:
        return probabilities
    return np.where((probabilities == 0).all(axis=0), np.nan, probabilities)


def judge_rules(truth: Truth, task: Task, of_seeds: Sequence[Sequence[Split]]) -> list[RecipeFigures]:
    """Judge the two rules, which do not use the sound, with the same splits as the recipes.

    Parameters
    ----------
    truth : Truth
        The facts about all labelled rows.
    task : Task
    of_seeds : Sequence[Sequence[Split]]
        For each seed, the splits of the task's rows. The rules learn from the training rows whose label is known.
    """
    kept = task.rows(truth.targets)
    codes = truth.targets.codes[kept]
    devices = [truth.devices[i] for i in kept.tolist()]
    n_labels = len(truth.targets.labels)
    guesses = [
        guess_by_rules(codes, devices, ((split.training, split.test) for split in splits)) for splits in of_seeds
    ]
    return [
        RecipeFigures(
            name=name,
            task=task.name,
            dropped_labels=task.dropped,
            judgement=pool(
                [judge_rows(truth, kept, guess[name], np.eye(n_labels)[guess[name]]) for guess in guesses],
                truth.targets.labels,
            ),
        )
        for name in guesses[0]
    ]


def judge_rows(truth: Truth, rows: Codes, predicted: Codes, probabilities: Values) -> Judgement:
    """Judge predictions for some rows; only those count whose label is known: at least one must be.

    A row that may also have a label that the task leaves out is not known to have the other one.

    Parameters
    ----------
    truth : Truth
        The facts about all labelled rows.
    rows, predicted : ndarray, [n] int64
        Row numbers, and the codes that were predicted for them.
    probabilities : ndarray, [n, n_labels] float64

    Raises
    ------
    ValueError
        No row has a known label, or a probability is NaN.
    """
    true = truth.targets.codes[rows]
    known = np.flatnonzero(true >= 0)
    index = rows[known].tolist()
    groups, devices, databases = (
        [values[i] for i in index] for values in (truth.groups, truth.devices, truth.databases)
    )
    labels = truth.targets.labels
    return judge(OutOfFold(labels, true[known], predicted[known], probabilities[known], groups, devices, databases))


def no_better(
    judgement: Judgement | PooledJudgement, rules: Mapping[str, Judgement] | Mapping[str, PooledJudgement]
) -> list[str]:
    """Return the rules that a recipe does not beat: their balanced accuracy reaches the lower bound of the recipe's."""
    least = judgement.balanced_accuracy.low
    return [name for name, rule in rules.items() if rule.balanced_accuracy.value >= least]


def _bootstrap(rows: OutOfFold, seed: int) -> NDArray[np.float64]:
    """Resample patients with replacement.

    Returns
    -------
    ndarray, [N_RESAMPLES, 3] float64
        Accuracy, balanced accuracy and macro-F1; the last two are over the labels that occur in a resample.
    """
    n_labels = len(rows.labels)
    names, group = np.unique(rows.groups, return_inverse=True)
    n_groups = len(names)
    cells = np.ravel_multi_index((group, rows.true, rows.predicted), (n_groups, n_labels, n_labels))
    counts = np.bincount(cells, minlength=n_groups * n_labels**2).reshape(n_groups, n_labels**2)
    rng = np.random.default_rng(seed)
    drawn = [np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups) for _ in range(N_RESAMPLES)]
    tables = np.stack([times @ counts for times in drawn]).reshape(N_RESAMPLES, n_labels, n_labels)
    actual, said = tables.sum(axis=2), tables.sum(axis=1)
    hits = np.diagonal(tables, axis1=1, axis2=2)
    n_occurring = (actual > 0).sum(axis=1)
    # A label that does not occur has no correct rows, so it adds nothing to these sums.
    recall = (hits / np.maximum(actual, 1)).sum(axis=1) / n_occurring
    f1 = (2 * hits / np.maximum(actual + said, 1)).sum(axis=1) / n_occurring
    return np.stack([hits.sum(axis=1) / actual.sum(axis=1), recall, f1], axis=1)


def _by_label(rows: OutOfFold, labels: Sequence[str]) -> dict[str, LabelFigures]:
    precisions, recalls, _, counts = precision_recall_fscore_support(
        rows.true, rows.predicted, labels=[rows.labels.index(label) for label in labels], zero_division=np.nan
    )
    return {
        label: LabelFigures(
            n_rows=int(count),
            recall=None if np.isnan(recall) else float(recall),
            precision=None if np.isnan(precision) else float(precision),
        )
        for label, count, recall, precision in zip(labels, counts, recalls, precisions, strict=True)
    }


def _within(rows: OutOfFold, names: Sequence[str]) -> dict[str, DeviceFigures]:
    """Return the figures of the rows of each device or database, by ``names``."""
    found = {}
    of_rows = np.asarray(names)
    for name in sorted(set(names)):
        is_here = of_rows == name
        true = rows.true[is_here]
        found[name] = DeviceFigures(
            n_rows=len(true),
            labels=tuple(rows.labels[code] for code in np.unique(true)),
            balanced_accuracy=compute_figures(true, rows.predicted[is_here], rows.labels).balanced_accuracy,
        )
    return found


def report_holdout(
    training: Targets, held_out: Targets, predicted: Codes, groups: Sequence[str], protocol: str
) -> HoldoutReport:
    """Compare the figures of the model with those of the rule that always predicts the most common training label.

    Parameters
    ----------
    training, held_out : Targets
        The labels of the rows; only rows with a known label count.
    predicted : ndarray, [n_held_out] int64
        Codes.
    groups : Sequence[str]
        The patient of each held-out row.
    protocol : str
        How the rows were held out, in words.
    """
    labels, known = training.labels, held_out.definite
    training_codes, holdout_codes = training.codes[training.definite], held_out.codes[known]
    commonest = majority(training_codes)
    return HoldoutReport(
        protocol=protocol,
        n_training_rows=len(training),
        n_holdout_rows=len(holdout_codes),
        n_holdout_patients=len({groups[i] for i in known.tolist()}),
        model=compute_figures(holdout_codes, predicted[known], labels),
        majority_label=labels[commonest],
        majority_rule=compute_figures(holdout_codes, majority_rule(training_codes, len(holdout_codes)), labels),
    )
