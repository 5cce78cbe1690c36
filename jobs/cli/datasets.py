"""The command over recordings and labels: build-dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat_core.errors import UsageError
from jobs.cli.app import EXIT_CODES, app, check_failures, compact_at_the_end, exit_codes, prepare_workers, show
from jobs.cli.options import (
    AsJson,
    Before,
    Cluster,
    CompactOption,
    Config,
    DeviceOption,
    Exclude,
    Include,
    Inputs,
    KeepColumns,
    LabelSource,
    LayoutChoice,
    LogJson,
    MaxFailureRate,
    MaxSize,
    MetricsPort,
    MinSize,
    Output,
    PathColumn,
    PatientColumn,
    Since,
    Workers,
    job_settings,
    names_of,
    selection_of,
)
from jobs.cli.printing import (
    log,
    out,
    print_places,
    print_totals,
)
from jobs.cli.records import dataset_record

if TYPE_CHECKING:
    from jobs.drivers.build_dataset import DatasetSummary


@app.command("build-dataset", epilog=EXIT_CODES)
def build_dataset(
    inputs: Inputs,
    output: Output,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE.yaml",
            help="A shipped recipe (seed-small, seed-main, cycles, …), or your own file.",
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="A table (.csv, .parquet, .jsonl) with a column of paths and one of labels.",
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="NAME",
            help="The input is a published database, and its own files hold the labels: circor, cinc2016, pascal, or "
            "one of another package.",
        ),
    ] = None,
    label_from: Annotated[
        LabelSource | None,
        typer.Option("--label-from", help="Take each label from the name of the folder that the file is in."),
    ] = None,
    layout: Annotated[
        LayoutChoice, typer.Option("--layout", help="Store frames unpadded with their offset (compact), or padded.")
    ] = LayoutChoice.compact,
    label_path_column: Annotated[
        str | None,
        typer.Option(
            "--label-path-column",
            metavar="NAME",
            help="The column of paths in the label file. [default: found by its name]",
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option("--label-column", metavar="NAME", help="The column of labels. [default: found by its name]"),
    ] = None,
    patient_column: PatientColumn = None,
    device_column: Annotated[
        str | None,
        typer.Option(
            "--device-column",
            metavar="NAME",
            help="The column of recording devices. [default: found by its name, or none]",
        ),
    ] = None,
    database_column: Annotated[
        str | None,
        typer.Option(
            "--database-column",
            metavar="NAME",
            help="The column that names the database of each recording. [default: 'database', or none]",
        ),
    ] = None,
    labels_are: Annotated[
        str | None,
        typer.Option(
            "--labels-are",
            metavar="A,B,...",
            help="All labels, in the order of their codes. [default: the recipe's; else the original project's five if "
            "all labels are among them; else those that occur, in alphabetical order]",
        ),
    ] = None,
    label_map: Annotated[
        str | None,
        typer.Option(
            "--label-map",
            metavar="NAME|FILE.yaml",
            help="Turns the words of the label column into labels: cinc2016, circor-murmur, circor-outcome, pascal, or "
            "your own file.",
        ),
    ] = None,
    cluster: Cluster = None,
    workers: Workers = None,
    path_column: PathColumn = None,
    keep_columns: KeepColumns = None,
    include: Include = None,
    exclude: Exclude = None,
    min_size: MinSize = None,
    max_size: MaxSize = None,
    since: Since = None,
    before: Before = None,
    max_failure_rate: MaxFailureRate = None,
    metrics_port: MetricsPort = None,
    compact: CompactOption = False,
    device: DeviceOption = None,
    as_json: AsJson = False,
    log_json: LogJson = False,
    config: Config = None,
) -> None:
    """Build an aligned dataset: the frames of every recording, placed where they are closest to the longest one.

    A label belongs to the recording with the same relative path; else to the only one with the same file name; else to
    the only one with the same path, or the same file name, without its ending. Labels without a recording and
    recordings without a label are counted, and listed in _unmatched_labels.csv.

    A cell holds one label, or several joined by '|' (one of these), or nothing.

    Example: **heartbeat build-dataset recordings/ -o dataset/ --recipe seed-small --labels labels.csv**

    Example: **heartbeat build-dataset circor-1.0.3/ -o dataset/ --recipe cycles --database circor**
    """
    with exit_codes():
        prepare_workers(cluster)
        from jobs.drivers.build_dataset import DatasetOptions
        from jobs.drivers.build_dataset import build_dataset as run_job
        from jobs.listing.label_maps import load_label_map
        from jobs.listing.labels import LabelColumns, LabelWords, read_database, read_labels
        from jobs.settings import load_recipe

        if sum(given is not None for given in (labels, database, label_from)) > 1:
            raise UsageError("give one of --labels, --database and --label-from")
        if label_map is not None and labels is None and database is None and label_from is None:
            raise UsageError("--label-map needs labels: give one of --labels, --database and --label-from")
        settings = job_settings(
            config,
            cluster,
            workers,
            path_column=path_column,
            patient_column=patient_column,
            keep_columns=names_of(keep_columns),
            selection=selection_of(include, exclude, min_size, max_size, since, before),
            max_failure_rate=max_failure_rate,
            metrics_port=metrics_port,
            device=device,
            log_json=log_json or None,
        )
        loaded = load_recipe(recipe)
        declared = loaded.labels if labels_are is None else tuple(names_of(labels_are) or ())
        if loaded.labels is not None:
            # The dataset keeps the recipe, which has to fit its labels.
            loaded = loaded.model_copy(update={"labels": declared})
        columns = LabelColumns(label_path_column, label_column, settings.patient_column, device_column, database_column)
        words = LabelWords(declared, None if label_map is None else load_label_map(label_map))
        table = None
        if labels is not None:
            table = read_labels(labels, columns, words, settings.keep_columns)
        elif database is not None:
            table = read_database(database, inputs, columns, words, settings.keep_columns)
            settings = settings.model_copy(update={"keep_columns": table.kept})
        for note in () if table is None else table.notes:
            log.print(note, markup=False, soft_wrap=True)
        options = DatasetOptions(loaded, layout.value, table, label_from is not None, words)
        summary = run_job(inputs, output, options, settings, log)
        show(as_json, summary, _print_built, dataset_record)
        if compact:
            compact_at_the_end(output, settings, as_json=as_json)
        check_failures(summary.totals, settings.max_failure_rate)


def _print_built(summary: DatasetSummary) -> None:
    from heartbeat_core.labels import ORIGINAL_LABELS

    print_totals(summary.totals, "row", summary.errors, summary.out)
    for label, count in summary.facts.rows_by_label.items():
        out.print(f"  {count:>8} {label}")
    if summary.facts.labels != ORIGINAL_LABELS:
        out.print(f"labels, in the order of their codes: {', '.join(summary.facts.labels)}")
    for what, count in summary.unmatched.items():
        if count:
            noun, _, rest = what.partition(" ")
            out.print(f"  {count:>8} {noun}{'s' * (count != 1)} {rest}")
    print_places(summary.out, ("recordings", "failures", "_dataset.json", "_unmatched_labels.csv"))
