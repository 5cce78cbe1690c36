"""Decisions: the temperature against a plain search, thresholds, untrained labels never chosen."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.metrics import log_loss

from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.learning.decision import Decision, balanced_thresholds, fit_temperature
from tests import naive

TRAINED = np.array([0, 2, 4])
EQUAL = (1.0,) * len(ORIGINAL_LABELS)


def made_up(n: int, seed: int = 0, sharpness: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return logits [n, 5] of overlapping labels, those of untrained ones large, and codes of unequal shares."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(TRAINED, n, p=[0.7, 0.2, 0.1]).astype(np.int64)
    logits = rng.standard_normal((n, len(ORIGINAL_LABELS)))
    logits[np.arange(n), codes] += 1.2
    logits[:, 0] += 1.0
    logits[:, [1, 3]] = 50.0
    return sharpness * logits, codes


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_probabilities_are_the_softmax_over_trained_labels(temperature: float) -> None:
    logits, _ = made_up(20)
    found = Decision(temperature=temperature, thresholds=EQUAL).probabilities(logits, TRAINED)
    np.testing.assert_allclose(found[:, TRAINED], scipy.special.softmax(logits[:, TRAINED] / temperature, axis=1))
    assert (found[:, [1, 3]] == 0).all()
    assert np.isfinite(Decision(thresholds=EQUAL).probabilities(1e4 * logits, TRAINED)).all()
    assert Decision(thresholds=EQUAL).probabilities(np.zeros((0, 5)), TRAINED).shape == (0, 5)


def test_an_untrained_label_is_never_predicted_whatever_its_threshold() -> None:
    logits, _ = made_up(50)
    decision = Decision(thresholds=(1.0, 1e-9, 1.0, 1e-9, 1.0))
    assert set(decision.codes(decision.probabilities(logits, TRAINED)).tolist()) <= set(TRAINED.tolist())


def test_the_largest_probability_over_threshold_is_predicted_the_first_of_equals() -> None:
    probabilities = np.array([[0.5, 0, 0.5, 0, 0], [0.2, 0.4, 0, 0, 0.4], [0.6, 0, 0.3, 0, 0.1]])
    assert Decision(thresholds=EQUAL).codes(probabilities).tolist() == [0, 1, 0]
    assert Decision(thresholds=(1, 2, 0.5, 1, 1)).codes(probabilities).tolist() == [2, 4, 0]
    assert Decision(thresholds=(1, 1, 0.4, 1, 1)).codes(probabilities).tolist() == [2, 1, 2]
    assert Decision(thresholds=EQUAL).codes(probabilities).dtype == np.int64


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 5.0])
def test_the_temperature_is_that_of_least_log_loss_on_a_grid(sharpness: float) -> None:
    logits, codes = made_up(300, sharpness=sharpness)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 1_500))
    losses = [log_loss(codes, scipy.special.softmax(logits[:, TRAINED] / t, axis=1), labels=TRAINED) for t in grid]
    assert fit_temperature(logits, Targets.of_codes(codes), TRAINED) == pytest.approx(grid[np.argmin(losses)], rel=0.01)


def test_a_row_of_several_labels_counts_with_the_sum_of_their_probabilities() -> None:
    logits, codes = made_up(200, sharpness=4.0)
    possible = Targets.of_codes(codes).possible
    possible[::2, 0] = True
    possible[::5, 3] = True  # Not trained, so it adds nothing.
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 300))
    known = possible[:, TRAINED].tolist()
    losses = [sum(naive.log_losses((logits[:, TRAINED] / t).tolist(), known)) for t in grid]
    best = grid[np.argmin(losses)]
    assert fit_temperature(logits, Targets(ORIGINAL_LABELS, possible), TRAINED) == pytest.approx(best, rel=0.03)
    assert fit_temperature(logits, Targets.of_codes(codes), TRAINED) != pytest.approx(best, rel=0.06)


def test_a_temperature_has_bounds_and_bears_labels_that_were_not_trained() -> None:
    logits = np.zeros((4, 5))
    logits[:, 0] = 10
    right, wrong = Targets.of_codes(np.zeros(4, np.int64)), Targets.of_codes(np.full(4, 2))
    assert 0.05 <= fit_temperature(logits, right, TRAINED) < 1
    assert 10 < fit_temperature(logits, wrong, TRAINED) <= 20
    assert np.isfinite(fit_temperature(logits, Targets.of_codes(np.array([0, 0, 2, 3])), TRAINED))


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_thresholds_are_shares_to_the_power_of_the_balance(balance: float) -> None:
    targets = Targets.of_codes(np.array([0] * 6 + [2] * 3 + [4]))
    expected = [0.6**balance, 1.0, 0.3**balance, 1.0, 0.1**balance]
    assert balanced_thresholds(targets, balance) == pytest.approx(expected)


def test_a_balance_of_1_says_what_gained_most_over_its_share() -> None:
    targets = Targets.of_codes(np.array([0] * 6 + [2] * 3 + [4]))
    gained = np.array([[0.5, 0.0, 0.3, 0.0, 0.2], [0.7, 0.0, 0.2, 0.0, 0.1]])
    assert Decision(thresholds=balanced_thresholds(targets, 0.0)).codes(gained).tolist() == [0, 0]
    assert Decision(thresholds=balanced_thresholds(targets, 1.0)).codes(gained).tolist() == [4, 0]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"thresholds": (1,)},
        {"thresholds": (0, 1, 1, 1, 1)},
        {"thresholds": (1, 1, 1, 1, 1), "temperature": 0},
    ],
)
def test_impossible_decisions_are_refused(content: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Decision.model_validate(content)
