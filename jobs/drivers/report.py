"""Write the report of an output folder, at the end of a job or at any time.

On disk, or under any URL::

    OUT/report.html            one page that loads nothing
    OUT/_report/FIGURE.parquet the numbers of each figure
    OUT/_report/bundle.json    the facts of the model, kept while the job runs

Counts come from the commit records, everything else from a bounded sample of the newest rows, so that the report of a
large run costs no more than that of a small one. Each report replaces the one before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial, reduce
from operator import add
from typing import Any

from rich.console import Console

import heartbeat_core
from heartbeat_core import storage
from heartbeat_core.bundles.drift import Drift
from heartbeat_core.errors import InputError
from heartbeat_core.reporting.drift import N_FARTHEST, UNLIKE
from heartbeat_core.reporting.facts import (
    PREDICTION_COLUMNS,
    RECORDING_COLUMNS,
    FailureType,
    ReportFacts,
    ShardDrift,
    Task,
)
from heartbeat_core.reporting.report import build_report
from heartbeat_core.results.files import read_file
from heartbeat_core.results.sample import Sample, numbers_table, read_sample
from heartbeat_core.storage import retry
from heartbeat_core.storage.uris import FAILURES, ROWS_FOLDER
from jobs.output.duplicates import count_duplicates
from jobs.output.ledger import Commit, Ledger, by_count
from jobs.output.model import find_manifest
from jobs.output.newest import count_newest, newest_generations, newest_rows
from jobs.output.places import REPORT_FOLDER, RUN_NAME, part_name
from jobs.output.status import Status, read_state

PAGE_NAME = "report.html"
_FIRST = 3
"""Names of recordings that are shown of each kind of failure."""
_MOST_KINDS = 30
"""Kinds of failures of which names are looked for."""
_MOST_INPUTS = 10


def try_report(out: str, commits: Mapping[int, Commit], console: Console) -> None:
    """Write the report of a finished job. Whatever goes wrong with it is told, and the job stays finished.

    Parameters
    ----------
    out : str
        Path or URL of the output folder.
    commits : Mapping[int, Commit]
        The commit records by shard.
    console : Console
        Told where the report is, or why there is none.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="report") as pool:
        error = retry.submit(pool, write_report, out, commits).exception()
    if error is None:
        console.print(f"report: {storage.display(storage.join(storage.to_uri(out), PAGE_NAME))}")
    else:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        console.print(
            f"the results are complete, but their report could not be written ({told}): "
            f"'heartbeat report {storage.display(storage.to_uri(out))}' writes it"
        )


def write_report(out: str, known: Mapping[int, Commit] | None = None) -> str:
    """Write the report of a folder, and return the URI of the page.

    Parameters
    ----------
    out : str
        Path or URL of the folder.
    known : Mapping[int, Commit] | None
        Commit records by shard, which are not read again. None reads all.

    Raises
    ------
    InputError
        The folder is not the output of ``classify`` or ``build-dataset``.
    StorageError
        The folder cannot be read or written.
    """
    facts = read_facts(out, known)
    # Imported here: a command that writes no report does without jinja2.
    from heartbeat_core.reporting.render import render

    report = build_report(facts)
    page = render(report, facts.made_at, f"heartbeat {heartbeat_core.__version__}")
    out = storage.to_uri(out)
    folder = storage.join(out, REPORT_FOLDER)
    names = {f"{figure.name}.parquet": figure.numbers for figure in report.figures}
    for name in set(storage.list_parts(folder)) - names.keys():
        storage.remove(storage.join(folder, name))
    with ThreadPoolExecutor(8, thread_name_prefix="report") as pool:
        puts = [
            retry.submit(pool, storage.put, storage.join(folder, name), numbers_table(numbers))
            for name, numbers in names.items()
        ]
        for done in puts:
            done.result()
    place = storage.join(out, PAGE_NAME)
    storage.put(place, page.encode())
    return place


def read_facts(out: str, known: Mapping[int, Commit] | None = None) -> ReportFacts:
    """Read what a report is made from; parameters and errors as for ``write_report``."""
    status, commits = read_state(out, known)
    out = Ledger(out).out
    if status.job not in ("classify", "build-dataset"):
        raise InputError(
            f"{storage.display(out)} is the output of '{status.job}', which writes its own report: name the output of "
            "'classify' or 'build-dataset'"
        )
    record = json.loads(storage.read(storage.join(out, RUN_NAME)))
    newest = partial(newest_rows, newest=newest_generations(out))
    is_classified = status.job == "classify"
    predictions = read_sample(_parts(out, "predictions", commits), PREDICTION_COLUMNS, status.done, newest)
    rows = _parts(out, "features" if is_classified else ROWS_FOLDER, commits)
    recordings = read_sample(rows, RECORDING_COLUMNS, status.done, newest)
    labels, errors = count_newest(out, commits.values(), status.generations)
    manifest = find_manifest(out, str(record["identity"].get("model"))) if is_classified else None
    drifts = {
        shard: Drift.read(commit.notes["drift"])
        for shard, commit in sorted(commits.items())
        if commit.notes.get("drift") is not None
    }
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return ReportFacts(
        job=status.job,
        folder=storage.display(out),
        state=_state(status),
        listed=status.listed if status.generations == 1 else labels.total() + errors.total() + status.left,
        done=labels.total() if is_classified else status.done,
        failed=errors.total(),
        left=status.left,
        n_generations=status.generations,
        n_duplicates=count_duplicates(out) if is_classified else None,
        labels=by_count(labels),
        failures=_failures(out, commits, by_count(errors), newest),
        predictions=predictions if is_classified else None,
        recordings=recordings,
        drift=reduce(add, drifts.values()) if drifts and manifest is not None else None,
        shards=_shards(out, drifts),
        tasks=[_task(commit) for commit in commits.values() if commit.notes and commit.ended_at is not None],
        manifest=manifest,
        provenance=_provenance(record, status, recordings, commits, now),
        made_at=now,
    )


