"""What a run will take, extrapolated from a measured sample: time, requests, output, memory and failures.

``jobs.planning.sample`` lists and measures; everything here is computed from its figures alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import sqrt
from statistics import fmean, median, stdev

from heartbeat_core.formats.parquet import ROW_GROUP_BYTES
from heartbeat_core.recordings.fetch import READ_AHEAD, READ_AHEAD_BYTES
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.storage.uris import FAILURES
from jobs.listing.shards import LOOK_AHEAD, expected_cost, make_shards, shard_cost
from jobs.planning.request_counts import (
    A_RECORDING,
    PAGE_KEYS,
    JobName,
    Requests,
    requests_of_listing,
    requests_of_run,
)
from jobs.planning.sample import Listed, Measured
from jobs.settings import ShardSettings, threads_a_worker
from jobs.tasks.parts import BATCH_BYTES

EFFICIENCY = 0.9
"""Share of a worker's CPU time that the job's own functions use; measured as 0.91 over 4,160 recordings."""
START_S = 3.0
"""Time to start a cluster on this machine, load the libraries and stop it."""
TASK_S = 0.001
"""Time that driver and scheduler take for one task, from handing it out to taking its result; measured as 0.33 ms where
they are busy, and 0.96 at most where tasks end one by one (``tests/benchmarks/driver.py``)."""
TASK_RECORDING_S = 0.0000003
"""Time that they take on top for each recording of the task: the driver reads the plan's sizes, measured as
0.1 to 0.2 µs."""
CUT_RECORDINGS = 100_000
"""Up to so many recordings are cut into shards as the job does it; of more, all are taken to be of average size."""
CONFIDENCE = 0.95
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Range:
    """A figure with the bounds of its 95 % interval.

    All three are the same where all recordings were sampled.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FailureKind:
    """One type of failure.

    Attributes
    ----------
    error_type : str
    n_sample : int
        Its count in the sample.
    share : Range
        Its expected share of all recordings, 0 to 1.
    example : str
        The public URI of the first recording that failed so.
    """

    error_type: str
    n_sample: int
    share: Range
    example: str


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds. The total is start + listing + work + end, where work is the longest of compute, reading and driver."""

    start_s: float
    listing_s: float
    compute_s: float
    reading_s: float
    driver_s: float
    work_s: float
    end_s: float
    total_s: Range


@dataclass(frozen=True, slots=True)
class Costs:
    """What requests cost, in the currency of the prices; None where no price was given.

    Attributes
    ----------
    put : float | None
        Of PUT and LIST.
    get : float | None
        Of GET and HEAD.
    """

    put: float | None
    get: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run is expected to take. CPU seconds are those of one core of this machine.

    Attributes
    ----------
    job : JobName
    n_listed, n_sample, n_recordings : int
        Recordings that were listed, that were sampled, and that the estimate is for.
    n_workers : int
        Worker processes.
    tasks_a_worker : int
        How many shards a worker has in hand at once: fewer where the inputs are on disk, since the output is then
        taken to be there as well.
    n_shards : int
    input_bytes, audio_s : float
        Bytes and seconds of audio of all recordings.
    longest_sampled_s : float
        Seconds of audio of the longest recording in the sample; 0 if none could be processed.
    read_s_a_recording : float
        The median time to read one, in wall-clock seconds.
    compute_s_a_recording : float
        The mean time to process one, in CPU seconds, with its part of what is done for each shard.
    times : Times
    output_bytes : dict[str, float]
        Parquet bytes by table; the plan is one of them.
    requests : Requests
        To the stores; all of them, those of the listing included.
    costs : Costs
    worker_memory_bytes : float
        The most that one worker takes.
    failures : Range
        The share of recordings that fail, 0 to 1.
    failure_kinds : list[FailureKind]
        The commonest first.
    """

    job: JobName
    n_listed: int
    n_sample: int
    n_recordings: int
    n_workers: int
    tasks_a_worker: int
    n_shards: int
    input_bytes: float
    audio_s: float
    longest_sampled_s: float
    read_s_a_recording: float
    compute_s_a_recording: float
    times: Times
    output_bytes: dict[str, float]
    requests: Requests
    costs: Costs
    worker_memory_bytes: float
    failures: Range
    failure_kinds: list[FailureKind]


