"""The composition for one recording: bytes to its facts, its frames and their place.

``process`` is the whole walk (decode, quality, frames, alignment), a plain function without any I/O.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heartbeat_core import audio, quality
from heartbeat_core.alignment import Placement, Reference, place
from heartbeat_core.config import Limits, Recipe, Summary
from heartbeat_core.correlation import Frames
from heartbeat_core.errors import RecordingError
from heartbeat_core.frames import compute_frames
from heartbeat_core.quality import Quality
from heartbeat_core.summary import summarise


@dataclass(frozen=True, slots=True)
class Recording:
    """What is known of a recording before its bytes are read.

    ``uri`` opens it, ``relative_path`` is its place below the input that it was found in, ``size_bytes`` is None
    where only reading tells. ``version`` is what the store said of its content when it was listed (an ETag, or size
    and time), None where it says nothing. ``label``, ``patient_id`` and ``device`` come from a label file. Where the
    address in a manifest holds a secret, ``uri`` goes without it, and ``manifest`` and ``manifest_row`` say where the
    whole one is.
    """

    uri: str
    relative_path: str
    size_bytes: int | None = None
    version: str | None = None
    label: str | None = None
    patient_id: str | None = None
    device: str | None = None
    manifest: str | None = None
    manifest_row: int | None = None

    @property
    def public_uri(self) -> str:
        """The URI as it may be stored: without credentials, query or endpoint."""
        return public_uri(self.uri)

    @property
    def recording_id(self) -> str:
        """First 16 hex digits of the SHA-256 of ``public_uri``."""
        return hashlib.sha256(self.public_uri.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class RecordingResult:
    """One recording after the walk.

    The waveform itself is gone: a shard's results are held together, its samples are not.

    Attributes:
        n_samples: decoded samples of one channel; ``header_n_samples`` is the header's claim, None if unknown.
        truncated: the data breaks off before the header's claim.
        frames: [n_frames, 2] float32: Hz, linear magnitude; unpadded, cut to the reference's length.
        n_frames_cut: frames beyond the reference's length.
        statistics: [392] float32, in the order of ``statistics_names.NAMES``, or [652] with those of
            ``cycles_names.NAMES`` behind; None where nobody asked for them.
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
    statistics: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """One recording that could not be processed, and why."""

    recording: Recording
    stage: str
    error_type: str
    message: str
    attempts: int = 1


def process(
    recording: Recording,
    data: bytes,
    recipe: Recipe,
    reference: Reference,
    limits: Limits,
    summary: Summary = "none",
) -> RecordingResult:
    """Take one recording from its bytes to its aligned frames and, where asked for, its summary statistics.

    Raises:
        RecordingError: a named child that says at which stage and why it cannot be processed.
    """
    waveform = audio.decode(data, limits)
    frames = compute_frames(waveform.samples, waveform.sample_rate_hz, recipe.frames)
    placement = place(frames, reference, recipe.alignment.pad_mode)
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
        quality=quality.measure(waveform),
        frames=frames[: placement.n_frames],
        n_frames_cut=len(frames) - placement.n_frames,
        placement=placement,
        statistics=None
        if summary == "none"
        else summarise(waveform.samples, waveform.sample_rate_hz, summary == "statistics+cycles"),
    )


def failure(recording: Recording, error: RecordingError) -> Failure:
    """Turn a named error into the row that stands for the recording."""
    return Failure(recording, error.stage, error.error_type, " ".join(str(error).split()))


def public_uri(uri: str) -> str:
    """Return ``uri`` without what may be secret or local to one reader.

    Of web addresses, user, password, query and fragment are dropped; of others only ``user:password@`` before the
    host, since there ``?``, ``#`` and ``@`` are part of a key. Each link of an fsspec chain (``::``) is treated so.
    """
    return "::".join(_public_link(link) for link in re.split("::(?=[a-z0-9]+://)", uri))


def _public_link(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    is_web = scheme.lower() in ("http", "https")
    if is_web:
        rest = re.split("[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    if is_web or ":" in user:
        authority = host
    return f"{scheme}{separator}{authority}{slash}{path}"
