"""Inputs to recordings, as a stream.

An input is a file, a folder, a glob, any fsspec URL, a manifest (``.csv``, ``.parquet``, ``.jsonl``) with a column of
paths, or the ``manifest.json`` of an S3 Inventory. Folders, globs and inventories give the files with an audio ending.
A file that is an input itself, or a row of a manifest, is taken whatever its ending. The list is never held as a whole.
"""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING

from heartbeat_core import storage
from heartbeat_core.errors import InputError, InputNotFound, StorageError
from heartbeat_core.formats.audio_names import AUDIO_SUFFIXES
from heartbeat_core.formats.kept import find_name
from heartbeat_core.formats.table_names import TABLE_SUFFIXES, check_is_no_list
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.storage.stores import Entry
from heartbeat_core.storage.uris import public_uri, query_digest, without_query
from heartbeat_core.wording import counted
from jobs.listing.kept import ManifestColumns, Records, kept_cells
from jobs.listing.left_out import LeftOut
from jobs.listing.seen import KnownRecordings
from jobs.settings import Selection

if TYPE_CHECKING:
    from heartbeat_core.formats import inventory

PATH_COLUMNS = ("path", "uri", "url", "filename", "file", "fname", "file_name", "key")
"""Names by which the path column of a manifest or label file is found when no option names it."""

INVENTORY_NAME = "manifest.json"
MANIFESTS_HELD = 8
"""Manifests with secrets whose addresses a process keeps in memory."""