def shard_sizes(sample: Sequence[Recording], n_recordings: int, settings: ShardSettings) -> Iterator[int]:
    """Yield the recordings of each shard that the job will cut from so many recordings like those of the sample.

    Parameters
    ----------
    sample : Sequence[Recording]
        At least one; it is repeated as often as needed.
    n_recordings : int
        Of all shards together.
    settings : ShardSettings
        As of ``make_shards``.

    Examples
    --------
    >>> sample = [Recording("file:///a.wav", "a.wav", size_bytes=65_536)]
    >>> list(shard_sizes(sample, 100, ShardSettings()))
    [40, 30, 21, 9]
    """
    mean_bytes = fmean(one.expected_bytes for one in sample)
    mean_cost = fmean(map(expected_cost, sample))
    most = max(1, min(settings.recordings, int(settings.bytes // max(mean_bytes, 1))))
    n_left = n_recordings
    if n_recordings > CUT_RECORDINGS:
        while n_left > LOOK_AHEAD:
            n_seen = n_recordings - n_left + LOOK_AHEAD
            n_taken = max(1, min(most, int(shard_cost(n_seen * mean_cost) / mean_cost)))
            yield n_taken
            n_left -= n_taken
    yield from map(len, make_shards(islice(cycle(sample), n_left), settings))


def estimate(
    listed: Listed,
    measured: Measured,
    settings: ShardSettings,
    n_workers: int,
    n_recordings: int,
    put_price: float | None = None,
    get_price: float | None = None,
    *,
    page_s: float = 0.0,
) -> Estimate:
    """Extrapolate to ``n_recordings`` of the listed kind.

    Parameters
    ----------
    listed : Listed
        What the inputs hold, with the sample.
    measured : Measured
        What the sample has cost, as ``measure`` returns it for shards of the largest of ``shard_sizes``.
    settings : ShardSettings
        Those of the run.
    n_workers : int
        Worker processes.
    n_recordings : int
        How many to plan for.
    put_price, get_price : float | None
        Of 1,000 requests, in any currency; None where it is not known.
    page_s : float
        How long the inputs' store takes to answer one request, in seconds.
    """
    scale = n_recordings / listed.n_recordings
    sizes = list(shard_sizes(listed.sample, n_recordings, settings))
    n_shards = len(sizes)
    n_failing = _failing_shards(sizes, len(measured.failures) / len(listed.sample))
    n_remote = round(listed.n_remote * scale)
    tasks_a_worker = threads_a_worker(on_disk=n_remote == 0)
    times = _times(listed, measured, n_workers, n_recordings, n_shards, page_s)
    requests = requests_of_run(
        measured.job, n_recordings, n_remote, n_shards, n_workers, times.total_s.value, n_failing
    )
    if n_remote:
        requests += requests_of_listing(round(listed.n_keys * scale), listed.n_prefixes)
    return Estimate(
        job=measured.job,
        n_listed=listed.n_recordings,
        n_sample=len(listed.sample),
        n_recordings=n_recordings,
        n_workers=n_workers,
        tasks_a_worker=tasks_a_worker,
        n_shards=n_shards,
        input_bytes=scale * (listed.n_bytes + listed.n_unsized * _mean(measured.sizes)),
        audio_s=n_recordings * sum(measured.durations_s) / len(listed.sample),
        longest_sampled_s=max(measured.durations_s, default=0.0),
        read_s_a_recording=median(measured.read_s),
        compute_s_a_recording=_compute_s(measured),
        times=times,
        output_bytes={
            table: _output_bytes(measured, table, n_recordings, n_failing + 1 if table == FAILURES else n_shards)
            for table in measured.table_bytes
        },
        requests=requests,
        costs=Costs(_cost(requests.put + requests.list, put_price), _cost(requests.get + requests.head, get_price)),
        worker_memory_bytes=_worker_memory(listed, measured, tasks_a_worker, max(sizes)),
        failures=_share(len(measured.failures), len(listed.sample), n_recordings),
        failure_kinds=_failure_kinds(measured, len(listed.sample), n_recordings),
    )


def _listing_s(listed: Listed, scale: float, page_s: float) -> float:
    """Return the time until the first recording, which does not grow, and that of all keys and pages after it."""
    # The pages after the first are in the time that was measured, if there were any.
    n_more_pages = scale * listed.n_keys // PAGE_KEYS - scale * (listed.n_keys // PAGE_KEYS)
    return listed.first_s + scale * (listed.seconds - listed.first_s) + max(0.0, n_more_pages) * page_s


def _times(
    listed: Listed, measured: Measured, n_workers: int, n_recordings: int, n_shards: int, page_s: float
) -> Times:
    n_passes = A_RECORDING[measured.job].get
    listing_s = _listing_s(listed, n_recordings / listed.n_recordings, page_s)
    compute_s = n_recordings * _compute_s(measured) / n_workers / EFFICIENCY
    reading_s = n_passes * n_recordings * fmean(measured.read_s) / _reads_at_once(listed) / n_workers
    driver_s = n_passes * (n_shards * TASK_S + n_recordings * TASK_RECORDING_S)
    # The driver removes what is no longer needed, one file after the other.
    run = requests_of_run(measured.job, n_recordings, 0, n_shards, n_workers, 0.0)
    end_s = run.delete * median(measured.read_s)
    work_s = max(compute_s, reading_s, driver_s)
    total_s = START_S + listing_s + work_s + end_s
    spread = compute_s * _relative_error(measured.compute_s, n_recordings)
    least, most = (max(bound, reading_s, driver_s) - work_s for bound in (compute_s - spread, compute_s + spread))
    return Times(
        START_S,
        listing_s,
        compute_s,
        reading_s,
        driver_s,
        work_s,
        end_s,
        Range(total_s, total_s + least, total_s + most),
    )


def _failing_shards(sizes: Sequence[int], share: float) -> int:
    """Return in how many shards something fails, if each recording fails with the same chance."""
    return round(sum(1 - (1 - share) ** size for size in sizes))


def _output_bytes(measured: Measured, table: str, n_recordings: int, n_parts: int) -> float:
    """Return the bytes of a table: those of so many empty parts, plus what each recording adds."""
    return n_parts * measured.empty_bytes.get(table, 0) + n_recordings * _added_bytes(measured, table)


def _added_bytes(measured: Measured, table: str) -> float:
    """Return what each recording adds to a table."""
    added = measured.table_bytes[table] - measured.n_parts * measured.empty_bytes.get(table, 0)
    return added / len(measured.compute_s)


def _compute_s(measured: Measured) -> float:
    return fmean(measured.compute_s) + measured.shared_s / len(measured.compute_s)


def _relative_error(values: Sequence[float], n_all: int) -> float:
    """Return half the width of the mean's 95 % interval, divided by the mean; 0 where all were sampled."""
    if len(values) >= n_all:
        return 0.0
    if len(values) < 2:
        return 1.0
    return _Z * stdev(values) / sqrt(len(values)) / fmean(values) * sqrt(1 - len(values) / n_all)


def _share(n_found: int, n_sample: int, n_all: int) -> Range:
    """Return a share with its Clopper-Pearson interval; exact where all were sampled."""
    share = n_found / n_sample
    if n_sample >= n_all:
        return Range(share, share, share)
    # scipy.stats takes a second to load.
    from scipy.stats import binomtest

    bounds = binomtest(n_found, n_sample).proportion_ci(CONFIDENCE, method="exact")
    return Range(share, float(bounds.low), float(bounds.high))


def _failure_kinds(measured: Measured, n_sample: int, n_all: int) -> list[FailureKind]:
    counts = Counter(failure.error_type for failure in measured.failures)
    examples = {failure.error_type: failure.recording.public_uri for failure in reversed(measured.failures)}
    return [
        FailureKind(error_type, count, _share(count, n_sample, n_all), examples[error_type])
        for error_type, count in counts.most_common()
    ]


def _reads_at_once(listed: Listed) -> int:
    """Return how many recordings a task reads at the same time."""
    return READ_AHEAD if listed.n_remote else 1


def _worker_memory(listed: Listed, measured: Measured, tasks_a_worker: int, shard_size: int) -> float:
    """Return this process's peak, plus what a worker reads ahead, and the largest shards that its tasks hold.

    A shard is held as frames until they fill a row group, and then as its compressed parts.
    """
    read_ahead = min(READ_AHEAD_BYTES, tasks_a_worker * _reads_at_once(listed) * _mean(measured.sizes))
    frames = min(BATCH_BYTES + ROW_GROUP_BYTES, shard_size * measured.frames_bytes / len(measured.compute_s))
    parts = shard_size * sum(_added_bytes(measured, table) for table in measured.empty_bytes)
    return measured.peak_bytes + read_ahead + (tasks_a_worker - 1) * frames + tasks_a_worker * parts


def _cost(n_requests: int, price: float | None) -> float | None:
    return None if price is None else n_requests / 1000 * price


def _mean(values: Sequence[int]) -> float:
    return fmean(values) if values else 0.0
