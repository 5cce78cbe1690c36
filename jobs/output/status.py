"""What is done, running, failed and left in an output folder, read while another process may be working there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from heartbeat_core import storage
from heartbeat_core.errors import InputError
from heartbeat_core.storage.uris import SUCCESS_NAME
from jobs.output.lease import Driver, live_drivers
from jobs.output.ledger import Commit, Ledger, by_count, count_errors
from jobs.output.places import RUN_NAME
from jobs.output.plans import PlanFolder, count_retried, sum_replaced


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a job without shards: how many of its files are stored."""

    stored: int
    total: int


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a job, in recordings and in shards.

    Attributes
    ----------
    listed, done, failed : int
        Recordings, each counted once. One that an update or a retry takes again counts as left, and then by its new
        row.
    errors : dict[str, int]
        Failures by ``error_type``, the commonest first.
    retried, changed : int
        Recordings that retries have taken again because they had failed, and updates because they had changed.
    running : tuple[int, ...]
        Shards that a driver has handed to its cluster and that are not committed.
    drivers : tuple[Driver, ...]
        Those that have said something in the last minute.
    steps : dict[str, Step]
        Of an evaluation, which has no recordings or shards: ``inputs`` and ``folds``.
    """

    job: str
    run_id: str
    generations: int
    listed: int
    done: int
    failed: int
    errors: dict[str, int]
    retried: int
    changed: int
    shards: int
    committed: int
    running: tuple[int, ...]
    finished: bool
    drivers: tuple[Driver, ...]
    steps: dict[str, Step] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Recordings without a row."""
        return self.listed - self.done - self.failed


def read_status(out: str) -> Status:
    """Read what an output folder says of its job; takes and raises as ``read_state``.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     run_id = Ledger(folder).claim({"job": "classify"})
    ...     status = read_status(folder)
    >>> status.job, status.run_id == run_id, status.listed, status.finished
    ('classify', True, 0, False)
    """
    return read_state(out)[0]


def read_state(out: str, known: Mapping[int, Commit] | None = None) -> tuple[Status, dict[int, Commit]]:
    """Read what an output folder says of its job, and its commit records by shard.

    Parameters
    ----------
    out : str
        Path or URL of the folder; another process may be working there.
    known : Mapping[int, Commit] | None
        Commit records by shard that an earlier call returned: they are not read again. None reads all.

    Raises
    ------
    InputError
        It is not a job's output.
    OutputError
        As ``Ledger``, if the address can be no output.
    JobError
        The record of a generation or a shard is damaged.
    """
    ledger = Ledger(out)
    shown = storage.display(ledger.out)
    if storage.is_local(ledger.out) and storage.exists(ledger.out) and not storage.is_folder(ledger.out):
        raise InputError(f"{shown} is a file: name the output folder of a job")
    try:
        record = json.loads(storage.read(storage.join(ledger.out, RUN_NAME)))
        job, run_id = str(record["identity"]["job"]), str(record["run_id"])
        work = {str(folder): int(total) for folder, total in record.get("work", {}).items()}
    except FileNotFoundError:
        raise InputError(f"{shown} is not the output of a heartbeat job: there is no {RUN_NAME}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{shown}/{RUN_NAME} is not a run record") from None
    # In this order, nothing is shown as finished that is not: whoever finishes meanwhile has committed before.
    finished = storage.find(storage.join(ledger.out, SUCCESS_NAME)) is not None
    drivers = live_drivers(ledger.out)
    generations = PlanFolder(ledger.out).generations()
    committed = ledger.committed()
    commits = {shard: commit for shard, commit in (known or {}).items() if shard in committed}
    commits |= ledger.commits(committed - commits.keys())
    failed = sum(commit.failed for commit in commits.values())
    replaced = sum_replaced(generations)
    n_again = replaced.rows + replaced.failures
    retried = count_retried(generations)
    running = {shard for driver in drivers for shard in driver.shards} - commits.keys()
    status = Status(
        job=job,
        run_id=run_id,
        generations=len(generations),
        listed=sum(generation.n_recordings for generation in generations) - n_again,
        done=sum(commit.listed for commit in commits.values()) - failed - replaced.rows,
        failed=failed - replaced.failures,
        errors=by_count(+(count_errors(commits.values()) - Counter(replaced.errors))),
        retried=retried,
        changed=n_again - retried,
        shards=generations[-1].end_shard if generations else 0,
        committed=len(commits),
        running=tuple(sorted(running)),
        finished=finished,
        drivers=tuple(drivers),
        steps={folder.strip("_"): Step(_count_parts(ledger.out, folder), total) for folder, total in work.items()},
    )
    return status, commits


def _count_parts(out: str, folder: str) -> int:
    """Count the Parquet files below a folder."""
    place = storage.join(out, folder)
    if not storage.is_folder(place):
        return 0
    return sum(entry.uri.endswith(".parquet") for entry in storage.walk(place))
