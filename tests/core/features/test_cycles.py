"""The statistics of heart cycles against plain loops, sounds whose answers are known, and sounds at every extreme."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heartbeat_core.audio.synthesis import synthesise
from heartbeat_core.errors import SignalOverflow
from heartbeat_core.features import cycles, statistics_columns
from heartbeat_core.features.cycles_columns import BANDS, BANDS_HZ, DESCRIPTIONS, NAMES, VERSION
from heartbeat_core.features.series import distant_maxima
from heartbeat_core.features.signal import RATE_HZ, envelope, log_mel, power_spectra, prepare
from tests.helpers import EXTREME_SOUNDS, both_of, extreme_sound, statistics_of

Values = NDArray[np.float64]
PERIOD_S, SYSTOLE_S = 0.84, 0.3


def named(samples: NDArray[np.floating], sample_rate_hz: int = RATE_HZ) -> dict[str, float]:
    values = both_of(samples.astype(np.float32), sample_rate_hz)
    return dict(zip(NAMES, values[392:].tolist(), strict=True))


def heart(label: str = "murmur", sample_rate_hz: int = RATE_HZ, duration_s: float = 6.0) -> NDArray[np.float32]:
    return synthesise(label, sample_rate_hz, duration_s, np.random.default_rng(3)).astype(np.float32)


def two_sounds(starts_s: Values, duration_s: float = 10.0, second: float = 0.5) -> Values:
    """Return short bursts at 4 kHz that all lower bands hear: a first sound at each start, a second 0.3 s later."""
    t = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    sound = np.random.default_rng(0).normal(scale=1e-4, size=len(t))
    for start_s in starts_s:
        for time_s, height in ((start_s, 1.0), (start_s + SYSTOLE_S, second)):
            burst = sum(np.sin(2 * np.pi * hz * (t - time_s)) for hz in (50, 110, 230, 500))
            sound += height * np.exp(-0.5 * ((t - time_s) / 0.02) ** 2) * burst
    return sound


STEADY_S = np.arange(0.4, 9.5, PERIOD_S)


# Names.


def test_there_are_260_names_with_a_line_each() -> None:
    assert VERSION == "pcg-cycles-v1"
    assert len(NAMES) == len(set(NAMES)) == len(set(DESCRIPTIONS.values())) == 260
    assert not set(NAMES) & set(statistics_columns.NAMES)
    for name in NAMES:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
        assert "\n" not in DESCRIPTIONS[name]
        assert 10 < len(DESCRIPTIONS[name]) <= 120
        for unit in ("s", "Hz"):
            assert DESCRIPTIONS[name].endswith(f", {unit}") == name.endswith(f"_{unit.lower()}"), name


def test_the_order_is_cycle_similarity_dynamics() -> None:
    families = [re.sub(r"_.*", "", name) for name in NAMES]
    assert families == ["cycle"] * 95 + ["similarity"] * 50 + ["dynamics"] * 115
    assert NAMES[:2] == ("cycle_period_s", "cycle_autocorrelation_at_period")


def test_two_sets_are_the_statistics_and_the_cycles_behind() -> None:
    samples = heart()
    both = both_of(samples, RATE_HZ)
    assert both.shape == (652,)
    assert both.dtype == np.float32
    signal = prepare(samples, RATE_HZ)
    of_cycles = cycles.compute_cycles(signal, log_mel(power_spectra(signal.samples)))
    assert np.array_equal(both, [*statistics_of(samples, RATE_HZ), *of_cycles])
    assert np.array_equal(both_of(samples, RATE_HZ), both)


# Definitions.


def test_envelopes_and_strength_by_their_definitions() -> None:
    signal = prepare(heart(), RATE_HZ)
    relative = cycles.relative_envelopes(signal)
    for row, band_hz in zip(relative, BANDS_HZ, strict=True):
        one = envelope(signal, *band_hz)
        np.testing.assert_allclose(row, one / one.mean(), rtol=1e-12)
    relative[0, 200] = 1_000.0
    mean = np.mean([[min(value, 12.0) ** 0.5 for value in row] for row in relative[:3].tolist()], axis=0)
    padded = np.pad(mean, 2)
    smooth = np.array([padded[i : i + 5] @ [1, 4, 6, 4, 1] / 16 for i in range(len(mean))])
    np.testing.assert_allclose(cycles.beat_strength(relative), smooth - np.percentile(smooth, 20), atol=1e-12)


def test_the_period_by_its_definition() -> None:
    relative = np.random.default_rng(1).exponential(size=(4, 500))
    expected = np.zeros(201)
    for row in np.sqrt(relative[:3]):
        centred = row - row.mean()
        expected += [centred[lag:] @ centred[: 500 - lag] / (centred @ centred) / 3 for lag in range(201)]
    correlation, period = cycles.heart_period(relative)
    np.testing.assert_allclose(correlation, expected, atol=1e-12)

    def weighted(lag: int) -> float:
        return (expected[lag] + 0.2) * float(np.exp(-0.5 * (np.log2(lag / 80) / 0.8) ** 2))

    assert period == max(range(35, 151), key=weighted)


def best_path(peaks: list[int], heights: list[float], period: int) -> list[int]:
    """Return the best of all paths, each tried."""
    best: tuple[float, list[int]] = (-np.inf, [])

    def extend(path: list[int], worth: float) -> None:
        nonlocal best
        best = max(best, (worth, [peaks[number] for number in path]))
        for number in range(path[-1] + 1, len(peaks)):
            step = (peaks[number] - peaks[path[-1]]) / period
            if 0.55 < step < 1.7:
                extend([*path, number], worth + heights[number] - 4 * np.log(step) ** 2)

    for number in range(len(peaks)):
        extend([number], heights[number])
    return best[1]


@given(st.integers(0, 2**32 - 1), st.integers(0, 250), st.sampled_from([35, 60, 80, 150]))
def test_beats_are_the_best_of_all_paths(seed: int, n_values: int, period: int) -> None:
    strength = np.random.default_rng(seed).exponential(size=n_values + 3)
    peaks = distant_maxima(strength, 10)
    heights = (strength[peaks] / strength[peaks].mean()).tolist() if len(peaks) else []
    assert cycles.track_beats(strength, period).tolist() == best_path(peaks.tolist(), heights, period)


def test_beats_by_hand() -> None:
    strength = np.zeros(500)
    strength[[50, 130, 170, 210, 290, 370]] = [1, 1, 0.8, 1, 1, 1]
    assert cycles.track_beats(strength, 80).tolist() == [50, 130, 210, 290, 370]
    # Too far apart for a path: the last of two that are equal.
    strength[:] = 0
    strength[[50, 400]] = 1
    assert cycles.track_beats(strength, 80).tolist() == [400]
    assert cycles.track_beats(np.zeros(500), 80).tolist() == []


def test_the_intervals_and_heights_by_hand() -> None:
    strength = np.ones(1_000)
    beats = np.array([100, 200, 310, 400, 500, 630])
    strength[beats] = [2, 2, 1, 2, 3, 2]
    found = cycles.summarise_beats(beats, strength)
    logs = np.diff(np.log([1.0, 1.1, 0.9, 1.0, 1.3]))
    expected = {
        "rate_hz": 0.6,
        "interval_min_ratio": 0.9,
        "interval_max_ratio": 1.3,
        "interval_std_ratio": np.std([1, 1.1, 0.9, 1, 1.3]),
        "interval_deviation_p50_ratio": 0.1,
        "interval_log_change_rms": np.sqrt(np.mean(logs**2)),
        "interval_log_change_max": max(logs),
        "interval_log_change_min": min(logs),
        "interval_share_20_percent_off": 0.2,
        "interval_share_10_percent_off": 0.2,
        "coverage": 0.53,
        "height_std_ratio": np.std([2, 2, 1, 2, 3, 2]) / 2,
        "height_min_ratio": 0.5,
        "height_max_ratio": 1.5,
    }
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("beats", [[], [50], [50, 120]])
def test_too_few_beats_are_even(beats: list[int]) -> None:
    strength = np.full(200, 0.7)
    found = cycles.summarise_beats(np.array(beats, np.intp), strength)
    assert found["rate_hz"] == len(beats) / 2
    assert found["coverage"] == (0.35 if len(beats) > 1 else 0)
    for name, value in found.items():
        if name not in ("rate_hz", "coverage"):
            assert value == pytest.approx(1.0 if "min_ratio" in name or "max_ratio" in name else 0.0), name


def template_by_hand(levels: Values, beats: list[int]) -> dict[str, float]:
    """Return the 78 of a template and the number of its peaks, by loops over bands, cycles and phases."""
    folded = np.zeros((4, len(beats) - 1, 32))
    for band in range(4):
        for number, (start, end) in enumerate(pairwise(beats)):
            times = start + (end - start) * np.arange(32) / 32
            folded[band, number] = np.interp(times, np.arange(levels.shape[1]), levels[band])
    lower = np.median(folded, axis=1)[:3].mean(axis=0)
    second = max(range(7, 26), key=lambda phase: lower[phase])
    if second > 16:
        folded, lower, second = np.roll(folded, -second, 2), np.roll(lower, -second), 32 - second
    found = {"second_sound_phase": second / 32, "second_sound_less_first": lower[second] - lower[0]}
    for band, name in enumerate(BANDS):
        of_cycles = folded[band]
        raw = np.median(of_cycles, axis=0)
        level = raw - raw.mean()
        third, quarter = (second - 4) / 3, (28 - second) / 4
        rms = [np.sqrt(np.mean((one - raw) ** 2)) for one in of_cycles]
        correlation = [np.corrcoef(one, raw)[0, 1] for one in of_cycles]
        of_band = {
            "first_sound": max(level[31], level[0], level[1]),
            "second_sound": max(level[second - 1], level[second], level[second + 1]),
            "range": max(level) - min(level),
            "systole_1": level[2 : round(2 + third)].mean(),
            "systole_2": level[round(2 + third) : round(2 + 2 * third)].mean(),
            "systole_3": level[round(2 + 2 * third) : second - 1].mean(),
            **{
                f"diastole_{k + 1}": level[
                    round(second + 2 + k * quarter) : round(second + 2 + (k + 1) * quarter)
                ].mean()
                for k in range(4)
            },
            "systole_min": min(level[2 : second - 1]),
            "diastole_min": min(level[second + 2 : 31]),
            "systole_max": max(level[3 : second - 2]),
            "diastole_max": max(level[second + 3 : 30]),
            "deviation_abs_mean": np.mean([np.abs(one - raw) for one in of_cycles]),
            "deviation_rms_max": max(rms),
            "deviation_rms_p50": np.median(rms),
            "correlation_min": min(correlation),
            "correlation_p50": np.median(correlation),
        }
        found |= {f"{name}_{key}": float(value) for key, value in of_band.items()}
    smooth = [lower[i - 1] / 4 + lower[i] / 2 + lower[(i + 1) % 32] / 4 for i in range(32)]
    n_peaks = sum(smooth[i - 1] < smooth[i] >= smooth[(i + 1) % 32] for i in range(32))
    return {**found, "template_n_peaks": n_peaks}


@pytest.mark.parametrize("seed", range(12))
def test_a_template_by_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.normal(size=(4, 900)).cumsum(axis=1) * 0.3
    beats = np.cumsum(rng.integers(40, 120, size=3 + seed % 4))
    found = cycles.summarise_template(cycles.fold(levels, beats))
    assert len(found) == 79
    assert found == pytest.approx(template_by_hand(levels, beats.tolist()), abs=1e-9)


def test_a_cycle_begins_at_the_sound_before_the_shorter_pause() -> None:
    phases = np.arange(32)
    one = np.exp(-0.5 * ((phases + 16) % 32 - 16) ** 2) + 0.8 * np.exp(-0.5 * (phases - 20) ** 2)
    levels = np.tile(np.repeat(one, 3)[np.newaxis], (4, 5))
    template = cycles.fold(levels, np.arange(0, 400, 96))
    # The sound at phase 20 is the first: the next is 12 phases behind it.
    assert template.second == 12
    assert int(template.levels[0].argmax()) == 12
    assert template.levels[0, 0] == pytest.approx(0.8, abs=0.01)
    assert template.cycles[:, :, 12] == pytest.approx(1, abs=0.01)


def test_without_cycles_a_template_is_flat() -> None:
    levels = np.random.default_rng(0).normal(size=(4, 90))
    found = dict(cycles.summarise_template(cycles.fold(levels, np.array([40]))))
    assert found.pop("second_sound_phase") == 7 / 32
    assert found.pop("second_sound_less_first") == 0
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-12)


# Sounds whose answers are known.


def test_a_regular_heart() -> None:
    found = named(two_sounds(STEADY_S))
    assert found["cycle_period_s"] == pytest.approx(PERIOD_S, abs=0.011)
    assert found["cycle_autocorrelation_at_period"] > 0.85
    assert found["cycle_rate_hz"] == pytest.approx(len(STEADY_S) / 10)
    assert found["cycle_coverage"] == pytest.approx((STEADY_S[-1] - STEADY_S[0]) / 10, abs=0.003)
    for name in ("interval_min_ratio", "interval_max_ratio", "height_min_ratio", "height_max_ratio"):
        assert found[f"cycle_{name}"] == pytest.approx(1, abs=0.03)
    for name in ("interval_std_ratio", "interval_share_10_percent_off", "interval_log_change_rms", "height_std_ratio"):
        assert found[f"cycle_{name}"] == pytest.approx(0, abs=0.02)
    assert found["cycle_second_sound_phase"] == pytest.approx(SYSTOLE_S / PERIOD_S, abs=1.5 / 32)
    assert found["cycle_second_sound_less_first"] == pytest.approx(np.log(0.5), abs=0.15)
    assert found["cycle_template_n_peaks"] >= 2
    for band in BANDS:
        assert found[f"cycle_{band}_correlation_min"] > 0.97
        assert found[f"cycle_{band}_first_sound"] > found[f"cycle_{band}_second_sound"] > 1
        assert found[f"cycle_{band}_diastole_3"] < 0
    for name in ("best_p50", "next_p50", "at_period_p50", "after_0p84_s_mean"):
        assert found[f"similarity_{name}"] > 0.95
    assert found["similarity_lag_p50_ratio"] == pytest.approx(1, abs=0.03)
    assert found["similarity_gain_max"] < 0.05
    assert found["similarity_lag_share_15_percent_off"] == 0


def test_a_murmur_fills_the_systole() -> None:
    rng, starts = np.random.default_rng(0), (STEADY_S * RATE_HZ).astype(int)
    sound = two_sounds(STEADY_S)
    clean = named(sound)
    for start in starts:
        sound[start + 320 : start + 960] += 0.3 * rng.normal(size=640)
    found = named(sound)
    band = BANDS[3]
    for part in (1, 2, 3):
        rise = found[f"cycle_{band}_systole_{part}"] - clean[f"cycle_{band}_systole_{part}"]
        assert rise > 0.5
    assert found[f"cycle_{band}_diastole_3"] < clean[f"cycle_{band}_diastole_3"] + 0.1


def test_a_premature_beat_shows_in_the_extremes() -> None:
    starts_s = STEADY_S.copy()
    starts_s[5] -= 0.15
    early = 0.15 / PERIOD_S
    found = named(two_sounds(starts_s))
    assert found["cycle_period_s"] == pytest.approx(PERIOD_S, abs=0.011)
    assert found["cycle_interval_min_ratio"] == pytest.approx(1 - early, abs=0.03)
    assert found["cycle_interval_max_ratio"] == pytest.approx(1 + early, abs=0.03)
    assert found["cycle_interval_log_change_max"] == pytest.approx(np.log((1 + early) / (1 - early)), abs=0.05)
    assert found["cycle_interval_log_change_min"] == pytest.approx(np.log(1 - early), abs=0.05)
    assert found["cycle_interval_deviation_p50_ratio"] < 0.02
    assert found["cycle_interval_share_10_percent_off"] == pytest.approx(2 / (len(STEADY_S) - 1))
    steady = named(two_sounds(STEADY_S))
    assert found["similarity_at_period_p00"] < steady["similarity_at_period_p00"] - 0.1
    assert found["similarity_gain_max"] > steady["similarity_gain_max"] + 0.1


def test_steady_noise_has_neither_cycles_nor_dynamics() -> None:
    found = named(np.random.default_rng(0).normal(size=60 * RATE_HZ))
    assert abs(found["cycle_autocorrelation_at_period"]) < 0.1
    assert abs(found["similarity_after_0p84_s_mean"]) < 0.1
    assert found["cycle_25_to_80_hz_range"] < 2
    for group in range(4, 13):
        assert abs(found[f"dynamics_{group:02d}_loud_less_quiet"]) < 0.2
        assert abs(found[f"dynamics_{group:02d}_middle_less_quiet"]) < 0.2


# What must not matter.


@pytest.mark.parametrize("label", ["normal", "murmur", "artifact"])
def test_gain_and_polarity_do_not_matter(label: str) -> None:
    samples = heart(label)
    expected = named(samples)
    # Powers of two lose nothing to rounding.
    for same in (-samples, samples / 128):
        assert named(same) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert named(samples * 0.01) == pytest.approx(expected, rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("sample_rate_hz", [4_000, 8_000])
def test_the_sample_rate_does_not_matter(sample_rate_hz: int) -> None:
    samples = heart("murmur", 44_100).astype(np.float64)
    resampled = soxr.resample(samples, 44_100, sample_rate_hz, quality="VHQ")
    assert named(resampled, sample_rate_hz) == pytest.approx(named(samples, 44_100), rel=0.01, abs=0.01)


# Extremes.


@pytest.mark.parametrize("n_samples", [0, 1, 100, 3_000, 40_000])
@pytest.mark.parametrize("level", [0.0, 1e-30, 0.5])
def test_silence_and_constants_have_no_cycles(n_samples: int, level: float) -> None:
    found = named(np.full(n_samples, level))
    assert np.isfinite(list(found.values())).all()
    if level < 0.1:
        ones = {f"cycle_{what}_{which}_ratio" for what in ("interval", "height") for which in ("min", "max")}
        told = {**dict.fromkeys(found, 0.0), **dict.fromkeys(ones, 1.0)}
        told |= {"cycle_period_s": 0.8, "cycle_second_sound_phase": 7 / 32}
        # Where all is equally unlike, the first of the lags counts; -1 is for windows that have no other.
        arbitrary = {name: value for name, value in found.items() if re.match("similarity_(best|lag)", name)}
        assert found == pytest.approx({**told, **arbitrary}, abs=1e-6)
        assert max(value for name, value in arbitrary.items() if "best" in name) == 0


@settings(max_examples=200)
@given(
    st.sampled_from(EXTREME_SOUNDS),
    st.integers(0, 20_000),
    st.sampled_from([1_000, 4_000, 44_100, 384_000]),
    st.floats(-30, 30),
)
def test_values_are_always_finite(sound: str, n_samples: int, sample_rate_hz: int, power: float) -> None:
    samples = extreme_sound(sound, n_samples, sample_rate_hz)
    values = both_of((10**power * samples).astype(np.float32), sample_rate_hz)
    assert values.shape == (652,)
    assert np.isfinite(values).all()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=300), st.integers(1_000, 384_000))
def test_any_samples_have_values_or_overflow(samples: list[float], sample_rate_hz: int) -> None:
    try:
        values = both_of(np.array(samples, np.float32), sample_rate_hz)
    except SignalOverflow:
        assert max(map(abs, samples)) > 1e37
    else:
        assert np.isfinite(values).all()
