"""Pool the judgements of several seeds: the mean and the range of each figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np

from heartbeat_core.evaluation.figures import (
    DeviceFigures,
    DeviceOverSeeds,
    Judgement,
    LabelFigures,
    LabelOverSeeds,
    PooledJudgement,
)
from heartbeat_core.evaluation.intervals import OverSeeds, pool_intervals
from heartbeat_core.labels import Labels


def pool(judgements: Sequence[Judgement], order: Labels) -> PooledJudgement:
    """Average the results of several seeds for the same rows; see ``PooledJudgement``.

    Parameters
    ----------
    judgements : Sequence[Judgement]
        One for each seed.
    order : Labels
        All labels, in order.

    Raises
    ------
    ValueError
        There are no judgements, or their numbers of rows or patients differ.
    """
    if len({(judgement.n_rows, judgement.n_patients) for judgement in judgements}) != 1:
        raise ValueError("pooled judgements must be of the same rows")
    first = judgements[0]
    labels = tuple(label for label in order if any(label in judgement.labels for judgement in judgements))
    return PooledJudgement(
        n_seeds=len(judgements),
        n_rows=first.n_rows,
        n_patients=first.n_patients,
        labels=labels,
        accuracy=pool_intervals([judgement.accuracy for judgement in judgements]),
        balanced_accuracy=pool_intervals([judgement.balanced_accuracy for judgement in judgements]),
        macro_f1=pool_intervals([judgement.macro_f1 for judgement in judgements]),
        by_label={
            label: _pool_labels([each.by_label[label] for each in judgements if label in each.by_label])
            for label in labels
        },
        confusion_matrix=_sum_confusion(judgements, labels),
        within_devices=_pool_within([judgement.within_devices for judgement in judgements]),
        within_databases=_pool_within([judgement.within_databases for judgement in judgements]),
        ece=_over_seeds([judgement.ece for judgement in judgements]),
        brier=_over_seeds([judgement.brier for judgement in judgements]),
        risk_coverage=tuple(
            _over_seeds(risks) for risks in zip(*(each.risk_coverage for each in judgements), strict=True)
        ),
        aurc=_over_seeds([judgement.aurc for judgement in judgements]),
    )


def _pool_within(of_seeds: Sequence[Mapping[str, DeviceFigures]]) -> dict[str, DeviceOverSeeds]:
    return {
        name: DeviceOverSeeds(
            n_rows=figures.n_rows,
            labels=figures.labels,
            balanced_accuracy=_over_seeds([each[name].balanced_accuracy for each in of_seeds]),
        )
        for name, figures in of_seeds[0].items()
    }


def _over_seeds(values: Sequence[float]) -> OverSeeds:
    return OverSeeds(value=fmean(values), least=min(values), most=max(values))


def _where_defined(values: Iterable[float | None]) -> OverSeeds | None:
    defined = [value for value in values if value is not None]
    return _over_seeds(defined) if defined else None


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
