"""Turn the recordings of a shard into the parts that are stored, for each job.

Tasks store what ``ShardParts`` returns. ``plan`` measures the same functions and stores nothing. Rows become Parquet
while the shard is processed, so that a worker never holds all frames of a shard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.alignment.scaling import ScalerFit
from heartbeat_core.bundles.drift import Drift, measure_drift
from heartbeat_core.features.catalogue import sets_written
from heartbeat_core.formats.kept import KeptColumn
from heartbeat_core.formats.parquet import PartWriter, Table, to_parquet
from heartbeat_core.labels import Labels
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.recordings.recording import Failure
from heartbeat_core.results.schema import (
    failures_table,
    features_table,
    predictions_table,
    recordings_table,
    with_metadata,
)
from heartbeat_core.storage.uris import ROWS_FOLDER
from jobs.tasks.processing import Wanted

if TYPE_CHECKING:
    from heartbeat_core.bundles.bundle import Bundle


@dataclass(frozen=True, slots=True)
class PartFacts:
    """The facts about the run that every row and part of a shard holds.

    Attributes
    ----------
    run_id : str
    generation : int
        The number of the update or retry; 0 for the first run.
    provenance : Mapping[str, str]
        What the metadata of the parts says of where they come from.
    kept : tuple[KeptColumn, ...]
        Columns of the inputs that go along.
    """

    run_id: str
    generation: int
    provenance: Mapping[str, str]
    kept: tuple[KeptColumn, ...] = ()


BATCH_RECORDINGS = 128
"""Recordings that become rows together."""
BATCH_BYTES = 16 * 2**20
"""Their frames take at most about so much memory."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of n processed recordings.

    Attributes
    ----------
    tables : dict[str, Table]
        One of n rows by name.
    labels : list[str | None]
        The label of each row, for the commit record.
    drift : Drift | None
        How far the recordings lie from the model's training data; None where nothing was measured.
    """

    tables: dict[str, Table]
    labels: list[str | None]
    drift: Drift | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What is stored for the processed recordings of a shard.

    Attributes
    ----------
    tables : dict[str, bytes]
        One Parquet file per table.
    labels : list[str | None]
        The label of each row, for the commit record.
    fit : ScalerFit | None
        The share of these rows in the scaler of a dataset.
    drift : Drift | None
        How far the recordings lie from the model's training data; None where nothing was measured.
    size_bytes : int
        Of the recordings that have rows.
    """

    tables: dict[str, bytes]
    labels: list[str | None]
    fit: ScalerFit | None = None
    drift: Drift | None = None
    size_bytes: int = 0


class ShardWork(Wanted, Protocol):
    """What a job does with the recordings of a shard."""

    def begin_fit(self) -> ScalerFit | None:
        """Return an empty fit of the scaler, if the job needs one."""

    def rows(self, results: Sequence[RecordingResult], facts: PartFacts) -> Rows:
        """Turn processed recordings, which have the vectors that this work wants, into one row each."""


class ClassifyWork:
    """``classify``: predictions and features.

    Parameters
    ----------
    bundle : Bundle
        The model.
    features : Sequence[str]
        Feature sets to write.

    Attributes
    ----------
    vectors : tuple[str, ...]
        The vector sets that are written or that the model reads.

    Raises
    ------
    ConfigError
        A feature set is unknown, or cannot be written (``catalogue.sets_written``).
    """

    def __init__(self, bundle: Bundle, features: Sequence[str]) -> None:
        self._bundle = bundle
        self._features = features
        self._labels = bundle.manifest.labels
        self.recipe = bundle.manifest.recipe
        self.reference = bundle.reference
        written = (one.name for one in sets_written(features) if one.shape == "vector")
        self.vectors = tuple(dict.fromkeys((*written, *bundle.vectors)))

    def begin_fit(self) -> None:
        """Return None: there is no scaler to fit."""

    def rows(self, results: Sequence[RecordingResult], facts: PartFacts) -> Rows:
        """Return predictions and features; the label of each row is the predicted one.

        Parameters
        ----------
        results : Sequence[RecordingResult]
            n recordings that were processed with this work.
        facts : PartFacts

        Returns
        -------
        Rows
            ``features`` and ``predictions``, n rows each.

        Raises
        ------
        ValueError
            A result lacks one of ``vectors``.
        """
        predictions = self._bundle.classify(results)
        table = predictions_table(
            results,
            predictions,
            self._labels,
            model_id=self._bundle.model_id,
            recipe=self.recipe.name,
            generation=facts.generation,
            run_id=facts.run_id,
            now=datetime.now(UTC),
            kept=facts.kept,
        )
        features = features_table(results, self._features, generation=facts.generation, kept=facts.kept)
        labels: list[str | None] = [self._labels[code] for code in predictions.codes.tolist()]
        return Rows({"features": features, "predictions": table}, labels, measure_drift(self._bundle, results))


