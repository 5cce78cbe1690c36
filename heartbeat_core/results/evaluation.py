"""The Arrow schemas of an evaluation: the inputs of models, the predictions of a fold, and the pooled predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from heartbeat_core.arrays import Inputs
from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.evaluation.judging import FoldResult
from heartbeat_core.formats.columns import FLOATS, TEXT, column, list_column, list_values, make_schema, numbers
from heartbeat_core.labels import PROBABILITY_PREFIX, Labels

INPUTS = make_schema(width=pa.int32(), values=FLOATS)
"""One row per recording: an array [n, width], row by row."""
FOLD_VERSION = 2
"""Of ``fold_schema``: an evaluation goes on with folds of this version alone."""


def fold_schema(labels: Labels) -> pa.Schema:
    """Return the columns of a fold: one row per recording; ``row`` is its number among the labelled rows.

    Parameters
    ----------
    labels : Labels
        By code; each has a column ``prob_LABEL`` (float64).
    """
    probabilities = dict.fromkeys(_probabilities(labels), pa.float64())
    return make_schema(row=pa.int32(), predicted_code=pa.int8(), unsure=pa.bool_(), **probabilities)


def out_of_fold_schema(labels: Labels) -> pa.Schema:
    """Return the columns of the pooled predictions: one row per recording, task and seed.

    Parameters
    ----------
    labels : Labels
        By code; each has a column ``prob_LABEL`` (float64).
    """
    identity = ("recording_id", "uri", "audio_sha256", "patient", "device", "database", "label", "predicted_label")
    return make_schema(
        **dict.fromkeys(("recipe", "task"), TEXT),
        **dict.fromkeys(("seed", "fold"), pa.int32()),
        **dict.fromkeys(identity, TEXT),
        unsure=pa.bool_(),
        **dict.fromkeys(_probabilities(labels), pa.float64()),
    )


def labels_of(schema: pa.Schema) -> Labels:
    """Return the labels whose probabilities a table has, in order."""
    return tuple(name.removeprefix(PROBABILITY_PREFIX) for name in schema.names if name.startswith(PROBABILITY_PREFIX))


def _probabilities(labels: Labels) -> list[str]:
    return [f"{PROBABILITY_PREFIX}{label}" for label in labels]


def inputs_table(rows: Sequence[Inputs]) -> pa.Table:
    """Return the inputs of n recordings as a table with the columns ``INPUTS``.

    Parameters
    ----------
    rows : Sequence[ndarray]
        n arrays [n_i, width_i] float32.

    Examples
    --------
    >>> table = inputs_table([np.ones((2, 3), np.float32), np.zeros((1, 4), np.float32)])
    >>> [row.shape for row in table_inputs(table)]
    [(2, 3), (1, 4)]
    """
    arrays = [column([row.shape[1] for row in rows], pa.int32()), list_column([row.reshape(-1) for row in rows])]
    return pa.Table.from_arrays(arrays, schema=INPUTS)


def table_inputs(table: pa.Table) -> list[Inputs]:
    """Return the arrays in an ``inputs_table``: for each row one of [n_i, width_i] float32."""
    widths = numbers(table.column("width")).tolist()
    values = list_values(table.column("values"))
    return [row.reshape(-1, width) for row, width in zip(values, widths, strict=True)]


def fold_table(result: FoldResult, labels: Labels) -> pa.Table:
    """Return the predictions of a fold as a table; its metadata holds the time and the size.

    Parameters
    ----------
    result : FoldResult
        Of n recordings.
    labels : Labels
        The labels of the columns of ``result.probabilities``, in order.

    Returns
    -------
    pa.Table
        n rows with the columns of ``fold_schema``. Metadata: ``heartbeat.fit_s`` (s, to the millisecond) and
        ``heartbeat.n_bytes`` (empty if it is not known).
    """
    arrays = [
        column(result.rows, pa.int32()),
        column(result.predicted, pa.int8()),
        column(result.unsure, pa.bool_()),
        *(column(values, pa.float64()) for values in result.probabilities.T),
    ]
    n_bytes = "" if result.n_bytes is None else str(result.n_bytes)
    metadata = {"heartbeat.fit_s": f"{result.fit_s:.3f}", "heartbeat.n_bytes": n_bytes}
    return pa.Table.from_arrays(arrays, schema=fold_schema(labels).with_metadata(metadata))


def table_fold(table: pa.Table) -> FoldResult:
    """Return the predictions in a ``fold_table``, in the order of its rows."""
    metadata: Mapping[bytes, bytes] = table.schema.metadata
    n_bytes = metadata[b"heartbeat.n_bytes"].decode()
    return FoldResult(
        numbers(table.column("row")).astype(np.int64),
        numbers(table.column("predicted_code")).astype(np.int64),
        np.stack([numbers(table.column(PROBABILITY_PREFIX + label)) for label in labels_of(table.schema)], axis=1),
        np.array(table.column("unsure").to_pylist(), np.bool_),
        float(metadata[b"heartbeat.fit_s"]),
        int(n_bytes) if n_bytes else None,
    )


def out_of_fold_table(labelled: Labelled, recipe: str, folds: Iterable[tuple[str, int, int, FoldResult]]) -> pa.Table:
    """Return the predictions of all folds of a recipe.

    Parameters
    ----------
    labelled : Labelled
        The recordings to which the rows of the folds refer.
    recipe : str
        The recipe's name.
    folds : Iterable[tuple[str, int, int, FoldResult]]
        Task, seed, number and result of each fold; at least one.

    Returns
    -------
    pa.Table
        With the columns of ``out_of_fold_schema``: the rows of the folds, one fold after the other.
    """
    labels, cells = labelled.targets.labels, labelled.targets.cells()
    schema = out_of_fold_schema(labels)
    identity = (
        *(labelled.recording_id, labelled.uri, labelled.audio_sha256),
        *(labelled.groups, labelled.devices, labelled.databases, cells),
    )
    parts = []
    for task, seed, number, fold in folds:
        index = fold.rows.tolist()
        columns: list[Sequence[object] | NDArray[np.float64] | NDArray[np.bool_]] = [
            *([value] * len(index) for value in (recipe, task, seed, number)),
            *([values[i] for i in index] for values in identity),
            [labels[code] for code in fold.predicted.tolist()],
            fold.unsure,
            *fold.probabilities.T,
        ]
        arrays = [column(values, field.type) for values, field in zip(columns, schema, strict=True)]
        parts.append(pa.Table.from_arrays(arrays, schema=schema))
    return pa.concat_tables(parts).combine_chunks()
