"""The Arrow schemas of a finished model's evaluation: what a task stores, and all predictions beside their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.formats.columns import TEXT, make_schema, make_table, numbers
from heartbeat_core.labels import PROBABILITY_PREFIX, Labels
from heartbeat_core.recordings.recording import Failure, Recording

_ERROR = {"stage": TEXT, "error_type": TEXT, "message": TEXT}


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of some labelled recordings.

    Attributes
    ----------
    rows : ndarray, [n] int64
        Row numbers of those that were predicted, ascending.
    predicted : ndarray, [n] int64
        Codes.
    probabilities : ndarray, [n, n_labels] float32
    unsure : list[str | None]
        The reasons of each prediction; None if the model is sure.
    failures : dict[int, Failure]
        By row number, the recordings that could not be predicted.
    """

    rows: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    unsure: list[str | None]
    failures: dict[int, Failure]


def outcomes_table(outcomes: Outcomes, labels: Labels) -> pa.Table:
    """Return the outcomes as a table, the failures behind the predictions.

    Parameters
    ----------
    outcomes : Outcomes
        Of n predicted and m failed recordings.
    labels : Labels
        The labels of the model, by code.

    Returns
    -------
    pa.Table
        n + m rows with ``row``, ``uri``, ``predicted_code`` (-1 for a failure), ``unsure_reason``, ``stage``,
        ``error_type``, ``message``, and ``prob_LABEL`` (float32) of each label, which is 0 for a failure. Only failures
        have a ``uri``.
    """
    n, failures = len(outcomes.rows), outcomes.failures
    nothing = [None] * n
    probabilities = np.concatenate([outcomes.probabilities, np.zeros((len(failures), len(labels)), np.float32)])
    columns = {
        "row": [*outcomes.rows.tolist(), *failures],
        "uri": [*nothing, *(one.recording.uri for one in failures.values())],
        "predicted_code": [*outcomes.predicted.tolist(), *([-1] * len(failures))],
        "unsure_reason": [*outcomes.unsure, *([None] * len(failures))],
        **{name: [*nothing, *(getattr(one, name) for one in failures.values())] for name in _ERROR},
        **{PROBABILITY_PREFIX + label: values for label, values in zip(labels, probabilities.T, strict=True)},
    }
    schema = make_schema(
        row=pa.int32(),
        uri_=TEXT,
        predicted_code=pa.int8(),
        unsure_reason_=TEXT,
        **{f"{name}_": kind for name, kind in _ERROR.items()},
        **_probabilities(labels),
    )
    return make_table(columns, schema)


def table_outcomes(table: pa.Table) -> Outcomes:
    """Return the outcomes in an ``outcomes_table``. The recordings of the failures have no ``relative_path``."""
    codes = numbers(table.column("predicted_code")).astype(np.int64)
    rows = numbers(table.column("row")).astype(np.int64)
    names = [name for name in table.column_names if name.startswith(PROBABILITY_PREFIX)]
    found = codes >= 0
    errors = table.select(["row", "uri", *_ERROR]).to_pylist()[int(found.sum()) :]
    return Outcomes(
        rows[found],
        codes[found],
        np.stack([numbers(table.column(name)) for name in names], axis=1)[found],
        table.column("unsure_reason").to_pylist()[: int(found.sum())],
        {
            one["row"]: Failure(Recording(one["uri"], ""), one["stage"], one["error_type"], one["message"])
            for one in errors
        },
    )


def joined_outcomes(parts: Sequence[Outcomes]) -> Outcomes:
    """Return the outcomes of at least one part as one, in the order of the parts."""
    return Outcomes(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.predicted for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        [reason for part in parts for reason in part.unsure],
        {row: failure for part in parts for row, failure in part.failures.items()},
    )


def judged_table(labelled: Labelled, outcomes: Outcomes, model_id: str) -> pa.Table:
    """Return one row per predicted recording, with its labels, as the model knows them, and its prediction.

    Parameters
    ----------
    labelled : Labelled
        The recordings to which the row numbers refer, with the labels of the model.
    outcomes : Outcomes
        Of n predicted recordings; failures are left out.
    model_id : str

    Returns
    -------
    pa.Table
        n rows: what is known of each recording (text, with a column for each trait), ``predicted_label``,
        ``unsure_reason``, ``model_id``, and ``prob_LABEL`` (float32) of each label.
    """
    labels, index = labelled.targets.labels, outcomes.rows.tolist()
    cells = labelled.targets.cells()
    identity: dict[str, Sequence[str | None]] = {
        "recording_id": labelled.recording_id,
        "uri": labelled.uri,
        "audio_sha256": labelled.audio_sha256,
        "patient": labelled.groups,
        "device": labelled.devices,
        "database": labelled.databases,
        **labelled.traits,
        "label": cells,
    }
    columns = {
        **{name: [values[row] for row in index] for name, values in identity.items()},
        "predicted_label": [labels[code] for code in outcomes.predicted.tolist()],
        "unsure_reason": outcomes.unsure,
        "model_id": [model_id] * len(index),
        **{PROBABILITY_PREFIX + label: values for label, values in zip(labels, outcomes.probabilities.T, strict=True)},
    }
    schema = make_schema(
        **dict.fromkeys(identity, TEXT),
        predicted_label=TEXT,
        unsure_reason_=TEXT,
        model_id=TEXT,
        **_probabilities(labels),
    )
    return make_table(columns, schema)


def _probabilities(labels: Labels) -> dict[str, pa.DataType]:
    return dict.fromkeys((PROBABILITY_PREFIX + label for label in labels), pa.float32())
