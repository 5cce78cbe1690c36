"""How good a recipe is on the middle 2.5 or 5 s of recordings of persons or databases that it was not trained on.

    python -m tests.benchmarks.short_recordings EVALUATION RECIPE [--seconds 2.5 --seconds 5]

EVALUATION is a finished folder of ``heartbeat evaluate`` with this recipe: its datasets, its protocol and the inputs
that it has stored are used again. The recipe is fitted as it is there, with seed 0.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from rich.progress import track
from rich.table import Table

from heartbeat_core import storage
from heartbeat_core.arrays import Inputs
from heartbeat_core.audio.decode import decode
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.datasets.several import read_labelled
from heartbeat_core.evaluation.figures import RecipeFigures
from heartbeat_core.evaluation.judging import FoldResult, judge_recipe
from heartbeat_core.evaluation.protocols import HELD_OUT, make_splits
from heartbeat_core.evaluation.splits import Task
from heartbeat_core.features.extract import compute_inputs
from heartbeat_core.recipe import AugmentationSettings, Recipe
from jobs.output.places import RUN_NAME
from jobs.settings import load_recipe
from jobs.tasks.extract import input_key, make_chunks, read_inputs
from tests.benchmarks.common import report, run_as_a_worker

SEED = 0
TASK = Task("all labels")


def main() -> None:
    """Fit the folds again, predict whole and cut recordings, and print the table."""
    parser = argparse.ArgumentParser(description="How good a recipe is on short recordings.")
    parser.add_argument("evaluation", help="finished output of `heartbeat evaluate` with the recipe")
    parser.add_argument("recipe", help="a recipe that reads vectors")
    parser.add_argument(
        "--seconds", type=float, action="append", help="length of the middle that is kept [default: 2.5 and 5]"
    )
    parser.add_argument(
        "--json", type=Path, help="where the figures go as JSON [default: build/benchmarks/short-recordings.json]"
    )
    options = parser.parse_args()
    if not all(seconds > 0 for seconds in options.seconds or ()):
        parser.error("--seconds is greater than 0")
    run_as_a_worker()
    identity = json.loads(storage.read(storage.join(options.evaluation, RUN_NAME)))["identity"]
    recipe = load_recipe(options.recipe)
    labelled = read_labelled([Dataset(uri) for uri in identity["datasets"]])
    whole = read_inputs(options.evaluation, input_key(recipe), len(make_chunks(labelled)))
    heard: dict[str, Sequence[Inputs]] = {"whole": whole}
    for seconds in options.seconds or (2.5, 5.0):
        heard[f"{seconds:g} s"] = cut_inputs(labelled, recipe, seconds)
    protocol, n_folds = identity["protocol"], identity["folds"] or 0
    table = Table("heard", "accuracy", "AUROC of murmur", "wrong: marked", "right: marked", title=protocol)
    figures = {}
    for name, found in judge(labelled, recipe, protocol, n_folds, heard).items():
        figures[name] = found.model_dump(mode="json")
        table.add_row(name, *cells(found))
    report("short-recordings", [table], {"recipe": recipe.name, "protocol": protocol, "figures": figures}, options.json)


def cut_inputs(labelled: Labelled, recipe: Recipe, seconds: float) -> list[Inputs]:
    """Return the inputs of the middle of each recording."""
    plain = recipe.model_copy(update={"augmentation": AugmentationSettings()})
    with ProcessPoolExecutor(mp_context=get_context("forkserver")) as pool:
        found = pool.map(partial(_cut, plain, seconds), labelled.uri, labelled.groups, chunksize=16)
        return list(track(found, f"the middle {seconds:g} s", len(labelled.uri)))


def _cut(recipe: Recipe, seconds: float, uri: str, person: str) -> Inputs:
    waveform = decode(storage.read(uri))
    n_kept = min(len(waveform.samples), round(seconds * waveform.sample_rate_hz))
    start = (len(waveform.samples) - n_kept) // 2
    return compute_inputs(replace(waveform, samples=waveform.samples[start : start + n_kept]), recipe, person)


def judge(
    labelled: Labelled, recipe: Recipe, protocol: str, n_folds: int, heard: dict[str, Sequence[Inputs]]
) -> dict[str, RecipeFigures]:
    """Return the figures for each way to hear the held-out recordings; models are fitted as in the evaluation."""
    # Imported here because torch takes a second to load and the processes that cut do not need it.
    from heartbeat_core.learning.fit import Examples, fit

    kept = TASK.rows(labelled.targets)
    rows = Examples(heard["whole"], labelled.targets, labelled.groups, labelled.databases).take(kept)
    folds: dict[str, list[FoldResult]] = {name: [] for name in heard}
    for split in track(make_splits(protocol, labelled, TASK, n_folds, SEED), "folds"):
        fitted = fit(recipe, rows.take(split.training), SEED)
        held_out = kept[split.test]
        for name, inputs in heard.items():
            test = [inputs[row] for row in held_out.tolist()]
            probabilities, predicted = fitted.predict(test)
            unsure = fitted.unsure(recipe, test, probabilities, predicted)
            folds[name].append(FoldResult(held_out, predicted, probabilities, unsure, 0.0, None))
    leaves_out = protocol in HELD_OUT
    return {name: judge_recipe(labelled, TASK, recipe, [found], [], leaves_out) for name, found in folds.items()}


def cells(found: RecipeFigures) -> list[str]:
    """Return the figures of one row of the table; the AUROC is the mean over databases."""
    murmur = {one.label: one.mean_over_databases.auroc for one in found.against_rest}.get("murmur")
    unsure = found.unsure_pooled
    shares = (None, None) if unsure is None else (unsure.of_wrong, unsure.of_right)
    values = (found.judgement.accuracy.value, None if murmur is None else murmur.value, *shares)
    return ["–" if value is None else f"{value:.3f}" for value in values]


if __name__ == "__main__":
    main()
