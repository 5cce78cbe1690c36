"""Read an aligned dataset: its facts, and its rows as NumPy arrays.

On disk, or under any URL::

    DATASET/recordings/part-000042.parquet   rows, unpadded (compact) or padded
    DATASET/_dataset.json                    DatasetFacts
    DATASET/_reference.safetensors           the alignment reference
    DATASET/_scaler.safetensors              the scaler over all rows
    DATASET/segments.parquet                 start, end and state of each heart sound; only if the source has them
    DATASET/_SUCCESS                         written last; without it the dataset is not finished
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from heartbeat_core import storage
from heartbeat_core.alignment.placement import Reference, pad
from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.arrays import Frames
from heartbeat_core.datasets.labelled import Labelled, content_fingerprint
from heartbeat_core.errors import ConfigError, DatasetError, InputError, StorageError, StoreUnavailable
from heartbeat_core.formats.columns import list_values, numbers
from heartbeat_core.formats.parquet import (
    FOOTER_TAIL_BYTES,
    Table,
    footer_length,
    footer_rows,
    from_parquet,
    parquet_schema,
)
from heartbeat_core.labels import ORIGINAL_LABELS, SEPARATOR, Labels, Targets, joined
from heartbeat_core.recipe import Recipe
from heartbeat_core.settings import Settings, parse_settings
from heartbeat_core.storage import retry
from heartbeat_core.storage.uris import ROWS_FOLDER, SUCCESS_NAME

FACTS_NAME = "_dataset.json"
REFERENCE_NAME = "_reference.safetensors"
SCALER_NAME = "_scaler.safetensors"
SEGMENTS_NAME = "segments.parquet"

TRAITS = ("age", "sex", "site")
"""Kept columns that say of whom and where a recording is: models are judged within their values."""

PARTS_AT_ONCE = 16
"""Footers that are read at the same time."""

Layout = Literal["compact", "padded"]


class DatasetFacts(Settings):
    """The content of ``_dataset.json``."""

    format: Literal["heartbeat-dataset"] = "heartbeat-dataset"
    format_version: Literal[1, 2] = 2
    recipe: Recipe
    labels: Labels = ORIGINAL_LABELS
    """In the order of their codes. Datasets of format 1 have the original's."""
    layout: Layout
    length_frames: int
    reference_recording_id: str
    reference_audio_sha256: str
    reference_sample_rate_hz: int
    n_rows: int
    n_failures: int
    rows_by_label: dict[str, int]
    run_id: str


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a dataset, in the order of its parts.

    Attributes
    ----------
    recording_id, audio_sha256 : [n] text
    frames : list[Frames]
        n arrays [n_frames_i, 2] float32, unpadded in every layout.
    offsets : ndarray, [n] int64
        Number of zero frames in front.
    targets : Targets
        The labels; a row that allows none has no label.
    groups : [n] text
        The patient of each row. A recording without a patient is its own group, named by its content.
    devices : [n] text
        The device that the label file names for each row, or else its sample rate.
    databases : [n] text
        The database that the label file names for each row, or else the name of the dataset's folder.
    """

    recording_id: list[str]
    audio_sha256: list[str]
    frames: list[Frames]
    offsets: NDArray[np.int64]
    targets: Targets
    groups: list[str]
    devices: list[str]
    databases: list[str]

    def __len__(self) -> int:
        return len(self.recording_id)

    @property
    def codes(self) -> NDArray[np.int64]:
        """[n] int64: the code of each row's label; -1 where there is none, or several are possible."""
        return self.targets.codes

    def take(self, index: NDArray[np.int64]) -> Rows:
        """Return the rows at ``index``, [m] int64, in that order."""
        chosen = index.tolist()
        return Rows(
            [self.recording_id[i] for i in chosen],
            [self.audio_sha256[i] for i in chosen],
            [self.frames[i] for i in chosen],
            self.offsets[index],
            self.targets.take(index),
            [self.groups[i] for i in chosen],
            [self.devices[i] for i in chosen],
            [self.databases[i] for i in chosen],
        )

    def padded(self, length: int) -> NDArray[np.float32]:
        """Return [n, length, 2] float32: the rows, padded with zeros; frames beyond ``length`` are cut."""
        rows = [pad(frames, offset, length) for frames, offset in zip(self.frames, self.offsets, strict=True)]
        return np.stack(rows) if rows else np.zeros((0, length, 2), np.float32)

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) over content and labels; paths are not included."""
        return content_fingerprint(self.audio_sha256, self.targets)


class Dataset:
    """A finished aligned dataset.

    Methods that read also raise StorageError where the store refuses a request.

    Parameters
    ----------
    uri : str | os.PathLike
        The place of the dataset: a local path or any fsspec URL.

    Raises
    ------
    DatasetError
        It does not exist, is not finished, or is not a dataset that this program can read.
    StoreUnavailable
        The store does not answer.

    Examples
    --------
    >>> dataset = Dataset("dataset/")                       # doctest: +SKIP
    >>> rows = dataset.rows()                               # doctest: +SKIP
    >>> rows.padded(len(dataset.reference)).shape           # doctest: +SKIP
    (585, 13934, 2)
    >>> Dataset("/nowhere")
    Traceback (most recent call last):
    heartbeat_core.errors.DatasetError: /nowhere is not a finished dataset (/nowhere/_dataset.json is not there): make
    it with 'heartbeat build-dataset', or run that command again to go on
    """

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        self.uri = storage.to_uri(uri).rstrip("/")
        shown = storage.display(self.uri)
        try:
            content = json.loads(storage.read(storage.join(self.uri, FACTS_NAME)))
            storage.read(storage.join(self.uri, SUCCESS_NAME))
            reference = safetensors.numpy.load(storage.read(storage.join(self.uri, REFERENCE_NAME)))
            scaler = safetensors.numpy.load(storage.read(storage.join(self.uri, SCALER_NAME)))
            self.facts = parse_settings(DatasetFacts, content, f"{shown}/{FACTS_NAME}")
            self.reference = Reference(reference["reference.frames"])
            self.scaler = Scaler(scaler["scaler.mean"], scaler["scaler.scale"])
        except FileNotFoundError as error:
            raise DatasetError(
                f"{shown} is not a finished dataset ({error} is not there): "
                "make it with 'heartbeat build-dataset', or run that command again to go on"
            ) from None
        except StoreUnavailable:
            raise
        except (ConfigError, StorageError, SafetensorError, KeyError, ValueError) as error:
            raise DatasetError(f"{shown}: not a dataset that this program reads: {error}") from None

    @property
    def name(self) -> str:
        """The name of the folder; it stands for the database of rows that name none."""
        return self.uri.rpartition("/")[2]

    @property
    def _people(self) -> tuple[str, ...]:
        """The columns that say from whom, with what and for which database a recording was made."""
        columns = ("patient_id", "device", "sample_rate_hz")
        return columns if self.facts.format_version == 1 else (*columns, "database")

    def part_uris(self) -> list[str]:
        """Return the URIs of the parts, in order."""
        return storage.part_uris(storage.join(self.uri, ROWS_FOLDER))

    def count_whole_parts(self) -> int:
        """Return how many parts there are, after their footers have told that they hold all rows.

        Raises
        ------
        DatasetError
            A part is missing, or its footer is damaged.
        """
        uris = self.part_uris()
        self._check_whole(sum(retry.in_order(_count_rows, uris, PARTS_AT_ONCE)))
        return len(uris)

    def iter_parts(self) -> Iterator[Rows]:
        """Yield the rows of one part after another, so that only one part is in memory.

        Raises
        ------
        DatasetError
            A part is missing or damaged, or has a label that is not one of the dataset's.
        """
        n_rows = 0
        for uri in self.part_uris():
            part = self._read_part(uri)
            n_rows += len(part)
            yield part
        self._check_whole(n_rows)

    def rows(self) -> Rows:
        """Return all rows; raises as ``iter_parts``."""
        parts = list(self.iter_parts())
        return Rows(
            [value for part in parts for value in part.recording_id],
            [value for part in parts for value in part.audio_sha256],
            [value for part in parts for value in part.frames],
            np.concatenate([np.zeros(0, np.int64), *(part.offsets for part in parts)]),
            joined([part.targets for part in parts], self.facts.labels),
            [value for part in parts for value in part.groups],
            [value for part in parts for value in part.devices],
            [value for part in parts for value in part.databases],
        )

    def labelled(self) -> Labelled:
        """Return the recordings that have a label, without their frames; raises as ``iter_parts``.

        The parts are read at the first call only.
        """
        return self._labelled

    @cached_property
    def _labelled(self) -> Labelled:
        columns = ["recording_id", "uri", "audio_sha256", "label", *self._people]
        rows = [row for uri in self.part_uris() for row in read_part(uri, columns, TRAITS).to_pylist()]
        self._check_whole(len(rows))
        targets = self._targets([row["label"] for row in rows])
        labelled = targets.labelled()
        rows = [rows[i] for i in labelled.tolist()]
        return Labelled(
            [row["recording_id"] for row in rows],
            [row["uri"] for row in rows],
            [row["audio_sha256"] for row in rows],
            targets.take(labelled),
            [_group(row["audio_sha256"], row["patient_id"]) for row in rows],
            [_device(row["device"], row["sample_rate_hz"]) for row in rows],
            [row.get("database") or self.name for row in rows],
            {name: [_cell(row[name]) for row in rows] for name in TRAITS if rows and name in rows[0]},
        )

    def names_databases(self) -> bool:
        """Tell whether each labelled recording names its database; raises as ``read_part``."""
        if "database" not in self._people:
            return False
        rows = (row for uri in self.part_uris() for row in read_part(uri, ["label", "database"]).to_pylist())
        return all(row["database"] for row in rows if row["label"])

    def segments(self) -> dict[str, NDArray[np.float64]]:
        """Return the segments of the heart sounds that the source of the labels gives, by recording_id.

        Returns
        -------
        dict[str, ndarray]
            For each recording [n_segments, 3] float64: start and end in seconds, and the state (0 none, 1 S1,
            2 systole, 3 S2, 4 diastole), in order. Empty if the source gives none.
        """
        uri = storage.join(self.uri, SEGMENTS_NAME)
        if not storage.exists(uri):
            return {}
        found: dict[str, list[tuple[float, float, int]]] = {}
        for row in read_part(uri, ["recording_id", "start_s", "end_s", "state"]).to_pylist():
            found.setdefault(row["recording_id"], []).append((row["start_s"], row["end_s"], row["state"]))
        return {recording: np.array(rows, np.float64) for recording, rows in found.items()}

    def _check_whole(self, n_rows: int) -> None:
        """Raise DatasetError unless all rows that were written have been read."""
        if n_rows != self.facts.n_rows:
            what = "missing" if n_rows < self.facts.n_rows else "not its own"
            raise DatasetError(
                f"{storage.display(self.uri)}: has {n_rows} rows and not {self.facts.n_rows}: files of {ROWS_FOLDER}/ "
                f"are {what}: copy the dataset again, or build it anew"
            )

    def reference_group(self) -> str:
        """Return the patient of the alignment reference, even if that recording has no label."""
        digest = self.facts.reference_audio_sha256
        for uri in self.part_uris():
            for row in read_part(uri, ["audio_sha256", "patient_id"]).to_pylist():
                if row["audio_sha256"] == digest and row["patient_id"] is not None:
                    return _group(digest, row["patient_id"])
        return _group(digest, None)

    def _read_part(self, uri: str) -> Rows:
        columns = ["recording_id", "audio_sha256", "n_frames", "offset_frames"]
        columns += ["frequency_hz", "amplitude", "label", *self._people]
        table = read_part(uri, columns)
        offsets, frames = unpadded_rows(table, self.facts.layout)
        audio_sha256 = table.column("audio_sha256").to_pylist()
        people = table.select(list(self._people)).to_pylist()
        return Rows(
            table.column("recording_id").to_pylist(),
            audio_sha256,
            frames,
            offsets,
            self._targets(table.column("label").to_pylist()),
            [_group(digest, row["patient_id"]) for digest, row in zip(audio_sha256, people, strict=True)],
            [_device(row["device"], row["sample_rate_hz"]) for row in people],
            [row.get("database") or self.name for row in people],
        )

    def _targets(self, cells: list[str | None]) -> Targets:
        labels = self.facts.labels
        unknown = {name for cell in cells if cell for name in cell.split(SEPARATOR)} - set(labels)
        if unknown:
            raise DatasetError(
                f"{storage.display(self.uri)}: a recording has the label '{min(unknown)}', which is not one of those "
                f"of {FACTS_NAME} ({', '.join(labels)}): build the dataset again"
            )
        return Targets.of_cells(cells, labels)


def _group(audio_sha256: str, patient: str | None) -> str:
    """Return the patient. A recording without a patient is its own group, named by its content."""
    return f"recording:{audio_sha256}" if patient is None else f"patient:{patient}"


def _device(device: str | None, sample_rate_hz: int) -> str:
    return f"{sample_rate_hz} Hz" if device is None else device


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def read_part(uri: str, columns: list[str], optional: Sequence[str] = ()) -> Table:
    """Read columns of one part, and those of ``optional`` that it has.

    Raises
    ------
    DatasetError
        The part does not exist, is damaged, or lacks a column.
    """
    try:
        data = storage.read(uri)
        there = set(parquet_schema(data).names) if optional else set()
        return from_parquet(data, [*columns, *(name for name in optional if name in there)])
    except (FileNotFoundError, InputError) as error:
        raise DatasetError(f"{storage.display(uri)}: {error}") from None


def _count_rows(uri: str) -> int:
    try:
        tail = storage.read_tail(uri, FOOTER_TAIL_BYTES)
        length = footer_length(tail)
        return footer_rows(tail if length <= len(tail) else storage.read_tail(uri, length))
    except InputError as error:
        raise DatasetError(f"{storage.display(uri)}: {error}") from None


def unpadded_rows(table: Table, layout: Layout) -> tuple[NDArray[np.int64], list[Frames]]:
    """Return the offsets, [n] int64, and the unpadded frames, n arrays [n_frames_i, 2] float32, of the rows of a part.

    ``table`` has the columns ``n_frames``, ``offset_frames``, ``frequency_hz`` and ``amplitude``, stored in ``layout``.
    """
    offsets = numbers(table.column("offset_frames")).astype(np.int64)
    n_frames = numbers(table.column("n_frames"))
    frequency, amplitude = (list_values(table.column(name)) for name in ("frequency_hz", "amplitude"))
    start = offsets if layout == "padded" else np.zeros_like(offsets)
    frames = [
        np.stack((f[s : s + n], a[s : s + n]), axis=1)
        for f, a, s, n in zip(frequency, amplitude, start, n_frames, strict=True)
    ]
    return offsets, frames
