"""Damped chirps and coloured noise: what their formulas say, wherever they fall."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.arrays import Values
from heartbeat_core.audio.synthetic_waves import Filter, Transient, add, add_envelope, band_noise, coloured_noise

RATE_HZ = 2_000
CHIRP = Transient(start_hz=120, end_hz=60, attack_s=0.005, decay_s=0.015, amplitude=1.5, delay_s=0.02)


def naive_chirp(n_samples: int, at_s: float) -> list[float]:
    """Return the samples one by one; the phase is the sum of many small steps."""
    samples = []
    for sample in range(n_samples):
        time_s = sample / RATE_HZ - at_s - CHIRP.delay_s
        if not 0 <= time_s < 7 * CHIRP.decay_s:
            samples.append(0.0)
            continue
        steps = [(number + 0.5) * time_s / 2_000 for number in range(2_000)]
        cycles = sum(60 + 60 * math.exp(-step / CHIRP.decay_s) for step in steps) * time_s / 2_000
        envelope = 1.5 * (1 - math.exp(-time_s / CHIRP.attack_s)) * math.exp(-time_s / CHIRP.decay_s)
        samples.append(envelope * math.sin(2 * math.pi * cycles))
    return samples


@pytest.mark.parametrize("at_s", [0.0301, -0.05, 0.15, -1.0, 1.0])
def test_a_chirp_is_what_its_formula_says_between_samples_too(at_s: float) -> None:
    signal = np.ones(400)
    add(signal, RATE_HZ, at_s, CHIRP, gain=2.0)
    assert signal == pytest.approx(1 + 2 * np.array(naive_chirp(400, at_s)), abs=1e-4)


@given(st.floats(-3, 3), st.integers(1, 300))
def test_an_envelope_bounds_its_chirp_wherever_it_falls(at_s: float, n_samples: int) -> None:
    signal, envelope = np.zeros(n_samples), np.zeros(n_samples)
    add(signal, RATE_HZ, at_s, CHIRP)
    add_envelope(envelope, RATE_HZ, at_s, CHIRP)
    assert (np.abs(signal) <= envelope + 1e-12).all()


def share(samples: Values, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    frequency_hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return float(power[(frequency_hz >= low_hz) & (frequency_hz < high_hz)].sum() / power.sum())


def test_band_noise_lies_in_its_band_with_an_rms_of_one() -> None:
    noise = band_noise(100, 400, RATE_HZ, 20_000, np.random.default_rng(0))
    assert np.sqrt(np.square(noise).mean()) == pytest.approx(1)
    assert share(noise, 90, 440) > 0.9


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_coloured_noise_falls_with_its_slope(slope: float) -> None:
    noise = coloured_noise(slope, 30, RATE_HZ, 200_000, np.random.default_rng(0))
    # The power between f and 2 f, over that between 4 f and 8 f, which is four times as wide.
    measured = math.log2(share(noise, 50, 100) / share(noise, 200, 400)) / 2 + 1
    assert measured == pytest.approx(slope, abs=0.05)


def test_what_rings_after_the_end_does_not_come_back_at_the_start() -> None:
    impulse = np.zeros(500)
    impulse[-1] = 1.0
    rung = Filter(lambda frequency_hz: 1 / (1 + 1j * frequency_hz / 20), RATE_HZ, 500)(impulse)
    assert np.abs(rung[:250]).max() < 1e-2 * np.abs(rung).max()
