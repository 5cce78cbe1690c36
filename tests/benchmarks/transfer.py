"""What a recipe has learned of the heart and not of the device: trained on one device, tested on another.

    python -m tests.benchmarks.transfer DATASET [--recipe cycles] [--labels normal murmur]

For each pair of a dataset's devices the recipe is fitted to all rows of one and judged on those of the other, with the
labels that both have; everything is fitted to the first device's rows. Printed are the area under the ROC curve and the
balanced accuracy, each as the mean over three seeds.
"""

from __future__ import annotations

import argparse
from itertools import permutations
from statistics import fmean

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from heartbeat_core.labels import find_label
from heartbeat_core.learning.fit import fit
from jobs.settings import load_recipe
from tests.benchmarks.common import run_as_a_worker
from tests.benchmarks.examples import read_examples

SEEDS = range(3)


def main() -> None:
    """Fit, judge and print the table."""
    parser = argparse.ArgumentParser(description="Train on one device, test on another.")
    parser.add_argument("dataset", help="what build-dataset wrote")
    parser.add_argument("--recipe", default="cycles")
    parser.add_argument("--labels", nargs=2, default=["normal", "murmur"], help="two of the dataset's labels")
    options = parser.parse_args()
    run_as_a_worker()
    recipe = load_recipe(options.recipe)
    everything, all_devices = read_examples(options.dataset, recipe)
    labels = everything.targets.labels
    first, second = (labels.index(find_label(label, labels)) for label in options.labels)
    kept = np.flatnonzero(np.isin(everything.targets.codes, (first, second)))
    rows, devices = everything.take(kept), all_devices[kept]
    codes = rows.targets.codes
    table = Table("trained on", "tested on", "AUC", "balanced accuracy", title=f"{options.recipe}: {options.labels}")
    for here, there in permutations(sorted(set(devices.tolist())), 2):
        training, test = (np.flatnonzero(devices == device) for device in (here, there))
        areas, accuracies = [], []
        for seed in SEEDS:
            probabilities, predicted = fit(recipe, rows.take(training), seed).predict(rows.take(test).inputs)
            areas.append(float(roc_auc_score(codes[test] == second, probabilities[:, second])))
            accuracies.append(float(balanced_accuracy_score(codes[test], predicted)))
        table.add_row(
            *(f"{device}, {len(index)} rows" for device, index in ((here, training), (there, test))),
            f"{fmean(areas):.3f}",
            f"{fmean(accuracies):.3f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
