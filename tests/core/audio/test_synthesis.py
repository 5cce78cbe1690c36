"""The synthetic recordings: repeatable, within range, and what their names say."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import numpy as np
import pytest
from numpy.typing import NDArray

from heartbeat_core.audio.decode import decode
from heartbeat_core.audio.synthesis import demo_recordings, synthesise
from heartbeat_core.errors import NotAudio, RecordingError, TruncatedRecording
from heartbeat_core.labels import ORIGINAL_LABELS

BROKEN = {"phone/notes.wav": NotAudio, "stethoscope/interrupted.wav": TruncatedRecording}


@pytest.fixture(scope="module")
def demo() -> dict[str, bytes]:
    recordings = list(demo_recordings(0))
    assert len(dict(recordings)) == len(recordings)
    return dict(recordings)


def generate(label: str, seed: int, sample_rate_hz: int = 2_000, duration_s: float = 10.0) -> NDArray[np.float32]:
    return synthesise(label, sample_rate_hz, duration_s, np.random.default_rng(seed))


def band_energy(samples: NDArray[np.float32], sample_rate_hz: int, low_hz: float, high_hz: float) -> float:
    """Return the share of the energy that lies between two frequencies."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    frequency_hz = np.fft.rfftfreq(len(samples), 1 / sample_rate_hz)
    return float(power[(frequency_hz >= low_hz) & (frequency_hz < high_hz)].sum() / power.sum())


def rhythm(samples: NDArray[np.float32], sample_rate_hz: int) -> float:
    """Return the highest autocorrelation of the envelope between 45 and 130 beats a minute."""
    step = sample_rate_hz // 50
    envelope = np.abs(samples[: len(samples) // step * step]).reshape(-1, step).mean(axis=1)
    envelope -= envelope.mean()
    lags = range(int(50 * 60 / 130), int(50 * 60 / 45))
    return max(float(envelope[lag:] @ envelope[:-lag]) for lag in lags) / float(envelope @ envelope)


@pytest.mark.parametrize("label", ORIGINAL_LABELS)
@pytest.mark.parametrize("sample_rate_hz", [1_000, 4_000, 44_100])
@pytest.mark.parametrize("duration_s", [0.01, 0.5, 3.3])
def test_shape_type_and_range(label: str, sample_rate_hz: int, duration_s: float) -> None:
    samples = generate(label, 1, sample_rate_hz, duration_s)
    assert samples.shape == (round(duration_s * sample_rate_hz),)
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
    assert 0.19 < np.abs(samples).max() <= 0.9501


@pytest.mark.parametrize("label", ORIGINAL_LABELS)
@pytest.mark.parametrize("sample_rate_hz", [4_000, 44_100])
def test_no_seed_breaks_a_recording(label: str, sample_rate_hz: int) -> None:
    for seed in range(25):
        samples = generate(label, seed, sample_rate_hz, 3.0)
        assert np.isfinite(samples).all()
        assert 0.19 < np.abs(samples).max() <= 0.9501


@pytest.mark.parametrize("label", ORIGINAL_LABELS)
@pytest.mark.parametrize("sample_rate_hz", [4_000, 44_100])
def test_chance_comes_from_the_generator_alone(label: str, sample_rate_hz: int) -> None:
    assert np.array_equal(generate(label, 5, sample_rate_hz, 2.0), generate(label, 5, sample_rate_hz, 2.0))
    assert not np.array_equal(generate(label, 5, sample_rate_hz, 2.0), generate(label, 6, sample_rate_hz, 2.0))


def test_a_phone_hears_less_of_the_low_frequencies_than_a_stethoscope() -> None:
    phone = np.median([band_energy(generate("normal", seed, 44_100), 44_100, 20, 50) for seed in range(9)])
    stethoscope = np.median([band_energy(generate("normal", seed, 4_000), 4_000, 20, 50) for seed in range(9)])
    assert stethoscope > 3 * phone


def test_beats_are_regular_and_artifacts_are_not() -> None:
    beating = np.median([rhythm(generate("normal", seed), 2_000) for seed in range(15)])
    noise = np.median([rhythm(generate("artifact", seed), 2_000) for seed in range(15)])
    assert beating > 0.4
    assert noise < 0.35


def test_premature_beats_disturb_the_rhythm() -> None:
    regular = np.median([rhythm(generate("normal", seed), 2_000) for seed in range(15)])
    disturbed = np.median([rhythm(generate("extrastole", seed), 2_000) for seed in range(15)])
    assert disturbed < regular - 0.1


def test_a_murmur_adds_noise_above_the_heart_sounds() -> None:
    murmur = np.median([band_energy(generate("murmur", seed), 2_000, 150, 450) for seed in range(15)])
    normal = np.median([band_energy(generate("normal", seed), 2_000, 150, 450) for seed in range(15)])
    assert murmur > 2 * normal


@pytest.mark.parametrize(
    ("label", "sample_rate_hz", "duration_s"),
    [("mumur", 4_000, 1.0), ("normal", 999, 1.0), ("normal", 4_000, 0.0), ("normal", 4_000, -1.0)],
)
def test_arguments_out_of_range_are_refused(label: str, sample_rate_hz: int, duration_s: float) -> None:
    with pytest.raises(ValueError, match=r"mumur|cannot make"):
        generate(label, 0, sample_rate_hz, duration_s)


def test_demo_is_repeatable_byte_for_byte(demo: dict[str, bytes]) -> None:
    assert dict(demo_recordings(0)) == demo


def test_demo_changes_with_the_seed(demo: dict[str, bytes]) -> None:
    name, data = next(demo_recordings(1))
    assert name in demo
    assert data != demo[name]


def test_demo_has_its_size(demo: dict[str, bytes]) -> None:
    assert len(demo) == 36
    assert sum(map(len, demo.values())) < 15_000_000


def test_no_seed_can_make_the_demo_larger_than_15_mb(demo: dict[str, bytes]) -> None:
    phones = sum(name.startswith("phone/") for name in demo if name not in BROKEN)
    stethoscopes = sum(name.startswith("stethoscope/") for name in demo if name not in BROKEN)
    longest = phones * 10 * 44_100 * 2 + stethoscopes * 10 * 4_000 * 2 + len(demo) * 1_024
    assert longest < 15_000_000


def test_demo_names_are_relative_and_say_the_label(demo: dict[str, bytes]) -> None:
    labels = set()
    for name in demo.keys() - BROKEN.keys():
        match = re.fullmatch(r"(phone|stethoscope)/([a-z]+)_\d\d\.(wav|flac)", name)
        assert match is not None, name
        labels.add((match[1], match[2]))
    assert labels == {(device, label) for device in ("phone", "stethoscope") for label in ORIGINAL_LABELS}


def test_demo_files_decode_as_their_names_say(demo: dict[str, bytes]) -> None:
    rates = {"phone": 44_100, "stethoscope": 4_000}
    for name in demo.keys() - BROKEN.keys():
        path = PurePosixPath(name)
        waveform = decode(demo[name])
        assert waveform.sample_rate_hz == rates[path.parts[0]]
        assert waveform.format == path.suffix[1:].upper()
        assert waveform.subtype == "PCM_16"
        assert 3 <= waveform.duration_s <= 10
        assert not waveform.truncated


def test_demo_has_exactly_two_broken_files(demo: dict[str, bytes]) -> None:
    broken: dict[str, type[RecordingError]] = {}
    for name, data in demo.items():
        try:
            decode(data)
        except RecordingError as error:
            broken[name] = type(error)
    assert broken == BROKEN
