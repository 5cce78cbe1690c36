"""S3 Inventories, made here as the S3 User Guide documents them, and read back."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat_core.errors import InputError
from heartbeat_core.formats.inventory import (
    InventoryFile,
    InventoryObject,
    Manifest,
    parse_manifest,
    read_inventory_file,
)

BUCKET = "example-source-bucket"
NAME = "939c6d46-85a9-4ba8-87bd-9db705a579ce"
CSV_SCHEMA = (
    "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass, "
    "IsMultipartUploaded, ReplicationStatus, EncryptionStatus, ObjectLockRetainUntilDate, ObjectLockMode, "
    "ObjectLockLegalHoldStatus, IntelligentTieringAccessTier, BucketKeyStatus, ChecksumAlgorithm"
)
PARQUET_SCHEMA = (
    "message s3.inventory { required binary bucket (UTF8); required binary key (UTF8); "
    "optional binary version_id (UTF8); optional boolean is_latest; optional boolean is_delete_marker; "
    "optional int64 size; optional int64 last_modified_date (TIMESTAMP_MILLIS); optional binary e_tag (UTF8); "
    "optional binary storage_class (UTF8); optional boolean is_multipart_uploaded; }"
)
PARQUET_COLUMNS = (
    *("bucket", "key", "version_id", "is_latest", "is_delete_marker", "size", "last_modified_date", "e_tag"),
    *("storage_class", "is_multipart_uploaded"),
)
ARROW_SCHEMA = pa.schema(
    [
        pa.field("bucket", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("version_id", pa.string()),
        pa.field("is_latest", pa.bool_()),
        pa.field("is_delete_marker", pa.bool_()),
        pa.field("size", pa.int64()),
        pa.field("last_modified_date", pa.timestamp("ms", "UTC")),
        pa.field("e_tag", pa.string()),
        pa.field("storage_class", pa.string()),
        pa.field("is_multipart_uploaded", pa.bool_()),
    ]
)

WHEN = datetime(2024, 2, 29, 23, 59, 58, 123_000, UTC)
ETAG = "d41d8cd98f00b204e9800998ecf8427e-3"
ODD_KEYS = [
    "a.wav",
    "with space.wav",
    "1+1.wav",
    "1 + 1.wav",
    "100%.wav",
    "%20.wav",
    "%2B.wav",
    "ä ü/心音.wav",
    "😀.wav",
    "line\nbreak\r\n.wav",
    'a "quoted", name.wav',
    "it's.wav",
    "a//b.wav",
    "../up.wav",
    "a/../../b/./c.wav",
    "/leading.wav",
    "folder/",
    " ",
    "+",
    "%",
    "\x00\x01\x7f",
    "\u2028\u0085",
    "?a=b&c#d;e",
    "back\\slash",
]

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


def manifest_record(file_format: str = "CSV", **changes: Any) -> dict[str, Any]:
    """Return a manifest as in the user guide's examples; a change to ``...`` leaves the entry out."""
    ending, schema = {"CSV": (".csv.gz", CSV_SCHEMA), "Parquet": (".parquet", PARQUET_SCHEMA)}.get(
        file_format, (".orc", "struct<bucket:string,key:string>")
    )
    record = {
        "sourceBucket": BUCKET,
        "destinationBucket": "arn:aws:s3:::example-inventory-destination-bucket",
        "version": "2016-11-30",
        "creationTimestamp": "1514944800000",
        "fileFormat": file_format,
        "fileSchema": schema,
        "files": [{"key": f"Inventory/{BUCKET}/data/{NAME}{ending}", "size": 2147483647}],
    }
    return {name: value for name, value in (record | changes).items() if value is not ...}


def parse(record: Any) -> Manifest:
    return parse_manifest(json.dumps(record).encode(), "s3://d/manifest.json")


CSV_MANIFEST = parse(manifest_record())
PARQUET_MANIFEST = parse(manifest_record("Parquet"))


