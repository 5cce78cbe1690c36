"""What 8 bits cost: each fold's network exported as ONNX in float32 and in 8 bits, on the fold's held-out recordings.

    python -m tests.benchmarks.int8 DATASET [--recipe cycles]

The recipe must read statistics. It is fitted as ``evaluate`` fits it, and the two files of a fold are run by
onnxruntime on the same held-out rows; printed is the balanced accuracy of each, over three seeds.
"""

from __future__ import annotations

import argparse
from statistics import fmean

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.metrics import balanced_accuracy_score

from heartbeat_core.bundles import bundle as bundles
from heartbeat_core.bundles.bundle import Bundle
from heartbeat_core.bundles.export import to_onnx
from heartbeat_core.evaluation.splits import folds
from heartbeat_core.labels import Labels
from heartbeat_core.learning.fit import Fitted, fit
from heartbeat_core.learning.vectors import VectorModel
from heartbeat_core.recipe import Recipe
from jobs.settings import load_recipe
from tests.benchmarks.common import run_as_a_worker
from tests.benchmarks.examples import read_examples

N_FOLDS, SEEDS = 5, range(3)


def main() -> None:
    """Fit, export, run and print the table."""
    parser = argparse.ArgumentParser(description="What 8 bits cost on held-out recordings.")
    parser.add_argument("dataset", help="what build-dataset wrote")
    parser.add_argument("--recipe", default="cycles")
    options = parser.parse_args()
    run_as_a_worker()
    recipe = load_recipe(options.recipe)
    everything, _ = read_examples(options.dataset, recipe)
    rows = everything.take(everything.targets.definite)
    codes = rows.targets.codes
    table = Table("seed", "float32", "8 bits", "rows with another label", title=f"{options.recipe}, {len(rows)} rows")
    differences = []
    for seed in SEEDS:
        plain, rounded = np.empty_like(codes), np.empty_like(codes)
        splits = folds(codes, rows.groups, N_FOLDS, seed)
        for training, held_out in track(splits, f"seed {seed}", transient=True):
            fitted = fit(recipe, rows.take(training), seed)
            bundle = _bundle(recipe, fitted, rows.targets.labels)
            recordings = np.stack([found[0] for found in rows.take(held_out).inputs])
            plain[held_out], rounded[held_out] = (
                fitted.decision.codes(_probabilities(to_onnx(bundle, int8), recordings)) for int8 in (False, True)
            )
        scores = [float(balanced_accuracy_score(codes, found)) for found in (plain, rounded)]
        differences.append(scores[1] - scores[0])
        table.add_row(str(seed), *(f"{score:.4f}" for score in scores), str(int((plain != rounded).sum())))
    console = Console()
    console.print(table)
    console.print(f"8 bits less float32, mean over seeds: {fmean(differences):+.4f}")


def _bundle(recipe: Recipe, fitted: Fitted, labels: Labels) -> Bundle:
    if not isinstance(fitted.model, VectorModel):
        raise SystemExit(f"recipe '{recipe.name}' has no network on statistics")
    # The rest of a manifest is not what the network computes.
    other = bundles.load("cycles")
    trained = tuple(labels[code] for code in fitted.trained.tolist())
    update = {"recipe": recipe, "decision": fitted.decision, "labels": labels, "trained_labels": trained}
    return Bundle(other.manifest.model_copy(update=update), other.reference, fitted.model)


def _probabilities(model: bytes, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    [found] = session.run(["probabilities"], {session.get_inputs()[0].name: rows})
    return np.asarray(found, dtype=np.float64)


if __name__ == "__main__":
    main()
