"""What a model's figures would have been with other splits: a section for its model card, as Markdown.

    python -m tests.benchmarks.other_seeds DATASET RECIPE [--drop-label LABEL ...] [--seeds 5]

Trains with the seeds 0, 1, … in place of the recipe's own, which changes the held-out patients and the weights.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from heartbeat_core.evaluation.figures import Figures
from jobs.drivers.train import TrainOptions, train
from jobs.settings import JobSettings, load_recipe

FIGURES: dict[str, Callable[[Figures], float]] = {
    "accuracy": lambda figures: figures.accuracy,
    "balanced accuracy": lambda figures: figures.balanced_accuracy,
    "macro-F1": lambda figures: figures.macro_f1,
}


def main() -> None:
    """Train, and print the section."""
    parser = argparse.ArgumentParser(description="Train with other seeds and print the held-out figures.")
    parser.add_argument("dataset")
    parser.add_argument("recipe")
    parser.add_argument("--drop-label", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    reports = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(arguments.seeds):
            other = recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": seed})})
            options = TrainOptions(other, tuple(arguments.drop_label))
            place = str(Path(scratch, str(seed)))
            bundle = train([arguments.dataset], place, options, JobSettings(), Console(quiet=True))
            reports.append(bundle.manifest.holdout)
    print("\n## The same with other seeds\n")
    print(f"Seeds 0 to {arguments.seeds - 1}, each with its own held-out patients: median (least to most).\n")
    print("| figure | model | majority rule |\n| --- | --- | --- |")
    for name, figure in FIGURES.items():
        model, rule = ([figure(getattr(one, who)) for one in reports] for who in ("model", "majority_rule"))
        print(f"| {name} | {_range(model)} | {_range(rule)} |")


def _range(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