class Listing:
    """The recordings of all inputs, in the order of the inputs; each is given once.

    Iterating over it counts what it leaves out; ``describe`` says it in words.

    Parameters
    ----------
    inputs : Sequence[str]
    path_column : str | None
        The column of paths in manifests; None finds it by its usual names.
    selection : Selection | None
        Which recordings are taken; None takes all.
    columns : ManifestColumns | None
        Which columns of manifests go along; None takes the patients, if there are any.
    in_process : bool
        The recordings stay in this process, and may keep the secrets of their addresses.

    Attributes
    ----------
    n_recordings : int
        Recordings given.
    left_out : LeftOut
        What was left out, and why.

    Raises
    ------
    InputError
        While iterating: an input does not exist or cannot be read, none of them has a recording, one recording is
        named twice with different patients or kept columns, or a column is named that no manifest can have.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        path_column: str | None = None,
        selection: Selection | None = None,
        columns: ManifestColumns | None = None,
        *,
        in_process: bool = False,
    ) -> None:
        self._inputs = inputs
        self._path_column = path_column
        self._selection = selection or Selection()
        self._columns = columns or ManifestColumns()
        self._in_process = in_process
        self._reset()

    def _reset(self) -> None:
        self.n_recordings = 0
        self.left_out = LeftOut()
        self._columns_found: dict[str, None] = {}

    def __iter__(self) -> Iterator[Recording]:
        self._reset()
        with storage.refusals_as(InputError), KnownRecordings() as known:
            for recording in chain.from_iterable(map(self._expand, self._inputs)):
                if not _is_utf8(recording.uri + recording.relative_path):
                    self.left_out.refuse_name(_printable(storage.display(recording.uri)))
                elif not known.add(recording):
                    if known.contradicts(recording):
                        raise InputError(_named_differently(recording))
                    self.left_out.n_duplicates += 1
                else:
                    self.n_recordings += 1
                    yield recording
        self._columns.check(list(self._columns_found))
        if self._path_column is not None and not self._columns_found:
            raise InputError(
                f"--path-column {self._path_column}: no input is a manifest ({', '.join(TABLE_SUFFIXES)}): leave it out"
            )
        if not self.n_recordings:
            left_out = "".join(f"; {part}" for part in self.left_out.describe())
            raise InputError(
                f"no recordings in {', '.join(map(public_uri, self._inputs))}{left_out}: "
                f"audio files end in {' '.join(AUDIO_SUFFIXES)}"
            )

    def describe(self, *, with_names: bool = True) -> str:
        """Return what was listed and what was left out, in one line, once the recordings were iterated over.

        Parameters
        ----------
        with_names : bool
            As of ``LeftOut.describe``.
        """
        left_out = self.left_out.describe(with_names=with_names)
        return ", ".join([f"{counted(self.n_recordings, 'recording')} listed", *left_out])

    def _expand(self, text: str) -> Iterator[Recording]:
        """Yield the recordings of one input."""
        if not _is_utf8(text):
            raise InputError(f"{_printable(text)}: the name is not valid UTF-8: rename it")
        uri = storage.to_uri(text)
        _check_no_secret(uri, self._in_process)
        # The query of a web address says nothing about the kind of its file, and its '?' is no wildcard.
        path = without_query(uri)
        is_folder = storage.is_local(uri) and storage.is_folder(uri)
        if path.lower().endswith(TABLE_SUFFIXES) and not is_folder:
            yield from self._manifest(uri)
        elif path.endswith(f"/{INVENTORY_NAME}") and not is_folder:
            yield from self._audio(_inventory(uri))
        elif is_folder or storage.is_folder(uri):
            yield from self._audio(storage.walk(uri, with_unlisted=True))
        elif (found := storage.find(uri)) is not None:
            check_is_no_list(path, public_uri(text))
            yield self._recording(replace(found, uri=uri, relative_path=path.rpartition("/")[2]))
        elif any(sign in path for sign in "*?["):
            entries = storage.expand_glob(uri)
            first = list(islice(entries, 1))
            if not first:
                raise InputNotFound(f"{public_uri(text)}: no file matches (folders do not count: add '/*' or '/**/*')")
            yield from self._audio(chain(first, entries))
        else:
            raise InputNotFound(f"{public_uri(text)}: no such file or folder")

    def _audio(self, entries: Iterable[Entry]) -> Iterator[Recording]:
        for entry in entries:
            if entry.is_unlisted:
                self._leave_out(entry)
            elif entry.is_special:
                self.left_out.n_special += 1
            elif not entry.relative_path.lower().endswith(AUDIO_SUFFIXES):
                self.left_out.skip(entry.relative_path)
            elif not is_selected(entry, self._selection):
                self.left_out.n_filtered += 1
            else:
                yield self._recording(entry)

    def _leave_out(self, folder: Entry) -> None:
        """Count a folder that cannot be read as left out; raise InputError unless the filters exclude what it holds."""
        if not any(fnmatchcase(folder.relative_path, pattern) for pattern in self._selection.exclude):
            raise InputError(
                f"{storage.display(folder.uri)}: may not be listed: make it readable, or leave it out: --exclude "
                f"{shlex.quote(glob.escape(folder.relative_path) + '*')}"
            )
        self.left_out.n_filtered += 1

    def _recording(self, entry: Entry) -> Recording:
        kept = (None,) * len(self._columns.keep)
        return Recording(
            entry.uri, entry.relative_path, entry.size_bytes, entry.version, modified=entry.modified, kept=kept
        )

    def _manifest(self, uri: str) -> Iterator[Recording]:
        records, path_column = _read_manifest(uri, self._path_column)
        self._columns_found |= dict.fromkeys(records)
        records = self._columns.settled(records, storage.display(public_uri(uri)))
        patients, keep = self._columns.patients(records), self._columns.keep
        # The column of paths may hold secrets, so that it is kept as it is shown.
        of_paths = [find_name(list(records), name) == path_column for name in keep]
        rows = zip(_addresses(uri, records[path_column]), patients, kept_cells(records, keep), strict=True)
        for row, (found, patient, cells) in enumerate(rows):
            if found is None:
                self.left_out.rows_without_path.setdefault(storage.display(public_uri(uri)), []).append(row + 1)
                continue
            full, path = found
            shown, entry = public_uri(full), storage.describe(full, path)
            if not is_selected(entry, self._selection):
                self.left_out.n_filtered += 1
                continue
            listed = Recording(full, path, entry.size_bytes, entry.version, modified=entry.modified)
            if shown != full and not self._in_process:
                _check_no_secret(uri, self._in_process)
                place, digest = _public_path(path, shown, uri), query_digest(full)
                listed = Recording(shown, place, manifest=uri, manifest_row=row, query_digest=digest)
            kept = [listed.relative_path if is_path else cell for is_path, cell in zip(of_paths, cells, strict=True)]
            yield replace(listed, patient_id=patient, kept=tuple(kept))


def reveal(recording: Recording, path_column: str | None, driver: str) -> Recording:
    """Return the recording with its whole address, which this process reads again from the manifest.

    A process keeps what it has read for as long as ``driver`` is the same. The next driver may come with addresses that
    were signed again.

    Parameters
    ----------
    recording : Recording
        One whose address is whole already is returned as it is.
    path_column : str | None
        As of ``Listing``.
    driver : str
        What tells the driver of this job from the next.

    Raises
    ------
    StorageError
        The manifest no longer contains the address, or cannot be read again.
    """
    if recording.manifest is None or recording.manifest_row is None:
        return recording
    shown = storage.display(recording.manifest)
    try:
        full = _whole_addresses(recording.manifest, path_column, driver)[recording.manifest_row]
    except (InputError, IndexError) as error:
        raise StorageError(f"{shown}: cannot be read again: {error}") from None
    if full is None or public_uri(full) != recording.uri or recording.query_digest not in (None, query_digest(full)):
        raise StorageError(f"{shown}: changed while the job ran")
    return replace(recording, uri=full)


def is_selected(entry: Entry, selection: Selection) -> bool:
    """Tell whether a file passes the filters. A filter by size or time does not apply where these are unknown."""
    path = entry.relative_path
    if selection.include and not any(fnmatchcase(path, pattern) for pattern in selection.include):
        return False
    if any(fnmatchcase(path, pattern) for pattern in selection.exclude):
        return False
    if entry.size_bytes is not None:
        if selection.min_size is not None and entry.size_bytes < selection.min_size:
            return False
        if selection.max_size is not None and entry.size_bytes > selection.max_size:
            return False
    if entry.modified is not None:
        if selection.since is not None and entry.modified < selection.since:
            return False
        if selection.before is not None and entry.modified >= selection.before:
            return False
    return True


def find_column(columns: Sequence[str], wanted: str | None, candidates: Sequence[str], source: str, option: str) -> str:
    """Return the column ``wanted``, or the first candidate that is a column; both in small or capital letters.

    Parameters
    ----------
    columns : Sequence[str]
        The names of a table's columns.
    wanted : str | None
        The name that the user gave; None looks for the candidates.
    candidates : Sequence[str]
        The usual names, in small letters.
    source, option : str
        The table, and the option that names the column, for messages.

    Raises
    ------
    InputError
        There is no such column. The message names the columns.
    """
    if wanted is not None:
        if (found := find_name(columns, wanted.strip())) is not None:
            return found
        raise InputError(f"{source}: no column '{wanted}'; the columns are: {', '.join(columns)}")
    by_lower = {name.lower(): name for name in reversed(columns)}
    for candidate in candidates:
        if candidate in by_lower:
            return by_lower[candidate]
    raise InputError(f"{source}: which column? Name it with {option}; the columns are: {', '.join(columns)}")


def _named_differently(recording: Recording) -> str:
    """Return why a recording cannot be taken as it was named first: what is said of it now would be lost."""
    return (
        f"{storage.display(recording.public_uri)} is named twice, and not with the same patient and kept columns: "
        "correct the tables that name it, and give tables before folders"
    )


def _is_utf8(text: str) -> bool:
    """Tell whether a table can hold a name: on disk, a name may be any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(text: str) -> str:
    """Return a text with an escape in place of each byte that is not UTF-8."""
    escaped = "".join(f"\\x{ord(sign) - 0xDC00:02x}" if "\udc80" <= sign <= "\udcff" else sign for sign in text)
    return escaped.encode("utf-8", "backslashreplace").decode()


