"""Statistics of heart cycles: known answers on made-up hearts, plain loops, invariances, anything at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heartbeat_core import cycles, dynamics, similarity, statistics
from heartbeat_core.cycles_names import NAMES, VERSION, as_markdown, describe
from heartbeat_core.summary import summarise
from heartbeat_core.synthesis import synthesise

RATE_HZ = statistics.RATE_HZ
ROOT = Path(__file__).parents[2]


def named(samples: NDArray[np.floating], sample_rate_hz: int = RATE_HZ) -> dict[str, float]:
    return dict(zip(NAMES, summarise(samples.astype(np.float32), sample_rate_hz, True)[392:].tolist(), strict=True))


def heart(
    starts_s: NDArray[np.floating], duration_s: float, second_after_s: float = 0.3, second_height: float = 0.6
) -> NDArray[np.floating]:
    """Return two bursts a cycle, of many frequencies, over faint noise."""
    t = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    rng = np.random.default_rng(0)
    carrier = sum(np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for f in (40, 55, 90, 120, 200, 280, 400, 600))
    bursts = np.zeros_like(t)
    for start in starts_s:
        bursts += np.exp(-0.5 * ((t - start) / 0.02) ** 2)
        bursts += second_height * np.exp(-0.5 * ((t - start - second_after_s) / 0.02) ** 2)
    return bursts * carrier + 1e-3 * rng.standard_normal(len(t))


def regular(period_s: float = 0.9, duration_s: float = 10.0) -> NDArray[np.floating]:
    return np.arange(0.5, duration_s - 0.6, period_s)


def test_there_are_260_names_with_a_line_each_and_the_page_is_up_to_date() -> None:
    assert VERSION == "pcg-cycles-v1"
    assert len(NAMES) == len(set(NAMES)) == 260
    assert not set(NAMES) & set(statistics.NAMES)
    assert all("\n" not in describe(name) and len(describe(name)) > 10 for name in NAMES)
    assert (ROOT / "configs" / f"{VERSION}.md").read_text("utf-8") == as_markdown()


def test_the_summary_is_the_statistics_and_the_cycles() -> None:
    samples = heart(regular(), 10.0).astype(np.float32)
    both, alone = summarise(samples, RATE_HZ, True), summarise(samples, RATE_HZ, False)
    assert both.shape == (652,)
    assert both.dtype == alone.dtype == np.float32
    assert both[:392].tobytes() == alone.tobytes()
    assert alone.tobytes() == statistics.compute_statistics(samples, RATE_HZ).tobytes()


@pytest.mark.parametrize("period_s", [0.6, 0.8, 1.1])
def test_a_regular_heart_has_its_period_and_no_irregularity(period_s: float) -> None:
    found = named(heart(regular(period_s), 10.0))
    assert found["cycle_period_s"] == pytest.approx(period_s, abs=0.02)
    assert found["cycle_rate_hz"] == pytest.approx(1 / period_s, rel=0.15)
    for end in ("min", "max"):
        assert found[f"cycle_interval_{end}_ratio"] == pytest.approx(1, abs=0.04)
    assert found["cycle_interval_share_10_percent_off"] == 0
    assert found["similarity_next_p50"] > 0.85
    assert found["similarity_lag_share_15_percent_off"] < 0.1


def test_a_premature_beat_shows_in_the_intervals_and_a_pause_follows() -> None:
    starts = regular(0.9)
    starts[5] -= 0.27
    found = named(heart(starts, 10.0, second_height=0.1))
    assert found["cycle_interval_min_ratio"] == pytest.approx(0.7, abs=0.06)
    assert found["cycle_interval_max_ratio"] == pytest.approx(1.3, abs=0.06)
    assert found["cycle_interval_log_change_max"] == pytest.approx(np.log(1.3 / 0.7), abs=0.15)
    assert found["cycle_interval_share_20_percent_off"] > 0
    assert found["similarity_gain_max"] > named(heart(regular(0.9), 10.0, second_height=0.1))["similarity_gain_max"]


@pytest.mark.parametrize("after_s", [0.24, 0.32])
def test_the_second_sound_has_its_phase_and_height(after_s: float) -> None:
    found = named(heart(regular(0.9), 10.0, after_s, second_height=0.5))
    assert found["cycle_second_sound_phase"] == pytest.approx(after_s / 0.9, abs=0.035)
    assert found["cycle_second_sound_less_first"] < 0
    assert found["cycle_80_to_160_hz_second_sound"] > found["cycle_80_to_160_hz_systole_2"]
    assert found["cycle_80_to_160_hz_first_sound"] > found["cycle_80_to_160_hz_diastole_3"]


def test_a_systolic_murmur_fills_the_systole() -> None:
    starts, t = regular(0.9), np.arange(40_000) / RATE_HZ
    murmur = sum(np.exp(-0.5 * ((t - start - 0.15) / 0.05) ** 2) for start in starts)
    noise = np.random.default_rng(1).standard_normal(40_000)
    without, found = (named(heart(starts, 10.0) + level * murmur * noise) for level in (0.0, 1.0))
    for band in ("160_to_320_hz", "320_to_800_hz"):
        assert found[f"cycle_{band}_systole_2"] > without[f"cycle_{band}_systole_2"] + 0.5
        assert found[f"cycle_{band}_systole_2"] > found[f"cycle_{band}_diastole_3"] + 0.5


def best_path(loudness: NDArray[np.floating], period: int) -> float:
    """Return the worth of the best path by trying all of them, recursively."""
    peaks = cycles.distant_maxima(loudness, 10).tolist()
    mean = np.mean([loudness[peak] for peak in peaks]) + 1e-9

    def after(number: int) -> float:
        worth = [0.0]
        for other in range(number + 1, len(peaks)):
            interval = peaks[other] - peaks[number]
            if 0.55 * period < interval < 1.7 * period:
                worth.append(after(other) - 4 * np.log(interval / period) ** 2)
        return loudness[peaks[number]] / mean + max(worth)

    return max(after(number) for number in range(len(peaks)))


@pytest.mark.parametrize("seed", range(5))
def test_the_path_of_beats_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    loudness = np.convolve(rng.random(220), np.ones(5) / 5, mode="same")
    beats = cycles.find_beats(loudness, 50)
    mean = loudness[cycles.distant_maxima(loudness, 10)].mean() + 1e-9
    worth = sum(loudness[beat] / mean for beat in beats) - 4 * sum(np.square(np.log(np.diff(beats) / 50)))
    assert worth == pytest.approx(best_path(loudness, 50))


def test_folding_is_linear_between_samples() -> None:
    levels = np.stack([np.arange(100.0), -np.arange(100.0)])
    found = cycles.fold(levels, np.array([10, 42, 90]))
    assert found.shape == (2, 2, 32)
    np.testing.assert_allclose(found[0, 0], 10 + np.arange(32))
    np.testing.assert_allclose(found[1, 1], -(42 + 48 * np.arange(32) / 32))
    np.testing.assert_allclose(cycles.fold(levels, np.array([5])), [[[49.5] * 32], [[-49.5] * 32]])


def test_similarity_is_the_correlation_of_windows() -> None:
    rng = np.random.default_rng(0)
    levels = rng.standard_normal((4, 300))
    matrix = similarity.similarity_matrix(levels)
    halved = levels.reshape(4, 150, 2).mean(axis=2)
    halved = np.maximum(halved, -2.5)
    halved -= halved.mean(axis=1, keepdims=True)
    for i, j in ((0, 0), (3, 11), (20, 7)):
        a, b = (halved[:, 2 * k : 2 * k + 30] for k in (i, j))
        a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
        expected = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
        assert matrix[i, j] == pytest.approx(expected, abs=1e-5)
    assert len(matrix) == (150 - 30) // 2 + 1
    assert len(similarity.similarity_matrix(rng.standard_normal((4, 10_000)))) == similarity.MOST_WINDOWS


def test_dynamics_of_stationary_levels_are_small_and_a_response_cancels() -> None:
    rng = np.random.default_rng(0)
    power = 1.0 + 1e-3 * rng.random((200, 129))
    assert all(abs(v) < 1e-2 for k, v in dynamics.summarise_dynamics(power).items() if "correlation" not in k)
    power = np.exp(rng.standard_normal((200, 1)) + 0.1 * rng.standard_normal((200, 129)))
    plain, through = (dynamics.summarise_dynamics(power * gain) for gain in (1.0, 7.0))
    assert through == pytest.approx(plain, abs=1e-6)
    assert plain["dynamics_05_correlation_with_lower"] > 0.9
    levels = statistics.log_mel(power)[:, 15:18].mean(axis=1)
    expected = np.percentile(levels, 90) - np.median(levels)
    assert plain["dynamics_05_p90_less_p50"] == pytest.approx(expected)
    order = np.argsort(statistics.log_mel(power)[:, 3:12].mean(axis=1))
    assert plain["dynamics_05_loud_less_quiet"] == pytest.approx(levels[order[-40:]].mean() - levels[order[:40]].mean())


def test_gain_polarity_and_offset_do_not_matter() -> None:
    samples = heart(regular(), 10.0)
    expected = named(samples)
    for other in (samples / 128, -samples, samples + 0.2):
        found = named(other)
        assert all(found[name] == pytest.approx(expected[name], rel=2e-2, abs=2e-2) for name in NAMES)


def test_the_sample_rate_does_not_matter() -> None:
    samples = synthesise("murmur", 44_100, 8.0, np.random.default_rng(3)).astype(np.float32)
    found, expected = named(soxr.resample(samples, 44_100, 8_000), 8_000), named(samples, 44_100)
    close = [abs(found[name] - expected[name]) < 0.05 + 0.05 * abs(expected[name]) for name in NAMES]
    assert np.mean(close) > 0.95


@pytest.mark.parametrize("n_samples", [0, 1, 100, 255, 256, 300, 700, 2_000, 5_000])
@pytest.mark.parametrize("kind", ["silence", "constant", "noise", "clipped"])
def test_short_and_empty_sounds_have_finite_values(n_samples: int, kind: str) -> None:
    rng = np.random.default_rng(n_samples)
    noise = rng.standard_normal(n_samples)
    samples = {"silence": 0 * noise, "constant": 0 * noise + 0.5, "noise": noise, "clipped": np.sign(noise)}[kind]
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(summarise(samples.astype(np.float32), RATE_HZ, True)).all()


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 9_000),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1_000, 4_000, 44_100]),
    st.sampled_from([1e-30, 1e-6, 1.0, 1e6]),
)
def test_anything_has_finite_values(n_samples: int, seed: int, sample_rate_hz: int, level: float) -> None:
    samples = level * np.random.default_rng(seed).standard_normal(n_samples)
    assert np.isfinite(summarise(samples.astype(np.float32), sample_rate_hz, True)).all()
