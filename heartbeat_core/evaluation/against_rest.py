"""Figures of each label against the rest, by recording and by patient, within databases and devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Codes, Values
from heartbeat_core.evaluation.intervals import IntervalOverSeeds, pool_intervals
from heartbeat_core.evaluation.metrics import bins_of
from heartbeat_core.evaluation.rank_figures import DatabaseMean, DatabaseMeans, LabelRanks, RankFigures, ReliabilityBin
from heartbeat_core.evaluation.reliability import merge_bins, reliability_bins
from heartbeat_core.evaluation.traits import in_order, values_of
from heartbeat_core.labels import Targets

N_RESAMPLES = 1_000
PERCENTILES = (2.5, 97.5)
POSITIVE, NEGATIVE, UNDECIDED = 1, 0, -1
NAMES = ("auroc", "auprc", "sensitivity", "calibration_error")
FEWEST_PATIENTS = 5
"""Patients with the label, and without it, that a group of patients must have for figures of its own."""
_BLOCK_CELLS = 2**14
"""Resamples x rows that are worked on at once: few enough for the processor's cache."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows, each a recording or a patient, with the score of one label.

    Attributes
    ----------
    scores : ndarray, [n] float64
        The probability of the label; NaN where the row is not judged, and then it is ``UNDECIDED``.
    outcomes : ndarray, [n] int64
        ``POSITIVE`` if the row is known to have the label, ``NEGATIVE`` if it is known not to, else ``UNDECIDED``.
    persons : ndarray, [n] int64
        The number of the person.
    databases : ndarray, [n] str
    """

    scores: Values
    outcomes: Codes
    persons: Codes
    databases: NDArray[np.str_]

    def where(self, chosen: NDArray[np.bool_]) -> Scored:
        """Return the rows for which ``chosen``, [n] bool, is true."""
        return Scored(self.scores[chosen], self.outcomes[chosen], self.persons[chosen], self.databases[chosen])


def rank(
    targets: Targets,
    probabilities: Values,
    groups: Sequence[str],
    databases: Sequence[str],
    devices: Sequence[str],
    seed: int = 0,
    traits: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[LabelRanks]:
    """Compute the figures of each label against the rest, for the predictions of one seed.

    Parameters
    ----------
    targets : Targets
        What the labels say of the n rows.
    probabilities : ndarray, [n, n_labels] float64
        NaN where a row is not judged for a label, because its model was not trained on this label.
    groups : Sequence[str]
        The person of each row.
    databases : Sequence[str]
        The database of each row.
    devices : Sequence[str]
        The recording device of each row.
    seed : int
        The seed of the bootstrap.
    traits : Mapping[str, Sequence[str]]
        Further facts about each row by name (age, sex, site); empty text where they are not known.

    Returns
    -------
    list[LabelRanks]
        The labels that at least one row is known to have and at least one is known not to have, in their order.

    Examples
    --------
    >>> targets = Targets.of_cells(["murmur", "murmur", "normal", "normal"], ("normal", "murmur"))
    >>> probabilities = np.array([[0.1, 0.9], [0.6, 0.4], [0.7, 0.3], [0.5, 0.5]])
    >>> _, murmur = rank(targets, probabilities, groups=list("abcd"), databases=["x"] * 4, devices=["y"] * 4)
    >>> murmur.label, murmur.pooled.n_positive, murmur.pooled.auroc.value
    ('murmur', 2, 0.75)
    """
    persons = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    of_devices = np.asarray(devices)
    known = {name: values_of(name, texts) for name, texts in traits.items()}
    found = []
    for code, label in enumerate(targets.labels):
        is_judged = ~np.isnan(probabilities[:, code])
        decided = np.where(is_judged, outcomes(targets, code), UNDECIDED)
        rows = Scored(probabilities[:, code], decided, persons, np.asarray(databases))
        if not {POSITIVE, NEGATIVE} <= set(rows.outcomes.tolist()):
            continue
        patients = by_patient(rows)
        within = _within(rows, rows.databases, seed)
        patients_within = _within(patients, patients.databases, seed)
        found.append(
            LabelRanks(
                label=label,
                pooled=rank_figures(rows, seed),
                by_patient=rank_figures(patients, seed),
                databases=within,
                databases_by_patient=patients_within,
                devices=_within(rows, of_devices, seed),
                mean_over_databases=_means(within),
                mean_over_databases_by_patient=_means(patients_within),
                groups={name: _within_known(rows, values, seed) for name, values in known.items()},
                reliability={str(name): _bins(rows.where(rows.databases == name)) for name in within},
                reliability_pooled=_bins(rows),
            )
        )
    return found


def outcomes(targets: Targets, code: int) -> Codes:
    """Return whether each row has a label, as in ``Scored``.

    A row is positive if only this label is possible, and negative if others are possible and this one is not.

    Parameters
    ----------
    targets : Targets
        What the labels say of the n rows.
    code : int
        The code of the label.

    Returns
    -------
    ndarray, [n] int64
        ``POSITIVE``, ``NEGATIVE`` or ``UNDECIDED``.
    """
    possible = targets.possible
    n_possible = possible.sum(axis=1)
    has_it = possible[:, code] & (n_possible == 1)
    lacks_it = ~possible[:, code] & (n_possible > 0)
    return np.select([has_it, lacks_it], [POSITIVE, NEGATIVE], UNDECIDED).astype(np.int64)


def by_patient(rows: Scored) -> Scored:
    """Pool the recordings of each patient within each database, by the rule that ``LabelRanks`` states.

    Parameters
    ----------
    rows : Scored
        The recordings.

    Returns
    -------
    Scored
        The patients of each database, ordered by database. A score is the mean over the recordings that are judged, and
        NaN where none is.
    """
    names, database = np.unique(rows.databases, return_inverse=True)
    pairs, of_row = np.unique(np.stack([database, rows.persons]), axis=1, return_inverse=True)
    place = of_row.ravel()
    n_patients = pairs.shape[1]
    is_judged = ~np.isnan(rows.scores)
    n_judged, n_positive, n_negative = (
        np.bincount(place[chosen], minlength=n_patients)
        for chosen in (is_judged, rows.outcomes == POSITIVE, rows.outcomes == NEGATIVE)
    )
    total = np.bincount(place[is_judged], rows.scores[is_judged], n_patients)
    return Scored(
        scores=np.divide(total, n_judged, out=np.full(n_patients, np.nan), where=n_judged > 0),
        outcomes=np.select([n_positive > 0, n_negative > 0], [POSITIVE, NEGATIVE], UNDECIDED).astype(np.int64),
        persons=pairs[1],
        databases=names[pairs[0]],
    )


def rank_figures(rows: Scored, seed: int = 0, fewest_patients: int = 1) -> RankFigures:
    """Compute the figures of one label for these rows, with their intervals; see ``RankFigures``.

    Parameters
    ----------
    rows : Scored
        Recordings, or patients as ``by_patient`` returns them; those that are ``UNDECIDED`` do not count.
    seed : int
        The seed of the bootstrap.
    fewest_patients : int
        Without this many patients with the label, and as many without it, there are no figures.

    Returns
    -------
    RankFigures
        Figures that are not defined are None.
    """
    decided = rows.where(rows.outcomes != UNDECIDED)
    n_positive = int((decided.outcomes == POSITIVE).sum())
    n_negative = len(decided.outcomes) - n_positive
    persons, person = np.unique(decided.persons, return_inverse=True)
    figures: dict[str, IntervalOverSeeds | None] = dict.fromkeys(NAMES)
    n_with, n_without = (
        len(np.unique(decided.persons[decided.outcomes == outcome])) for outcome in (POSITIVE, NEGATIVE)
    )
    if min(n_with, n_without) >= fewest_patients and len(persons) > 1:
        descending = np.argsort(-decided.scores, kind="stable")
        is_positive = decided.outcomes[descending] == POSITIVE
        ends = np.flatnonzero(np.diff(decided.scores[descending], append=-np.inf))
        scores = decided.scores[descending[ends]]
        points = _curve_figures(np.ones((1, len(descending)), np.int64), is_positive, ends, scores)[0].tolist()
        resampled = np.concatenate(
            [
                _curve_figures(times.take(person[descending], axis=1), is_positive, ends, scores)
                for times in _draws(len(persons), max(1, _BLOCK_CELLS // len(descending)), seed)
            ]
        )
        lows, highs = np.percentile(resampled[~np.isnan(resampled).any(axis=1)], PERCENTILES, axis=0).tolist()
        figures = {
            name: IntervalOverSeeds(value=value, low=low, high=high, least=value, most=value)
            for name, value, low, high in zip(NAMES, points, lows, highs, strict=True)
        }
    return RankFigures(n_positive=n_positive, n_negative=n_negative, n_patients=len(persons), **figures)


def pool_ranks(of_seeds: Sequence[Sequence[LabelRanks]]) -> list[LabelRanks]:
    """Average the figures of several seeds for the same rows: values and bounds by their means, as ``pool`` does.

    Parameters
    ----------
    of_seeds : Sequence[Sequence[LabelRanks]]
        For each seed, what ``rank`` returned.

    Returns
    -------
    list[LabelRanks]
        One for each label. The bins of a reliability table count each row once for each seed.

    Raises
    ------
    ValueError
        There are no seeds, or they judge different rows.
    """
    if not of_seeds:
        raise ValueError("there are no seeds to pool")
    return [_pool_label(ranks) for ranks in zip(*of_seeds, strict=True)]


def _draws(n_persons: int, n_at_once: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield blocks of resamples, each [n_at_once or fewer, n_persons]: how often each person was drawn."""
    rng = np.random.default_rng(seed)
    for first in range(0, N_RESAMPLES, n_at_once):
        yield np.stack(
            [
                np.bincount(rng.integers(n_persons, size=n_persons), minlength=n_persons)
                for _ in range(min(n_at_once, N_RESAMPLES - first))
            ]
        )


