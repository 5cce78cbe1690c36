"""Every figure of a judgement against a plain loop, and what must hold for any predictions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from heartbeat_core.errors import DatasetError
from heartbeat_core.evaluation.baselines import device_rule, majority, majority_rule
from heartbeat_core.evaluation.figures import DeviceFigures, Judgement, LabelFigures, PooledJudgement
from heartbeat_core.evaluation.intervals import Interval
from heartbeat_core.evaluation.judging import OutOfFold, judge, no_better
from heartbeat_core.evaluation.metrics import COVERAGES_PERCENT, brier_score, calibration_error, risk_coverage
from heartbeat_core.evaluation.pooling import pool
from heartbeat_core.evaluation.splits import folds, holdout_split
from heartbeat_core.labels import ORIGINAL_LABELS

NORMAL, EXTRAHLS, MURMUR, ARTIFACT, EXTRASTOLE = range(5)


def codes(values: Iterable[int]) -> np.ndarray:
    return np.array(list(values), np.int64)


def made_up(n_rows: int, n_groups: int, seed: int, n_labels: int = 5) -> OutOfFold:
    """Return predictions that are right half the time, of probabilities that are round, so that some are equal."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, n_labels, n_rows)
    predicted = np.where(rng.random(n_rows) < 0.5, true, rng.integers(0, n_labels, n_rows))
    parts = rng.integers(0, 4, (n_rows, 5)) + (np.eye(5)[predicted] * 2).astype(int)
    groups = [f"patient:{i}" for i in rng.integers(0, n_groups, n_rows)]
    devices = [("phone", "stethoscope")[i] for i in rng.integers(0, 2, n_rows)]
    databases = ["ward"] * n_rows
    return OutOfFold(
        ORIGINAL_LABELS, true, predicted, parts / parts.sum(axis=1, keepdims=True), groups, devices, databases
    )


def certain(true: Sequence[int], predicted: Sequence[int], groups: Sequence[str], devices: Sequence[str]) -> OutOfFold:
    databases = ["ward"] * len(true)
    return OutOfFold(
        *(ORIGINAL_LABELS, codes(true), codes(predicted), np.eye(5)[list(predicted)]),
        *(list(groups), list(devices), databases),
    )


def take(rows: OutOfFold, order: Sequence[int]) -> OutOfFold:
    return OutOfFold(
        rows.labels,
        rows.true[list(order)],
        rows.predicted[list(order)],
        rows.probabilities[list(order)],
        [rows.groups[i] for i in order],
        [rows.devices[i] for i in order],
        [rows.databases[i] for i in order],
    )


@st.composite
def predictions(draw: st.DrawFn) -> OutOfFold:
    """Draw a few rows of any labels, predictions, probabilities, patients, devices and databases."""
    n = draw(st.integers(1, 15))

    def column(values: st.SearchStrategy) -> list:
        return draw(st.lists(values, min_size=n, max_size=n))

    parts = np.array(column(st.lists(st.integers(1, 9), min_size=5, max_size=5)))
    return OutOfFold(
        ORIGINAL_LABELS,
        codes(column(st.integers(0, 4))),
        codes(column(st.integers(0, 4))),
        parts / parts.sum(axis=1, keepdims=True),
        column(st.sampled_from("abcde")),
        column(st.sampled_from(["phone", "stethoscope", "other"])),
        column(st.sampled_from(["ward", "field"])),
    )


# Plain loops


def naive_figures(pairs: Sequence[tuple[int, int]]) -> tuple[float, float, float]:
    """Return accuracy, and the mean recall and mean F1 over the labels that occur."""
    recalls, scores = [], []
    for code in range(5):
        hits = sum(1 for true, said in pairs if true == said == code)
        actual = sum(1 for true, _ in pairs if true == code)
        said = sum(1 for _, said in pairs if said == code)
        if actual:
            recalls.append(hits / actual)
            scores.append(2 * hits / (actual + said))
    right = sum(1 for true, said in pairs if true == said)
    return right / len(pairs), sum(recalls) / len(recalls), sum(scores) / len(scores)


