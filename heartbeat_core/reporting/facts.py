"""What a report is made from: counts that are exact, and samples of the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from heartbeat_core.bundles.drift import Drift
from heartbeat_core.bundles.manifest import BundleManifest
from heartbeat_core.results.sample import Sample

PREDICTION_COLUMNS = ("predicted_label", "confidence", "unsure", "unsure_reason")
RECORDING_COLUMNS = (
    *("duration_s", "sample_rate_hz", "channels", "format", "subtype", "size_bytes", "truncated"),
    *("peak_amplitude", "rms_amplitude", "dc_offset", "clipped_fraction", "silent_fraction"),
    *("offset_frames", "alignment_distance", "n_frames_cut"),
    *("heart_rate_bpm", "heart_rate_confidence", "rhythm_low_period_s"),
    *("device", "database", "site"),
)
"""Of the tables ``features`` and ``recordings``; a table that lacks one is shown without it."""


@dataclass(frozen=True, slots=True)
class FailureType:
    """The failures of one ``error_type``.

    Attributes
    ----------
    count : int
    first : Sequence[tuple[str, str]]
        Path and message of the first ones.
    """

    count: int
    first: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Task:
    """What the commit record of one shard says of its work.

    Attributes
    ----------
    listed : int
        Recordings of the shard.
    worker : str
        Host and process.
    started_at, ended_at : float
        Seconds since 1970.
    seconds : Mapping[str, float]
        Seconds spent in each of ``run.STAGES``, by its name.
    """

    listed: int
    worker: str
    started_at: float
    ended_at: float
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ShardDrift:
    """How far the recordings of one shard lie from the training data.

    Attributes
    ----------
    shard, n : int
        Its number, and how many recordings were measured there.
    shift : float
        NaN of a single recording.
    first : str | None
        The path of its first recording, of the shards with the largest shifts; None elsewhere.
    """

    shard: int
    n: int
    shift: float
    first: str | None = None


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What is known of a run, finished or not.

    Attributes
    ----------
    job, folder, state : str
    listed, done, failed, left : int
        Recordings, each counted by its newest row.
    n_generations : int
    n_duplicates : int | None
        Recordings with the same audio as an earlier one; None where nobody has looked for them.
    labels : Mapping[str, int]
        Rows by label.
    failures : Mapping[str, FailureType]
        By ``error_type``, the commonest first.
    predictions, recordings : Sample | None
        Of the tables, where there are such.
    drift : Drift | None
        Sums of all shards; None where nothing was measured.
    shards : Sequence[ShardDrift]
        In the order of the listing.
    tasks : Sequence[Task]
        One for each shard whose record has notes.
    manifest : BundleManifest | None
        The model, where it can be read.
    provenance : Mapping[str, str]
        Where the folder comes from, in words.
    made_at : str
    """

    job: str
    folder: str
    state: str
    listed: int
    done: int
    failed: int
    left: int
    n_generations: int
    n_duplicates: int | None
    labels: Mapping[str, int]
    failures: Mapping[str, FailureType]
    predictions: Sample | None
    recordings: Sample | None
    drift: Drift | None
    shards: Sequence[ShardDrift]
    tasks: Sequence[Task]
    manifest: BundleManifest | None
    provenance: Mapping[str, str] = field(default_factory=dict)
    made_at: str = ""
