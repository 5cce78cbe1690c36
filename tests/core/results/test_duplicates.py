"""Recordings with the same audio, and the memory that it takes to find them."""

from __future__ import annotations

import tracemalloc

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.results.duplicates import DuplicateFinder

AUDIO = st.sampled_from([f"{high:016x}{low:016x}{'0' * 32}" for high in (0, 1, 2**64 - 1) for low in (0, 7, 2**63)])


def rows(first: int, audio: list[str]) -> pa.Table:
    ids = [f"{0xFFFF0000 * (first + i) % 2**64:016x}" for i in range(len(audio))]
    return pa.table({"recording_id": ids, "audio_sha256": audio})


@given(st.lists(st.lists(AUDIO, max_size=8), max_size=5))
def test_each_names_the_first_one_with_its_audio(parts: list[list[str]]) -> None:
    finder = DuplicateFinder()
    first_with: dict[str, str] = {}
    expected = []
    n_rows = 0
    for audio in parts:
        part = rows(n_rows, audio)
        n_rows += len(audio)
        finder.add(part)
        for row in part.to_pylist():
            first = first_with.setdefault(row["audio_sha256"], row["recording_id"])
            if first != row["recording_id"]:
                expected.append({"recording_id": row["recording_id"], "duplicate_of": first})

    assert finder.finish().to_pylist() == expected


def test_a_recording_takes_no_more_memory_than_the_operations_page_says() -> None:
    n_parts, n_rows = 50, 1000
    tracemalloc.start()
    try:
        finder = DuplicateFinder()
        for part in range(n_parts):
            finder.add(rows(part * n_rows, [f"{part * n_rows + i:064x}"[::-1] for i in range(n_rows)]))
        finder.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < n_parts * n_rows * 100