def naive_intervals(rows: OutOfFold, seed: int) -> list[tuple[float, float]]:
    """Put the rows of each resample's patients together, one after the other."""
    names = sorted(set(rows.groups))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(1000):
        pairs = []
        for drawn in rng.integers(len(names), size=len(names)).tolist():
            for true, said, group in zip(rows.true.tolist(), rows.predicted.tolist(), rows.groups, strict=True):
                if group == names[drawn]:
                    pairs.append((true, said))
        found.append(naive_figures(pairs))
    return [(naive_percentile(each, 0.025), naive_percentile(each, 0.975)) for each in zip(*found, strict=True)]


def naive_percentile(values: Sequence[float], share: float) -> float:
    ascending = sorted(values)
    place = share * (len(values) - 1)
    below = math.floor(place)
    return ascending[below] + (place - below) * (ascending[below + 1] - ascending[below])


def naive_ece(confidence: Sequence[float], correct: Sequence[bool]) -> float:
    total = 0.0
    for k in range(15):
        low, high = k / 15, (k + 1) / 15
        inside = [i for i, c in enumerate(confidence) if low < c <= high or (k == 0 and c == 0)]
        if inside:
            right = sum(correct[i] for i in inside) / len(inside)
            stated = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(right - stated)
    return total


def naive_brier(true: Sequence[int], probabilities: Sequence[Sequence[float]]) -> float:
    total = 0.0
    for code, row in zip(true, probabilities, strict=True):
        for column in range(5):
            total += (row[column] - (1.0 if column == code else 0.0)) ** 2
    return total / len(true)


def naive_risks(confidence: Sequence[float], correct: Sequence[bool]) -> list[float]:
    """Return the expected error rate among the first 1, 2 ... n rows, equally confident ones in random order."""
    risks = []
    for kept in range(1, len(confidence) + 1):
        last = sorted(confidence, reverse=True)[kept - 1]
        surely = [i for i, c in enumerate(confidence) if c > last]
        maybe = [i for i, c in enumerate(confidence) if c == last]
        errors = sum(not correct[i] for i in surely)
        errors += (kept - len(surely)) * sum(not correct[i] for i in maybe) / len(maybe)
        risks.append(errors / kept)
    return risks


def naive_device_rule(true: Sequence[int], devices: Sequence[str], device: str) -> int:
    if device not in devices:
        return max(range(5), key=list(true).count)
    best, largest = -1, -1.0
    for code in range(5):
        own = [where for label, where in zip(true, devices, strict=True) if label == code]
        share = own.count(device) / len(own) if own else 0.0
        if share > largest:
            best, largest = code, share
    return best


# Intervals


@pytest.mark.parametrize(("n_rows", "n_groups", "seed"), [(30, 7, 0), (25, 25, 1), (9, 3, 2), (12, 2, 3)])
def test_the_intervals_are_those_of_the_plain_bootstrap(n_rows: int, n_groups: int, seed: int) -> None:
    rows = made_up(n_rows, n_groups, seed)
    found = judge(rows, seed)
    points = naive_figures(list(zip(rows.true.tolist(), rows.predicted.tolist(), strict=True)))
    naive = naive_intervals(rows, seed)
    for figure, value, (low, high) in zip(
        (found.accuracy, found.balanced_accuracy, found.macro_f1), points, naive, strict=True
    ):
        assert figure.value == pytest.approx(value)
        assert figure.low == pytest.approx(low)
        assert figure.high == pytest.approx(high)


def test_the_interval_is_as_wide_as_theory_has_it() -> None:
    # 400 patients of one row each, 80 % right: a binomial share.
    right = [i % 5 != 0 for i in range(400)]
    rows = certain([0] * 400, [0 if hit else 2 for hit in right], [str(i) for i in range(400)], ["d"] * 400)
    half = 1.96 * math.sqrt(0.8 * 0.2 / 400)
    accuracy = judge(rows).accuracy
    assert accuracy.low == pytest.approx(0.8 - half, abs=0.008)
    assert accuracy.high == pytest.approx(0.8 + half, abs=0.008)


