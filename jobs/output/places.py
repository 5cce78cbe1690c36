"""Where things lie in an output folder, and which folders can be one. ``ledger`` says what the files mean."""

from __future__ import annotations

from heartbeat_core import storage
from heartbeat_core.errors import OutputError

RUN_NAME = "_run.json"
COMMITS_FOLDER = "_commits"
COMPACT_FOLDER = "_compact"
DRIVERS_FOLDER = "_drivers"
HISTORY_FOLDER = "_history"
REPORT_FOLDER = "_report"


def output_uri(out: str) -> str:
    """Return the URI of a folder that will be written to, without a slash at the end.

    Raises
    ------
    OutputError
        The path has a ``//``, it is the root of the file system, or memory of this process.

    Examples
    --------
    >>> output_uri("s3://bucket/results/")
    's3://bucket/results'
    >>> output_uri("/")
    Traceback (most recent call last):
    heartbeat_core.errors.OutputError: /: the root of the file system is no output: name a folder below it
    """
    uri = storage.to_uri(out).rstrip("/")
    if "//" in uri.partition("://")[2]:
        raise OutputError(
            f"{storage.display(uri)}: '//' in a path means one thing to one store and another to the next: "
            "write one '/'"
        )
    if uri.startswith("memory://"):
        raise OutputError(
            f"{uri}: no worker sees the memory of this process, and it ends with it: name a folder or a bucket"
        )
    if uri == "file:":
        raise OutputError("/: the root of the file system is no output: name a folder below it")
    return uri


def list_output(folder: str) -> list[str]:
    """Return the names in a folder that will be written to.

    Raises
    ------
    OutputError
        The folder may not be read.
    """
    with storage.refusals_as(OutputError):
        return storage.list_names(folder)


def part_name(index: int) -> str:
    """Return the name, without an ending, of a shard's parts and commit record."""
    return f"part-{index:06d}"


def part_uri(out: str, table: str, index: int) -> str:
    """Return the URI of a shard's part of a table."""
    return storage.join(out, table, f"{part_name(index)}.parquet")


def commit_uri(out: str, shard: int) -> str:
    """Return the URI of a shard's commit record."""
    return storage.join(out, COMMITS_FOLDER, f"{part_name(shard)}.json")
