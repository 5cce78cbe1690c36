"""Inputs to recordings, and recordings to shards, in a stream.

An input is a file, a folder, a glob, any fsspec URL, a manifest (``.csv``, ``.parquet``, ``.jsonl``) with a column of
paths, or the ``manifest.json`` of an S3 Inventory. Folders, globs and inventories give the files with an audio ending;
a file that is named outright is always taken. No more than a page of what is listed is held.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import chain, islice

from heartbeat_core import storage
from heartbeat_core.errors import InputError, InputNotFound, StorageError
from heartbeat_core.formats import inventory
from heartbeat_core.formats.records import TABLE_SUFFIXES, read_records
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.storage.stores import Entry
from heartbeat_core.storage.uris import public_uri
from jobs.listing.seen import KnownRecordings
from jobs.settings import Selection

AUDIO_SUFFIXES = (
    *(".wav", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aif", ".aiff", ".au", ".snd", ".caf"),
)
PATH_COLUMNS = ("path", "uri", "url", "filename", "file", "fname", "file_name", "key")
"""Names under which a manifest's or label file's path column is found when no option says."""

INVENTORY_NAME = "manifest.json"


class Listing:
    """The recordings of all inputs, in the order of the inputs; each is given once.

    The counts grow while it is iterated over: ``n_skipped`` files without an audio ending, ``n_filtered`` recordings
    that the selection leaves out, ``n_duplicates`` recordings that were named twice.

    Raises, when iterated over:
        InputError: an input is not there, may not be read, or nothing at all was found.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        path_column: str | None = None,
        selection: Selection | None = None,
        *,
        in_process: bool = False,
    ) -> None:
        self.n_recordings = self.n_skipped = self.n_filtered = self.n_duplicates = 0
        self._inputs = inputs
        self._path_column = path_column
        self._selection = selection or Selection()
        # A process that hands nothing on may keep the secrets of an address.
        self._in_process = in_process

    def __iter__(self) -> Iterator[Recording]:
        self.n_recordings = self.n_skipped = self.n_filtered = self.n_duplicates = 0
        try:
            with KnownRecordings() as known:
                for recording in chain.from_iterable(map(self._expand, self._inputs)):
                    _check_name(recording)
                    if not known.add(recording):
                        self.n_duplicates += 1
                        continue
                    self.n_recordings += 1
                    yield recording
        except StorageError as error:
            raise InputError(str(error)) from None
        if not self.n_recordings:
            raise InputError(f"no recordings in {', '.join(self._inputs)}{self._left_out()}")

    def _left_out(self) -> str:
        told = f"; {self.n_filtered} were left out by the filters" if self.n_filtered else ""
        if self.n_skipped:
            told += f"; {self.n_skipped} other files were skipped"
        return f"{told}: audio files end in {' '.join(AUDIO_SUFFIXES)}"

    def _expand(self, text: str) -> Iterator[Recording]:
        """Yield the recordings of one input."""
        uri = storage.to_uri(text)
        _check_no_secret(uri, self._in_process)
        is_folder = storage.is_local(uri) and storage.is_folder(uri)
        if text.lower().endswith(TABLE_SUFFIXES) and not is_folder:
            yield from self._manifest(uri)
        elif uri.endswith(f"/{INVENTORY_NAME}") and not is_folder:
            yield from self._audio(_inventory(uri))
        elif is_folder or storage.is_folder(uri):
            yield from self._audio(storage.walk(uri))
        elif (found := storage.find(uri)) is not None:
            yield _recording(Entry(uri, uri.rpartition("/")[2], found.size_bytes, found.version))
        elif any(sign in text for sign in "*?["):
            entries = storage.expand_glob(uri)
            first = list(islice(entries, 1))
            if not first:
                raise InputNotFound(f"{text}: no file matches")
            yield from self._audio(chain(first, entries))
        else:
            raise InputNotFound(f"{text}: no such file or folder")

    def _audio(self, entries: Iterable[Entry]) -> Iterator[Recording]:
        for entry in entries:
            if not entry.relative_path.lower().endswith(AUDIO_SUFFIXES):
                self.n_skipped += 1
            elif not is_selected(entry, self._selection):
                self.n_filtered += 1
            else:
                yield _recording(entry)

    def _manifest(self, uri: str) -> Iterator[Recording]:
        for row, (full, path) in enumerate(_manifest_uris(uri, self._path_column)):
            shown = public_uri(full)
            if not is_selected(Entry(shown, path), self._selection):
                self.n_filtered += 1
            elif shown == full or self._in_process:
                yield Recording(full, path)
            else:
                _check_no_secret(uri, self._in_process)
                yield Recording(shown, public_uri(path), manifest=uri, manifest_row=row)


