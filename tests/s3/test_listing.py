"""What is listed in a bucket: by pages, side by side, whatever the keys are, and by an inventory."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.settings import S3Settings
from heartbeat_core.storage.s3 import S3Store
from jobs.drivers.classify import classify
from jobs.listing.listing import Listing
from jobs.settings import JobSettings, Selection
from tests.faults.rig import read_rows
from tests.helpers import heart_bytes
from tests.s3.conftest import Store
from tests.s3.proxy import Fault, FaultProxy

ODD_CHARACTERS = " +%&=?#[]{}*'\"\\:;,@!$~^|<>()äß心🫀\n\t\r."
ODD_KEYS = (
    *(
        "a b",
        "a+b",
        "100%",
        "%20",
        "%2F",
        "hörz/ü",
        "q?x=1",
        "?versionId=abc",
        "h#1",
        "br[1]",
        "star*",
        "it's",
        "a&b=c",
    ),
    *("line\nbreak", "tab\t", "s3::http", "a::b", "-dash", " lead", "trail ", "心音", "e\u0301 and é", "a\\b", "~"),
    *("double//slash", "dots/../up", "dot/./here", "..", "...", "a=1/b=2", 'quote"', "<tag>", "semi;colon", "100%25"),
)


def odd_keys(count: int) -> list[str]:
    rng = random.Random(2)
    keys = list(ODD_KEYS)
    while len(keys) < count:
        word = "".join(rng.choices(ODD_CHARACTERS + "abcdef", k=rng.randint(1, 12)))
        folder = rng.choice(["", "x/", "y z/", "ü/é/"])
        keys.append(f"{folder}{len(keys)}{word}")
    return keys


def put_all(s3: Store, folder: str, names: list[str], data: bytes) -> set[str]:
    """Put objects by their exact keys; returns the keys as the store itself lists them."""
    client = s3.client()
    bucket, _, prefix = folder.removeprefix("s3://").partition("/")

    s3.put_all({f"{prefix}/{name}": data for name in names})  # There are names that a store does not take.
    found: set[str] = set()
    token: dict[str, str] = {}
    while True:
        page = client.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{prefix}/", **token)
        found |= {f"s3://{bucket}/{one['Key']}" for one in page["Contents"]}
        if not page["IsTruncated"]:
            return found
        token = {"ContinuationToken": page["NextContinuationToken"]}


def test_2500_odd_keys_are_each_a_row(s3: Store, bucket: str, bundle: Path, in_process: None, console: Console) -> None:
    stored = put_all(s3, f"{bucket}/in", [f"{key}.wav" for key in odd_keys(2_500)], heart_bytes("normal", 1, 0.6))
    assert len(stored) >= 2_490  # What is one key to the store is one: it may fold '//' and '..'.
    settings = JobSettings.model_validate({"model": str(bundle), "shards": {"recordings": 256}})
    summary = classify([f"{bucket}/in"], f"{bucket}/out", settings, console)
    rows = [row["uri"] for table in ("predictions", "failures") for row in read_rows(s3, f"{bucket}/out", table)]
    assert sorted(rows) == sorted(stored)
    assert summary.totals.listed == len(stored)
    # A name is no reason to fail.
    assert summary.totals.failed == 0


def test_pages_are_asked_for_one_after_the_other_and_prefixes_side_by_side(s3: Store, bucket: str) -> None:
    names = [f"p{i % 7}/{i:05d}.wav" for i in range(3_500)] + ["top.wav"]
    stored = put_all(s3, f"{bucket}/in", names, b"x")
    with FaultProxy(s3.endpoint) as proxy:
        proxy.latency_s = 0.5
        store = S3Store(S3Settings(endpoint_url=proxy.endpoint))
        found = [entry.uri for entry in store.walk(f"{bucket}/in")]
        times = [one.time_monotonic for one in proxy.requests]
    assert sorted(found) == sorted(stored)
    assert found[0].endswith("/top.wav")
    # One look, then seven prefixes of a page each at once: the last is asked for after one latency, not after seven.
    assert len(times) == 8
    assert times[-1] - times[0] < proxy.latency_s * 4
    again = [entry.uri for entry in S3Store(S3Settings(endpoint_url=s3.endpoint)).walk(f"{bucket}/in")]
    assert again == found


def test_a_flat_prefix_of_several_pages(s3: Store, bucket: str) -> None:
    stored = put_all(s3, f"{bucket}/in", [f"{i:05d}.wav" for i in range(2_100)], b"x")
    found = [entry.uri for entry in storage.walk(f"{bucket}/in")]
    assert found == sorted(stored)


def test_subfolders_behind_a_truncated_page_are_listed(s3: Store, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 may end a page wherever it likes; here after one subfolder."""
    stored = put_all(s3, f"{bucket}/in", ["a/1.wav", "b/2.wav", "b/c/3.wav"], b"x")
    real = S3Store._ask

    def ask(self: S3Store, method: str, **arguments: object) -> object:
        return real(self, method, **arguments, **({"MaxKeys": 1} if method == "list_objects_v2" else {}))

    monkeypatch.setattr(S3Store, "_ask", ask)
    assert [entry.uri for entry in S3Store(S3Settings()).walk(f"{bucket}/in")] == sorted(stored)


