"""Recordings that are looked up again: what their store says now, or what was listed where it says nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from heartbeat_core import storage
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.storage import retry
from jobs.listing.again import look_again
from jobs.listing.listing import Listing
from tests.helpers import web_server


def listed(folder: Path) -> list[Recording]:
    return list(Listing([str(folder)]))


def test_size_and_version_are_those_of_a_listing_now(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02d}.wav").write_bytes(bytes(number))
    before = listed(tmp_path)
    assert list(look_again(before)) == before
    (tmp_path / "07.wav").write_bytes(bytes(1000))
    now = list(look_again(before))
    assert now == listed(tmp_path)
    assert [one.relative_path for one, old in zip(now, before, strict=True) if one != old] == ["07.wav"]


def test_what_the_label_file_and_the_listing_said_stays(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    old = Recording(f"file://{tmp_path}/a.wav", "sub/a.wav", 9, "old", "murmur", "p1", "phone")
    (new,) = look_again([old])
    assert new == replace(old, size_bytes=1, version=new.version, modified=new.modified)
    assert new.modified is not None
    assert new.version != "old"


def test_a_recording_that_is_gone_or_cannot_be_looked_up_stays_as_it_is(tmp_path: Path) -> None:
    gone = Recording(f"file://{tmp_path}/gone.wav", "gone.wav", 9, "1")
    # The system refuses the name.
    refused = Recording(f"file://{tmp_path}/{'x' * 300}.wav", "x.wav", 9, "1")
    assert list(look_again([gone, refused])) == [gone, refused]


def test_a_remote_row_of_a_manifest_stays_without_a_version() -> None:
    uri = "memory://test-again/a.wav"
    storage.put(uri, b"x")
    row = Recording(uri, "a.wav")
    assert list(look_again([row])) == [row]


def test_a_local_file_that_was_not_there_when_it_was_listed_gets_a_version(tmp_path: Path) -> None:
    gone, back = (Recording(f"file://{tmp_path}/{name}", name) for name in ("gone.wav", "back.wav"))
    (tmp_path / "back.wav").write_bytes(b"x")
    found = storage.find(back.uri)
    assert found is not None
    assert [one.version for one in look_again([gone, back])] == [None, found.version]


def test_a_web_server_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    with web_server(tmp_path) as (address, _):
        one = Recording(f"{address}/a.wav", "a.wav", 9, "1")
    with retry.patience(0.5):
        assert list(look_again([one])) == [one]
