"""A first run without any data: synthesise recordings, and classify them on a cluster of this machine."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.audio.synthesis import demo_recordings
from heartbeat_core.errors import OutputError
from jobs.drivers.classify import ClassifySummary, classify
from jobs.output.ledger import as_output_errors, list_output
from jobs.settings import JobSettings

SEED = 2011
RECORDINGS_FOLDER = "recordings"
RESULTS_FOLDER = "results"


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """Where the recordings are, and what came of classifying them."""

    recordings: str
    classified: ClassifySummary


def demo(folder: str, settings: JobSettings, console: Console) -> DemoSummary:
    """Synthesise recordings below ``folder``, unless they are there, and classify them.

    Raises
    ------
    OutputError
        The folder cannot be written, or holds something else.
    """
    root = storage.to_uri(folder)
    recordings = storage.join(root, RECORDINGS_FOLDER)
    if storage.is_local(root) and storage.exists(root) and not storage.is_folder(root):
        raise OutputError(f"{folder} is a file: name a folder for the demo")
    foreign = sorted(set(list_output(root)) - {RECORDINGS_FOLDER, RESULTS_FOLDER})
    if foreign:
        raise OutputError(f"{folder} holds something else ({foreign[0]}): name another folder for the demo")
    console.print("synthesising recordings: artificial sounds to try the program with, no real hearts")
    with as_output_errors():
        for name, data in demo_recordings(SEED):
            storage.create(storage.join(recordings, name), data)
    summary = classify([storage.display(recordings)], storage.join(root, RESULTS_FOLDER), settings, console)
    return DemoSummary(recordings, summary)
