"""Labels for recordings: from a table with a path and a label column, or from the names of folders.

A row of the table belongs to the recording with the same relative path, else to the only recording with the same file
name, else to the only one with the same path or file name without an audio ending (``a.wav`` in the table, ``a.flac``
on disk). Rows without a recording, and recordings without a label, are counted and listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import zip_longest

from heartbeat_core import storage
from heartbeat_core.errors import InputError, StorageError
from heartbeat_core.formats.records import TABLE_SUFFIXES, read_records
from heartbeat_core.recipe import LABELS
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import fingerprint
from heartbeat_core.storage.uris import public_uri, query_digest, without_query
from jobs.listing.kept import PATIENT_COLUMNS, kept_cells
from jobs.listing.listing import AUDIO_SUFFIXES, PATH_COLUMNS, find_column

LABEL_COLUMNS = ("label", "class", "category", "target")
DEVICE_COLUMNS = ("device", "device_id", "recording_device", "stethoscope")
N_KEYS = 4
"""Keys by which a row and a recording are matched."""


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One row of a label table; ``label`` is None where its cell is empty. ``path`` holds no secret.

    ``kept`` are the cells in the columns that the user keeps, in the order in which they were named.
    """

    path: str
    label: str | None
    patient_id: str | None
    device: str | None = None
    kept: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The rows of a label file, and the names of its columns."""

    source: str
    rows: list[LabelRow]
    columns: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) over the rows."""
        return fingerprint([astuple(row) for row in self.rows])


