"""When a prediction counts as sure: limits by the training rows, or by databases that were left out."""

from __future__ import annotations

import numpy as np
import pytest

from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.learning.decision import Decision
from heartbeat_core.learning.limits import FEWEST_RIGHT, Inner, Limits, limits_across, limits_within

DECISION = Decision(thresholds=(1.0,) * 5)


def rows(n: int = 200, n_unpredicted: int = 0) -> tuple[Targets, Inner]:
    """Return normal rows and murmurs; the second half of each is predicted wrongly, with a high confidence."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 2], n // 2)
    is_wrong = np.tile(np.arange(n // 2) >= n // 4, 2)
    logits = np.zeros((n, 5))
    said = np.where(is_wrong, 2 - codes, codes)
    logits[np.arange(n), said] = np.where(is_wrong, 9.0, rng.uniform(0.5, 4.0, n) / (1 + codes))
    logits[:n_unpredicted] = np.nan
    return Targets.of_codes(codes), Inner(logits, np.where(is_wrong, 50.0, rng.uniform(0.5, 2.0, n)))


def test_the_limits_leave_most_right_predictions_of_left_out_databases_sure() -> None:
    targets, inner = rows()
    found = limits_across(targets, inner, DECISION, None)
    trained = np.array([0, 2])
    probabilities = DECISION.probabilities(inner.logits, trained)
    codes = DECISION.codes(probabilities)
    confidence = probabilities.max(axis=1)
    is_right = codes == targets.codes
    assert is_right.sum() == 100
    assert np.mean(confidence[is_right] < found.min_confidence) == pytest.approx(0.2, abs=0.01)
    # Murmurs are called with less confidence here, and have a lower limit. No row is called one of the other labels.
    for code in (0, 2):
        right = confidence[is_right & (codes == code)]
        assert np.mean(right < found.min_confidences[code]) == pytest.approx(0.2, abs=0.01)
    assert found.min_confidences[2] < found.min_confidence < found.min_confidences[0]
    assert {found.min_confidences[code] for code in (1, 3, 4)} == {found.min_confidence}
    assert found.max_unlike is not None
    assert np.mean(inner.distances[is_right] > found.max_unlike) == pytest.approx(0.02, abs=0.01)
    assert found.max_distance is None
    assert found.min_segmentation is None


def test_rows_that_no_model_predicted_count_for_nothing() -> None:
    targets, inner = rows(n_unpredicted=40)
    others = np.arange(40, 200)
    expected = limits_across(targets.take(others), Inner(inner.logits[others], inner.distances[others]), DECISION, None)
    assert limits_across(targets, inner, DECISION, None) == expected
    nothing = Inner(np.full((200, 5), np.nan), np.full(200, np.nan))
    assert limits_across(targets, nothing, DECISION, None) == Limits()


def test_a_label_with_few_right_predictions_has_the_limit_of_all() -> None:
    targets, inner = rows(4 * (FEWEST_RIGHT - 1))
    found = limits_across(targets, inner, DECISION, None)
    assert found.min_confidence > 0
    assert found.min_confidences == (found.min_confidence,) * 5


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