def csv_file(rows: list[list[str]]) -> bytes:
    """Return a data file: every cell quoted, no header, LF, gzip."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return gzip.compress(text.getvalue().encode("utf-8"), mtime=0)


def csv_row(key: str, encode: Callable[[str], str] = quote_plus, **changes: str) -> list[str]:
    cells = dict.fromkeys(CSV_SCHEMA.split(", "), "")
    cells |= {"Bucket": BUCKET, "Key": encode(key), "VersionId": "L4kqtJlcpXroDTDmpUMLUo", "IsLatest": "true"}
    cells |= {"IsDeleteMarker": "false", "Size": "1024", "LastModifiedDate": "2024-02-29T23:59:58.123Z", "ETag": ETAG}
    return list((cells | {"StorageClass": "STANDARD"} | changes).values())


def parquet_row(key: str, **changes: Any) -> dict[str, Any]:
    row = {"bucket": BUCKET, "key": key, "version_id": "L4kqtJlcpXroDTDmpUMLUo", "is_latest": True}
    row |= {"is_delete_marker": False, "size": 1024, "last_modified_date": WHEN, "e_tag": ETAG}
    return row | {"storage_class": "STANDARD", "is_multipart_uploaded": False} | changes


def parquet_file(rows: list[dict[str, Any]], schema: pa.Schema = ARROW_SCHEMA, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink, **{"compression": "snappy"} | options)
    return sink.getvalue()


def read(manifest: Manifest, data: bytes, source: str = "s3://d/the file") -> list[InventoryObject]:
    return list(read_inventory_file(manifest, data, source))


def read_csv(*rows: list[str]) -> list[InventoryObject]:
    return read(CSV_MANIFEST, csv_file(list(rows)))


def read_parquet(*rows: dict[str, Any]) -> list[InventoryObject]:
    return read(PARQUET_MANIFEST, parquet_file(list(rows)))


def assert_refused(manifest: Manifest, data: bytes, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read(manifest, data)
    text = str(caught.value)
    assert text.startswith("s3://d/the file: ")
    assert told in text
    assert "\n" not in text


# --- the manifest ---


def test_a_csv_manifest() -> None:
    files = [
        {"key": "i/data/1.csv.gz", "size": 2147483647, "MD5checksum": "F11166069F1990ABEB9C97ACE9CDFABC"},
        {"key": "i/data/2.csv.gz"},
    ]
    assert parse(manifest_record(files=files)) == Manifest(
        source_bucket=BUCKET,
        destination_bucket="example-inventory-destination-bucket",
        file_format="CSV",
        columns=tuple(CSV_SCHEMA.split(", ")),
        files=(
            InventoryFile("i/data/1.csv.gz", 2147483647, "f11166069f1990abeb9c97ace9cdfabc"),
            InventoryFile("i/data/2.csv.gz", None, None),
        ),
    )


def test_a_parquet_manifest() -> None:
    assert PARQUET_MANIFEST.file_format == "Parquet"
    assert PARQUET_MANIFEST.columns == PARQUET_COLUMNS


def test_an_inventory_of_nothing_has_no_files() -> None:
    assert parse(manifest_record(files=[])).files == ()


@pytest.mark.parametrize(
    ("text", "bucket"),
    [
        ("name-1.of_it", "name-1.of_it"),
        ("arn:aws:s3:::name", "name"),
        ("arn:aws-cn:s3:::name", "name"),
        ("arn:aws-us-gov:s3:::name", "name"),
        ("arn:aws-iso-b:s3:::name", "name"),
    ],
)
def test_buckets_by_name_and_by_arn(text: str, bucket: str) -> None:
    manifest = parse(manifest_record(sourceBucket=text, destinationBucket=text))
    assert (manifest.source_bucket, manifest.destination_bucket) == (bucket, bucket)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sourceBucket": ...}, "it has no text 'sourceBucket'"),
        ({"sourceBucket": ""}, "it has no text 'sourceBucket'"),
        ({"sourceBucket": 7}, "it has no text 'sourceBucket'"),
        ({"sourceBucket": "s3://bucket"}, "'sourceBucket' is 's3://bucket', which names no bucket"),
        ({"sourceBucket": "arn:aws:sns:::topic"}, "'sourceBucket' is 'arn:aws:sns:::topic', which names no bucket"),
        ({"destinationBucket": ...}, "it has no text 'destinationBucket'"),
        ({"destinationBucket": "a/b"}, "'destinationBucket' is 'a/b', which names no bucket"),
        ({"destinationBucket": ".."}, "'destinationBucket' is '..', which names no bucket"),
        ({"destinationBucket": "a\nb"}, r"'destinationBucket' is 'a\nb', which names no bucket"),
        ({"fileFormat": ...}, "it has no text 'fileFormat'"),
        ({"fileSchema": ...}, "it has no text 'fileSchema'"),
        ({"fileSchema": ["Bucket", "Key"]}, "it has no text 'fileSchema'"),
        ({"fileSchema": "Bucket, Size"}, "its 'fileSchema' has no column Key"),
        ({"fileSchema": "Size"}, "its 'fileSchema' has no column Bucket and no Key"),
        ({"fileSchema": "Bucket, Key, Size, Key"}, "its 'fileSchema' has two columns 'Key'"),
        ({"fileFormat": "Parquet"}, "its 'fileSchema' has no column Bucket and no Key"),
        ({"files": ...}, "it has no list 'files'"),
        ({"files": {}}, "it has no list 'files'"),
        ({"files": ["a.csv.gz"]}, "an entry of its 'files' is not a JSON object"),
        ({"files": [{"size": 3}]}, "it has no text 'key'"),
        ({"files": [{"key": "a", "size": "3"}]}, "the 'size' of a file is '3'"),
        ({"files": [{"key": "a", "size": True}]}, "the 'size' of a file is True"),
        ({"files": [{"key": "a", "size": -1}]}, "the 'size' of a file is -1"),
        ({"files": [{"key": "a", "MD5checksum": 5}]}, "the 'MD5checksum' of a file is 5"),
    ],
)
def test_a_manifest_that_lacks_something(changes: dict[str, Any], told: str) -> None:
    assert_no_manifest(json.dumps(manifest_record(**changes)).encode(), told)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "it is not JSON"),
        (b"path,label\na,b\n", "it is not JSON"),
        (b"\xff\xfe\xff", "it is not JSON"),
        (json.dumps(manifest_record()).encode()[:-1], "it is not JSON"),
        (b"[" * 200_000, "it is not JSON"),
        (b"[]", "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (b"{}", "it has no text 'fileFormat'"),
        (b'{"name": "My App", "icons": [], "manifest_version": 3}', "it has no text 'fileFormat'"),
    ],
)
def test_what_is_no_manifest(data: bytes, told: str) -> None:
    assert_no_manifest(data, told)


def assert_no_manifest(data: bytes, told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_manifest(data, "s3://d/manifest.json")
    assert str(caught.value) == (
        f"s3://d/manifest.json: not the manifest of an S3 Inventory: {told}; "
        "name the manifest.json that S3 wrote with the inventory"
    )


@pytest.mark.parametrize("name", ["ORC", "Avro"])
def test_other_formats_are_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(
        InputError, match=rf"^s3://d/manifest.json: .* '{name}' cannot be read: set up the inventory in CSV or Parquet$"
    ):
        parse(manifest_record(name))


# --- rows ---


def test_a_whole_row_of_csv() -> None:
    assert read_csv(csv_row("a.wav")) == [InventoryObject("a.wav", 1024, ETAG, WHEN)]


def test_a_whole_row_of_parquet() -> None:
    assert read_parquet(parquet_row("a.wav")) == [InventoryObject("a.wav", 1024, ETAG, WHEN)]


def test_no_rows() -> None:
    assert read_csv() == []
    assert read_parquet() == []


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys(key: str) -> None:
    assert [found.key for found in read_csv(csv_row(key), csv_row(key, quote))] == [key, key]
    assert [found.key for found in read_parquet(parquet_row(key))] == [key]


def test_a_key_in_csv_is_decoded_and_one_in_parquet_is_not() -> None:
    assert read_csv(csv_row("a+b%20c%2Bd", str))[0].key == "a b c+d"
    assert read_parquet(parquet_row("a+b%20c%2Bd"))[0].key == "a+b%20c%2Bd"


def test_a_line_break_that_was_quoted_and_not_encoded_stays() -> None:
    assert [found.key for found in read_csv(csv_row("a\r\nb\nc\rd", str), csv_row("e"))] == ["a\r\nb\nc\rd", "e"]


@given(st.lists(keys, max_size=8), st.sampled_from([quote_plus, quote]))
@settings(max_examples=100)
def test_any_keys_come_back(listed: list[str], encode: Callable[[str], str]) -> None:
    in_csv = csv_file([csv_row(key, encode) for key in listed])
    assert [found.key for found in read(CSV_MANIFEST, in_csv)] == listed
    in_parquet = parquet_file([parquet_row(key) for key in listed])
    assert [found.key for found in read(PARQUET_MANIFEST, in_parquet)] == listed


@given(
    st.lists(st.tuples(*[st.sampled_from(["true", "false", ""])] * 2, st.sampled_from(["", "0", "17"])), max_size=12)
)
@settings(max_examples=100)
def test_both_formats_agree_with_a_plain_reading(rows: list[tuple[str, str, str]]) -> None:
    data = csv_file(
        [csv_row(f"{i}", IsLatest=row[0], IsDeleteMarker=row[1], Size=row[2]) for i, row in enumerate(rows)]
    )
    expected = [
        (cells[1], int(cells[5]) if cells[5] else None)
        for cells in csv.reader(io.StringIO(gzip.decompress(data).decode()))
        if cells[3] != "false" and cells[4] != "true"
    ]
    assert [(found.key, found.size_bytes) for found in read(CSV_MANIFEST, data)] == expected
    flag = {"true": True, "false": False, "": None}
    as_parquet = [
        parquet_row(f"{i}", is_latest=flag[row[0]], is_delete_marker=flag[row[1]], size=int(row[2]) if row[2] else None)
        for i, row in enumerate(rows)
    ]
    assert [(found.key, found.size_bytes) for found in read_parquet(*as_parquet)] == expected


def test_older_versions_and_delete_markers_are_left_out() -> None:
    # A delete marker that is the latest version: the object is gone, and its older version is no object either.
    in_csv = read_csv(
        csv_row("now", IsLatest="True"),
        csv_row("now", IsLatest="False"),
        csv_row("gone", IsDeleteMarker="true", Size="", ETag=""),
        csv_row("gone", IsLatest="false"),
        csv_row("last"),
    )
    in_parquet = read_parquet(
        parquet_row("now"),
        parquet_row("now", is_latest=False),
        parquet_row("gone", is_delete_marker=True, size=None, e_tag=None),
        parquet_row("gone", is_latest=False),
        parquet_row("last"),
    )
    assert [found.key for found in in_csv] == [found.key for found in in_parquet] == ["now", "last"]


def test_fields_without_a_value() -> None:
    nothing = [InventoryObject("a", None, None, None)]
    assert read_csv(csv_row("a", IsLatest="", IsDeleteMarker="", Size="", LastModifiedDate="", ETag="")) == nothing
    row = parquet_row("a", is_latest=None, is_delete_marker=None, size=None, last_modified_date=None, e_tag=None)
    assert read_parquet(row) == nothing


def test_a_list_of_keys_alone() -> None:
    manifest = parse(manifest_record(fileSchema="Bucket, Key"))
    assert read(manifest, csv_file([[BUCKET, "a+b"]])) == [InventoryObject("a b", None, None, None)]
    schema = "message s3.inventory { required binary bucket (UTF8); required binary key (UTF8); }"
    manifest = parse(manifest_record("Parquet", fileSchema=schema))
    data = parquet_file([{"bucket": BUCKET, "key": "a+b"}], pa.schema([("bucket", "string"), ("key", "string")]))
    assert read(manifest, data) == [InventoryObject("a+b", None, None, None)]


def test_columns_are_found_by_the_manifest_in_any_order() -> None:
    manifest = parse(manifest_record(fileSchema="ETag,Size ,Key,StorageClass,Bucket,LastModifiedDate"))
    data = csv_file([[ETAG, "5", "k", "STANDARD", BUCKET, "2024-02-29T23:59:58.123Z"]])
    assert read(manifest, data) == [InventoryObject("k", 5, ETAG, WHEN)]
    turned = pa.schema(list(reversed(ARROW_SCHEMA)))
    assert read(PARQUET_MANIFEST, parquet_file([parquet_row("k")], turned)) == [InventoryObject("k", 1024, ETAG, WHEN)]


def test_etags_lose_their_quotes() -> None:
    assert read_csv(csv_row("a", ETag=f'"{ETAG}"'))[0].etag == ETAG
    assert read_parquet(parquet_row("a", e_tag=f'"{ETAG}"'))[0].etag == ETAG
    assert read_csv(csv_row("a", ETag='""'))[0].etag is None


@pytest.fixture
def _far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the machine's own time zone, which must not matter."""
    monkeypatch.setenv("TZ", "XYZ-7")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_from_utc")
