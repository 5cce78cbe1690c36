"""Prometheus metrics of a job, from its commit records: as text, or served on loopback while a driver works.

Counters count rows as they were written, so they never fall: a recording that an update or a retry takes again counts
once more. Bytes and stage seconds come from the notes of the records, which records of earlier releases lack.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Metric, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from heartbeat_core.errors import ConfigError
from jobs.output.ledger import Commit

LOOPBACK = "127.0.0.1"


class JobMetrics(Collector):
    """The sums of the commit records that were taken in, ready to be scraped at any time.

    Parameters
    ----------
    job : str
        Name of the job, such as ``classify``.
    run_id : str
        Of the job, whichever of its drivers is working.
    n_shards, n_recordings : int
        Of all generations.
    """

    def __init__(self, job: str, run_id: str, n_shards: int, n_recordings: int) -> None:
        self._labels = {"job_name": job, "run_id": run_id}
        self._n_shards = n_shards
        self._n_recordings = n_recordings
        self._taking = threading.Lock()
        self._shards: set[int] = set()
        self._listed = 0
        self._failures: Counter[str] = Counter()
        self._size_bytes = 0
        self._seconds: Counter[str] = Counter()
        self._last_commit_at = 0.0

    def take(self, commits: Iterable[Commit]) -> None:
        """Add commit records; one that was taken in before does not count again."""
        with self._taking:
            for commit in commits:
                if commit.shard in self._shards:
                    continue
                self._shards.add(commit.shard)
                self._listed += commit.listed
                # Records of earlier releases do not tell the reasons.
                self._failures.update(commit.errors or ({"unknown": commit.failed} if commit.failed else {}))
                self._size_bytes += commit.notes.get("size_bytes", 0)
                for stage, seconds in commit.notes.get("seconds", {}).items():
                    self._seconds[stage] += seconds
                self._last_commit_at = max(self._last_commit_at, commit.ended_at or 0.0)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        with self._taking:
            n_failed = self._failures.total()
            yield self._counter(
                "heartbeat_recordings",
                "Recordings whose row is committed.",
                "outcome",
                {"done": self._listed - n_failed, "failed": n_failed},
            )
            yield self._counter(
                "heartbeat_failures", "Failure rows that are committed.", "error_type", dict(self._failures)
            )
            yield self._counter(
                "heartbeat_stage_seconds",
                "Seconds that tasks have spent: features and model in processor time, the others in wall time.",
                "stage",
                dict(self._seconds),
            )
            yield self._counter("heartbeat_bytes", "Bytes of the recordings that are done.", None, self._size_bytes)
            yield self._counter("heartbeat_shards_committed", "Shards that are committed.", None, len(self._shards))
            yield self._gauge("heartbeat_shards_left", "Shards to do.", self._n_shards - len(self._shards))
            yield self._gauge(
                "heartbeat_recordings_left", "Recordings without a row.", self._n_recordings - self._listed
            )
            yield self._gauge(
                "heartbeat_last_commit_timestamp_seconds",
                "When the last shard was committed, in seconds since 1970; 0 before the first.",
                self._last_commit_at,
            )

    def _counter(self, name: str, told: str, label: str | None, values: dict[str, float] | float) -> Metric:
        names = [*self._labels, *([] if label is None else [label])]
        metric = CounterMetricFamily(name, told, labels=names)
        for key, value in (values if isinstance(values, dict) else {"": values}).items():
            metric.add_metric([*self._labels.values(), *([] if label is None else [key])], value)
        return metric

    def _gauge(self, name: str, told: str, value: float) -> Metric:
        metric = GaugeMetricFamily(name, told, labels=list(self._labels))
        metric.add_metric(list(self._labels.values()), value)
        return metric


def as_text(metrics: JobMetrics) -> str:
    """Return the metrics in Prometheus's text format.

    Examples
    --------
    >>> metrics = JobMetrics("classify", "some-run", n_shards=2, n_recordings=5)
    >>> metrics.take([Commit(0, 3, {"predictions": 2, "failures": 1}, "some-run", errors={"empty": 1})])
    >>> print(as_text(metrics))
    # HELP ...
    heartbeat_recordings_total{job_name="classify",outcome="done",run_id="some-run"} 2.0
    heartbeat_recordings_total{job_name="classify",outcome="failed",run_id="some-run"} 1.0
    ...
    """
    return generate_latest(_registry(metrics)).decode()


@contextmanager
def served(metrics: JobMetrics, port: int) -> Iterator[str]:
    """Serve the metrics on loopback while the block runs; yields the address.

    Parameters
    ----------
    metrics : JobMetrics
        They may take in commit records meanwhile.
    port : int
        0 takes any free one.

    Raises
    ------
    ConfigError
        The port cannot be used.
    """
    try:
        server, thread = start_http_server(port, addr=LOOPBACK, registry=_registry(metrics))
    except OSError as error:
        raise ConfigError(
            f"--metrics-port {port}: {error.strerror}: name another port, or 0 for any free one"
        ) from None
    try:
        yield f"http://{LOOPBACK}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _registry(metrics: JobMetrics) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(metrics)
    return registry
