"""The picture of a recording: what is heard, what is drawn, and how large it is."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from heartbeat_core.audio.encode import wav_bytes
from heartbeat_core.errors import NotAudio
from heartbeat_core.features.analysis import Analysis
from heartbeat_core.features.beats import list_onsets
from heartbeat_core.reviewing.picture import LEFT, RIGHT, WINDOW_S, draw, hear
from heartbeat_core.settings import Limits
from tests.helpers import audio_bytes, heart_bytes

BLUE, RED = np.array([11, 92, 173]), np.array([180, 35, 46])


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_the_sounds_are_those_of_the_features() -> None:
    heard = hear(heart_bytes("normal", 3, 6.0), Limits())
    segmentation = Analysis(heard.samples, heard.sample_rate_hz).segmentation
    first, second = list_onsets(segmentation)
    # A sound that begins before the recording is drawn, and is no onset.
    assert [begin for name, begin, _ in heard.sounds if name == "S1" and begin > 0] == pytest.approx(first.tolist())
    assert [begin for name, begin, _ in heard.sounds if name == "S2" and begin > 0] == pytest.approx(second.tolist())
    assert all(0 < end - begin < 0.3 for _, begin, end in heard.sounds)
    assert len(first) > 3


def test_the_marks_are_where_the_sounds_are() -> None:
    heard = hear(heart_bytes("normal", 3, 6.0), Limits())
    quiet = replace(heard, samples=np.zeros_like(heard.samples), sounds=[("S1", 1.5, 1.8), ("S2", 4.5, 4.8)])
    shown = pixels(draw(quiet))
    row = shown[40]  # In the panel of the waveform, above the line of zeros.
    for middle_s, colour in ((1.65, BLUE), (4.65, RED)):
        column = round((LEFT + (RIGHT - LEFT) * middle_s / 6.0) * shown.shape[1])
        tint = 255 - row[column]
        assert tint.max() > 20
        assert tint.argmin() == (255 - colour).argmin()
    clear = round((LEFT + (RIGHT - LEFT) * 3.0 / 6.0) * shown.shape[1])
    assert row[clear].min() > 250


def test_a_tone_lies_at_its_frequency() -> None:
    tone = np.sin(2 * np.pi * 300.0 * np.arange(4_000 * 5) / 4_000)
    heard = hear(audio_bytes(tone), Limits())
    assert abs(int(heard.decibels.mean(axis=0).argmax()) * 4_000 / 256 - 300.0) < 16
    shown = pixels(draw(heard))
    height, width = shown.shape[:2]
    column = shown[:, width // 2].sum(axis=1)
    top, bottom = round((1 - 0.51) * height), round((1 - 0.13) * height)
    brightest = top + 3 + int(column[top + 3 : bottom - 3].argmax())
    assert abs((bottom - brightest) / (bottom - top) * 1000.0 - 300.0) < 30


@pytest.mark.parametrize("duration_s", [0.3, 2.0, 9.0, 40.0])
def test_a_picture_is_bounded(duration_s: float) -> None:
    rng = np.random.default_rng(5)
    heard = hear(audio_bytes(rng.uniform(-1, 1, int(44_100 * duration_s)), 44_100), Limits())
    start, stop = heard.window_s
    assert stop - start == pytest.approx(min(duration_s, WINDOW_S), abs=1e-3)
    assert start + stop == pytest.approx(duration_s, abs=1e-3)
    png = draw(heard)
    assert Image.open(io.BytesIO(png)).size == (900, 360)
    assert len(png) < 150_000


def test_silence_is_drawn() -> None:
    heard = hear(audio_bytes(np.zeros(8_000)), Limits())
    assert heard.sounds == []
    assert len(draw(heard)) > 1_000


def test_what_is_no_audio_is_refused() -> None:
    with pytest.raises(NotAudio):
        hear(b"not audio at all, and long enough to be read", Limits())


def test_a_wav_holds_the_samples() -> None:
    samples = np.array([0.0, 0.5, -0.5, 1.5, -1.5], np.float32)
    heard = hear(wav_bytes(np.tile(samples, 400), 4_000), Limits())
    assert heard.sample_rate_hz == 4_000
    np.testing.assert_allclose(heard.samples[:5], [0.0, 0.5, -0.5, 1.0, -1.0], atol=1e-4)
