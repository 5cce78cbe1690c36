"""Commands over recordings: classify, predict, plan, demo."""

from __future__ import annotations

from typing import Annotated

import typer

from heartbeat_core.errors import UsageError
from jobs.cli.app import (
    EXIT_CODES,
    EXIT_FAILED,
    GOES_ON,
    app,
    check_failures,
    compact_at_the_end,
    exit_codes,
    prepare_workers,
    show,
)
from jobs.cli.options import (
    RETRY_FAILED,
    AsJson,
    Before,
    Cluster,
    CompactOption,
    Config,
    DeviceOption,
    Exclude,
    Folder,
    Include,
    Inputs,
    KeepColumns,
    LogJson,
    MaxFailureRate,
    MaxSize,
    MetricsPort,
    MinSize,
    Model,
    Output,
    PathColumn,
    PatientColumn,
    PatientFrom,
    RetryingCommand,
    SaltEnv,
    Since,
    Workers,
    job_settings,
    names_of,
    selection_of,
    types_to_retry,
)
from jobs.cli.printing import (
    log,
    print_classified,
    print_demo,
    print_estimate,
    print_predictions,
    print_reclassified,
)
from jobs.cli.records import classified_record, demo_record, print_json, reclassified_record
from jobs.cluster.forkserver import use_one_thread


@app.command(cls=RetryingCommand, epilog=EXIT_CODES)
def classify(
    inputs: Inputs,
    output: Output,
    model: Model = None,
    cluster: Cluster = None,
    workers: Workers = None,
    features: Annotated[
        str | None,
        typer.Option(
            "--features",
            metavar="SET,...",
            help="Feature sets to write: aligned, statistics, cycles, beats, cycle-spectrum, signal-quality, mfcc, "
            "spectral-contrast, and those of other packages. [default: aligned, statistics, signal-quality, beats, and "
            "what the model reads]",
        ),
    ] = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Also classify what is new or has changed in the inputs, as a further generation of rows."
        ),
    ] = False,
    retry_failed: Annotated[
        str | None,
        typer.Option(
            RETRY_FAILED,
            metavar="[TYPE,...]",
            help="Classify what has failed once more, as a further generation of rows: all of it, or only these error "
            "types. The limits in --config may differ from the first run's.",
        ),
    ] = None,
    path_column: PathColumn = None,
    patient_column: PatientColumn = None,
    patient_from: PatientFrom = None,
    salt_env: SaltEnv = None,
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
    """Classify recordings, and write predictions, features and failures as Parquet.

    Every listed recording ends as exactly one row of predictions (and one of features), or one of failures with
    its stage and reason. The same command again goes on where it stopped, and 'heartbeat status OUT' shows how far
    it has come.

    Example: **heartbeat classify recordings/ -o results/**
    """
    with exit_codes():
        prepare_workers(cluster, "heartbeat_core.bundles.bundle")
        from jobs.drivers.classify import classify as run_job

        retried = types_to_retry(retry_failed)
        settings = job_settings(
            config,
            cluster,
            workers,
            model=model,
            features=names_of(features),
            path_column=path_column,
            patient_column=patient_column,
            patient_from=patient_from,
            salt_env=salt_env,
            keep_columns=names_of(keep_columns),
            selection=selection_of(include, exclude, min_size, max_size, since, before),
            max_failure_rate=max_failure_rate,
            metrics_port=metrics_port,
            device=device,
            log_json=log_json or None,
        )
        summary = run_job(inputs, output, settings, log, update=update, retry_failed=retried)
        show(as_json, summary, print_classified, classified_record)
        if compact:
            compact_at_the_end(output, settings, as_json=as_json)
        check_failures(summary.totals, settings.max_failure_rate)


@app.command(epilog=EXIT_CODES)
def reclassify(
    results: Folder,
    output: Output,
    model: Annotated[str, typer.Option("--model", metavar="NAME|URI", help="A shipped model, or where a bundle is.")],
    cluster: Cluster = None,
    workers: Workers = None,
    salt_env: SaltEnv = None,
    max_failure_rate: MaxFailureRate = None,
    metrics_port: MetricsPort = None,
    device: DeviceOption = None,
    as_json: AsJson = False,
    log_json: LogJson = False,
    config: Config = None,
) -> None:
    """Classify the recordings of finished results with another model, and write them to another folder.

    The stored features are used where they hold what the model reads. Otherwise, and for recordings that had failed,
    the audio is read again. Where nothing has to be read, no cluster is started unless --cluster or --workers asks for
    one.

    Example: **heartbeat reclassify results/ --model my-model/ -o results-2/**
    """
    with exit_codes():
        use_one_thread()  # More would wait for each other: a part's matrices are small.

        from jobs.drivers.reclassify import reclassify as run_job

        settings = job_settings(
            config,
            cluster,
            workers,
            model=model,
            salt_env=salt_env,
            max_failure_rate=max_failure_rate,
            metrics_port=metrics_port,
            device=device,
            log_json=log_json or None,
        )
        summary = run_job(results, output, settings, log)
        show(as_json, summary, print_reclassified, reclassified_record)
        check_failures(summary.classified.totals, settings.max_failure_rate)


