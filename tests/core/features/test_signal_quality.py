"""The quality of a signal: energy by band, periodicity, sample entropy, and the score."""

from __future__ import annotations

from math import inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from heartbeat_core.features.extract import compute_features
from heartbeat_core.features.signal import prepare
from heartbeat_core.features.signal_quality import band_shares, sample_entropy
from heartbeat_core.features.signal_quality_columns import BANDS_HZ, NAMES

RATE_HZ = 4_000


def judge(samples: NDArray[np.float64]) -> dict[str, float]:
    found = compute_features(samples.astype(np.float32), RATE_HZ, ["signal-quality"])["signal-quality"]
    return dict(zip(NAMES, found.tolist(), strict=True))


def heart(seconds: float = 8.0) -> NDArray[np.float64]:
    """Return bursts of 60 Hz, as S1 and S2 are, at 75 bpm, with a little noise."""
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    bursts = sum(
        np.exp(-0.5 * ((t - start) / 0.03) ** 2)
        for beat in np.arange(0.2, seconds, 0.8)
        for start in (beat, beat + 0.3)
    )
    return 0.5 * bursts * np.sin(2 * np.pi * 60 * t) + 1e-3 * np.random.default_rng(0).normal(size=t.size)


def entropy_by_loop(values: NDArray[np.float64]) -> float:
    tolerance, n = 0.2 * values.std(), len(values) - 2
    pairs = longer = 0
    for i in range(n):
        for j in range(i + 1, n):
            if max(abs(values[i] - values[j]), abs(values[i + 1] - values[j + 1])) <= tolerance:
                pairs += 1
                longer += abs(values[i + 2] - values[j + 2]) <= tolerance
    return log(pairs / longer) if longer else log(n * (n - 1) / 2)


@given(arrays(np.float64, st.integers(4, 30), elements=st.integers(-4, 4).map(float)))
def test_sample_entropy_equals_the_loop(values: NDArray[np.float64]) -> None:
    if values.std() > 0:
        assert sample_entropy(values) == pytest.approx(entropy_by_loop(values))
    else:
        assert sample_entropy(values) == 0.0


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_too_few_values_have_no_entropy(n: int) -> None:
    assert sample_entropy(np.arange(n, dtype=float)) == 0.0


@pytest.mark.parametrize("place", range(len(BANDS_HZ)))
def test_a_tone_is_in_its_band(place: int) -> None:
    hz = sum(BANDS_HZ[place]) / 2
    tone = np.sin(2 * np.pi * hz * np.arange(5 * RATE_HZ) / RATE_HZ).astype(np.float32)
    shares = band_shares(prepare(tone, RATE_HZ))
    assert sum(shares) == pytest.approx(1.0)
    assert shares[place] > 0.99


def test_a_heart_is_better_than_noise_and_than_speech_like_sound() -> None:
    noise = np.random.default_rng(1).normal(size=8 * RATE_HZ)
    found, of_noise = judge(heart()), judge(0.1 * noise)
    assert found["periodicity"] > 0.8
    assert found["quality"] > 0.7 > 0.3 > of_noise["quality"]
    assert found["sample_entropy"] < of_noise["sample_entropy"]


def test_clipping_and_silence_lower_the_score() -> None:
    whole = judge(heart())["quality"]
    clipped, silent = heart(), heart()
    clipped[:: 4 * 5] = 1.0  # 5 % of the samples: half of what is allowed
    assert judge(clipped)["quality"] < 0.55
    silent[: len(silent) // 4] = 0.0
    assert judge(silent)["quality"] < 0.7 * whole
    silent[: len(silent) * 3 // 5] = 0.0
    assert judge(silent)["quality"] == 0.0


def test_silence_has_no_quality() -> None:
    assert set(judge(np.zeros(RATE_HZ)).values()) == {0.0}


@given(
    arrays(np.float32, st.integers(1, 400), elements=st.floats(-1, 1, width=32)),
    st.sampled_from([1_000, 4_000, 44_100]),
)
def test_values_are_in_their_ranges(samples: NDArray[np.float32], rate_hz: int) -> None:
    found = dict(zip(NAMES, compute_features(samples, rate_hz, ["signal-quality"])["signal-quality"], strict=True))
    for name, value in found.items():
        assert 0.0 <= value <= (inf if name == "sample_entropy" else 1.0 + 1e-6), name
