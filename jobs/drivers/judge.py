"""Judge a finished model on labelled recordings, without training: what to do before one trusts it.

On disk, or under any URL, if there is an output folder::

    OUT/predictions.parquet       the predictions beside their labels
    OUT/failures.parquet          recordings that could not be predicted, with the reason
    OUT/figures.json              all figures (``evaluation.finished.ModelEvaluation``)
    OUT/REPORT.md                 the same for people
    OUT/reliability-LABEL.svg     a reliability diagram of each label
    OUT/_outcomes/                what each task has predicted
    OUT/_run.json  OUT/_SUCCESS   as every job has them

The same command goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.bundles.manifest import BundleManifest, read_manifest, read_weights, resolve, shipped_models
from heartbeat_core.bundles.overlap import find_overlap
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.datasets.several import read_labelled
from heartbeat_core.errors import DatasetError, NothingSucceeded
from heartbeat_core.evaluation.diagram import diagram_name, reliability_svg
from heartbeat_core.evaluation.figures import FIGURES_NAME
from heartbeat_core.evaluation.finished import ModelEvaluation, ModelPredictions, Overlap, judge_model
from heartbeat_core.evaluation.finished_report import REPORT_NAME, model_report
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.labels import as_labels
from heartbeat_core.recipe import RESULTS_VERSION
from heartbeat_core.results.judged import Outcomes, joined_outcomes, judged_table
from heartbeat_core.results.schema import failures_table, with_metadata
from heartbeat_core.settings import parse_settings
from heartbeat_core.storage.uris import SUCCESS_NAME, public_uri
from heartbeat_core.wording import counted
from jobs.cluster.connect import check_certificates, check_device, connect
from jobs.cluster.connection import Connection
from jobs.cluster.runner import Tasks, run_tasks
from jobs.drivers.reach import reaching
from jobs.drivers.run import announced, enter, on_cluster
from jobs.output.ledger import Ledger
from jobs.output.provenance import claim_entries, datasets_entry
from jobs.progress import meter
from jobs.settings import JobSettings
from jobs.tasks.context import TASK_PATIENCE_S
from jobs.tasks.outcomes import OUTCOMES_FOLDER, Batch, OutcomesJob, batch_in_isolation, make_batches, predict_batch

PREDICTIONS_NAME, FAILURES_NAME = "predictions.parquet", "failures.parquet"


def judge(dataset_uris: Sequence[str], out: str | None, settings: JobSettings, console: Console) -> ModelEvaluation:
    """Predict all labelled recordings of datasets with the model of the settings, and compute all figures.

    A recording that cannot be predicted is counted, and named in ``failures.parquet`` or, without ``out``, on the
    console.

    Parameters
    ----------
    dataset_uris : Sequence[str]
        Paths or URLs of one or several datasets.
    out : str | None
        Path or URL of a new folder, or of one that holds this job, which then goes on where it stopped. None writes
        nothing.
    settings : JobSettings
    console : Console
        Takes what is said meanwhile.

    Raises
    ------
    UsageError
        A dataset, the model or the folder cannot be used, or the model does not know a label of the datasets.
    NothingSucceeded
        Not one recording could be predicted.
    JobError
        The work began and could not be finished.
    """
    check_certificates(settings.cluster)
    with reaching(settings):
        manifest = read_manifest(settings.model)
        read_weights(settings.model, manifest)  # Before any work: each worker would refuse damaged ones.
        datasets = [Dataset(uri) for uri in dataset_uris]
        as_stored = read_labelled(datasets)
        if not len(as_stored):
            raise DatasetError("no recording of the datasets has a label: there is nothing to judge the model by")
        labelled = replace(as_stored, targets=as_labels(as_stored.targets, manifest.labels))
        overlap, n_trained_on = find_overlap(manifest, datasets, as_stored)
        batches = make_batches(labelled.uri, labelled.audio_sha256)
        if out is None:
            access = storage.Access(settings.s3)
            shared = storage.join(datasets[0].uri, SUCCESS_NAME)
            with connect(settings.cluster, shared, access, tell=console.print) as connection:
                check_device(connection, settings.device)
                with announced(connection, console):
                    outcomes = _predict(connection, batches, "", manifest, access, settings, console)
            for one in outcomes.failures.values():
                console.print(f"failed: {storage.display(one.recording.public_uri)}: {one.message}")
            return _figures(manifest, labelled, outcomes, overlap, n_trained_on)
        ledger = Ledger(out)
        identity = {
            "job": "evaluate",
            "datasets": [public_uri(dataset.uri) for dataset in datasets],
            "data": labelled.ordered_fingerprint(),
            "model": manifest.model_id,
            "limits": settings.limits.model_dump(mode="json"),
            "results_version": RESULTS_VERSION,
        }
        files = {OUTCOMES_FOLDER: len(batches)}
        with enter(ledger, ledger.find_run(identity), identity, settings, files) as place:
            if ledger.is_finished():
                console.print(f"finished already: {counted(len(labelled), 'recording')}, all judged")
                stored = json.loads(storage.read(storage.join(ledger.out, FIGURES_NAME)))
                return parse_settings(ModelEvaluation, stored, FIGURES_NAME)
            with on_cluster(place, settings, console) as connection:
                outcomes = _predict(connection, batches, ledger.out, manifest, place.access, settings, console)
            found = _figures(manifest, labelled, outcomes, overlap, n_trained_on)
            provenance = {**claim_entries(ledger.out, datasets_entry(identity)), **manifest.provenance}
            _write(ledger.out, provenance, labelled, outcomes, found)
            return found


def _predict(
    connection: Connection,
    batches: Sequence[Batch],
    out: str,
    manifest: BundleManifest,
    access: storage.Access,
    settings: JobSettings,
    console: Console,
) -> Outcomes:
    # A worker finds a shipped model in its own installation.
    model = settings.model if settings.model in shipped_models() else resolve(settings.model)
    job = OutcomesJob(out, model, manifest.digest, settings.limits, settings.device, access, TASK_PATIENCE_S)
    parts: dict[int, Outcomes] = {}
    n_recordings = sum(len(batch.recordings) for batch in batches)
    with meter(console, "predict", n_recordings, "recordings", failed=0) as shown:

        def take(done: tuple[int, Outcomes]) -> None:
            index, parts[index] = done
            n_failed = len(parts[index].failures)
            shown.advance(len(parts[index].rows) + n_failed, n_failed)

        tasks = Tasks(predict_batch, job, settings.task_retries, take, batch_in_isolation)
        run_tasks(connection, tasks, batches)
    outcomes = joined_outcomes([parts[index] for index in sorted(parts)])
    if not len(outcomes.rows):
        first = next(iter(outcomes.failures.values()))
        raise NothingSucceeded(
            f"all {len(outcomes.failures)} recordings failed, the first of them "
            f"{storage.display(first.recording.public_uri)}: {first.message}"
        )
    return outcomes


def _figures(
    manifest: BundleManifest, labelled: Labelled, outcomes: Outcomes, overlap: Overlap, n_trained_on: int | None
) -> ModelEvaluation:
    predictions = ModelPredictions(
        outcomes.rows,
        outcomes.predicted,
        outcomes.probabilities.astype(np.float64),
        np.array([reason is not None for reason in outcomes.unsure]),
    )
    return judge_model(
        labelled,
        predictions,
        manifest.trained_codes,
        model_id=manifest.model_id,
        data_fingerprint=labelled.fingerprint(),
        overlap=overlap,
        n_trained_on=n_trained_on,
        training_data=manifest.training_data.description,
        error_types=[one.error_type for one in outcomes.failures.values()],
    )


def _write(
    out: str, provenance: Mapping[str, str], labelled: Labelled, outcomes: Outcomes, found: ModelEvaluation
) -> None:
    failures = failures_table(
        list(outcomes.failures.values()), generation=0, run_id=provenance["run_id"], now=datetime.now(UTC)
    )
    files = {
        PREDICTIONS_NAME: to_parquet(with_metadata(judged_table(labelled, outcomes, found.model_id), provenance)),
        FAILURES_NAME: to_parquet(with_metadata(failures, provenance)),
        **{diagram_name(one.label): reliability_svg(one.label, one.reliability).encode() for one in found.against_rest},
        FIGURES_NAME: (json.dumps(found.model_dump(mode="json"), indent=2) + "\n").encode(),
        REPORT_NAME: model_report(found).encode(),
        SUCCESS_NAME: b"",
    }
    for name, data in files.items():
        storage.create(storage.join(out, name), data)
