"""The alignment reference of a dataset: the longest sequence of all its recordings.

Tasks on the cluster read all headers, and each shard reports the most frames that one of its headers claims. A
truncated file claims more frames than it has, so a claim counts only once the recording has been decoded. The shards
with the largest claims are decoded first, until no claim that is left is longer than what was found. Of equally long
recordings, the first is taken.

On disk: ``OUT/_reference.json`` settles which recording it is, ``OUT/_reference.safetensors`` holds its frames.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

import safetensors.numpy

from heartbeat_core import storage
from heartbeat_core.arrays import Frames
from heartbeat_core.audio import decode
from heartbeat_core.datasets.dataset import REFERENCE_NAME
from heartbeat_core.errors import JobError, RecordingError, TooShort
from heartbeat_core.features.frames import compute_frames, count_frames
from heartbeat_core.recipe import FramesSettings
from heartbeat_core.recordings.fetch import read_recording, read_recordings
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import Limits, canonical_json
from jobs.listing.listing import reveal
from jobs.listing.shards import Shard
from jobs.output.plans import PlannedShard
from jobs.tasks.context import TASK_PATIENCE_S, RunFacts
from jobs.tasks.core import Turn
from jobs.tasks.isolation import Place
from jobs.tasks.processing import working_place
from jobs.tasks.shards import planned_shard

CHOICE_NAME = "_reference.json"


class NoReference(JobError):
    """No recording can be decoded, so that there is no reference."""


@dataclass(frozen=True, slots=True)
class ScanJob:
    """What the tasks that find the reference need.

    Attributes
    ----------
    run : RunFacts
    frames : FramesSettings
        How frames are computed; of the recipe.
    """

    run: RunFacts
    frames: FramesSettings


@dataclass(frozen=True, slots=True)
class Longest:
    """A recording that was decoded and is the longest of its shard.

    Attributes
    ----------
    shard : int
        The number of its shard.
    uri : str
        As it may be stored: without credentials or query.
    recording_id, audio_sha256 : str
    sample_rate_hz : int
        Native sample rate.
    n_frames : int
        Number of frames of the decoded recording.
    manifest : str | None
    manifest_row : int | None
        As those of ``Recording``.
    """

    shard: int
    uri: str
    recording_id: str
    audio_sha256: str
    sample_rate_hz: int
    n_frames: int
    manifest: str | None = None
    manifest_row: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What the headers of a shard claim.

    Attributes
    ----------
    shard : int
        The number of the shard.
    n_frames : int
        The most frames that one of them claims; 0 where no header can be read.
    errors : dict[str, int]
        Recordings that cannot be the reference, by ``error_type``.
    """

    shard: int
    n_frames: int
    errors: dict[str, int] = field(default_factory=dict)


def claim_task(planned: PlannedShard, job: ScanJob) -> Claim:
    """Run ``claim_shard`` on a shard of the plan."""
    return claim_shard(planned_shard(planned, job.run), job)


def scan_task(planned: PlannedShard, job: ScanJob) -> Longest | None:
    """Run ``scan_shard`` on a shard of the plan."""
    return scan_shard(planned_shard(planned, job.run), job)


def claim_shard(shard: Shard, job: ScanJob) -> Claim:
    """Return the largest claim of a shard's headers.

    Raises
    ------
    StorageError
        The store of a recording does not answer at all, or refuses the credentials of this process; or a manifest no
        longer contains an address.
    """
    with storage.using(job.run.access, TASK_PATIENCE_S), ExitStack() as stack:
        place = working_place(stack, job.run.limits, isolated=shard.isolated)
        recordings = [reveal(recording, job.run.path_column, job.run.driver) for recording in shard.recordings]
        claims, errors = _claimed_frames(recordings, job, place)
        return Claim(shard.index, max((n for n, _ in claims), default=0), dict(errors))


def scan_shard(shard: Shard, job: ScanJob) -> Longest | None:
    """Return the longest recording of a shard, the first of equals, None where none can be decoded.

    One recording is decoded, and one more for each claim that proves false.

    Raises
    ------
    StorageError
        As ``claim_shard``.
    """
    with storage.using(job.run.access, TASK_PATIENCE_S), ExitStack() as stack:
        place = working_place(stack, job.run.limits, isolated=shard.isolated)
        recordings = [reveal(recording, job.run.path_column, job.run.driver) for recording in shard.recordings]
        return _scan(shard.index, recordings, job, place)


def _scan(shard: int, recordings: list[Recording], job: ScanJob, place: Place) -> Longest | None:
    claims, _ = _claimed_frames(recordings, job, place)
    best: tuple[int, int] | None = None
    longest: Longest | None = None
    for order, (claimed, recording) in sorted(enumerate(claims), key=lambda claim: (-claim[1][0], claim[0])):
        if best is not None and (-claimed, order) > best:
            continue
        found = _decode_claim(shard, recording, job, place)
        if found is not None and (best is None or (-found.n_frames, order) < best):
            best, longest = (-found.n_frames, order), found
    return longest


