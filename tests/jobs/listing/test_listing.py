"""Inputs to recordings, recordings to shards."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import math
import os
import re
import shlex
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.errors import InputError, StorageError
from heartbeat_core.formats.audio_names import AUDIO_SUFFIXES
from heartbeat_core.formats.parquet import from_parquet, to_parquet
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.plan import plan_shards, plan_table
from heartbeat_core.storage.stores import Entry
from jobs.drivers.run import report_listing
from jobs.listing import listing
from jobs.listing.kept import ManifestColumns
from jobs.listing.left_out import LeftOut
from jobs.listing.listing import PATH_COLUMNS, Listing, is_selected, reveal
from jobs.listing.seen import KnownRecordings
from jobs.listing.shards import make_shards
from jobs.settings import Selection, ShardSettings
from tests.helpers import web_server, write_csv

MANIFEST_SUFFIXES = ("csv", "parquet", "jsonl")


def touch(folder: Path, *names: str) -> None:
    for number, name in enumerate(names, start=1):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number)


@dataclass(frozen=True)
class Listed:
    """A listing that was iterated over to its end."""

    recordings: list[Recording]
    left_out: LeftOut


def list_inputs(inputs: list[str], path_column: str | None = None, **selection: Any) -> Listed:
    listing = Listing(inputs, path_column, Selection.model_validate(selection))
    recordings = list(listing)
    assert listing.n_recordings == len(recordings)
    return Listed(recordings, listing.left_out)


def names(listing: Listed) -> list[str]:
    return [recording.relative_path for recording in listing.recordings]


def listed(path: Path, relative_path: str) -> Recording:
    """Return a local file as listing gives it."""
    found = path.stat()
    version = f"{found.st_size}-{found.st_mtime_ns}"
    modified = datetime.fromtimestamp(found.st_mtime, UTC)
    return Recording(f"file://{path}", relative_path, found.st_size, version, modified=modified)


def write_manifest(path: Path, column: str, paths: list[str]) -> Path:
    if path.suffix == ".csv":
        return write_csv(path, ("n", column), [(str(n), value) for n, value in enumerate(paths)])
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"n": n, column: value}) + "\n" for n, value in enumerate(paths)))
    else:
        pq.write_table(pa.table({"n": range(len(paths)), column: paths}), path)
    return path


def test_a_folder_is_walked_for_audio_endings_in_any_case(tmp_path: Path) -> None:
    audio = [f"deep/er/a{suffix}" for suffix in AUDIO_SUFFIXES] + ["B.WAV", "c.FlAc", "z.y.Mp3", ".hidden.wav"]
    others = ["labels.csv", "notes.txt", "wav", "deep/a.wav.bak", "deep/.DS_Store"]
    touch(tmp_path, *audio, *others)
    listing = list_inputs([str(tmp_path)])
    assert sorted(names(listing)) == sorted(audio)
    assert listing.left_out.n_skipped == len(others)
    assert listing.left_out.n_duplicates == 0


def test_the_endings_are_those_of_the_issue() -> None:
    told = ".wav .w64 .flac .ogg .oga .opus .mp3 .aif .aiff .au .snd .caf"
    assert set(AUDIO_SUFFIXES) == set(told.split())


def test_recordings_carry_uri_relative_path_and_size(tmp_path: Path) -> None:
    touch(tmp_path, "one.wav", "sub/two.wav")
    assert list_inputs([str(tmp_path)]).recordings == [
        listed(tmp_path / "one.wav", "one.wav"),
        listed(tmp_path / "sub/two.wav", "sub/two.wav"),
    ]
    assert [one.size_bytes for one in list_inputs([str(tmp_path)]).recordings] == [1, 2]


def test_ids_come_from_the_uri(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    (recording,) = list_inputs([str(tmp_path)]).recordings
    uri = f"file://{tmp_path}/a.wav"
    assert recording.recording_id == hashlib.sha256(uri.encode()).hexdigest()[:16]


def test_order_is_that_of_the_inputs_and_of_paths_within(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.wav", "b/10.wav", "a/3.wav", "a/z/0.wav", "c.wav")
    inputs = [str(tmp_path / "b"), str(tmp_path / "c.wav"), str(tmp_path / "a")]
    assert names(list_inputs(inputs)) == ["10.wav", "2.wav", "c.wav", "3.wav", "z/0.wav"]


@pytest.mark.parametrize("name", ["heart.xyz", "heart", "heart.txt", "heart.wav.gz", "räum lich.wav", "a#b@c.wav"])
def test_a_file_named_outright_is_always_taken(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    listing = list_inputs([str(tmp_path / name)])
    assert listing.recordings == [listed(tmp_path / name, name)]
    assert listing.left_out.n_skipped == 0


def test_a_relative_path_and_a_file_url_are_the_same_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "sub/a.wav")
    monkeypatch.chdir(tmp_path)
    listing = list_inputs(["sub/a.wav", f"file://{tmp_path}/sub/a.wav", str(tmp_path / "sub" / ".." / "sub")])
    assert listing.recordings == [listed(tmp_path / "sub/a.wav", "a.wav")]
    assert listing.left_out.n_duplicates == 2


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.wav")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list_inputs(["~/a.wav"]).recordings[0].uri == f"file://{tmp_path}/a.wav"


@pytest.mark.parametrize(
    ("pattern", "expected", "n_skipped"),
    [
        ("*.wav", ["a.wav", "b.wav"], 0),
        ("?.wav", ["a.wav", "b.wav"], 0),
        ("[b-z].*", ["b.wav", "c.FLAC"], 1),
        ("**/*.wav", ["a.wav", "b.wav", "deep/d.wav"], 0),
        ("d*/*", ["deep/d.wav"], 1),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: list[str], n_skipped: int) -> None:
    touch(tmp_path, "a.wav", "b.wav", "c.FLAC", "n.txt", "deep/d.wav", "deep/e.txt")
    listing = list_inputs([f"{tmp_path}/{pattern}"])
    assert names(listing) == expected
    assert listing.left_out.n_skipped == n_skipped


def test_a_glob_sign_in_a_file_that_is_there_is_no_glob(tmp_path: Path) -> None:
    touch(tmp_path, "take[1].wav", "take1.wav")
    assert names(list_inputs([str(tmp_path / "take[1].wav")])) == ["take[1].wav"]


def test_a_glob_without_a_match_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\*\.wav: no file matches"):
        list_inputs([f"{tmp_path}/*.wav"])


@pytest.mark.parametrize("suffix", MANIFEST_SUFFIXES)
@pytest.mark.parametrize("column", [*PATH_COLUMNS, "Path", "FILENAME"])
def test_manifests(tmp_path: Path, suffix: str, column: str) -> None:
    touch(tmp_path, "sub/a.wav", "b.odd")
    paths = ["sub/a.wav", f"{tmp_path}/b.odd", f"file://{tmp_path}/c.wav", "./sub/../b.odd"]
    manifest = write_manifest(tmp_path / f"list.{suffix}", column, paths)
    listing = list_inputs([str(manifest)])
    # A manifest's rows are named outright: what is not there becomes a failure row later.
    assert [one.uri for one in listing.recordings] == [
        f"file://{tmp_path}/{name}" for name in ("sub/a.wav", "b.odd", "c.wav")
    ]
    assert listing.left_out.n_duplicates == 1
    assert listing.left_out.n_skipped == 0


def test_a_local_file_is_known_as_well_from_a_manifest_as_from_its_folder(tmp_path: Path) -> None:
    """So that the job divides the same recordings in the same way, and notices the same changes."""
    touch(tmp_path, *(f"in/{number:03d}.wav" for number in range(100)))
    manifest = write_csv(tmp_path / "m.csv", ("path",), [(f"in/{number:03d}.wav",) for number in range(100)])
    from_folder = list_inputs([f"{tmp_path}/in"]).recordings
    from_manifest = list_inputs([str(manifest)]).recordings
    assert [replace(one, relative_path=one.relative_path.removeprefix("in/")) for one in from_manifest] == from_folder
    shards = [
        [[one.uri for one in shard] for shard in make_shards(recordings, ShardSettings())]
        for recordings in (from_folder, from_manifest)
    ]
    assert len(shards[0]) > 1
    assert shards[0] == shards[1]


def test_what_a_manifest_names_and_is_no_file_is_listed_all_the_same(tmp_path: Path) -> None:
    """Whoever reads it makes a failure row of it."""
    touch(tmp_path, "here.wav")
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "link.wav").symlink_to("nothing")
    paths = ["gone.wav", "here.wav/below.wav", "folder.wav", "fifo.wav", "link.wav", f"{'long' * 100}.wav"]
    manifest = write_csv(tmp_path / "m.csv", ("path",), [(path,) for path in paths])
    found = list_inputs([str(manifest)], min_size=1, since="2030-01-01").recordings
    assert found == [Recording(f"file://{tmp_path}/{path}", path) for path in paths]


@pytest.mark.parametrize("suffix", MANIFEST_SUFFIXES)
def test_the_path_column_can_be_named(tmp_path: Path, suffix: str) -> None:
    manifest = write_manifest(tmp_path / f"list.{suffix.upper()}", "Aufnahme", ["a.wav"])
    if suffix != "parquet":  # The writer takes upper-case endings for Parquet.
        manifest = write_manifest(tmp_path / f"list.{suffix}", "Aufnahme", ["a.wav"])
    assert names(list_inputs([str(manifest)], "Aufnahme")) == ["a.wav"]
    with pytest.raises(InputError, match=r"--path-column; the columns are: n, Aufnahme$"):
        list_inputs([str(manifest)])
    with pytest.raises(InputError, match=r"no column 'file'; the columns are: n, Aufnahme$"):
        list_inputs([str(manifest)], "file")


def test_a_manifest_with_several_candidates_takes_the_first_of_the_known_names(tmp_path: Path) -> None:
    manifest = write_csv(tmp_path / "m.csv", ("filename", "path", "URI"), [("f.wav", "p.wav", "u.wav")])
    assert names(list_inputs([str(manifest)])) == ["p.wav"]
    assert names(list_inputs([str(manifest)], "URI")) == ["u.wav"]


def test_a_manifest_as_spreadsheets_write_it(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_bytes('\ufeffpath,note\r\n"a, b.wav","two\r\nlines"\r\nü.wav,\r\n'.encode())
    assert names(list_inputs([str(manifest)])) == ["a, b.wav", "ü.wav"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("m.csv", b"", "cannot be read as a .csv table"),
        ("m.csv", b"path\n", "no recordings in"),
        ("m.csv", b"path,b\na.wav\n", "cannot be read as a .csv table"),
        ("m.csv", b"path,b\n,1\n,2\n", "no recordings in {}; 2 rows without a path skipped ({}: rows 1, 2)"),
        ("m.csv", b"\xff\xfe\x00path", "cannot be read as a .csv table"),
        ("m.jsonl", b"", "cannot be read as a .jsonl table"),
        ("m.jsonl", b"not json\n", "cannot be read as a .jsonl table"),
        ("m.parquet", b"PAR1 and no more", "cannot be read as a .parquet table"),
        ("m.parquet", b"", "cannot be read as a .parquet table"),
    ],
)
def test_bad_manifests_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        list_inputs([str(tmp_path / name)])
    assert str(tmp_path / name) in str(caught.value)
    assert told.format(tmp_path / name, tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_without_a_path_are_skipped_by_number(tmp_path: Path) -> None:
    paths = ["https://h/a.wav?sig=1", "", "b.wav", " ", *[""] * 5, "https://h/c.wav?sig=2"]
    manifest = write_csv(tmp_path / "m.csv", ("n", "path"), [(str(n), path) for n, path in enumerate(paths)])
    found = Listing([str(manifest)])
    recordings = list(found)
    assert [one.relative_path for one in recordings] == ["https://h/a.wav", "b.wav", "https://h/c.wav"]
    assert found.left_out.rows_without_path == {str(manifest): [2, 4, 5, 6, 7, 8, 9]}
    assert found.describe() == (
        f"3 recordings listed, 7 rows without a path skipped ({manifest}: rows 2, 4, 5, 6, 7 and 2 more)"
    )
    assert [reveal(one, None, "driver").uri for one in (recordings[0], recordings[2])] == [paths[0], paths[-1]]
    write_csv(manifest, ("path", "n"), [("", "1"), ("b.wav", "2")])
    assert len(list(found)) == 1
    assert found.describe() == f"1 recording listed, 1 row without a path skipped ({manifest}: row 1)"


def test_a_missing_manifest_and_a_folder_named_like_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.csv: no such manifest"):
        list_inputs([str(tmp_path / "m.csv")])
    touch(tmp_path, "data.csv/a.wav")
    assert names(list_inputs([str(tmp_path / "data.csv")])) == ["a.wav"]


def test_other_schemes(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    with web_server(tmp_path) as (address, _):
        listing = list_inputs([f"{address}/a.wav", f"{address}/b.wav"])
    assert [one.public_uri for one in listing.recordings] == [f"{address}/a.wav", f"{address}/b.wav"]
    assert [one.size_bytes for one in listing.recordings] == [1, 2]


SECRET_URLS = (
    "http://127.0.0.1:9/a.wav?token=hunter2",
    "https://user:hunter2@example.org/a.wav",
    "https://example.org/a.wav#hunter2",
    "https://example.org/list.csv?X-Amz-Signature=hunter2",
    "https://example.org/manifest.json?hunter2",
    "s3://key:hunter2@bucket/a.wav",
    "ftp://user:hunter2@host/folder",
)


@pytest.mark.parametrize("url", SECRET_URLS)
def test_an_address_with_a_secret_is_refused_with_the_way_out(url: str) -> None:
    """Nothing is asked of the server: refused before."""
    with pytest.raises(InputError, match="is not sent to workers: put it in a manifest that they can read") as caught:
        list_inputs([url])
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_query_of_an_address_does_not_hide_what_it_leads_to(tmp_path: Path) -> None:
    touch(tmp_path, "sub/a.wav")
    write_csv(tmp_path / "sub" / "list.csv", ("path",), [("a.wav",)])
    with web_server(tmp_path) as (address, _):
        secret = f"{address.replace('//', '//user:hunter2@')}/sub/list.CSV?sig=hunter2/x.wav"
        (tmp_path / "sub" / "list.csv").rename(tmp_path / "sub" / "list.CSV")
        (recording,) = Listing([secret], in_process=True)
        assert recording.public_uri == f"{address}/sub/a.wav"
        assert recording.relative_path == "a.wav"
        missing = f"{address}/gone.wav?sig=hunter2"
        with pytest.raises(InputError, match=rf"^{address}/gone\.wav: no such file or folder$"):
            list(Listing([missing], in_process=True))


def test_a_process_that_sends_nothing_to_workers_may_use_a_secret(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    with web_server(tmp_path) as (address, _):
        secret = f"{address.replace('//', '//user:secret@')}/b.wav?token=1"
        write_csv(tmp_path / "m.csv", ("url",), [(secret,)])
        (named,) = Listing([secret], in_process=True)
        assert named.relative_path == "b.wav"
        (listed,) = Listing([str(tmp_path / "m.csv")], in_process=True)
        for recording in (named, listed):
            assert recording.uri == secret
            assert recording.public_uri == f"{address}/b.wav"
            assert recording.manifest is None


# Columns that go along.


def columns_of(inputs: list[str], *keep: str, **more: Any) -> list[tuple[str, str | None, tuple[str | None, ...]]]:
    found = Listing(inputs, columns=ManifestColumns(keep, **more))
    return [(recording.relative_path, recording.patient_id, recording.kept) for recording in found]


@pytest.mark.parametrize("suffix", MANIFEST_SUFFIXES)
def test_columns_of_manifests_go_along_with_their_rows(tmp_path: Path, suffix: str) -> None:
    rows = {"File": ["a.wav", "", "b.wav"], " Site ": ["AV", "MV", " "], "AGE": ["007", "1", "3,5"]}
    path = tmp_path / f"m.{suffix}"
    if suffix == "csv":
        write_csv(path, list(rows), list(zip(*rows.values(), strict=True)))
    elif suffix == "jsonl":
        lines = (dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True))
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        pq.write_table(pa.table(rows), path)
    touch(tmp_path, "in/c.wav")
    other = write_csv(tmp_path / "other.csv", ("path", "age", "Subject_ID"), [("d.wav", "9", "p1")])
    inputs = [str(path), str(tmp_path / "in"), str(tmp_path / "in/c.wav"), str(other)]
    assert columns_of(inputs, "age", "site") == [
        ("a.wav", None, ("007", "AV")),
        ("b.wav", None, ("3,5", None)),
        ("c.wav", None, (None, None)),
        ("d.wav", "p1", ("9", None)),
    ]
    assert columns_of(inputs)[0] == ("a.wav", None, ())


def test_patients_are_found_by_the_usual_names_or_the_one_that_was_named(tmp_path: Path) -> None:
    manifest = str(write_csv(tmp_path / "m.csv", ("path", "Kind", "Patient"), [("a.wav", "k1", "007")]))
    assert columns_of([manifest]) == [("a.wav", "007", ())]
    assert columns_of([manifest], patient="kind") == [("a.wav", "k1", ())]
    gaps = str(
        write_csv(tmp_path / "g.csv", ("path", "patient"), [("a.wav", "nan"), ("b.wav", "N/A"), ("c.wav", "7.0")])
    )
    assert columns_of([gaps]) == [("a.wav", None, ()), ("b.wav", None, ()), ("c.wav", "7", ())]


@pytest.mark.parametrize(
    ("keep", "more", "told"),
    [
        (
            ["site"],
            {},
            "--keep-columns: no manifest or label file has a column 'site'; the columns are: path, Age, sex",
        ),
        (
            ["age"],
            {"patient": "who"},
            "--patient-column: no manifest or label file has a column 'who'; the columns are: ",
        ),
        (
            ["outcome"],
            {"elsewhere": ("label", "Age")},
            "has a column 'outcome'; the columns are: path, Age, sex, label",
        ),
    ],
)
def test_a_column_that_is_nowhere_is_named_with_those_there_are(
    tmp_path: Path, keep: list[str], more: dict[str, Any], told: str
) -> None:
    inputs = [str(write_csv(tmp_path / "m.csv", ("path", "Age"), [("a.wav", "1")]))]
    inputs.append(str(write_csv(tmp_path / "n.csv", ("path", "sex"), [("b.wav", "f")])))
    with pytest.raises(InputError) as caught:
        columns_of(inputs, *keep, **more)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_may_be_elsewhere_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    assert columns_of([str(tmp_path)], "site", elsewhere=("path", "Site")) == [("a.wav", None, (None,))]
    with pytest.raises(InputError, match=r"^--path-column file: no input is a manifest \(.csv, .*\): leave it out$"):
        list(Listing([str(tmp_path)], "file"))
    with pytest.raises(InputError, match=r"^--keep-columns: .* has a column 'site'; no input is a manifest$"):
        columns_of([str(tmp_path)], "site")


# Secrets in a manifest.


@pytest.fixture(autouse=True)
def _no_manifest_is_remembered() -> None:
    listing._whole_addresses.cache_clear()


@pytest.mark.parametrize("suffix", MANIFEST_SUFFIXES)
def test_a_manifests_secrets_are_revealed_by_reveal_alone(tmp_path: Path, suffix: str) -> None:
    urls = ["https://h/a.wav?sig=hunter2", "b.wav", "https://u:hunter2@h/c.wav", "https://h/d.wav"]
    manifest = write_manifest(tmp_path / f"m.{suffix}", "url", urls)
    listing = list_inputs([str(manifest)])
    assert "hunter2" not in repr(listing.recordings)
    uri = f"file://{manifest}"
    assert [(one.uri, one.manifest, one.manifest_row) for one in listing.recordings] == [
        ("https://h/a.wav", uri, 0),
        (f"file://{tmp_path}/b.wav", None, None),
        ("https://h/c.wav", uri, 2),
        ("https://h/d.wav", None, None),
    ]
    revealed = [reveal(one, None, "driver") for one in listing.recordings]
    assert [one.uri for one in revealed] == [urls[0], f"file://{tmp_path}/b.wav", *urls[2:]]
    assert [one.recording_id for one in revealed] == [one.recording_id for one in listing.recordings]
    # What is stored of it later has none, whichever is asked.
    assert "hunter2" not in repr([one.public_uri for one in revealed])


def test_revealing_takes_the_column_that_was_named(tmp_path: Path) -> None:
    manifest = write_csv(
        tmp_path / "m.csv", ("path", "signed"), [("https://h/x.wav", "https://h/a.wav?hunter2"), ("y", "https://h/b?2")]
    )
    listing = list_inputs([str(manifest)], "signed")
    assert [reveal(one, "signed", "driver").uri for one in listing.recordings] == [
        "https://h/a.wav?hunter2",
        "https://h/b?2",
    ]


def test_a_manifest_that_changed_reveals_nothing(tmp_path: Path) -> None:
    manifest = write_csv(tmp_path / "m.csv", ("url",), [("https://h/a.wav?sig=1",), ("https://h/b.wav?sig=2",)])
    first, second = list_inputs([str(manifest)]).recordings
    write_csv(manifest, ("url",), [("https://h/b.wav?sig=2",)])
    with pytest.raises(StorageError, match=r"m\.csv: changed while the job ran$"):
        reveal(first, None, "driver")
    with pytest.raises(StorageError, match=r"m\.csv: cannot be read again"):
        reveal(second, None, "driver")
    listing._whole_addresses.cache_clear()
    # New signatures of the same recordings are what renewing them means.
    write_csv(manifest, ("url",), [("https://h/a.wav?sig=3",), ("https://h/b.wav?sig=4",)])
    assert reveal(first, None, "driver").uri == "https://h/a.wav?sig=3"
    # The row's query names another recording now.
    listing._whole_addresses.cache_clear()
    write_csv(manifest, ("url",), [("https://h/a.wav?id=1&sig=3",)])
    (named,) = list_inputs([str(manifest)]).recordings
    assert reveal(named, None, "driver").recording_id == named.recording_id
    listing._whole_addresses.cache_clear()
    write_csv(manifest, ("url",), [("https://h/a.wav?id=2&sig=3",)])
    with pytest.raises(StorageError, match=r"m\.csv: changed while the job ran$"):
        reveal(named, None, "driver")
    # The row has no address any more.
    listing._whole_addresses.cache_clear()
    write_csv(manifest, ("url", "n"), [("", "1")])
    with pytest.raises(StorageError, match=r"m\.csv: changed while the job ran$"):
        reveal(first, None, "driver")
    listing._whole_addresses.cache_clear()
    manifest.unlink()
    with pytest.raises(StorageError, match=r"m\.csv: cannot be read again: .*no such manifest"):
        reveal(first, None, "driver")


def test_no_secret_is_in_a_relative_path_or_a_kept_path(tmp_path: Path) -> None:
    """The path may be relative to a manifest on the web, and have a query all the same."""
    urls = ["a.wav?sig=hunter2", "https://u:hunter2@h/b.wav?sig=hunter2", "sub/c.wav"]
    write_csv(tmp_path / "m.csv", ("url", "site"), [(url, "AV") for url in urls])
    with web_server(tmp_path) as (address, _):
        found = list(Listing([f"{address}/m.csv"], columns=ManifestColumns(("URL", "site"))))
        assert [reveal(one, None, "driver").uri for one in found] == [
            *(f"{address}/a.wav?sig=hunter2", urls[1], f"{address}/sub/c.wav")
        ]
    assert [one.relative_path for one in found] == ["a.wav", "https://h/b.wav", "sub/c.wav"]
    assert [one.kept for one in found] == [("a.wav", "AV"), ("https://h/b.wav", "AV"), ("sub/c.wav", "AV")]
    assert "hunter2" not in repr(found)


def test_addresses_that_differ_by_their_query_are_each_a_recording(tmp_path: Path) -> None:
    urls = [f"https://h/get?id={n}&X-Amz-Signature={n}" for n in (1, 2, 3)]
    again = "https://h/get?id=2&X-Amz-Signature=anew"
    manifest = write_csv(tmp_path / "m.csv", ("url",), [(url,) for url in (*urls, again, "https://h/get")])
    found = list_inputs([str(manifest)])
    assert [one.public_uri for one in found.recordings] == ["https://h/get"] * 4
    assert len({one.recording_id for one in found.recordings}) == 4
    assert found.left_out.n_duplicates == 1
    assert [reveal(one, None, "driver").uri for one in found.recordings] == [*urls, "https://h/get"]
    plan = plan_shards(from_parquet(to_parquet(plan_table([(0, found.recordings)]))))
    assert [one.recording_id for one in plan[0]] == [one.recording_id for one in found.recordings]
    in_process = list(Listing([str(manifest)], in_process=True))
    assert [one.recording_id for one in in_process] == [one.recording_id for one in found.recordings]
    # An update finds nothing new in addresses that were signed again.
    signed_anew = [(url.replace("Signature=", "Signature=9"),) for url in urls]
    with KnownRecordings() as known:
        known.update(found.recordings)
        write_csv(manifest, ("url",), [*signed_anew, ("https://h/get?id=4",)])
        updated = list_inputs([str(manifest)]).recordings
        assert [known.is_current(one) for one in updated] == [True, True, True, False]


def test_manifests_with_secrets_are_read_once_for_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = [
        write_csv(tmp_path / f"{name}.csv", ("url",), [(f"https://h/{name}{n}.wav?sig=1",) for n in range(10)])
        for name in "ab"
    ]
    recordings = list_inputs([str(one) for one in manifests]).recordings
    read: list[str] = []
    real = storage.read
    monkeypatch.setattr(storage, "read", lambda uri: (read.append(uri), real(uri))[1])
    for pair in zip(recordings[:10], recordings[10:], strict=True):
        assert all(reveal(one, None, "driver").uri.endswith("?sig=1") for one in pair)
    assert read == [f"file://{one}" for one in manifests]
    reveal(recordings[0], None, "the next driver")
    assert len(read) == 3


# Filters.

WHEN = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)


@pytest.fixture
def dated(tmp_path: Path) -> Path:
    """Three days of recordings of 1 to 5 bytes."""
    touch(tmp_path, "a/one.wav", "a/two.WAV", "b/three.wav", "b/deep/four.flac", "five.wav")
    for days, name in enumerate(("a/one.wav", "a/two.WAV", "b/three.wav", "b/deep/four.flac", "five.wav")):
        moment = (WHEN + timedelta(days=days)).timestamp()
        os.utime(tmp_path / name, (moment, moment))
    touch(tmp_path, "notes.txt")
    return tmp_path


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({}, "one two three four five"),
        ({"include": ["a/*"]}, "one two"),
        ({"include": ["*.wav"]}, "one three five"),
        ({"include": ["five*", "b/*"]}, "three four five"),
        ({"include": ["b/?hree.wav"]}, "three"),
        ({"include": ["[ab]/*.wav"]}, "one three"),
        ({"exclude": ["b/*"]}, "one two five"),
        ({"exclude": ["*.flac", "a/*"]}, "three five"),
        ({"include": ["b/*"], "exclude": ["*/deep/*"]}, "three"),
        ({"min_size": 3}, "three four five"),
        ({"max_size": "3"}, "one two three"),
        ({"min_size": 2, "max_size": 2}, "two"),
        ({"max_size": "1kB"}, "one two three four five"),
        ({"since": WHEN + timedelta(days=3)}, "four five"),
        ({"since": "2026-01-13T12:00:00Z"}, "four five"),
        ({"since": "2026-01-13T12:00:01Z"}, "five"),
        ({"before": WHEN + timedelta(days=3)}, "one two three"),
        ({"before": "2026-01-13T12:00:01"}, "one two three four"),  # UTC where no zone is named
        ({"since": "2026-01-11", "before": "2026-01-13"}, "two three"),
        ({"since": "2026-01-11T13:30:00+02:00"}, "two three four five"),
        ({"include": ["a/*"], "min_size": 2, "since": "2026-01-01"}, "two"),
    ],
)
def test_filters(dated: Path, selection: dict[str, Any], expected: str) -> None:
    listing = list_inputs([str(dated)], **selection)
    found = {Path(name).stem for name in names(listing)}
    assert found == set(expected.split())
    assert listing.left_out.n_filtered == 5 - len(found)
    assert listing.left_out.n_skipped == 1


def test_filters_hold_for_globs_and_manifests_by_what_is_known(dated: Path) -> None:
    glob = list_inputs([f"{dated}/**/*.wav"], exclude=["a/*"], max_size=4)
    assert (names(glob), glob.left_out.n_filtered) == (["b/three.wav"], 2)
    paths = ["a/one.wav", "b/three.wav", "https://h/b/signed.wav?hunter2", "https://h/a/x.wav?y"]
    manifest = write_csv(dated / "m.csv", ("path",), [(path,) for path in paths])
    # Size and time of a remote file are not known before it is read.
    listing = list_inputs([str(manifest)], include=["*b/*"], min_size=4, since="2030-01-01")
    assert (names(listing), listing.left_out.n_filtered) == (["https://h/b/signed.wav"], 3)
    # A row of a manifest that is left out keeps its number.
    assert reveal(listing.recordings[0], None, "driver").uri == paths[2]
    assert names(list_inputs([str(manifest)], include=["*b/*"], min_size=3)) == [
        "b/three.wav",
        "https://h/b/signed.wav",
    ]


def test_filters_that_leave_nothing_are_named(dated: Path) -> None:
    with pytest.raises(
        InputError, match=r"no recordings in .*; 5 left out by the filters; 1 other file skipped \(1 .txt\): audio"
    ):
        list_inputs([str(dated)], include=["nothing*"])


def test_a_file_named_outright_is_taken_whatever_the_filters(dated: Path) -> None:
    assert names(list_inputs([str(dated / "five.wav")], max_size=1, exclude=["*"])) == ["five.wav"]


def test_what_a_store_does_not_say_is_not_filtered_by() -> None:
    selection = Selection.model_validate({"min_size": 5, "since": "2030-01-01"})
    assert is_selected(Entry("x://a.wav", "a.wav"), selection)
    assert not is_selected(Entry("x://a.wav", "a.wav", 4), selection)
    assert not is_selected(Entry("x://a.wav", "a.wav", 5, modified=WHEN), selection)


# An S3 Inventory, copied to disk.

KEYS = ("in/a b.wav", "in/ä+1%.flac", "in/notes.txt", "in/a//b.wav", "../up.wav")


def write_inventory(folder: Path, file_format: str, n_files: int = 2) -> Path:
    """Write ``manifest.json`` and its data files beside it; objects are of 10, 11, … bytes, a day apart."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        ("clinic", key, 10 + n, (WHEN + timedelta(days=n)).isoformat().replace("+00:00", "Z"), f"etag{n}")
        for n, key in enumerate(KEYS)
    ]
    files = []
    for number in range(n_files):
        mine = rows[number::n_files]
        if file_format == "CSV":
            text = io.StringIO()
            quoted = [(bucket, quote_plus(key), *rest) for bucket, key, *rest in mine]
            csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(quoted)
            name, data = f"part{number}.csv.gz", gzip.compress(text.getvalue().encode())
            schema = "Bucket, Key, Size, LastModifiedDate, ETag"
        else:
            columns = ("bucket", "key", "size", "last_modified_date", "e_tag")
            cells = dict(zip(columns, map(list, zip(*mine, strict=True)), strict=True))
            cells["last_modified_date"] = [datetime.fromisoformat(one) for one in cells["last_modified_date"]]
            buffer = io.BytesIO()
            pq.write_table(pa.table(cells), buffer)
            name, data = f"part{number}.parquet", buffer.getvalue()
            schema = (
                "message s3.inventory { required binary bucket (UTF8); required binary key (UTF8); "
                "optional int64 size; optional int64 last_modified_date (TIMESTAMP_MILLIS); "
                "optional binary e_tag (UTF8); }"
            )
        (folder / name).write_bytes(data)
        digest = hashlib.md5(data).hexdigest()
        files.append({"key": f"inventory/clinic/daily/data/{name}", "size": len(data), "MD5checksum": digest})
    content = {
        "sourceBucket": "clinic",
        "destinationBucket": "arn:aws:s3:::elsewhere",
        "version": "2016-11-30",
        "creationTimestamp": "1514944800000",
        "fileFormat": file_format,
        "fileSchema": schema,
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder / "manifest.json"


@pytest.mark.parametrize("file_format", ["CSV", "Parquet"])
def test_an_s3_inventory_beside_its_files(tmp_path: Path, file_format: str) -> None:
    manifest = write_inventory(tmp_path / "copy", file_format)
    listing = list_inputs([str(manifest)])
    expected = [
        Recording(
            *(f"s3://clinic/{key}", key, 10 + KEYS.index(key), f"etag{KEYS.index(key)}"),
            modified=WHEN + timedelta(days=KEYS.index(key)),
        )
        for key in (KEYS[0], KEYS[4], KEYS[1], KEYS[3])  # file by file
    ]
    assert listing.recordings == expected
    assert (listing.left_out.n_skipped, listing.left_out.n_filtered, listing.left_out.n_duplicates) == (1, 0, 0)
    again = list_inputs([str(manifest), f"file://{manifest}"])
    assert again.recordings == expected
    assert again.left_out.n_duplicates == 4
    some = list_inputs([str(manifest)], include=["in/*"], min_size=11, before=WHEN + timedelta(days=3))
    assert (names(some), some.left_out.n_filtered) == (["in/ä+1%.flac"], 3)


def test_an_inventory_whose_files_are_not_there_or_not_its_own(tmp_path: Path) -> None:
    manifest = write_inventory(tmp_path, "CSV")
    (tmp_path / "part1.csv.gz").write_bytes((tmp_path / "part0.csv.gz").read_bytes())
    with pytest.raises(InputError, match=r"part1\.csv\.gz: the file does not match its manifest"):
        list_inputs([str(manifest)])
    (tmp_path / "part1.csv.gz").unlink()
    with pytest.raises(InputError, match=r"part1\.csv\.gz: does not exist, but .*/manifest\.json names it$"):
        list_inputs([str(manifest)])
    manifest.write_text("{}")
    with pytest.raises(InputError, match=r"manifest\.json: "):
        list_inputs([str(manifest)])
    manifest.unlink()
    with pytest.raises(InputError, match=r"manifest\.json: no such inventory$"):
        list_inputs([str(manifest)])
    touch(tmp_path, "f/manifest.json/a.wav")
    assert names(list_inputs([str(tmp_path / "f" / "manifest.json")])) == ["a.wav"]


# A list of any length.


def test_duplicates_are_taken_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    listing = list_inputs([str(tmp_path / "b.wav"), str(tmp_path), f"{tmp_path}/*.wav"])
    assert names(listing) == ["b.wav", "a.wav"]
    assert listing.left_out.n_duplicates == 3
    # Overlapping folders, a manifest among them, and another spelling.
    touch(tmp_path, "deep/c.wav", "deep/er/d.wav")
    manifest = write_csv(tmp_path / "m.csv", ("path",), [("deep/c.wav",), ("./a.wav",), ("new.wav",)])
    inputs = [str(tmp_path / "deep/er"), str(tmp_path / "deep"), f"file://{tmp_path}", str(manifest), f"{tmp_path}/"]
    listing = list_inputs(inputs)
    assert names(listing) == ["d.wav", "c.wav", "a.wav", "b.wav", "new.wav"]
    assert listing.left_out.n_duplicates == 1 + 2 + 2 + 4


def test_a_listing_can_be_taken_twice(tmp_path: Path) -> None:
    """An update lists again; the counts are those of the last time."""
    touch(tmp_path, "a.wav", "b.txt", "c.mp3")
    listing = Listing([str(tmp_path), str(tmp_path)], selection=Selection(exclude=("c*",)))
    for _ in range(2):
        assert [one.relative_path for one in listing] == ["a.wav"]
        left_out = listing.left_out
        counts = (listing.n_recordings, left_out.n_skipped, left_out.n_filtered, left_out.n_duplicates)
        assert counts == (1, 2, 2, 1)


def test_what_is_listed_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 80_000

    def walk(folder: str, *, with_unlisted: bool) -> Iterator[Entry]:
        for number in range(n):
            key = f"ward-{number % 7}/patient-{number:09d}/recording.wav"
            yield Entry(f"{folder}/{key}", key, number, f"etag-{number}", WHEN)

    monkeypatch.setattr("heartbeat_core.storage.walk", walk)
    monkeypatch.setattr("heartbeat_core.storage.is_folder", lambda uri: True)
    listing = Listing(["memory://bucket"])
    n_shards = n_recordings = 0
    tracemalloc.start()
    try:
        for shard in make_shards(listing, ShardSettings()):
            n_shards += 1
            n_recordings += len(shard)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_shards < n // 300
    assert n_recordings == n
    # Of the list's beginning 16,384 are held; all of them would take thirty megabytes.
    assert peak_bytes < 16 * 2**20


def test_an_input_that_fails_in_the_middle_gives_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def walk(folder: str, *, with_unlisted: bool) -> Iterator[Entry]:
        yield Entry(f"{folder}/a.wav", "a.wav")
        raise StorageError("memory://bucket: HTTP status 503")

    monkeypatch.setattr("heartbeat_core.storage.walk", walk)
    monkeypatch.setattr("heartbeat_core.storage.is_folder", lambda uri: True)
    listing = iter(Listing(["memory://bucket"]))
    assert next(listing).relative_path == "a.wav"
    with pytest.raises(InputError, match="503"):
        next(listing)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no recordings in .*: audio files end in \.wav"):
        list_inputs([str(tmp_path)])
    touch(tmp_path, "a.txt", "b.txt")
    with pytest.raises(InputError, match=r"2 other files skipped \(2 \.txt\): audio"):
        list_inputs([str(tmp_path)])


def test_a_missing_path_is_refused_though_another_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    with pytest.raises(InputError, match=r"/nowhere: no such file or folder$"):
        list_inputs([str(tmp_path), f"{tmp_path}/nowhere"])


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(InputError, match=r"gopher://x/a\.wav: .*gopher.*schemes that fsspec knows"):
        list_inputs(["gopher://x/a.wav"])


def test_endings_of_skipped_files_are_counted(tmp_path: Path) -> None:
    audio = [f"{number}.{ending}" for number, ending in enumerate(("m4a", "M4A", "m4a", "m4a", "m4a"))]
    touch(tmp_path, "a.wav", *audio, "e.hea", "f.hea", "g.tsv", "h.txt")
    touch(tmp_path, "README", "i.0001", "j.verylongone", "k.two words")  # What no format is called.
    found = Listing([str(tmp_path)])
    assert len(list(found)) == 1
    told = "13 other files skipped (5 .m4a, 4 without an ending, 2 .hea, 2 more endings)"
    assert found.describe() == f"1 recording listed, {told}"
    # A part of a name may look like an ending.
    assert found.describe(with_names=False) == "1 recording listed, 13 other files skipped"


def test_names_that_are_not_utf8_are_skipped_and_the_first_is_named(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.wav")).write_bytes(b"x")
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.txt")).write_bytes(b"x")
    refused = f"1 file with a name that is not UTF-8 skipped ({tmp_path}/caf\\xe9.wav)"
    with pytest.raises(InputError, match=f"; {re.escape(refused)}: audio"):
        list_inputs([str(tmp_path)])
    touch(tmp_path, "good.wav")
    for inputs in ([str(tmp_path)], [f"{tmp_path}/*.wav", f"{tmp_path}/*.txt"]):
        found = Listing(inputs)
        assert [one.relative_path for one in found] == ["good.wav"]
        assert found.describe() == f"1 recording listed, 1 other file skipped (1 .txt), {refused}"
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/\xe9"))
    touch(folder, "a.wav", "b.wav")
    found = Listing([str(tmp_path)])
    assert len(list(found)) == 1
    assert found.describe().endswith(f"3 files with names that are not UTF-8 skipped (first: {tmp_path}/caf\\xe9.wav)")
    # In a manifest, too.
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"path": "good.wav"}\n{"path": "\\ud800.wav"}\n')
    assert names(list_inputs([str(manifest)])) == ["good.wav"]
    with pytest.raises(InputError, match=r"/\\xe9: the name is not valid UTF-8: rename it$"):
        list_inputs([str(tmp_path), str(folder)])


def test_a_patient_that_no_table_can_hold_is_told(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"path": "a.wav", "Patient": "p1"}\n{"path": "b.wav", "Patient": "p\\ud800"}\n')
    told = r"m\.jsonl, row 2: the column 'Patient' has 'p\\ud800', which is not valid Unicode: correct it$"
    with pytest.raises(InputError, match=told):
        list_inputs([str(manifest)])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_read_permission_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "sub/a.wav")
    (tmp_path / "sub").chmod(0)
    try:
        with pytest.raises(InputError, match="sub: may not be listed: make it readable"):
            list_inputs([str(tmp_path)])
    finally:
        (tmp_path / "sub").chmod(0o700)


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "rec/a.wav", "ward/b.wav")
    (tmp_path / "rec" / "round").symlink_to(".")
    (tmp_path / "rec" / "ward").symlink_to("../ward")
    assert names(list_inputs([str(tmp_path / "rec")])) == ["a.wav", "ward/b.wav"]
    assert names(list_inputs([f"{tmp_path}/rec/w*/*.wav"])) == ["ward/b.wav"]
    assert names(list_inputs([f"{tmp_path}/rec/**/*.wav"])) == ["a.wav", "ward/b.wav"]


