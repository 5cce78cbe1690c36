"""Fitting: held-out rows change nothing, the same seed gives the same, inner folds are grouped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special
from numpy.typing import NDArray

from heartbeat_core.arrays import Inputs
from heartbeat_core.errors import DatasetError, TrainingDiverged
from heartbeat_core.evaluation.splits import folds
from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.learning.decision import Decision, balanced_thresholds, fit_temperature
from heartbeat_core.learning.fit import Examples, _weighted, fit, n_steps
from heartbeat_core.learning.model import Implementation
from heartbeat_core.learning.weighting import weights_within
from heartbeat_core.recipe import Recipe

SHAPES = {"aligned": 2, "frequency": 2, "statistics": 6, "mfcc": 6, "spectral-contrast": 6, "log-mel": 40}

COMBINATIONS = [
    ("aligned", "fcnn", {}),
    ("frequency", "fcnn", {}),
    ("aligned", "fcnn", {"compression": {"pruned": 0.5}}),
    ("aligned", "fcnn", {"compression": {"int8": True}}),
    ("aligned", "boosting", {}),
    ("statistics", "fcnn", {"decision": {"calibrated": True, "balance": 0.8, "inner_folds": 3}}),
    ("mfcc", "fcnn", {"compression": {"pruned": 0.5, "int8": True}}),
    ("spectral-contrast", "boosting", {}),
    ("statistics", "vote", {"decision": {"calibrated": True, "inner_folds": 2}}),
    ("log-mel", "cnn", {}),
    ("log-mel", "rnn", {}),
]


def recipe(kind: str, model: str, changes: dict[str, Any]) -> Recipe:
    training = {"batch_size": 16, "epochs": 3, "learning_rate": 0.01, "class_weights": "balanced"}
    return Recipe.model_validate({"name": "x", "input": kind, "model": model, "training": training} | changes)


def examples(kind: str, n: int, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    codes = np.array([(0, 2, 4)[i % 3] for i in range(n)], np.int64)
    width = SHAPES[kind]
    inputs: list[Inputs] = []
    for code in codes.tolist():
        n_rows = int(rng.integers(5, 200)) if kind in ("aligned", "frequency", "log-mel") else 1
        inputs.append((rng.standard_normal((n_rows, width)) + code).astype(np.float32))
    return Examples(inputs, Targets.of_codes(codes), [f"patient {i // 2}" for i in range(n)])


@pytest.mark.parametrize(("kind", "model", "changes"), COMBINATIONS)
def test_held_out_rows_change_nothing_and_the_same_seed_gives_the_same(
    kind: str, model: str, changes: dict[str, Any]
) -> None:
    if model == "boosting":
        pytest.importorskip("perpetual")
    chosen = recipe(kind, model, changes)
    rows = examples(kind, 48)
    training = np.arange(36)
    probes = examples(kind, 12, seed=9).inputs
    first = fit(chosen, rows.take(training), seed=1)
    probabilities, predicted = first.predict(probes)
    assert probabilities.shape == (12, len(ORIGINAL_LABELS))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities[:, [1, 3]] == 0).all()
    assert first.trained.tolist() == [0, 2, 4]
    assert set(predicted.tolist()) <= {0, 2, 4}
    # The rows held out become others: longer, louder, of other labels and patients.
    others = [np.tile(100 * row, (3, 1)) for row in rows.inputs[36:]]
    codes = np.r_[rows.targets.codes[:36], np.full(12, 1)]
    changed = Examples([*rows.inputs[:36], *others], Targets.of_codes(codes), [*rows.groups[:36], *"x" * 12])
    again = fit(chosen, changed.take(training), seed=1)
    assert again.decision == first.decision
    assert np.array_equal(again.predict(probes)[0], probabilities)
    assert again.model.n_bytes == first.model.n_bytes
    # And what is predicted of a row does not change the model.
    assert np.array_equal(first.predict(probes)[0], probabilities)


def test_rows_are_taken_in_order() -> None:
    rows = examples("statistics", 6)
    taken = rows.take(np.array([4, 0]))
    assert len(taken) == 2
    assert taken.inputs[0] is rows.inputs[4]
    assert taken.targets.codes.tolist() == [rows.targets.codes[4], rows.targets.codes[0]]
    assert taken.groups == ["patient 2", "patient 0"]


class Spy(Implementation):
    """Notes what it was fitted to; its logits are the inputs' first five values, its distance is the sixth."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], int]] = []
        self.n_bytes = 0

    def fit(self, recipe: Recipe, inputs: Any, targets: Targets, seed: int, *others: Any) -> Spy:
        self.calls.append(([int(one[0, 5]) for one in inputs], seed))
        others[1]()
        return self

    def distances(self, inputs: Any) -> NDArray[np.float64]:
        return np.array([one[0, 5] for one in inputs], np.float64)

    def logits(self, inputs: Any) -> NDArray[np.float64]:
        return np.stack([one[0, :5] for one in inputs]).astype(np.float64)


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("balance", [0.0, 0.8])
def test_the_decision_is_fitted_to_outputs_of_inner_folds_by_patient(
    monkeypatch: pytest.MonkeyPatch, calibrated: bool, balance: float
) -> None:
    spy = Spy()
    monkeypatch.setattr("heartbeat_core.learning.fit.implementation_of", lambda recipe: spy)
    rows = examples("statistics", 96)
    # Two of three rows have label 0: the thresholds differ, and so does what they are compared with.
    rows = rows.take(np.flatnonzero((rows.targets.codes == 0) | (np.arange(96) % 4 == 0)))
    assert np.bincount(rows.targets.codes).tolist() == [32, 0, 8, 0, 8]
    for number, one in enumerate(rows.inputs):
        one[0, 5] = number
    settings = {"calibrated": calibrated, "balance": balance, "inner_folds": 4}
    chosen = recipe("mfcc", "fcnn", {"decision": settings})
    steps: list[None] = []
    fitted = fit(chosen, rows, seed=7, on_step=lambda: steps.append(None))
    assert len(steps) == n_steps(chosen) == len(spy.calls)
    # Of the training rows' distances, 0 to 47, one in 200 lies beyond.
    assert fitted.limits.max_distance == pytest.approx(47 * 0.995)
    assert spy.calls[0] == (list(range(48)), 7)
    plain = balanced_thresholds(rows.targets, balance)
    if not calibrated:
        assert fitted.decision.thresholds == pytest.approx(plain)
        assert len(spy.calls) == 1
        assert fitted.decision.temperature == 1.0
        assert fitted.limits.min_confidence == 0.0
        return
    inner = folds(rows.targets.codes, rows.groups, 4, 7)
    assert [rows for rows, _ in spy.calls[1:]] == [training.tolist() for training, _ in inner]
    assert len({seed for _, seed in spy.calls}) == 5
    for training, held_out in inner:
        assert not {rows.groups[i] for i in training} & {rows.groups[i] for i in held_out}
    logits = spy.logits(rows.inputs)
    trained = np.array([0, 2, 4])
    temperature = fit_temperature(logits, rows.targets, trained)
    assert fitted.decision.temperature == pytest.approx(temperature)
    untempered = Decision(thresholds=plain)
    labels = untempered.codes(untempered.probabilities(logits, trained))
    assert temperature != pytest.approx(1.0, abs=0.1)
    for wrong in (plain, balanced_thresholds(rows.targets, balance * temperature)):
        tempered = Decision(temperature=temperature, thresholds=wrong)
        is_other = bool((tempered.codes(tempered.probabilities(logits, trained)) != labels).any())
        assert is_other == (balance > 0), "the rows must tell right from wrong"
    assert fitted.predict(rows.inputs)[1].tolist() == labels.tolist()
    probabilities = np.zeros((48, 5))
    probabilities[:, trained] = scipy.special.softmax(logits[:, trained] / temperature, axis=1)
    said = (probabilities / np.array(fitted.decision.thresholds)).argmax(axis=1)
    assert fitted.limits.min_confidence == pytest.approx(np.quantile(probabilities[np.arange(48), said], 0.2))


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_label_with_odds_counts_so_many_times(monkeypatch: pytest.MonkeyPatch, calibrated: bool) -> None:
    spy = Spy()
    monkeypatch.setattr("heartbeat_core.learning.fit.implementation_of", lambda recipe: spy)
    rows = examples("mfcc", 96)
    labels = rows.targets.labels
    settings = {"calibrated": calibrated, "odds": {"labels": [labels[1], "unheard-of"], "times": 4}}
    fitted = fit(recipe("mfcc", "fcnn", {"decision": settings}), rows, seed=7)
    assert fitted.decision.thresholds == (1.0, 0.25, *[1.0] * (len(labels) - 2))
    assert (fitted.decision.temperature != 1.0) == calibrated, "odds apply to calibrated probabilities"
    rare = np.array([[0.6, 0.2, *[0.2 / (len(labels) - 2)] * (len(labels) - 2)]])
    assert fitted.decision.codes(rare).tolist() == [1]