class DatasetWork:
    """``build-dataset``: rows of aligned frames, and their share of the scaler.

    Parameters
    ----------
    recipe : Recipe
    reference : Reference
        With which the frames are aligned.
    labels : Labels
        The labels of the dataset, by code.
    padded : bool
        Store frames padded with zeros to the length of the reference.
    """

    vectors = ()

    def __init__(self, recipe: Recipe, reference: Reference, labels: Labels, *, padded: bool) -> None:
        self.recipe = recipe
        self.reference = reference
        self._labels = labels
        self._padded_length = len(reference) if padded else None

    def begin_fit(self) -> ScalerFit:
        """Return a fit over no rows, of the length of the reference."""
        return ScalerFit(len(self.reference))

    def rows(self, results: Sequence[RecordingResult], facts: PartFacts) -> Rows:
        """Return one table of n rows (``uris.ROWS_FOLDER``); the label of each row comes from the label file.

        Parameters
        ----------
        results : Sequence[RecordingResult]
            n recordings that were processed with this work.
        facts : PartFacts
        """
        table = recordings_table(results, self._padded_length, self._labels, facts.kept)
        return Rows({ROWS_FOLDER: table}, [result.recording.label for result in results])


class ShardParts:
    """Takes the processed recordings of a shard, in order, and turns them into its parts.

    No more than the frames of a batch, a row group of each table and the compressed parts are in memory.

    Parameters
    ----------
    work : ShardWork
        What the job does with them.
    facts : PartFacts
    """

    def __init__(self, work: ShardWork, facts: PartFacts) -> None:
        self._work = work
        self._facts = facts
        self._fit = work.begin_fit()
        self._writers: dict[str, PartWriter] = {}
        self._labels: list[str | None] = []
        self._drift: Drift | None = None
        self._size_bytes = 0
        self._held: list[RecordingResult] = []
        self._held_bytes = 0

    def add(self, result: RecordingResult) -> None:
        """Take one more recording."""
        self._held.append(result)
        self._held_bytes += result.frames.nbytes
        if len(self._held) >= BATCH_RECORDINGS or self._held_bytes >= BATCH_BYTES:
            self._write()

    def finish(self) -> Parts:
        """Return the parts; without any recording they have no rows."""
        if self._held or not self._writers:
            self._write()
        tables = {name: writer.finish() for name, writer in self._writers.items()}
        return Parts(tables, self._labels, self._fit, self._drift, self._size_bytes)

    def _write(self) -> None:
        rows = self._work.rows(self._held, self._facts)
        for name, table in rows.tables.items():
            self._writers.setdefault(name, PartWriter()).add(with_metadata(table, self._facts.provenance))
        self._labels += rows.labels
        self._size_bytes += sum(one.size_bytes for one in self._held)
        if rows.drift is not None:
            self._drift = rows.drift if self._drift is None else self._drift + rows.drift
        if self._fit is not None:
            for result in self._held:
                self._fit.add(result.frames, result.placement.offset_frames)
        self._held, self._held_bytes = [], 0


def failures_part(failures: Sequence[Failure], facts: PartFacts) -> bytes:
    """Return the failures of a shard as a Parquet file, one row each; without any, a file with no rows."""
    now = datetime.now(UTC)
    table = failures_table(failures, generation=facts.generation, run_id=facts.run_id, now=now, kept=facts.kept)
    return to_parquet(with_metadata(table, facts.provenance))
