"""What is said of the beats, on states whose beats are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat_core.features.beats import compute_beats, list_onsets
from heartbeat_core.features.beats_columns import NAMES
from heartbeat_core.features.decoding import DIASTOLE, S1, S2, STATE_HZ, SYSTOLE, Segmentation
from heartbeat_core.features.extract import compute_features
from tests.helpers import EXTREME_SOUNDS, extreme_sound


def beats_of(diastoles: list[int], confidences: list[float] | None = None, regularity: float = 0.9) -> Segmentation:
    """Return beats of S1 0.12 s, systole 0.2 s, S2 0.1 s and these diastoles in frames, after half a second of it."""
    states, posteriors = [DIASTOLE] * 25, [0.8] * 25
    for length, confidence in zip(diastoles, confidences or [0.8] * len(diastoles), strict=True):
        states += [S1] * 6 + [SYSTOLE] * 10 + [S2] * 5 + [DIASTOLE] * length
        posteriors += [confidence] * (21 + length)
    return Segmentation(np.array([*states, S1], np.int8), np.array([*posteriors, 0.8]), regularity)


def named(segmentation: Segmentation) -> dict[str, float]:
    return dict(zip(NAMES, compute_beats(segmentation).tolist(), strict=True))


def test_a_steady_heart() -> None:
    found = named(beats_of([19] * 10))
    expected = {
        "heart_rate_bpm": 75,
        "heart_rate_confidence": 0.8 * 0.9,
        "segmentation_confidence": 0.8,
        "systole_s": 0.32,
        "systole_deviation_s": 0,
        "diastole_s": 0.48,
        "diastole_deviation_s": 0,
        "interval_p50_s": 0.8,
        "interval_min_ratio": 1,
        "interval_max_ratio": 1,
        "interval_cv": 0,
        "interval_log_change_max": 0,
        "early_beat_share": 0,
        "missing_beat_share": 0,
        "cycles_share": 400 / 426,
        "s1_share": 61 / 426,
        "systole_share": 100 / 426,
        "s2_share": 50 / 426,
        "diastole_share": 215 / 426,
    }
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-6)


def test_an_early_beat_and_its_pause() -> None:
    found = named(beats_of([19, 19, 19, 4, 34, 19, 19, 19]))
    assert found["early_beat_share"] == pytest.approx(1 / 8)
    assert found["missing_beat_share"] == 0
    assert found["interval_min_ratio"] == pytest.approx(25 / 40)
    assert found["interval_max_ratio"] == pytest.approx(55 / 40)
    assert found["interval_log_change_max"] == pytest.approx(np.log(55 / 25))
    assert found["heart_rate_bpm"] == pytest.approx(75)
    # A heart that stays fast has no early beat.
    assert named(beats_of([19] * 6 + [4]))["early_beat_share"] == 0


def test_a_missing_beat() -> None:
    found = named(beats_of([19, 19, 59, 19, 19]))
    assert found["missing_beat_share"] == pytest.approx(1 / 5)
    assert found["heart_rate_bpm"] == pytest.approx(75)


def test_spreads_are_robust_deviations() -> None:
    found = named(beats_of([19, 20, 21, 22, 23]))
    assert found["diastole_deviation_s"] == pytest.approx(1.4826 / STATE_HZ)
    assert found["systole_deviation_s"] == 0
    lengths = np.array([40, 41, 42, 43, 44])
    assert found["interval_cv"] == pytest.approx(lengths.std() / lengths.mean())
    assert found["heart_rate_bpm"] == pytest.approx(60 * STATE_HZ / 42)


def test_noisy_stretches_hardly_count_for_the_heart_rate() -> None:
    diastoles = [9] * 12 + [29] * 10
    assert named(beats_of(diastoles, [0.4] * 12 + [0.9] * 10))["heart_rate_bpm"] == pytest.approx(60, abs=0.5)
    assert named(beats_of(diastoles, [0.9] * 22))["heart_rate_bpm"] == pytest.approx(100)


def test_the_onsets_are_listed() -> None:
    first, second = list_onsets(beats_of([19] * 2))
    assert first.dtype == second.dtype == np.float32
    assert first.tolist() == pytest.approx([0.5, 1.3, 2.1])
    assert second.tolist() == pytest.approx([0.82, 1.62])


@pytest.mark.parametrize("segmentation", [Segmentation.of_silence(50), beats_of([])])
def test_without_cycles_the_values_are_neutral(segmentation: Segmentation) -> None:
    found = named(segmentation)
    is_known = ("segmentation_confidence", *(f"{state}_share" for state in ("s1", "diastole")))
    for name in NAMES:
        if name not in is_known:
            assert found[name] == (1 if name in ("interval_min_ratio", "interval_max_ratio") else 0), name


@given(st.sampled_from(["silence", *EXTREME_SOUNDS]), st.integers(1, 40_000), st.sampled_from([500, 4_000, 44_100]))
@settings(deadline=None, max_examples=40)
def test_every_sound_has_finite_values(sound: str, n_samples: int, sample_rate_hz: int) -> None:
    samples = np.zeros(n_samples) if sound == "silence" else extreme_sound(sound, n_samples, sample_rate_hz)
    found = compute_features(samples.astype(np.float32), sample_rate_hz, ["beats", "cycle-spectrum"])
    assert all(np.isfinite(values).all() for values in found.values())
    values = dict(zip(NAMES, found["beats"].tolist(), strict=True))
    for name in NAMES:
        if name.endswith(("_share", "_confidence")):
            assert 0 <= values[name] <= 1 + 1e-6, name
    if sound == "silence":
        assert values["heart_rate_bpm"] == 0


def test_no_value_grows_with_the_length_of_the_recording() -> None:
    # Databases cut recordings to lengths that depend on the label: a model must not read the length.
    short, long = (named(beats_of([19] * n)) for n in (10, 40))
    ends = [name for name in NAMES if name.endswith("_share")]
    for name in NAMES:
        assert long[name] == pytest.approx(short[name], abs=0.05 if name in ends else 1e-6), name
