"""What the runner makes of the ends that a task can come to; ``tests/cluster`` has the real ones."""

from __future__ import annotations

from concurrent.futures import CancelledError
from types import SimpleNamespace
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster
from distributed.comm.core import CommClosedError

from heartbeat_core.errors import InputError, JobError
from jobs.cluster.connection import SchedulerGone
from jobs.cluster.runner import _result, _stop


def future_that_raises(error: BaseException) -> Any:
    def result() -> None:
        raise error

    return SimpleNamespace(result=result)


@pytest.mark.parametrize("error", [CancelledError(), CommClosedError("in <TCP (closed)>: No route to host")])
def test_a_scheduler_that_is_gone_is_told_whichever_way_it_shows(error: BaseException) -> None:
    """Seen once: the cable is pulled while a result is fetched, before any future knows of it."""
    with pytest.raises(SchedulerGone, match="run the same command again to go on"):
        _result(future_that_raises(error))


def test_what_a_task_finds_wrong_with_the_command_is_no_usage_error_any_more() -> None:
    with pytest.raises(JobError, match=r"^text$") as caught:
        _result(future_that_raises(InputError("text")))
    assert type(caught.value) is JobError


def test_errors_of_the_program_stay_loud() -> None:
    with pytest.raises(ZeroDivisionError):
        _result(future_that_raises(ZeroDivisionError()))


def test_a_scheduler_that_ends_while_the_driver_stops_is_not_waited_for() -> None:
    """Seen on Slurm, which asks both to end at the same moment."""
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        LocalCluster(n_workers=0, protocol="tcp://", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster.scheduler_address) as client,
    ):
        cluster.close()
        _stop(client, lambda: 0, [])