def choose(claims: Mapping[int, int], decode: Callable[[set[int]], Iterable[Longest | None]]) -> Longest:
    """Return the longest recording of all shards, the one of the first shard where several are equal.

    Parameters
    ----------
    claims : Mapping[int, int]
        The most frames that the headers of each shard claim.
    decode : Callable[[set[int]], Iterable[Longest | None]]
        Returns what ``scan_shard`` finds in these shards. It is called for one shard first, and for twice as many
        each time that a claim proves false.

    Raises
    ------
    NoReference
        No recording can be decoded.
    """
    pending = deque(sorted((-n_frames, shard) for shard, n_frames in claims.items() if n_frames))
    best: Longest | None = None
    n_asked = 1
    while pending and (best is None or pending[0] < (-best.n_frames, best.shard)):
        asked = {pending.popleft()[1] for _ in range(min(n_asked, len(pending)))}
        found = [best, *decode(asked)]
        best = min((one for one in found if one), key=lambda one: (-one.n_frames, one.shard), default=None)
        n_asked *= 2
    if best is None:
        raise NoReference("none of the recordings can be decoded, so there is no reference to align with")
    return best


def read_choice(out: str) -> Longest | None:
    """Return the reference that is settled in this folder, None where none is."""
    try:
        return Longest(**json.loads(storage.read(storage.join(out, CHOICE_NAME))))
    except FileNotFoundError:
        return None


def store(longest: Longest, job: ScanJob) -> Longest:
    """Settle on a reference, store its frames, and return the recording that was settled on.

    Of several drivers, the first to store its choice settles it; the others adopt that choice, frames included.
    This is a task of the workers, so that the driver need not load the numeric libraries.

    Raises
    ------
    JobError
        The recording is no longer the one that was scanned.
    """
    with storage.using(job.run.access, TASK_PATIENCE_S):
        storage.create(storage.join(job.run.out, CHOICE_NAME), canonical_json(asdict(longest)))
        # Also after a lost answer, only what is stored counts.
        settled = read_choice(job.run.out)
        if settled is None:
            raise JobError(f"{storage.display(job.run.out)}/{CHOICE_NAME} was written and is not there")
        uri = storage.join(job.run.out, REFERENCE_NAME)
        if storage.find(uri) is None:
            storage.create(uri, safetensors.numpy.save({"reference.frames": _reference_frames(settled, job)}))
    return settled


def _reference_frames(longest: Longest, job: ScanJob) -> Frames:
    recording = Recording(longest.uri, "", manifest=longest.manifest, manifest_row=longest.manifest_row)
    shown = storage.display(longest.uri)
    try:
        data = read_recording(reveal(recording, job.run.path_column, job.run.driver), job.run.limits)
        if hashlib.sha256(data).hexdigest() != longest.audio_sha256:
            raise JobError(f"{shown} changed while the job ran: start it in a new folder")
        return decode_frames(data, job.run.limits, job.frames)[0]
    except RecordingError as error:
        raise JobError(f"the reference {shown} can't be read any more: {error}") from None


def _claimed_frames(
    recordings: Iterable[Recording], job: ScanJob, place: Place
) -> tuple[list[tuple[int, Recording]], Counter[str]]:
    """Return how many frames each header claims, and the errors of the recordings without frames by type."""
    claims: list[tuple[int, Recording]] = []
    errors: Counter[str] = Counter()
    with Turn() as turn:
        for recording, data in turn.each(read_recordings(recordings, job.run.limits)):
            try:
                if isinstance(data, RecordingError):
                    raise data
                claimed = place.call(claim_frames, data, job.run.limits, job.frames)
            except RecordingError as error:
                errors[error.error_type] += 1  # The shard's own task writes its failure row.
                continue
            claims.append((claimed, recording))
            if not claimed:
                errors[TooShort.error_type] += 1
    return claims, errors


def _decode_claim(shard: int, recording: Recording, job: ScanJob, place: Place) -> Longest | None:
    try:
        data = read_recording(recording, job.run.limits)
        frames, rate = place.call(decode_frames, data, job.run.limits, job.frames)
    except RecordingError:
        return None
    return Longest(
        shard,
        recording.public_uri,
        recording.recording_id,
        hashlib.sha256(data).hexdigest(),
        rate,
        len(frames),
        recording.manifest,
        recording.manifest_row,
    )


def claim_frames(data: bytes, limits: Limits, settings: FramesSettings) -> int:
    """Return how many frames a recording's header claims; 0 where it is shorter than one analysis frame.

    Parameters
    ----------
    data : bytes
        The whole file. It is decoded only if its header does not tell its length.
    limits : Limits
    settings : FramesSettings

    Raises
    ------
    RecordingError
        As ``audio.decode``.
    """
    header = decode.read_header(data, limits)
    n_samples = header.n_samples
    if n_samples is None:  # A streamed file does not know its length.
        n_samples = decode.decode(data, limits).samples.size
    return count_frames(n_samples, header.sample_rate_hz, settings.delta_time_s)


def decode_frames(data: bytes, limits: Limits, settings: FramesSettings) -> tuple[Frames, int]:
    """Return a recording's frames and its sample rate.

    Parameters
    ----------
    data : bytes
        The whole file.
    limits : Limits
    settings : FramesSettings

    Returns
    -------
    tuple[ndarray, int]
        Frames [n_frames, 2] float32 (Hz, linear magnitude), and the native sample rate in Hz.

    Raises
    ------
    RecordingError
        As ``audio.decode`` and ``compute_frames``.
    """
    waveform = decode.decode(data, limits)
    return compute_frames(waveform.samples, waveform.sample_rate_hz, settings), waveform.sample_rate_hz
