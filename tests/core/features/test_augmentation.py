"""Altered copies: decided by the recording alone, finite, still the same kind of sound, each change within bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heartbeat_core.audio.decode import Waveform
from heartbeat_core.audio.synthesis import synthesise
from heartbeat_core.features.augmentation import (
    HARSH,
    MILD,
    Extent,
    alter,
    alter_sound,
    altered_copies,
    coloured_noise,
    short_pieces,
)
from heartbeat_core.features.extract import compute_features, compute_inputs, input_settings
from heartbeat_core.features.signal import RATE_HZ
from heartbeat_core.recipe import AugmentationSettings, Recipe


def heart(seed: int = 0, duration_s: float = 6.0, sample_rate_hz: int = RATE_HZ) -> np.ndarray:
    return synthesise("murmur", sample_rate_hz, duration_s, np.random.default_rng(seed)).astype(np.float32)


def test_copies_are_decided_by_the_samples_alone() -> None:
    first, again = (altered_copies(heart(), RATE_HZ, 3) for _ in range(2))
    assert [copy.tobytes() for copy in first] == [copy.tobytes() for copy in again]
    assert len({copy.tobytes() for copy in first}) == 3
    assert altered_copies(heart(), RATE_HZ, 1)[0].tobytes() == first[0].tobytes()
    assert altered_copies(heart(seed=1), RATE_HZ, 1)[0].tobytes() != first[0].tobytes()
    assert altered_copies(heart(), RATE_HZ, 0) == []


@pytest.mark.parametrize("sample_rate_hz", [4_000, 44_100])
def test_copies_are_at_the_common_rate_and_keep_most_of_the_length(sample_rate_hz: int) -> None:
    for copy in altered_copies(heart(sample_rate_hz=sample_rate_hz), sample_rate_hz, 12):
        assert copy.dtype == np.float32
        assert 0.75 / 1.11 * 6 <= len(copy) / RATE_HZ <= 6 * 1.12


def test_a_short_recording_is_not_cut() -> None:
    samples = heart(duration_s=3.0).astype(np.float64)
    for seed in range(20):
        assert len(alter(samples, np.random.default_rng(seed))) >= len(samples) / 1.11


def test_the_level_may_change_and_the_envelope_stays() -> None:
    """Copies without another speed or a piece taken out follow the original's loudness."""
    samples = heart(duration_s=3.0).astype(np.float64)

    def envelope(values: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(values[: len(values) // 200 * 200]).reshape(-1, 200).mean(axis=1))

    same_length = [copy for seed in range(40) if len(copy := alter(samples, np.random.default_rng(seed))) == 12_000]
    assert len(same_length) > 5
    correlations = [np.corrcoef(envelope(copy), envelope(samples))[0, 1] for copy in same_length]
    assert np.median(correlations) > 0.7
    assert max(correlations) < 1.0


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_is_coloured_as_asked(exponent: float) -> None:
    noise = coloured_noise(2**16, exponent, np.random.default_rng(0))
    assert noise.std() == pytest.approx(1.0, abs=1e-3)
    power = np.square(np.abs(np.fft.rfft(noise)))
    frequencies_hz = np.fft.rfftfreq(len(noise), 1 / RATE_HZ)
    low, high = (power[(frequencies_hz > f) & (frequencies_hz < 1.2 * f)].mean() for f in (100, 1_000))
    assert np.log10(low / high) == pytest.approx(exponent, abs=0.15)


@settings(max_examples=60)
@given(st.integers(0, 3_000), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-20, 1.0, 1e6]))
def test_copies_of_anything_are_finite(n_samples: int, seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    samples = (level * rng.standard_normal(n_samples)).astype(np.float32)
    for copy in altered_copies(samples, RATE_HZ, 2):
        assert np.isfinite(copy).all()


def test_harsh_devices_pass_less_of_the_high_frequencies() -> None:
    white = np.random.default_rng(0).standard_normal(8_000)

    def share_above_1_khz(extent: Extent) -> float:
        extent = replace(extent, noisy=0.0)
        copies = [alter_sound(white, np.random.default_rng(seed), extent) for seed in range(80)]
        power = [np.abs(np.fft.rfft(copy)) ** 2 for copy in copies]
        return float(np.mean([one[len(one) // 2 :].sum() / one.sum() for one in power]))

    assert share_above_1_khz(HARSH) < 0.8 * share_above_1_khz(MILD)


def test_some_harsh_copies_have_hum_of_the_mains() -> None:
    white = np.random.default_rng(0).standard_normal(16_000)
    hz = np.fft.rfftfreq(len(white), 1 / RATE_HZ)

    def hums(extent: Extent) -> list[float]:
        found = []
        for seed in range(200):
            power = np.square(np.abs(np.fft.rfft(alter_sound(white, np.random.default_rng(seed), extent))))
            for mains_hz in (50.0, 60.0):
                line, around = np.abs(hz - mains_hz) < 0.5, (np.abs(hz - mains_hz) > 2) & (np.abs(hz - mains_hz) < 8)
                if power[line].max() > 30 * power[around].mean():
                    found.append(mains_hz)
        return found

    harsh = hums(HARSH)
    assert 0.17 <= len(harsh) / 200 <= 0.33
    assert set(harsh) == {50.0, 60.0}
    assert not hums(MILD)


def test_copies_are_mild_unless_the_recipe_wants_harsh_ones() -> None:
    samples = heart()
    waveform = Waveform(samples, RATE_HZ, 1, "array", "float32", len(samples), False)
    recipe = Recipe(name="x", input="mfcc", model="vote", augmentation=AugmentationSettings(copies=1))
    harsh = recipe.model_copy(update={"augmentation": AugmentationSettings(copies=1, harsh=True)})
    for one, extent in ((recipe, MILD), (harsh, HARSH)):
        [copy] = altered_copies(samples, RATE_HZ, 1, extent)
        expected = compute_features(copy, RATE_HZ, ["mfcc"])["mfcc"]
        assert np.array_equal(compute_inputs(waveform, one)[1], expected)
    assert input_settings(recipe) != input_settings(harsh)


def test_some_noise_is_of_recordings_without_a_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []

    def constant(rate_hz: int, n_samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
        heard.append(n_samples)
        return np.sin(np.arange(n_samples))

    monkeypatch.setattr("heartbeat_core.features.augmentation.artifact", constant)
    for seed in range(200):
        alter(heart(), np.random.default_rng(seed), HARSH)
    assert 15 <= len(heard) <= 60
    heard.clear()
    for seed in range(50):
        alter(heart(), np.random.default_rng(seed), MILD)
    assert not heard


@pytest.mark.parametrize("sample_rate_hz", [4_000, 44_100])
def test_pieces_are_2_to_6_s_from_anywhere_in_the_recording(sample_rate_hz: int) -> None:
    samples = np.arange(20 * sample_rate_hz, dtype=np.float32)
    pieces = short_pieces(samples, sample_rate_hz, 60)
    lengths_s = np.array([len(piece) / sample_rate_hz for piece in pieces])
    assert 2.0 <= lengths_s.min() < 2.2
    assert 5.6 < lengths_s.max() <= 6.0
    assert np.median(lengths_s) == pytest.approx(np.sqrt(2 * 6), abs=0.5)
    starts_s = np.array([piece[0] / sample_rate_hz for piece in pieces])
    assert starts_s.min() < 1.5
    assert starts_s.max() > 13
    for piece in pieces:
        assert np.array_equal(piece, samples[int(piece[0]) : int(piece[0]) + len(piece)])
    assert [len(piece) for piece in short_pieces(samples, sample_rate_hz, 3)] == [len(piece) for piece in pieces[:3]]


@pytest.mark.parametrize("n_samples", [0, 1, 6_000])
def test_a_recording_that_is_shorter_than_a_piece_is_used_as_a_whole(n_samples: int) -> None:
    samples = np.arange(n_samples, dtype=np.float32)
    assert all(np.array_equal(piece, samples) for piece in short_pieces(samples, RATE_HZ, 5))


def test_pieces_follow_the_copies_among_the_inputs() -> None:
    rate_hz = 8_000
    samples = heart(duration_s=12.0, sample_rate_hz=rate_hz)
    waveform = Waveform(samples, rate_hz, 1, "array", "float32", len(samples), False)
    settings = AugmentationSettings(copies=1, pieces=2)
    inputs = compute_inputs(waveform, Recipe(name="x", input="mfcc", model="vote", augmentation=settings))
    [copy] = altered_copies(samples, rate_hz, 1)
    pieces = short_pieces(samples, rate_hz, 2)
    heard = [(samples, rate_hz), (copy, RATE_HZ), *((piece, rate_hz) for piece in pieces)]
    assert np.array_equal(inputs, np.stack([compute_features(*one, ["mfcc"])["mfcc"] for one in heard]))
