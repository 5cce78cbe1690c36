"""Turn the recordings of a shard into the parts that are stored, for each job.

Tasks store what ``ShardWork.parts`` returns. ``plan`` measures the same functions and stores nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.alignment.scaling import ScalerFit
from heartbeat_core.errors import RecordingError
from heartbeat_core.features.catalogue import sets_written
from heartbeat_core.formats.kept import KeptColumn
from heartbeat_core.formats.parquet import Table, to_parquet
from heartbeat_core.labels import Labels
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.fetch import read_recordings
from heartbeat_core.recordings.process import RecordingResult, process
from heartbeat_core.recordings.recording import Failure, Recording, failure
from heartbeat_core.results.schema import (
    failures_table,
    features_table,
    predictions_table,
    recordings_table,
    with_metadata,
)
from heartbeat_core.settings import Limits
from heartbeat_core.storage.uris import ROWS_FOLDER
from jobs.tasks.context import Stopped
from jobs.tasks.isolation import Here, Place, child

if TYPE_CHECKING:
    from heartbeat_core.bundles.bundle import Bundle


@dataclass(frozen=True, slots=True)
class PartFacts:
    """The facts about the run that every row and part of a shard holds."""

    run_id: str
    generation: int
    provenance: Mapping[str, str]
    kept: tuple[KeptColumn, ...] = ()


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
    drift : dict[str, Any] | None
        How far the recordings lie from the model's training data, as ``Drift.stored`` returns it.
    """

    tables: dict[str, bytes]
    labels: list[str | None]
    fit: ScalerFit | None = None
    drift: dict[str, Any] | None = None


class ShardWork(Protocol):
    """What a job does with the recordings of a shard."""

    @property
    def recipe(self) -> Recipe:
        """Return the recipe for the frames and their alignment."""

    @property
    def reference(self) -> Reference:
        """Return the reference that frames are aligned with."""

    @property
    def vectors(self) -> Sequence[str]:
        """Return the vector sets that results must have."""

    def parts(self, results: Sequence[RecordingResult], facts: PartFacts) -> Parts:
        """Turn processed recordings into the parts that are stored."""


class ClassifyWork:
    """``classify``: predictions and features."""

    def __init__(self, bundle: Bundle, features: Sequence[str]) -> None:
        self._bundle = bundle
        self._features = features
        self._labels = bundle.manifest.labels
        self.recipe = bundle.manifest.recipe
        self.reference = bundle.reference
        written = (one.name for one in sets_written(features) if one.shape == "vector")
        self.vectors = tuple(dict.fromkeys((*written, *bundle.vectors)))

    def parts(self, results: Sequence[RecordingResult], facts: PartFacts) -> Parts:
        """Return predictions and features; the label of each row is the predicted one."""
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
        # Imported here because it belongs to the model, and dataset tasks have none.
        from heartbeat_core.bundles.drift import measure_drift

        drift = measure_drift(self._bundle, results)
        return Parts(
            {"features": _encode(features, facts), "predictions": _encode(table, facts)},
            labels,
            drift=None if drift is None else drift.stored(),
        )


class DatasetWork:
    """``build-dataset``: rows of aligned frames, and their share of the scaler."""

    vectors = ()

    def __init__(self, recipe: Recipe, reference: Reference, labels: Labels, *, padded: bool) -> None:
        self.recipe = recipe
        self.reference = reference
        self._labels = labels
        self._padded_length = len(reference) if padded else None

    def parts(self, results: Sequence[RecordingResult], facts: PartFacts) -> Parts:
        """Return the rows; the label of each row comes from the label file."""
        fit = ScalerFit(len(self.reference))
        for result in results:
            fit.add(result.frames, result.placement.offset_frames)
        table = recordings_table(results, self._padded_length, self._labels, facts.kept)
        return Parts({ROWS_FOLDER: _encode(table, facts)}, [result.recording.label for result in results], fit)


def failures_part(failures: Sequence[Failure], facts: PartFacts) -> bytes:
    """Return the failures of a shard as a Parquet file."""
    now = datetime.now(UTC)
    table = failures_table(failures, generation=facts.generation, run_id=facts.run_id, now=now, kept=facts.kept)
    return _encode(table, facts)


def process_recordings(
    recordings: Iterable[Recording],
    work: ShardWork,
    limits: Limits,
    place: Place,
    is_stopped: Callable[[], bool] = lambda: False,
) -> tuple[list[RecordingResult], list[Failure]]:
    """Read and process recordings; each is in exactly one of the two returned lists, in order.

    Raises
    ------
    Stopped
        ``is_stopped`` returned true between two recordings.
    """
    results: list[RecordingResult] = []
    failures: list[Failure] = []
    for recording, data in read_recordings(recordings, limits):
        if is_stopped():
            raise Stopped("stopped before the commit")
        try:
            if isinstance(data, RecordingError):
                raise data
            results.append(place.call(process, recording, data, work.recipe, work.reference, limits, work.vectors))
        except RecordingError as error:
            failures.append(failure(recording, error))
    return results, failures


def working_place(stack: ExitStack, limits: Limits, *, isolated: bool) -> Place:
    """Return where a task processes its recordings: here, or in a child process that ends when the stack closes."""
    if isolated:
        return stack.enter_context(child(limits))
    return Here(limits, limits.deadline_s)


def _encode(table: Table, facts: PartFacts) -> bytes:
    return to_parquet(with_metadata(table, facts.provenance))
