"""What the commands print for programs, with --json: JSON Lines on standard output, one object a line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer
from pydantic_core import to_json

if TYPE_CHECKING:
    from jobs.drivers.build_dataset import DatasetSummary
    from jobs.drivers.classify import ClassifySummary
    from jobs.drivers.demo import DemoSummary
    from jobs.drivers.reclassify import ReclassifySummary
    from jobs.output.ledger import Totals
    from jobs.output.status import Status


def print_json(record: Any) -> None:
    """Print an object as one line; what is no number becomes null, dataclasses and settings become objects."""
    typer.echo(to_json(record, inf_nan_mode="null").decode())


def classified_record(summary: ClassifySummary) -> dict[str, Any]:
    """Return the totals, the predictions of each label and the failures of each type."""
    return {
        "output": _place(summary.out),
        "model": summary.model_id,
        **_totals(summary.totals),
        "labels": summary.labels,
        "errors": summary.errors,
    }


def reclassified_record(summary: ReclassifySummary) -> dict[str, Any]:
    """Return the same, with how many recordings were classified from stored features."""
    return {**classified_record(summary.classified), "from_stored": summary.n_stored, "lacking": summary.lacking}


def demo_record(summary: DemoSummary) -> dict[str, Any]:
    """Return the same, with the predictions of each kind of sound."""
    return {
        **classified_record(summary.classified),
        "recordings": _place(summary.recordings),
        "kinds": summary.kinds,
        "report": summary.report,
    }


def dataset_record(summary: DatasetSummary) -> dict[str, Any]:
    """Return the totals, the rows of each label, and what has no counterpart."""
    return {
        "output": _place(summary.out),
        **_totals(summary.totals),
        "labels": summary.facts.rows_by_label,
        "errors": summary.errors,
        "unmatched": summary.unmatched,
    }


def status_record(found: Status) -> dict[str, Any]:
    """Return the state of a job, with the recordings that are left."""
    from dataclasses import asdict

    return {**asdict(found), "left": found.left}


def watch(look: Callable[[], Status], show: Callable[[Status], None], every_s: float) -> Status:
    """Look at a job again and again, until it is finished or no driver works on it; return what was seen last."""
    while True:
        found = look()
        show(found)
        if found.finished or not found.drivers:
            return found
        time.sleep(every_s)


def _totals(totals: Totals) -> dict[str, int]:
    return {"listed": totals.listed, "done": totals.done, "failed": totals.failed}


def _place(uri: str) -> str:
    from heartbeat_core import storage

    return storage.display(storage.to_uri(uri))