def test_special_files_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    for folder_or_glob in (str(tmp_path), f"{tmp_path}/*.wav"):
        found = Listing([folder_or_glob])
        assert [one.relative_path for one in found] == ["a.wav"]
        assert found.describe() == "1 recording listed, 1 special file skipped"
    (tmp_path / "a.wav").unlink()
    os.mkfifo(tmp_path / "log")
    with pytest.raises(InputError, match="; 2 special files skipped: audio"):
        list_inputs([str(tmp_path)])


def test_what_was_listed_is_said_in_one_line(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav", "c.mp3", "d.mp3", "n.txt", "m.txt")
    found = Listing([str(tmp_path), f"{tmp_path}/?.wav"], selection=Selection(exclude=("*.mp3",)))
    assert len(list(found)) == 2
    assert found.describe() == (
        "2 recordings listed, 2 left out by the filters, 2 other files skipped (2 .txt), 2 named twice and taken once"
    )


def test_the_report_of_a_listing_prints_names_as_they_are(tmp_path: Path) -> None:
    printed = io.StringIO()
    manifest = write_csv(tmp_path / f"[red]{'long ' * 20}.csv", ("n", "path"), [("1", ""), ("2", "a.wav")])
    found = Listing([str(manifest)])
    assert len(list(found)) == 1
    report_listing(found, Console(file=printed, width=40))
    assert printed.getvalue() == f"1 recording listed, 1 row without a path skipped ({manifest}: row 1)\n"


sizes = st.lists(st.none() | st.integers(0, 50), max_size=60)


def recordings_of(sizes_bytes: list[int | None]) -> list[Recording]:
    return [Recording(f"file:///r/{i}.wav", f"{i}.wav", size) for i, size in enumerate(sizes_bytes)]


@given(sizes, st.integers(1, 20), st.integers(1, 2**24))
def test_shards_hold_every_recording_in_order_within_bounds(
    sizes_bytes: list[int | None], most: int, most_bytes: int
) -> None:
    recordings = recordings_of(sizes_bytes)
    shards = list(make_shards(recordings, ShardSettings(recordings=most, bytes=most_bytes)))
    assert [one for shard in shards for one in shard] == recordings
    for shard in shards:
        assert 1 <= len(shard) <= most
        # One recording that is larger than a shard may be has one of its own.
        assert len(shard) == 1 or sum(map(size_of, shard)) <= most_bytes


@given(sizes, st.integers(1, 7), st.integers(1, 120))
def test_shards_are_deterministic_and_survive_the_plan(
    sizes_bytes: list[int | None], most: int, most_bytes: int
) -> None:
    settings = ShardSettings(recordings=most, bytes=most_bytes)
    shards = list(make_shards(recordings_of(sizes_bytes), settings))
    assert list(make_shards(iter(recordings_of(sizes_bytes)), settings)) == shards
    numbered = dict(enumerate(shards, start=17))
    assert plan_shards(from_parquet(to_parquet(plan_table(list(numbered.items()))))) == numbered


def size_of(recording: Recording) -> int:
    return 2**16 if recording.size_bytes is None else recording.size_bytes


def whole_list_shards(recordings: list[Recording], settings: ShardSettings, look_ahead: int) -> list[list[Recording]]:
    """Return the shards as a loop cuts them that has the whole list, and looks no farther ahead than it may."""

    def cost(some: list[Recording]) -> int:
        return sum(2**16 + size_of(one) for one in some)

    shards: list[list[Recording]] = []
    start = 0
    while start < len(recordings):
        # From here, as many recordings are in sight as may be held: so many are sure to be in the list.
        is_end_seen = start + look_ahead > len(recordings)
        known = cost(recordings[start:]) if is_end_seen else cost(recordings[: start + look_ahead])
        most_cost = max(8 * 2**17, 4 * math.sqrt(known * 2**17))
        end = start + 1
        while end < len(recordings):
            shard = recordings[start : end + 1]
            too_long = len(shard) > settings.recordings or sum(map(size_of, shard)) > settings.bytes
            if too_long or cost(shard) > most_cost:
                break
            end += 1
        shards.append(recordings[start:end])
        start = end
    return shards


@given(
    st.integers(0, 260),
    st.integers(1, 60),
    st.sampled_from([40, 2**18, 2**30]),
    st.sampled_from([60, 100, 2**14]),
    st.integers(0, 2**32),
)
def test_shards_are_those_of_the_whole_list(n: int, most: int, most_bytes: int, look_ahead: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    recordings = recordings_of([None if one > 480 else int(one) ** 2 for one in rng.integers(0, 500, n)])
    settings = ShardSettings(recordings=most, bytes=most_bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.listing.shards.LOOK_AHEAD", look_ahead)
        found = list(make_shards(iter(recordings), settings))
    assert found == whole_list_shards(recordings, settings, look_ahead)


def test_shards_grow_with_the_list_and_are_small_at_its_end() -> None:
    """A short list gives few files, a long one large files, and all workers end at about the same time."""
    found = {
        n: [len(shard) for shard in make_shards(iter(recordings_of([2**16] * n)), ShardSettings())]
        for n in (36, 832, 16_384, 100_000)
    }
    assert [len(found[n]) for n in (36, 832, 16_384)] == [2, 13, 62]
    assert found[832] == sorted(found[832], reverse=True)
    assert max(found[100_000]) > 2 * max(found[16_384]) > 4 * max(found[832])
    assert all(sum(one[-5:]) < 150 for one in found.values())


@pytest.mark.parametrize("make_input", [str, lambda folder: f"file://{folder}", lambda folder: f"{folder}/"])
def test_spellings_of_a_folder(tmp_path: Path, make_input: Callable[[Path], str]) -> None:
    touch(tmp_path, "s/a.wav")
    assert list_inputs([make_input(tmp_path)]).recordings == [listed(tmp_path / "s/a.wav", "s/a.wav")]


def test_a_folder_that_may_not_be_read_can_be_excluded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.wav", "a b/b.wav", "c/d.wav")

    def scandir(path: str) -> Any:
        if path == str(tmp_path / "a b"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    told = rf"{tmp_path}/a b: may not be listed: make it readable, or leave it out: --exclude 'a b/\*'$"
    with pytest.raises(InputError, match=told):
        list_inputs([str(tmp_path)])
    with pytest.raises(InputError, match="may not be listed"):
        list_inputs([str(tmp_path)], exclude=["c/*"])
    for place in (tmp_path, f"{tmp_path}/**/*.wav"):
        found = list_inputs([str(place)], exclude=["a b/*"])
        assert (names(found), found.left_out.n_filtered) == (["a.wav", "c/d.wav"], 1)
    with pytest.raises(InputError, match=told):
        list_inputs([f"{tmp_path}/**/*.wav"])
    # Where nothing can be excluded, and where it is the input itself.
    with pytest.raises(InputError, match="a b: cannot be listed: Permission denied"):
        list(storage.walk(f"file://{tmp_path}"))
    with pytest.raises(InputError, match="a b: cannot be listed: Permission denied"):
        list_inputs([str(tmp_path / "a b")], exclude=["*"])


def test_what_tables_say_of_a_recording_is_not_lost(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.wav", "in/b.wav")
    folder = str(tmp_path / "in")
    table = str(write_csv(tmp_path / "m.csv", ("path", "patient_id", "site"), [("in/a.wav", "1", "AV")]))
    same = str(write_csv(tmp_path / "same.csv", ("path", "patient_id", "site"), [("in/a.wav", "1", "AV")] * 2))
    silent = str(write_csv(tmp_path / "silent.csv", ("path",), [("in/a.wav",)]))
    columns = ManifestColumns(("site",))
    for inputs in ([table, folder], [table, same], [table, silent], [folder, silent]):
        has_facts = table in inputs
        [found, *_] = Listing(inputs, None, None, columns if has_facts else None)
        assert (found.patient_id, found.kept) == (("1", ("AV",)) if has_facts else (None, ()))
    told = "in/a.wav is named twice, and not with the same patient and kept columns: correct the tables that name it"
    other = str(write_csv(tmp_path / "o.csv", ("path", "patient_id", "site"), [("in/a.wav", "1", "MV")]))
    another = str(write_csv(tmp_path / "p.csv", ("path", "patient_id", "site"), [("in/a.wav", "2", "AV")]))
    for inputs in ([folder, table], [table, other], [table, another], [silent, table]):
        with pytest.raises(InputError, match=told):
            list(Listing(inputs, None, None, columns))
    # A column that is not kept tells nothing.
    assert len(list(Listing([table, other]))) == 1


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["33151.0", "", "7.0"], ["33151", "", "7"]),
        (["33151.0", "7.5", "7.0"], ["33151.0", "7.5", "7.0"]),
        (["33151.0", "P7", ""], ["33151.0", "P7", ""]),
        (["007", "7", ""], ["007", "7", ""]),
    ],
)
def test_patients_whom_a_gap_made_decimal_numbers_are_whole_again(
    tmp_path: Path, cells: list[str], expected: list[str]
) -> None:
    rows = [(f"{number}.wav", cell) for number, cell in enumerate(cells)]
    manifest = write_csv(tmp_path / "m.csv", ("path", "patient_id"), rows)
    assert [one.patient_id or "" for one in list_inputs([str(manifest)]).recordings] == expected
    # A kept column of them still joins.
    kept = list(Listing([str(manifest)], None, None, ManifestColumns(("patient_id",))))
    assert [one.kept[0] or "" for one in kept] == expected


@pytest.mark.parametrize("name", ["list.XLSX", "list.tsv", "list.json"])
def test_a_list_in_another_format_is_no_recording(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name, "a.wav")
    with pytest.raises(InputError, match=rf"{name}: no recording, .* \.csv, \.parquet, \.jsonl tables: save it"):
        list_inputs([str(tmp_path / name)])
    assert names(list_inputs([str(tmp_path)])) == ["a.wav"]


def test_a_row_that_names_no_place_is_named(tmp_path: Path) -> None:
    manifest = write_csv(tmp_path / "m.csv", ("path",), [("a.wav",), ("s3://",)])
    with pytest.raises(InputError, match=r"m\.csv, row 2: 's3://' names no place: give a file"):
        list_inputs([str(manifest)])


def test_the_way_out_works_for_names_with_signs_of_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.wav", "[old]*/b.wav")

    def scandir(path: str) -> Any:
        if "[old]" in path:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="may not be listed") as refused:
        list_inputs([str(tmp_path)])
    [advised] = shlex.split(str(refused.value).rpartition("--exclude ")[2])
    assert names(list_inputs([str(tmp_path)], exclude=[advised])) == ["a.wav"]
