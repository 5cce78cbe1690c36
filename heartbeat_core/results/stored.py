"""Processed recordings from the rows of a features table: what a model reads, without the audio."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from heartbeat_core.alignment.placement import Placement, Reference, place
from heartbeat_core.audio.quality import Quality
from heartbeat_core.features.catalogue import ALIGNED, sets_read
from heartbeat_core.features.feature_set import FeatureSet
from heartbeat_core.formats.columns import list_values, numbers
from heartbeat_core.formats.parquet import from_parquet
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.recordings.recording import Recording

_IDENTITY = ("recording_id", "generation")
_FACTS = (
    *("audio_sha256", "size_bytes", "format", "subtype", "sample_rate_hz", "channels", "n_samples", "duration_s"),
    *("header_n_samples", "truncated"),
)
_QUALITY = tuple(field.name for field in fields(Quality))
_NO_FRAMES = np.zeros((0, 2), np.float32)


def lacking_inputs(schema: pa.Schema, recipe: Recipe) -> list[str]:
    """Return the feature sets that a recipe's model reads and a features table does not hold.

    A set of another version counts as lacking; so do frames that were computed with other settings, and all sets of
    results of earlier releases, which do not say their version.

    Parameters
    ----------
    schema : pa.Schema
        Of a stored part, with its metadata.
    recipe : Recipe

    Returns
    -------
    list[str]
        Names of sets, in the order of the recipe's ``input``.

    Raises
    ------
    ConfigError
        As ``catalogue.sets_read``.

    Examples
    --------
    >>> lacking_inputs(pa.schema([]), Recipe(name="r", input="beats+cycle-spectrum"))
    ['beats', 'cycle-spectrum']
    """
    return [one.name for one in sets_read(recipe.input) if not _holds(schema, one, recipe)]


def _holds(schema: pa.Schema, one: FeatureSet, recipe: Recipe) -> bool:
    versions = {field.name: (field.metadata or {}).get(b"method", b"").decode() for field in schema}
    is_there = bool(one.columns) and all(versions.get(column.name) == one.version for column in one.stored)
    if one.name != ALIGNED.name or not is_there:
        return is_there
    stored = (schema.metadata or {}).get(b"heartbeat.frames", b"null")
    return bool(json.loads(stored) == recipe.frames.model_dump(mode="json"))


def read_inputs(part: bytes, recipe: Recipe) -> pa.Table:
    """Return the columns of a part of a features table that ``stored_results`` reads.

    Parameters
    ----------
    part : bytes
        A Parquet file.
    recipe : Recipe
        Of the model; its ``input`` names the feature sets.

    Returns
    -------
    pa.Table
        All rows of the part.

    Raises
    ------
    InputError
        The part is damaged, or lacks an input of the recipe (``lacking_inputs``).
    ConfigError
        As ``catalogue.sets_read``.
    """
    columns = [column.name for one in sets_read(recipe.input) for column in one.columns]
    return from_parquet(part, list(dict.fromkeys([*_IDENTITY, *_FACTS, *_QUALITY, *columns])))


def stored_results(
    table: pa.Table, recordings: Sequence[Recording], recipe: Recipe, reference: Reference
) -> list[RecordingResult | None]:
    """Return recordings as they were processed, with what a recipe's model reads.

    Parameters
    ----------
    table : pa.Table
        As ``read_inputs`` returns it.
    recordings : Sequence[Recording]
        Some of its recordings.
    recipe : Recipe
    reference : Reference
        The model's; stored frames are placed along it.

    Returns
    -------
    list[RecordingResult | None]
        One for each recording. None if the part does not have it, or its frames were cut and the reference is longer.
        Frames that the model does not read are left out.
    """
    sets = sets_read(recipe.input)
    rows = table.select(["recording_id", *_FACTS, *_QUALITY]).to_pylist()
    row_of = {row.pop("recording_id"): number for number, row in enumerate(rows)}
    vectors = {one.name: _matrix(table, one) for one in sets if one.shape == "vector"}
    placed = [_place(*one, reference, recipe) for one in _frames(table)] if ALIGNED in sets else None
    found: list[RecordingResult | None] = []
    for recording in recordings:
        number = row_of.get(recording.recording_id)
        if number is None or (placed is not None and placed[number] is None):
            found.append(None)
            continue
        frames, n_cut, placement = (None if placed is None else placed[number]) or (_NO_FRAMES, 0, Placement(0, 0, 0.0))
        facts: dict[str, Any] = dict(rows[number])
        quality = Quality(**{name: facts.pop(name) for name in _QUALITY})
        found.append(
            RecordingResult(
                recording=recording,
                **facts,
                quality=quality,
                frames=frames,
                n_frames_cut=n_cut,
                placement=placement,
                features={name: matrix[number] for name, matrix in vectors.items()},
            )
        )
    return found


def _matrix(table: pa.Table, one: FeatureSet) -> NDArray[np.float32]:
    """Return [n, n_columns]: the stored values of a set."""
    batches = table.select(list(one.names)).combine_chunks().to_batches()
    rows = [np.asarray(batch.to_tensor(row_major=True)) for batch in batches]
    return np.concatenate([np.empty((0, len(one.names)), np.float32), *rows])


def _frames(table: pa.Table) -> list[tuple[NDArray[np.float32], int]]:
    """Return the frames of each row, [n_frames, 2], and how many were cut."""
    pairs = zip(list_values(table.column("frequency_hz")), list_values(table.column("amplitude")), strict=True)
    n_cut = numbers(table.column("n_frames_cut")).tolist()
    return [(np.stack(pair, axis=1), cut) for pair, cut in zip(pairs, n_cut, strict=True)]


def _place(
    frames: NDArray[np.float32], n_cut: int, reference: Reference, recipe: Recipe
) -> tuple[NDArray[np.float32], int, Placement] | None:
    """Place stored frames along another reference; None if the frames that were cut are needed for that."""
    if n_cut and len(reference) > len(frames):
        return None
    placement = place(frames, reference, recipe.alignment.pad_mode)
    return frames[: placement.n_frames], len(frames) + n_cut - placement.n_frames, placement


def keep_rows(part: bytes, inputs: pa.Table, recording_ids: Sequence[str]) -> pa.Table | None:
    """Return the rows of these recordings, in their order, as generation 0; None if these are all rows as they are.

    Parameters
    ----------
    part : bytes
        A Parquet file of the table ``features``.
    inputs : pa.Table
        What ``read_inputs`` returned of the part.
    recording_ids : Sequence[str]
        Some of those of the part.

    Returns
    -------
    pa.Table | None
        With all columns of the part.

    Raises
    ------
    InputError
        The part is damaged.
    """
    ids = inputs.column("recording_id").to_pylist()
    if ids == list(recording_ids) and not any(inputs.column("generation").to_pylist()):
        return None
    whole = from_parquet(part)
    row_of = {one: number for number, one in enumerate(ids)}
    kept = whole.take(pa.array([row_of[one] for one in recording_ids], pa.int64()))
    place_of = kept.schema.get_field_index("generation")
    return kept.set_column(place_of, kept.schema.field(place_of), pa.array(np.zeros(len(kept), np.int32)))
