"""What the log says of each shard where it is JSON: what was committed, and each recording that failed."""

from __future__ import annotations

from contextlib import suppress

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.errors import InputError, StorageError
from heartbeat_core.formats.parquet import from_parquet
from heartbeat_core.storage.uris import FAILURES
from jobs.logs import json_lines
from jobs.output.ledger import Commit
from jobs.output.places import part_uri

_COLUMNS = ["recording_id", "uri", "stage", "error_type", "message"]


def log_commit(out: str, commit: Commit, console: Console) -> None:
    """Log a committed shard and its failures, which are read back from the output; nothing where the log is text."""
    lines = json_lines(console)
    if lines is None:
        return
    if commit.failed:
        # A log line is not worth the job.
        with suppress(StorageError, FileNotFoundError, InputError):
            part = from_parquet(storage.read(part_uri(out, FAILURES, commit.shard)), _COLUMNS)
            for row in part.to_pylist():
                told = {"recording": row["recording_id"], "uri": row["uri"], "stage": row["stage"]}
                lines.event(row["message"], "warning", shard=commit.shard, **told, error_type=row["error_type"])
    lines.event("shard committed", shard=commit.shard, listed=commit.listed, failed=commit.failed)
