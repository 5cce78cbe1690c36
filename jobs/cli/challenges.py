"""Commands over public challenges: score, and the answer files of export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from heartbeat_core.wording import counted
from jobs.cli.app import app, exit_codes
from jobs.cli.options import AsJson, StoreConfig, job_settings
from jobs.cli.printing import out
from jobs.cli.records import print_json

if TYPE_CHECKING:
    from heartbeat_core.challenges.answers import Question, Scores
    from heartbeat_core.challenges.challenge import Challenge


@app.command(epilog="Exit codes: 0 scored, 1 the store failed, 2 wrong usage, 130 interrupted.")
def score(
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULTS",
            help="The output of classify. For moody2022 also two: of a model for the murmur, and of one for the "
            "outcome.",
            show_default=False,
        ),
    ],
    truth: Annotated[
        str,
        typer.Option(
            "--truth",
            metavar="FOLDER|FILE",
            help="The published files of the challenge's database, or a table (.csv, .parquet, .jsonl) of recordings.",
        ),
    ],
    challenge: Annotated[
        str, typer.Option("--challenge", metavar="NAME", help="cinc2016, moody2022, or what other packages add.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE.json", help="File or URL. [default: RESULTS/_scores/CHALLENGE.json]"
        ),
    ] = None,
    as_json: AsJson = False,
    config: StoreConfig = None,
) -> None:
    """Score results by the official measures of a challenge, and write the scores as JSON.

    cinc2016: both official scores, by recording. moody2022: weighted accuracy, cost, AUROC, AUPRC, F-measure and
    accuracy of murmur and outcome, by patient. Recordings and truth are joined by file name without its ending.
    Scoring again replaces the file.

    Example: **heartbeat score results/ --truth circor-1.0.3/ --challenge moody2022**
    """
    with exit_codes("interrupted"):
        from jobs.drivers.reach import reaching
        from jobs.drivers.score import score as run_job

        with reaching(job_settings(config, None, None)):
            done = run_job(results, truth, challenge, output)
        if as_json:
            print_json(
                {
                    "output": done.place,
                    "challenge": done.challenge.name,
                    "scores": done.scores,
                    "notes": done.notes,
                    "unanswered": done.unanswered,
                }
            )
            return
        questions = {question.name: question for question in done.challenge.questions}
        for name, found in done.scores.items():
            _print_scores(done.challenge, questions[name], found)
        _print_notes([*done.notes, *_ways_out(done.unanswered, "not scored")])
        out.print(f"rules: {done.challenge.rules}")
        out.print(f"  {done.place}")


def export_answers(
    results: Sequence[str], challenge: str, folder: str, truth: str | None, config: str | None, *, as_json: bool
) -> None:
    """Write the answer files of a challenge, and print what was written."""
    from jobs.drivers.answer_files import write_answers
    from jobs.drivers.reach import reaching

    with reaching(job_settings(config, None, None)):
        done = write_answers(results, challenge, folder, truth)
    if as_json:
        print_json(
            {
                "output": done.place,
                "challenge": done.challenge.name,
                "files": done.n_files,
                "answered": done.n_answered,
                "notes": done.notes,
                "unanswered": done.unanswered,
            }
        )
        return
    answered, files = counted(done.n_answered, done.challenge.unit), counted(done.n_files, "file")
    out.print(f"{done.challenge.name}: {answered} in {files}")
    _print_notes([*done.notes, *_ways_out(done.unanswered, "zeros in each file")])
    out.print(f"rules: {done.challenge.rules}")
    out.print(f"  {done.place}")


def _print_scores(challenge: Challenge, question: Question, found: Scores) -> None:
    """Print the measures, those by class beside them, and how often each answer was given."""
    measures = Table(title=f"{challenge.name}, {question.name}: {counted(found.n, challenge.unit)}", box=box.SIMPLE)
    by_class = question.classes if found.by_class else ()
    measures.add_column("measure")
    for name in ("score", *by_class):
        measures.add_column(name, justify="right")
    for name, value in found.measures.items():
        each = [_figure(one) for one in found.by_class.get(name, {}).values()] or [""] * len(by_class)
        mark = " (ranked by this)" if name == question.ranked_by else ""
        measures.add_row(name.replace("_", " ") + mark, _figure(value), *each)
    out.print(measures)
    counts = Table("truth \\ answer", *question.classes, box=box.SIMPLE)
    for true, answered in found.counts.items():
        counts.add_row(true, *map(str, answered.values()))
    out.print(counts)
    _print_notes(found.notes)


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        out.print(f"note: {note}")


def _ways_out(unanswered: Sequence[str], consequence: str) -> list[str]:
    return [
        f"{name}: {consequence}, since these labels do not answer it: give the RESULTS of a second model that does"
        for name in unanswered
    ]


def _figure(value: float) -> str:
    """Return a share with four digits after the point, and a cost with two; ``-`` if it is not defined."""
    if value != value:  # NaN
        return "-"
    return f"{value:,.2f}" if value > 1 else f"{value:.4f}"
