"""Predict one recording from a file, its bytes or its samples, without a cluster or an output folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from heartbeat_core import storage
from heartbeat_core.audio.decode import Waveform, check_limits, decode
from heartbeat_core.bundles.bundle import Bundle, load
from heartbeat_core.errors import EmptyRecording, NonFiniteSamples
from heartbeat_core.recordings.fetch import read_recording
from heartbeat_core.recordings.process import RecordingResult, process_waveform
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import DEFAULT_MODEL, Limits


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction of a model for one recording.

    Attributes
    ----------
    label : str
        The label with the largest probability / threshold.
    confidence : float
        The probability of this label.
    probabilities : dict[str, float]
        By label; 0 for labels that the model was not trained on.
    unsure : tuple[str, ...]
        Why the prediction is unreliable; empty if there is no reason.
    model_id : str
        The name and digest of the model.
    recording : RecordingResult
        The facts, quality, aligned frames and features of the recording.

    Examples
    --------
    >>> import numpy as np
    >>> prediction = predict(np.zeros(8_000), sample_rate_hz=4_000)
    >>> "poor_quality" in prediction.unsure
    True
    """

    label: str
    confidence: float
    probabilities: dict[str, float]
    unsure: tuple[str, ...]
    model_id: str
    recording: RecordingResult


def predict(
    source: str | os.PathLike[str] | bytes | ArrayLike,
    bundle: Bundle | str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    sample_rate_hz: int | None = None,
) -> Prediction:
    """Classify one recording. The result is not a diagnosis.

    Parameters
    ----------
    source : str | os.PathLike | bytes | array_like
        A path or URL, the bytes of an audio file, or floating-point samples [n] or [n, channels] with full scale 1.
    bundle : Bundle | str | os.PathLike
        A loaded bundle, the name of a shipped one, or the path or URL of one. A name, path or URL is loaded only once.
    sample_rate_hz : int | None
        Required for samples, and not allowed for anything else.

    Returns
    -------
    Prediction

    Raises
    ------
    ValueError
        Samples without a sample rate, a file with one, integer samples, or samples with more than two dimensions.
    RecordingError
        A named subclass: the recording cannot be read or processed.
    BundleError
        The model cannot be loaded.
    StorageError
        The storage does not respond.

    Examples
    --------
    >>> import numpy as np
    >>> from heartbeat_core import synthesise
    >>> samples = synthesise("normal", 4_000, 5.0, np.random.default_rng(0))
    >>> prediction = predict(samples, sample_rate_hz=4_000)
    >>> round(sum(prediction.probabilities.values()), 3)
    1.0
    """
    model = bundle if isinstance(bundle, Bundle) else _loaded(os.fspath(bundle))
    limits = Limits()
    if isinstance(source, str | os.PathLike | bytes):
        if sample_rate_hz is not None:
            raise ValueError("sample_rate_hz goes with samples: a file has its own")
        recording = Recording("memory://bytes" if isinstance(source, bytes) else storage.to_uri(source), "")
        data = source if isinstance(source, bytes) else read_recording(recording, limits)
        waveform = decode(data, limits)
    else:
        if sample_rate_hz is None:
            raise ValueError("samples need a sample_rate_hz")
        recording = Recording("memory://samples", "")
        waveform = _waveform(np.asarray(source), sample_rate_hz, limits)
        data = waveform.samples.tobytes()
    result = process_waveform(recording, data, waveform, model.manifest.recipe, model.reference, model.vectors)
    found = model.classify([result])
    code = int(found.codes[0])
    labels = model.manifest.labels
    probabilities = dict(zip(labels, found.probabilities[0].tolist(), strict=True))
    reasons = found.unsure[0]
    return Prediction(
        label=labels[code],
        confidence=probabilities[labels[code]],
        probabilities=probabilities,
        unsure=() if reasons is None else tuple(reasons.split(",")),
        model_id=model.model_id,
        recording=result,
    )


def _waveform(samples: np.ndarray, sample_rate_hz: int, limits: Limits) -> Waveform:
    if samples.dtype.kind != "f":
        raise ValueError(f"samples are floats with full scale 1, not {samples.dtype}: divide 16-bit integers by 32768")
    if samples.ndim not in (1, 2):
        raise ValueError(f"samples are [n] or [n, channels], not {samples.shape}")
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    check_limits(channels, sample_rate_hz, limits)
    mono = np.ascontiguousarray(samples if samples.ndim == 1 else samples.mean(axis=1), dtype=np.float32)
    if not len(mono):
        raise EmptyRecording("no samples")
    if not np.isfinite(mono).all():
        raise NonFiniteSamples(f"NaN or infinity among the {len(mono)} samples")
    return Waveform(mono, sample_rate_hz, channels, "array", str(samples.dtype), len(mono), False)


@lru_cache(maxsize=4)
def _loaded(source: str) -> Bundle:
    return load(source)
