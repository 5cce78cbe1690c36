"""When a prediction counts as sure: limits by the training rows, or by databases that were left out."""

from __future__ import annotations

import numpy as np
import pytest

from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.learning.decision import Decision
from heartbeat_core.learning.limits import Inner, Limits, limits_across, limits_within

DECISION = Decision(thresholds=(1.0,) * 5)


PLACES = ["a", "b"] * 100


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
    found = limits_across(targets, PLACES, inner, DECISION, segmentation)
    probabilities = DECISION.probabilities(inner.logits, np.array([0, 2]))
    confidence = probabilities.max(axis=1)
    is_right = DECISION.codes(probabilities) == targets.codes
    assert is_right.sum() == 100
    assert found.min_segmentation is not None
    assert found.max_unlike is not None
    assert isinstance(found.min_confidence, tuple)
    is_far = inner.distances > found.max_unlike
    has_no_heart = segmentation < found.min_segmentation
    assert np.mean(is_far[is_right]) == pytest.approx(0.01, abs=0.005)
    assert np.mean(has_no_heart) == pytest.approx(0.01, abs=0.005)
    codes = DECISION.codes(probabilities)
    marked = is_far | has_no_heart | (confidence < np.array(found.min_confidence)[codes])
    assert (marked == found.marks(codes, confidence, inner.distances, segmentation)).all()
    assert np.mean(marked[is_right]) == pytest.approx(0.195, abs=0.006)
    assert found.max_distance is None


def called(said: int, confidence: float, n_right: int, n_wrong: int) -> tuple[list[int], list[list[float]]]:
    """Return codes and logits of rows that are called normal (0) or murmur (2) with a confidence around the given.

    The confidence of right ones is a little greater.
    """
    n = n_right + n_wrong
    odds = np.linspace(-0.5, 0.5, n) + np.log(confidence / (1 - confidence))
    logits = np.zeros((n, 5))
    logits[:, said] = odds[np.random.default_rng(said).permutation(n)] + 0.2 * (np.arange(n) < n_right)
    return [said] * n_right + [2 - said] * n_wrong, logits.tolist()


def test_the_label_that_is_wrong_more_often_needs_more_confidence() -> None:
    normal, murmur = called(0, 0.8, 190, 10), called(2, 0.8, 100, 60)
    targets = Targets.of_codes(np.array(normal[0] + murmur[0]))
    inner = Inner(np.array(normal[1] + murmur[1]), np.ones(360))
    least = limits_across(targets, ["a", "b"] * 180, inner, DECISION, None).min_confidence
    assert isinstance(least, tuple)
    assert least[2] > least[0]
    probabilities = DECISION.probabilities(inner.logits, np.array([0, 2]))
    codes = DECISION.codes(probabilities)
    is_low, is_right = probabilities.max(axis=1) < np.array(least)[codes], codes == targets.codes
    # Nearly all of the 58 right predictions that are marked are murmurs.
    assert is_low[is_right & (codes == 2)].sum() > 4 * is_low[is_right & (codes == 0)].sum()
    assert is_low[is_right].mean() == pytest.approx(0.195, abs=0.006)


def test_each_database_counts_the_same() -> None:
    """In the large database murmurs are wrong, in the small one normal hearts."""
    large, small = called(2, 0.8, 60, 60), called(2, 0.8, 12, 0)
    right, wrong = called(0, 0.8, 120, 0), called(0, 0.8, 0, 12)
    parts = (large, right, small, wrong)
    targets = Targets.of_codes(np.array([code for codes, _ in parts for code in codes]))
    inner = Inner(np.array([row for _, rows in parts for row in rows]), np.ones(264))
    places = ["large"] * 239 + ["small"] * 25  # Both labels occur in both.
    least = limits_across(targets, places, inner, DECISION, None).min_confidence
    assert isinstance(least, tuple)
    assert least[2] < least[0]


def test_without_a_wrong_prediction_all_labels_have_one_limit() -> None:
    codes, logits = called(0, 0.8, 100, 0)
    others, more = called(2, 0.8, 100, 0)
    inner = Inner(np.array(logits + more), np.ones(200))
    found = limits_across(Targets.of_codes(np.array(codes + others)), PLACES, inner, DECISION, None)
    assert isinstance(found.min_confidence, tuple)
    assert set(found.min_confidence) == {found.min_confidence[0]}


