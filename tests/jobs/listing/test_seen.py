"""A set of recordings that takes no memory gives the same answers as a dictionary."""

from __future__ import annotations

import os
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.recordings.recording import Recording
from heartbeat_core.storage.uris import query_digest
from jobs.listing.seen import KnownRecordings


def recording(name: str, version: str | None = None) -> Recording:
    return Recording(f"s3://bucket/{name}", name, version=version)


def test_a_recording_is_added_once() -> None:
    with KnownRecordings() as known:
        assert known.add(recording("a.wav", "1"))
        assert not known.add(recording("a.wav", "1"))
        assert not known.add(recording("a.wav", "2"))
        assert known.add(recording("A.wav", "1"))
        # What is added again does not take the place of what is known.
        assert known.is_current(recording("a.wav", "1"))
        assert not known.is_current(recording("a.wav", "2"))


def test_an_update_takes_the_place_of_what_is_known() -> None:
    with KnownRecordings() as known:
        known.update([recording("a.wav", "1"), recording("b.wav", "1"), recording("a.wav", "2")])
        assert known.is_current(recording("a.wav", "2"))
        assert not known.is_current(recording("a.wav", "1"))
        assert known.is_current(recording("b.wav", "1"))
        assert not known.is_current(recording("c.wav", "1"))


def test_a_version_that_is_not_told_is_no_change() -> None:
    with KnownRecordings() as known:
        known.update([recording("a.wav", "1"), recording("b.wav")])
        assert known.is_current(recording("a.wav"))
        assert known.is_current(recording("b.wav"))
        assert not known.is_current(recording("c.wav"))
        # Nothing was known of its content: it may have changed.
        assert not known.is_current(recording("b.wav", "1"))


def test_addresses_that_differ_by_their_query_are_different_recordings() -> None:
    with KnownRecordings() as known:
        for query in ("id=1", "id=2"):
            one = Recording("https://h/get", "get", query_digest=query_digest(f"https://h/get?{query}"))
            assert known.add(one)
            assert not known.add(one)
        assert known.add(Recording("https://h/get", "get"))
        assert not known.add(Recording("https://h/get?id=2", "get"))
        assert not known.is_current(Recording("https://h/get?id=3", "get"))


def test_secrets_do_not_make_another_recording_and_are_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with KnownRecordings() as known:
        assert known.add(Recording("https://u:hunter2@h/a.wav?X-Amz-Signature=hunter2", "a.wav"))
        assert not known.add(Recording("https://h/a.wav", "a.wav"))
        (file,) = tmp_path.iterdir()
        assert b"hunter2" not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_after_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    n_open = len(os.listdir("/proc/self/fd"))

    def failing() -> Iterator[Recording]:
        yield recording("a.wav")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), KnownRecordings() as known:
        known.update(failing())
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == n_open


names = st.sampled_from("abcd")
versions = st.sampled_from([None, "1", "2"])


@given(st.lists(st.tuples(st.sampled_from(["add", "update", "is_current"]), names, versions), max_size=40))
def test_it_answers_as_a_dictionary(steps: list[tuple[str, str, str | None]]) -> None:
    plain: dict[str, Any] = {}
    with KnownRecordings() as known:
        for step, name, version in steps:
            one = recording(name, version)
            if step == "add":
                assert known.add(one) == (name not in plain)
                plain.setdefault(name, version)
            elif step == "update":
                known.update([one])
                plain[name] = version
            else:
                expected = name in plain and (version is None or plain[name] == version)
                assert known.is_current(one) == expected


def test_memory_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 20_000
    tracemalloc.start()
    try:
        with KnownRecordings() as known:
            known.update(recording(f"{number}.wav", str(number)) for number in range(n))
            assert sum(known.add(recording(f"{number}.wav")) for number in range(n - 10, n + 10)) == 10
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2**20


def test_what_tables_say_is_not_written_to_the_disk() -> None:
    with KnownRecordings() as known:
        known.add(Recording("file:///a.wav", "a.wav", patient_id="Ada Lovelace", kept=("secret ward",)))
        known._database.commit()
        content = Path(known._file.name).read_bytes()
    assert b"Lovelace" not in content
    assert b"secret" not in content
