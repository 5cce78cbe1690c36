"""The alignment reference of a dataset: the longest sequence of all its recordings.

Headers are scanned on the cluster; a header's claim counts only after the recording was decoded, since a truncated
file promises more frames than it has. Each shard gives its own longest, the driver takes the longest of these, the
first of equals.

On disk: ``OUT/_reference.json`` settles which recording it is, ``OUT/_reference.safetensors`` holds its frames.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import safetensors.numpy

from heartbeat_core import audio, storage
from heartbeat_core.alignment import Frames
from heartbeat_core.config import FramesSettings, Limits, canonical_json
from heartbeat_core.dataset import REFERENCE_NAME
from heartbeat_core.errors import JobError, RecordingError
from heartbeat_core.frames import compute_frames, count_frames
from heartbeat_core.recording import Recording
from jobs.shard import Shard

CHOICE_NAME = "_reference.json"


@dataclass(frozen=True, slots=True)
class ScanJob:
    """What the tasks that find the reference need."""

    out: str
    frames: FramesSettings
    limits: Limits


@dataclass(frozen=True, slots=True)
class Longest:
    """A recording that was decoded and found the longest of its shard."""

    shard: int
    uri: str
    recording_id: str
    audio_sha256: str
    sample_rate_hz: int
    n_frames: int


def scan_shard(shard: Shard, job: ScanJob) -> Longest | None:
    """Return the longest recording of a shard, the first of equals, None where none can be decoded.

    A shard with one readable header costs one decoding; each claim that proves false costs one more.
    """
    claims = _claimed_frames(shard.recordings, job)
    best: tuple[int, int] | None = None
    longest: Longest | None = None
    for place, (claimed, recording) in sorted(enumerate(claims), key=lambda claim: (-claim[1][0], claim[0])):
        if best is not None and (-claimed, place) > best:
            continue
        found = _decode_claim(shard.index, recording, job)
        if found is not None and (best is None or (-found.n_frames, place) < best):
            best, longest = (-found.n_frames, place), found
    return longest


def choose(candidates: Iterable[Longest | None]) -> Longest:
    """Return the longest of all, the one of the first shard where several are equal.

    Raises:
        JobError: there is none.
    """
    found = [candidate for candidate in candidates if candidate is not None]
    if not found:
        raise JobError("none of the recordings can be decoded: there is no reference to align with")
    return min(found, key=lambda candidate: (-candidate.n_frames, candidate.shard))


def read_choice(out: str) -> Longest | None:
    """Return the reference that this folder has settled on, if any."""
    try:
        return Longest(**json.loads(storage.read(storage.join(out, CHOICE_NAME))))
    except FileNotFoundError:
        return None


def store(longest: Longest, job: ScanJob) -> str:
    """Settle on a reference and store its frames; returns the frames' URI.

    A task as well, so that the driver does without the numeric libraries.

    Raises:
        JobError: the recording is no longer the one that was scanned.
    """
    storage.create(storage.join(job.out, CHOICE_NAME), canonical_json(asdict(longest)))
    uri = storage.join(job.out, REFERENCE_NAME)
    if not storage.exists(uri):
        storage.create(uri, safetensors.numpy.save({"reference.frames": _frames(longest, job)}))
    return uri


def _frames(longest: Longest, job: ScanJob) -> Frames:
    try:
        data = storage.read(longest.uri)
        if hashlib.sha256(data).hexdigest() != longest.audio_sha256:
            raise JobError(f"{storage.display(longest.uri)} changed while the job ran: start it in a new folder")
        waveform = audio.decode(data, job.limits)
        return compute_frames(waveform.samples, waveform.sample_rate_hz, job.frames)
    except (FileNotFoundError, RecordingError) as error:
        raise JobError(f"the reference {storage.display(longest.uri)} can't be read any more: {error}") from None


def _claimed_frames(recordings: Iterable[Recording], job: ScanJob) -> list[tuple[int, Recording]]:
    claims = []
    for recording, data in storage.read_recordings(recordings, job.limits):
        if isinstance(data, RecordingError):
            continue
        try:
            header = audio.read_header(data, job.limits)
            n_samples = header.n_samples
            if n_samples is None:  # A streamed file does not know its length.
                n_samples = audio.decode(data, job.limits).samples.size
            claimed = count_frames(n_samples, header.sample_rate_hz, job.frames.delta_time_s)
        except RecordingError:
            continue  # The shard's own task gives it its failure row.
        claims.append((claimed, recording))
    return claims


def _decode_claim(shard: int, recording: Recording, job: ScanJob) -> Longest | None:
    try:
        data = storage.read_recording(recording, job.limits)
        waveform = audio.decode(data, job.limits)
        frames = compute_frames(waveform.samples, waveform.sample_rate_hz, job.frames)
    except RecordingError:
        return None
    digest = hashlib.sha256(data).hexdigest()
    rate = waveform.sample_rate_hz
    return Longest(shard, recording.uri, recording.recording_id, digest, rate, len(frames))
