"""Labels for recordings: from a table, from the files of a published database, or from the names of folders.

A row of the table belongs to the recording with the same relative path, else to the only recording with the same file
name, else to the only one with the same path or file name without an audio ending (``a.wav`` in the table, ``a.flac``
on disk). Rows without a recording, and recordings without a label, are counted and listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import zip_longest
from operator import attrgetter

from heartbeat_core import storage
from heartbeat_core.databases.catalogue import DATABASES
from heartbeat_core.databases.database import Segment
from heartbeat_core.errors import InputError
from heartbeat_core.formats.audio_names import without_ending
from heartbeat_core.formats.records import read_records
from heartbeat_core.formats.table_names import TABLE_SUFFIXES
from heartbeat_core.labels import ORIGINAL_LABELS, Labels, join_cell, parse_cell, settle_labels
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import fingerprint
from heartbeat_core.storage.uris import public_uri, query_digest, without_query
from jobs.listing.kept import ManifestColumns, gap_note, is_gap, kept_cells, readable_cells
from jobs.listing.label_maps import LabelMap
from jobs.listing.listing import PATH_COLUMNS, find_column

LABEL_COLUMNS = ("label", "class", "category", "target")
DATABASE_COLUMNS = ("database",)
DEVICE_COLUMNS = ("device", "device_id", "recording_device", "stethoscope")
_OWN_COLUMNS = ("path", "label", "patient_id", "device", "database")
"""Columns of a database that become columns of the dataset in any case."""
N_KEYS = 4
"""Keys by which a row and a recording are matched."""


@dataclass(frozen=True, slots=True)
class LabelRow:
    """What a label table says of one recording; ``path`` holds no secret.

    ``label`` holds the labels that the recording may have, joined by ``|``; it is None where the cell is empty, or
    holds a word for a missing value that the user did not name.
    ``kept`` are the cells in the columns that are kept, in the order of ``LabelTable.kept``.
    """

    path: str
    label: str | None
    patient_id: str | None
    device: str | None = None
    database: str | None = None
    kept: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The names of the columns of a label table; a column without a name is found by its usual names."""

    path: str | None = None
    label: str | None = None
    patient: str | None = None
    device: str | None = None
    database: str | None = None


@dataclass(frozen=True, slots=True)
class LabelWords:
    """How the words of a label column become labels.

    Attributes
    ----------
    declared : Labels | None
        The labels in the order of their codes; None settles them by what occurs (``labels.settle_labels``).
    map : LabelMap | None
        Turns each word into a cell; None takes the words as they are.
    """

    declared: Labels | None = None
    map: LabelMap | None = None

    def names(self, word: str) -> bool:
        """Tell whether the user named a word, as one that the map turns into labels or as a label."""
        if self.map is not None:
            return self.map.has(word)
        return word.strip().casefold() in {name.casefold() for name in self.declared or ()}


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The rows of a label source, and the labels that codes stand for.

    Attributes
    ----------
    columns : tuple[str, ...]
        The names of all columns of the source.
    kept : tuple[str, ...]
        The names of the columns that are kept.
    segments : list[Segment]
        The segments of the heart sounds that a database publishes; their paths are those of the rows.
    notes : list[str]
        What the user should know about the source, a line each.
    """

    source: str
    rows: list[LabelRow]
    labels: Labels = ORIGINAL_LABELS
    columns: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    segments: list[Segment] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) over labels, rows and segments."""
        return fingerprint([self.labels, _cells(LabelRow, self.rows), _cells(Segment, self.segments)])


@dataclass
class Matching:
    """The recordings with their labels, and the rows and recordings that do not match.

    Attributes
    ----------
    recordings : list[Recording]
        All recordings, in their order.
    by_path : dict[str, Recording]
        By the path of a row in the table, the recording that it belongs to.
    without_recording : list[str]
        Paths in the table that belong to no recording.
    without_label : list[str]
        Relative paths of the recordings that have no label.
    ambiguous : list[str]
        Paths in the table that match several recordings, and so label none of them.
    """

    recordings: list[Recording] = field(default_factory=list)
    by_path: dict[str, Recording] = field(default_factory=dict)
    without_recording: list[str] = field(default_factory=list)
    without_label: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)