@pytest.mark.parametrize(
    "text", ["2024-02-29T23:59:58.123Z", "2024-02-29T23:59:58.123", "2024-03-01T01:59:58.123+02:00"]
)
def test_dates_in_csv_are_utc(text: str) -> None:
    found = read_csv(csv_row("a", LastModifiedDate=text))[0].modified
    assert found == WHEN
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.usefixtures("_far_from_utc")
@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("zone", ["UTC", None, "+02:00"])
def test_dates_in_parquet_are_utc(unit: str, zone: str | None) -> None:
    type_ = pa.timestamp(unit, zone)
    schema = ARROW_SCHEMA.set(6, pa.field("last_modified_date", type_))
    when = WHEN.replace(tzinfo=None) if zone is None else WHEN.astimezone(timezone(timedelta(hours=2)))
    found = read(PARQUET_MANIFEST, parquet_file([parquet_row("a", last_modified_date=when)], schema))[0].modified
    assert found == WHEN
    assert found is not None
    assert found.tzinfo is UTC


def test_dates_of_older_writers_of_parquet() -> None:
    data = parquet_file([parquet_row("a")], use_deprecated_int96_timestamps=True)
    found = read(PARQUET_MANIFEST, data)[0].modified
    assert found == WHEN
    # And no Timestamp of pandas, which Arrow makes of nanoseconds where pandas is installed.
    assert type(found) is datetime


