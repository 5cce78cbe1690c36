"""The command review: recordings to judge, and the verdicts back."""

from __future__ import annotations

from typing import Annotated

import typer

from heartbeat_core.errors import UsageError
from jobs.cli.app import app, exit_codes, show
from jobs.cli.options import AsJson, Folder, SaltEnv, StoreConfig, job_settings
from jobs.cli.printing import log, print_imported, print_review


@app.command(epilog="Exit codes: 0 done, 1 the store failed, 2 wrong usage, 130 interrupted.")
def review(
    output: Folder,
    folder: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="REVIEW", help="New folder or URL for the page.", show_default=False),
    ] = None,
    verdicts: Annotated[
        str | None,
        typer.Option(
            "--import",
            metavar="VERDICTS",
            help="Take verdicts back: the page's verdicts.json, an export of Label Studio as JSON, a label track of "
            "Audacity (.txt) or a folder of them, or the CSV.",
            show_default=False,
        ),
    ] = None,
    each: Annotated[
        int, typer.Option("--each", metavar="N", min=1, max=100, help="How many recordings for each reason.")
    ] = 15,
    audio: Annotated[
        bool,
        typer.Option(
            "--audio",
            help="Write the recordings beside the page, to be played. They are patients' data: control who sees them.",
        ),
    ] = False,
    salt_env: SaltEnv = None,
    as_json: AsJson = False,
    config: StoreConfig = None,
) -> None:
    """Let people judge predictions, and count how often they agree.

    With --output: a page with the most uncertain recordings, the poorest in quality, the most confident of each label
    and a random sample, each with its waveform, heart sounds and spectrogram. The same list is there for Label Studio,
    for Audacity and as CSV. With --import: the verdicts go into the table reviews of OUT, and the precision of each
    label and band of confidence is printed.

    Example: **heartbeat review results/ -o review/ --audio**

    Example: **heartbeat review results/ --import verdicts.json**
    """
    with exit_codes("interrupted"):
        from jobs.drivers.reach import reaching
        from jobs.drivers.review import import_verdicts
        from jobs.drivers.review import review as run_job

        settings = job_settings(config, None, None, salt_env=salt_env)
        with reaching(settings):
            if folder is not None and verdicts is None:
                done = run_job(output, folder, each, log, with_audio=audio, salt_env=settings.salt_env)
                show(as_json, done, print_review)
            elif verdicts is not None and folder is None:
                show(as_json, import_verdicts(output, verdicts), print_imported)
            else:
                raise UsageError("name either a new folder (-o REVIEW) or verdicts to take back (--import VERDICTS)")