def read_labels(
    source: str,
    columns: LabelColumns = LabelColumns(),
    words: LabelWords = LabelWords(),
    keep_columns: Sequence[str] = (),
) -> LabelTable:
    """Read a label file (``.csv``, ``.parquet``, ``.jsonl``).

    The columns of patients, devices and databases are optional, and so are those of ``keep_columns``, which a manifest
    may have instead.

    Raises
    ------
    InputError
        The file does not exist, has no rows, lacks a column, or has a label that cannot be one.
    """
    uri = storage.to_uri(source)
    source = public_uri(source)
    if not source.lower().endswith(TABLE_SUFFIXES):
        raise InputError(f"{source}: labels are read from {', '.join(TABLE_SUFFIXES)}")
    try:
        with storage.refusals_as(InputError):
            data = storage.read(uri)
    except FileNotFoundError:
        raise InputError(f"{source}: no such label file") from None
    records = read_records(data, source[source.rindex(".") :].lower(), source)
    rows, labels, notes = _rows(records, source, columns, words, LABEL_COLUMNS, keep_columns)
    if not rows:
        raise InputError(f"{source}: it has no rows; give each recording a row with its path and its label")
    return LabelTable(source, rows, labels, tuple(records), tuple(keep_columns), notes=notes)


def read_database(
    name: str,
    folders: Sequence[str],
    columns: LabelColumns = LabelColumns(),
    words: LabelWords = LabelWords(),
    keep_columns: Sequence[str] = (),
) -> LabelTable:
    """Read what the files of a published database in these folders say of its recordings.

    Without ``keep_columns``, all columns are kept that do not become columns of the dataset anyway.

    Raises
    ------
    ConfigError
        No database has this name.
    InputError
        A folder does not exist, or a file in it is missing, damaged, or contradicts another.
    """
    database = DATABASES.get(name)
    tables = []
    for folder in folders:
        uri = storage.to_uri(folder)
        if not storage.is_folder(uri):
            raise InputError(f"{public_uri(folder)}: --database {name} reads a folder, and this is none")
        tables.append(database.read(uri))
    records = {
        column: [value for one in tables for value in one.columns.get(column, [None] * len(one.columns["path"]))]
        for column in dict.fromkeys(column for one in tables for column in one.columns)
    }
    kept = tuple(keep_columns) or tuple(column for column in records if column not in _OWN_COLUMNS)
    rows, labels, notes = _rows(records, f"--database {name}", columns, words, database.label_columns, kept)
    return LabelTable(
        ", ".join(map(public_uri, folders)),
        rows,
        labels,
        tuple(records),
        kept,
        [segment for one in tables for segment in one.segments],
        [*(note for one in tables for note in one.notes), *notes],
    )


def _rows(
    records: dict[str, list[str | None]],
    source: str,
    columns: LabelColumns,
    words: LabelWords,
    label_columns: Sequence[str],
    keep_columns: Sequence[str],
) -> tuple[list[LabelRow], Labels, list[str]]:
    """Return the rows of a table of text, their labels, and notes as those of ``LabelTable``."""
    names = list(records)
    if words.map is not None and columns.label is None and words.map.column in names:
        label_columns = (words.map.column,)
    path_column = find_column(names, columns.path, PATH_COLUMNS, source, "--label-path-column")
    paths = records[path_column]
    label_column = find_column(names, columns.label, label_columns, source, "--label-column")
    cells, gaps = [], Counter[str]()
    for number, word in enumerate(records[label_column], 1):
        if paths[number - 1] is None:
            raise InputError(f"{source}: row {number} has no path")
        if word is not None and is_gap(word) and not words.names(word):
            gaps[word.strip()] += 1
            word = None
        cells.append(_parse(word, words, f"{source}, row {number}"))
    labels = settle_labels({name for cell in cells for name in cell}, words.declared, source)
    of_patients = ManifestColumns(patient=columns.patient)
    settled = of_patients.settled(records, source)
    patients = of_patients.patients(settled)
    devices = _optional(records, columns.device, DEVICE_COLUMNS, source, "--device-column")
    databases = _optional(records, columns.database, DATABASE_COLUMNS, source, "--database-column")
    kept = kept_cells({**settled, path_column: [path and public_uri(path) for path in paths]}, keep_columns)
    rows = [
        LabelRow(_normal_path(path or ""), join_cell(cell, labels), *others)
        for path, cell, *others in zip(paths, cells, patients, devices, databases, kept, strict=True)
    ]
    return rows, labels, [gap_note(label_column, word, n) for word, n in sorted(gaps.items())]


