"""What a run will take: a measured sample and a count to time, requests, output, memory and failures.

Pure: ``jobs.sample`` lists and measures, this extrapolates. What is assumed is said beside each figure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import sqrt
from statistics import fmean, median, stdev

from heartbeat_core.recordings.fetch import READ_AHEAD, READ_AHEAD_BYTES
from heartbeat_core.recordings.recording import Recording
from jobs.listing.shards import make_shards
from jobs.planning.request_counts import A_RECORDING, JobName, Requests, requests_of_listing, requests_of_run
from jobs.planning.sample import Listed, Measured
from jobs.settings import ShardSettings

EFFICIENCY = 0.9
"""Share of a worker's core that goes into the job's own functions: 0.91 of its CPU time over 4,160 recordings."""
START_S = 3.0
"""For starting a cluster on this machine, loading the libraries and ending it."""
TASK_S = 0.004
"""Driver and scheduler for one task, from handing it out to taking its result."""
TASK_RECORDING_S = 0.00005
"""And for each recording that it names."""
TASKS_A_WORKER = 4
"""Shards that a worker has in hand at once where the output is in a bucket."""
SHARDED_RECORDINGS = 100_000
"""Recordings from which shards are made to learn how many one holds; beyond, their number grows in proportion."""
CONFIDENCE = 0.95
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Range:
    """A figure with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FailureKind:
    """One type of failure: how many of the sample, the share expected of all, and one recording of it."""

    error_type: str
    n_sample: int
    share: Range
    example: str


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds. The total is start, listing, work and end; work is the longest of computing, reading and driver."""

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
    """What requests cost, in the currency of the prices; None where no price was given."""

    put: float | None
    get: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run is expected to take. CPU seconds are of one core of this machine."""

    job: JobName
    n_listed: int
    n_sample: int
    n_recordings: int
    n_workers: int
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


def count_shards(sample: Sequence[Recording], n_recordings: int, settings: ShardSettings) -> int:
    """Return how many shards the job will cut from so many recordings like those of the sample."""
    n_cut = min(n_recordings, SHARDED_RECORDINGS)
    n_shards = sum(1 for _ in make_shards(islice(cycle(sample), n_cut), settings))
    return -(-n_shards * n_recordings // n_cut)


def estimate(
    listed: Listed,
    measured: Measured,
    settings: ShardSettings,
    n_workers: int,
    n_recordings: int,
    put_price: float | None = None,
    get_price: float | None = None,
) -> Estimate:
    """Extrapolate to ``n_recordings`` of the listed kind; the prices are of 1,000 requests."""
    scale = n_recordings / listed.n_recordings
    n_shards = count_shards(listed.sample, n_recordings, settings)
    n_remote = round(listed.n_remote * scale)
    times = _times(listed, measured, n_workers, n_recordings, n_shards)
    requests = requests_of_run(measured.job, n_recordings, n_remote, n_shards, n_workers, times.total_s.value)
    if n_remote:
        requests += requests_of_listing(round(listed.n_keys * scale), listed.n_prefixes)
    return Estimate(
        job=measured.job,
        n_listed=listed.n_recordings,
        n_sample=len(listed.sample),
        n_recordings=n_recordings,
        n_workers=n_workers,
        n_shards=n_shards,
        input_bytes=scale * (listed.n_bytes + listed.n_unsized * _mean(measured.sizes)),
        audio_s=n_recordings * sum(measured.durations_s) / len(listed.sample),
        longest_sampled_s=max(measured.durations_s, default=0.0),
        read_s_a_recording=median(measured.read_s),
        compute_s_a_recording=_compute_s(measured),
        times=times,
        output_bytes={table: _output_bytes(measured, table, n_recordings, n_shards) for table in measured.table_bytes},
        requests=requests,
        costs=Costs(_cost(requests.put + requests.list, put_price), _cost(requests.get + requests.head, get_price)),
        worker_memory_bytes=_worker_memory(measured),
        failures=_share(len(measured.failures), len(listed.sample), n_recordings),
        failure_kinds=_failure_kinds(measured, len(listed.sample), n_recordings),
    )


def _times(listed: Listed, measured: Measured, n_workers: int, n_recordings: int, n_shards: int) -> Times:
    n_passes = A_RECORDING[measured.job].get
    listing_s = listed.seconds * n_recordings / listed.n_recordings
    compute_s = n_recordings * _compute_s(measured) / n_workers / EFFICIENCY
    reading_s = n_passes * n_recordings * fmean(measured.read_s) / READ_AHEAD / n_workers
    driver_s = n_passes * (n_shards * TASK_S + n_recordings * TASK_RECORDING_S)
    # The driver takes away what is no longer needed, one after the other.
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


def _output_bytes(measured: Measured, table: str, n_recordings: int, n_shards: int) -> float:
    """Return the bytes of a table: what a part takes even without rows, and what each recording adds."""
    empty = measured.empty_bytes.get(table, 0)
    added = measured.table_bytes[table] - measured.n_parts * empty
    return n_shards * empty + n_recordings * added / len(measured.compute_s)


def _compute_s(measured: Measured) -> float:
    return fmean(measured.compute_s) + measured.shared_s / len(measured.compute_s)


def _relative_error(values: Sequence[float], n_all: int) -> float:
    """Return half the width of the mean's 95 % interval over the mean; 0 where all were sampled, 1 for a single one."""
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


def _worker_memory(measured: Measured) -> float:
    """Return what a process like this one holds, with the bytes read ahead and the frames of its other shards."""
    read_ahead = min(READ_AHEAD_BYTES, TASKS_A_WORKER * READ_AHEAD * _mean(measured.sizes))
    return measured.peak_bytes + read_ahead + (TASKS_A_WORKER - 1) * measured.shard_bytes


def _cost(n_requests: int, price: float | None) -> float | None:
    return None if price is None else n_requests / 1000 * price


def _mean(values: Sequence[int]) -> float:
    return fmean(values) if values else 0.0
