"""When a prediction counts as sure: limits by the training rows, or by databases that were left out."""

from __future__ import annotations

import numpy as np
import pytest

from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.learning.decision import Decision
from heartbeat_core.learning.limits import Inner, Limits, limits_across, limits_within

DECISION = Decision(thresholds=(1.0,) * 5)


def rows(n: int = 200, n_unpredicted: int = 0) -> tuple[Targets, Inner]:
    """Return normal rows and murmurs; the second half of each is predicted wrongly, with a high confidence."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 2], n // 2)
    is_wrong = np.tile(np.arange(n // 2) >= n // 4, 2)
    logits = np.zeros((n, 5))
    said = np.where(is_wrong, 2 - codes, codes)
    logits[np.arange(n), said] = np.where(is_wrong, 9.0, rng.uniform(0.5, 4.0, n))
    logits[:n_unpredicted] = np.nan
    return Targets.of_codes(codes), Inner(logits, np.where(is_wrong, 50.0, rng.uniform(0.5, 2.0, n)))


def test_one_in_five_right_predictions_for_left_out_databases_is_unsure_by_whatever_limit() -> None:
    targets, inner = rows()
    segmentation = np.random.default_rng(1).uniform(0.2, 1.0, len(targets))
    found = limits_across(targets, inner, DECISION, segmentation)
    probabilities = DECISION.probabilities(inner.logits, np.array([0, 2]))
    confidence = probabilities.max(axis=1)
    is_right = DECISION.codes(probabilities) == targets.codes
    assert is_right.sum() == 100
    assert found.min_segmentation is not None
    assert found.max_unlike is not None
    is_far = inner.distances > found.max_unlike
    has_no_heart = segmentation < found.min_segmentation
    assert np.mean(is_far[is_right]) == pytest.approx(0.02, abs=0.01)
    assert np.mean(has_no_heart) == pytest.approx(0.01, abs=0.005)
    marked = is_far | has_no_heart | (confidence < found.min_confidence)
    assert (marked == found.marks(confidence, inner.distances, segmentation)).all()
    assert np.mean(marked[is_right]) == pytest.approx(0.2, abs=0.005)
    assert found.max_distance is None


def test_rows_that_no_model_predicted_count_for_nothing() -> None:
    targets, inner = rows(n_unpredicted=40)
    others = np.arange(40, 200)
    expected = limits_across(targets.take(others), Inner(inner.logits[others], inner.distances[others]), DECISION, None)
    assert limits_across(targets, inner, DECISION, None) == expected
    nothing = Inner(np.full((200, 5), np.nan), np.full(200, np.nan))
    assert limits_across(targets, nothing, DECISION, None) == Limits()


def test_a_heart_is_found_where_the_segmenter_is_as_sure_as_for_hearts() -> None:
    codes = np.repeat([0, ORIGINAL_LABELS.index("artifact")], [100, 50])
    segmentation = np.concatenate([np.linspace(0.5, 0.9, 100), np.full(50, 0.1)])
    found = limits_across(
        Targets.of_codes(codes), Inner(np.full((150, 5), np.nan), np.full(150, np.nan)), DECISION, segmentation
    )
    # One heart of a hundred lies below; the recordings without a heart do not count.
    assert found.min_segmentation is not None
    assert int((segmentation[:100] < found.min_segmentation).sum()) == 1


def test_limits_by_the_training_rows() -> None:
    found = limits_within(np.linspace(0, 1, 101), np.linspace(0, 10, 201))
    assert found == Limits(min_confidence=pytest.approx(0.2), max_distance=pytest.approx(9.95))
    assert limits_within(None, None) == Limits()
