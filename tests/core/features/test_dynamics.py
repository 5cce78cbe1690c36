"""The dynamics of mel groups against plain definitions, and levels whose dynamics are known."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from heartbeat_core.features.cycles_columns import NAMES
from heartbeat_core.features.dynamics import summarise_dynamics

Values = NDArray[np.float64]


def dynamics_by_hand(log_mel: Values) -> dict[str, float]:
    groups = [log_mel[:, 3 * group : 3 * group + 3].mean(axis=1) for group in range(13)]
    loudness = [(groups[1][i] + groups[2][i] + groups[3][i]) / 3 for i in range(len(log_mel))]
    order = sorted(range(len(log_mel)), key=lambda i: loudness[i])
    fifth = len(log_mel) // 5
    found = {}
    for number, level in enumerate(groups):
        prefix = f"{number:02d}"
        for share in (5, 25, 75, 90, 98):
            found[f"{prefix}_p{share:02d}_less_p50"] = np.percentile(level, share) - np.median(level)
        if number:
            found[f"{prefix}_correlation_with_lower"] = np.corrcoef(level, groups[number - 1])[0, 1]
            found[f"{prefix}_correlation_with_02"] = np.corrcoef(level, groups[2])[0, 1]
        quiet, middle, loud = (
            np.mean([level[i] for i in part])
            for part in (order[:fifth], order[2 * fifth : 3 * fifth], order[len(order) - fifth :])
        )
        found[f"{prefix}_loud_less_quiet"] = loud - quiet
        found[f"{prefix}_middle_less_quiet"] = middle - quiet
    return found


@pytest.mark.parametrize("n_frames", [5, 59, 403])
def test_every_value_by_its_definition(n_frames: int) -> None:
    log_mel = np.random.default_rng(n_frames).normal(size=(n_frames, 40)).cumsum(axis=1)
    expected = dynamics_by_hand(log_mel)
    assert list(expected) == [name.removeprefix("dynamics_") for name in NAMES if name.startswith("dynamics_")]
    assert summarise_dynamics(log_mel) == pytest.approx(expected, abs=1e-9)


def test_a_devices_response_cancels() -> None:
    rng = np.random.default_rng(0)
    log_mel = rng.normal(size=(200, 40))
    # The same for the groups that order the frames, or these would be others.
    response = rng.normal(size=40)
    expected = summarise_dynamics(log_mel)
    assert summarise_dynamics(log_mel + response) == pytest.approx(expected, abs=1e-9)


def test_what_moves_together() -> None:
    course = np.random.default_rng(0).normal(size=(300, 1))
    found = summarise_dynamics(course * np.linspace(0.5, 2, 40))
    for group in range(1, 13):
        assert found[f"{group:02d}_correlation_with_lower"] == pytest.approx(1)
    spread = np.percentile(course, 75) - np.median(course)
    for group in range(13):
        factor = np.linspace(0.5, 2, 40)[3 * group + 1]
        assert found[f"{group:02d}_p75_less_p50"] == pytest.approx(factor * spread)
    opposite = summarise_dynamics(course * np.where(np.arange(40) < 9, 1, -1))
    assert opposite["02_correlation_with_02"] == pytest.approx(1)
    assert opposite["03_correlation_with_lower"] == pytest.approx(-1)
    assert opposite["09_correlation_with_02"] == pytest.approx(-1)


@pytest.mark.parametrize("n_frames", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("rounding", [0.0, 1e-13])
def test_what_does_not_move_has_no_dynamics(n_frames: int, rounding: float) -> None:
    log_mel = -23.0258 + rounding * np.random.default_rng(0).normal(size=(n_frames, 40))
    assert summarise_dynamics(log_mel) == pytest.approx(dict.fromkeys(dynamics_by_hand(np.eye(40)), 0), abs=1e-11)


@pytest.mark.parametrize("n_frames", [1, 2, 3, 4])
def test_few_frames_have_a_middle(n_frames: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = summarise_dynamics(np.outer(np.arange(n_frames), np.ones(40)))
    assert found["05_loud_less_quiet"] == n_frames - 1
    assert found["05_middle_less_quiet"] == min(2, n_frames - 1)