def test_sizes_beyond_32_bits() -> None:
    assert read_csv(csv_row("a", Size=str(5 * 2**40)))[0].size_bytes == 5 * 2**40
    assert read_parquet(parquet_row("a", size=5 * 2**40))[0].size_bytes == 5 * 2**40


# --- the file against its manifest ---


def with_digests(*digests: str | None) -> Manifest:
    files = [{"key": f"i/data/{i}.csv.gz", "size": 1, "MD5checksum": digest} for i, digest in enumerate(digests)]
    return parse(manifest_record(files=files))


DATA = csv_file([csv_row("a")])
DIGEST = hashlib.md5(DATA).hexdigest()
OTHER = hashlib.md5(b"other").hexdigest()


@pytest.mark.parametrize(
    ("digests", "source"),
    [
        ((DIGEST,), "s3://d/i/data/0.csv.gz"),
        ((DIGEST.upper(),), "/copied/0.csv.gz"),
        ((OTHER, DIGEST), "1.csv.gz"),
        ((OTHER, DIGEST), "under another name"),
        ((None,), "s3://d/i/data/0.csv.gz"),
        (("",), "s3://d/i/data/0.csv.gz"),
        ((OTHER, None), "s3://d/i/data/1.csv.gz"),
        ((), "s3://d/i/data/0.csv.gz"),
    ],
)
def test_the_file_matches_its_manifest(digests: tuple[str | None, ...], source: str) -> None:
    assert [found.key for found in read(with_digests(*digests), DATA, source)] == ["a"]


