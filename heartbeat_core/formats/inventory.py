"""S3 Inventory: the list of a bucket's objects that S3 itself writes daily or weekly, as a manifest.

An inventory is a ``manifest.json`` that names the data files, and those files, gzip-compressed CSV without a header
or Parquet, both in the destination bucket::

    PREFIX/SOURCE-BUCKET/CONFIG-ID/YYYY-MM-DDTHH-MMZ/manifest.json
    PREFIX/SOURCE-BUCKET/CONFIG-ID/data/UUID.csv.gz

Format: https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html. Nothing here opens a
file: bytes in, rows out. The rows of a file are decoded one after the other, since one file may list millions.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import unquote_plus

from heartbeat_core.errors import InputError
from heartbeat_core.formats.parquet import iter_parquet_rows

FileFormat = Literal["CSV", "Parquet"]

_FORMATS: dict[str, FileFormat] = {"csv": "CSV", "parquet": "Parquet"}
_BUCKET = re.compile(r"(?:arn:[a-z0-9-]+:s3:[a-z0-9-]*:[0-9]*:)?([A-Za-z0-9][A-Za-z0-9._-]*)")
"""A bucket's name, or its ARN in any partition (``arn:aws``, ``arn:aws-cn``, ``arn:aws-us-gov``)."""

_PARQUET_FIELD = re.compile(r"\b(?:required|optional|repeated)\s+\S+\s+(\w+)")

_FIELDS = ("bucket", "key", "islatest", "isdeletemarker", "size", "lastmodifieddate", "etag")
"""Fields that are read of a row, as ``_plain`` spells the names of CSV (``IsLatest``) and Parquet (``is_latest``)."""

