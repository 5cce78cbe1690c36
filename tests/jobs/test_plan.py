"""Inputs to recordings, recordings to shards."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.errors import InputError
from heartbeat_core.recording import Recording
from heartbeat_core.schema import plan_shards, plan_table
from heartbeat_core.tables import from_parquet, to_parquet
from jobs.plan import AUDIO_SUFFIXES, PATH_COLUMNS, Listing, list_inputs, make_shards
from jobs.settings import ShardSettings
from tests.helpers import web_server, write_csv

MANIFEST_SUFFIXES = ("csv", "parquet", "jsonl")


def touch(folder: Path, *names: str) -> None:
    for number, name in enumerate(names, start=1):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number)


def names(listing: Listing) -> list[str]:
    return [recording.relative_path for recording in listing.recordings]


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
    assert listing.n_skipped == len(others)
    assert listing.n_duplicates == 0


def test_the_endings_are_those_of_the_issue() -> None:
    told = ".wav .w64 .flac .ogg .oga .opus .mp3 .aif .aiff .au .snd .caf"
    assert set(AUDIO_SUFFIXES) == set(told.split())


def test_recordings_carry_uri_relative_path_and_size(tmp_path: Path) -> None:
    touch(tmp_path, "one.wav", "sub/two.wav")
    assert list_inputs([str(tmp_path)]).recordings == [
        Recording(f"file://{tmp_path}/one.wav", "one.wav", 1),
        Recording(f"file://{tmp_path}/sub/two.wav", "sub/two.wav", 2),
    ]


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
    assert listing.recordings == [Recording(f"file://{tmp_path}/{name}", name, 1)]
    assert listing.n_skipped == 0


def test_a_relative_path_and_a_file_url_are_the_same_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "sub/a.wav")
    monkeypatch.chdir(tmp_path)
    listing = list_inputs(["sub/a.wav", f"file://{tmp_path}/sub/a.wav", str(tmp_path / "sub" / ".." / "sub")])
    assert listing.recordings == [Recording(f"file://{tmp_path}/sub/a.wav", "a.wav", 1)]
    assert listing.n_duplicates == 2


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
    assert listing.n_skipped == n_skipped


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
    assert listing.n_duplicates == 1
    assert listing.n_skipped == 0


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
        ("m.csv", b"path,b\na.wav,1\n,2\n", "a row has no path in the column 'path'"),
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
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_manifest_and_a_folder_named_like_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.csv: no such manifest"):
        list_inputs([str(tmp_path / "m.csv")])
    touch(tmp_path, "data.csv/a.wav")
    assert names(list_inputs([str(tmp_path / "data.csv")])) == ["a.wav"]


def test_other_schemes(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    with web_server(tmp_path) as (address, _):
        listing = list_inputs([f"{address}/a.wav", f"{address.replace('//', '//user:secret@')}/b.wav?token=1"])
    assert [one.public_uri for one in listing.recordings] == [f"{address}/a.wav", f"{address}/b.wav"]
    assert listing.recordings[0].size_bytes == 1


def test_duplicates_are_taken_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    listing = list_inputs([str(tmp_path / "b.wav"), str(tmp_path), f"{tmp_path}/*.wav"])
    assert names(listing) == ["b.wav", "a.wav"]
    assert listing.n_duplicates == 3


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no recordings in .*: audio files end in \.wav"):
        list_inputs([str(tmp_path)])
    touch(tmp_path, "a.txt", "b.txt")
    with pytest.raises(InputError, match="2 other files were skipped"):
        list_inputs([str(tmp_path)])


def test_a_missing_path_is_refused_though_another_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    with pytest.raises(InputError, match=r"/nowhere: no such file or folder$"):
        list_inputs([str(tmp_path), f"{tmp_path}/nowhere"])


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(InputError, match=r"gopher://x/a\.wav: .*gopher.*schemes that fsspec knows"):
        list_inputs(["gopher://x/a.wav"])


def test_a_name_that_is_not_text_is_refused_by_name(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.wav")).write_bytes(b"x")
    with pytest.raises(InputError, match=r"caf\\xe9\.wav.* UTF-8"):
        list_inputs([str(tmp_path)])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_read_permission_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "sub/a.wav")
    (tmp_path / "sub").chmod(0)
    try:
        with pytest.raises(InputError, match="sub: cannot be listed: Permission denied"):
            list_inputs([str(tmp_path)])
    finally:
        (tmp_path / "sub").chmod(0o700)


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "rec/a.wav")
    (tmp_path / "rec" / "round").symlink_to(tmp_path)
    assert names(list_inputs([str(tmp_path / "rec")])) == ["a.wav"]


sizes = st.lists(st.none() | st.integers(0, 50), max_size=60)


def recordings_of(sizes_bytes: list[int | None]) -> list[Recording]:
    return [Recording(f"file:///r/{i}.wav", f"{i}.wav", size) for i, size in enumerate(sizes_bytes)]


@given(sizes, st.integers(1, 7), st.integers(1, 120))
def test_shards_hold_every_recording_in_order_within_bounds(
    sizes_bytes: list[int | None], most: int, most_bytes: int
) -> None:
    recordings = recordings_of(sizes_bytes)
    shards = make_shards(recordings, ShardSettings(recordings=most, bytes=most_bytes))
    assert [one for shard in shards for one in shard] == recordings
    for shard in shards:
        assert 1 <= len(shard) <= most
        # One recording that is larger than a shard may be has one of its own.
        weights = [2**20 if one.size_bytes is None else one.size_bytes for one in shard]
        assert len(shard) == 1 or sum(weights) <= most_bytes
    for shard, following in pairwise(shards):
        weights = [2**20 if one.size_bytes is None else one.size_bytes for one in [*shard, following[0]]]
        assert len(shard) == most or sum(weights) > most_bytes, "a shard was closed too early"


@given(sizes, st.integers(1, 7), st.integers(1, 120))
def test_shards_are_deterministic_and_survive_the_plan(
    sizes_bytes: list[int | None], most: int, most_bytes: int
) -> None:
    settings = ShardSettings(recordings=most, bytes=most_bytes)
    shards = make_shards(recordings_of(sizes_bytes), settings)
    assert make_shards(recordings_of(sizes_bytes), settings) == shards
    assert plan_shards(from_parquet(to_parquet(plan_table(shards)))) == shards


@pytest.mark.parametrize("make_input", [str, lambda folder: f"file://{folder}", lambda folder: f"{folder}/"])
def test_spellings_of_a_folder(tmp_path: Path, make_input: Callable[[Path], str]) -> None:
    touch(tmp_path, "s/a.wav")
    assert list_inputs([make_input(tmp_path)]).recordings == [Recording(f"file://{tmp_path}/s/a.wav", "s/a.wav", 1)]
