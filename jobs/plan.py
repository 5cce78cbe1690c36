"""Inputs to recordings, and recordings to shards.

An input is a file, a folder, a glob, any fsspec URL, or a manifest (``.csv``, ``.parquet``, ``.jsonl``) with a column
of paths. Folders and globs give the files with an audio ending; a file that is named outright is always taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from heartbeat_core import storage
from heartbeat_core.errors import InputError, StorageError
from heartbeat_core.recording import Recording
from heartbeat_core.tables import TABLE_SUFFIXES, read_records
from jobs.settings import ShardSettings

AUDIO_SUFFIXES = (
    *(".wav", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aif", ".aiff", ".au", ".snd", ".caf"),
)
PATH_COLUMNS = ("path", "uri", "url", "filename", "file", "fname", "file_name", "key")
"""Names under which a manifest's or label file's path column is found when no option says."""

UNKNOWN_SIZE_BYTES = 2**20
SMALLEST_SHARD = 8
"""Recordings below which cutting finer costs more in tasks and parts than it gains."""


@dataclass
class Listing:
    """What the inputs hold.

    ``n_skipped`` counts files without an audio ending, ``n_duplicates`` recordings that were named twice.
    """

    recordings: list[Recording] = field(default_factory=list)
    n_skipped: int = 0
    n_duplicates: int = 0


def list_inputs(inputs: Sequence[str], path_column: str | None = None) -> Listing:
    """List the recordings of all inputs, in the order of the inputs and of the paths within them.

    Raises:
        InputError: an input is not there, may not be read, or nothing at all was found.
    """
    listing = Listing()
    seen: set[str] = set()
    try:
        for recording in chain.from_iterable(_expand(text, path_column) for text in inputs):
            if recording is None:
                listing.n_skipped += 1
            elif recording.public_uri in seen:
                listing.n_duplicates += 1
            else:
                _check_name(recording)
                seen.add(recording.public_uri)
                listing.recordings.append(recording)
    except StorageError as error:
        raise InputError(str(error)) from None
    if not listing.recordings:
        skipped = f"; {listing.n_skipped} other files were skipped" if listing.n_skipped else ""
        raise InputError(
            f"no recordings in {', '.join(inputs)}{skipped}: audio files end in {' '.join(AUDIO_SUFFIXES)}"
        )
    return listing


def make_shards(recordings: Sequence[Recording], settings: ShardSettings) -> list[list[Recording]]:
    """Group recordings, in order, into shards of bounded count and bytes.

    A short list is cut finer than the bound, so that several workers share it. The shards depend on the list and the
    settings alone, never on the cluster.
    """
    finer = max(SMALLEST_SHARD, -(-len(recordings) // settings.recordings))
    n_recordings = min(settings.recordings, finer)
    shards: list[list[Recording]] = []
    shard_bytes = 0
    for recording in recordings:
        size = UNKNOWN_SIZE_BYTES if recording.size_bytes is None else recording.size_bytes
        if not shards or len(shards[-1]) >= n_recordings or shard_bytes + size > settings.bytes:
            shards.append([])
            shard_bytes = 0
        shards[-1].append(recording)
        shard_bytes += size
    return shards


def find_column(columns: Sequence[str], wanted: str | None, candidates: Sequence[str], source: str, option: str) -> str:
    """Return the column that was asked for, or the first of the candidates that is there, in any case.

    Raises:
        InputError: there is no such column; names those that there are.
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


def _expand(text: str, path_column: str | None) -> Iterator[Recording | None]:
    """Yield the recordings of one input, and None for each file that is skipped."""
    uri = storage.to_uri(text)
    is_folder = storage.is_local(uri) and storage.is_folder(uri)
    if text.lower().endswith(TABLE_SUFFIXES) and not is_folder:
        yield from _read_manifest(uri, path_column)
    elif is_folder or storage.is_folder(uri):
        yield from map(_audio_only, storage.walk(uri))
    elif storage.exists(uri):
        yield Recording(uri, uri.rpartition("/")[2], storage.size(uri))
    elif any(sign in text for sign in "*?["):
        found = storage.expand_glob(uri)
        if not found:
            raise InputError(f"{text}: no file matches")
        yield from map(_audio_only, found)
    else:
        raise InputError(f"{text}: no such file or folder")


def _audio_only(entry: storage.Entry) -> Recording | None:
    if not entry.relative_path.lower().endswith(AUDIO_SUFFIXES):
        return None
    return Recording(entry.uri, entry.relative_path, entry.size_bytes)


def _check_name(recording: Recording) -> None:
    """Refuse what no table can hold: a local file's name may be any bytes, and a row names its recording as text."""
    try:
        recording.uri.encode()
    except UnicodeEncodeError:
        name = os.fsencode(storage.display(recording.uri))
        raise InputError(f"{name!r}: the name is not valid UTF-8: rename the file") from None


def _read_manifest(uri: str, path_column: str | None) -> Iterator[Recording]:
    shown = storage.display(uri)
    try:
        records = read_records(storage.read(uri), uri[uri.rindex(".") :].lower(), shown)
    except FileNotFoundError:
        raise InputError(f"{shown}: no such manifest") from None
    column = find_column(list(records), path_column, PATH_COLUMNS, shown, "--path-column")
    folder = uri.rpartition("/")[0]
    for path in records[column]:
        if path is None:
            raise InputError(f"{shown}: a row has no path in the column '{column}'")
        absolute = "://" in path or path.startswith(("/", "~"))
        yield Recording(storage.to_uri(path if absolute else storage.join(folder, path)), path)
