"""Estimate what a run will take: list all inputs, measure a sample of them, extrapolate. Nothing is written."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.recipe import Recipe
from jobs.planning.estimate import Estimate, estimate, shard_sizes
from jobs.planning.sample import list_inputs, measure, plan_classify, plan_dataset, settle_types
from jobs.progress import meter
from jobs.settings import JobSettings

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What is to be estimated.

    Attributes
    ----------
    recipe : Recipe | None
        Of the dataset to build; None plans ``classify``.
    n_sample : int
        How many recordings are read and processed.
    scale_to : int | None
        How many recordings to plan for; None plans for those that are listed.
    put_price, get_price : float | None
        Of 1,000 requests.
    """

    recipe: Recipe | None = None
    n_sample: int = 300
    scale_to: int | None = None
    put_price: float | None = None
    get_price: float | None = None


def plan(inputs: Sequence[str], options: PlanOptions, settings: JobSettings, console: Console) -> Estimate:
    """Estimate a run over ``inputs``.

    Parameters
    ----------
    inputs : Sequence[str]
        Files, folders, globs, manifests or inventories.
    options : PlanOptions
    settings : JobSettings
        As for the run itself.
    console : Console
        Takes what is said meanwhile.

    Raises
    ------
    UsageError
        An input, the recipe or the model cannot be used.
    JobError
        The store failed, or no recording of the sample can be decoded.
    """
    if options.recipe is not None:
        # Of build-dataset, they may be in the label file, which is not read here.
        settings = settings.model_copy(update={"keep_columns": (), "patient_column": None, "salt_env": None})
    with storage.using(storage.Access(settings.s3), PATIENCE_S):
        listed = list_inputs(inputs, settings, options.n_sample)
        n_recordings = options.scale_to or listed.n_recordings
        planned = (
            plan_classify(settings.model, settings.features, settle_types(listed.sample, settings.keep_columns))
            if options.recipe is None
            else plan_dataset(options.recipe, listed.sample, settings)
        )
        shard_size = max(shard_sizes(listed.sample, n_recordings, settings.shards))
        with meter(console, "sample", len(listed.sample)) as shown:
            measured = measure(listed.sample, planned, settings, shard_size, shown.advance)
        page_s = _time_a_request(inputs)
    n_workers = settings.cluster.workers or os.cpu_count() or 1
    return estimate(
        listed,
        measured,
        settings.shards,
        n_workers,
        n_recordings,
        options.put_price,
        options.get_price,
        page_s=page_s,
    )


def _time_a_request(inputs: Sequence[str]) -> float:
    """Return how long a bucket among the inputs takes to answer a listing, over a connection that is open already."""
    bucket = next((text for text in inputs if text.startswith("s3://")), None)
    if bucket is None:
        return 0.0
    began = time.perf_counter()
    storage.is_folder(bucket)
    return time.perf_counter() - began
