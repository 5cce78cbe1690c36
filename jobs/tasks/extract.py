"""Compute the inputs of the models of an evaluation from the recordings of a dataset, on workers, once per kind.

On disk, or under any URL::

    OUT/_inputs/KEY/part-000003.parquet   inputs of some rows of the dataset; KEY names the kind and its settings

Invariants: one winner stores a whole part, which then never changes. Rows keep the order of the dataset.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from heartbeat_core import storage
from heartbeat_core.arrays import Inputs
from heartbeat_core.audio import decode
from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.errors import JobError, RecordingError
from heartbeat_core.features.extract import compute_inputs, input_settings
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.fetch import read_recordings
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.evaluation import inputs_table, table_inputs
from heartbeat_core.results.files import read_file
from heartbeat_core.settings import Limits, fingerprint
from jobs.output.places import part_name
from jobs.tasks.core import Turn

INPUTS_FOLDER = "_inputs"
RECORDINGS_A_CHUNK = 32


@dataclass(frozen=True, slots=True)
class Chunk:
    """One task.

    Attributes
    ----------
    index : int
        The number of the chunk; it names the part.
    recordings : tuple[tuple[str, str, str], ...]
        The URI of each recording, the SHA-256 of the content from which the dataset was built, and the person.
    """

    index: int
    recordings: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class ExtractJob:
    """What a task computes and where it stores the result.

    Attributes
    ----------
    out : str
        URI of the output folder; ``compute`` does not use it.
    recipe : Recipe
        The inputs of its model are computed.
    limits : Limits
    access : storage.Access
    patience_s : float
        How long a store is asked again, in s.
    """

    out: str
    recipe: Recipe
    limits: Limits
    access: storage.Access
    patience_s: float


def input_key(recipe: Recipe) -> str:
    """Return the key for the inputs of a recipe's model; recipes with the same inputs have the same key."""
    settings = input_settings(recipe)
    return f"{settings['kind']}-{fingerprint(settings)[:12]}"


def make_chunks(labelled: Labelled) -> list[Chunk]:
    """Divide the labelled rows of datasets into tasks, in order.

    Parameters
    ----------
    labelled : Labelled

    Returns
    -------
    list[Chunk]
        Of ``RECORDINGS_A_CHUNK`` rows each; the last may have fewer.
    """
    rows = list(zip(labelled.uri, labelled.audio_sha256, labelled.groups, strict=True))
    starts = range(0, len(rows), RECORDINGS_A_CHUNK)
    return [Chunk(index, tuple(rows[start : start + RECORDINGS_A_CHUNK])) for index, start in enumerate(starts)]


def extract(chunk: Chunk, job: ExtractJob) -> int:
    """Compute and store the inputs of one chunk, unless they exist already; returns its number of rows.

    Raises
    ------
    JobError
        A recording is missing, has changed since the dataset was built, cannot be decoded within the limits, or no
        inputs can be computed for it.
    """
    with storage.using(job.access, job.patience_s):
        uri = _part_uri(job.out, input_key(job.recipe), chunk.index)
        if storage.find(uri) is None:
            rows = compute_chunk(chunk, job.recipe, job.limits)
            storage.create(uri, to_parquet(inputs_table(rows)))
    return len(chunk.recordings)


@dataclass(frozen=True, slots=True)
class Computed:
    """The inputs of the recordings of one chunk.

    Attributes
    ----------
    index : int
        The number of the chunk.
    rows : list[ndarray]
        One of float32 for each recording, in order, as ``compute_inputs`` returns it.
    """

    index: int
    rows: list[Inputs]


def compute(chunk: Chunk, job: ExtractJob) -> Computed:
    """Compute and return the inputs of one chunk; raises as ``extract``."""
    with storage.using(job.access, job.patience_s):
        return Computed(chunk.index, compute_chunk(chunk, job.recipe, job.limits))


def compute_chunk(chunk: Chunk, recipe: Recipe, limits: Limits) -> list[Inputs]:
    """Return the inputs of the recordings of a chunk.

    Parameters
    ----------
    chunk : Chunk
    recipe : Recipe
    limits : Limits

    Returns
    -------
    list[ndarray]
        One of float32 for each recording, in order: [n_frames, 2], [n, width] or [1 + copies + pieces, width], as
        ``compute_inputs`` returns it.

    Raises
    ------
    JobError
        As ``extract``.
    """
    recordings = [Recording(uri, "") for uri, _, _ in chunk.recordings]
    rows: list[Inputs] = []
    with Turn() as turn:
        read = turn.each(read_recordings(recordings, limits))
        for (recording, data), (_, digest, person) in zip(read, chunk.recordings, strict=True):
            shown = storage.display(recording.public_uri)
            if isinstance(data, RecordingError):
                raise JobError(f"{shown}: a recording of the dataset can't be read any more: {data}")
            if hashlib.sha256(data).hexdigest() != digest:
                raise JobError(f"{shown}: changed since the dataset was built: build it again in a new folder")
            try:
                rows.append(compute_inputs(decode.decode(data, limits), recipe, person))
            except RecordingError as error:
                raise JobError(f"{shown}: a recording of the dataset can't be used here: {error}") from None
    return rows


def read_inputs(out: str, key: str, n_chunks: int) -> list[Inputs]:
    """Read the stored inputs of all rows, in order.

    Parameters
    ----------
    out : str
        URI of the output folder.
    key : str
        As ``input_key`` returns it.
    n_chunks : int
        How many parts there are.

    Returns
    -------
    list[ndarray]
        One of float32 for each labelled row, as ``compute_inputs`` returns it.

    Raises
    ------
    InputError
        A part is damaged.
    FileNotFoundError
        A part is not there.
    """
    rows: list[Inputs] = []
    for index in range(n_chunks):
        rows += table_inputs(read_file(_part_uri(out, key, index)))
    return rows


def _part_uri(out: str, key: str, index: int) -> str:
    return storage.join(out, INPUTS_FOLDER, key, f"{part_name(index)}.parquet")
