"""The command ``heartbeat``: arguments to settings to a job to an exit code.

Jobs are imported by the command that runs them, so that ``--help`` does not wait for numeric libraries.
"""

from __future__ import annotations

import gc
import json
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from heartbeat_core import __version__
from heartbeat_core.errors import HeartbeatError, UsageError
from jobs.nursery import THREAD_VARIABLES, open_nursery
from jobs.show import (
    log,
    out,
    print_classified,
    print_estimate,
    print_leaderboard,
    print_places,
    print_predictions,
    print_status,
    print_totals,
)

if TYPE_CHECKING:
    from jobs.ledger import Totals
    from jobs.settings import JobSettings

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TOO_MANY_FAILURES = 3
EXIT_INTERRUPTED = 130

EXIT_CODES = (
    "Exit codes: 0 every listed recording is accounted for, 1 the job failed, 2 usage, "
    "3 more failures than --max-failure-rate, 130 interrupted (the same command goes on)."
)

_PLAN_PATIENCE_S = 5.0

app = typer.Typer(
    name="heartbeat",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Heart-sound recordings to features and predictions in Parquet, on a Dask cluster. "
    "Not a medical device.\n\nStart with 'heartbeat demo'.",
    epilog=EXIT_CODES,
)


class LayoutChoice(StrEnum):
    """How a dataset's frames are stored."""

    compact = "compact"
    padded = "padded"


