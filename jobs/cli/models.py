"""Commands over datasets and models: train, evaluate, export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from heartbeat_core.errors import UsageError
from heartbeat_core.wording import counted
from jobs.cli.app import GOES_ON, app, exit_codes, prepare_workers
from jobs.cli.challenges import export_answers
from jobs.cli.figures import print_judged, print_leaderboard
from jobs.cli.options import (
    AsJson,
    Cluster,
    Config,
    FormatChoice,
    ProtocolChoice,
    StoreConfig,
    Workers,
    job_settings,
)
from jobs.cli.printing import log, out, print_places
from jobs.cli.records import print_json

if TYPE_CHECKING:
    from jobs.settings import JobSettings


@app.command(epilog="Exit codes: 0 written, 1 the job failed, 2 wrong usage, 130 interrupted.")
def train(
    datasets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET",
            help="Outputs of build-dataset, with the same frames, alignment and labels.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="BUNDLE", help="New folder or URL.", show_default=False)
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE.yaml",
            help="Network and training. Frames and alignment must be as in the dataset. [default: the first dataset's]",
        ),
    ] = None,
    drop_label: Annotated[
        list[str] | None,
        typer.Option("--drop-label", metavar="LABEL", help="Leave out rows with this label. May be repeated."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="TEXT", help="What the recordings are, with their licences, for the model card."
        ),
    ] = None,
    evaluation: Annotated[
        list[str] | None,
        typer.Option(
            "--evaluation",
            metavar="FOLDER",
            help="The output of 'evaluate' for this recipe and dataset: its figures go into the bundle, and no row is "
            "held out. May be repeated, once for each protocol.",
        ),
    ] = None,
    cluster: Cluster = None,
    workers: Workers = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Train a model on one or several datasets and write it as a bundle.

    Without --evaluation, one fold of five is held out by patient. The bundle states the figures on these rows, beside
    those of always predicting the commonest label. Recipes that read statistics compute them on the cluster.

    Example: **heartbeat train dataset/ -o my-model/ --drop-label artifact**
    """
    with exit_codes("interrupted"):
        from heartbeat_core.bundles.card_figures import figure_rows
        from jobs.drivers.train import TrainOptions
        from jobs.drivers.train import train as run_job
        from jobs.settings import load_recipe

        loaded = None if recipe is None else load_recipe(recipe)
        options = TrainOptions(loaded, tuple(drop_label or ()), data, tuple(evaluation or ()))
        manifest = run_job(datasets, output, options, job_settings(config, cluster, workers), log).manifest
        if as_json:
            print_json({"output": output, **manifest.model_dump(mode="json")})
            return
        names = ["bundle.json", "weights.safetensors", "MODEL_CARD.md"]
        if manifest.evaluations:
            rows = counted(manifest.training_data.n_rows, "row")
            out.print(f"trained on {rows}, none held out; by cross-validation:")
        for judged in manifest.evaluations:
            print_leaderboard(judged)
        if (report := manifest.holdout) is not None:
            out.print(
                f"trained on {counted(report.n_training_rows, 'row')}; held out "
                f"{counted(report.n_holdout_rows, 'row')} of {counted(report.n_holdout_patients, 'patient')}",
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


@app.command(epilog=f"Exit codes: 0 judged, 1 the job failed, 2 wrong usage, {GOES_ON}")
def evaluate(
    datasets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET",
            help="Outputs of build-dataset, with the same labels; their recordings are read again.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder or URL: new, empty, or begun by this same command. With --model it may be left out: then the "
            "figures are only printed.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME|URI",
            help="Judge this finished model, and train nothing: a shipped one, or where a bundle is.",
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE.yaml",
            help="A shipped recipe or your own. May be repeated; 'all' stands for all shipped ones.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without", metavar="LABEL", help="Judge a second time without the rows of this label. May be repeated."
        ),
    ] = None,
    protocol: Annotated[
        ProtocolChoice | None,
        typer.Option(
            "--protocol",
            help="Folds grouped by person, or one database or device left out of the training. "
            "[default: grouped-folds]",
        ),
    ] = None,
    n_folds: Annotated[
        int | None,
        typer.Option("--folds", metavar="N", min=2, help="How many folds, grouped by person. [default: 5]"),
    ] = None,
    n_seeds: Annotated[
        int | None,
        typer.Option("--seeds", metavar="N", min=1, help="How many repetitions, each with another seed. [default: 3]"),
    ] = None,
    cluster: Cluster = None,
    workers: Workers = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Judge recipes by cross-validation, beside rules that do not listen to the sound, or judge a finished model.

    With --recipe, no person is in training and test rows, and everything is fitted on the training rows alone. With
    --model, nothing is fitted: do this on your own recordings before you trust a model.

    The output holds the predictions, all figures (figures.json), reliability diagrams, and LEADERBOARD.md or, of a
    model, REPORT.md. The same command again goes on where it stopped.

    Example: **heartbeat evaluate dataset/ --model cycles**

    Example: **heartbeat evaluate dataset/ --recipe cycles --recipe seed-small --without artifact -o evaluation/**

    Example: **heartbeat evaluate a/ b/ c/ --recipe cycles --protocol leave-one-database-out -o evaluation/**
    """
    with exit_codes():
        if model is not None:
            training: dict[str, object] = {"--recipe": recipe, "--without": without, "--protocol": protocol}
            training |= {"--folds": n_folds, "--seeds": n_seeds}
            if given := [name for name, value in training.items() if value is not None]:
                raise UsageError(f"--model judges a model as it is, and {given[0]} is for training: leave one out")
            prepare_workers(cluster, "heartbeat_core.bundles.bundle")
            settings = job_settings(config, cluster, workers, model=model)
            _judge_model(datasets, output, settings, as_json=as_json)
            return
        if not recipe or output is None:
            raise UsageError("name what to judge: --recipe and the folder --output, or a finished model with --model")
        chosen = protocol or ProtocolChoice.grouped_folds
        if n_folds is not None and chosen is not ProtocolChoice.grouped_folds:
            raise UsageError(f"--folds goes with --protocol grouped-folds, and not with {chosen.value}")
        prepare_workers(cluster, "heartbeat_core.learning.fit")
        from heartbeat_core.evaluation.figures import FIGURES_NAME
        from heartbeat_core.evaluation.report import LEADERBOARD_NAME
        from jobs.drivers import evaluate as job
        from jobs.settings import load_recipe, shipped_recipes

        names = [name for text in recipe for name in (shipped_recipes() if text == "all" else [text])]
        options = job.EvaluateOptions(
            tuple(load_recipe(name) for name in dict.fromkeys(names)),
            tuple(without or ()),
            chosen.value,
            n_folds or 5,
            n_seeds or 3,
        )
        found = job.evaluate(datasets, output, options, job_settings(config, cluster, workers), log)
        if as_json:
            print_json({"output": output, **found.model_dump(mode="json")})
            return
        print_leaderboard(found)
        print_places(output, (job.PREDICTIONS_FOLDER, FIGURES_NAME, LEADERBOARD_NAME, job.RELIABILITY_FOLDER))


def _judge_model(datasets: list[str], output: str | None, settings: JobSettings, *, as_json: bool) -> None:
    """Judge a finished model and print its figures."""
    from heartbeat_core.evaluation.figures import FIGURES_NAME
    from heartbeat_core.evaluation.finished_report import REPORT_NAME
    from jobs.drivers import judge as job

    found = job.judge(datasets, output, settings, log)
    if as_json:
        print_json({"output": output, **found.model_dump(mode="json")})
        return
    print_judged(found)
    if output is not None:
        print_places(output, (job.PREDICTIONS_NAME, job.FAILURES_NAME, FIGURES_NAME, REPORT_NAME))


@app.command(epilog="Exit codes: 0 written, 1 it could not be written, 2 wrong usage, 130 interrupted.")
def export(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE|RESULTS",
            help="A shipped model, or where a bundle is. With --challenge, the output of classify; for moody2022 also "
            "two: of a model for the murmur, and of one for the outcome.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="New file or URL; with --challenge, a new folder.",
            show_default=False,
        ),
    ],
    file_format: Annotated[
        FormatChoice | None,
        typer.Option(
            "--format",
            help="onnx: a network that other programs can run. hdf5: its weights, by name. [default: onnx]",
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Store the weights in 8 bits, which takes about a quarter of the size. ONNX only."),
    ] = False,
    challenge: Annotated[
        str | None,
        typer.Option(
            "--challenge",
            metavar="NAME",
            help="Write the official answer files of a challenge: cinc2016, moody2022, or what other packages add.",
        ),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(
            "--truth",
            metavar="FOLDER|FILE",
            help="For moody2022: where each recording's patient stands, as 'score' takes it; its other patients get "
            "zeros. [default: the file names]",
        ),
    ] = None,
    as_json: AsJson = False,
    config: StoreConfig = None,
) -> None:
    """Write a model's network as one file, or the answer files of a challenge.

    An ONNX model reads 'frames' [batch, L, 2] (Hz, linear magnitude; aligned, zeros elsewhere) or 'statistics'
    [batch, N], the feature sets of its recipe side by side (652 values for 'cycles'), as 'classify' writes them. It
    returns 'probabilities' and 'logits', each [batch, labels]. It includes scaler and softmax. The label is the one
    with the largest probability / threshold; labels, thresholds and the features' names are in its metadata. Before it
    is written, its outputs are compared with torch's on made-up rows.

    HDF5 has one dataset for each entry of the network's state dict ('layers.0.weight'), for the scaler and for the
    reference.

    With --challenge, the results of 'classify' become answers.txt (cinc2016) or one ID.csv a patient (moody2022).

    Example: **heartbeat export seed-small --format onnx --int8 -o model.onnx**

    Example: **heartbeat export results/ --challenge moody2022 -o answers/**
    """
    with exit_codes("interrupted"):
        if challenge is not None:
            if file_format is not None or int8:
                raise UsageError("--format and --int8 are for a BUNDLE, and --challenge is for RESULTS: leave one out")
            export_answers(sources, challenge, output, truth, config, as_json=as_json)
            return
        if truth is not None or config is not None:
            raise UsageError("--truth and --config are for RESULTS: give --challenge as well, or leave them out")
        if len(sources) > 1:
            raise UsageError(f"one BUNDLE is exported at a time, and {len(sources)} were named")
        try:
            from jobs.drivers.export import export as run_job
        except ModuleNotFoundError as error:
            raise UsageError(
                f"export needs the package '{error.name}', which is not installed: pip install 'heartbeat[export]'"
            ) from None

        chosen = file_format or FormatChoice.onnx
        exported = run_job(sources[0], output, chosen.value, int8)
        if as_json:
            print_json(exported)
            return
        out.print(f"model {exported.model_id}")
        out.print(f"{chosen.value}{', int8' * int8}: {exported.n_bytes / 1e3:,.1f} kB")
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