def test_rows_that_no_model_predicted_count_for_nothing() -> None:
    targets, inner = rows(n_unpredicted=40)
    others = np.arange(40, 200)
    known = Inner(inner.logits[others], inner.distances[others])
    expected = limits_across(targets.take(others), PLACES[40:], known, DECISION, None)
    assert limits_across(targets, PLACES, inner, DECISION, None) == expected
    nothing = Inner(np.full((200, 5), np.nan), np.full(200, np.nan))
    assert limits_across(targets, PLACES, nothing, DECISION, None) == Limits()


def test_a_heart_is_found_where_the_segmenter_is_as_sure_as_for_hearts() -> None:
    codes = np.repeat([0, ORIGINAL_LABELS.index("artifact")], [100, 50])
    segmentation = np.concatenate([np.linspace(0.5, 0.9, 100), np.full(50, 0.1)])
    nothing = Inner(np.full((150, 5), np.nan), np.full(150, np.nan))
    found = limits_across(Targets.of_codes(codes), [""] * 150, nothing, DECISION, segmentation)
    # One heart of a hundred lies below; the recordings without a heart do not count.
    assert found.min_segmentation is not None
    assert int((segmentation[:100] < found.min_segmentation).sum()) == 1
    # That no heart was found is no reason to doubt that there is none.
    marked = found.marks(codes, np.ones(150), None, segmentation)
    assert (int(marked[:100].sum()), int(marked[100:].sum())) == (1, 0)


def test_limits_by_the_training_rows() -> None:
    found = limits_within(np.linspace(0, 1, 101), np.linspace(0, 10, 201))
    assert found == Limits(min_confidence=pytest.approx(0.2), max_distance=pytest.approx(9.95))
    assert limits_within(None, None) == Limits()


def rare_calls(n_right: int, n_known: int) -> tuple[Targets, Inner]:
    """Return normal rows, murmurs, and 30 rows that are called extra sounds (1), which the rows not known may be."""
    normal, murmur = called(0, 0.8, 150, 30), called(2, 0.8, 100, 40)
    n = 320
    rare = np.zeros((30, 5))
    rare[:, 1] = np.linspace(1.0, 3.0, 30)
    logits = np.concatenate([np.array(normal[1] + murmur[1]), rare])
    possible = np.zeros((n + 30, 5), np.bool_)
    possible[np.arange(n), normal[0] + murmur[0]] = True
    possible[n : n + n_right, 1] = True
    possible[n + n_right : n + n_known, 0] = True
    possible[n + n_known :, :2] = True
    possible[:5, :] = [False, True, False, False, False]  # The label occurs.
    return Targets(ORIGINAL_LABELS, possible), Inner(logits, np.ones(n + 30))


def logits_of(limits: Limits) -> list[float]:
    least = np.array(limits.min_confidence)
    found: list[float] = np.log(least / (1 - least)).tolist()
    return found


def test_a_label_that_one_database_has_gets_the_mean_limit() -> None:
    """Rows that merely allow it give it to no other database, and its wrong calls do not count."""
    normal, extrahls, murmur, *_ = logits_of(limits_across(*with_places(*rare_calls(0, 5)), DECISION, None))
    assert normal != murmur
    assert extrahls == pytest.approx((normal + murmur) / 2)


def test_wrong_calls_of_such_a_label_tell_nothing_of_the_others() -> None:
    targets, inner = rare_calls(0, 30)
    without = np.arange(320)
    known = targets.take(without), Inner(inner.logits[without], inner.distances[without])
    expected = limits_across(*with_places(*known), DECISION, None)
    assert limits_across(*with_places(targets, inner), DECISION, None) == expected


@pytest.mark.parametrize("n_right", [0, 1])
def test_a_label_that_several_databases_have_gets_a_limit_of_its_own_even_if_no_call_is_right(n_right: int) -> None:
    placed = with_places(*rare_calls(n_right, 25), rare="ab")
    normal, extrahls, murmur, *others = logits_of(limits_across(*placed, DECISION, None))
    assert extrahls > max(normal, murmur)
    assert others == pytest.approx([(normal + extrahls + murmur) / 3] * 2)


def with_places(targets: Targets, inner: Inner, rare: str = "a") -> tuple[Targets, list[str], Inner]:
    """Return them with databases, a and b in turn; rows of extra sounds are in those of ``rare``."""
    places = ["a", "b"] * (len(targets) // 2)
    for turn, row in enumerate(np.flatnonzero(targets.codes == 1).tolist()):
        places[row] = rare[turn % len(rare)]
    return targets, places, inner