@app.command(epilog="Exit codes: 0 all were classified, 1 at least one could not be, 2 wrong usage, 130 interrupted.")
def predict(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Recordings, local or by URL.", show_default=False)
    ],
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Classify a few recordings in this process, without a cluster.

    Example: **heartbeat predict heart.wav**
    """
    with exit_codes("interrupted"):
        use_one_thread()
        from heartbeat_core.settings import DEFAULT_MODEL, Limits
        from jobs.drivers.predict import predict as run_job

        rows = run_job(files, model or DEFAULT_MODEL, Limits())
        if as_json:
            for row in rows:
                print_json(row)
        else:
            print_predictions(rows)
        if any("error_type" in row for row in rows):
            raise typer.Exit(EXIT_FAILED)


@app.command(
    epilog="Exit codes: 0 estimated, 1 the store failed or, with --recipe, no recording can be decoded, 2 wrong usage, "
    "130 interrupted."
)
def plan(
    inputs: Inputs,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", min=1, help="How many worker processes, each with a core. [default: one per core]"
        ),
    ] = None,
    model: Model = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="NAME|FILE.yaml", help="Plan build-dataset with this recipe, in place of classify."
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=1, help="How many recordings to read and process here.")
    ] = 300,
    scale_to: Annotated[
        int | None,
        typer.Option("--scale-to", metavar="N", min=1, help="Plan for this many recordings like those of the inputs."),
    ] = None,
    put_price: Annotated[
        float | None,
        typer.Option(
            "--put-price", metavar="PRICE", min=0.0, help="Price of 1,000 PUT or LIST requests, in any currency."
        ),
    ] = None,
    get_price: Annotated[
        float | None,
        typer.Option("--get-price", metavar="PRICE", min=0.0, help="Price of 1,000 GET or HEAD requests."),
    ] = None,
    path_column: PathColumn = None,
    salt_env: SaltEnv = None,
    keep_columns: KeepColumns = None,
    include: Include = None,
    exclude: Exclude = None,
    min_size: MinSize = None,
    max_size: MaxSize = None,
    since: Since = None,
    before: Before = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Estimate what a run will take before you pay for it: time, requests, output, memory and failures.

    All inputs are listed as the job would list them, and a random sample is read and processed here as a worker would
    do it, on one core. Nothing is written.

    Example: **heartbeat plan s3://bucket/2026/ --workers 64**
    """
    with exit_codes("interrupted"):
        if model is not None and recipe is not None:
            raise UsageError("give --model or --recipe, not both")
        if recipe is not None and (keep_columns is not None or salt_env is not None):
            raise UsageError("--keep-columns and --salt-env are for classify: leave them out with --recipe")
        use_one_thread()  # As a worker has.

        from jobs.drivers.plan import PlanOptions
        from jobs.drivers.plan import plan as run_job
        from jobs.settings import load_recipe

        settings = job_settings(
            config,
            None,
            workers,
            model=model,
            path_column=path_column,
            salt_env=salt_env,
            keep_columns=names_of(keep_columns),
            selection=selection_of(include, exclude, min_size, max_size, since, before),
        )
        options = PlanOptions(None if recipe is None else load_recipe(recipe), sample, scale_to, put_price, get_price)
        found = run_job(inputs, options, settings, log)
        show(as_json, found, print_estimate)


@app.command(
    epilog="Exit codes: 0 every recording has its row, 1 the job failed, 2 wrong usage, 3 all recordings failed, "
    + GOES_ON
)
def demo(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Where recordings and results go.")
    ] = "heartbeat-demo",
    cluster: Cluster = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Synthesise a few dozen recordings, and classify them.

    The sounds are synthetic, and two of the files are broken on purpose.
    """
    with exit_codes():
        prepare_workers(cluster, "heartbeat_core.bundles.bundle")
        from jobs.drivers.demo import demo as run_job

        summary = run_job(folder, job_settings(None, cluster, workers), log)
        show(as_json, summary, print_demo, demo_record)
        check_failures(summary.classified.totals, max_failure_rate=1.0)