_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class InventoryFile:
    """One data file in the destination bucket.

    Attributes
    ----------
    key : str
    size_bytes : int | None
        None if the manifest does not say it.
    md5 : str | None
        Lower-case hex; None if the manifest has none.
    """

    key: str
    size_bytes: int | None
    md5: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A ``manifest.json``.

    Attributes
    ----------
    source_bucket : str
        The bucket that is listed.
    destination_bucket : str
        The bucket of the data files.
    file_format : FileFormat
    columns : tuple[str, ...]
        The columns of the data files, in order, as the manifest spells them.
    files : tuple[InventoryFile, ...]
    """

    source_bucket: str
    destination_bucket: str
    file_format: FileFormat
    columns: tuple[str, ...]
    files: tuple[InventoryFile, ...]


@dataclass(frozen=True, slots=True)
class InventoryObject:
    """One current object of the source bucket. A field that the inventory does not have is None.

    Attributes
    ----------
    key : str
        As it is in the bucket, not URL-encoded.
    size_bytes : int | None
    etag : str | None
        Without quotes.
    modified : datetime | None
        In UTC.
    """

    key: str
    size_bytes: int | None
    etag: str | None
    modified: datetime | None


def parse_manifest(data: bytes, source: str) -> Manifest:
    """Read a ``manifest.json``.

    Parameters
    ----------
    data : bytes
        The whole file.
    source : str
        Its name, for messages.

    Raises
    ------
    InputError
        It is not the manifest of an S3 Inventory in CSV or Parquet. The message names ``source``.
    """
    try:
        # Deeply nested brackets raise a RecursionError.
        record = json.loads(data)
    except (ValueError, RecursionError):
        raise _no_manifest(source, "it is not JSON") from None
    if not isinstance(record, dict):
        raise _no_manifest(source, "it is not a JSON object")
    name = _text(record, "fileFormat", source)
    file_format = _FORMATS.get(name.lower())
    if file_format is None:
        raise InputError(
            f"{source}: an S3 Inventory in the format {name!r} cannot be read: set up the inventory in CSV or Parquet"
        )
    files = record.get("files")
    if not isinstance(files, list):
        raise _no_manifest(source, "it has no list 'files'")
    return Manifest(
        source_bucket=_bucket(record, "sourceBucket", source),
        destination_bucket=_bucket(record, "destinationBucket", source),
        file_format=file_format,
        columns=_columns(_text(record, "fileSchema", source), file_format, source),
        files=tuple(_file(entry, source) for entry in files),
    )


def read_inventory_file(manifest: Manifest, data: bytes, source: str) -> Iterator[InventoryObject]:
    """Return an iterator over the current objects that one data file lists, in the order of the file.

    Older versions and delete markers are left out. Memory does not grow with the number of rows.

    Parameters
    ----------
    manifest : Manifest
    data : bytes
        The whole file: gzip-compressed CSV, or Parquet.
    source : str
        Its name, for messages. It ends in the name by which the manifest knows the file.

    Raises
    ------
    InputError
        At once, if the bytes do not match the manifest's digest. While iterating, after the good rows, if a row is
        damaged or does not match the manifest's schema. The message names ``source``.
    """
    _check_digest(manifest, data, source)
    rows = _csv_rows if manifest.file_format == "CSV" else _parquet_rows
    return _objects(manifest, rows(manifest, data), source)


def _no_manifest(source: str, why: str) -> InputError:
    return InputError(
        f"{source}: not the manifest of an S3 Inventory: {why}; name the manifest.json that S3 wrote with the inventory"
    )


def _text(record: dict[str, Any], name: str, source: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value:
        raise _no_manifest(source, f"it has no text {name!r}")
    return value


def _bucket(record: dict[str, Any], name: str, source: str) -> str:
    text = _text(record, name, source)
    match = _BUCKET.fullmatch(text)
    if match is None:
        raise _no_manifest(source, f"{name!r} is {text!r}, which names no bucket")
    return match[1]


def _columns(schema: str, file_format: FileFormat, source: str) -> tuple[str, ...]:
    """Return the columns of a ``fileSchema``: names with commas for CSV, a Parquet message type for Parquet."""
    if file_format == "CSV":
        columns = tuple(name.strip() for name in schema.split(","))
    else:
        columns = tuple(_PARQUET_FIELD.findall(schema))
    plain = [_plain(name) for name in columns]
    missing = [name for name in ("Bucket", "Key") if _plain(name) not in plain]
    if missing:
        raise _no_manifest(source, f"its 'fileSchema' has no column {' and no '.join(missing)}")
    twice = [name for name in columns if plain.count(_plain(name)) > 1]
    if twice:
        raise _no_manifest(source, f"its 'fileSchema' has two columns {twice[0]!r}")
    return columns


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _file(entry: Any, source: str) -> InventoryFile:
    if not isinstance(entry, dict):
        raise _no_manifest(source, "an entry of its 'files' is not a JSON object")
    size, md5 = entry.get("size"), entry.get("MD5checksum")
    if size is not None and (type(size) is not int or size < 0):
        raise _no_manifest(source, f"the 'size' of a file is {size!r}")
    if md5 is not None and not isinstance(md5, str):
        raise _no_manifest(source, f"the 'MD5checksum' of a file is {md5!r}")
    return InventoryFile(_text(entry, "key", source), size, (md5 or "").strip().lower() or None)


def _check_digest(manifest: Manifest, data: bytes, source: str) -> None:
    name = source.rpartition("/")[2]
    # S3 names the files by UUIDs. A copy under another name may be any of the files in the manifest.
    named = [file for file in manifest.files if file.key.rpartition("/")[2] == name]
    expected = {file.md5 for file in named or manifest.files}
    if not expected or None in expected:
        return
    if hashlib.md5(data, usedforsecurity=False).hexdigest() not in expected:
        raise InputError(f"{source}: the file does not match its manifest (MD5): fetch both again")


def _objects(manifest: Manifest, rows: Iterator[_Row], source: str) -> Iterator[InventoryObject]:
    """Turn rows of ``_FIELDS`` into objects, and their errors into one line that names ``source``."""
    try:
        for bucket, key, is_latest, is_delete_marker, size, modified, etag in rows:
            if bucket != manifest.source_bucket:
                raise ValueError(f"a row names the bucket {bucket!r}, and the manifest {manifest.source_bucket!r}")
            if not isinstance(key, str) or not key:
                raise ValueError(f"a row has the key {key!r}")
            # An inventory of current versions only has no flags.
            if _flag(is_latest) is False or _flag(is_delete_marker):
                continue
            yield InventoryObject(key, _size_bytes(size), _etag(etag), _utc(modified))
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    except (EOFError, OSError, zlib.error, csv.Error, ValueError, OverflowError) as error:
        # No file is opened here, so that an OSError means damaged bytes.
        raise InputError(f"{source}: cannot be read as an S3 Inventory in {manifest.file_format}: {error}") from None


def _csv_rows(manifest: Manifest, data: bytes) -> Iterator[_Row]:
    if not data:
        # gzip takes an empty file for an archive without content.
        raise EOFError("the file is empty")
    places = [_plain(name) for name in manifest.columns]
    wanted = [places.index(name) if name in places else None for name in _FIELDS]
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as unzipped, io.TextIOWrapper(unzipped, "utf-8", newline="") as text:
        lines = csv.reader(text, strict=True)
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(places):
                raise ValueError(f"line {lines.line_num} has {len(cells)} cells, and the manifest {len(places)}")
            bucket, key, *rest = (None if place is None else cells[place] for place in wanted)
            yield bucket, _decode_key(key or ""), *rest


def _decode_key(text: str) -> str:
    """Return a key as it is in the bucket.

    The user guide says that in CSV "the key name is URL-encoded and must be decoded". It does not say whether a space
    is %20 or '+'. Real inventories have '+' (cloud-custodian/cloud-custodian#1997), as do the event messages of S3. A
    plus sign is %2B in both spellings, so that a '+' is always a space.
    """
    return unquote_plus(text, errors="strict")


def _parquet_rows(manifest: Manifest, data: bytes) -> Iterator[_Row]:
    spelled = {_plain(name): name for name in manifest.columns}
    present = [name for name in _FIELDS if name in spelled]
    wanted = [present.index(name) if name in present else None for name in _FIELDS]
    for row in iter_parquet_rows(data, [spelled[name] for name in present]):
        yield tuple(None if place is None else row[place] for place in wanted)


def _flag(value: Any) -> bool | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError(f"{value!r} is neither true nor false")


def _size_bytes(value: Any) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    if type(value) is int and value >= 0:
        return value
    raise ValueError(f"{value!r} is no size in bytes")


def _etag(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{value!r} is no ETag")
    return value.strip('"') or None if value else None


def _utc(value: Any) -> datetime | None:
    if value is None or value == "":
        return None
    # The error of fromisoformat names the text.
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(time, datetime):
        raise ValueError(f"{value!r} is no date")
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
