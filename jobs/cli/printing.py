"""What the commands print for people: totals, tables and estimates."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import TextWrapper
from typing import IO, TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.table import Column, Table

from heartbeat_core.wording import counted
from jobs.logs import JsonLines, json_lines

if TYPE_CHECKING:
    from heartbeat_core.evaluation.agreement import Precision
    from heartbeat_core.results.comparison import Comparison, Shift
    from heartbeat_core.results.notes import Description
    from jobs.drivers.classify import ClassifySummary
    from jobs.drivers.compact import Compaction
    from jobs.drivers.demo import DemoSummary
    from jobs.drivers.reclassify import ReclassifySummary
    from jobs.drivers.review import ImportSummary, ReviewSummary
    from jobs.output.ledger import Totals
    from jobs.output.status import Status
    from jobs.planning.estimate import Estimate

# No markup: file names may hold brackets and colons. No wrapping: paths are copied.
out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
log = Console(markup=False, emoji=False, highlight=False, soft_wrap=True, stderr=True)


def log_as_json() -> None:
    """Turn all further log lines into JSON."""
    if json_lines(log) is None:
        log.file = cast(IO[str], JsonLines(sys.stderr))


def complain(message: str, level: str = "error") -> None:
    """Say why the command ends without what it was asked for; in JSON, with the level."""
    line, as_json = f"heartbeat: {message}", json_lines(log)
    if as_json is None:
        log.print(line)
    else:
        as_json.event(line, level)


TERMINAL = 80
"""Columns of a terminal that a table may take."""
_MOST_LEFT_OUT = 5
_STEPS = {
    "inputs": "parts of the models' inputs computed",
    "folds": "folds judged",
    "outcomes": "parts of the recordings predicted",
}


def print_compacted(done: Compaction) -> None:
    """Print how many rows of each table are in how many parts."""
    for table, rows in done.n_rows.items():
        n_parts = done.n_parts[table]
        parts = f"{counted(n_parts, 'part')}, before in {len(done.old[table])}"
        out.print(f"{table}: {counted(rows, 'row')} in {parts}")


def print_review(done: ReviewSummary) -> None:
    """Print where the page is, what could not be shown, and how the verdicts come back."""
    for path, reason in done.left_out[:_MOST_LEFT_OUT]:
        out.print(f"left out: {path}: {reason}")
    if len(done.left_out) > _MOST_LEFT_OUT:
        out.print(f"and {len(done.left_out) - _MOST_LEFT_OUT} more")
    out.print(f"{counted(done.n_recordings, 'recording')} to judge: {done.page}")
    out.print(f"Then take the verdicts back: heartbeat review {shlex.quote(done.results)} --import verdicts.json")


def print_imported(done: ImportSummary) -> None:
    """Print what an import has changed, and the precision of the predictions by all verdicts."""
    from heartbeat_core.evaluation.agreement import CANNOT_TELL

    out.print(f"{counted(done.n_new, 'new verdict')}, {done.n_changed} changed, {done.n_same} as before")
    if done.changed_audio:
        told = ", ".join(done.changed_audio[:_MOST_LEFT_OUT])
        out.print(f"{len(done.changed_audio)} left out, because the audio has changed since it was judged: {told}")
    out.print(f"{counted(done.n_reviews, 'recording')} with a verdict, {done.n_cannot_tell} of them '{CANNOT_TELL}'")
    if done.precision:
        table = Table("predicted", "confidence", "right", "judged", "precision", "95 % interval", box=None)
        for one in done.precision:
            table.add_row(one.label or "all", _band(one), str(one.right), str(one.judged), *_share(one))
        out.print(table)
        out.print("The list was chosen, most of it for doubt or for confidence: only a random sample stands for all.")
    if done.random is not None:
        share, interval = _share(done.random)
        out.print(f"random sample: {done.random.right} of {done.random.judged} right, {share} ({interval})")


def _band(one: Precision) -> str:
    return "all" if one.band is None else f"{one.band[0]:.1f} to {one.band[1]:.1f}"


def _share(one: Precision) -> tuple[str, str]:
    return f"{one.right / one.judged:.2f}", f"{one.low:.2f} to {one.high:.2f}"


def print_status(found: Status) -> None:
    """Print how far a job is, and which drivers work on it."""
    for line in status_lines(found):
        out.print(line)


@contextmanager
def status_screen() -> Iterator[Callable[[Status], None]]:
    """Return what shows a state again and again: in its place on a terminal, elsewhere below the one before."""
    if not out.is_terminal:
        yield print_status
        return
    from rich.live import Live
    from rich.text import Text

    with Live(console=out, auto_refresh=False) as live:
        yield lambda found: live.update(Text("\n".join(status_lines(found))), refresh=True)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print what something is and where it comes from."""
    from jobs.output.explain import lines_of

    for line in lines_of(facts):
        out.print(line)