def _parse(word: str | None, words: LabelWords, where: str) -> tuple[str, ...]:
    return parse_cell(word if words.map is None else words.map.apply(word, where), where)


def match_labels(recordings: Sequence[Recording], table: LabelTable) -> Matching:
    """Give each recording the label, patient, device, database and kept cells of its row.

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
            if earlier is not row and replace(earlier, path=row.path) != row:
                told = [
                    f"row {table.rows.index(one) + 1} ('{one.path}': {', '.join(_differences(one, other, table.kept))})"
                    for one, other in ((earlier, row), (row, earlier))
                ]
                raise InputError(f"{table.source}: {' and '.join(told)} are of the same recording and disagree")
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
                database=row_found.database,
                kept=tuple(ours or theirs for ours, theirs in zip_longest(row_found.kept, recording.kept)),
            )
            matching.by_path[row_found.path] = recording
        _add(matching, recording)
    return matching


def _differences(row: LabelRow, other: LabelRow, kept: Sequence[str]) -> list[str]:
    """Return what the first of two rows says otherwise than the second; ``kept`` names the kept columns."""
    names = ("label", "patient", "device", "database", *kept)
    said, also = ((one.label, one.patient_id, one.device, one.database, *one.kept) for one in (row, other))
    return [f"{name} {mine or 'none'}" for name, mine, theirs in zip(names, said, also, strict=True) if mine != theirs]


def label_from_parent_folder(
    recordings: Sequence[Recording],
    words: LabelWords = LabelWords(),
) -> tuple[Matching, Labels]:
    """Label each recording with the name of its folder.

    Returns
    -------
    tuple[Matching, Labels]
        The recordings with their labels, and the labels that codes stand for.

    Raises
    ------
    InputError
        The name of a folder cannot be a label.
    """
    cells = [
        _parse(
            recording.uri.rpartition("/")[0].rpartition("/")[2],
            words,
            f"--label-from parent-folder: {storage.display(recording.public_uri)}",
        )
        for recording in recordings
    ]
    labels = settle_labels({name for cell in cells for name in cell}, words.declared, "--label-from parent-folder")
    matching = Matching()
    for recording, cell in zip(recordings, cells, strict=True):
        _add(matching, replace(recording, label=join_cell(cell, labels)))
    return matching, labels


def _cells(kind: type[LabelRow | Segment], rows: Sequence[object]) -> list[tuple[object, ...]]:
    """Return the values of each row, in the order of its fields."""
    values = attrgetter(*(one.name for one in fields(kind)))
    return [values(row) for row in rows]


def _add(matching: Matching, recording: Recording) -> None:
    matching.recordings.append(recording)
    if recording.label is None:
        matching.without_label.append(recording.relative_path)


def _optional(
    records: dict[str, list[str | None]], wanted: str | None, candidates: Sequence[str], source: str, option: str
) -> Sequence[str | None]:
    """Return a column; a column of None where no name is given and none of the usual names is found."""
    if wanted is None and not {name.lower() for name in records} & set(candidates):
        return [None] * len(next(iter(records.values())))
    return readable_cells(records, find_column(list(records), wanted, candidates, source, option), source)


def _keys(path: str) -> tuple[str, ...]:
    """Return what a path is matched by, the best key first; see the module's docstring."""
    name = without_query(path).rpartition("/")[2]
    return path, name, without_ending(path), without_ending(name)


def _candidates(row: LabelRow, index: Sequence[dict[str, list[int]]]) -> tuple[int, list[int]]:
    """Return the recordings that match a row by the best key for which there are any, and which key that is."""
    for level, (by_key, key) in enumerate(zip(index, _keys(row.path), strict=True)):
        if key in by_key:
            return level, by_key[key]
    return N_KEYS, []


def _path_of(recording: Recording) -> str:
    return _with_digest(_normal_path(recording.relative_path), recording.query_digest)


def _normal_path(path: str) -> str:
    """Return a path as it is compared and shown; of a web address, a digest stands for its query."""
    text = path.strip().replace("\\", "/").removeprefix("./")
    return _with_digest(public_uri(text), query_digest(text))


def _with_digest(path: str, digest: str | None) -> str:
    return path if digest is None else f"{path}?{digest}"
