"""The sounds of a heart: their durations, spectra, and the phase that each fills."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np
import pytest

from heartbeat_core.arrays import Values
from heartbeat_core.audio.synthetic_beats import Beat, draw_beats
from heartbeat_core.audio.synthetic_hearts import (
    EXTRA_SOUNDS,
    MURMURS,
    draw_murmur,
    draw_valves,
    extra_sounds,
    murmur,
    valve_sounds,
)

RATE_HZ = 4_000
N_SAMPLES = 10 * RATE_HZ
SEEDS = range(12)
ALONE = [Beat(s1_s=0.5, s2_s=9.0, end_s=10.0, s1_gain=1.0, s2_gain=1.0, inspiration=0.0, premature=False)]
"""One beat with S1 and S2 far apart, so that each can be measured alone."""


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng((7, seed))


def beats_of(seed: int) -> list[Beat]:
    return draw_beats(N_SAMPLES / RATE_HZ, generator(seed), with_premature=False)


def sounds_apart(seed: int, extra: str | None = None) -> tuple[Values, Values]:
    """Return S1 and S2, each in a window of its own."""
    rng = generator(seed)
    signal = valve_sounds(draw_valves(rng, extra), ALONE, RATE_HZ, N_SAMPLES, rng)
    return signal[: 5 * RATE_HZ], signal[5 * RATE_HZ :]


def length_s(sound: Values) -> float:
    """Return how long a sound is: from where it first reaches 5 % of its peak to where it last does."""
    loud = np.flatnonzero(np.abs(sound) > 0.05 * np.abs(sound).max())
    return float(loud[-1] - loud[0]) / RATE_HZ


def band_share(samples: Values, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    frequency_hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return float(power[(frequency_hz >= low_hz) & (frequency_hz < high_hz)].sum() / power.sum())


def energy_between(signal: Values, spans_s: Sequence[tuple[float, float]]) -> float:
    """Return the energy inside the spans; no two overlap."""
    time_s = np.arange(len(signal)) / RATE_HZ
    return sum(float(np.square(signal[(start_s <= time_s) & (time_s <= end_s)]).sum()) for start_s, end_s in spans_s)


def systoles(beats: Sequence[Beat]) -> list[tuple[float, float]]:
    return [(beat.s1_s, beat.s2_s) for beat in beats]


def diastoles(beats: Sequence[Beat]) -> list[tuple[float, float]]:
    return [(beat.s2_s, beat.end_s) for beat in beats]


def test_s1_and_s2_last_as_published() -> None:
    lengths_s = [(length_s(s1), length_s(s2)) for s1, s2 in map(sounds_apart, SEEDS)]
    assert all(0.08 < s1_s < 0.15 for s1_s, _ in lengths_s)
    assert all(0.04 < s2_s < 0.12 for _, s2_s in lengths_s)
    assert median(s1_s - s2_s for s1_s, s2_s in lengths_s) > 0.01


def test_s1_and_s2_have_the_published_spectra() -> None:
    for seed in SEEDS:
        s1, s2 = sounds_apart(seed)
        assert band_share(s1, 10, 140) > 0.85
        assert band_share(s1, 20, 45) > 0.05
        assert band_share(s2, 20, 200) > 0.7
    # Of S2 more lies above 70 Hz.
    higher = [band_share(s2, 70, 200) - band_share(s1, 70, 200) for s1, s2 in map(sounds_apart, SEEDS)]
    assert median(higher) > 0


def test_beats_of_a_heart_are_alike_and_not_equal() -> None:
    rng = generator(0)
    valves = draw_valves(rng)
    first, second = (valve_sounds(valves, ALONE, RATE_HZ, N_SAMPLES, rng)[: 5 * RATE_HZ] for _ in range(2))
    similarity = float(first @ second) / float(np.linalg.norm(first) * np.linalg.norm(second))
    assert 0.7 < similarity < 0.9999


def test_s2_splits_further_as_one_breathes_in() -> None:
    for seed in SEEDS:
        base_s, more_s = draw_valves(generator(seed)).split_s
        assert base_s >= 0
        assert more_s >= 0
        assert base_s + more_s <= 0.06
    wide_s, _ = draw_valves(generator(0), "split s2").split_s
    assert wide_s >= 0.05


@pytest.mark.parametrize(("extra", "sound"), [("split s1", 0), ("split s2", 1)])
def test_a_split_sound_is_longer(extra: str, sound: int) -> None:
    longer = [length_s(sounds_apart(seed, extra)[sound]) - length_s(sounds_apart(seed)[sound]) for seed in SEEDS]
    assert median(longer) > 0.01


@pytest.mark.parametrize("kind", MURMURS)
def test_a_murmur_fills_its_phase_and_no_other(kind: str) -> None:
    for seed in (0, 1, 2):
        beats = beats_of(seed)
        sound = murmur(kind, beats, RATE_HZ, N_SAMPLES, generator(seed))
        inside, outside = systoles(beats), diastoles(beats)
        if MURMURS[kind].phase == "diastole":
            inside, outside = outside, inside
        total = float(np.square(sound).sum())
        assert total > 0
        assert energy_between(sound, inside) > 0.999 * total
        assert energy_between(sound, outside) < 0.001 * total


@pytest.mark.parametrize("kind", MURMURS)
def test_a_murmur_has_the_band_of_its_kind(kind: str) -> None:
    low_hz, high_hz = MURMURS[kind].band_hz
    for seed in (0, 1, 2):
        sound = murmur(kind, beats_of(seed), RATE_HZ, N_SAMPLES, generator(seed))
        assert band_share(sound, 0.75 * low_hz, 1.3 * high_hz) > 0.85


def test_murmurs_have_the_shapes_of_their_kinds() -> None:
    """Where in its phase the energy of each lies on average."""
    places = {}
    beats = [Beat(0.0, 5.0, 10.0, 1.0, 1.0, 0.0, False)]
    for kind, found in MURMURS.items():
        sound = np.square(murmur(kind, beats, RATE_HZ, N_SAMPLES, generator(1)))
        start = 0 if found.phase == "systole" else N_SAMPLES // 2
        places[kind] = float(sound @ (np.arange(N_SAMPLES) - start)) / float(sound.sum()) / (N_SAMPLES / 2)
    assert places["aortic stenosis"] == pytest.approx(0.53, abs=0.05)
    assert places["mitral regurgitation"] == pytest.approx(0.5, abs=0.05)
    assert places["mitral prolapse"] > 0.7
    assert places["aortic regurgitation"] < 0.35
    assert places["mitral stenosis"] > 0.35


def test_most_murmurs_are_systolic_and_every_kind_is_drawn() -> None:
    rng = generator(0)
    drawn = [draw_murmur(rng) for _ in range(400)]
    assert set(drawn) == set(MURMURS)
    assert 0.7 < np.mean([MURMURS[kind].phase == "systole" for kind in drawn]) < 0.9


def spans_of(kind: str, beats: Sequence[Beat]) -> list[tuple[float, float]]:
    """Return where an extra sound may be, with 0.14 s for it to die away, of a click 0.07 s."""
    if kind == "s3":
        return [(beat.s2_s + 0.12, beat.s2_s + 0.18 + 0.14) for beat in beats]
    if kind == "s4":
        return [(beat.end_s - 0.12, beat.end_s - 0.08 + 0.14) for beat in beats]
    if kind == "ejection click":
        return [(beat.s1_s + 0.05, beat.s1_s + 0.08 + 0.07) for beat in beats]
    return [
        (at_s + 0.45 * (s2_s - at_s), at_s + 0.7 * (s2_s - at_s) + 0.07)
        for at_s, s2_s in ((beat.s1_s, beat.s2_s) for beat in beats)
    ]


@pytest.mark.parametrize("kind", [kind for kind in EXTRA_SOUNDS if not kind.startswith("split")])
def test_an_extra_sound_comes_at_its_time_with_its_band_in_each_beat(kind: str) -> None:
    for seed in (0, 1, 2):
        beats = beats_of(seed)
        sound = extra_sounds(kind, beats, RATE_HZ, N_SAMPLES, generator(seed))
        spans = spans_of(kind, beats)
        assert energy_between(sound, spans) > 0.999 * float(np.square(sound).sum())
        for start_s, end_s in spans:
            if start_s >= 0 and end_s < N_SAMPLES / RATE_HZ:
                assert energy_between(sound[: round(end_s * RATE_HZ)], [(start_s, end_s)]) > 0
        assert band_share(sound, *((70, 330) if kind.endswith("click") else (15, 85))) > 0.85


def test_a_split_adds_no_sound() -> None:
    assert not extra_sounds("split s2", beats_of(0), RATE_HZ, N_SAMPLES, generator(0)).any()