def test_patients_are_resampled_and_not_their_rows() -> None:
    apart = made_up(80, 80, 5)
    apart = dataclasses.replace(apart, groups=[str(i) for i in range(80)])
    # Each row ten times, in its patient: no more is known than before.
    together = take(apart, [i for i in range(80) for _ in range(10)])
    one, ten = judge(apart), judge(together)
    assert (ten.n_rows, ten.n_patients) == (800, 80)
    assert (ten.accuracy.low, ten.accuracy.high) == pytest.approx((one.accuracy.low, one.accuracy.high))
    assert ten.accuracy.high - ten.accuracy.low > 0.15


def test_one_patient_alone_says_nothing_of_others() -> None:
    rows = dataclasses.replace(made_up(20, 1, 4), groups=["a"] * 20)
    found = judge(rows)
    assert found.n_patients == 1
    for figure in (found.accuracy, found.balanced_accuracy, found.macro_f1):
        assert (figure.low, figure.high) == (0.0, 1.0)


def test_the_bootstrap_is_seeded() -> None:
    rows = made_up(60, 30, 6)
    first = judge(rows, 3)
    np.random.default_rng(1).random(3)
    assert judge(rows, 3) == first
    assert judge(rows) == judge(rows, 0)
    other = judge(rows, 4)
    assert other.balanced_accuracy.value == first.balanced_accuracy.value
    assert other.balanced_accuracy != first.balanced_accuracy


# The other figures


def test_figures_by_hand() -> None:
    true = [NORMAL, NORMAL, NORMAL, NORMAL, MURMUR, MURMUR, EXTRASTOLE]
    said = [NORMAL, NORMAL, NORMAL, MURMUR, MURMUR, NORMAL, EXTRAHLS]
    found = judge(certain(true, said, "aabbccd", ["phone"] * 3 + ["stethoscope"] * 4))
    assert (found.n_rows, found.n_patients) == (7, 4)
    assert found.labels == ("normal", "extrahls", "murmur", "extrastole")
    assert found.confusion_matrix == ((3, 0, 1, 0), (0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 0))
    assert found.accuracy.value == pytest.approx(4 / 7)
    assert found.balanced_accuracy.value == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
    assert found.macro_f1.value == pytest.approx((6 / 8 + 1 / 2 + 0) / 3)
    assert found.by_label == {
        "normal": LabelFigures(n_rows=4, recall=0.75, precision=0.75),
        "extrahls": LabelFigures(n_rows=0, recall=None, precision=0.0),
        "murmur": LabelFigures(n_rows=2, recall=0.5, precision=0.5),
        "extrastole": LabelFigures(n_rows=1, recall=0.0, precision=None),
    }
    assert found.within_devices == {
        "phone": DeviceFigures(n_rows=3, labels=("normal",), balanced_accuracy=1.0),
        "stethoscope": DeviceFigures(n_rows=4, labels=("normal", "murmur", "extrastole"), balanced_accuracy=1 / 6),
    }
    # All certain: as far from the truth as the errors.
    assert found.ece == pytest.approx(3 / 7)
    assert found.brier == pytest.approx(6 / 7)
    assert found.risk_coverage == pytest.approx([3 / 7] * 10)
    assert found.aurc == pytest.approx(3 / 7)


@settings(max_examples=60)
@given(predictions())
def test_any_figure_is_the_plain_loops(rows: OutOfFold) -> None:
    found = judge(rows)
    true, said = rows.true.tolist(), rows.predicted.tolist()
    pairs = list(zip(true, said, strict=True))
    assert (found.accuracy.value, found.balanced_accuracy.value, found.macro_f1.value) == pytest.approx(
        naive_figures(pairs)
    )
    confidence = [row[code] for row, code in zip(rows.probabilities.tolist(), said, strict=True)]
    correct = [a == b for a, b in pairs]
    assert found.ece == pytest.approx(naive_ece(confidence, correct))
    assert found.brier == pytest.approx(naive_brier(true, rows.probabilities.tolist()))
    risks = naive_risks(confidence, correct)
    assert found.aurc == pytest.approx(sum(risks) / len(risks))
    for tenth, risk in enumerate(found.risk_coverage, start=1):
        kept = min(k for k in range(1, len(true) + 1) if 10 * k >= tenth * len(true))
        assert risk == pytest.approx(risks[kept - 1])
    assert list(found.labels) == [ORIGINAL_LABELS[code] for code in range(5) if code in true or code in said]
    assert list(found.by_label) == list(found.labels)
    for label, figures in found.by_label.items():
        code = ORIGINAL_LABELS.index(label)
        assert figures.n_rows == true.count(code)
        hits = pairs.count((code, code))
        assert figures.recall == (pytest.approx(hits / true.count(code)) if code in true else None)
        assert figures.precision == (pytest.approx(hits / said.count(code)) if code in said else None)
    assert list(found.within_devices) == sorted(set(rows.devices))
    for device, within in found.within_devices.items():
        here = [pair for pair, where in zip(pairs, rows.devices, strict=True) if where == device]
        assert within.n_rows == len(here)
        assert list(within.labels) == [ORIGINAL_LABELS[code] for code in range(5) if code in {a for a, _ in here}]
        assert within.balanced_accuracy == pytest.approx(naive_figures(here)[1])