def reveal(recording: Recording, path_column: str | None, driver: str) -> Recording:
    """Return the recording with its whole address, read again from its manifest by whoever opens it.

    A process reads a manifest once for each ``driver``: the next may come with addresses that were signed anew.

    Raises
    ------
    StorageError
        The manifest does not hold it any more.
    """
    if recording.manifest is None or recording.manifest_row is None:
        return recording
    try:
        full = _whole_manifest(recording.manifest, path_column, driver)[recording.manifest_row]
    except (InputError, IndexError) as error:
        raise StorageError(f"{storage.display(recording.manifest)}: cannot be read again: {error}") from None
    if public_uri(full) != recording.uri:
        raise StorageError(f"{storage.display(recording.manifest)}: changed while the job ran")
    return replace(recording, uri=full)


def is_selected(entry: Entry, selection: Selection) -> bool:
    """Tell whether a file passes the filters; what is not known of it, as of a manifest's row, does not count."""
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
    """Return the column that was asked for, or the first of the candidates that is there, in any case.

    Raises
    ------
    InputError
        There is no such column; names those that there are.
    """
    if wanted is not None:
        if wanted in columns:
            return wanted
        raise InputError(f"{source}: no column '{wanted}'; the columns are: {', '.join(columns)}")
    by_lower = {name.lower(): name for name in reversed(columns)}
    for candidate in candidates:
        if candidate in by_lower:
            return by_lower[candidate]
    raise InputError(f"{source}: which column? Name it with {option}; the columns are: {', '.join(columns)}")


def _recording(entry: Entry) -> Recording:
    return Recording(entry.uri, entry.relative_path, entry.size_bytes, entry.version)


def _check_name(recording: Recording) -> None:
    """Refuse what no table can hold: a local file's name may be any bytes, and a row names its recording as text."""
    try:
        recording.uri.encode()
    except UnicodeEncodeError:
        name = os.fsencode(storage.display(recording.uri))
        raise InputError(f"{name!r}: the name is not valid UTF-8: rename the file") from None


def _check_no_secret(uri: str, in_process: bool) -> None:
    """Refuse an input whose address would have to be handed to the workers with its secret."""
    shown = public_uri(uri)
    if shown != uri and not in_process:
        raise InputError(
            f"{shown}: an address with a query, a password or a fragment is not handed to workers: put it in a "
            "manifest that they can read (a .csv with a column of addresses)"
        )


def _inventory(uri: str) -> Iterator[Entry]:
    """Yield the objects of an S3 Inventory, one of its files in memory at a time."""
    shown = storage.display(uri)
    try:
        manifest = inventory.parse_manifest(storage.read(uri), shown)
    except FileNotFoundError:
        raise InputError(f"{shown}: no such inventory") from None
    for file in manifest.files:
        place = _inventory_file(uri, manifest, file.key)
        try:
            data = storage.read(place)
        except FileNotFoundError:
            raise InputError(f"{storage.display(place)}: named by {shown} and not there") from None
        for found in inventory.read_inventory_file(manifest, data, storage.display(place)):
            uri_found = f"s3://{manifest.source_bucket}/{found.key}"
            yield Entry(uri_found, found.key, found.size_bytes, found.etag, found.modified)


def _inventory_file(uri: str, manifest: inventory.Manifest, key: str) -> str:
    """Return where a file of an inventory is: in its bucket, or beside a copy of the manifest on disk."""
    if storage.is_local(uri):
        return storage.join(uri.rpartition("/")[0], os.path.basename(key))
    return f"s3://{manifest.destination_bucket}/{key}"


def _manifest_uris(uri: str, path_column: str | None) -> Iterator[tuple[str, str]]:
    """Yield each row's whole address and its path as it is written there."""
    shown = storage.display(public_uri(uri))
    try:
        records = read_records(storage.read(uri), public_uri(uri)[public_uri(uri).rindex(".") :].lower(), shown)
    except FileNotFoundError:
        raise InputError(f"{shown}: no such manifest") from None
    column = find_column(list(records), path_column, PATH_COLUMNS, shown, "--path-column")
    folder = uri.rpartition("/")[0]
    for path in records[column]:
        if path is None:
            raise InputError(f"{shown}: a row has no path in the column '{column}'")
        absolute = "://" in path or path.startswith(("/", "~"))
        yield storage.to_uri(path if absolute else storage.join(folder, path)), path


@lru_cache(maxsize=1)
def _whole_manifest(uri: str, path_column: str | None, driver: str) -> list[str]:
    return [full for full, _ in _manifest_uris(uri, path_column)]
