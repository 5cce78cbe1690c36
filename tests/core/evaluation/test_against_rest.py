"""Figures of one label against the rest: against plain loops, against scikit-learn, and by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from heartbeat_core.evaluation import against_rest
from heartbeat_core.evaluation.against_rest import Scored, by_patient, outcomes, pool_ranks, rank, rank_figures
from heartbeat_core.evaluation.intervals import IntervalOverSeeds
from heartbeat_core.evaluation.rank_figures import DatabaseMean, LabelRanks, RankFigures
from heartbeat_core.labels import Targets
from tests import naive

NAMES = ("auroc", "auprc", "sensitivity")


def scored(
    scores: Sequence[float],
    outcome: Sequence[int],
    persons: Sequence[int] | None = None,
    databases: Sequence[str] | None = None,
) -> Scored:
    n = len(scores)
    return Scored(
        np.array(scores, np.float64),
        np.array(outcome, np.int64),
        np.array(range(n) if persons is None else persons, np.int64),
        np.array(["a"] * n if databases is None else databases, np.str_),
    )


def made_up(n_rows: int, n_persons: int, seed: int) -> Scored:
    """Return rows with round scores, so that some are equal, of which a few are undecided."""
    rng = np.random.default_rng(seed)
    outcome = rng.choice([-1, 0, 1], n_rows, p=[0.2, 0.5, 0.3])
    scores = np.round(rng.random(n_rows) * 0.6 + 0.3 * (outcome == 1), 1)
    databases = [("a", "b")[i] for i in rng.integers(0, 2, n_rows)]
    return scored(scores.tolist(), outcome.tolist(), rng.integers(0, n_persons, n_rows).tolist(), databases)


def pairs(rows: Scored) -> tuple[list[tuple[float, bool]], list[int]]:
    """Return the decided rows as the oracles read them, with their persons."""
    decided = [i for i, outcome in enumerate(rows.outcomes.tolist()) if outcome >= 0]
    return [(float(rows.scores[i]), bool(rows.outcomes[i])) for i in decided], [int(rows.persons[i]) for i in decided]


def values(figures: RankFigures) -> list[float]:
    return [getattr(figures, name).value for name in NAMES]


def intervals(figures: RankFigures) -> list[tuple[float, float]]:
    return [(getattr(figures, name).low, getattr(figures, name).high) for name in NAMES]


# What a row says of a label


def test_a_row_is_positive_negative_or_undecided() -> None:
    cells = ["AS", "MR", "MR|MS", "AS|MR", "AS|MR|MS", None]
    targets = Targets.of_cells(cells, ("AS", "MR", "MS"))
    assert outcomes(targets, 0).tolist() == [1, 0, 0, -1, -1, -1]
    assert outcomes(targets, 1).tolist() == [0, 1, -1, -1, -1, -1]
    assert outcomes(targets, 2).tolist() == [0, 0, -1, 0, -1, -1]


# One figure


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=25))
def test_the_values_are_those_of_plain_loops_and_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    truth = [has_it for _, has_it in rows]
    scores = [score / 6 for score, _ in rows]
    figures = rank_figures(scored(scores, truth))
    if len(set(truth)) < 2:
        assert (figures.auroc, figures.auprc, figures.sensitivity) == (None, None, None)
        return
    assert values(figures) == pytest.approx(naive.rank_figures(list(zip(scores, truth, strict=True))), abs=1e-14)
    false_rate, true_rate, _ = roc_curve(truth, scores, drop_intermediate=False)
    expected = [
        roc_auc_score(truth, scores),
        average_precision_score(truth, scores),
        true_rate[false_rate <= 0.1].max(),
    ]
    assert values(figures) == pytest.approx(expected, abs=1e-12)
    for (low, high), value in zip(intervals(figures), values(figures), strict=True):
        assert 0 <= low <= high <= 1
        assert 0 <= value <= 1


@pytest.mark.parametrize(("n_rows", "n_persons", "seed"), [(8, 3, 0), (14, 9, 1), (14, 2, 2), (40, 15, 3)])
def test_the_intervals_are_those_of_resampled_persons(n_rows: int, n_persons: int, seed: int) -> None:
    rows = made_up(n_rows, n_persons, seed)
    expanded, persons = pairs(rows)
    figures = rank_figures(rows, seed)
    assert values(figures) == pytest.approx(naive.rank_figures(expanded), abs=1e-14)
    for found, expected in zip(intervals(figures), naive.rank_intervals(expanded, persons, seed), strict=True):
        assert found == pytest.approx(expected, abs=1e-12)


def test_resamples_that_lack_a_class_are_left_out() -> None:
    # Of one positive person, a third of the resamples have none; AUROC is 1 in all others.
    figures = rank_figures(scored([0.9, 0.2, 0.1], [1, 0, 0]))
    assert intervals(figures) == [(1, 1)] * 3


def test_a_specificity_of_exactly_nine_tenths_counts() -> None:
    one_alarm = [0.9, *[0.8] * 5, *[0.1] * 9]
    assert values(rank_figures(scored(one_alarm, [0, *[1] * 5, *[0] * 9])))[2] == 1
    # One of nine is too many.
    assert values(rank_figures(scored(one_alarm[:-1], [0, *[1] * 5, *[0] * 8])))[2] == 0


@pytest.mark.parametrize(
    ("outcome", "persons", "counts"),
    [
        ([1, 1, -1], [0, 1, 2], (2, 0, 2)),
        ([0, -1, 0], [0, 1, 2], (0, 2, 2)),
        ([1, 0, -1], [4, 4, 5], (1, 1, 1)),
        ([-1, -1, -1], [0, 1, 2], (0, 0, 0)),
    ],
)
def test_rows_of_one_kind_or_one_person_give_no_figure(
    outcome: list[int], persons: list[int], counts: tuple[int, int, int]
) -> None:
    figures = rank_figures(scored([0.1, 0.2, 0.3], outcome, persons))
    assert (figures.n_positive, figures.n_negative, figures.n_patients) == counts
    assert (figures.auroc, figures.auprc, figures.sensitivity) == (None, None, None)


def test_neither_the_order_of_the_rows_nor_the_work_at_once_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = made_up(60, 20, 5)
    order = np.random.default_rng(0).permutation(60)
    expected = rank_figures(rows, 3)
    shuffled = Scored(rows.scores[order], rows.outcomes[order], rows.persons[order], rows.databases[order])
    assert rank_figures(shuffled, 3) == expected
    monkeypatch.setattr(against_rest, "_BLOCK_CELLS", 1)
    assert rank_figures(rows, 3) == expected
    assert rank_figures(rows, 4) != expected


# By patient


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from([-1, 0, 1]), st.integers(0, 3), st.sampled_from("ab")),
        min_size=1,
        max_size=20,
    )
)
def test_recordings_are_pooled_by_patient_within_a_database(rows: list[tuple[int, int, int, str]]) -> None:
    scores, outcome, persons, databases = ([row[column] for row in rows] for column in range(4))
    found = by_patient(scored([score / 8 for score in scores], outcome, persons, databases))
    expected = naive.patients_of([score / 8 for score in scores], outcome, persons, databases)
    assert list(zip(found.databases.tolist(), found.persons.tolist(), strict=True)) == list(expected)
    assert found.scores.tolist() == pytest.approx([score for score, _ in expected.values()])
    assert found.outcomes.tolist() == [each for _, each in expected.values()]


# All labels


LABELS = ("AS", "MR", "MS")
CELLS = ["AS", "MR", "AS|MR", "MR", "AS", "AS", "MR", "MR|MS"]
PROBABILITIES = np.array([0.9, 0.4, 0.5, 0.2, 0.3, 0.7, 0.6, 0.1])[:, np.newaxis] * [1, -1, 0] + [0, 1, 0]
GROUPS = ["ann", "ann", "bea", "cem", "dan", "eve", "fay", "cem"]
DATABASES = ["x", "x", "x", "x", "y", "y", "y", "z"]
DEVICES = ["phone", "other", "phone", "other", "phone", "phone", "other", "other"]


def ranked(seed: int = 0) -> list[LabelRanks]:
    return rank(Targets.of_cells(CELLS, LABELS), PROBABILITIES, GROUPS, DATABASES, DEVICES, seed)


def test_each_label_that_is_decided_is_judged_within_databases_and_devices() -> None:
    # No row is known to have MS.
    first, second = ranked()
    assert (first.label, second.label) == ("AS", "MR")
    assert {name: (each.n_positive, each.n_negative, each.n_patients) for name, each in first.databases.items()} == {
        "x": (1, 2, 2),
        "y": (2, 1, 3),
        "z": (0, 1, 1),
    }
    assert {name: (each.n_positive, each.n_negative) for name, each in first.devices.items()} == {
        "other": (0, 4),
        "phone": (3, 0),
    }
    assert (first.pooled.n_positive, first.pooled.n_negative, first.pooled.n_patients) == (3, 4, 5)
    # Of 12 pairs, only 0.3 of AS lies below 0.4 and 0.6 of MR.
    assert values(first.pooled)[0] == pytest.approx(10 / 12)
    assert values(first.databases["x"])[0] == 1
    assert values(first.databases["y"])[0] == 0.5
    assert first.databases["z"].auroc is None
    assert first.mean_over_databases.auroc == DatabaseMean(value=0.75, n_databases=2)
    assert first.devices["phone"].auroc is None
    assert (second.pooled.n_positive, second.pooled.n_negative) == (3, 3)


def test_each_label_is_judged_by_patient_too() -> None:
    first = ranked()[0]
    # Ann, with AS and MR, has AS; Bea is undecided; Cem has a row in two databases.
    assert {name: (each.n_positive, each.n_negative) for name, each in first.databases_by_patient.items()} == {
        "x": (1, 1),
        "y": (2, 1),
        "z": (0, 1),
    }
    pooled = first.by_patient
    assert (pooled.n_positive, pooled.n_negative, pooled.n_patients) == (3, 3, 5)
    # Ann's mean is 0.65, above all three negatives; 0.3 lies below 0.6.
    assert values(pooled)[0] == pytest.approx(8 / 9)
    assert first.mean_over_databases_by_patient.auroc == DatabaseMean(value=0.75, n_databases=2)


def test_the_figures_of_a_database_are_those_of_its_rows_alone() -> None:
    here = [i for i, name in enumerate(DATABASES) if name == "y"]
    alone = rank(
        Targets.of_cells(CELLS, LABELS).take(np.array(here)),
        PROBABILITIES[here],
        [GROUPS[i] for i in here],
        ["y"] * len(here),
        [DEVICES[i] for i in here],
    )
    assert alone[0].pooled == alone[0].databases["y"] == ranked()[0].databases["y"]


def test_no_database_may_decide_a_label_that_all_together_decide() -> None:
    targets = Targets.of_cells(["AS", "MR"], LABELS)
    ranks = rank(targets, PROBABILITIES[:2], ["ann", "bea"], ["x", "y"], ["phone", "phone"])[0]
    assert ranks.pooled.auroc is not None
    assert ranks.mean_over_databases.auroc is None


def test_the_seed_is_that_of_the_bootstrap() -> None:
    assert ranked(1) == ranked(1)
    assert ranked(1)[0].pooled != ranked(2)[0].pooled
    assert values(ranked(1)[0].pooled) == values(ranked(2)[0].pooled)


@settings(max_examples=40)
@example({1}, 0)
@given(st.sets(st.integers(0, len(CELLS) - 1), max_size=len(CELLS)), st.integers(0, len(LABELS) - 1))
def test_a_row_that_is_not_judged_for_a_label_is_as_if_it_were_not_there(left_out: set[int], code: int) -> None:
    probabilities = PROBABILITIES.copy()
    probabilities[sorted(left_out), code] = np.nan
    targets = Targets.of_cells(CELLS, LABELS)
    found = {one.label: one for one in rank(targets, probabilities, GROUPS, DATABASES, DEVICES)}
    whole = {one.label: one for one in rank(targets, PROBABILITIES, GROUPS, DATABASES, DEVICES)}
    kept = [row for row in range(len(CELLS)) if row not in left_out]
    people = ([values[row] for row in kept] for values in (GROUPS, DATABASES, DEVICES))
    fewer = {one.label: one for one in rank(targets.take(np.array(kept, np.int64)), PROBABILITIES[kept], *people)}
    label = LABELS[code]
    assert {name: one for name, one in found.items() if name != label} == {
        name: one for name, one in whole.items() if name != label
    }
    assert (label in found) == (label in fewer)
    if label in found:
        ours, theirs = found[label], fewer[label]
        for name in ("pooled", "by_patient", "mean_over_databases", "mean_over_databases_by_patient"):
            assert getattr(ours, name) == getattr(theirs, name)
        for name in ("databases", "databases_by_patient", "devices"):
            for place, figures in getattr(theirs, name).items():
                assert getattr(ours, name)[place] == figures


def test_figures_are_written_and_read_back_whole() -> None:
    ranks = ranked()[0]
    assert LabelRanks.model_validate_json(ranks.model_dump_json()) == ranks


# Several seeds


def figure(value: float, low: float, high: float) -> IntervalOverSeeds:
    return IntervalOverSeeds(value=value, low=low, high=high, least=value, most=value)


def label_ranks(auroc: IntervalOverSeeds | None, n_positive: int = 3, label: str = "AS") -> LabelRanks:
    figures = RankFigures(
        n_positive=n_positive, n_negative=5, n_patients=4, auroc=auroc, auprc=figure(0.5, 0.5, 0.5), sensitivity=None
    )
    return ranked()[0].model_copy(
        update={
            "label": label,
            **dict.fromkeys(("pooled", "by_patient"), figures),
            **{name: {"x": figures} for name in ("databases", "databases_by_patient", "devices")},
        }
    )


def test_seeds_are_pooled_by_their_means_with_the_range_of_the_values() -> None:
    pooled = pool_ranks([[label_ranks(figure(0.5, 0.25, 0.75))], [label_ranks(figure(0.75, 0.5, 1.0))]])
    assert len(pooled) == 1
    expected = IntervalOverSeeds(value=0.625, low=0.375, high=0.875, least=0.5, most=0.75)
    for figures in (
        *(pooled[0].pooled, pooled[0].by_patient),
        *(pooled[0].databases["x"], pooled[0].databases_by_patient["x"], pooled[0].devices["x"]),
    ):
        assert figures.auroc == expected
        assert figures.auprc == figure(0.5, 0.5, 0.5)
        assert figures.sensitivity is None
    for means in (pooled[0].mean_over_databases, pooled[0].mean_over_databases_by_patient):
        assert means.auroc == DatabaseMean(value=0.625, n_databases=1)
        assert means.sensitivity is None


def test_one_seed_is_left_as_it_is() -> None:
    assert pool_ranks([ranked()]) == ranked()


def test_what_differs_is_not_pooled() -> None:
    one = label_ranks(figure(0.5, 0.25, 0.75))
    with pytest.raises(ValueError, match="same rows"):
        pool_ranks([[one], [label_ranks(figure(0.5, 0.25, 0.75), n_positive=4)]])
    with pytest.raises(ValueError, match="same labels"):
        pool_ranks([[one], [label_ranks(figure(0.5, 0.25, 0.75), label="MR")]])
    with pytest.raises(ValueError):
        pool_ranks([[one], [one, one]])
    with pytest.raises(ValueError, match="no seeds"):
        pool_ranks([])
