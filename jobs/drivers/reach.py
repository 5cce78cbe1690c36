"""How a command reaches its stores before any work has begun; light, since ``status`` needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from heartbeat_core import storage
from jobs.settings import JobSettings

START_PATIENCE_S = 5.0
"""How long a store is asked again before it has answered once: a wrong endpoint is reported soon."""


@contextmanager
def reaching(settings: JobSettings) -> Iterator[None]:
    """Reach stores as the settings say, and give up soon on one that does not answer."""
    with storage.using(storage.Access(settings.s3), START_PATIENCE_S):
        yield
