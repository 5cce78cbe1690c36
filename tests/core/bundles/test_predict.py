"""One recording to a prediction, from Python: as ``heartbeat classify`` predicts it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

import heartbeat_core
from heartbeat_core import load_bundle, predict, synthesise
from heartbeat_core.errors import (
    EmptyRecording,
    NonFiniteSamples,
    NotAudio,
    RecordingNotFound,
    RecordingTooLarge,
    TooShort,
    UnsupportedSampleRate,
)
from heartbeat_core.settings import DEFAULT_MODEL, Limits
from jobs.drivers.predict import predict as predict_files
from tests.bundles import made_up_bundle


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return synthesise("murmur", 4_000, 5.0, np.random.default_rng(2))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, samples: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("in") / "heart.wav"
    soundfile.write(path, samples, 4_000, subtype="FLOAT")
    return path


def test_a_file_its_bytes_and_its_samples_give_the_same_and_so_does_the_command(
    recording: Path, samples: np.ndarray
) -> None:
    of_file, of_bytes = predict(str(recording)), predict(recording.read_bytes())
    of_samples = predict(samples, sample_rate_hz=4_000)
    [told] = predict_files([str(recording)], DEFAULT_MODEL, Limits())
    for one in (of_file, predict(recording), of_bytes, of_samples):
        assert one.probabilities == told["probabilities"]
        assert (one.label, one.confidence, one.model_id) == (
            told["predicted_label"],
            told["confidence"],
            told["model_id"],
        )
        assert (",".join(one.unsure) or None) == told["unsure_reason"]
    assert of_file.recording.audio_sha256 == of_bytes.recording.audio_sha256 == told["audio_sha256"]
    assert of_samples.recording.audio_sha256 == hashlib.sha256(samples.astype(np.float32).tobytes()).hexdigest()
    assert of_file.recording.recording.uri == recording.as_uri()


def test_why_a_prediction_is_unsure_is_what_the_command_says(samples: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", 1e3 * samples[:2_000], 4_000, subtype="FLOAT")
    found = predict(str(tmp_path / "short.wav"))
    [told] = predict_files([str(tmp_path / "short.wav")], DEFAULT_MODEL, Limits())
    assert "poor_quality" in found.unsure
    assert ",".join(found.unsure) == told["unsure_reason"]


def test_the_confidence_is_that_of_the_predicted_label_and_not_of_the_most_probable() -> None:
    bundle, _ = made_up_bundle("statistics", length=30)
    rng = np.random.default_rng(0)
    found = [predict(rng.normal(size=9_000), bundle, sample_rate_hz=4_000) for _ in range(20)]
    assert all(one.confidence == one.probabilities[one.label] for one in found)
    assert any(one.confidence < max(one.probabilities.values()) for one in found)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_channels_are_averaged(samples: np.ndarray, dtype: type) -> None:
    # Each sample is in one of the channels alone: neither of them sounds like the average.
    is_left = np.arange(len(samples)) % 2 == 0
    stereo = np.stack([np.where(is_left, 2 * samples, 0), np.where(is_left, 0, 2 * samples)], axis=1).astype(dtype)
    found = predict(stereo, sample_rate_hz=4_000)
    assert found.probabilities == predict(samples.astype(dtype), sample_rate_hz=4_000).probabilities
    assert (found.recording.channels, found.recording.duration_s) == (2, 5.0)


def test_a_model_by_name_by_place_and_loaded(samples: np.ndarray, bundle: Path) -> None:
    loaded = load_bundle(str(bundle))
    found = [predict(samples, one, sample_rate_hz=4_000) for one in (str(bundle), bundle, loaded)]
    assert found[0].probabilities == found[1].probabilities == found[2].probabilities
    assert {one.model_id for one in found} == {loaded.model_id}


def test_what_cannot_be_predicted_is_a_named_error(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordingNotFound):
        predict(str(tmp_path / "none.wav"))
    with pytest.raises(NotAudio):
        predict(b"a letter, not a recording" * 9)
    with pytest.raises(EmptyRecording):
        predict(np.zeros(0), sample_rate_hz=4_000)
    with pytest.raises(NonFiniteSamples, match=r"^NaN or infinity among the 9000 samples$"):
        predict(np.full(9_000, np.nan), sample_rate_hz=4_000)
    with pytest.raises(TooShort):
        predict(np.ones(3), sample_rate_hz=4_000)
    with pytest.raises(ValueError, match="samples need a sample_rate_hz"):
        predict(np.ones(9_000))
    with pytest.raises(ValueError, match="a file has its own"):
        predict(str(recording), sample_rate_hz=4_000)
    with pytest.raises(UnsupportedSampleRate, match=r"^10 Hz, below the limit"):
        predict(np.ones(9_000), sample_rate_hz=10)
    with pytest.raises(RecordingTooLarge, match=r"^17 channels"):
        predict(np.zeros((9_000, 17)), sample_rate_hz=4_000)
    with pytest.raises(ValueError, match="not int16: divide 16-bit integers by 32768"):
        predict(np.ones(9_000, np.int16), sample_rate_hz=4_000)
    with pytest.raises(ValueError, match=r"not \(2, 2, 2\)"):
        predict(np.zeros((2, 2, 2)), sample_rate_hz=4_000)


def test_five_lines_of_python_from_a_file_to_a_prediction(recording: Path) -> None:
    hb = heartbeat_core
    found = hb.predict(str(recording))
    assert found.label in found.probabilities
