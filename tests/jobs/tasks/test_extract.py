"""What models read, computed of a dataset's recordings: in order, once, and of the content that was built upon."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heartbeat_core import storage
from heartbeat_core.arrays import Inputs
from heartbeat_core.audio.decode import Waveform, decode
from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.errors import JobError
from heartbeat_core.features.extract import compute_inputs
from heartbeat_core.features.frames import compute_frames
from heartbeat_core.labels import Targets
from heartbeat_core.recipe import FramesSettings, Recipe
from heartbeat_core.settings import Limits
from jobs.tasks.extract import Chunk, ExtractJob, compute, compute_chunk, extract, input_key, make_chunks, read_inputs
from tests.helpers import heart_bytes, statistics_of, tree

PERSON = "circor_1"
LENGTHS_S = (1.0, 0.6, 1.4, 0.8, 1.2)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Five recordings of different lengths; the last name comes first."""
    (tmp_path / "in").mkdir()
    found = [tmp_path / "in" / f"{9 - number}.wav" for number in range(len(LENGTHS_S))]
    for number, (path, length_s) in enumerate(zip(found, LENGTHS_S, strict=True)):
        path.write_bytes(heart_bytes("murmur", number, length_s))
    return found


def chunk_of(paths: list[Path], index: int = 0) -> Chunk:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return Chunk(index, tuple((f"file://{path}", digest, PERSON) for path, digest in zip(paths, digests, strict=True)))


def job_of(out: Path, recipe: Recipe) -> ExtractJob:
    return ExtractJob(f"file://{out}", recipe, Limits(), storage.Access(), 5.0)


def frames_of(path: Path, recipe: Recipe) -> Inputs:
    waveform = decode(path.read_bytes())
    return compute_frames(waveform.samples, waveform.sample_rate_hz, recipe.frames)