@dataclass
class Matching:
    """The recordings with their labels, and the rows and recordings that do not match.

    Attributes
    ----------
    recordings : list[Recording]
        All recordings, in their order.
    without_recording : list[str]
        Paths in the table that belong to no recording.
    without_label : list[str]
        Relative paths of the recordings that have no label.
    ambiguous : list[str]
        Paths in the table that match several recordings, and so label none of them.
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
    keep_columns: Sequence[str] = (),
) -> LabelTable:
    """Read a label file (``.csv``, ``.parquet``, ``.jsonl``).

    A column for which no name is given is found by its usual names. The columns of patients and devices are optional,
    and so are those of ``keep_columns``, which a manifest may have instead.

    Raises
    ------
    InputError
        The file does not exist, has no rows, lacks a column, or has a label that is not one of the five.
    """
    uri = storage.to_uri(source)
    source = public_uri(source)
    if not source.lower().endswith(TABLE_SUFFIXES):
        raise InputError(f"{source}: labels are read from {', '.join(TABLE_SUFFIXES)}")
    try:
        data = storage.read(uri)
    except FileNotFoundError:
        raise InputError(f"{source}: no such label file") from None
    except StorageError as error:
        raise InputError(str(error)) from None
    records = read_records(data, source[source.rindex(".") :].lower(), source)
    columns = list(records)
    path_name = find_column(columns, path_column, PATH_COLUMNS, source, "--label-path-column")
    paths = records[path_name]
    labels = records[find_column(columns, label_column, LABEL_COLUMNS, source, "--label-column")]
    patients = _optional(records, patient_column, PATIENT_COLUMNS, source, "--patient-column")
    devices = _optional(records, device_column, DEVICE_COLUMNS, source, "--device-column")
    kept = kept_cells({**records, path_name: [path and public_uri(path) for path in paths]}, keep_columns)
    rows = []
    for number, (path, label, patient, device, cells) in enumerate(
        zip(paths, labels, patients, devices, kept, strict=True), 1
    ):
        if path is None:
            raise InputError(f"{source}: row {number} has no path")
        found = check_label(label, f"{source}, row {number}")
        rows.append(LabelRow(_normal_path(path), found, patient, device, cells))
    if not rows:
        raise InputError(f"{source}: it has no rows; give each recording a row with its path and its label")
    return LabelTable(source, rows, tuple(columns))


def match_labels(recordings: Sequence[Recording], table: LabelTable) -> Matching:
    """Give each recording the label, patient, device and kept cells of its row.

    A patient and a kept cell that the row lacks stay as a manifest has them.

    Raises
    ------
    InputError
        No row belongs to a recording, or two rows disagree about one recording.
    """
    index: list[dict[str, list[int]]] = [{} for _ in range(N_KEYS)]
    for number, recording in enumerate(recordings):
        for by_key, key in zip(index, _keys(_path_of(recording)), strict=True):
            by_key.setdefault(key, []).append(number)
    candidates = [_candidates(row, index) for row in table.rows]
    # By its best key, a recording has a row of its own, which a row with a worse key does not overrule.
    best: dict[int, int] = {}
    for level, numbers in candidates:
        if len(numbers) == 1:
            best[numbers[0]] = min(level, best.get(numbers[0], level))
    matching = Matching()
    found: dict[int, LabelRow] = {}
    for row, (level, numbers) in zip(table.rows, candidates, strict=True):
        if len(numbers) > 1:
            matching.ambiguous.append(row.path)
        elif not numbers or best[numbers[0]] < level:
            matching.without_recording.append(row.path)
        else:
            earlier = found.setdefault(numbers[0], row)
            if astuple(earlier)[1:] != astuple(row)[1:]:
                raise InputError(
                    f"{table.source}: '{earlier.path}' and '{row.path}' are the same recording and disagree"
                )
    if table.rows and recordings and not found:
        raise InputError(
            f"{table.source}: none of its rows belongs to exactly one recording; it has '{table.rows[0].path}', and "
            f"the inputs have '{recordings[0].relative_path}': use the same paths, or file names that occur once"
        )
    for number, recording in enumerate(recordings):
        row_found = found.get(number)
        if row_found is not None:
            recording = replace(
                recording,
                label=row_found.label,
                patient_id=row_found.patient_id or recording.patient_id,
                device=row_found.device,
                kept=tuple(ours or theirs for ours, theirs in zip_longest(row_found.kept, recording.kept)),
            )
        _add(matching, recording)
    return matching


def label_from_parent_folder(recordings: Sequence[Recording]) -> Matching:
    """Label each recording with the name of its folder.

    Raises
    ------
    InputError
        The name of a folder is not a label.
    """
    matching = Matching()
    for recording in recordings:
        parent = recording.uri.rpartition("/")[0].rpartition("/")[2]
        label = check_label(parent, f"--label-from parent-folder: {storage.display(recording.public_uri)}")
        _add(matching, replace(recording, label=label))
    return matching


def check_label(text: str | None, where: str) -> str | None:
    """Return the label as ``LABELS`` spells it, None for an empty cell.

    Raises
    ------
    InputError
        The text is not one of the five labels.
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
    """Return a column; a column of None where no name is given and none of the usual names is found."""
    if wanted is None and not {name.lower() for name in records} & set(candidates):
        return [None] * len(next(iter(records.values())))
    return records[find_column(list(records), wanted, candidates, source, option)]


def _keys(path: str) -> tuple[str, ...]:
    """Return what a path is matched by, the best key first; see the module's docstring."""
    name = without_query(path).rpartition("/")[2]
    return path, name, _without_ending(path), _without_ending(name)


def _candidates(row: LabelRow, index: Sequence[dict[str, list[int]]]) -> tuple[int, list[int]]:
    """Return the recordings that match a row by the best key for which there are any, and which key that is."""
    for level, (by_key, key) in enumerate(zip(index, _keys(row.path), strict=True)):
        if key in by_key:
            return level, by_key[key]
    return N_KEYS, []


def _path_of(recording: Recording) -> str:
    return _with_digest(_normal_path(recording.relative_path), recording.query_digest)


def _without_ending(path: str) -> str:
    ending = next((ending for ending in AUDIO_SUFFIXES if path.lower().endswith(ending)), "")
    return path[: len(path) - len(ending)]


def _normal_path(path: str) -> str:
    """Return a path as it is compared and shown; of a web address, a digest stands for its query."""
    text = path.strip().replace("\\", "/").removeprefix("./")
    return _with_digest(public_uri(text), query_digest(text))


def _with_digest(path: str, digest: str | None) -> str:
    return path if digest is None else f"{path}?{digest}"