def _curve_figures(
    times: NDArray[np.int64], is_positive: NDArray[np.bool_], ends: NDArray[np.int64], scores: Values
) -> Values:
    """Compute the figures of each resample.

    Parameters
    ----------
    times : ndarray, [n_resamples, n] int64
        How often each row counts; the scores of the rows descend.
    is_positive : ndarray, [n] bool
    ends : ndarray, [n_scores] int64
        The last row of each run of equal scores.
    scores : ndarray, [n_scores] float64
        The score of each run.

    Returns
    -------
    ndarray, [n_resamples, 4] float64
        The figures of ``NAMES``; those of ranks are NaN for a resample without positive or without negative rows.
    """
    # For each threshold, from the highest: the rows at or above it, and those that have exactly this score.
    hits = (times * is_positive).cumsum(axis=1).take(ends, axis=1)
    alarms = (times * ~is_positive).cumsum(axis=1).take(ends, axis=1)
    new_hits, new_alarms = (np.diff(counts, axis=1, prepend=0) for counts in (hits, alarms))
    n_positive, n_negative = hits[:, -1], alarms[:, -1]
    # A pair with equal scores counts half.
    pairs = (new_alarms * (2 * hits - new_hits)).sum(axis=1)
    # In a resample, the highest thresholds may have no rows; they add nothing.
    precision = hits / np.maximum(hits + alarms, 1)
    # Scores that descend fill one bin after the other.
    first_of_bins = np.flatnonzero(np.diff(bins_of(scores), prepend=-1))
    gaps = np.add.reduceat(new_hits - (new_hits + new_alarms) * scores, first_of_bins, axis=1)
    # Whole numbers, so that a specificity of exactly 0.9 counts.
    best_hits = np.where(10 * alarms <= n_negative[:, np.newaxis], hits, 0).max(axis=1)
    with np.errstate(invalid="ignore"):
        return np.stack(
            [
                pairs / (2 * n_positive * n_negative),
                (new_hits * precision).sum(axis=1) / n_positive,
                best_hits / n_positive,
                np.abs(gaps).sum(axis=1) / (n_positive + n_negative),
            ],
            axis=1,
        )


