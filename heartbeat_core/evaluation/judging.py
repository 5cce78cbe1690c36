"""Judge a recipe by its pooled out-of-fold predictions, with intervals over patients, and pool several seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support

from heartbeat_core.arrays import Codes, Values
from heartbeat_core.evaluation.baselines import device_rule, majority, majority_rule
from heartbeat_core.evaluation.figures import (
    DeviceFigures,
    DeviceOverSeeds,
    HoldoutReport,
    Interval,
    IntervalOverSeeds,
    Judgement,
    LabelFigures,
    LabelOverSeeds,
    OverSeeds,
    PooledJudgement,
    RecipeFigures,
)
from heartbeat_core.evaluation.metrics import brier_score, calibration_error, compute_figures, risk_coverage
from heartbeat_core.evaluation.splits import Task, folds
from heartbeat_core.recipe import LABELS, Recipe

MAJORITY_RULE, DEVICE_RULE = "majority rule", "device rule"
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
    probabilities : ndarray, [n, 5] float64
    fit_s : float
        Seconds that fitting took.
    n_bytes : int | None
        Size of the model; None if it is not known.
    """

    rows: Codes
    predicted: Codes
    probabilities: Values
    fit_s: float
    n_bytes: int | None


class Truth(Protocol):
    """The facts about labelled rows; ``datasets.dataset.Labelled`` has them."""

    @property
    def codes(self) -> Codes:
        """Return [n] int64: the code of each row's label."""

    @property
    def groups(self) -> Sequence[str]:
        """Return the patient of each row."""

    @property
    def devices(self) -> Sequence[str]:
        """Return the recording device of each row."""


@dataclass(frozen=True)
class OutOfFold:
    """Out-of-fold predictions of one recipe, one task and one seed, pooled over its folds."""

    true: Codes
    """[n] int64 codes."""
    predicted: Codes
    """[n] int64 codes."""
    probabilities: NDArray[np.float64]
    """[n, 5] float64, one column for each label."""
    groups: list[str]
    """The patient of each row."""
    devices: list[str]
    """The recording device of each row."""


def judge(rows: OutOfFold, seed: int = 0) -> Judgement:
    """Compute all figures for the predictions of one seed; ``seed`` is the seed of the bootstrap.

    Raises
    ------
    ValueError
        There are no rows, or a probability is not a number.
    """
    figures = compute_figures(rows.true, rows.predicted)
    points = (figures.accuracy, figures.balanced_accuracy, figures.macro_f1)
    lows, highs = np.percentile(_bootstrap(rows, seed), PERCENTILES, axis=0).tolist()
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
        within_devices=_within_devices(rows),
        ece=calibration_error(confidence, correct),
        brier=brier_score(rows.true, rows.probabilities),
        risk_coverage=risks,
        aurc=area,
    )


def pool(judgements: Sequence[Judgement]) -> PooledJudgement:
    """Average the results of several seeds for the same rows; see ``PooledJudgement``.

    Raises
    ------
    ValueError
        There are no judgements, or they judge different rows.
    """
    if len({(judgement.n_rows, judgement.n_patients) for judgement in judgements}) != 1:
        raise ValueError("pooled judgements must be of the same rows")
    first = judgements[0]
    labels = tuple(label for label in LABELS if any(label in judgement.labels for judgement in judgements))
    return PooledJudgement(
        n_seeds=len(judgements),
        n_rows=first.n_rows,
        n_patients=first.n_patients,
        labels=labels,
        accuracy=_pool_intervals([judgement.accuracy for judgement in judgements]),
        balanced_accuracy=_pool_intervals([judgement.balanced_accuracy for judgement in judgements]),
        macro_f1=_pool_intervals([judgement.macro_f1 for judgement in judgements]),
        by_label={
            label: _pool_labels([each.by_label[label] for each in judgements if label in each.by_label])
            for label in labels
        },
        confusion_matrix=_sum_confusion(judgements, labels),
        within_devices={
            device: DeviceOverSeeds(
                n_rows=figures.n_rows,
                labels=figures.labels,
                balanced_accuracy=_over_seeds([each.within_devices[device].balanced_accuracy for each in judgements]),
            )
            for device, figures in first.within_devices.items()
        },
        ece=_over_seeds([judgement.ece for judgement in judgements]),
        brier=_over_seeds([judgement.brier for judgement in judgements]),
        risk_coverage=tuple(
            _over_seeds(risks) for risks in zip(*(each.risk_coverage for each in judgements), strict=True)
        ),
        aurc=_over_seeds([judgement.aurc for judgement in judgements]),
    )


