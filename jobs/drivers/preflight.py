"""Refuse, before the first task, a job that the workers of another cluster could not do.

Workers of this machine are left out: they have the driver's packages, credentials and mounts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heartbeat_core import storage
from heartbeat_core.bundles.manifest import read_manifest, resolve, shipped_models
from heartbeat_core.errors import HeartbeatError, JobError, RecordingError, RecordingNotFound, RecordingUnreadable
from jobs.cluster.connection import Connection
from jobs.cluster.workers import ask
from jobs.output.plans import read_shard
from jobs.settings import PROBE_PATIENCE_S, JobSettings
from jobs.tasks.probe import Probe, choose_inputs, try_inputs, try_job

if TYPE_CHECKING:
    from jobs.drivers.run import Place

WEB = ("http://", "https://")


def check_job(connection: Connection, place: Place, settings: JobSettings) -> None:
    """Let each worker of another cluster try what its tasks will do.

    A recording that cannot be read is a failure row, and no reason to refuse the job. So a worker that can read none of
    several inputs is refused only where this process can, or where a bucket denies them.

    Parameters
    ----------
    connection : Connection
        Nothing is tried if its workers are of this machine.
    place : Place
        The output folder, and the shards that are left.
    settings : JobSettings

    Raises
    ------
    JobError
        A worker cannot do this job. The text names the worker, and the bucket, file or model.
    """
    if connection.is_local:
        return
    probe = _probe(place, settings)
    blind: dict[str, RecordingError] = {}
    for worker, answer in ask(connection.client, try_job, probe).items():
        if isinstance(answer, HeartbeatError):
            raise JobError(f"worker {worker}: {answer}: its machine needs the access and the models that this one has")
        unread = [one for one in answer if isinstance(one, RecordingUnreadable)]
        if unread and len(unread) == len(answer):
            blind[worker] = unread[0]
    if not blind:
        return
    reads_here = _reads_here(probe)
    for worker, error in blind.items():
        if reads_here or _is_denied_by_bucket(probe, error):
            raise JobError(
                f"worker {worker} cannot read the inputs: {error}: "
                "its machine needs the same files, and credentials that may read them"
            )


def _probe(place: Place, settings: JobSettings) -> Probe:
    planned = next(place.remaining(), None)
    return Probe(
        out=place.ledger.out,
        model=settings.model if settings.model in shipped_models() else resolve(settings.model),
        digest=read_manifest(settings.model).digest,
        inputs=() if planned is None else choose_inputs(read_shard(planned).recordings),
        access=place.access,
        limits=settings.limits,
        path_column=settings.path_column,
        driver=place.presence.id,
    )


def _reads_here(probe: Probe) -> bool:
    """Tell whether this process can read one of the inputs."""
    try:
        with storage.using(probe.access, PROBE_PATIENCE_S):
            return None in try_inputs(probe)
    except HeartbeatError:
        return False


def _is_denied_by_bucket(probe: Probe, error: RecordingError) -> bool:
    uri = probe.inputs[0].uri
    return not storage.is_local(uri) and not uri.startswith(WEB) and not isinstance(error, RecordingNotFound)
