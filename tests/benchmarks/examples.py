"""A dataset's labelled recordings as examples for a recipe, read in this process."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.learning.fit import Examples
from heartbeat_core.recipe import Recipe
from heartbeat_core.settings import Limits
from jobs.tasks.extract import compute_chunk, make_chunks


def read_examples(place: str, recipe: Recipe) -> tuple[Examples, NDArray[np.str_]]:
    """Return all n labelled recordings of a dataset, and [n] the device of each."""
    labelled = Dataset(place).labelled()
    chunks = track(make_chunks(labelled), "inputs", transient=True)
    inputs = [row for chunk in chunks for row in compute_chunk(chunk, recipe, Limits())]
    return Examples(inputs, labelled.targets, labelled.groups), np.array(labelled.devices)
