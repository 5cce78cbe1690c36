"""What phone and stethoscope make of a sound: their bands, and noise that stays below the heart."""

from __future__ import annotations

import numpy as np
import pytest

from heartbeat_core.arrays import Values
from heartbeat_core.audio.synthetic_beats import draw_beats
from heartbeat_core.audio.synthetic_hearts import draw_valves, murmur, valve_sounds
from heartbeat_core.audio.synthetic_recorders import through_recorder

RATES_HZ = {"phone": 44_100, "stethoscope": 4_000}
SEEDS = range(12)


def tones(rate_hz: int, *frequencies_hz: float) -> Values:
    time_s = np.arange(2 * rate_hz) / rate_hz
    return np.sum([np.sin(2 * np.pi * hz * time_s) for hz in frequencies_hz], axis=0)


def level_db(samples: Values, rate_hz: int, hz: float) -> float:
    time_s = np.arange(len(samples)) / rate_hz
    return float(20 * np.log10(np.abs(samples @ np.exp(-2j * np.pi * hz * time_s))))


def loss_db(device: str, seed: int, hz: float) -> float:
    """Return how much weaker a tone is recorded than one of 120 Hz."""
    rate_hz = RATES_HZ[device]
    heard = through_recorder(tones(rate_hz, hz, 120), rate_hz, np.random.default_rng(seed))
    return level_db(heard, rate_hz, 120) - level_db(heard, rate_hz, hz)


def test_a_phone_loses_the_low_frequencies_and_a_stethoscope_keeps_them() -> None:
    phones = [loss_db("phone", seed, 25) for seed in SEEDS]
    stethoscopes = [loss_db("stethoscope", seed, 25) for seed in SEEDS]
    assert min(phones) > 12
    assert max(stethoscopes) < 6


def test_a_stethoscope_has_a_bell_and_a_diaphragm() -> None:
    losses = [loss_db("stethoscope", seed, 500) for seed in SEEDS]
    bells = [loss for loss in losses if loss > 10]
    diaphragms = [loss for loss in losses if loss < 3]
    assert len(bells) + len(diaphragms) == len(losses)
    assert bells
    assert diaphragms


@pytest.mark.parametrize("device", RATES_HZ)
def test_noise_is_below_the_loud_parts(device: str) -> None:
    """A tone and then silence: what is in the silence is noise."""
    rate_hz = RATES_HZ[device]
    ratios_db = []
    for seed in SEEDS:
        sound = np.concatenate([tones(rate_hz, 120), np.zeros(2 * rate_hz)])
        heard = through_recorder(sound, rate_hz, np.random.default_rng(seed))
        tone, noise = heard[: 2 * rate_hz], heard[5 * rate_hz // 2 :]
        ratios_db.append(10 * np.log10(np.square(tone).mean() / np.square(noise).mean()))
    assert min(ratios_db) > 8
    assert max(ratios_db) < 40
    assert 15 < np.median(ratios_db) < 32


@pytest.mark.parametrize("device", RATES_HZ)
@pytest.mark.parametrize("n_samples", [1, 10, 5_000])
def test_silence_and_short_sounds_give_finite_noise(device: str, n_samples: int) -> None:
    heard = through_recorder(np.zeros(n_samples), RATES_HZ[device], np.random.default_rng(0))
    assert heard.shape == (n_samples,)
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() == pytest.approx(1)


@pytest.mark.parametrize("device", RATES_HZ)
@pytest.mark.parametrize(("kind", "phase"), [("mitral regurgitation", 0), ("aortic regurgitation", 1)])
def test_a_recorded_murmur_is_heard_in_its_phase(device: str, kind: str, phase: int) -> None:
    """Between 150 and 500 Hz, in the middle of the systole and in the first half of the diastole, without S1 and S2."""
    rate_hz = RATES_HZ[device]
    n_samples = 8 * rate_hz
    louder = 0
    for seed in SEEDS:
        rng = np.random.default_rng((3, seed))
        beats = draw_beats(8.0, rng, with_premature=False)
        sound = valve_sounds(draw_valves(rng), beats, rate_hz, n_samples, rng)
        sound += murmur(kind, beats, rate_hz, n_samples, rng)
        spectrum = np.fft.rfft(through_recorder(sound, rate_hz, rng))
        frequency_hz = np.fft.rfftfreq(n_samples, 1 / rate_hz)
        spectrum[(frequency_hz < 150) | (frequency_hz > 500)] = 0
        power = np.square(np.fft.irfft(spectrum, n_samples))
        levels: tuple[list[float], list[float]] = ([], [])
        for beat in beats[1:-1]:
            for level, (start_s, end_s) in zip(
                levels,
                ((beat.s1_s + 0.1, beat.s2_s - 0.02), (beat.s2_s + 0.1, (beat.s2_s + beat.end_s) / 2 + 0.05)),
                strict=True,
            ):
                level.extend(power[round(start_s * rate_hz) : round(end_s * rate_hz)].tolist())
        means = [float(np.mean(level)) for level in levels]
        louder += means[phase] > 1.3 * means[1 - phase]
    # A soft one may drown in the noise.
    assert louder >= 8
