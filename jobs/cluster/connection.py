"""A connection to workers, for modules that need not load Dask: this takes a quarter of a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heartbeat_core.errors import JobError

if TYPE_CHECKING:
    from distributed import Client


class SchedulerGone(JobError):
    """The scheduler does not answer any more, so there is no point in asking it for anything."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A client whose workers are ready.

    Attributes
    ----------
    client : Client
    n_workers, n_threads : int
        Workers, and the threads of all of them.
    address : str
        Of the scheduler.
    dashboard : str
        URL of the scheduler's dashboard.
    is_local : bool
        Whether this process has started the workers, on this machine.
    """

    client: Client
    n_workers: int
    n_threads: int
    address: str
    dashboard: str
    is_local: bool
    memory_limits: tuple[int, ...] = ()
    """Bytes of each worker, without those that have no limit."""

    @property
    def shape(self) -> dict[str, Any]:
        """What the records and parts of a run say of its cluster, as it was when the work began."""
        found: dict[str, Any] = {
            "kind": "local" if self.is_local else "remote",
            "workers": self.n_workers,
            "threads": self.n_threads,
        }
        return {**found, "smallest_memory_bytes": min(self.memory_limits)} if self.memory_limits else found


HERE = {"kind": "in the driver's process", "workers": 0, "threads": 1}
"""The shape of work that no cluster does."""
