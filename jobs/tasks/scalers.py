"""The scaler of a dataset, fitted as a tree on the workers: of shards, then of groups of shards, and so on.

On disk, until the dataset is finished::

    OUT/_scalers/0-part-000042.safetensors   the fit over the rows of shard 42
    OUT/_scalers/1-part-000002.safetensors   over the rows of shards 32 to 47, and so on until one fit is left

Invariants: the first to store a fit wins, and it never changes. The tree depends on the number of shards alone, so the
scaler is the same however the work was divided. No task holds more than two fits in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import safetensors.numpy

from heartbeat_core import storage
from heartbeat_core.alignment.scaling import ScalerFit
from jobs.output.places import part_name

SCALERS_FOLDER = "_scalers"
FAN_IN = 16


@dataclass(frozen=True, slots=True)
class Merge:
    """One node of the tree: it merges up to ``FAN_IN`` of the ``n_below`` fits of the level below.

    Attributes
    ----------
    level : int
        1 merges the fits of shards, which are level 0.
    index : int
        The number of the node in its level.
    n_below : int
    """

    level: int
    index: int
    n_below: int

    @property
    def below(self) -> range:
        """The numbers of the fits that it merges."""
        return range(self.index * FAN_IN, min((self.index + 1) * FAN_IN, self.n_below))


@dataclass(frozen=True, slots=True)
class MergeJob:
    """Where the fits are, and how stores are reached.

    Attributes
    ----------
    out : str
        URI of the output folder.
    access : storage.Access
    patience_s : float
        How long a store is asked again, in s.
    """

    out: str
    access: storage.Access
    patience_s: float


def levels(n_shards: int) -> list[list[Merge]]:
    """Return the merges of each level, from the shards upwards; a single shard needs none.

    Examples
    --------
    >>> [len(level) for level in levels(40)]
    [3, 1]
    >>> levels(40)[0][2].below
    range(32, 40)
    """
    found: list[list[Merge]] = []
    n_below = n_shards
    while n_below > 1:
        n_here = -(-n_below // FAN_IN)
        found.append([Merge(len(found) + 1, index, n_below) for index in range(n_here)])
        n_below = n_here
    return found


def merge(node: Merge, job: MergeJob) -> None:
    """Merge the fits of the level below, in order, and store the result: the work of one task.

    Nothing happens where the result is stored already.

    Raises
    ------
    FileNotFoundError
        A fit of the level below is not there; another driver may have removed all.
    """
    with storage.using(job.access, job.patience_s):
        if storage.find(_uri(job.out, node.level, node.index)) is not None:
            return
        first, *others = node.below
        fit = read_fit(job.out, node.level - 1, first)
        for index in others:
            fit.merge(read_fit(job.out, node.level - 1, index))
        store_fit(job.out, node.level, node.index, fit)


def store_fit(out: str, level: int, index: int, fit: ScalerFit) -> None:
    """Store a fit, unless it is there already; parameters as for ``read_fit``."""
    storage.create(_uri(out, level, index), safetensors.numpy.save(fit.state()))


def read_fit(out: str, level: int, index: int) -> ScalerFit:
    """Read a fit back.

    Parameters
    ----------
    out : str
        URI of the output folder.
    level : int
        0 for the fit of a shard.
    index : int
        The number of the fit in its level; in level 0, that of the shard.

    Raises
    ------
    FileNotFoundError
        It is not there.
    """
    return ScalerFit.from_state(safetensors.numpy.load(storage.read(_uri(out, level, index))))


def remove_fits(out: str) -> None:
    """Remove all fits that are there."""
    folder = storage.join(out, SCALERS_FOLDER)
    for name in storage.list_names(folder):
        storage.remove(storage.join(folder, name))


def _uri(out: str, level: int, index: int) -> str:
    return storage.join(out, SCALERS_FOLDER, f"{level}-{part_name(index)}.safetensors")