@pytest.mark.parametrize(
    ("digests", "source"),
    [
        ((OTHER,), "s3://d/i/data/0.csv.gz"),
        ((OTHER, DIGEST), "s3://d/i/data/0.csv.gz"),
        ((OTHER, None), "s3://d/i/data/0.csv.gz"),
        ((OTHER, OTHER), "under another name"),
        (("5925f4e78e1695c2d020b9f6eexample",), "s3://d/i/data/0.csv.gz"),
    ],
)
def test_the_file_does_not_match_its_manifest(digests: tuple[str | None, ...], source: str) -> None:
    # Refused at the call, before the first row is asked for.
    with pytest.raises(
        InputError, match=rf"^{source}: the file does not match its manifest \(MD5\): fetch both again$"
    ):
        read_inventory_file(with_digests(*digests), DATA, source)


# --- what is damaged, or not as the schema says ---


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"Bucket": "other"}, "a row names the bucket 'other', and the manifest 'example-source-bucket'"),
        ({"Key": ""}, "a row has the key ''"),
        ({"Key": "%FF"}, "can't decode byte 0xff"),
        ({"IsLatest": "yes"}, "'yes' is neither true nor false"),
        ({"IsDeleteMarker": "0"}, "'0' is neither true nor false"),
        ({"Size": "1.5"}, "'1.5' is no size in bytes"),
        ({"Size": "-1"}, "'-1' is no size in bytes"),
        ({"Size": "1_000"}, "'1_000' is no size in bytes"),
        ({"Size": "٣"}, "'٣' is no size in bytes"),
        ({"Size": "9" * 5000}, "4300 digits"),
        ({"LastModifiedDate": "yesterday"}, "'yesterday'"),
        ({"LastModifiedDate": "0001-01-01T00:00:00+23:00"}, "date value out of range"),
    ],
)
def test_cells_of_csv_that_are_not_what_they_should_be(changes: dict[str, str], told: str) -> None:
    assert_refused(CSV_MANIFEST, csv_file([csv_row("a"), csv_row("b", **changes)]), told)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("bucket", "other", "a row names the bucket 'other', and the manifest 'example-source-bucket'"),
        ("key", "", "a row has the key ''"),
        ("key", b"bytes", "a row has the key b'bytes'"),
        ("is_latest", 1, "1 is neither true nor false"),
        ("is_delete_marker", [True], "[True] is neither true nor false"),
        ("size", -1, "-1 is no size in bytes"),
        ("size", 1.5, "1.5 is no size in bytes"),
        ("size", True, "True is no size in bytes"),
        ("last_modified_date", 1514944800000, "1514944800000 is no date"),
        ("e_tag", 5, "5 is no ETag"),
    ],
)
def test_columns_of_parquet_that_are_not_what_they_should_be(column: str, value: Any, told: str) -> None:
    at = ARROW_SCHEMA.get_field_index(column)
    schema = ARROW_SCHEMA.set(at, pa.field(column, pa.array([value]).type))
    assert_refused(PARQUET_MANIFEST, parquet_file([parquet_row("a") | {column: value}], schema), told)