def test_a_page_that_fails_is_asked_for_again(s3: Store, bucket: str) -> None:
    stored = put_all(s3, f"{bucket}/in", [f"{i:05d}.wav" for i in range(2_100)], b"x")
    asked: set[str] = set()

    def is_first(method: str, path: str) -> bool:
        return path not in asked and not asked.add(path)  # type: ignore[func-returns-value]

    with FaultProxy(s3.endpoint) as proxy:
        proxy.only = is_first
        proxy.rates = {Fault.SLOW_DOWN: 1.0}
        found = [entry.uri for entry in S3Store(S3Settings(endpoint_url=proxy.endpoint)).walk(f"{bucket}/in")]
        assert proxy.count(fault=Fault.SLOW_DOWN) >= 3
    assert found == sorted(stored)


def test_globs_of_a_bucket(s3: Store, bucket: str) -> None:
    names = ["a/1.wav", "a/2.flac", "a/b/3.wav", "c/4.wav", "5.wav"]
    put_all(s3, f"{bucket}/in", names, b"x")
    for pattern, expected in (
        ("*.wav", ["5.wav"]),
        ("a/*.wav", ["1.wav"]),
        ("**/*.wav", ["5.wav", "a/1.wav", "a/b/3.wav", "c/4.wav"]),
        ("a/?.*", ["1.wav", "2.flac"]),
        ("[ac]/*.wav", ["a/1.wav", "c/4.wav"]),
    ):
        found = [entry.relative_path for entry in storage.expand_glob(f"{bucket}/in/{pattern}")]
        assert sorted(found) == sorted(expected), pattern


def test_folders_without_objects_and_their_markers_are_no_recordings(s3: Store, bucket: str) -> None:
    put_all(s3, f"{bucket}/in", ["a.wav", "empty.wav/", "sub/"], b"")
    assert [recording.relative_path for recording in Listing([f"{bucket}/in"])] == ["a.wav"]


def test_filters_by_size_and_time(s3: Store, bucket: str) -> None:
    client = s3.client()
    client.pipe_file(f"{bucket}/in/small.wav", b"1")
    client.pipe_file(f"{bucket}/in/large.wav", bytes(5_000))
    written = client.info(f"{bucket}/in/large.wav")["LastModified"]

    def taken(**chosen: object) -> list[str]:
        listing = Listing([f"{bucket}/in"], None, Selection.model_validate(chosen))
        return sorted(recording.relative_path for recording in listing)

    assert taken(max_size="1kB") == ["small.wav"]
    assert taken(min_size="1kB") == ["large.wav"]
    assert taken(since=written.replace(year=written.year - 1)) == ["large.wav", "small.wav"]
    assert taken(include=["l*"], before=written.replace(year=written.year + 1)) == ["large.wav"]


@pytest.mark.parametrize("is_copied", [False, True])
def test_an_inventory_is_a_manifest(
    s3: Store, bucket: str, bundle: Path, in_process: None, console: Console, tmp_path: Path, is_copied: bool
) -> None:
    names = ["a b+c.wav", "ü/1%.wav", "notes.txt"]
    put_all(s3, f"{bucket}/in", names, heart_bytes("normal", 1))
    prefix = f"{bucket.removeprefix('s3://hearts/')}/in/"
    rows = [("hearts", quote_plus(f"{prefix}{name}"), "1", "2026-11-01T00:00:00.000Z", "0" * 32) for name in names]
    rows.append(("hearts", quote_plus(f"{prefix}gone.wav"), "7", "2026-11-01T00:00:00.000Z", "e" * 32))
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    data = gzip.compress(text.getvalue().encode())
    manifest = {
        "sourceBucket": "hearts",
        "destinationBucket": "arn:aws:s3:::hearts",
        "version": "2016-11-30",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size, LastModifiedDate, ETag",
        "files": [{"key": f"{bucket.removeprefix('s3://hearts/')}/inventory/1.csv.gz", "size": len(data)}],
    }
    if is_copied:
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        (tmp_path / "1.csv.gz").write_bytes(data)
        place = str(tmp_path / "manifest.json")
    else:
        s3.client().pipe_file(f"{bucket}/inventory/1.csv.gz", data)
        s3.client().pipe_file(f"{bucket}/inventory/manifest.json", json.dumps(manifest).encode())
        place = f"{bucket}/inventory/manifest.json"
    summary = classify([place], f"{bucket}/out", JobSettings(model=str(bundle)), console)
    assert (summary.totals.listed, summary.totals.failed) == (3, 3)
    told = {row["uri"].rpartition("/in/")[2]: row["error_type"] for row in read_rows(s3, f"{bucket}/out", "failures")}
    # The inventory is older than what is there now, and knows one that is not there any more.
    assert told == {
        "a b+c.wav": "changed_since_listed",
        "ü/1%.wav": "changed_since_listed",
        "gone.wav": "not_found",
    }
