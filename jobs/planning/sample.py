"""Measure what a job will face: list its inputs as the job does, and process a random sample with its functions.

Everything runs in this process, one recording after another; nothing is written.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar

from heartbeat_core import storage
from heartbeat_core.alignment.placement import Reference
from heartbeat_core.bundles import bundle
from heartbeat_core.features.catalogue import default_sets
from heartbeat_core.formats.kept import KeptColumn, KeptTypes
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.fetch import read_recording
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.recordings.recording import Failure, Recording
from heartbeat_core.results.plan import plan_table
from heartbeat_core.settings import Limits
from heartbeat_core.storage.uris import FAILURES, PLAN_FOLDER
from jobs.listing.kept import ManifestColumns
from jobs.listing.listing import Listing, reveal
from jobs.listing.pseudonyms import opened, pseudonyms
from jobs.listing.shards import Shard
from jobs.output.plans import Generation
from jobs.output.provenance import describe_origin, entries_of
from jobs.planning.request_counts import JobName
from jobs.settings import JobSettings
from jobs.tasks.context import RunFacts
from jobs.tasks.isolation import Here
from jobs.tasks.parts import ClassifyWork, DatasetWork, PartFacts, ShardParts, ShardWork, failures_part
from jobs.tasks.processing import process_recordings
from jobs.tasks.reference import ScanJob, choose, claim_shard, decode_frames, scan_shard

T = TypeVar("T")

SEED = 0
"""A fixed seed, so that the same inputs give the same sample."""

_RUN_ID = "0" * 32
_MOST_PREFIXES = 1001


@dataclass(frozen=True, slots=True)
class Listed:
    """What the inputs hold.

    Attributes
    ----------
    sample : tuple[Recording, ...]
        Taken at random, with pseudonyms if the settings ask for them.
    n_recordings : int
    n_bytes : int
        Of the recordings whose size the store gives.
    n_unsized : int
        The other recordings.
    n_remote : int
        Recordings that are read from a store; the rest are on disk.
    n_keys : int
        Recordings, and files that the listing skipped or filtered out.
    n_prefixes : int
        Folders directly below the inputs, up to 1001.
    seconds, first_s : float
        How long listing took, and the part of it until the first recording.
    """

    sample: tuple[Recording, ...]
    n_recordings: int
    n_bytes: int
    n_unsized: int
    n_remote: int
    n_keys: int
    n_prefixes: int
    seconds: float
    first_s: float


@dataclass
class Measured:
    """The cost of the sample in this process.

    Attributes
    ----------
    job : JobName
        The job whose functions were called.
    read_s : list[float]
        Wall-clock seconds to read each recording.
    compute_s : list[float]
        CPU seconds for each recording, including reading.
    sizes : list[int]
        Bytes of each recording that could be processed; ``durations_s`` holds the durations of the same recordings.
    shared_s : float
        CPU seconds of the work that is done per shard: scoring, tables, Parquet; for a dataset also the header scan.
    table_bytes : dict[str, int]
        Parquet bytes by table, for the whole sample, in ``n_parts`` parts; the plan is one of the tables.
    empty_bytes : dict[str, int]
        Parquet bytes of a part without rows, by table.
    failures : list[Failure]
        The recordings that could not be processed.
    frames_bytes : int
        Memory that the frames of all these recordings take.
    peak_bytes : int
        The largest memory that this process has used.
    """

    job: JobName
    read_s: list[float] = field(default_factory=list)
    compute_s: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    durations_s: list[float] = field(default_factory=list)
    shared_s: float = 0.0
    table_bytes: dict[str, int] = field(default_factory=dict)
    empty_bytes: dict[str, int] = field(default_factory=dict)
    n_parts: int = 0
    failures: list[Failure] = field(default_factory=list)
    frames_bytes: int = 0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Planned:
    """The job that is planned.

    Attributes
    ----------
    job : JobName
    work : ShardWork
        What the job does with the recordings of a shard.
    facts : PartFacts
        Facts as long as those of a real run.
    scan_s : float
        CPU seconds to read the headers in search of the longest recording; 0 if the job does not need it.
    """

    job: JobName
    work: ShardWork
    facts: PartFacts
    scan_s: float = 0.0


def list_inputs(inputs: Sequence[str], settings: JobSettings, n_sample: int) -> Listed:
    """List the inputs as the job would, and keep a random sample in which each recording has the same chance.

    Parameters
    ----------
    inputs : Sequence[str]
        As of ``Listing``.
    settings : JobSettings
        Those of the job.
    n_sample : int
        The most recordings in the sample; of fewer, all are taken.

    Raises
    ------
    InputError
        As the job's listing.
    ConfigError
        As ``pseudonyms``, if the settings ask for these.
    """
    columns = ManifestColumns(settings.keep_columns, settings.patient_column)
    listing = Listing(inputs, settings.path_column, settings.selection, columns)
    random = Random(SEED)
    sample: list[Recording] = []
    prefixes: set[str] = set()
    n_bytes = n_unsized = n_remote = 0
    first_s = 0.0
    began = time.perf_counter()
    for index, recording in enumerate(listing):
        first_s = first_s or time.perf_counter() - began
        n_bytes += recording.size_bytes or 0
        n_unsized += recording.size_bytes is None
        n_remote += not storage.is_local(recording.uri)
        if len(prefixes) < _MOST_PREFIXES:
            prefixes.add(recording.relative_path.rpartition("/")[0].partition("/")[0])
        if index < n_sample:
            sample.append(recording)
        elif (place := random.randrange(index + 1)) < n_sample:
            sample[place] = recording
    if settings.salt_env is not None:
        sample = list(map(pseudonyms(settings.salt_env).hide, sample))
    return Listed(
        sample=tuple(sample),
        n_recordings=listing.n_recordings,
        n_bytes=n_bytes,
        n_unsized=n_unsized,
        n_remote=n_remote,
        n_keys=listing.n_recordings + listing.left_out.n_skipped + listing.left_out.n_filtered,
        n_prefixes=len(prefixes),
        seconds=time.perf_counter() - began,
        first_s=first_s,
    )


def plan_classify(model: str, features: Sequence[str] | None, kept: Sequence[KeptColumn] = ()) -> Planned:
    """Load a model, and return the job that classifies with it.

    Parameters
    ----------
    model : str
        As of ``bundle.load``.
    features : Sequence[str] | None
        Names of the feature sets to write; None takes the default sets of the model's kind of input.
    kept : Sequence[KeptColumn]
        The kept columns with their types.

    Raises
    ------
    BundleError, InputError, StoreUnavailable
        As ``bundle.load``.
    """
    loaded = bundle.load(model)
    features = features or default_sets(loaded.manifest.recipe.input)
    return Planned(
        "classify", ClassifyWork(loaded, features), replace(_facts(**loaded.manifest.provenance), kept=tuple(kept))
    )


def settle_types(sample: Sequence[Recording], keep_columns: Sequence[str]) -> tuple[KeptColumn, ...]:
    """Return the kept columns with the types that hold the values of the sample.

    Parameters
    ----------
    sample : Sequence[Recording]
        Their kept cells are in the order of ``keep_columns``.
    keep_columns : Sequence[str]
        Names of the columns, as the user gave them.

    Raises
    ------
    InputError
        A value is not valid Unicode.
    """
    types = KeptTypes(keep_columns)
    for recording in sample:
        types.add(recording.kept, storage.display(recording.public_uri))
    return types.columns()


def plan_dataset(recipe: Recipe, sample: Sequence[Recording], settings: JobSettings) -> Planned:
    """Find the longest recording of the sample, as the job does of all, and return the job that aligns with it.

    Parameters
    ----------
    recipe : Recipe
        Of the dataset.
    sample : Sequence[Recording]
        As ``list_inputs`` takes it, without pseudonyms.
    settings : JobSettings
        Those of the job.

    Raises
    ------
    JobError
        No recording of the sample can be decoded.
    """
    facts = RunFacts("", _RUN_ID, settings.limits, (), storage.Access(settings.s3), settings.path_column)
    scan = ScanJob(facts, recipe.frames)
    shard = Shard(0, tuple(sample))
    began = time.process_time()
    claim = claim_shard(shard, scan)
    scan_s = time.process_time() - began
    longest = choose({claim.shard: claim.n_frames}, lambda _: [scan_shard(shard, scan)])
    recording = next(one for one in sample if one.recording_id == longest.recording_id)
    data = read_recording(reveal(recording, settings.path_column, ""), settings.limits)
    reference = Reference(decode_frames(data, settings.limits, recipe.frames)[0])
    work = DatasetWork(recipe, reference, ORIGINAL_LABELS, padded=False)
    return Planned("build-dataset", work, _facts(recipe=recipe.name, layout="compact"), scan_s)


def measure(
    sample: Sequence[Recording],
    planned: Planned,
    settings: JobSettings,
    shard_size: int,
    on_recording: Callable[[int, int], None] = lambda done, failed: None,
) -> Measured:
    """Process the sample with the functions of the job.

    Parameters
    ----------
    sample : Sequence[Recording]
        As ``list_inputs`` takes it; at least one.
    planned : Planned
        The job.
    settings : JobSettings
        Those of the job.
    shard_size : int
        How many recordings are taken for one shard.
    on_recording : Callable[[int, int], None]
        Called after each recording with 1, and with 1 if it failed and 0 if not.

    Raises
    ------
    ConfigError, JobError, StorageError
        As ``opened``.
    """
    limits = settings.limits
    whole = opened(sample, settings.salt_env, settings.path_column, "")
    _warm_up(whole, planned, limits)
    measured = Measured(planned.job, shared_s=planned.scan_s)
    _add_bytes(measured, {PLAN_FOLDER: to_parquet(plan_table([(0, sample)]))})
    for start in range(0, len(whole), shard_size):
        results: list[RecordingResult] = []
        failures: list[Failure] = []
        for recording in whole[start : start + shard_size]:
            done, failed = _measure_one(recording, planned.work, limits, measured)
            results += done
            failures += failed
            on_recording(1, len(failed))
        began = time.process_time()
        parts = _parts(planned, results, failures)
        measured.shared_s += time.process_time() - began
        measured.failures += failures
        measured.sizes += [result.size_bytes for result in results]
        measured.durations_s += [result.duration_s for result in results]
        measured.frames_bytes += sum(result.frames.nbytes for result in results)
        measured.n_parts += 1
        _add_bytes(measured, parts)
    measured.empty_bytes = {table: len(data) for table, data in _parts(planned, [], []).items()}
    measured.peak_bytes = _peak_bytes()
    return measured


class _ClockedHere(Here):
    """Measures how long its last call took, in wall-clock time."""

    seconds = 0.0

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        began = time.perf_counter()
        try:
            return super().call(function, *arguments)
        finally:
            self.seconds = time.perf_counter() - began


def _measure_one(
    recording: Recording, work: ShardWork, limits: Limits, measured: Measured
) -> tuple[list[RecordingResult], list[Failure]]:
    place = _ClockedHere(limits)
    began, cpu_began = time.perf_counter(), time.process_time()
    done, failed = process_recordings([recording], work, limits, place)
    measured.compute_s.append(time.process_time() - cpu_began)
    measured.read_s.append(time.perf_counter() - began - place.seconds)
    return done, failed


def _warm_up(recordings: Sequence[Recording], planned: Planned, limits: Limits) -> None:
    """Process one recording first, because a worker loads its libraries and transforms the reference only once."""
    for recording in recordings:
        done, _ = process_recordings([recording], planned.work, limits, Here(limits))
        if done:
            planned.work.rows(done, planned.facts)
            return


def _parts(planned: Planned, results: Sequence[RecordingResult], failures: Sequence[Failure]) -> dict[str, bytes]:
    """Return the parts of a shard for all tables."""
    made = ShardParts(planned.work, planned.facts)
    for result in results:
        made.add(result)
    return {**made.finish().tables, FAILURES: failures_part(failures, planned.facts)}


def _facts(**provenance: str) -> PartFacts:
    """Return facts that are as long as those of a run."""
    listed = Generation(0, "", 0, 1, 1, 1, listing_sha256="0" * 64)
    origin = entries_of(describe_origin(JobSettings()), (listed,), {"kind": "local", "workers": 1, "threads": 1})
    return PartFacts(_RUN_ID, 0, {"run_id": _RUN_ID, **origin, **provenance})


def _add_bytes(measured: Measured, parts: Mapping[str, bytes]) -> None:
    for table, data in parts.items():
        measured.table_bytes[table] = measured.table_bytes.get(table, 0) + len(data)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