def test_inner_folds_hold_out_whole_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy()
    monkeypatch.setattr("heartbeat_core.learning.fit.implementation_of", lambda recipe: spy)
    rows = examples("statistics", 96)
    databases = ["a"] * 40 + ["b"] * 30 + ["c"] * 26
    for number, one in enumerate(rows.inputs):
        one[0, 5] = number
    rows = Examples(rows.inputs, rows.targets, rows.groups, databases)
    settings = {"calibrated": True, "inner": "databases", "inner_folds": 4}
    fitted = fit(recipe("mfcc", "fcnn", {"decision": settings}), rows, seed=7)
    trained_on = [{databases[i] for i in numbers} for numbers, _ in spy.calls]
    assert trained_on[0] == {"a", "b", "c"}
    # There are three databases: one is held out at a time.
    assert sorted("".join(sorted(names)) for names in trained_on[1:]) == ["ab", "ac", "bc"]
    logits = spy.logits(rows.inputs)
    assert fitted.decision.temperature == pytest.approx(fit_temperature(logits, rows.targets, np.array([0, 2, 4])))
    assert fitted.limits.max_distance is None
    assert fitted.limits.max_unlike is not None
    # Without databases, persons are held out.
    spy.calls.clear()
    fit(recipe("mfcc", "fcnn", {"decision": settings}), Examples(rows.inputs, rows.targets, rows.groups), seed=7)
    assert len(spy.calls) == 5