def _parts(out: str, table: str, commits: Mapping[int, Commit]) -> list[str]:
    """Return the URIs of the parts of a table that are committed, or that a compaction has written."""
    committed = {f"{part_name(shard)}.parquet" for shard in commits}
    folder = storage.join(out, table)
    names = storage.list_parts(folder)
    return [storage.join(folder, name) for name in names if name in committed or not name.startswith("part-")]


def _shards(out: str, drifts: Mapping[int, Drift]) -> list[ShardDrift]:
    """Return the shift of each shard, and where those with the largest ones begin."""
    found = [ShardDrift(shard, one.n, one.shift()) for shard, one in drifts.items()]
    there = set(storage.list_parts(storage.join(out, "predictions")))
    farthest = sorted((one for one in found if one.shift >= UNLIKE), key=lambda one: -one.shift)[:N_FARTHEST]
    first: dict[int, str | None] = {}
    for shard in (one.shard for one in farthest):
        if (name := f"{part_name(shard)}.parquet") in there:  # A compaction removes it.
            part = read_file(storage.join(out, "predictions", name), ["relative_path"])
            first[shard] = next(iter(part.column("relative_path").to_pylist()), None)
    return [replace(one, first=first.get(one.shard)) for one in found]


def _failures(
    out: str, commits: Mapping[int, Commit], counts: Mapping[str, int], newest: Any
) -> dict[str, FailureType]:
    """Return the failures by reason, with the first names of the commonest ones."""
    there = _parts(out, FAILURES, commits)
    first: dict[str, list[tuple[str, str]]] = {}
    for kind in list(counts)[:_MOST_KINDS]:
        # A compaction leaves few parts, whose names no longer say which shards they hold.
        holds = [f"{part_name(shard)}.parquet" for shard, commit in sorted(commits.items()) if kind in commit.errors]
        wanted = [uri for uri in there if uri.rpartition("/")[2] in holds[:_FIRST]]
        for uri in wanted or [uri for uri in there if not uri.rpartition("/")[2].startswith("part-")][:1]:
            if len(first.setdefault(kind, [])) >= _FIRST:
                break
            part = newest(read_file(uri))
            first[kind] += [
                (row.get("relative_path") or row["uri"], row["message"])
                for row in part.to_pylist()
                if row["error_type"] == kind
            ]
    return {kind: FailureType(count, first.get(kind, [])[:_FIRST]) for kind, count in counts.items()}


def _task(commit: Commit) -> Task:
    notes = commit.notes
    return Task(commit.listed, notes["worker"], notes["started_at"], commit.ended_at or 0.0, notes["seconds"])


def _state(status: Status) -> str:
    if status.finished:
        return "finished"
    share = f"{status.done + status.failed:,} of {status.listed:,} recordings"
    return f"{'running' if status.drivers else 'not finished'}, {share}"


def _provenance(
    record: Mapping[str, Any], status: Status, sample: Sample, commits: Mapping[int, Commit], now: str
) -> dict[str, str]:
    identity = record["identity"]
    inputs = [storage.display(uri) for uri in identity.get("inputs", ())]
    more = f" and {len(inputs) - _MOST_INPUTS} more" if len(inputs) > _MOST_INPUTS else ""
    began = [commit.notes["started_at"] for commit in commits.values() if commit.notes]
    ended = [commit.ended_at for commit in commits.values() if commit.ended_at is not None]
    facts = {
        "job": identity["job"],
        "inputs": ", ".join(inputs[:_MOST_INPUTS]) + more,
        "model": identity.get("model"),
        "recipe": sample.metadata.get("recipe") or _named(identity.get("recipe")),
        "feature sets written": ", ".join(identity.get("features", ())),
        "run": record["run_id"],
        "heartbeat": sample.metadata.get("heartbeat_version"),
        "results version": identity.get("results_version"),
        "schema version": sample.metadata.get("schema_version"),
        "shards": f"{status.committed:,} of {status.shards:,} committed",
        "generations": f"{status.generations}",
        "first task": _moment(min(began, default=None)),
        "last commit": _moment(max(ended, default=None)),
        "report": now,
    }
    return {what: str(value) for what, value in facts.items() if value}


def _named(recipe: object) -> str | None:
    return str(recipe["name"]) if isinstance(recipe, Mapping) and "name" in recipe else None


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
