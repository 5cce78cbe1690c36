"""The Moody challenge's measures of the murmur, for patients that the model was not trained on.

    python -m tests.benchmarks.challenge EVALUATION --truth FOLDER_OR_TABLE

EVALUATION is a finished folder of ``heartbeat evaluate`` with this recipe, whose datasets include CirCor. Its
predictions out of fold, in which a label is decided for each recording, answer for the patients by the rules of
``heartbeat score``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table

from heartbeat_core import storage
from heartbeat_core.challenges.answers import Predicted
from heartbeat_core.challenges.moody2022 import MOODY2022
from heartbeat_core.labels import PROBABILITY_PREFIX
from heartbeat_core.recipe import Recipe
from heartbeat_core.results.files import read_file
from jobs.listing.truth import TruthTable, read_truth, recording_names
from jobs.settings import load_recipe
from tests.benchmarks.common import report

MEASURES = ("weighted_accuracy", "AUROC", "accuracy", "F_measure")


def main() -> None:
    """Score each seed and print the table."""
    parser = argparse.ArgumentParser(description="The Moody challenge's measures of the murmur, out of fold.")
    parser.add_argument("evaluation", nargs="+", help="finished output of `heartbeat evaluate` with the recipe")
    parser.add_argument("--recipe", default="cycle-spectrum", help="[default: cycle-spectrum]")
    parser.add_argument("--truth", required=True, help="CirCor's folder, or a table with its labels")
    parser.add_argument(
        "--json", type=Path, help="where the figures go as JSON [default: build/benchmarks/challenge.json]"
    )
    options = parser.parse_args()
    truth, recipe = read_truth(options.truth, MOODY2022), load_recipe(options.recipe)
    if recipe.decision.balance:
        parser.error(f"recipe '{recipe.name}' has thresholds that its folds did not store")
    table = Table("evaluation", "seed", "patients", *(name.replace("_", " ") for name in MEASURES))
    figures: dict[str, list[dict[str, float]]] = {}
    for folder in options.evaluation:
        predictions = read_file(storage.join(storage.to_uri(folder), "predictions", f"{recipe.name}.parquet"))
        of_seeds = [
            score(predictions.filter(pc.field("seed") == seed), recipe, truth)
            for seed in sorted(set(predictions.column("seed").to_pylist()))
        ]
        for seed, (n, measures) in enumerate(of_seeds):
            table.add_row(Path(folder).name, str(seed), str(n), *(f"{measures[name]:.3f}" for name in MEASURES))
        means = {name: fmean(measures[name] for _, measures in of_seeds) for name in MEASURES}
        table.add_row(Path(folder).name, "mean", "", *(f"{means[name]:.3f}" for name in MEASURES))
        figures[folder] = [measures for _, measures in of_seeds]
    report("challenge", [table], figures, options.json)


def score(predictions: pa.Table, recipe: Recipe, truth: TruthTable) -> tuple[int, dict[str, float]]:
    """Return the number of patients, and the measures, of the recordings that the truth names."""
    [question] = [one for one in MOODY2022.questions if one.name == "murmur"]
    known = dict(zip(truth.names, truth.records, strict=True))
    names = recording_names(predictions.column("uri").to_pylist(), "the evaluation")
    rows = [row for row, name in enumerate(names) if name in known]
    chosen = predictions.take(rows)
    columns = [name for name in predictions.column_names if name.startswith(PROBABILITY_PREFIX)]
    labels = tuple(name.removeprefix(PROBABILITY_PREFIX) for name in columns)
    probabilities = np.array([chosen.column(name).to_pylist() for name in columns], np.float64).T
    codes = np.array([labels.index(label) for label in chosen.column("predicted_label").to_pylist()])
    odds = recipe.decision.odds
    thresholds = np.array([1 / odds.times if odds and label in odds.labels else 1.0 for label in labels])
    predicted = Predicted(labels, thresholds, tuple(names[row] for row in rows), codes, probabilities, codes < 0)
    answers = MOODY2022.answer(question, predicted, [known[names[row]] for row in rows])
    found = MOODY2022.score(question, answers, truth.by_record())
    return found.n, {name: found.measures[name] for name in MEASURES}


if __name__ == "__main__":
    main()