def test_a_column_of_the_manifest_that_the_parquet_file_lacks() -> None:
    schema = ARROW_SCHEMA.remove(ARROW_SCHEMA.get_field_index("size"))
    assert_refused(PARQUET_MANIFEST, parquet_file([parquet_row("a")], schema), "no column size")


@pytest.mark.parametrize("change", [lambda row: row[:-1], lambda row: [*row, "x"]])
def test_a_row_of_another_length(change: Callable[[list[str]], list[str]]) -> None:
    n_cells = len(change(csv_row("b")))
    data = csv_file([csv_row("a"), change(csv_row("b"))])
    assert_refused(CSV_MANIFEST, data, f"line 2 has {n_cells} cells, and the manifest 18")


def test_a_header_is_no_row() -> None:
    assert_refused(CSV_MANIFEST, csv_file([CSV_SCHEMA.split(", "), csv_row("a")]), "a row names the bucket 'Bucket'")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "the file is empty"),
        (b'"b","k"\n', "Not a gzipped file"),
        (DATA[:-1], "Compressed file ended before the end-of-stream marker was reached"),
        (DATA[:5], "Compressed file ended before the end-of-stream marker was reached"),
        (DATA + b"tail", "Not a gzipped file"),
        (DATA[:-8] + bytes(4) + DATA[-4:], "CRC check failed"),
        (gzip.compress(b'"b","k'), "unexpected end of data"),
        (gzip.compress(b'"b"x,"k"\n'), "expected after"),
        (gzip.compress(b'"\xff","k"\n'), "can't decode byte 0xff"),
        (gzip.compress(b'"' + b"x" * 200_000 + b'","k"\n'), "field larger than field limit"),
        (parquet_file([parquet_row("a")]), "Not a gzipped file"),
    ],
    # The bytes of gzip hold the time of day, and the names of tests must not.
    ids=lambda value: value if isinstance(value, str) else "data",
)
def test_damaged_csv(data: bytes, told: str) -> None:
    assert_refused(CSV_MANIFEST, data, told)


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", DATA, parquet_file([parquet_row("a")])[:-1]], ids=["empty", "magic", "csv", "cut"]
)
def test_damaged_parquet(data: bytes) -> None:
    assert_refused(PARQUET_MANIFEST, data, "not a Parquet file: ")