def _within(rows: Scored, names: NDArray[np.str_], seed: int) -> dict[str, RankFigures]:
    return {str(name): rank_figures(rows.where(names == name), seed) for name in np.unique(names)}


def _within_known(rows: Scored, values: Sequence[str], seed: int) -> dict[str, RankFigures]:
    of_rows = np.asarray(values)
    return {
        name: rank_figures(rows.where(of_rows == name), seed, FEWEST_PATIENTS) for name in in_order({*values} - {""})
    }


def _bins(rows: Scored) -> tuple[ReliabilityBin, ...]:
    decided = rows.where(rows.outcomes != UNDECIDED)
    return reliability_bins(decided.scores, decided.outcomes == POSITIVE)


def _means(within: Mapping[str, RankFigures]) -> DatabaseMeans:
    means: dict[str, DatabaseMean | None] = {}
    for name in NAMES:
        values = [figure.value for each in within.values() if (figure := getattr(each, name)) is not None]
        means[name] = DatabaseMean(value=fmean(values), n_databases=len(values)) if values else None
    return DatabaseMeans(**means)


def _pool_label(ranks: Sequence[LabelRanks]) -> LabelRanks:
    first = ranks[0]
    if len({each.label for each in ranks}) != 1:
        raise ValueError("pooled ranks must be of the same labels")
    databases = _pool_within([each.databases for each in ranks])
    databases_by_patient = _pool_within([each.databases_by_patient for each in ranks])
    return LabelRanks(
        label=first.label,
        pooled=_pool_figures([each.pooled for each in ranks]),
        by_patient=_pool_figures([each.by_patient for each in ranks]),
        databases=databases,
        databases_by_patient=databases_by_patient,
        devices=_pool_within([each.devices for each in ranks]),
        mean_over_databases=_means(databases),
        mean_over_databases_by_patient=_means(databases_by_patient),
        groups={name: _pool_within([each.groups[name] for each in ranks]) for name in first.groups},
        reliability={name: merge_bins([each.reliability[name] for each in ranks]) for name in first.reliability},
        reliability_pooled=merge_bins([each.reliability_pooled for each in ranks]),
    )


def _pool_within(of_seeds: Sequence[Mapping[str, RankFigures]]) -> dict[str, RankFigures]:
    return {name: _pool_figures([each[name] for each in of_seeds]) for name in of_seeds[0]}


def _pool_figures(of_seeds: Sequence[RankFigures]) -> RankFigures:
    if len({(each.n_positive, each.n_negative, each.n_patients) for each in of_seeds}) != 1:
        raise ValueError("pooled ranks must be of the same rows")
    # Which figures are defined depends on the rows alone, so it is the same for all seeds.
    defined = [name for name in NAMES if getattr(of_seeds[0], name) is not None]
    pooled = {name: pool_intervals([getattr(each, name) for each in of_seeds]) for name in defined}
    return of_seeds[0].model_copy(update=pooled)
