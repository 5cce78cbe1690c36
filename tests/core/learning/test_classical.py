"""Boosting and the vote: against their own libraries, untrained labels, determinism."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from heartbeat_core.arrays import Inputs
from heartbeat_core.errors import ConfigError, DatasetError
from heartbeat_core.labels import Targets
from heartbeat_core.learning.classical import Boosting, Vote
from heartbeat_core.learning.decision import Decision
from heartbeat_core.recipe import Recipe
from tests.core.conftest import LENGTH, make_rows

WIDTH = 6


def recipe(model: str, **changes: Any) -> Recipe:
    return Recipe.model_validate({"name": "x", "model": model, "input": "statistics"} | changes)


def vectors(
    n: int, labels: tuple[int, ...] = (0, 2, 4), seed: int = 0, copies: int = 0
) -> tuple[list[Inputs], NDArray[np.int64]]:
    """Return rows whose labels go round and shift one value each."""
    rng = np.random.default_rng(seed)
    codes = np.array([labels[i % len(labels)] for i in range(n)], np.int64)
    shift = 2.5 * np.eye(WIDTH)[codes]
    rows = 3 + (rng.standard_normal((n, 1 + copies, WIDTH)) + shift[:, np.newaxis]) * [1, 10, 100, 1, 1, 0.1]
    return list(rows.astype(np.float32)), codes


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(values)
    found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return found


@pytest.mark.parametrize("labels", [(0, 2, 4), (1, 3)])
@pytest.mark.parametrize("copies", [0, 2])
def test_the_vote_is_the_mean_of_three_libraries_own_probabilities(labels: tuple[int, ...], copies: int) -> None:
    rows, codes = vectors(60, labels, copies=copies)
    held_out, truth = vectors(30, labels, seed=1, copies=copies)
    model = Vote().fit(recipe("vote"), rows, Targets.of_codes(codes), seed=7)
    scaler = StandardScaler().fit(np.concatenate(rows).astype(np.float64))
    x = np.clip(scaler.transform(np.concatenate(rows)), -5, 5).astype(np.float32)
    y = np.repeat(codes, 1 + copies)
    z = np.clip(scaler.transform(np.stack([row[0] for row in held_out])), -5, 5).astype(np.float32)
    logistic = LogisticRegression(C=0.003, class_weight="balanced", max_iter=2_000).fit(x, y)
    trees = ExtraTreesClassifier(400, class_weight="balanced", min_samples_leaf=3, random_state=7).fit(x, y)
    decisions = SVC(class_weight="balanced").fit(x, y).decision_function(z)
    if decisions.ndim == 1:
        decisions = np.stack([np.zeros(len(z)), decisions], axis=1)
    expected = (logistic.predict_proba(z) + trees.predict_proba(z) + softmax(decisions)) / 3
    logits = model.logits(held_out)
    np.testing.assert_allclose(np.exp(logits[:, list(labels)]), expected, atol=1e-4)
    others = [code for code in range(5) if code not in labels]
    np.testing.assert_allclose(logits[:, others], np.log(1e-12))
    found = Decision(thresholds=(1.0,) * 5).probabilities(logits, model.trained)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == truth).mean() > 0.8


@pytest.mark.parametrize("fit", [Boosting().fit, Vote().fit])
def test_the_same_seed_gives_the_same_model(fit: Any) -> None:
    rows, codes = vectors(60)
    one, other = (fit(recipe("vote"), rows, Targets.of_codes(codes), seed=1).logits(rows) for _ in range(2))
    assert np.array_equal(one, other)
    assert np.isfinite(one).all()


def test_another_seed_gives_other_trees() -> None:
    rows, codes = vectors(60)
    one, other = (Vote().fit(recipe("vote"), rows, Targets.of_codes(codes), seed=seed).logits(rows) for seed in (1, 2))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("fit", [Boosting().fit, Vote().fit])
@pytest.mark.parametrize("labels", [(0, 2, 4), (1, 3)])
def test_only_the_recording_itself_is_predicted(fit: Any, labels: tuple[int, ...]) -> None:
    rows, codes = vectors(45, labels, copies=1)
    model = fit(recipe("vote"), rows, Targets.of_codes(codes), seed=1)
    assert np.array_equal(model.logits(rows), model.logits([row[:1] for row in rows]))
    assert np.array_equal(model.logits(rows)[4:5], model.logits(rows[4:5]))
    assert model.logits([]).shape == (0, 5)
    assert model.trained.tolist() == list(labels)
    assert model.n_bytes is None


@pytest.mark.parametrize("labels", [(0, 2, 4), (1, 3)])
def test_boosting_learns_what_can_be_learned(labels: tuple[int, ...]) -> None:
    pytest.importorskip("perpetual")
    rows, codes = vectors(120, labels)
    held_out, truth = vectors(60, labels, seed=1)
    model = Boosting().fit(recipe("boosting"), rows, Targets.of_codes(codes), seed=0)
    logits = model.logits(held_out)
    assert (logits.argmax(axis=1) == truth).mean() > 0.7
    np.testing.assert_allclose(np.exp(logits[:, list(labels)]).sum(axis=1), 1, atol=1e-9)
    assert (logits[:, [code for code in range(5) if code not in labels]] == np.log(1e-12)).all()


def test_boosting_reads_copies_and_class_weights() -> None:
    pytest.importorskip("perpetual")
    rows, codes = vectors(60, copies=1)
    plain = Boosting().fit(recipe("boosting"), rows, Targets.of_codes(codes), seed=0).logits(rows)
    assert not np.array_equal(
        plain, Boosting().fit(recipe("boosting"), [r[:1] for r in rows], Targets.of_codes(codes), 0).logits(rows)
    )
    # Labels that overlap, one of them rare.
    rng = np.random.default_rng(0)
    codes = np.array([2 if i % 8 == 0 else 0 for i in range(320)], np.int64)
    rows = [(rng.standard_normal((1, WIDTH)) + 0.5 * (code == 2)).astype(np.float32) for code in codes.tolist()]
    confidence = {}
    for how in ("none", "balanced"):
        chosen = recipe("boosting", training={"class_weights": how})
        confidence[how] = np.exp(
            Boosting().fit(chosen, rows[:160], Targets.of_codes(codes[:160]), 0).logits(rows[160:])[:, 2]
        ).mean()
    assert confidence["balanced"] > 1.1 * confidence["none"]


def test_boosting_reads_frames_aligned_with_the_longest_training_row() -> None:
    pytest.importorskip("perpetual")
    made = make_rows(60)
    model = Boosting().fit(recipe("boosting", input="aligned"), made.frames, made.targets, seed=0)
    held_out = make_rows(30, seed=1)
    assert np.isfinite(model.logits(held_out.frames)).all()
    assert model.read(held_out.frames).shape == (30, 2 * max(len(row) for row in made.frames))
    longer = np.concatenate([held_out.frames[0], np.zeros((LENGTH, 2), np.float32)])
    assert np.isfinite(model.logits([longer])).all()


def test_boosting_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "perpetual", None)
    rows, codes = vectors(6)
    with pytest.raises(ConfigError, match=r"^recipe 'x' needs a package that is missing: pip install perpetual$"):
        Boosting().fit(recipe("boosting"), rows, Targets.of_codes(codes), seed=0)


@pytest.mark.parametrize("fit", [Boosting().fit, Vote().fit])
def test_one_label_is_too_few(fit: Any) -> None:
    rows, _ = vectors(6)
    with pytest.raises(DatasetError, match="found 6 rows of: normal"):
        fit(recipe("vote"), rows, Targets.of_codes(np.zeros(6, np.int64)), 0)
