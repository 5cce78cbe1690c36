"""Synthetic heart sounds, to try the program without a data set.

Times, spectra and shapes are those that the literature gives, and a recorder's response and noise lie over them; the
modules ``synthetic_*`` beside this one name their sources. The recordings are good for the demo, for tests and for
benchmarks. They are NOT good for training or judging a model: they are as varied as a few formulas, and a model that
distinguishes them has learned these files, not medicine.

S1 opens the systole and S2 closes it. A murmur fills a part of the systole or diastole with noise. An extra heart sound
is a third or fourth sound, a click or a wide split in each beat. An extrasystole is a beat that comes early and is
followed by a compensatory pause. An artifact has no beats at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from io import BytesIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.audio.synthetic_artifacts import artifact
from heartbeat_core.audio.synthetic_beats import draw_beats
from heartbeat_core.audio.synthetic_hearts import (
    EXTRA_SOUNDS,
    draw_murmur,
    draw_valves,
    extra_sounds,
    murmur,
    valve_sounds,
)
from heartbeat_core.audio.synthetic_recorders import through_recorder
from heartbeat_core.labels import ORIGINAL_LABELS

_DEVICES = {
    "phone": (44_100, "WAV", {"normal": 4, "extrahls": 3, "murmur": 3, "artifact": 3, "extrastole": 2}),
    "stethoscope": (4_000, "FLAC", {"normal": 6, "extrahls": 3, "murmur": 4, "artifact": 2, "extrastole": 4}),
}
_DEMO_DURATION_S = (3.0, 10.0)


def synthesise(label: str, sample_rate_hz: int, duration_s: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Make one synthetic recording; the module text warns what it must not be used for.

    Parameters
    ----------
    label : str
        One of ``labels.ORIGINAL_LABELS``.
    sample_rate_hz : int
        At least 1000, so that the sounds are below half of the sample rate. From 16,000 on the recorder is a phone,
        below it a digital stethoscope.
    duration_s : float
        A positive duration.
    rng : numpy.random.Generator
        The only source of randomness; the same state gives the same samples.

    Returns
    -------
    ndarray, [round(duration_s * sample_rate_hz)] float32
        Full scale ±1, with a peak of at most 0.95.

    Raises
    ------
    ValueError
        The label is unknown, or the sample rate or the duration is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> synthesise("normal", 4_000, 2.0, np.random.default_rng(0)).shape
    (8000,)
    """
    if label not in ORIGINAL_LABELS:
        raise ValueError(f"unknown label '{label}'; labels are {', '.join(ORIGINAL_LABELS)}")
    n_samples = round(duration_s * sample_rate_hz)
    if sample_rate_hz < 1_000 or n_samples < 1:
        raise ValueError(f"cannot make {duration_s} s at {sample_rate_hz} Hz")
    make = artifact if label == "artifact" else partial(_heart, label)
    recorded = through_recorder(make(sample_rate_hz, n_samples, rng), sample_rate_hz, rng)
    return (rng.uniform(0.2, 0.95) * recorded).astype(np.float32)


def demo_recordings(seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield ``(relative name, bytes of the file)`` of 36 small recordings, under 15 MB in all.

    34 are named ``<device>/<label>_<number>.<extension>``: a phone's WAV at 44.1 kHz and a stethoscope's
    FLAC at 4 kHz, 16 bit, 3 to 10 s. Two are broken on purpose: ``phone/notes.wav`` is text, and
    ``stethoscope/interrupted.wav`` breaks off inside its header.

    Parameters
    ----------
    seed : int
        Not negative. A seed always gives the same bytes.
    """
    for device_code, (device, (sample_rate_hz, file_format, counts)) in enumerate(_DEVICES.items()):
        for label, count in counts.items():
            for number in range(1, count + 1):
                # Each file has its own generator, so no file depends on how many came before it.
                rng = np.random.default_rng((seed, device_code, ORIGINAL_LABELS.index(label), number))
                samples = synthesise(label, sample_rate_hz, rng.uniform(*_DEMO_DURATION_S), rng)
                name = f"{device}/{label}_{number:02d}.{file_format.lower()}"
                yield name, _encode(samples, sample_rate_hz, file_format)
    yield "phone/notes.wav", b"Mic held too low on the first three, repeat them tomorrow.\n"
    yield "stethoscope/interrupted.wav", _encode(np.zeros(4_000, np.float32), 4_000, "WAV")[:36]


def _encode(samples: NDArray[np.float32], sample_rate_hz: int, file_format: str) -> bytes:
    buffer = BytesIO()
    soundfile.write(buffer, samples, sample_rate_hz, format=file_format, subtype="PCM_16")
    return buffer.getvalue()


def _heart(label: str, sample_rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    """Return [n], the sounds of a heart at the chest."""
    beats = draw_beats(n_samples / sample_rate_hz, rng, with_premature=label == "extrastole")
    extra = str(rng.choice(EXTRA_SOUNDS)) if label == "extrahls" else None
    signal = valve_sounds(draw_valves(rng, extra), beats, sample_rate_hz, n_samples, rng)
    if extra is not None:
        signal += extra_sounds(extra, beats, sample_rate_hz, n_samples, rng)
    if label == "murmur":
        signal += murmur(draw_murmur(rng), beats, sample_rate_hz, n_samples, rng)
    return signal
