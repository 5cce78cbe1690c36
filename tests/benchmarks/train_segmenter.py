"""Train the six networks that segment heart sounds, and write them into one file.

    python -m tests.benchmarks.train_segmenter DATASET [--segments TABLE] -o FILE

DATASET is made by ``heartbeat build-dataset`` of CirCor. With ``--database circor`` it holds the segments; else
``--segments`` names their CSV table: path, start_s, end_s, state. The file replaces
``heartbeat_core/features/segmenter.safetensors``. A network takes a minute or two of one core, and the altered copies
as long as two networks.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from heartbeat_core.features.segmenter import ALL, N_FOLDS, left_out_fold
from heartbeat_core.learning.segmenting import EPOCHS, Example, make_example, stored_weights, train_segmenter
from tests.benchmarks.segmented import Segmented, read_segmented

COPIES = 4
SEED = 0


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description="Train the networks that segment heart sounds.")
    parser.add_argument("dataset")
    parser.add_argument("--segments", type=Path, help="CSV table of the segments [default: the dataset's own]")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    recordings = read_segmented(arguments.dataset, arguments.segments)
    folds = np.array([left_out_fold(one.person) for one in recordings])
    kept = {ALL: folds >= 0, **{f"fold-{fold}": folds != fold for fold in range(N_FOLDS)}}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        examples = list(pool.map(_example, recordings, chunksize=16))
        print(f"{len(examples)} recordings of {len({one.person for one in recordings})} persons", flush=True)
        chosen = ([examples[i] for i in np.flatnonzero(rows)] for rows in kept.values())
        networks = pool.map(partial(_network, epochs=arguments.epochs), kept, chosen)
        weights = dict(zip(kept, networks, strict=True))
    tensors = {f"{name}.{key}": value for name, one in weights.items() for key, value in one.items()}
    arguments.output.write_bytes(safetensors.numpy.save(tensors))
    print(f"wrote {arguments.output}, {arguments.output.stat().st_size / 1000:.0f} kB")


def _example(one: Segmented) -> Example:
    waveform = one.waveform()
    return make_example(waveform.samples, waveform.sample_rate_hz, one.segments, COPIES)


def _network(name: str, examples: Sequence[Example], epochs: int) -> dict[str, NDArray[np.float16]]:
    def tell(epoch: int, loss: float) -> None:
        if epoch % 10 == 0:
            print(f"{name}: epoch {epoch}, loss {loss:.4f}", flush=True)

    return stored_weights(train_segmenter(examples, SEED, epochs, tell))


if __name__ == "__main__":
    main()
