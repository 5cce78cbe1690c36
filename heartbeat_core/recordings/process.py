"""Process one recording: from its bytes to its facts, frames, placement and features."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.alignment.placement import Placement, Reference, place
from heartbeat_core.arrays import Frames
from heartbeat_core.audio import decode
from heartbeat_core.audio.decode import Waveform
from heartbeat_core.audio.quality import Quality
from heartbeat_core.features.analysis import Analysis
from heartbeat_core.features.extract import compute_lists, compute_sets
from heartbeat_core.features.frames import compute_frames
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import Limits


@dataclass(frozen=True, slots=True)
class RecordingResult:
    """One processed recording.

    It does not hold the waveform, because all results of a shard are in memory together.

    Attributes
    ----------
    recording : Recording
    audio_sha256 : str
        SHA-256 (hex) of the file's bytes.
    size_bytes : int
        Of the file.
    format, subtype : str
        Container and encoding, by their names in libsndfile.
    sample_rate_hz : int
        Native sample rate.
    channels : int
        Number of channels in the file.
    n_samples : int
        Number of decoded samples of one channel. ``header_n_samples`` is the claim of the header, None if unknown.
    duration_s : float
        Of the decoded samples.
    truncated : bool
        The data ends before the length that the header claims.
    quality : Quality
        Of the waveform as it was recorded.
    frames : ndarray, [n_frames, 2] float32
        Hz, linear magnitude; unpadded, cut to the length of the reference.
    n_frames_cut : int
        Number of frames beyond the length of the reference.
    placement : Placement
        Where the frames lie within the reference.
    features : Mapping[str, ndarray of float32]
        The requested vectors, [n_columns] each, by feature set.
    lists : Mapping[str, ndarray of float32]
        The list columns of the requested sets, [k_i] each, by column.
    """

    recording: Recording
    audio_sha256: str
    size_bytes: int
    format: str
    subtype: str
    sample_rate_hz: int
    channels: int
    n_samples: int
    duration_s: float
    header_n_samples: int | None
    truncated: bool
    quality: Quality
    frames: Frames
    n_frames_cut: int
    placement: Placement
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    lists: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def process(
    recording: Recording,
    data: bytes,
    recipe: Recipe,
    reference: Reference,
    limits: Limits,
    feature_sets: Sequence[str] = (),
) -> RecordingResult:
    """Compute the facts, aligned frames and features of one recording from its bytes; this opens no file.

    Parameters
    ----------
    recording : Recording
    data : bytes
        The whole file.
    recipe : Recipe
        Its frames and alignment settings are used.
    reference : Reference
    limits : Limits
    feature_sets : Sequence[str]
        Vector sets to compute as well.

    Returns
    -------
    RecordingResult

    Raises
    ------
    RecordingError
        A named subclass that says at which stage and why the recording cannot be processed.
    ConfigError
        A feature set is unknown, or its function cannot be loaded.
    ValueError
        A feature set cannot be computed from a recording alone.
    """
    waveform = decode.decode(data, limits)
    return process_waveform(recording, data, waveform, recipe, reference, feature_sets)


def process_waveform(
    recording: Recording,
    data: bytes,
    waveform: Waveform,
    recipe: Recipe,
    reference: Reference,
    feature_sets: Sequence[str] = (),
) -> RecordingResult:
    """Compute the facts, aligned frames and features of one decoded recording; returns and raises as ``process``.

    Parameters
    ----------
    recording : Recording
    data : bytes
        The whole file, for its digest and size.
    waveform : Waveform
        What ``decode`` makes of ``data``.
    recipe, reference, feature_sets
        As for ``process``.
    """
    frames = compute_frames(waveform.samples, waveform.sample_rate_hz, recipe.frames)
    placement = place(frames, reference, recipe.alignment.pad_mode)
    analysis = Analysis(waveform.samples, waveform.sample_rate_hz)
    return RecordingResult(
        recording=recording,
        audio_sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        format=waveform.format,
        subtype=waveform.subtype,
        sample_rate_hz=waveform.sample_rate_hz,
        channels=waveform.channels,
        n_samples=waveform.samples.size,
        duration_s=waveform.duration_s,
        header_n_samples=waveform.header_n_samples,
        truncated=waveform.truncated,
        quality=analysis.quality,
        frames=frames[: placement.n_frames],
        n_frames_cut=len(frames) - placement.n_frames,
        placement=placement,
        features=compute_sets(analysis, feature_sets),
        lists=compute_lists(analysis, feature_sets),
    )
