"""Two results, or two generations of one: which labels changed, and how far probabilities and features moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heartbeat_core import storage
from heartbeat_core.errors import InputError
from heartbeat_core.labels import PROBABILITY_PREFIX
from heartbeat_core.results.database import add_tables, as_input_errors, open_empty, quoted
from heartbeat_core.storage.uris import COMPACT_PREFIX, FAILURES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_NUMBERS = ("FLOAT", "DOUBLE", "TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_LEAST_SHIFT = 1e-6
"""Sums of the same values in another order differ by less."""
_LEAST_DEVIATION = 1e-6
"""Of the size of the means: a column that is constant, but for rounding, deviates by less."""
N_SHOWN = 10
_NO_FEATURES = ("generation", "recording_id")


@dataclass(frozen=True, slots=True)
class Change:
    """How many recordings went from one label to another; ``failed`` stands for a failure."""

    before: str
    after: str
    count: int


@dataclass(frozen=True, slots=True)
class Flip:
    """A recording whose label changed; confidences are those of the two predicted labels."""

    relative_path: str
    before: str
    before_confidence: float
    after: str
    after_confidence: float


@dataclass(frozen=True, slots=True)
class Shift:
    """How far a column moved.

    Attributes
    ----------
    before, after : float
        The means over all rows of each side.
    shift : float | None
        Their difference in standard deviations of the first side; None if that does not vary.
    """

    column: str
    before: float
    after: float
    shift: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two results.

    Attributes
    ----------
    models : tuple[str, str]
        The model of each side; several are joined by commas.
    n_common : int
        Recordings on both sides, by ``recording_id``; ``n_only_before`` and ``n_only_after`` count the others.
    n_predicted : int
        Those of the common ones that have a prediction on both sides; ``n_changed`` of these have another label.
    unsure : tuple[float, float]
        Share of the predictions of each side that are marked as unsure.
    changes : list[Change]
        Of the common recordings whose label changed, or that failed on one side; the most frequent first.
    flips : list[Flip]
        The changed labels of which both sides were most confident: by the lower of the two confidences.
    probabilities, features : list[Shift]
        Of the columns that both sides have; features by the size of the shift, the largest first.
    """

    models: tuple[str, str]
    n_common: int
    n_only_before: int
    n_only_after: int
    n_predicted: int
    n_changed: int
    unsure: tuple[float, float]
    changes: list[Change]
    flips: list[Flip]
    probabilities: list[Shift]
    features: list[Shift]


def compare_results(before: str, after: str) -> Comparison:
    """Compare the results in two folders, of which ``N_SHOWN`` flips and features are returned.

    Parameters
    ----------
    before, after : str
        Output folders of ``classify``: paths or any fsspec URLs.

    Returns
    -------
    Comparison
        Of the newest row of each recording. Features that did not move are left out.

    Raises
    ------
    InputError
        A folder does not hold the results of ``classify``.
    StorageError
        A store does not answer.
    """
    connection = open_empty()
    for side, out in (("before", before), ("after", after)):
        _check(add_tables(connection, out, side, f"{side}_parts"), out)
    return _compare(connection)


def compare_generations(out: str, before: int, after: int) -> Comparison:
    """Compare the results in one folder as they were after two generations; returns and raises as ``compare_results``.

    Rows that ``compact`` has removed are not known any more.

    Parameters
    ----------
    out : str
        The output folder of ``classify``: a path or any fsspec URL.
    before, after : int
        Numbers of generations: 0 for the first run, then one for each update or retry.
    """
    connection = open_empty()
    for side, generation in (("before", before), ("after", after)):
        _check(add_tables(connection, out, side, f"{side}_parts", generation), out)
    return _compare(connection)


def was_compacted(out: str) -> bool:
    """Tell whether a folder was compacted: rows that had been replaced before that are gone."""
    return any(name.startswith(COMPACT_PREFIX) for name in storage.list_parts(storage.join(out, "predictions")))


def last_generation(out: str) -> int:
    """Return the number of the newest generation of which a folder has a row; raises as ``compare_results``.

    Parameters
    ----------
    out : str
        The output folder of ``classify``: a path or any fsspec URL.
    """
    connection = open_empty()
    _check(add_tables(connection, out), out)
    union = " UNION ALL ".join(f"SELECT generation FROM parts.{name}" for name in ("predictions", FAILURES))
    return int(_rows(connection, f"SELECT coalesce(max(generation), 0) FROM ({union})")[0][0])


def _check(tables: Sequence[str], out: str) -> None:
    lacking = [name for name in ("predictions", FAILURES) if name not in tables]
    if lacking:
        raise InputError(f"{out} has no table '{lacking[0]}': name the output of 'heartbeat classify'")


