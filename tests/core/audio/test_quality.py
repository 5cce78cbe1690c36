"""Acquisition figures against values worked out by hand, and against plain float64 formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from heartbeat_core.audio.quality import Quality, measure


def measured(samples: ArrayLike, sample_rate_hz: int = 1_000) -> Quality:
    return measure(np.asarray(samples, np.float32), sample_rate_hz)


def test_square_wave_has_known_figures() -> None:
    quality = measured([0.5, -0.5] * 100)
    assert quality == Quality(
        peak_amplitude=0.5, rms_amplitude=0.5, dc_offset=0.0, clipped_fraction=0.0, silent_fraction=0.0
    )


def test_every_figure_is_a_python_float() -> None:
    quality = measured([0.25, 1.0])
    assert {type(getattr(quality, name)) for name in Quality.__slots__} == {float}


def test_peak_is_of_the_magnitude() -> None:
    assert measured([0.25, -0.75, 0.5]).peak_amplitude == 0.75


def test_offset_and_rms_count_the_offset() -> None:
    quality = measured([0.5, 0.0, 0.5, 0.0])
    assert quality.dc_offset == 0.25
    assert quality.rms_amplitude == math.sqrt(0.125)


@pytest.mark.parametrize(
    ("value", "share"), [(0.999, 0.25), (-0.999, 0.25), (1.5, 0.25), (0.9989, 0.0), (-0.9989, 0.0)]
)
def test_clipping_begins_at_its_threshold(value: float, share: float) -> None:
    assert measured([value, 0.1, 0.1, 0.1]).clipped_fraction == share


@pytest.mark.parametrize(("value", "share"), [(2.0**-12, 0.0), (-(2.0**-12), 0.0), (2.0**-12 * 0.999, 1.0)])
def test_silence_ends_at_its_threshold(value: float, share: float) -> None:
    assert measured([value] * 100).silent_fraction == share


def test_silence_is_counted_in_windows_of_50_ms_and_a_shorter_last_one() -> None:
    samples = np.zeros(170)
    samples[60] = 0.1  # the second of 50 + 50 + 50 + 20 samples
    assert measured(samples).silent_fraction == 0.75
    samples[169] = 0.1
    assert measured(samples).silent_fraction == 0.5


def test_one_sample_is_enough() -> None:
    assert measured([-1.0], 44_100) == Quality(1.0, 1.0, -1.0, 1.0, 0.0)


def test_sums_run_in_float64() -> None:
    # A float32 sum of so many equal values is off from the fourth digit on.
    samples = np.full(2_000_003, 0.1, np.float32)
    quality = measured(samples, 44_100)
    exact = float(np.float32(0.1))
    assert quality.dc_offset == pytest.approx(exact, rel=1e-12)
    assert quality.rms_amplitude == pytest.approx(exact, rel=1e-12)


def test_huge_float_samples_do_not_overflow() -> None:
    assert measured([3e38, -3e38]).rms_amplitude == pytest.approx(float(np.float32(3e38)))


@pytest.mark.parametrize("n_samples", [1, 49, 50, 51, 4_096, 100_001])
def test_agrees_with_the_plain_formulas(n_samples: int) -> None:
    rng = np.random.default_rng(n_samples)
    samples = (0.4 * rng.standard_normal(n_samples) + 0.01).astype(np.float32)
    samples[n_samples // 3 : n_samples // 2] = 0
    exact = [float(value) for value in samples]
    windows = [exact[at : at + 50] for at in range(0, n_samples, 50)]
    quality = measured(samples)
    assert quality.peak_amplitude == max(abs(value) for value in exact)
    assert quality.dc_offset == pytest.approx(math.fsum(exact) / n_samples, rel=1e-10, abs=1e-15)
    assert quality.rms_amplitude == pytest.approx(
        math.sqrt(math.fsum(value * value for value in exact) / n_samples), rel=1e-12
    )
    assert quality.clipped_fraction == sum(abs(value) >= 0.999 for value in exact) / n_samples
    assert quality.silent_fraction == sum(max(abs(value) for value in window) < 2**-12 for window in windows) / len(
        windows
    )


def test_the_waveform_is_left_as_it_was() -> None:
    samples = np.linspace(-1, 1, 1_001, dtype=np.float32)
    before = samples.copy()
    measured(samples)
    assert np.array_equal(samples, before)
