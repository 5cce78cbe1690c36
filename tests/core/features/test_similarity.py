"""The self-similarity of a recording against plain loops, and recordings that repeat themselves."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from heartbeat_core.features.cycles_columns import NAMES, REPEATS
from heartbeat_core.features.similarity import summarise_similarity, window_similarity

Values = NDArray[np.float64]


def similarity_by_hand(levels: Values) -> Values:
    points = [[max((row[i] + row[i + 1]) / 2, -2.5) for i in range(0, len(row) - 1, 2)] for row in levels.tolist()]
    windows = []
    for start in range(0, len(points[0]) - 29, 2):
        parts = [np.array(row[start : start + 30]) for row in points]
        windows.append(np.concatenate([part - part.mean() for part in parts]))
    return np.array([[a @ b / np.sqrt((a @ a) * (b @ b)) for b in windows[:400]] for a in windows[:400]])


def summary_by_hand(similarity: Values, period: float) -> dict[str, float]:
    n_windows = len(similarity)
    best = [sorted(similarity[i, j] for j in range(n_windows) if abs(i - j) >= 8) for i in range(n_windows)]
    lags = [lag for lag in range(max(5, round(period / 2)), round(1.7 * period) + 1) if lag < n_windows - 4]
    rows = range(n_windows - lags[-1])
    best_lags = np.array([max(lags, key=lambda lag: similarity[i, i + lag]) for i in rows])
    following = np.array([similarity[i, i + lag] for i, lag in zip(rows, best_lags, strict=True)])
    near = [lag for lag in lags if abs(lag - period) <= max(1, 0.08 * period)]
    at_period = np.array([max(similarity[i, i + lag] for lag in near) for i in rows])
    columns = {
        "best": ([row[-1] for row in best], (0, 5, 10, 25, 50, 75, 90)),
        "best_5": ([np.mean(row[-5:]) for row in best], (0, 5, 10, 25, 50)),
        "next": (following, (0, 10, 25, 50)),
        "at_period": (at_period, (0, 10, 25, 50)),
    }
    found = {
        f"{name}_p{share:02d}": float(np.percentile(values, share))
        for name, (values, shares) in columns.items()
        for share in shares
    }
    found |= {f"lag_p{q:02d}_ratio": float(np.percentile(best_lags / period, q)) for q in (5, 25, 50, 75, 95)}
    found["lag_std_ratio"] = float(np.std(best_lags / period))
    found["gain_mean"], found["gain_max"] = np.mean(following - at_period), np.max(following - at_period)
    found["lag_share_15_percent_off"] = np.mean([abs(lag - period) > 0.15 * period + 1e-9 for lag in best_lags])
    for steps in range(5, 46, 2):
        seconds = f"{steps / 25:g}".replace(".", "p")
        found[f"after_{seconds}_s_mean"] = np.mean([similarity[i, i + steps] for i in range(n_windows - steps)])
    return found


@pytest.mark.parametrize("n_values", [300, 601, 1_800])
def test_similarity_by_its_definition(n_values: int) -> None:
    levels = np.random.default_rng(n_values).normal(scale=2, size=(4, n_values))
    found = window_similarity(levels)
    expected = similarity_by_hand(levels)
    assert len(found) == min(400, (n_values // 2 - 30) // 2 + 1)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(np.diag(found), 1)


@pytest.mark.parametrize("period", [0.4, 0.57, 0.8, 1.1])
def test_every_value_by_its_definition(period: float) -> None:
    levels = np.random.default_rng(5).normal(size=(4, 700)).cumsum(axis=1) * 0.2
    expected = summary_by_hand(window_similarity(levels), 25 * period)
    found = summarise_similarity(levels, period)
    assert list(expected) == [name.removeprefix("similarity_") for name in NAMES if name.startswith("similarity_")]
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_share_of_lags_counts_both_sides_alike() -> None:
    for steps in (17, 23):
        levels = np.tile(np.random.default_rng(steps).normal(size=(4, 4 * steps)), (1, 12))
        # 0.85 and 1.15 of 0.8 s are not more than 15 % off.
        found = summarise_similarity(levels, 0.8)
        assert found["lag_p50_ratio"] == pytest.approx(steps / 20)
        # Of 17 steps the repeat after the next is as good, and rounding may choose it once.
        assert found["lag_share_15_percent_off"] < 0.05


def test_what_repeats_itself_is_similar() -> None:
    levels = np.tile(np.random.default_rng(0).normal(size=(4, 84)), (1, 10))
    found = summarise_similarity(levels, 0.84)
    for name in ("best_p00", "best_p50", "best_5_p00", "next_p00", "at_period_p00", "after_0p84_s_mean"):
        assert found[name] == pytest.approx(1)
    assert found["lag_p05_ratio"] == found["lag_p95_ratio"] == 1
    assert found["lag_std_ratio"] == found["gain_max"] == 0
    other = summarise_similarity(np.random.default_rng(0).normal(size=(4, 800)), 0.8)
    assert other["best_p50"] < 0.6
    assert abs(float(other["after_1_s_mean"])) < 0.1


def test_level_and_time_before_the_bound_alone_matter() -> None:
    levels = np.random.default_rng(0).normal(scale=0.3, size=(4, 1_656))
    found = summarise_similarity(levels, 0.8)
    assert summarise_similarity(levels + np.arange(4)[:, np.newaxis], 0.8) == pytest.approx(found, abs=1e-9)
    longer = np.concatenate([levels, np.random.default_rng(1).normal(size=(4, 900))], axis=1)
    assert summarise_similarity(longer, 0.8) == found
    assert summarise_similarity(longer[:, 2:], 0.8) != found


def test_what_is_constant_is_similar_to_nothing() -> None:
    levels = np.random.default_rng(0).normal(size=(4, 800))
    levels[:, 300:600] = -3.1
    similarity = window_similarity(levels)
    assert np.isfinite(similarity).all()
    assert not similarity[75:110].any()
    assert not similarity[:, 75:110].any()
    # As all its repeats are equal, the first counts, whatever the rounding.
    again = summarise_similarity(levels + 1e-15, 0.8)
    assert again == pytest.approx(summarise_similarity(levels, 0.8), abs=1e-12)


@pytest.mark.parametrize("n_values", [2, 7, 50, 119])
def test_short_recordings(n_values: int) -> None:
    levels = np.random.default_rng(0).normal(size=(4, n_values))
    assert len(window_similarity(levels)) == 16
    found = summarise_similarity(levels, 0.8)
    assert np.isfinite(list(map(float, found.values()))).all()
    if n_values < 50:
        # No repeat of 1.5 s is in 0.07 s.
        slow = summarise_similarity(levels, 1.5)
        assert {name: slow[name] for name in REPEATS} == dict.fromkeys(REPEATS, 0.0)


def test_memory_is_bounded() -> None:
    levels = np.random.default_rng(0).normal(size=(4, 180_000))
    tracemalloc.start()
    summarise_similarity(levels, 0.8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6