class DeviceChoice(StrEnum):
    """Where workers compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class FormatChoice(StrEnum):
    """What a bundle is exported to."""

    onnx = "onnx"
    hdf5 = "hdf5"


class LabelSource(StrEnum):
    """Where labels come from when there is no label file."""

    parent_folder = "parent-folder"


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="Files, folders, globs, fsspec URLs (s3://bucket/prefix), manifests (.csv, .parquet, .jsonl with a "
        "column of paths), or an S3 Inventory's manifest.json. Folders give their audio files; a file named outright "
        "is always taken.",
        show_default=False,
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", metavar="OUT", help="Folder or URL: new, empty, or this same job's.", show_default=False
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME|URI", help="Shipped model or a bundle's place. [default: cycles]"),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="local|ADDRESS|FILE",
        help="This machine, a scheduler (tcp://host:8786 or tls://…), its scheduler file (.json), or a cluster file "
        "(.yaml). [default: local]",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="Local: worker processes [default: one a core]. Elsewhere: workers to wait for [default: 1].",
    ),
]
DeviceOption = Annotated[
    DeviceChoice | None,
    typer.Option(
        "--device", help="Of the workers, for alignment and inference. [default: auto, a GPU if there is one]"
    ),
]
Config = Annotated[
    str | None, typer.Option("--config", metavar="FILE.yaml", help="Settings of the job; options override them.")
]
PathColumn = Annotated[
    str | None,
    typer.Option("--path-column", metavar="NAME", help="A manifest's column of paths. [default: found]"),
]
MaxFailureRate = Annotated[
    float | None,
    typer.Option(
        "--max-failure-rate",
        metavar="SHARE",
        min=0.0,
        max=1.0,
        help="End with 3 if a larger share fails. [default: 1.0]",
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="PATTERN",
        help="Take only recordings whose path below the input matches ('*' matches '/' too); may be repeated.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="PATTERN", help="Leave out recordings whose path matches; may be repeated."),
]
MinSize = Annotated[
    str | None, typer.Option("--min-size", metavar="SIZE", help="Leave out smaller files: '4kB', '1MiB', bytes.")
]
MaxSize = Annotated[str | None, typer.Option("--max-size", metavar="SIZE", help="Leave out larger files.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only what was modified then or later: '2026-11-01', ISO 8601, UTC."),
]
Before = Annotated[str | None, typer.Option("--before", metavar="TIME", help="Only what was modified before.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"heartbeat {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog=EXIT_CODES)
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
            help="Feature sets to write: aligned, statistics, cycles. [default: aligned,statistics]",
        ),
    ] = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Then take what is new in the inputs or has changed there, as a further generation."
        ),
    ] = False,
    path_column: PathColumn = None,
    include: Include = None,
    exclude: Exclude = None,
    min_size: MinSize = None,
    max_size: MaxSize = None,
    since: Since = None,
    before: Before = None,
    max_failure_rate: MaxFailureRate = None,
    device: DeviceOption = None,
    config: Config = None,
) -> None:
    """Classify recordings: predictions, features and failures as Parquet.

    Every listed recording ends as exactly one row of predictions (and one of features), or one of failures with
    its stage and reason. Running the same command again goes on where it stopped; 'heartbeat status OUT' tells how
    far it is.

    Example: **heartbeat classify recordings/ -o results/**
    """
    with _exit_codes():
        _prepare_workers(cluster, "heartbeat_core.bundle")
        from jobs.classify import classify as run_job
        from jobs.driver import exceeds

        settings = _job_settings(
            config,
            cluster,
            workers,
            model=model,
            features=None if features is None else [name.strip() for name in features.split(",")],
            path_column=path_column,
            selection=_selection(include, exclude, min_size, max_size, since, before),
            max_failure_rate=max_failure_rate,
            device=device,
        )
        summary = run_job(inputs, output, settings, log, update=update)
        print_classified(summary)
        if exceeds(summary.totals, settings):
            _refuse_failures(summary.totals, settings)


@app.command("build-dataset", epilog=EXIT_CODES)
def build_dataset(
    inputs: Inputs,
    output: Output,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE.yaml",
            help="A shipped recipe (seed-small, seed-main, cycles, …) or a file of yours.",
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="FILE", help="Table (.csv, .parquet, .jsonl) with a path and a label column."),
    ] = None,
    label_from: Annotated[
        LabelSource | None,
        typer.Option("--label-from", help="Take each label from the name of the file's folder."),
    ] = None,
    layout: Annotated[
        LayoutChoice, typer.Option("--layout", help="Store frames unpadded with their offset, or padded.")
    ] = LayoutChoice.compact,
    label_path_column: Annotated[
        str | None, typer.Option("--label-path-column", metavar="NAME", help="[default: found]")
    ] = None,
    label_column: Annotated[str | None, typer.Option("--label-column", metavar="NAME", help="[default: found]")] = None,
    patient_column: Annotated[
        str | None, typer.Option("--patient-column", metavar="NAME", help="[default: found, or none]")
    ] = None,
    device_column: Annotated[
        str | None,
        typer.Option("--device-column", metavar="NAME", help="What each was recorded with. [default: found, or none]"),
    ] = None,
    cluster: Cluster = None,
    workers: Workers = None,
    path_column: PathColumn = None,
    include: Include = None,
    exclude: Exclude = None,
    min_size: MinSize = None,
    max_size: MaxSize = None,
    since: Since = None,
    before: Before = None,
    max_failure_rate: MaxFailureRate = None,
    device: DeviceOption = None,
    config: Config = None,
) -> None:
    """Build an aligned dataset: frames of every recording, placed where they lie nearest to the longest one.

    A label belongs to the recording with the same relative path, else to the only one with the same file name.
    Labels without a recording and recordings without a label are counted, and listed in _unmatched_labels.csv.

    Example: **heartbeat build-dataset recordings/ -o dataset/ --recipe seed-small --labels labels.csv**
    """
    with _exit_codes():
        _prepare_workers(cluster)
        from jobs.dataset import DatasetOptions
        from jobs.dataset import build_dataset as run_job
        from jobs.driver import exceeds
        from jobs.labels import read_labels
        from jobs.settings import load_recipe

        if labels is not None and label_from is not None:
            raise UsageError("give --labels or --label-from, not both")
        settings = _job_settings(
            config,
            cluster,
            workers,
            path_column=path_column,
            selection=_selection(include, exclude, min_size, max_size, since, before),
            max_failure_rate=max_failure_rate,
            device=device,
        )
        options = DatasetOptions(
            recipe=load_recipe(recipe),
            layout=layout.value,
            labels=None
            if labels is None
            else read_labels(labels, label_path_column, label_column, patient_column, device_column),
            label_from_folder=label_from is not None,
        )
        summary = run_job(inputs, output, options, settings, log)
        print_totals(summary.totals, "rows")
        for label, count in summary.facts.rows_by_label.items():
            out.print(f"  {count:>8} {label}")
        for what, count in summary.unmatched.items():
            if count:
                out.print(f"  {count:>8} {what}")
        print_places(summary.out, ("recordings", "failures", "_dataset.json", "_unmatched_labels.csv"))
        if exceeds(summary.totals, settings):
            _refuse_failures(summary.totals, settings)


@app.command(epilog=EXIT_CODES)
def train(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="What build-dataset wrote.", show_default=False)],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="BUNDLE", help="New folder or URL.", show_default=False)
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE.yaml",
            help="Network and training; frames and alignment as in the dataset. [default: the dataset's]",
        ),
    ] = None,
    drop_label: Annotated[
        list[str] | None,
        typer.Option("--drop-label", metavar="LABEL", help="Leave out rows with this label; may be repeated."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="TEXT", help="What the recordings are, for the model card.")
    ] = None,
    evaluation: Annotated[
        str | None,
        typer.Option(
            "--evaluation",
            metavar="FOLDER",
            help="What 'evaluate' wrote of this recipe and dataset: its figures go into the bundle, and no row is "
            "held out.",
        ),
    ] = None,
    cluster: Cluster = None,
    workers: Workers = None,
    config: Config = None,
) -> None:
    """Train a model on a dataset and write it as a bundle.

    Without --evaluation one fold of five is held out by patient; the bundle states the figures on these rows beside
    those of the rule that always says the commonest label. Recipes that read statistics compute them on the cluster.

    Example: **heartbeat train dataset/ -o my-model/ --drop-label artifact**
    """
    with _exit_codes("interrupted"):
        from jobs.card import figure_rows
        from jobs.labels import check_label
        from jobs.settings import load_recipe
        from jobs.train import TrainOptions
        from jobs.train import train as run_job

        dropped = tuple(label for text in drop_label or [] if (label := check_label(text, "--drop-label")))
        options = TrainOptions(None if recipe is None else load_recipe(recipe), dropped, data, evaluation)
        manifest = run_job(dataset, output, options, _job_settings(config, cluster, workers), log).manifest
        names = ["bundle.json", "weights.safetensors", "MODEL_CARD.md"]
        if manifest.cross_validation is not None:
            out.print(f"trained on {manifest.training_data.n_rows} rows, none held out; by cross-validation:")
            print_leaderboard(manifest.cross_validation)
        if (report := manifest.holdout) is not None:
            out.print(
                f"trained on {report.n_training_rows} rows; held out {report.n_holdout_rows} rows "
                f"of {report.n_holdout_patients} patients",
            )
            figures = Table("figure", manifest.name, f"always '{report.majority_label}'")
            for row in figure_rows(report):
                figures.add_row(*row)
            out.print(figures)
            confusion = Table("label \\ predicted", *report.model.labels)
            for label, counts in zip(report.model.labels, report.model.confusion_matrix, strict=True):
                confusion.add_row(label, *map(str, counts))
            out.print(confusion)
            names.append("holdout.parquet")
        out.print(f"digest {manifest.digest}")
        print_places(output, tuple(names))


@app.command(epilog=EXIT_CODES)
def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="What build-dataset wrote; its recordings are read again.", show_default=False
        ),
    ],
    output: Output,
    recipe: Annotated[
        list[str],
        typer.Option(
            "--recipe",
            metavar="NAME|FILE.yaml",
            help="A shipped recipe or yours; may be repeated; 'all' is all shipped.",
        ),
    ],
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without", metavar="LABEL", help="Judge once more without the rows of this label; may be repeated."
        ),
    ] = None,
    n_folds: Annotated[int, typer.Option("--folds", metavar="N", min=2, help="Folds, by patient.")] = 5,
    n_seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Repetitions with other folds.")] = 3,
    cluster: Cluster = None,
    workers: Workers = None,
    config: Config = None,
) -> None:
    """Judge recipes by cross-validation on the cluster, beside the rules that know nothing of the sound.

    Folds are grouped by patient, and whatever is fitted is fitted in the training folds only. Written are the pooled
    out-of-fold predictions, all figures (figures.json) and a leaderboard (LEADERBOARD.md). Running the same command
    again goes on where it stopped.

    Example: **heartbeat evaluate dataset/ --recipe cycles --recipe seed-small --without artifact -o evaluation/**
    """
    with _exit_codes():
        _prepare_workers(cluster, "heartbeat_core.learning")
        from jobs import evaluate as job
        from jobs.labels import check_label
        from jobs.settings import load_recipe, shipped_recipes

        names = [name for text in recipe for name in (shipped_recipes() if text == "all" else [text])]
        options = job.EvaluateOptions(
            tuple(load_recipe(name) for name in dict.fromkeys(names)),
            tuple(label for text in without or [] if (label := check_label(text, "--without"))),
            n_folds,
            n_seeds,
        )
        found = job.evaluate(dataset, output, options, _job_settings(config, cluster, workers), log)
        print_leaderboard(found)
        print_places(output, (job.PREDICTIONS_FOLDER, job.FIGURES_NAME, job.LEADERBOARD_NAME))


@app.command(epilog="Exit codes: 0 all were classified, 1 one could not be, 2 usage, 130 interrupted.")
def predict(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Recordings, local or by URL.", show_default=False)
    ],
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Classify a few recordings in this process, without a cluster.

    Example: **heartbeat predict heart.wav**
    """
    with _exit_codes("interrupted"):
        from heartbeat_core.config import Limits
        from jobs.predict import predict as run_job
        from jobs.settings import DEFAULT_MODEL

        rows = run_job(files, model or DEFAULT_MODEL, Limits())
        if as_json:
            typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        else:
            print_predictions(rows)
        if any("error_type" in row for row in rows):
            raise typer.Exit(EXIT_FAILED)


@app.command(epilog="Exit codes: 0 written, 1 it could not be, 2 usage, 130 interrupted.")
def export(
    model: Annotated[
        str,
        typer.Argument(metavar="BUNDLE", help="Shipped model or a bundle's place.", show_default=False),
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="New file or URL.", show_default=False)],
    file_format: Annotated[
        FormatChoice,
        typer.Option("--format", help="onnx: a network that runs elsewhere. hdf5: its weights, by name."),
    ] = FormatChoice.onnx,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Store the weights in 8 bits: about a quarter of the size; ONNX only."),
    ] = False,
) -> None:
    """Write a model's network as one file, for a phone or another program.

    An ONNX model reads 'frames' [batch, L, 2] (Hz, linear magnitude; aligned, zeros elsewhere) or 'statistics'
    [batch, 392], as 'classify' writes these features, and gives 'probabilities' and 'logits' [batch, 5]. Scaler and
    softmax are in it. The label is that of the largest probability / threshold; labels and thresholds are in its
    metadata. It is run beside torch on made-up rows before it is written.

    HDF5 has one dataset for each entry of the network's state dict ('layers.0.weight'), the scaler and the reference.

    Example: **heartbeat export seed-small --format onnx --int8 -o model.onnx**
    """
    with _exit_codes("interrupted"):
        try:
            from jobs.export import export as run_job
        except ModuleNotFoundError as error:
            raise UsageError(
                f"export needs the package '{error.name}', which is not installed: pip install 'heartbeat[export]'"
            ) from None

        exported = run_job(model, output, file_format.value, int8)
        out.print(f"model {exported.model_id}")
        out.print(f"{file_format.value}{', int8' * int8}: {exported.n_bytes / 1e3:,.1f} kB")
        if (found := exported.comparison) is not None:
            out.print(
                f"largest difference from torch over {found.n_rows} made-up rows: probabilities "
                f"{found.probability_difference:.1e}, logits {found.logit_difference:.1e} (beyond 1: of a row's "
                f"largest); the same label in {100 * found.same_label:.1f} % of them"
            )
            out.print(
                f"one row on one thread, median: onnxruntime {found.onnxruntime_ms:.3f} ms, "
                f"torch {found.torch_ms:.3f} ms"
            )
        out.print(f"  {exported.place}")


@app.command(epilog="Exit codes: 0 told, 1 the store failed or no recording can be decoded, 2 usage, 130 interrupted.")
def plan(
    inputs: Inputs,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="Worker processes, each with a core. [default: one a core]"),
    ] = None,
    model: Model = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME|FILE.yaml", help="Plan build-dataset with it, in place of classify."),
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=1, help="Recordings that are read and processed here.")
    ] = 300,
    scale_to: Annotated[
        int | None,
        typer.Option("--scale-to", metavar="N", min=1, help="Plan for so many recordings like those of the inputs."),
    ] = None,
    put_price: Annotated[
        float | None,
        typer.Option("--put-price", metavar="PRICE", min=0.0, help="Of 1,000 PUT or LIST requests, in any currency."),
    ] = None,
    get_price: Annotated[
        float | None,
        typer.Option("--get-price", metavar="PRICE", min=0.0, help="Of 1,000 GET or HEAD requests."),
    ] = None,
    path_column: PathColumn = None,
    include: Include = None,
    exclude: Exclude = None,
    min_size: MinSize = None,
    max_size: MaxSize = None,
    since: Since = None,
    before: Before = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: Config = None,
) -> None:
    """Tell what a run will take before it is paid for: time, requests, output, memory and expected failures.

    All inputs are listed as the job lists them; a random sample is read and processed in this process as a worker
    would, on one core. Nothing is written.

    Example: **heartbeat plan s3://bucket/2026/ --workers 64**
    """
    with _exit_codes("interrupted"):
        if model is not None and recipe is not None:
            raise UsageError("give --model or --recipe, not both")
        for name in THREAD_VARIABLES:  # Before the numeric libraries are loaded, so that they have one, as a worker's.
            os.environ.setdefault(name, "1")

        from heartbeat_core import storage
        from jobs.estimate import count_shards, estimate
        from jobs.progress import meter
        from jobs.sample import classify_work, dataset_work, list_inputs, measure
        from jobs.settings import load_recipe

        settings = _job_settings(
            config,
            None,
            workers,
            model=model,
            path_column=path_column,
            selection=_selection(include, exclude, min_size, max_size, since, before),
        )
        wanted = None if recipe is None else load_recipe(recipe)
        with storage.using(storage.Access(settings.s3), _PLAN_PATIENCE_S):
            listed = list_inputs(inputs, settings, sample)
            n_recordings = scale_to or listed.n_recordings
            work = (
                classify_work(settings.model, settings.features)
                if wanted is None
                else dataset_work(wanted, listed.sample, settings)
            )
            shard_size = -(-n_recordings // count_shards(listed.sample, n_recordings, settings.shards))
            with meter(log, "sample", len(listed.sample)) as shown:
                measured = measure(listed.sample, work, settings, shard_size, shown.advance)
        n_workers = settings.cluster.workers or os.cpu_count() or 1
        found = estimate(listed, measured, settings.shards, n_workers, n_recordings, put_price, get_price)
        if as_json:
            from dataclasses import asdict

            typer.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        else:
            print_estimate(found)


Folder = Annotated[str, typer.Argument(metavar="OUT", help="A job's output: folder or URL.", show_default=False)]
StoreConfig = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE.yaml", help="The job's settings, where its store needs them (s3: …)."),
]


@app.command(epilog="Exit codes: 0 told, 2 usage.")
def status(
    output: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: StoreConfig = None,
) -> None:
    """Tell what is done, running, failed and left in a job's output, also while another process runs the job.

    Example: **heartbeat status results/**
    """
    with _exit_codes("interrupted"):
        from dataclasses import asdict

        from jobs.driver import reaching
        from jobs.status import read_status

        with reaching(_job_settings(config, None, None)):
            found = read_status(output)
        if as_json:
            typer.echo(json.dumps({**asdict(found), "left": found.left}, indent=2))
        else:
            print_status(found)


@app.command(epilog="Exit codes: 0 done, 1 the store failed, 2 usage, 130 interrupted (the same command goes on).")
def compact(output: Folder, config: StoreConfig = None) -> None:
    """Make plain files of a finished output: the newest row of each recording, in few parts, in place.

    Meanwhile the folder has no _SUCCESS, and queries may see a row twice.

    Example: **heartbeat compact results/**
    """
    with _exit_codes():
        from jobs.compact import compact as run_job
        from jobs.driver import reaching

        with reaching(_job_settings(config, None, None)):
            done = run_job(output, log)
        for table, rows in done.n_rows.items():
            out.print(f"{table}: {rows} rows in {done.n_parts[table]} parts, before in {len(done.old[table])}")


@app.command(epilog="Exit codes: 0 made, 2 usage, 130 interrupted.")
def certs(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="New folder; every machine finds the files under the same path.", show_default=False
        ),
    ],
    days: Annotated[int, typer.Option("--days", metavar="N", min=1, max=3650, help="For how long they are good.")] = 30,
) -> None:
    """Make certificates, for one cluster that encrypts: ca.pem, cert.pem, key.pem and a dask.yaml that names them.

    Whoever has these files can run code on the cluster: copy them to its machines only, and make new ones for the
    next cluster. The authority's own key is thrown away, so nobody can add a certificate later.

    Example: **heartbeat certs certs/ --days 7**
    """
    with _exit_codes("interrupted"):
        from socket import gethostname

        from jobs.certs import make_certs

        made = make_certs(folder, (gethostname(), "localhost", "127.0.0.1"), days)
        for path in (made.ca_file, made.cert_file, made.key_file, made.config):
            out.print(f"  {path}")
        config = f"DASK_CONFIG={shlex.quote(str(made.config))}"
        out.print(
            f"good until {made.not_after:%Y-%m-%d %H:%M} UTC; whoever has them can run code on the cluster"
            "\n\nThe scheduler, with its machine's address for HOST; workers on each machine; then the job:\n"
            f"\n  {config} dask scheduler --host HOST --port 8786 --dashboard-address 127.0.0.1:8787"
            f"\n  {config} dask worker tls://HOST:8786 --nworkers 8 --nthreads 1 --dashboard-address 127.0.0.1:0"
            f"\n  {config} heartbeat classify INPUT -o OUT --cluster tls://HOST:8786"
            "\n\nOr the job without DASK_CONFIG: --cluster cluster.yaml, a file that holds\n"
            "\n  kind: address"
            "\n  address: tls://HOST:8786"
            "\n  tls:"
            f"\n    ca_file: {json.dumps(str(made.ca_file), ensure_ascii=False)}"
            f"\n    cert_file: {json.dumps(str(made.cert_file), ensure_ascii=False)}"
            f"\n    key_file: {json.dumps(str(made.key_file), ensure_ascii=False)}"
        )


@app.command(epilog=EXIT_CODES)
def demo(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Where the demo's sounds and results go.")
    ] = "heartbeat-demo",
    workers: Workers = None,
) -> None:
    """Synthesise a few dozen recordings and classify them on a cluster embedded in this process.

    The sounds are synthetic; two of the files are broken on purpose.
    """
    with _exit_codes():
        _prepare_workers(None, "heartbeat_core.bundle")
        from heartbeat_core import storage
        from jobs.classify import read_failures
        from jobs.demo import demo as run_job

        summary = run_job(folder, _job_settings(None, None, workers), log)
        print_classified(summary.classified)
        out.print("\nfailures:")
        for failure in read_failures(summary.classified.out):
            name = failure["uri"].removeprefix(f"{summary.recordings}/")
            out.print(f"  {name}: {failure['error_type']}: {failure['message']}")
        out.print(
            "\nThe sounds are synthetic: what the model says of them shows that the machinery works, and no more."
            "\nRead on in DuckDB:\n"
            "\n  SELECT predicted_label, count(*) AS n, avg(confidence) AS confidence"
            f"\n  FROM '{storage.display(summary.classified.out)}/predictions/*.parquet'"
            "\n  GROUP BY ALL ORDER BY n DESC;"
        )


def main() -> None:
    """Run the command line; SIGTERM is taken as Ctrl-C."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    finally:
        # The process ends: what it holds need not be looked through once more, which takes half a second.
        gc.freeze()


def _prepare_workers(cluster: str | None, *modules: str) -> None:
    """Have the workers' libraries loaded while this process loads its own, where workers will be started here."""
    if cluster in (None, "local"):
        open_nursery(modules)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Stop in order the first time; at once the second time, when closing the cluster takes too long."""
    signal.signal(signal.SIGINT, _interrupt_again)
    signal.signal(signal.SIGTERM, _interrupt_again)
    os.write(2, b"\nstopping in order; once more stops at once\n")
    raise KeyboardInterrupt


def _interrupt_again(signum: int, frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)


@contextmanager
def _exit_codes(interrupted: str = "interrupted; the same command goes on where it stopped") -> Iterator[None]:
    """Turn the project's errors into one line and an exit code; other errors stay loud."""
    try:
        yield
    except HeartbeatError as error:
        log.print(f"heartbeat: {error}")
        raise typer.Exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED) from None
    except KeyboardInterrupt:
        log.print(f"heartbeat: {interrupted}")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _job_settings(config: str | None, cluster: str | None, workers: int | None, **options: Any) -> JobSettings:
    from jobs.settings import load_cluster_settings, load_job_settings

    settings = load_job_settings(config, options)
    if cluster is not None:
        return settings.model_copy(update={"cluster": load_cluster_settings(cluster, workers)})
    if workers is not None:
        return settings.model_copy(update={"cluster": settings.cluster.model_copy(update={"workers": workers})})
    return settings


def _selection(
    include: list[str] | None,
    exclude: list[str] | None,
    min_size: str | None,
    max_size: str | None,
    since: str | None,
    before: str | None,
) -> dict[str, Any] | None:
    given = {
        "include": include,
        "exclude": exclude,
        "min_size": min_size,
        "max_size": max_size,
        "since": since,
        "before": before,
    }
    return {key: value for key, value in given.items() if value} or None


def _refuse_failures(totals: Totals, settings: JobSettings) -> None:
    log.print(
        f"heartbeat: {totals.failed} of {totals.listed} recordings failed, "
        f"more than --max-failure-rate {settings.max_failure_rate:g} allows",
    )
    raise typer.Exit(EXIT_TOO_MANY_FAILURES)
