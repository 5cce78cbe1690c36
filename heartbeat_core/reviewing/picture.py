"""A recording as a picture: its waveform with the heart sounds that were found, and its spectrogram."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.audio.decode import decode
from heartbeat_core.features.analysis import Analysis
from heartbeat_core.features.decoding import S1, S2, STATE_HZ
from heartbeat_core.features.signal import HOP_LENGTH, N_FFT, RATE_HZ
from heartbeat_core.settings import Limits

WINDOW_S = 10.0
"""Most seconds that are drawn: beats are told apart at this scale. Of a longer recording, the middle."""
LEFT, RIGHT = 0.075, 0.99
"""Where the axis of time begins and ends, in shares of the picture's width."""
_SIZE_IN = (9.0, 3.6)
_DPI = 100
_COLUMNS = 900
"""Of the waveform: each shows its least and greatest sample."""
_MAX_HZ = 1000.0
_RANGE_DB = 60.0
_WAVE, _S1, _S2 = "#4d5a69", "#0b5cad", "#b4232e"


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A recording, decoded and analysed.

    Attributes
    ----------
    samples : ndarray, [n] float32
        The mean of the channels, full scale ±1, at ``sample_rate_hz``.
    sample_rate_hz : int
    sounds : list[tuple[str, float, float]]
        ``S1`` or ``S2``, its beginning and its end in seconds, in order.
    decibels : ndarray, [n_frames, n_bins] float
        Power of frames of 64 ms every 20 ms to 1 kHz, in dB below the loudest.
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int
    sounds: list[tuple[str, float, float]]
    decibels: NDArray[np.floating]

    @property
    def duration_s(self) -> float:
        """Its length."""
        return len(self.samples) / self.sample_rate_hz

    @property
    def window_s(self) -> tuple[float, float]:
        """Where the part begins and ends that is drawn, in seconds."""
        start = max(0.0, (self.duration_s - WINDOW_S) / 2)
        return start, min(self.duration_s, start + WINDOW_S)


def hear(data: bytes, limits: Limits) -> Heard:
    """Decode a recording, and find its heart sounds.

    Parameters
    ----------
    data : bytes
        The whole file.
    limits : Limits

    Raises
    ------
    RecordingError
        A named subclass, as ``decode``.
    """
    waveform = decode(data, limits)
    analysis = Analysis(waveform.samples, waveform.sample_rate_hz)
    n_bins = int(_MAX_HZ / (RATE_HZ / N_FFT)) + 1
    power = analysis.power[:, :n_bins]
    decibels = 10.0 * np.log10(np.maximum(power / max(float(power.max(initial=0.0)), 1e-12), 1e-12))
    sounds = list(_sounds(analysis.segmentation.states))
    return Heard(waveform.samples, waveform.sample_rate_hz, sounds, decibels)


def draw(heard: Heard) -> bytes:
    """Return the picture as PNG, 900 by 360."""
    # Loaded here: matplotlib takes half a second, and only what draws needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The font cache that it builds at the first use is nobody's concern.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    start, stop = heard.window_s
    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    wave = figure.add_axes((LEFT, 0.56, RIGHT - LEFT, 0.36))
    spectrogram = figure.add_axes((LEFT, 0.13, RIGHT - LEFT, 0.38), sharex=wave)
    times, low, high = _outline(heard, start, stop)
    wave.fill_between(times, low, high, color=_WAVE, linewidth=0.6)
    most = max(float(np.abs([low, high]).max(initial=0.0)), 1e-6) * 1.05
    for name, begin, end in heard.sounds:
        if end <= start or begin >= stop:
            continue
        colour = _S1 if name == "S1" else _S2
        wave.axvspan(begin, end, color=colour, alpha=0.18, linewidth=0)
        if begin >= start:
            wave.text(begin, most * 1.04, name, color=colour, fontsize=7.5, ha="left", va="bottom")
    wave.set_xlim(start, stop)
    wave.set_ylim(-most, most)
    wave.set_ylabel("amplitude", fontsize=8)
    wave.tick_params(labelsize=7.5, labelbottom=False)
    spectrogram.imshow(
        heard.decibels.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-_RANGE_DB,
        vmax=0.0,
        interpolation="nearest",
        # A frame is drawn around its middle.
        extent=_extent(len(heard.decibels), heard.decibels.shape[1]),
    )
    spectrogram.set_xlim(start, stop)
    spectrogram.set_ylim(0, _MAX_HZ)
    spectrogram.set_ylabel("frequency (Hz)", fontsize=8)
    spectrogram.set_xlabel("time (s)", fontsize=8)
    spectrogram.tick_params(labelsize=7.5)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return _with_palette(sink.getvalue())


def _extent(n_frames: int, n_bins: int) -> tuple[float, float, float, float]:
    first = (N_FFT - HOP_LENGTH) / 2 / RATE_HZ
    bin_hz = RATE_HZ / N_FFT
    return first, first + n_frames * HOP_LENGTH / RATE_HZ, -bin_hz / 2, (n_bins - 0.5) * bin_hz


def _outline(heard: Heard, start: float, stop: float) -> tuple[NDArray[np.floating], ...]:
    """Return the times, least and greatest samples of columns of the waveform, each [n] float."""
    first = round(start * heard.sample_rate_hz)
    samples = heard.samples[first : round(stop * heard.sample_rate_hz)]
    edges = np.unique(np.linspace(0, len(samples), _COLUMNS, endpoint=False).astype(np.intp))
    times = (first + edges) / heard.sample_rate_hz
    return times, np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)


def _sounds(states: NDArray[np.int8]) -> Iterator[tuple[str, float, float]]:
    edges = [0, *(np.flatnonzero(np.diff(states)) + 1).tolist(), len(states)]
    names = {S1: "S1", S2: "S2"}
    for begin, end in pairwise(edges):
        if states[begin] in names:
            yield names[int(states[begin])], begin / STATE_HZ, end / STATE_HZ


def _with_palette(png: bytes) -> bytes:
    """Return a PNG with 128 colours, which is a third as large."""
    from PIL import Image

    sink = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128).save(sink, "PNG", optimize=True)
    return sink.getvalue()