@pytest.mark.parametrize("manifest", [CSV_MANIFEST, PARQUET_MANIFEST], ids=["csv", "parquet"])
def test_any_damaged_byte_is_a_named_error_or_harmless(manifest: Manifest) -> None:
    if manifest is CSV_MANIFEST:
        data = csv_file([csv_row(f"{i}") for i in range(20)])
    else:
        data = parquet_file([parquet_row(f"{i}") for i in range(20)])
    refusals = []
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0x90]) + data[at + 1 :]
        try:
            read(manifest, damaged)
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > len(data) / 4
    assert all(text.startswith("s3://d/the file: ") and "\n" not in text for text in refusals)


# --- streaming ---

MANY = 200_000


def many_in_csv() -> bytes:
    return csv_file([[BUCKET, f"folder+{i % 100}/recording+{i:06d}.wav", str(i)] for i in range(MANY)])


def many_in_parquet(row_group_size: int) -> bytes:
    columns = {
        "bucket": pa.array([BUCKET] * MANY),
        "key": pa.array([f"folder {i % 100}/recording {i:06d}.wav" for i in range(MANY)]),
        "size": pa.array(range(MANY), pa.int64()),
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="snappy", row_group_size=row_group_size)
    return sink.getvalue()


SHORT_SCHEMA = (
    "message s3.inventory { required binary bucket (UTF8); required binary key (UTF8); optional int64 size; }"
)
SHORT_PARQUET = parse(manifest_record("Parquet", fileSchema=SHORT_SCHEMA))
SHORT_CSV = parse(manifest_record(fileSchema="Bucket, Key, Size"))


def rows_before_the_error(manifest: Manifest, data: bytes) -> list[str]:
    found = []
    rows = read_inventory_file(manifest, data, "s3://d/the file")

    def take() -> None:
        for row in rows:
            found.append(row.key)  # noqa: PERF401  what came before the error is what is asked for

    with pytest.raises(InputError, match=r"^s3://d/the file: "):
        take()
    return found


def test_rows_before_the_damage_in_csv() -> None:
    whole = many_in_csv()
    expected = [row.key for row in read(SHORT_CSV, whole)]
    assert len(expected) == MANY
    assert expected[-1] == "folder 99/recording 199999.wav"
    found = rows_before_the_error(SHORT_CSV, whole[: len(whole) // 2])
    assert 0.4 * MANY < len(found) < 0.6 * MANY
    assert found == expected[: len(found)]


def test_rows_before_the_damage_in_parquet() -> None:
    data = bytearray(many_in_parquet(row_group_size=20_000))
    assert len(read(SHORT_PARQUET, bytes(data))) == MANY
    # The keys of the row group in the middle.
    column = pq.ParquetFile(pa.BufferReader(bytes(data))).metadata.row_group(5).column(1)
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 200] = bytes(200)
    found = rows_before_the_error(SHORT_PARQUET, bytes(data))
    assert 80_000 < len(found) <= 100_000
    assert found == [f"folder {i % 100}/recording {i:06d}.wav" for i in range(len(found))]


def peak_bytes(manifest: Manifest, data: bytes) -> int:
    """Return the most that Python held while the rows went by."""
    n_rows = 0
    tracemalloc.start()
    try:
        for _ in read_inventory_file(manifest, data, "s3://d/the file"):
            n_rows += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n_rows == MANY
    return peak


def test_csv_is_not_held_in_memory() -> None:
    assert peak_bytes(SHORT_CSV, many_in_csv()) < 2 * 2**20


def test_parquet_is_not_held_in_memory() -> None:
    # The keys alone take 16 MB as Python text. One row group: batches are cut within it.
    data = many_in_parquet(row_group_size=MANY)
    assert peak_bytes(SHORT_PARQUET, data) < 8 * 2**20