def status_lines(found: Status) -> list[str]:
    """Return how far a job is, its failures by reason, and which drivers work on it."""
    lines = []
    state = "finished" if found.finished else "running" if found.drivers else "not running: the same command goes on"
    is_listed = found.listed or found.job == "evaluate"
    if not found.finished and not is_listed:
        state = "being listed" if found.drivers else "not listed yet: the same command goes on"
    lines.append(f"{found.job}: {state}")
    if found.job == "evaluate":
        lines += [f"  {step.stored:>9} of {step.total} {_STEPS.get(name, name)}" for name, step in found.steps.items()]
    else:
        generations = f" in {found.generations} generations" if found.generations > 1 else ""
        shards = counted(found.shards, "shard")
        lines += [
            f"  {found.listed:>9} recording{'s' * (found.listed != 1)} listed{generations}",
            f"  {found.done:>9} done",
            f"  {found.failed:>9} failed",
            *(f"  {count:>15} {error_type}" for error_type, count in found.errors.items()),
            f"  {found.left:>9} left",
            f"  {found.committed:>9} of {shards} committed, {len(found.running)} handed to workers",
        ]
    for driver in found.drivers:
        ago = max(0, round(time.time() - driver.seen_at))
        failed = f", {driver.failed} failed" if driver.failed else ""
        done = "" if found.job == "evaluate" else f", {counted(driver.done, 'recording')} done{failed}"
        lines.append(f"driver on {driver.host}, process {driver.pid}: heard from {ago} s ago{done}")
    return lines


def print_columns(name: str, columns: Sequence[Description]) -> None:
    """Print what each column of a table is, its meaning below it; ``?`` marks a type that may be null."""
    out.print(f"\n{name}: {len(columns)} columns")
    inner = " " * 6
    wrapper = TextWrapper(TERMINAL, subsequent_indent=inner, break_long_words=False, break_on_hyphens=False)
    for one in columns:
        kind = one.type.partition("[")[0] + "?" * one.may_be_null + (f" ({one.unit})" if one.unit else "")
        facts = ", ".join(fact for fact in (kind, one.method) if fact)
        for line in (*wrapper.wrap(f"  {one.name}  {facts}"), *wrapper.wrap(inner + one.meaning)):
            out.print(line)


def print_comparison(found: Comparison) -> None:
    """Print what differs between two results: labels, the most confident flips, and drift."""
    out.print(f"before: {found.models[0]}")
    out.print(f"after:  {found.models[1]}")
    both = counted(found.n_common, "recording")
    out.print(f"{both} in both, {found.n_only_before} only before, {found.n_only_after} only after")
    if found.n_predicted:
        share = 100 * found.n_changed / found.n_predicted
        out.print(f"{found.n_changed} of {counted(found.n_predicted, 'label')} changed ({share:.1f} %)")
    out.print(f"unsure: {100 * found.unsure[0]:.1f} % before, {100 * found.unsure[1]:.1f} % after")
    _print_rows(
        "changes by label", ("before", "after", "n"), [(one.before, one.after, str(one.count)) for one in found.changes]
    )
    _print_rows(
        "changed labels with the highest confidence",
        ("recording", "before", "", "after", ""),
        [
            (one.relative_path, one.before, f"{one.before_confidence:.2f}", one.after, f"{one.after_confidence:.2f}")
            for one in found.flips
        ],
    )
    heads = ("", "before", "after", "shift")
    _print_rows("means of the probabilities", heads, list(map(_shift_row, found.probabilities)))
    _print_rows("features that moved the most", heads, list(map(_shift_row, found.features)))
    if found.probabilities or found.features:
        out.print("A shift is in standard deviations of the values before.")


