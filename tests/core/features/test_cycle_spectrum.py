"""The spectrum of the heart cycle against a plain loop, and what must not change it."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat_core.features.analysis import Analysis
from heartbeat_core.features.cycle_spectrum import compute_cycle_spectrum, log_mel, median_distance
from heartbeat_core.features.cycle_spectrum_columns import COLUMNS
from heartbeat_core.features.decoding import Segmentation
from heartbeat_core.features.signal import RATE_HZ, mel_filters, prepare
from tests import naive

PERIOD_S, SYSTOLE_S = 0.8, 0.32
STARTS_S = np.arange(0.3, 9.0, PERIOD_S)


def heart(murmur: float = 0.0) -> np.ndarray:
    """Return 10 s at 4 kHz: two sounds a beat over pink noise, and a murmur of 200-400 Hz in the middle of systole."""
    rng, t = np.random.default_rng(1), np.arange(10 * RATE_HZ) / RATE_HZ
    sound = rng.normal(scale=0.01, size=len(t))
    hiss = np.convolve(rng.normal(size=len(t)), np.sin(2 * np.pi * 300 * t[:60]) * np.hanning(60), "same")
    for start_s in STARTS_S:
        for at_s, hz, width_s in ((start_s, 45, 0.03), (start_s + SYSTOLE_S, 60, 0.022)):
            sound += np.sin(2 * np.pi * hz * (t - at_s)) * np.exp(-0.5 * ((t - at_s) / width_s) ** 2)
        sound += murmur * hiss * np.exp(-0.5 * ((t - start_s - 0.5 * SYSTOLE_S) / 0.04) ** 2)
    return sound


def spectrum(samples: np.ndarray) -> np.ndarray:
    one = Analysis(samples.astype(np.float32), RATE_HZ)
    return compute_cycle_spectrum(one.signal, one.segmentation)


def by_name(values: np.ndarray) -> dict[str, float]:
    return dict(zip((column.name for column in COLUMNS), values.tolist(), strict=True))


def test_there_are_1024_columns_in_three_parts() -> None:
    assert len({column.name for column in COLUMNS}) == len({column.description for column in COLUMNS}) == 1024
    assert COLUMNS[0].name == "cycle_level_s00_b00"
    assert COLUMNS[17].name == "cycle_level_s01_b01"
    assert COLUMNS[-1].name == "cycle_spread_d19_b15"
    phases = ["s1"] * 3 + ["systole"] * 9 + ["diastole"] * 20
    assert [column.part for column in COLUMNS] == 2 * [part for part in phases for _ in range(16)]
    assert all(re.fullmatch(r"cycle_(level|spread)_(s|d)\d\d_b\d\d", column.name) for column in COLUMNS)


@pytest.mark.parametrize("duration_s", [1.4, 2.0, 2.5, 10.0])
def test_values_are_the_plain_loop_s(duration_s: float) -> None:
    one = Analysis(heart(0.3)[: int(duration_s * RATE_HZ)].astype(np.float32), RATE_HZ)
    found = one.segmentation
    level, spread = naive.cycle_spectrum(one.signal.samples, found.systoles.tolist(), found.diastoles.tolist())
    values = compute_cycle_spectrum(one.signal, found)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, np.concatenate([np.ravel(level), np.ravel(spread)]), atol=2e-3)


def test_log_mel_frames_are_centred_every_10_ms() -> None:
    samples = np.zeros(4_000)
    samples[2_000] = 1.0
    levels = log_mel(samples)
    assert levels.shape == (102, 16)
    assert levels.sum(axis=1).argmax() == 50
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(160) / 160)
    power = np.abs(scipy.fft.rfft(window * (np.arange(160) == 80), 256)) ** 2
    np.testing.assert_allclose(levels[50], np.log(power @ mel_filters(16, 25.0, 900.0).T + 1e-8), atol=1e-4)


def test_a_murmur_raises_its_bands_in_systole_alone() -> None:
    change = spectrum(heart(0.3)) - spectrum(heart())
    levels = change[:512].reshape(32, 16)
    assert levels[4:8, 6:10].mean() > 1
    assert np.abs(levels[16:30, 6:10]).mean() < 0.2


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1])
def test_levels_do_not_tell_how_far_the_sounds_stand_out_of_the_noise(noise: float) -> None:
    samples = heart(0.3)
    heard = samples + np.random.default_rng(2).normal(scale=noise, size=len(samples))
    assert np.sqrt(np.mean(np.square(spectrum(heard)[:512]))) == pytest.approx(1.0, abs=0.05)


@given(st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=10)
def test_gain_changes_nothing(gain: float) -> None:
    np.testing.assert_allclose(spectrum(gain * heart(0.3)), spectrum(heart(0.3)), atol=5e-3)


@given(st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))
@settings(deadline=None, max_examples=10)
def test_a_smooth_device_changes_little(tilt_db: float, bend_db: float) -> None:
    """The response is a tilt and a bend, in dB an octave from 150 Hz: up to 11 dB in the band."""
    samples = heart(0.3)
    hz = np.maximum(np.fft.rfftfreq(len(samples), 1 / RATE_HZ), 10.0)
    octaves = np.log2(hz / 150)
    gain_db = tilt_db * octaves + 0.5 * bend_db * np.square(octaves)
    heard = np.fft.irfft(np.fft.rfft(samples) * 10 ** (np.clip(gain_db, -30, 30) / 20), len(samples))
    segmentation = Analysis(samples.astype(np.float32), RATE_HZ).segmentation
    through, direct = (
        compute_cycle_spectrum(prepare(one.astype(np.float32), RATE_HZ), segmentation)[:512] for one in (heard, samples)
    )
    assert np.abs(through - direct).mean() < 0.1 * np.abs(direct).mean()


@pytest.mark.parametrize("samples", [np.zeros(40_000), np.ones(3), np.zeros(0)])
def test_without_cycles_all_is_zero(samples: np.ndarray) -> None:
    assert np.array_equal(spectrum(samples), np.zeros(1024))


def test_a_cycle_that_ends_with_the_recording_is_read_to_its_end() -> None:
    signal = prepare(heart().astype(np.float32), RATE_HZ)
    states = np.repeat([3, 0, 1, 2, 3, 0], [5, 6, 10, 5, 473, 1]).astype(np.int8)
    found = compute_cycle_spectrum(signal, Segmentation(states, np.ones(500), 1.0))
    assert np.isfinite(found).all()
    # One cycle has no spread.
    assert np.array_equal(found[512:], np.zeros(512))


def test_a_systole_and_a_diastole_need_no_whole_cycle() -> None:
    signal = prepare(heart()[: 2 * RATE_HZ].astype(np.float32), RATE_HZ)
    # The recording begins in a systole and ends in one: one diastole, then one systole.
    states = np.repeat([1, 2, 3, 0, 1, 2], [8, 5, 40, 6, 36, 5]).astype(np.int8)
    segmentation = Segmentation(states, np.ones(100), 1.0)
    assert not len(segmentation.cycles)
    level, _ = naive.cycle_spectrum(signal.samples, [(1.06, 1.9)], [(0.16, 1.06)])
    np.testing.assert_allclose(compute_cycle_spectrum(signal, segmentation)[:512], np.ravel(level), atol=2e-3)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 9, 10, 30])
def test_the_spread_of_few_cycles_is_that_of_many(n: int) -> None:
    rng = np.random.default_rng(0)
    distances = median_distance(rng.normal(size=(n, 20_000)).astype(np.float32))
    # The median distance of a normal distribution.
    assert distances.mean() == pytest.approx(0.6745, abs=0.015)
