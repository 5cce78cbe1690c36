"""Altered copies: decided by the recording alone, finite, still the same kind of sound, each change within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat_core.audio.synthesis import synthesise
from heartbeat_core.features.augmentation import alter, altered_copies, coloured_noise
from heartbeat_core.features.signal import RATE_HZ


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
