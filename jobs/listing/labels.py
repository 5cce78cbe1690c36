"""Labels for recordings: from a table with a path and a label column, or from the folders' names.

A row of the table belongs to the recording with the same relative path, else to the only recording with the same
file name. What does not find its other half is counted and listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace

from heartbeat_core import storage
from heartbeat_core.errors import InputError, StorageError
from heartbeat_core.formats.records import TABLE_SUFFIXES, read_records
from heartbeat_core.recipe import LABELS
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import fingerprint
from jobs.listing.listing import PATH_COLUMNS, find_column

LABEL_COLUMNS = ("label", "class", "category", "target")
PATIENT_COLUMNS = ("patient_id", "patient", "subject_id", "subject")
DEVICE_COLUMNS = ("device", "device_id", "recording_device", "stethoscope")


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One row of a label table; ``label`` is None where the cell is empty."""

    path: str
    label: str | None
    patient_id: str | None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A label file's rows."""

    source: str
    rows: list[LabelRow]

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) over the rows."""
        return fingerprint([astuple(row) for row in self.rows])


@dataclass
class Matching:
    """Recordings with what the labels say of them, and what was left over.

    Attributes
    ----------
    recordings : list[Recording]
        All of them, in their order.
    without_recording : list[str]
        labels' paths that no recording has.
    without_label : list[str]
        recordings' relative paths that have no label.
    ambiguous : list[str]
        labels' paths that could mean several recordings; they label none of these.
    """

    recordings: list[Recording] = field(default_factory=list)
    without_recording: list[str] = field(default_factory=list)
    without_label: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)


def read_labels(
    source: str,
    path_column: str | None = None,
    label_column: str | None = None,
    patient_column: str | None = None,
    device_column: str | None = None,
) -> LabelTable:
    """Read a label file (``.csv``, ``.parquet``, ``.jsonl``).

    A column that is not named is found by its name; patients and devices may be missing.

    Raises
    ------
    InputError
        It is not there, lacks a column, or holds a label that is not one of the five.
    """
    if not source.lower().endswith(TABLE_SUFFIXES):
        raise InputError(f"{source}: labels are read from {', '.join(TABLE_SUFFIXES)}")
    uri = storage.to_uri(source)
    try:
        data = storage.read(uri)
    except FileNotFoundError:
        raise InputError(f"{source}: no such label file") from None
    except StorageError as error:
        raise InputError(str(error)) from None
    records = read_records(data, uri[uri.rindex(".") :].lower(), source)
    columns = list(records)
    paths = records[find_column(columns, path_column, PATH_COLUMNS, source, "--label-path-column")]
    labels = records[find_column(columns, label_column, LABEL_COLUMNS, source, "--label-column")]
    patients = _optional(records, patient_column, PATIENT_COLUMNS, source, "--patient-column")
    devices = _optional(records, device_column, DEVICE_COLUMNS, source, "--device-column")
    rows = []
    for number, (path, label, patient, device) in enumerate(zip(paths, labels, patients, devices, strict=True), 1):
        if path is None:
            raise InputError(f"{source}: row {number} has no path")
        rows.append(LabelRow(_normal_path(path), check_label(label, f"{source}, row {number}"), patient, device))
    return LabelTable(source, rows)


def match_labels(recordings: Sequence[Recording], table: LabelTable) -> Matching:
    """Give each recording its row's label, patient and device.

    Raises
    ------
    InputError
        Two rows of the table disagree about one recording.
    """
    by_path: dict[str, list[int]] = {}
    by_name: dict[str, list[int]] = {}
    for index, recording in enumerate(recordings):
        path = _normal_path(recording.relative_path)
        by_path.setdefault(path, []).append(index)
        by_name.setdefault(_file_name(path), []).append(index)
    matching = Matching()
    found: dict[int, LabelRow] = {}
    # A recording with a row of its own is not given another's by its name alone.
    taken = {index for row in table.rows for index in by_path.get(row.path, ())}
    for row in table.rows:
        indices = by_path.get(row.path) or by_name.get(_file_name(row.path), [])
        if len(indices) > 1:
            matching.ambiguous.append(row.path)
        elif not indices or (indices[0] in taken and row.path not in by_path):
            matching.without_recording.append(row.path)
        else:
            earlier = found.setdefault(indices[0], row)
            if astuple(earlier)[1:] != astuple(row)[1:]:
                raise InputError(
                    f"{table.source}: '{earlier.path}' and '{row.path}' are the same recording and disagree"
                )
    for index, recording in enumerate(recordings):
        row_found = found.get(index)
        if row_found is not None:
            recording = replace(
                recording, label=row_found.label, patient_id=row_found.patient_id, device=row_found.device
            )
        _add(matching, recording)
    return matching


def label_from_parent_folder(recordings: Sequence[Recording]) -> Matching:
    """Label each recording with the name of the folder that it lies in.

    Raises
    ------
    InputError
        A folder's name is not a label.
    """
    matching = Matching()
    for recording in recordings:
        parent = recording.uri.rpartition("/")[0].rpartition("/")[2]
        label = check_label(parent, f"--label-from parent-folder: {storage.display(recording.public_uri)}")
        _add(matching, replace(recording, label=label))
    return matching


def check_label(text: str | None, where: str) -> str | None:
    """Return the label as it is spelled in ``LABELS``, None for an empty cell.

    Raises
    ------
    InputError
        It is not one of the five.
    """
    label = (text or "").strip().lower()
    if not label:
        return None
    if label not in LABELS:
        raise InputError(f"{where}: '{text}' is not a label; the labels are {', '.join(LABELS)}")
    return label


def _add(matching: Matching, recording: Recording) -> None:
    matching.recordings.append(recording)
    if recording.label is None:
        matching.without_label.append(recording.relative_path)


def _optional(
    records: dict[str, list[str | None]], wanted: str | None, candidates: Sequence[str], source: str, option: str
) -> list[str | None]:
    """Return a column, or nothing but None where none was asked for and none is found."""
    if wanted is None and not {name.lower() for name in records} & set(candidates):
        return [None] * len(next(iter(records.values())))
    return records[find_column(list(records), wanted, candidates, source, option)]


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]


def _normal_path(path: str) -> str:
    return path.strip().replace("\\", "/").removeprefix("./")
