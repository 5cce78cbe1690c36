"""A first run without any data: synthesise recordings, and classify them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.audio.synthesis import demo_recordings
from heartbeat_core.errors import OutputError
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.results.folder import Results
from jobs.drivers.classify import ClassifySummary, classify
from jobs.drivers.report import PAGE_NAME
from jobs.output.ledger import by_count
from jobs.output.newest import read_failures
from jobs.output.places import list_output
from jobs.settings import JobSettings

SEED = 2011
RECORDINGS_FOLDER = "recordings"
RESULTS_FOLDER = "results"


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """Where the recordings are, and what came of classifying them.

    Attributes
    ----------
    recordings : str
        URI of their folder.
    classified : ClassifySummary
    kinds : dict[str, dict[str, int]]
        For each kind of sound that was synthesised, how often each label was predicted.
    failures : list[dict[str, Any]]
        The rows of the recordings that failed.
    report : str | None
        Where the page about the results is, if there is one.
    """

    recordings: str
    classified: ClassifySummary
    kinds: dict[str, dict[str, int]]
    failures: list[dict[str, Any]]
    report: str | None


def demo(folder: str, settings: JobSettings, console: Console) -> DemoSummary:
    """Synthesise recordings below ``folder``, unless they are there, and classify them.

    Parameters
    ----------
    folder : str
        Path or URL of a new folder, or of one that holds this demo.
    settings : JobSettings
    console : Console
        Takes what is said meanwhile.

    Raises
    ------
    OutputError
        The folder cannot be written, or holds something else.
    UsageError, JobError
        As ``classify``.
    """
    root = storage.to_uri(folder)
    recordings = storage.join(root, RECORDINGS_FOLDER)
    if storage.is_local(root) and storage.exists(root) and not storage.is_folder(root):
        raise OutputError(f"{folder} is a file: name a folder for the demo")
    foreign = sorted(set(list_output(root)) - {RECORDINGS_FOLDER, RESULTS_FOLDER})
    if foreign:
        raise OutputError(f"{folder} holds something else ({foreign[0]}): name another folder for the demo")
    console.print("synthesising recordings: artificial sounds to try the program with, no real hearts")
    with storage.refusals_as(OutputError):
        for name, data in demo_recordings(SEED):
            storage.create(storage.join(recordings, name), data)
    summary = classify([storage.display(recordings)], storage.join(root, RESULTS_FOLDER), settings, console)
    report = storage.join(summary.out, PAGE_NAME)
    return DemoSummary(
        recordings,
        summary,
        _count_kinds(summary.out),
        read_failures(summary.out),
        None if storage.find(report) is None else storage.display(report),
    )


def _count_kinds(out: str) -> dict[str, dict[str, int]]:
    """Count the predictions by the kind of sound, which each file is named for, and by label."""
    found: dict[str, Counter[str]] = {label: Counter() for label in ORIGINAL_LABELS}
    rows = Results(out).predictions(["uri", "predicted_label"])
    for uri, predicted in zip(*(rows.column(name).to_pylist() for name in rows.column_names[:2]), strict=True):
        found[uri.rpartition("/")[2].rpartition("_")[0]][predicted] += 1
    return {label: by_count(counts) for label, counts in found.items()}