def _check_no_secret(uri: str, in_process: bool) -> None:
    """Refuse an input whose secret would have to be sent to the workers."""
    shown = public_uri(uri)
    if shown != uri and not in_process:
        raise InputError(
            f"{shown}: an address with a query, a password or a fragment is not sent to workers: put it in a "
            "manifest that they can read (a .csv with a column of addresses)"
        )


def _inventory(uri: str) -> Iterator[Entry]:
    """Yield the objects of an S3 Inventory, with one of its files in memory at a time."""
    from heartbeat_core.formats import inventory  # Loaded here because files and folders do without pyarrow.

    shown = storage.display(public_uri(uri))
    try:
        manifest = inventory.parse_manifest(storage.read(uri), shown)
    except FileNotFoundError:
        raise InputError(f"{shown}: no such inventory") from None
    for file in manifest.files:
        place = _inventory_file(uri, manifest, file.key)
        try:
            data = storage.read(place)
        except FileNotFoundError:
            raise InputError(f"{storage.display(place)}: does not exist, but {shown} names it") from None
        for found in inventory.read_inventory_file(manifest, data, storage.display(place)):
            uri_found = f"s3://{manifest.source_bucket}/{found.key}"
            yield Entry(uri_found, found.key, found.size_bytes, found.etag, found.modified)


def _inventory_file(uri: str, manifest: inventory.Manifest, key: str) -> str:
    """Return where a file of an inventory is: in its bucket, or beside the manifest where that is a local copy."""
    if storage.is_local(uri):
        return storage.join(uri.rpartition("/")[0], os.path.basename(key))
    return f"s3://{manifest.destination_bucket}/{key}"


def _read_manifest(uri: str, path_column: str | None) -> tuple[Records, str]:
    """Return a manifest, and the name of its column of paths."""
    from heartbeat_core.formats.records import read_records  # Loaded here because files and folders do without pyarrow.

    shown = storage.display(public_uri(uri))
    path = without_query(uri)
    try:
        records = read_records(storage.read(uri), path[path.rindex(".") :].lower(), shown)
    except FileNotFoundError:
        raise InputError(f"{shown}: no such manifest") from None
    return records, find_column(list(records), path_column, PATH_COLUMNS, shown, "--path-column")


def _addresses(uri: str, paths: Iterable[str | None]) -> Iterator[tuple[str, str] | None]:
    """Yield the whole address of each row and its path as it is written there, None for a row without a path."""
    folder = without_query(uri).rpartition("/")[0]
    for row, text in enumerate(paths, 1):
        if text is None or not text.strip():
            yield None
            continue
        place = text if "://" in text or text.startswith(("/", "~")) else storage.join(folder, text)
        try:
            yield storage.to_uri(place), text
        except InputError as error:
            raise InputError(f"{storage.display(public_uri(uri))}, row {row}: {error}") from None


@lru_cache(maxsize=MANIFESTS_HELD)
def _whole_addresses(manifest: str, path_column: str | None, driver: str) -> list[str | None]:
    """Return the whole address of each row of a manifest."""
    records, column = _read_manifest(manifest, path_column)
    return [None if row is None else row[0] for row in _addresses(manifest, records[column])]


def _public_path(path: str, shown: str, manifest: str) -> str:
    """Return the path of a row without its secret; ``shown`` is its whole address without it."""
    folder = public_uri(without_query(manifest).rpartition("/")[0])
    return public_uri(path) if "://" in path else shown.removeprefix(f"{folder}/")