def test_a_database_without_whose_rows_one_label_is_left_is_not_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy()
    monkeypatch.setattr("heartbeat_core.learning.fit.implementation_of", lambda recipe: spy)
    rows = examples("statistics", 30)
    # Only normal hearts are in the second database.
    databases = ["b" if code == 0 else "a" for code in rows.targets.codes.tolist()]
    settings = {"calibrated": True, "inner": "databases", "inner_folds": 4}
    rows = Examples(rows.inputs, rows.targets, rows.groups, databases)
    fitted = fit(recipe("mfcc", "fcnn", {"decision": settings}), rows, seed=7)
    assert len(spy.calls) == 2
    held_out = np.flatnonzero(np.array(databases) == "b")
    expected = fit_temperature(spy.logits(rows.inputs)[held_out], rows.targets.take(held_out), np.array([0, 2, 4]))
    assert fitted.decision.temperature == pytest.approx(expected)


def test_rows_are_weighed_within_their_databases_only_where_the_recipe_says_so() -> None:
    rows = examples("statistics", 60)
    rows = Examples(rows.inputs, rows.targets, rows.groups, ["a"] * 50 + ["b"] * 10)
    targets = []
    for within in (False, True):
        chosen = recipe(
            "statistics", "bagged-fcnn", {"training": {"within_databases": within}, "network": {"hidden": [4]}}
        )
        targets.append(_weighted(chosen, rows).targets)
    assert targets[0].weights is targets[0].databases is None
    assert targets[1].weights is not None
    np.testing.assert_allclose(targets[1].weights, weights_within(rows.targets, rows.databases, 0.75))
    assert targets[1].databases is not None
    assert targets[1].databases.tolist() == [0] * 50 + [1] * 10
    taken = targets[1].take(np.array([55, 3])).databases
    assert taken is not None
    assert taken.tolist() == [1, 0]