def judge_recipe(
    truth: Truth, task: Task, recipe: Recipe, of_seeds: Sequence[Sequence[FoldResult]], rules: Sequence[RecipeFigures]
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
    """
    judgement = pool(
        [
            _judge_rows(
                truth,
                np.concatenate([fold.rows for fold in results]),
                np.concatenate([fold.predicted for fold in results]),
                np.concatenate([fold.probabilities for fold in results]),
            )
            for results in of_seeds
        ]
    )
    results = [fold for seed in of_seeds for fold in seed]
    sizes = [fold.n_bytes for fold in results if fold.n_bytes is not None]
    beside = {rule.name: rule.judgement for rule in rules if rule.task == task.name}
    return RecipeFigures(
        name=recipe.name,
        task=task.name,
        dropped_labels=tuple(LABELS[code] for code in task.dropped),
        judgement=judgement,
        recipe_fingerprint=recipe.fingerprint(),
        no_better_than=tuple(no_better(judgement, beside)),
        fit_s=fmean(fold.fit_s for fold in results),
        weights_bytes=max(sizes) if sizes else None,
    )


def judge_rules(truth: Truth, task: Task, n_folds: int, n_seeds: int) -> list[RecipeFigures]:
    """Judge the two rules, which do not use the sound, with the same folds as the recipes."""
    kept = task.rows(truth.codes)
    codes = truth.codes[kept]
    groups, devices = ([values[i] for i in kept.tolist()] for values in (truth.groups, truth.devices))
    judged: dict[str, list[Codes]] = {MAJORITY_RULE: [], DEVICE_RULE: []}
    for seed in range(n_seeds):
        by_majority, by_device = np.empty_like(codes), np.empty_like(codes)
        for training, test in folds(codes, groups, n_folds, seed):
            by_majority[test] = majority_rule(codes[training], len(test))
            here, there = ([devices[i] for i in index.tolist()] for index in (training, test))
            by_device[test] = device_rule(codes[training], here, there)
        judged[MAJORITY_RULE].append(by_majority)
        judged[DEVICE_RULE].append(by_device)
    return [
        RecipeFigures(
            name=name,
            task=task.name,
            dropped_labels=tuple(LABELS[code] for code in task.dropped),
            judgement=pool([_judge_rows(truth, kept, codes, np.eye(len(LABELS))[codes]) for codes in seeds]),
        )
        for name, seeds in judged.items()
    ]


def _judge_rows(truth: Truth, rows: Codes, predicted: Codes, probabilities: Values) -> Judgement:
    """Judge predictions for the rows with these numbers."""
    index = rows.tolist()
    groups, devices = ([values[i] for i in index] for values in (truth.groups, truth.devices))
    return judge(OutOfFold(truth.codes[rows], predicted, probabilities, groups, devices))


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
    n_labels = len(LABELS)
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
        rows.true, rows.predicted, labels=[LABELS.index(label) for label in labels], zero_division=np.nan
    )
    return {
        label: LabelFigures(
            n_rows=int(count),
            recall=None if np.isnan(recall) else float(recall),
            precision=None if np.isnan(precision) else float(precision),
        )
        for label, count, recall, precision in zip(labels, counts, recalls, precisions, strict=True)
    }


def _within_devices(rows: OutOfFold) -> dict[str, DeviceFigures]:
    found = {}
    devices = np.asarray(rows.devices)
    for device in sorted(set(rows.devices)):
        is_here = devices == device
        true = rows.true[is_here]
        found[device] = DeviceFigures(
            n_rows=len(true),
            labels=tuple(LABELS[code] for code in np.unique(true)),
            balanced_accuracy=compute_figures(true, rows.predicted[is_here]).balanced_accuracy,
        )
    return found


def _over_seeds(values: Sequence[float]) -> OverSeeds:
    return OverSeeds(value=fmean(values), least=min(values), most=max(values))


def _where_defined(values: Iterable[float | None]) -> OverSeeds | None:
    defined = [value for value in values if value is not None]
    return _over_seeds(defined) if defined else None


def _pool_intervals(intervals: Sequence[Interval]) -> IntervalOverSeeds:
    values = [interval.value for interval in intervals]
    return IntervalOverSeeds(
        value=fmean(values),
        low=fmean(interval.low for interval in intervals),
        high=fmean(interval.high for interval in intervals),
        least=min(values),
        most=max(values),
    )


def _pool_labels(figures: Sequence[LabelFigures]) -> LabelOverSeeds:
    return LabelOverSeeds(
        n_rows=figures[0].n_rows,
        recall=_where_defined(each.recall for each in figures),
        precision=_where_defined(each.precision for each in figures),
    )


def _sum_confusion(judgements: Sequence[Judgement], labels: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    total = np.zeros((len(labels), len(labels)), np.int64)
    for judgement in judgements:
        # If a seed neither has nor predicts a label, its matrix has no row and column for it.
        places = [labels.index(label) for label in judgement.labels]
        total[np.ix_(places, places)] += np.array(judgement.confusion_matrix)
    return tuple(tuple(row) for row in total.tolist())


def report_holdout(
    training_codes: Codes, holdout_codes: Codes, predicted: Codes, n_holdout_patients: int, protocol: str
) -> HoldoutReport:
    """Compare the figures of the model with those of the rule that always predicts the most common training label."""
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