def _shift_row(one: Shift) -> tuple[str, ...]:
    shift = "–" if one.shift is None else f"{one.shift:+.2f}"
    return one.column, f"{one.before:.4g}", f"{one.after:.4g}", shift


def _print_rows(title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print columns of text under a title, if there are rows.

    The lines are as long as they need to be: a terminal breaks them, and a program that searches them wants them whole.
    """
    if rows:
        widths = [max(map(len, cells)) for cells in zip(heads, *rows, strict=True)]
        out.print(f"\n{title}")
        for row in (heads, *rows):
            out.print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_classified(summary: ClassifySummary) -> None:
    """Print the totals, the predictions of each label, the model and where the tables are."""
    from heartbeat_core.storage.uris import TABLES

    print_totals(summary.totals, "prediction", summary.errors, summary.out)
    for label, count in summary.labels.items():
        out.print(f"  {count:>8} {label}")
    out.print(f"model {summary.model_id}")
    print_places(summary.out, TABLES)


def print_demo(summary: DemoSummary) -> None:
    """Print what was synthesised and what was predicted, what failed, and where to look."""
    from heartbeat_core import storage

    print_classified(summary.classified)
    rows = []
    for kind, predicted in summary.kinds.items():
        told = ", ".join(f"{count} {label}" for label, count in predicted.items())
        rows.append((kind, str(sum(predicted.values())), told))
    _print_rows("synthetic sounds", ("meant as", "n", "predicted"), rows)
    out.print("\nfailures:")
    for failure in summary.failures:
        name = failure["uri"].removeprefix(f"{summary.recordings}/")
        out.print(f"  {name}: {failure['error_type']}: {failure['message']}")
    place = storage.display(summary.classified.out).replace("'", "''")  # In a text of SQL.
    out.print(
        "\nThe sounds are synthetic: the predictions show that the program works, and nothing else."
        "\nIn DuckDB:\n"
        "\n  SELECT predicted_label, count(*) AS n, avg(confidence) AS confidence"
        f"\n  FROM '{place}/predictions/*.parquet'"
        "\n  GROUP BY ALL ORDER BY n DESC;"
    )
    if summary.report is not None:
        out.print(f"\nreport: {summary.report}")


def print_reclassified(summary: ReclassifySummary) -> None:
    """Print the results, how many recordings were not read, and why others were."""
    print_classified(summary.classified)
    totals = summary.classified.totals
    stored = counted(summary.n_stored, "recording")
    out.print(f"{stored} classified from stored features, {totals.listed - summary.n_stored} read")
    if summary.lacking:
        out.print(f"the results do not hold what the model reads: {', '.join(summary.lacking)}")


def print_totals(totals: Totals, row: str, errors: dict[str, int], folder: str) -> None:
    """Print the sum of the recordings, the failures by their types, and the command that shows them one by one."""
    from heartbeat_core import storage

    listed, failed = counted(totals.listed, "recording"), counted(totals.failed, "failure")
    out.print(f"{listed} listed = {counted(totals.done, row)} + {failed}")
    for error_type, count in errors.items():
        out.print(f"  {count:>8} failed: {error_type}")
    if errors:
        place = shlex.quote(storage.display(storage.to_uri(folder)))
        out.print(f"each one, and why: heartbeat sql {place} -c 'SELECT relative_path, message FROM failures'")


def print_places(folder: str, names: tuple[str, ...]) -> None:
    """Print where the tables of an output are, one to a line."""
    from heartbeat_core import storage

    for name in names:
        place = storage.display(storage.join(storage.to_uri(folder), name))
        out.print(f"  {place}")


def print_predictions(rows: list[dict[str, Any]]) -> None:
    """Print a table of predictions; a recording that failed has its error as the note."""
    from heartbeat_core import storage

    table = Table(Column("recording", overflow="fold"), "prediction", "confidence", "duration", "note")
    names = [row["uri"].rpartition("/")[2] for row in rows]
    if len(set(names)) < len(names):  # Files of several folders.
        names = [storage.display(row["uri"]) for row in rows]
    for row, name in zip(rows, names, strict=True):
        if "error_type" in row:
            table.add_row(name, "-", "-", "-", f"{row['error_type']}: {row['message']}")
            continue
        notes = ["shorter than its header says"] * row["truncated"]
        if row["unsure"]:
            notes.append(f"unsure: {row['unsure_reason'].replace('_', ' ').replace(',', ', ')}")
        confidence, duration = f"{row['confidence']:.2f}", f"{row['duration_s']:.1f} s"
        table.add_row(name, row["predicted_label"], confidence, duration, "; ".join(notes))
    out.print(table)


def print_estimate(found: Estimate) -> None:
    """Print what a job would read, take and write, and where each figure comes from."""
    from rich.filesize import decimal

    from jobs.planning.estimate import TASK_RECORDING_S, TASK_S
    from jobs.settings import THREADS_ON_DISK

    times, requests = found.times, found.requests
    sampled = f"{found.n_sample} of {found.n_listed} listed were sampled"
    table = Table("what", "figure", "where it comes from", title=f"{found.job}: {found.n_recordings:,} recordings")
    table.add_row("recordings", f"{found.n_recordings:,}", sampled)
    table.add_row(
        "their bytes", decimal(round(found.input_bytes)), "as listed; where no size is known, the sample's mean"
    )
    longest = f"longest in the sample {_span(found.longest_sampled_s)}"
    table.add_row("their duration", _span(found.audio_s), longest)
    table.add_row(
        "shards", f"{found.n_shards:,}", "as the job divides them; each writes a part of each table of results"
    )
    table.add_section()
    low, high = _span(times.total_s.low), _span(times.total_s.high)
    table.add_row(f"time, {counted(found.n_workers, 'worker')}", _span(times.total_s.value), f"95 %: {low} to {high}")
    table.add_row("  start and end", _span(times.start_s), "of a cluster on this machine; always the same")
    table.add_row("  listing", _span(times.listing_s), "one process; the first answer once, the rest for each key")
    each = f"{1e3 * found.compute_s_a_recording:.1f} ms of CPU per recording on this machine; one core per worker"
    table.add_row("  computing", _span(times.compute_s), each)
    read = f"{1e3 * found.read_s_a_recording:.1f} ms per recording, 16 at once; hidden by computing unless longer"
    table.add_row("  reading", _span(times.reading_s), read)
    table.add_row(
        "  driver",
        _span(times.driver_s),
        f"{1e3 * TASK_S:g} ms per task, {1e3 * TASK_RECORDING_S:g} per recording; hidden by computing unless longer",
    )
    table.add_row("  closing", _span(times.end_s), "files that are no longer needed are removed, one by one")
    where = "inputs on disk" if found.tasks_a_worker == THREADS_ON_DISK else "inputs in a bucket"
    memory = f"this process's peak, and {counted(found.tasks_a_worker, 'shard')} at once as with {where}"
    table.add_row("memory per worker", decimal(round(found.worker_memory_bytes)), memory)
    table.add_section()
    for name, n_bytes in found.output_bytes.items():
        a_recording = f"{n_bytes / found.n_recordings:,.0f} bytes per recording"
        table.add_row(f"output: {name}", decimal(round(n_bytes)), a_recording)
    table.add_row("output", decimal(round(sum(found.output_bytes.values()))), "zstd Parquet")
    table.add_section()
    put = "" if found.costs.put is None else f"with LIST {found.costs.put:,.2f}"
    get = "" if found.costs.get is None else f"with HEAD {found.costs.get:,.2f}"
    table.add_row("PUT", f"{requests.put:,}", put or "output in a bucket, no retries")
    table.add_row("LIST", f"{requests.list:,}", "1,000 keys per page")
    table.add_row("GET", f"{requests.get:,}", get or "inputs on disk need none")
    table.add_row("HEAD, DELETE", f"{requests.head:,}, {requests.delete:,}", "")
    table.add_section()
    share = found.failures
    bounds = f"95 %: {_count(share.low * found.n_recordings)} to {_count(share.high * found.n_recordings)}"
    table.add_row("failures", _count(share.value * found.n_recordings), bounds)
    for kind in found.failure_kinds:
        low, high = (_count(bound * found.n_recordings) for bound in (kind.share.low, kind.share.high))
        told = f"95 %: {low} to {high}; {kind.n_sample} in the sample, {kind.example}"
        table.add_row(f"  {kind.error_type}", _count(kind.share.value * found.n_recordings), told)
    out.print(table)


def _count(number: float) -> str:
    return f"{round(number):,}"


def _span(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"