@settings(max_examples=40)
@given(predictions(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_tells_nothing(rows: OutOfFold, random: Random) -> None:
    order = list(range(len(rows.true)))
    random.shuffle(order)
    before, after = judge(rows).model_dump(), judge(take(rows, order)).model_dump()
    assert before.keys() == after.keys()
    for name, value in before.items():
        if isinstance(value, float) or name == "risk_coverage":
            assert after[name] == pytest.approx(value)
        else:
            assert after[name] == value


@settings(max_examples=40)
@given(predictions())
def test_figures_stay_within_their_bounds(rows: OutOfFold) -> None:
    found = judge(rows)
    for figure in (found.accuracy, found.balanced_accuracy, found.macro_f1):
        assert 0 <= figure.low <= figure.high <= 1
        assert 0 <= figure.value <= 1
    assert 0 <= found.brier <= 2
    assert all(0 <= value <= 1 for value in (found.ece, found.aurc, *found.risk_coverage))
    assert found.risk_coverage[-1] == pytest.approx(1 - found.accuracy.value)
    assert sum(map(sum, found.confusion_matrix)) == len(rows.true)
    assert Judgement.model_validate_json(found.model_dump_json()) == found


@settings(max_examples=40)
@given(predictions())
def test_perfect_predictions(rows: OutOfFold) -> None:
    found = judge(certain(rows.true, rows.true, rows.groups, rows.devices))
    whole = Interval(value=1, low=1 if len(set(rows.groups)) > 1 else 0, high=1)
    assert (found.accuracy, found.balanced_accuracy, found.macro_f1) == (whole, whole, whole)
    assert (found.ece, found.brier, found.aurc, found.risk_coverage) == (0, 0, 0, (0,) * 10)
    assert all(figures.recall == figures.precision == 1 for figures in found.by_label.values())
    assert all(figures.balanced_accuracy == 1 for figures in found.within_devices.values())


def test_a_device_is_judged_by_its_own_labels_alone() -> None:
    # Murmur is told from normal on the phone alone; the stethoscope has no murmur.
    true = [NORMAL, MURMUR, MURMUR, NORMAL, NORMAL, EXTRASTOLE]
    said = [NORMAL, MURMUR, NORMAL, NORMAL, MURMUR, EXTRASTOLE]
    within = judge(certain(true, said, "abcdef", ["phone"] * 3 + ["stethoscope"] * 3)).within_devices
    assert within["phone"].labels == ("normal", "murmur")
    assert within["phone"].balanced_accuracy == pytest.approx((1 + 1 / 2) / 2)
    assert within["stethoscope"].labels == ("normal", "extrastole")
    assert within["stethoscope"].balanced_accuracy == pytest.approx((1 / 2 + 1) / 2)


def test_a_single_device_has_the_figure_of_all() -> None:
    rows = dataclasses.replace(made_up(40, 10, 8), devices=["phone"] * 40)
    found = judge(rows)
    assert list(found.within_devices) == ["phone"]
    assert found.within_devices["phone"].balanced_accuracy == found.balanced_accuracy.value


def test_no_rows_and_numbers_that_are_none_are_refused() -> None:
    empty = OutOfFold(ORIGINAL_LABELS, codes([]), codes([]), np.zeros((0, 5)), [], [], [])
    with pytest.raises(ValueError):
        judge(empty)
    rows = made_up(10, 5, 9)
    rows.probabilities[3, 2] = np.nan
    with pytest.raises(ValidationError):
        judge(rows)


# Calibration


@given(st.lists(st.tuples(st.sampled_from([*np.arange(16) / 15, 0.0, 0.31, 0.999]), st.booleans()), min_size=1))
def test_the_calibration_error_is_the_plain_loops_at_the_bins_edges_too(rows: list[tuple[float, bool]]) -> None:
    confidence, correct = zip(*rows, strict=True)
    found = calibration_error(np.array(confidence), np.array(correct))
    assert found == pytest.approx(naive_ece(confidence, correct))


def test_confidence_that_comes_true_is_calibrated_and_boasting_is_not() -> None:
    right = np.arange(100) % 10 < 7
    assert calibration_error(np.full(100, 0.7), right) == pytest.approx(0)
    assert calibration_error(np.full(100, 0.9), right) == pytest.approx(0.2)
    assert calibration_error(np.full(100, 0.5), right) == pytest.approx(0.2)


def test_over_and_underconfidence_cancel_within_a_bin_only() -> None:
    right = np.array([True, False])
    assert calibration_error(np.array([0.61, 0.61]), right) == pytest.approx(0.11)
    assert calibration_error(np.array([0.61, 0.81]), right) == pytest.approx((0.39 + 0.81) / 2)


def test_confidence_is_that_of_the_predicted_label_and_not_the_largest() -> None:
    # A threshold has decided for the less probable label.
    probabilities = np.array([[0.7, 0, 0.3, 0, 0]])
    rows = OutOfFold(ORIGINAL_LABELS, codes([MURMUR]), codes([MURMUR]), probabilities, ["a"], ["d"], ["w"])
    assert judge(rows).ece == pytest.approx(0.7)


def test_brier_score_by_hand() -> None:
    probabilities = np.array([[0.5, 0.2, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 1.0, 0.0]])
    first = 0.25 + 0.04 + 3 * 0.01
    assert brier_score(codes([NORMAL, MURMUR]), probabilities) == pytest.approx((first + 2) / 2)


def test_errors_at_the_least_confident_rows_show_at_full_coverage_only() -> None:
    confidence = np.linspace(1, 0.1, 10)
    correct = np.arange(10) < 8
    risks, area = risk_coverage(confidence, correct)
    assert risks == pytest.approx([0] * 8 + [1 / 9, 2 / 10])
    assert area == pytest.approx((1 / 9 + 2 / 10) / 10)
    assert risk_coverage(confidence[::-1], correct)[0] == pytest.approx(
        [1, 1, 2 / 3, 2 / 4, 2 / 5, 2 / 6, 2 / 7, 2 / 8, 2 / 9, 0.2]
    )


def test_a_share_of_rows_is_rounded_up() -> None:
    # 10 % of 11 rows are 2, 90 % are 10.
    correct = np.array([True, False, *[True] * 8, False])
    risks, _ = risk_coverage(np.linspace(1, 0.5, 11), correct)
    assert COVERAGES_PERCENT == (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    assert risks[0] == pytest.approx(1 / 2)
    assert risks[8] == pytest.approx(1 / 10)
    assert risks[9] == pytest.approx(2 / 11)


def test_one_row_is_the_whole_curve() -> None:
    assert risk_coverage(np.array([0.4]), np.array([False])) == ((1.0,) * 10, 1.0)


# Rules


def test_the_majority_rule_says_the_commonest_label_the_first_of_equals() -> None:
    assert majority(codes([2, 4, 4, 0])) == EXTRASTOLE
    assert majority(codes([4, 2])) == MURMUR
    said = majority_rule(codes([2, 4, 4, 0]), 3)
    assert said.dtype == np.int64
    assert said.tolist() == [4, 4, 4]


def test_the_device_rule_reaches_what_the_confounded_data_gives_away() -> None:
    # As in PASCAL: extra sounds and artifacts on the phone alone, extrastoles on the stethoscope alone.
    rows = [(NORMAL, "phone")] * 31 + [(NORMAL, "stethoscope")] * 320 + [(MURMUR, "phone")] * 34
    rows += [(MURMUR, "stethoscope")] * 95 + [(EXTRAHLS, "phone")] * 19 + [(EXTRASTOLE, "stethoscope")] * 46
    four = codes(label for label, _ in rows)
    devices = [device for _, device in rows]
    said = device_rule(four, devices, devices)
    assert said.dtype == np.int64
    assert set(said[:31].tolist()) == {EXTRAHLS}
    assert said[31] == EXTRASTOLE
    groups = [str(i) for i in range(len(rows) + 40)]
    assert judge(certain(four, said, groups[: len(rows)], devices)).balanced_accuracy.value == pytest.approx(0.5)
    five, devices = codes([*four, *[ARTIFACT] * 40]), [*devices, *["phone"] * 40]
    said = device_rule(five, devices, devices)
    assert said[0] == EXTRAHLS
    assert judge(certain(five, said, groups, devices)).balanced_accuracy.value == pytest.approx(0.4)


def test_a_rare_label_outweighs_a_common_one_of_a_smaller_share() -> None:
    true = codes([NORMAL] * 10 + [MURMUR])
    assert device_rule(true, ["a"] * 9 + ["b", "a"], ["a", "b"]).tolist() == [MURMUR, NORMAL]


def test_a_device_that_training_does_not_know_gets_the_majority() -> None:
    assert device_rule(codes([2, 2, 1]), ["a", "b", "a"], ["new", "a"]).tolist() == [MURMUR, EXTRAHLS]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc")), min_size=1, max_size=20),
    st.lists(st.sampled_from("abcd"), max_size=6),
)
def test_the_device_rule_is_the_plain_loops(rows: list[tuple[int, str]], asked: list[str]) -> None:
    true, devices = zip(*rows, strict=True)
    expected = [naive_device_rule(true, devices, device) for device in asked]
    assert device_rule(codes(true), devices, asked).tolist() == expected


def test_a_rule_is_beaten_only_below_the_interval() -> None:
    recipe = judge(made_up(200, 60, 10))
    low = recipe.balanced_accuracy.low
    assert low < recipe.balanced_accuracy.value

    def rule(value: float) -> Judgement:
        # Its own interval does not count.
        return recipe.model_copy(update={"balanced_accuracy": Interval(value=value, low=0, high=1)})

    rules = {"majority": rule(low - 1e-9), "device": rule(low), "other": rule(1)}
    assert no_better(recipe, rules) == ["device", "other"]
    assert no_better(recipe, {}) == []
    pooled = {name: pool([each], ORIGINAL_LABELS) for name, each in rules.items()}
    assert no_better(pool([recipe], ORIGINAL_LABELS), pooled) == ["device", "other"]


# Seeds


def test_seeds_are_averaged_and_their_range_is_kept() -> None:
    rows = made_up(60, 20, 11)
    said = [rows.predicted, rows.true, np.roll(rows.predicted, 3)]
    each = [judge(dataclasses.replace(rows, predicted=predicted), seed) for seed, predicted in enumerate(said)]
    pooled = pool(each, ORIGINAL_LABELS)
    assert (pooled.n_seeds, pooled.n_rows, pooled.n_patients) == (3, 60, each[0].n_patients)

    def same(found: Any, values: Sequence[float]) -> None:
        assert found.value == pytest.approx(sum(values) / 3)
        assert (found.least, found.most) == (min(values), max(values))

    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        intervals = [getattr(judgement, name) for judgement in each]
        found = getattr(pooled, name)
        same(found, [interval.value for interval in intervals])
        assert found.low == pytest.approx(sum(interval.low for interval in intervals) / 3)
        assert found.high == pytest.approx(sum(interval.high for interval in intervals) / 3)
    for name in ("ece", "brier", "aurc"):
        same(getattr(pooled, name), [getattr(judgement, name) for judgement in each])
    assert len(pooled.risk_coverage) == 10
    for place, risk in enumerate(pooled.risk_coverage):
        same(risk, [judgement.risk_coverage[place] for judgement in each])
    assert pooled.labels == ORIGINAL_LABELS
    for label in ORIGINAL_LABELS:
        figures = pooled.by_label[label]
        assert figures.n_rows == each[0].by_label[label].n_rows
        same(figures.recall, [judgement.by_label[label].recall for judgement in each])
        same(figures.precision, [judgement.by_label[label].precision for judgement in each])
    for device, within in pooled.within_devices.items():
        assert within.labels == each[0].within_devices[device].labels
        assert within.n_rows == each[0].within_devices[device].n_rows
        same(within.balanced_accuracy, [judgement.within_devices[device].balanced_accuracy for judgement in each])
    assert np.array_equal(pooled.confusion_matrix, sum(np.array(judgement.confusion_matrix) for judgement in each))
    assert PooledJudgement.model_validate_json(pooled.model_dump_json()) == pooled


def test_a_label_that_only_one_seed_predicts() -> None:
    first = judge(certain([NORMAL, EXTRASTOLE], [NORMAL, NORMAL], "ab", "dd"))
    second = judge(certain([NORMAL, EXTRASTOLE], [MURMUR, EXTRASTOLE], "ab", "dd"))
    pooled = pool([first, second], ORIGINAL_LABELS)
    assert pooled.labels == ("normal", "murmur", "extrastole")
    assert pooled.confusion_matrix == ((1, 1, 0), (0, 0, 0), (1, 0, 1))
    assert pooled.by_label["murmur"].n_rows == 0
    assert pooled.by_label["murmur"].recall is None
    assert pooled.by_label["murmur"].precision is not None
    assert pooled.by_label["murmur"].precision.value == 0
    # Said by the second seed alone, so its precision is that seed's.
    precision = pooled.by_label["extrastole"].precision
    assert precision is not None
    assert (precision.value, precision.least, precision.most) == (1, 1, 1)
    assert pooled.by_label["extrastole"].recall is not None
    assert pooled.by_label["extrastole"].recall.value == 0.5
    assert pool([first], ORIGINAL_LABELS).by_label["extrastole"].precision is None


def test_only_judgements_of_the_same_rows_are_pooled() -> None:
    rows = made_up(30, 10, 12)
    judgement = judge(rows)
    with pytest.raises(ValueError, match=r"^pooled judgements must be of the same rows$"):
        pool([], ORIGINAL_LABELS)
    for other in (take(rows, range(29)), dataclasses.replace(rows, groups=["a"] * 30)):
        with pytest.raises(ValueError, match=r"^pooled judgements must be of the same rows$"):
            pool([judgement, judge(other)], ORIGINAL_LABELS)


# Folds


@pytest.mark.parametrize("seed", range(5))
def test_every_row_is_held_out_once_and_no_patient_is_on_both_sides(seed: int) -> None:
    rows = made_up(150, 50, seed, n_labels=3)
    split = folds(rows.true, rows.groups, 5, seed)
    assert len(split) == 5
    assert sorted(row for _, test in split for row in test.tolist()) == list(range(150))
    for training, test in split:
        assert training.dtype == test.dtype == np.int64
        assert sorted([*training.tolist(), *test.tolist()]) == list(range(150))
        assert not {rows.groups[i] for i in training} & {rows.groups[i] for i in test}
        # In proportion, as far as the patients allow.
        assert np.bincount(rows.true[test], minlength=3) == pytest.approx(np.bincount(rows.true) / 5, abs=4)


def test_folds_are_shuffled_by_their_seed_and_the_holdout_is_the_first() -> None:
    rows = made_up(100, 40, 13)
    first = folds(rows.true, rows.groups, 5, 1)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, folds(rows.true, rows.groups, 5, 1), strict=True))
    assert not np.array_equal(first[0][1], folds(rows.true, rows.groups, 5, 2)[0][1])
    assert np.array_equal(first[0][1], holdout_split(rows.true, rows.groups, 5, 1, None)[1])


def test_a_rare_label_is_no_obstacle_to_folds_and_too_few_patients_are() -> None:
    rare = codes([0] * 20 + [2, 4])
    assert len(folds(rare, [str(i) for i in range(22)], 5, 0)) == 5
    with pytest.raises(DatasetError, match=r"^4 patients are too few to hold out one of 5 folds$"):
        folds(codes([0] * 8), list("abcdabcd"), 5, 0)
    with pytest.raises(DatasetError, match=r"^no label has the 5 rows that 5 folds need; the most is 2$"):
        folds(codes(i % 5 for i in range(10)), [str(i) for i in range(10)], 5, 0)
