"""What each task of an allocation runs: the first is the scheduler, the second the driver, the others are workers.

Called by ``one-allocation.sbatch`` as ``srun python one_allocation.py SCHEDULER_FILE COMMAND ARGUMENT…``. The settings
of Dask, certificates among them, come from ``DASK_CONFIG``.
"""

from __future__ import annotations

import os
import sys

from dask_jobqueue.slurm import SLURMRunner
from distributed import Client, Security
from distributed.core import rpc

from jobs.cli.__main__ import main

LOOPBACK = "127.0.0.1:0"
"""The dashboards have no password."""


class Runner(SLURMRunner):
    """Ends a scheduler that encrypts, too: dask-jobqueue 0.9 calls it without certificates."""

    async def before_client_start(self) -> None:
        """Open the connection by which the scheduler is told to end."""
        self.scheduler_comm = rpc(self.scheduler_address, connection_args=Security().get_connection_args("client"))


if __name__ == "__main__":
    scheduler_file, *command = sys.argv[1:]
    runner = Runner(
        scheduler_file=scheduler_file,
        scheduler_options={"dashboard_address": LOOPBACK},
        worker_class="distributed.Nanny",  # It starts a worker that died again.
        # Without a lifetime: the walltime ends all of them, and the job that is queued again starts new ones.
        worker_options={
            "nthreads": 4,
            "memory_limit": f"{os.environ['SLURM_MEM_PER_CPU']}MiB",
            "dashboard_address": LOOPBACK,
        },
    )
    # Only the driver comes so far.
    with runner:
        # One that ended before the workers are there would leave them behind, looking for their scheduler.
        with Client(scheduler_file=scheduler_file) as client:
            client.wait_for_workers(runner.n_workers)
        sys.argv = ["heartbeat", *command, "--cluster", scheduler_file]
        main()