def test_of_one_database_the_limits_say_nothing_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heartbeat_core.learning.fit.implementation_of", lambda recipe: Spy())
    rows = examples("statistics", 96)
    for number, one in enumerate(rows.inputs):
        one[0, 5] = number
    rows = Examples(rows.inputs, rows.targets, rows.groups, ["a"] * 96)
    fitted = [
        fit(recipe("mfcc", "fcnn", {"decision": {"calibrated": True, "inner": inner, "inner_folds": 4}}), rows, seed=7)
        for inner in ("databases", "persons")
    ]
    assert fitted[0].limits == fitted[1].limits
    assert fitted[0].limits.max_unlike is None
    # Where no heart is found has nothing to do with other databases.
    segmentation = np.linspace(0.2, 1.0, 96)
    monkeypatch.setattr("heartbeat_core.learning.fit._segmentation_confidences", lambda recipe, inputs: segmentation)
    decision = {"calibrated": True, "inner": "databases", "inner_folds": 4}
    least = fit(recipe("mfcc", "fcnn", {"decision": decision}), rows, seed=7).limits.min_segmentation
    assert least == pytest.approx(np.quantile(segmentation, 0.01))


@pytest.mark.parametrize("model", ["fcnn", "bagged-fcnn"])
def test_a_training_that_diverges_is_told(model: str) -> None:
    chosen = recipe(
        "statistics", model, {"decision": {"calibrated": True, "inner_folds": 2}, "network": {"hidden": [4]}}
    )
    training = chosen.training.model_copy(update={"learning_rate": 1e30})
    rows = examples("statistics", 40)
    wide = [np.tile(one, (1, 66))[:, :392] for one in rows.inputs]
    told = r"recipe 'x': the training diverged.*lower training\.learning_rate \(1e\+30\)"
    with pytest.raises(TrainingDiverged, match=told):
        fit(chosen.model_copy(update={"training": training}), Examples(wide, rows.targets, rows.groups), seed=0)


def test_too_few_patients_for_the_inner_folds_name_the_setting() -> None:
    rows = examples("statistics", 6)
    chosen = recipe("statistics", "vote", {"decision": {"calibrated": True, "inner_folds": 5}})
    told = r"'x' calibrates by 5 inner folds: 3 patients are too few .*: lower decision\.inner_folds, or"
    with pytest.raises(DatasetError, match=told):
        fit(chosen, rows, seed=0)


@pytest.mark.parametrize("worth", [np.nan, np.inf])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_divergence_in_any_fold_is_told(monkeypatch: pytest.MonkeyPatch, number: int, worth: float) -> None:
    class Diverging(Spy):
        def logits(self, inputs: Any) -> NDArray[np.float64]:
            found = super().logits(inputs)
            return found * worth if len(self.calls) == number + 1 else found

    spy = Diverging()
    monkeypatch.setattr("heartbeat_core.learning.fit.implementation_of", lambda recipe: spy)
    rows = examples("statistics", 40)
    with pytest.raises(TrainingDiverged, match="the training diverged"):
        fit(recipe("mfcc", "fcnn", {"decision": {"calibrated": True, "inner_folds": 3}}), rows, seed=0)
    assert len(spy.calls) == number + 1