def _compare(connection: DuckDBPyConnection) -> Comparison:
    for side in ("before", "after"):
        _rows(
            connection,
            f"CREATE TEMP TABLE {side}_rows AS "
            f"SELECT recording_id, relative_path, predicted_label AS label, confidence FROM {side}.predictions "
            f"UNION ALL SELECT recording_id, relative_path, NULL, NULL FROM {side}.{FAILURES}",
        )
    joined = "before_rows AS b JOIN after_rows AS a USING (recording_id)"
    changed = f"FROM {joined} WHERE b.label IS DISTINCT FROM a.label"
    [(n_common, n_predicted, n_changed)] = _rows(
        connection,
        f"SELECT count(*), count(*) FILTER (b.label IS NOT NULL AND a.label IS NOT NULL), "
        f"count(*) FILTER (b.label <> a.label) FROM {joined}",
    )
    [(n_before,)], [(n_after,)] = (
        _rows(connection, f"SELECT count(*) FROM {side}_rows") for side in ("before", "after")
    )
    changes = _rows(
        connection,
        f"SELECT coalesce(b.label, 'failed') AS x, coalesce(a.label, 'failed') AS y, count(*) AS n {changed} "
        "GROUP BY x, y ORDER BY n DESC, x, y",
    )
    flips = _rows(
        connection,
        f"SELECT a.relative_path, b.label, b.confidence, a.label, a.confidence {changed} "
        "AND a.label IS NOT NULL AND b.label IS NOT NULL "
        f"ORDER BY least(a.confidence, b.confidence) DESC, a.relative_path LIMIT {N_SHOWN}",
    )
    features = _shifts(connection, "features") if _has_features(connection) else []
    features = [one for one in features if one.shift is not None and abs(one.shift) > _LEAST_SHIFT]
    features.sort(key=lambda one: -abs(one.shift or 0.0))
    return Comparison(
        models=(_models(connection, "before"), _models(connection, "after")),
        n_common=n_common,
        n_only_before=n_before - n_common,
        n_only_after=n_after - n_common,
        n_predicted=n_predicted,
        n_changed=n_changed,
        unsure=(_unsure(connection, "before"), _unsure(connection, "after")),
        changes=[Change(*row) for row in changes],
        flips=[Flip(*row) for row in flips],
        probabilities=_shifts(connection, "predictions", PROBABILITY_PREFIX),
        features=features[:N_SHOWN],
    )


def _models(connection: DuckDBPyConnection, side: str) -> str:
    names = _rows(connection, f"SELECT DISTINCT model_id FROM {side}.predictions ORDER BY ALL")
    return ", ".join(name for (name,) in names)


def _unsure(connection: DuckDBPyConnection, side: str) -> float:
    return float(_rows(connection, f"SELECT coalesce(avg(unsure::INT), 0) FROM {side}.predictions")[0][0])


def _has_features(connection: DuckDBPyConnection) -> bool:
    found = _rows(
        connection,
        "SELECT count(*) FROM duckdb_views() WHERE view_name = 'features' AND schema_name IN ('before', 'after')",
    )
    return bool(found[0][0] == 2)


def _shifts(connection: DuckDBPyConnection, table: str, prefix: str = "") -> list[Shift]:
    """Return how far each column of numbers moved that both sides have."""
    there = [dict(_described(connection, side, table)) for side in ("before", "after")]
    names = [
        name
        for name, kind in there[0].items()
        if kind in _NUMBERS and there[1].get(name) in _NUMBERS and name.startswith(prefix) and name not in _NO_FEATURES
    ]
    if not names:
        return []
    figures = ", ".join(f"avg({quoted(name)}::DOUBLE), stddev_pop({quoted(name)}::DOUBLE)" for name in names)
    [before], [after] = (_rows(connection, f"SELECT {figures} FROM {side}.{table}") for side in ("before", "after"))
    return [
        Shift(name, mean, other, _in_deviations(mean, deviation, other))
        for name, mean, deviation, other in zip(names, before[::2], before[1::2], after[::2], strict=True)
        if mean is not None and other is not None
    ]


def _in_deviations(mean: float, deviation: float, other: float) -> float | None:
    """Return a change in standard deviations; None for a column that is constant, but for rounding."""
    return (other - mean) / deviation if deviation > _LEAST_DEVIATION * (abs(mean) + abs(other)) else None


def _described(connection: DuckDBPyConnection, side: str, table: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind, *_ in _rows(connection, f"DESCRIBE {side}.{table}")]


def _rows(connection: DuckDBPyConnection, statement: str) -> list[tuple[Any, ...]]:
    with as_input_errors():
        return connection.execute(statement).fetchall()
