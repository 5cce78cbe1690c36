"""Stream an aligned dataset as training input, so that it does not have to fit into memory.

Each epoch reads the parts in a new random order, pads and scales the rows while reading, and divides the parts over the
worker processes of a ``DataLoader``. Items are whole batches. Rows are padded directly in the memory that is sent to
the training process. This saves one copy per row, compared with collating single rows, and copies are the largest cost
of a padded row.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from heartbeat_core import storage
from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.arrays import Frames
from heartbeat_core.datasets.dataset import Dataset, Layout, read_part, unpadded_rows
from heartbeat_core.errors import DatasetError

Batch = tuple[torch.Tensor, torch.Tensor]

_COLUMNS = ["n_frames", "offset_frames", "frequency_hz", "amplitude", "label_code"]


class AlignedStream(IterableDataset[Batch]):
    """Shuffled batches of the rows of a dataset whose label is known, in any layout.

    Rows without a label are skipped, and so are those that may have one of several labels: a code stands for one.

    An item is ``(inputs [n, length * 2] float32, codes [n] int64)`` with ``n`` up to ``batch_size``. Each row of inputs
    equals that of ``training.AlignedFrames`` to the bit: position-major, Hz before magnitude, z-scored.

    Each labelled row comes exactly once per epoch, for any number of workers. If there are more workers than parts,
    some workers get nothing. The seed and the epoch decide the order of the parts, and every worker takes its share of
    them. A worker reads ``buffer_parts`` parts at a time and returns their rows in a random order. The same dataset,
    arguments, epoch and number of workers give the same batches in the same order; 0 workers give the same as 1.
    Another number of workers gives the same rows, but in another order and in other batches.

    The last batch of each worker may be smaller. ``BatchNorm1d`` cannot be trained on a batch of a single row.

    Every worker holds in memory ``buffer_parts`` unpadded parts, one part as it is stored, and the batch. Workers get
    only the URI of the dataset and the scaler. Each process opens the files itself, as its environment says.

    Parameters
    ----------
    dataset : Dataset | str
        A dataset or its URI.
    scaler : Scaler | None
        A scaler fitted on the training rows. None takes the scaler of the dataset, which was fitted on all its rows. If
        you hold rows of it back to test on, they have had their part in that one: build a dataset of the training
        recordings alone and take its scaler, or fit one (``alignment.scaling.fit_scaler``).
    batch_size : int
        Number of rows in a batch.
    seed : int
        Decides the order of parts and rows; not negative.
    buffer_parts : int
        Number of parts whose rows are mixed; fewer parts need less memory.

    Raises
    ------
    DatasetError
        It is not a finished dataset, or a part of it is missing. While iterating, also if a part cannot be read.
    ValueError
        The scaler has another length, or a number is out of range.
    """

    def __init__(
        self,
        dataset: Dataset | str,
        scaler: Scaler | None = None,
        *,
        batch_size: int = 64,
        seed: int = 0,
        buffer_parts: int = 4,
    ) -> None:
        if batch_size < 1 or buffer_parts < 1 or seed < 0:
            raise ValueError(f"batch_size {batch_size}, buffer_parts {buffer_parts} or seed {seed} is out of range")
        opened = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
        length = len(opened.reference)
        if scaler is not None and scaler.mean.shape != (length, 2):
            raise ValueError(f"a scaler of {len(scaler.mean)} positions does not fit a dataset of {length}")
        self.uri = opened.uri
        self._n_parts = opened.count_whole_parts()
        self.scaler = scaler
        self.batch_size = batch_size
        self.seed = seed
        self.buffer_parts = buffer_parts
        # Workers that stay for several epochs have a copy of this object; shared memory tells them the next epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration, from 0 on. Without this call, each one has the order of epoch 0.

        Raises
        ------
        ValueError
            The epoch is negative.
        """
        if epoch < 0:
            raise ValueError(f"epoch {epoch} is negative")
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, n_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        entropy = (self.seed, int(self._epoch))
        dataset = Dataset(self.uri)
        parts = dataset.part_uris()
        if len(parts) != self._n_parts:
            raise DatasetError(f"{storage.display(self.uri)}: had {self._n_parts} parts, and has {len(parts)} now")
        order = np.random.default_rng(entropy).permutation(len(parts))[number::n_workers]
        rng = np.random.default_rng((*entropy, number + 1))
        rows = self._rows([parts[i] for i in order.tolist()], dataset.facts.layout, rng)
        expander = Expander(self.scaler or dataset.scaler)
        while chosen := list(islice(rows, self.batch_size)):
            yield _batch(chosen, expander, is_shared=worker is not None)

    def _rows(self, parts: list[str], layout: Layout, rng: np.random.Generator) -> Iterator[_Row]:
        for begin in range(0, len(parts), self.buffer_parts):
            # A separate generator, so that one buffer is freed before the next is read.
            yield from _shuffled(parts[begin : begin + self.buffer_parts], layout, rng)