def assert_same(found: list[Inputs], expected: list[Inputs]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float32
        assert np.array_equal(one, other)


def test_rows_come_back_in_order_over_several_parts(paths: list[Path], recipe: Recipe, tmp_path: Path) -> None:
    job = job_of(tmp_path / "out", recipe)
    # As tasks of a cluster end: in any order.
    for index, part in ((1, paths[2:4]), (2, paths[4:]), (0, paths[:2])):
        assert extract(chunk_of(part, index), job) == len(part)
    found = read_inputs(job.out, input_key(recipe), 3)
    assert_same(found, [frames_of(path, recipe) for path in paths])
    assert len({len(row) for row in found}) == len(paths)
    key = input_key(recipe)
    assert list(tree(tmp_path / "out")) == [f"_inputs/{key}/part-{index:06d}.parquet" for index in range(3)]


def test_statistics_are_those_of_the_recording_and_then_of_its_copies(
    paths: list[Path], statistics_recipe: Recipe, tmp_path: Path
) -> None:
    job = job_of(tmp_path / "out", statistics_recipe)
    extract(chunk_of(paths), job)
    found = read_inputs(job.out, input_key(statistics_recipe), 1)
    assert {row.shape for row in found} == {(2, 392)}
    for path, row in zip(paths, found, strict=True):
        waveform = decode(path.read_bytes())
        assert np.array_equal(row[0], statistics_of(waveform.samples, waveform.sample_rate_hz))
        # A cluster's workers give the same copies.
        assert np.array_equal(row, compute_inputs(waveform, statistics_recipe))
    # One copy in 65 is as the recording was: each change has its own probability.
    assert sum(np.array_equal(row[0], row[1]) for row in found) < len(found) / 2


def test_what_is_handed_back_is_what_is_stored(paths: list[Path], recipe: Recipe, tmp_path: Path) -> None:
    job = job_of(tmp_path / "out", recipe)
    computed = compute(chunk_of(paths, 7), job)
    assert computed.index == 7
    assert not (tmp_path / "out").exists()
    extract(chunk_of(paths, 0), job)
    assert_same(computed.rows, read_inputs(job.out, input_key(recipe), 1))


def test_a_part_that_is_there_is_not_computed_again(
    paths: list[Path], recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(tmp_path / "out", recipe)
    extract(chunk_of(paths[:2], 0), job)
    before = tree(tmp_path / "out")
    computed = []

    def counted(*arguments: Any) -> Inputs:
        computed.append(arguments)
        return compute_inputs(*arguments)

    monkeypatch.setattr("jobs.tasks.extract.compute_inputs", counted)
    for path in paths[:2]:
        path.unlink()
    assert extract(Chunk(0, (("file:///gone.wav", "0", "p"), ("file:///gone.wav", "0", "p"))), job) == 2
    assert not computed
    assert extract(chunk_of(paths[2:], 1), job) == 3
    assert len(computed) == 3
    assert before.items() <= tree(tmp_path / "out").items()


def test_each_row_is_computed_as_its_persons(
    paths: list[Path], statistics_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    persons = []

    def noted(waveform: Waveform, recipe: Recipe, person: str) -> Inputs:
        persons.append(person)
        return compute_inputs(waveform, recipe, person)

    monkeypatch.setattr("jobs.tasks.extract.compute_inputs", noted)
    rows = [(uri, digest, f"patient:{number}") for number, (uri, digest, _) in enumerate(chunk_of(paths).recordings)]
    compute_chunk(Chunk(0, tuple(rows)), statistics_recipe, Limits())
    assert persons == [f"patient:{number}" for number in range(len(paths))]


def test_a_recording_that_has_changed_is_refused(paths: list[Path], recipe: Recipe, tmp_path: Path) -> None:
    chunk = chunk_of(paths)
    paths[2].write_bytes(heart_bytes("normal", 99))
    job = job_of(tmp_path / "out", recipe)
    for call in (extract, compute):
        with pytest.raises(JobError) as caught:
            call(chunk, job)
        assert str(caught.value) == (f"{paths[2]}: changed since the dataset was built: build it again in a new folder")
    assert not (tmp_path / "out").exists()


def test_a_recording_that_is_gone_is_refused(paths: list[Path], recipe: Recipe) -> None:
    chunk = chunk_of(paths)
    paths[3].unlink()
    with pytest.raises(JobError) as caught:
        compute_chunk(chunk, recipe, Limits())
    text = str(caught.value)
    assert text.startswith(f"{paths[3]}: a recording of the dataset can't be read any more: ")
    assert "\n" not in text


def test_a_recording_that_cannot_be_decoded_any_more_is_named(paths: list[Path], recipe: Recipe) -> None:
    with pytest.raises(JobError) as caught:
        compute_chunk(chunk_of(paths), recipe, Limits(max_duration_s=0.5))
    text = str(caught.value)
    assert text.startswith(f"{paths[0]}: a recording of the dataset can't be used here: ")
    assert "0.5" in text
    assert "\n" not in text


def test_an_addresss_secret_is_not_told(recipe: Recipe) -> None:
    chunk = Chunk(0, (("http://user:hunter2@127.0.0.1:9/a.wav?token=hunter2", "0" * 64, "p"),))
    with pytest.raises(JobError) as caught:
        compute_chunk(chunk, recipe, Limits(deadline_s=0.2))
    assert "http://127.0.0.1:9/a.wav: a recording of the dataset can't be read any more" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("n_rows", "sizes"), [(0, []), (1, [1]), (32, [32]), (33, [32, 1]), (70, [32, 32, 6])])
def test_chunks_hold_each_recording_once_in_order(n_rows: int, sizes: list[int]) -> None:
    uris, digests, persons = ([f"{kind}{number}" for number in range(n_rows)] for kind in ("u", "d", "p"))
    targets = Targets.of_cells(["a"] * n_rows, ("a", "b"))
    chunks = make_chunks(Labelled(uris, uris, digests, targets, persons, persons, persons))
    assert [chunk.index for chunk in chunks] == list(range(len(sizes)))
    assert [len(chunk.recordings) for chunk in chunks] == sizes
    assert [row for chunk in chunks for row in chunk.recordings] == list(zip(uris, digests, persons, strict=True))


def test_recipes_that_read_the_same_share_it(recipe: Recipe, statistics_recipe: Recipe) -> None:
    def key(base: Recipe, **changes: Any) -> str:
        return input_key(base.model_copy(update=changes))

    assert input_key(recipe).startswith("frames-")
    assert input_key(statistics_recipe).startswith("statistics-")
    same = {"name": "other", "training": statistics_recipe.training.model_copy(update={"epochs": 1})}
    assert key(recipe, **same) == input_key(recipe) == key(recipe, input="frequency", model="boosting")
    assert key(statistics_recipe, **same) == input_key(statistics_recipe)
    # Statistics do not depend on the frames, and frames do.
    finer = FramesSettings(delta_time_s=0.05)
    assert key(statistics_recipe, frames=finer) == input_key(statistics_recipe)
    others = {
        input_key(recipe),
        key(recipe, frames=finer),
        key(recipe, input="mfcc"),
        input_key(statistics_recipe),
        key(statistics_recipe, augmentation=statistics_recipe.augmentation.model_copy(update={"copies": 2})),
    }
    assert len(others) == 5