class Expander:
    """Turn unpadded rows into the scaled values of padded rows, at the cost of their own length and one copy.

    Parameters
    ----------
    scaler : Scaler
        The scaler of all positions.

    Attributes
    ----------
    length : int
        Frames of a padded row.

    Examples
    --------
    >>> expander = Expander(Scaler(mean=np.ones((3, 2)), scale=np.full((3, 2), 2.0)))
    >>> row = np.empty((3, 2), np.float32)
    >>> expander.expand(np.full((1, 2), 5, np.float32), offset=1, out=row)
    >>> row[:, 0].tolist()
    [-0.5, 2.0, -0.5]
    """

    def __init__(self, scaler: Scaler) -> None:
        self.length = len(scaler.mean)
        self._scaler = scaler
        self._padding = scaler.transform(np.zeros((self.length, 2), np.float32))

    def expand(self, frames: Frames, offset: int, out: NDArray[np.float32]) -> None:
        """Fill ``out`` with exactly the values of ``scaler.transform(pad(frames, offset, length))``.

        Parameters
        ----------
        frames : ndarray, [n_frames, 2] float32
            Hz, linear magnitude; unpadded.
        offset : int
            Number of zero frames in front, with ``offset + n_frames <= length``.
        out : ndarray, [length, 2] float32
            Takes the z-scored values.
        """
        out[:] = self._padding
        window = slice(offset, offset + len(frames))
        centred = frames - self._scaler.mean[window]
        np.divide(centred, self._scaler.scale[window], out=out[window], casting="same_kind")


def loader(stream: AlignedStream, workers: int = 0) -> DataLoader[Batch]:
    """Return a loader for the batches of the stream, which several processes read; with 0, this process reads.

    The processes are spawned, because open filesystems do not survive a fork. They stay for all epochs, because
    starting them takes seconds. Each process reads two batches ahead. These are in shared memory (``/dev/shm``), and
    containers often have too little of it for long references. Call ``stream.set_epoch`` before each iteration.

    Parameters
    ----------
    stream : AlignedStream
        What to read, and how large a batch is.
    workers : int
        How many processes read.

    Returns
    -------
    DataLoader
        Yields the batches of the stream as they are: inputs [n, length * 2] float32, codes [n] int64.
    """
    if workers == 0:
        return DataLoader(stream, batch_size=None)
    return DataLoader(
        stream, batch_size=None, num_workers=workers, multiprocessing_context="spawn", persistent_workers=True
    )


class _Row(NamedTuple):
    frames: Frames
    offset: int
    code: int


def _shuffled(parts: list[str], layout: Layout, rng: np.random.Generator) -> Iterator[_Row]:
    rows = [row for uri in parts for row in _labelled_rows(uri, layout)]
    for i in rng.permutation(len(rows)).tolist():
        yield rows[i]


def _labelled_rows(uri: str, layout: Layout) -> Iterator[_Row]:
    table = read_part(uri, _COLUMNS)
    offsets, frames = unpadded_rows(table, layout)
    for row, offset, code in zip(frames, offsets.tolist(), table.column("label_code").to_pylist(), strict=True):
        if code is not None:
            yield _Row(row, offset, code)


def _batch(rows: list[_Row], expander: Expander, is_shared: bool) -> Batch:
    inputs = torch.empty((len(rows), expander.length * 2))
    if is_shared:
        # Moved to shared memory before it is filled; otherwise it would be copied there when it is sent.
        inputs.share_memory_()
    expanded = inputs.numpy().reshape(len(rows), expander.length, 2)
    for row, out in zip(rows, expanded, strict=True):
        expander.expand(row.frames, row.offset, out)
    return inputs, torch.tensor([row.code for row in rows])
