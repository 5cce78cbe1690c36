"""The work of one task, called by hand: how often it is run, and where it dies, does not show in the rows."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from heartbeat_core import storage
from heartbeat_core.alignment.placement import Reference
from heartbeat_core.audio.decode import decode
from heartbeat_core.bundles.bundle import Bundle, load
from heartbeat_core.bundles.manifest import read_manifest
from heartbeat_core.errors import BundleError, JobError, StorageError
from heartbeat_core.features.frames import compute_frames
from heartbeat_core.formats.parquet import from_parquet, to_parquet
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.recipe import FramesSettings, Recipe
from heartbeat_core.recordings.process import process
from heartbeat_core.recordings.recording import Failure, Recording
from heartbeat_core.results.schema import FAILURES, RECORDINGS, failures_table, features_schema, predictions_schema
from heartbeat_core.settings import Limits, canonical_json
from jobs.listing.shards import Shard
from jobs.output.commits import Settled, settle_failures
from jobs.output.ledger import Commit, find_commit
from jobs.tasks import reference
from jobs.tasks import shards as tasks
from jobs.tasks.context import RunFacts, Stopped, stop_work
from jobs.tasks.isolation import Here
from jobs.tasks.parts import ClassifyWork, DatasetWork, PartFacts, Parts, ShardParts
from jobs.tasks.processing import process_recordings
from jobs.tasks.reference import Longest, ScanJob, choose, scan_shard
from jobs.tasks.shards import ClassifyJob, DatasetJob, classify_shard, dataset_shard, in_isolation, load_bundle
from tests.helpers import audio_bytes, comparable, heart_bytes, read_rows, read_table, recording_of, tree
from tests.jobs import misbehaviour

TABLES = ("predictions", "features", "failures")


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    """Four good recordings and two broken ones, of which one can be mended."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, label in enumerate(("normal", "murmur", "extrahls", "extrastole")):
        (folder / f"{number}.wav").write_bytes(heart_bytes(label, number))
    (folder / "broken.wav").write_text("not a sound")
    (folder / "empty.wav").write_bytes(b"")
    return Shard(3, tuple(recording_of(path) for path in sorted(folder.iterdir())))


def run_facts(out: Path, run_id: str = "run-1") -> RunFacts:
    return RunFacts(f"file://{out}", run_id, Limits(), (("heartbeat_version", "x"), ("run_id", run_id)))


def classify_job(out: Path, bundle: Path) -> ClassifyJob:
    return ClassifyJob(run_facts(out), str(bundle), read_manifest(str(bundle)).digest)


@pytest.fixture
def job(tmp_path: Path, bundle: Path) -> ClassifyJob:
    return classify_job(tmp_path / "out", bundle)


def out_of(job: ClassifyJob | DatasetJob) -> Path:
    return Path(storage.display(job.run.out))


def assert_complete(job: ClassifyJob, shard: Shard, n_failed: int) -> None:
    """Every recording has exactly one row, in the tables or among the failures."""
    listed = sorted(one.public_uri for one in shard.recordings)
    rows = {name: [row["uri"] for row in read_rows(out_of(job), name)] for name in TABLES}
    assert len(rows["failures"]) == n_failed
    assert rows["predictions"] == rows["features"]
    assert sorted(rows["predictions"] + rows["failures"]) == listed


def test_a_shard_becomes_three_parts_and_a_commit(shard: Shard, job: ClassifyJob) -> None:
    commit = classify_shard(shard, job)
    labels = Counter(row["predicted_label"] for row in read_rows(out_of(job), "predictions"))
    errors = Counter(row["error_type"] for row in read_rows(out_of(job), "failures"))
    assert commit == Commit(3, 6, {"predictions": 4, "features": 4, "failures": 2}, "run-1", labels, errors)
    assert commit.failed == 2
    assert sorted(tree(out_of(job))) == [
        "_commits/part-000003.json",
        "_settled/part-000003",
        "failures/part-000003.parquet",
        "features/part-000003.parquet",
        "predictions/part-000003.parquet",
    ]
    assert_complete(job, shard, 2)
    failures = {row["uri"].rpartition("/")[2]: row for row in read_rows(out_of(job), "failures")}
    assert {name: (row["stage"], row["error_type"]) for name, row in failures.items()} == {
        "broken.wav": ("decode", "not_audio"),
        "empty.wav": ("decode", "empty"),
    }
    assert all(row["message"] for row in failures.values())
    assert failures["broken.wav"]["size_bytes"] == 11


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("predictions", predictions_schema(ORIGINAL_LABELS)),
        ("features", features_schema(["aligned"])),
        ("failures", FAILURES),
    ],
)
def test_parts_have_the_schema_and_the_provenance(shard: Shard, job: ClassifyJob, name: str, schema: object) -> None:
    classify_shard(shard, job)
    file = pq.ParquetFile(out_of(job) / name / "part-000003.parquet")
    assert file.schema_arrow.equals(schema, check_metadata=False)
    metadata = {key.decode(): value.decode() for key, value in file.schema_arrow.metadata.items()}
    assert metadata == {
        "heartbeat.schema_version": "7",
        "heartbeat.run_id": "run-1",
        "heartbeat.heartbeat_version": "x",
    }
    assert file.num_row_groups == 1


@pytest.mark.parametrize("kept", ["good", "broken"])
def test_only_what_failed_makes_a_failures_part(shard: Shard, job: ClassifyJob, kept: str) -> None:
    broken = {"broken.wav", "empty.wav"}
    some = tuple(one for one in shard.recordings if (one.relative_path in broken) == (kept == "broken"))
    commit = classify_shard(Shard(0, some), job)
    if kept == "good":
        assert commit.rows["failures"] == 0
        assert not (out_of(job) / "failures").exists(), "nothing failed"
    else:
        assert commit.rows == {"predictions": 0, "features": 0, "failures": 2}
        schema = predictions_schema(ORIGINAL_LABELS)
        assert read_table(out_of(job), "predictions").schema.equals(schema, check_metadata=False)


def test_running_it_twice_adopts_the_parts(shard: Shard, job: ClassifyJob) -> None:
    first = classify_shard(shard, job)
    before = tree(out_of(job))
    assert classify_shard(shard, job) == first
    assert tree(out_of(job)) == before


WRITES = ("_settled/part", "failures/part", "features/part", "predictions/part", "_commits/part")


@pytest.mark.parametrize("n_written", range(len(WRITES)))
def test_an_attempt_that_died_between_two_writes_is_taken_over(
    shard: Shard, job: ClassifyJob, tmp_path: Path, bundle: Path, n_written: int
) -> None:
    whole = classify_job(tmp_path / "whole", bundle)
    classify_shard(shard, whole)
    classify_shard(shard, job)
    for name in WRITES[n_written:]:
        folder, part = name.split("/")
        for path in (out_of(job) / folder).glob(f"{part}*"):
            path.unlink()
    left = tree(out_of(job))
    assert len(left) == n_written
    classify_shard(shard, job)
    after = tree(out_of(job))
    assert left.items() <= after.items(), "a part was written again"
    assert_complete(job, shard, 2)
    for name in TABLES:
        assert comparable(out_of(job), name) == comparable(out_of(whole), name)


DIE_IN_THE_MIDDLE = """
import os, pickle, sys
from concurrent.futures import ThreadPoolExecutor
from heartbeat_core import storage

how, death = sys.argv[1], int(sys.argv[2])
create, link, n_calls = storage.create, os.link, 0

def count():
    global n_calls
    n_calls += 1
    if n_calls == death:
        os._exit(9)

def dying_create(uri, data):
    if how == "before":
        count()
    created = create(uri, data)
    if how == "after":
        count()
    return created

def dying_link(*arguments, **options):
    if how == "within":
        count()
    return link(*arguments, **options)

storage.create = dying_create
os.link = dying_link
from jobs.output import commits
from jobs.tasks.shards import classify_shard
# One part after the other, so that which is the second is known.
commits.ThreadPoolExecutor = lambda n, **options: ThreadPoolExecutor(1, **options)
classify_shard(*pickle.load(sys.stdin.buffer))
"""


def test_a_process_that_dies_in_the_middle_of_a_write_is_taken_over(
    shard: Shard, job: ClassifyJob, tmp_path: Path, bundle: Path
) -> None:
    """``os._exit`` where power would fail: the file is there under its temporary name, and not under its own."""
    whole = classify_job(tmp_path / "whole", bundle)
    classify_shard(shard, whole)
    # In the middle of writing the features, and in a second attempt after they were written.
    for how, death in (("within", 2), ("after", 2)):
        died = subprocess.run(
            [sys.executable, "-c", DIE_IN_THE_MIDDLE, how, str(death)],
            input=pickle.dumps((shard, job)),
            cwd=Path(__file__).parents[3],
            check=False,
            capture_output=True,
        )
        assert died.returncode == 9, died.stderr.decode()
        assert not (out_of(job) / "_commits/part-000003.json").exists()
    names = [name for name in tree(out_of(job)) if not name.endswith(".tmp")]
    assert names == ["_settled/part-000003", "features/part-000003.parquet"]
    assert len(tree(out_of(job))) == 3, "the first attempt was to die with a temporary file"
    classify_shard(shard, job)
    assert_complete(job, shard, 2)
    for name in TABLES:
        assert comparable(out_of(job), name) == comparable(out_of(whole), name)


def test_a_recording_that_an_earlier_attempt_could_not_read_stays_a_failure(
    shard: Shard, job: ClassifyJob, tmp_path: Path
) -> None:
    """What is settled stays so: otherwise a dying worker and a mended file would give two rows, or none."""
    classify_shard(shard, job)
    for folder in ("predictions", "features", "_commits"):
        next((out_of(job) / folder).iterdir()).unlink()
    (tmp_path / "in" / "broken.wav").write_bytes(heart_bytes("normal", 9))
    commit = classify_shard(shard, job)
    assert commit.rows == {"predictions": 4, "features": 4, "failures": 2}
    assert_complete(job, shard, 2)


def test_a_recording_that_an_earlier_attempt_could_read_must_be_readable(
    shard: Shard, job: ClassifyJob, tmp_path: Path
) -> None:
    classify_shard(shard, job)
    for folder in ("predictions", "features", "_commits"):
        next((out_of(job) / folder).iterdir()).unlink()
    mended = (tmp_path / "in" / "1.wav").read_bytes()
    (tmp_path / "in" / "1.wav").unlink()
    with pytest.raises(StorageError, match=r"shard 3: 1 recording cannot be read any more, the first is .*/in/1\.wav"):
        classify_shard(shard, job)
    assert not list((out_of(job) / "_commits").iterdir())
    assert not list((out_of(job) / "predictions").iterdir())
    (tmp_path / "in" / "1.wav").write_bytes(mended)
    classify_shard(shard, job)
    assert_complete(job, shard, 2)


def test_settle_failures_gives_what_is_stored(tmp_path: Path) -> None:
    def part(*names: str) -> bytes:
        failures = [Failure(Recording(f"file:///{name}", name), "read", "unreadable", "why") for name in names]
        return to_parquet(failures_table(failures, generation=0, run_id="r", now=datetime.now(UTC)))

    out = f"file://{tmp_path}"
    ids = {name: Recording(f"file:///{name}", name).recording_id for name in "ab"}
    settled, nothing = part("a"), frozenset[str]()
    assert settle_failures(out, 0, settled) == Settled(settled, frozenset({ids["a"]}), is_adopted=False)
    for other in (part("a", "b"), None):
        assert settle_failures(out, 0, other) == Settled(settled, frozenset({ids["a"]}), is_adopted=True)
    assert settle_failures(out, 1, None) == Settled(None, nothing, is_adopted=False)
    assert settle_failures(out, 1, part("b")) == Settled(None, nothing, is_adopted=True)


def test_an_attempt_that_ends_after_a_compaction_stores_nothing(
    shard: Shard, job: ClassifyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was cut off began before the other's commit, and ends when the parts have other names."""
    commit = classify_shard(shard, job)
    for name in TABLES:
        (out_of(job) / name / "part-000003.parquet").unlink()
    before = tree(out_of(job))
    looks = iter([lambda *where: None])
    monkeypatch.setattr(tasks, "find_commit", lambda *where: next(looks, find_commit)(*where))
    assert classify_shard(shard, job) == commit
    assert tree(out_of(job)) == before


def plant_foreign(out: Path, shard: Shard, bundle: Path, name: str, scratch: Path) -> None:
    """Put another shard's file where the shard's own would be written."""
    other = classify_job(scratch, bundle)
    classify_shard(Shard(shard.index, shard.recordings[:2]), other)
    (out / name).mkdir(parents=True)
    [part] = (scratch / name).iterdir()
    (out / name / part.name).write_bytes(part.read_bytes())


@pytest.mark.parametrize("name", ["predictions", "features", "_settled"])
def test_rows_that_do_not_add_up_are_not_committed(
    shard: Shard, job: ClassifyJob, bundle: Path, tmp_path: Path, name: str
) -> None:
    # The first two recordings are good: two rows too few, or no failures where two are.
    plant_foreign(out_of(job), shard, bundle, name, tmp_path / "scratch")
    with pytest.raises(StorageError) as caught:
        classify_shard(shard, job)
    assert "shard 3: " in str(caught.value)
    assert not (out_of(job) / "_commits").exists()


@pytest.mark.parametrize("name", [*TABLES, "_settled"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: b"\0" * len(data),
        lambda data: data[:-400] + bytes(392) + data[-8:],
        lambda data: b"PAR1" + b"\xff\xff\xff\x7fPAR1",
    ],
    ids=["empty", "half", "byte-less", "zeros", "footer", "length"],
)
def test_a_damaged_part_is_not_committed(
    shard: Shard, job: ClassifyJob, name: str, damage: Callable[[bytes], bytes]
) -> None:
    classify_shard(shard, job)
    [path] = (out_of(job) / name).iterdir()
    path.write_bytes(damage(path.read_bytes()))
    (out_of(job) / "_commits/part-000003.json").unlink()
    with pytest.raises(StorageError) as caught:
        classify_shard(shard, job)
    assert path.name in str(caught.value) or "shard 3" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((out_of(job) / "_commits").iterdir())


def test_settled_failures_of_other_recordings_are_not_adopted(
    shard: Shard, job: ClassifyJob, bundle: Path, tmp_path: Path
) -> None:
    """Its count is right and its rows are another shard's."""
    (tmp_path / "in2").mkdir()
    strangers = []
    for name in ("x.wav", "y.wav"):
        (tmp_path / "in2" / name).write_text("no sound")
        strangers.append(recording_of(tmp_path / "in2" / name))
    other = classify_job(tmp_path / "scratch", bundle)
    classify_shard(Shard(3, tuple(strangers)), other)
    (out_of(job) / "_settled").mkdir(parents=True)
    part = "_settled/part-000003"
    (out_of(job) / part).write_bytes((tmp_path / "scratch" / part).read_bytes())
    with pytest.raises(StorageError, match="shard 3"):
        classify_shard(shard, job)
    assert not (out_of(job) / "_commits").exists()


def test_settled_failures_among_good_recordings_are_not_adopted(
    shard: Shard, job: ClassifyJob, bundle: Path, tmp_path: Path
) -> None:
    good = Shard(3, shard.recordings[:4])
    (tmp_path / "stranger.wav").write_text("no sound")
    other = classify_job(tmp_path / "scratch", bundle)
    classify_shard(Shard(3, (recording_of(tmp_path / "stranger.wav"),)), other)
    (out_of(job) / "_settled").mkdir(parents=True)
    part = "_settled/part-000003"
    (out_of(job) / part).write_bytes((tmp_path / "scratch" / part).read_bytes())
    with pytest.raises(StorageError, match="shard 3: 4 recordings were listed and these rows are stored"):
        classify_shard(good, job)
    assert not (out_of(job) / "_commits").exists()


def test_a_failure_that_is_stored_twice_is_not_committed(shard: Shard, job: ClassifyJob) -> None:
    classify_shard(shard, job)
    path = out_of(job) / "failures/part-000003.parquet"
    table = pq.ParquetFile(path).read()
    path.write_bytes(to_parquet(pa.concat_tables([table, table])))
    (out_of(job) / "_commits/part-000003.json").unlink()
    with pytest.raises(StorageError, match="shard 3: 6 recordings were listed and these rows are stored"):
        classify_shard(shard, job)


def test_the_threads_of_a_worker_load_the_model_once(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load_slowly(*arguments: Any) -> Bundle:
        loaded.append(arguments)
        time.sleep(0.05)  # The other threads ask meanwhile.
        return load(*arguments)

    monkeypatch.setattr("heartbeat_core.bundles.bundle.load", load_slowly)
    # By a name that no other test has used.
    digest, place = read_manifest(str(bundle)).digest, f"{bundle.parent}/./{bundle.name}"
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load_bundle(place, digest, "cpu"), range(4)))
    assert len(set(map(id, found))) == len(loaded) == 1


def test_a_task_names_the_bundle_by_its_digest(shard: Shard, job: ClassifyJob) -> None:
    with pytest.raises(BundleError, match=r"0000.* was asked for"):
        classify_shard(shard, replace(job, model_digest="0" * 64))
    assert not out_of(job).exists()


def test_an_error_of_the_program_stays_loud(shard: Shard, job: ClassifyJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*arguments: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("jobs.tasks.processing.process", defect)
    with pytest.raises(ZeroDivisionError):
        classify_shard(shard, job)
    assert not out_of(job).exists()


def test_process_recordings_splits_in_order(shard: Shard, bundle: Path) -> None:
    loaded = load(str(bundle))
    how = ClassifyWork(loaded, ()), Limits(), Here(Limits())
    results, failures = process_recordings(shard.recordings, *how)
    assert [one.recording for one in results] == list(shard.recordings[:4])
    assert [one.recording for one in failures] == list(shard.recordings[4:])
    assert process_recordings([], *how) == ([], [])


def test_parts_are_the_same_however_the_rows_come(shard: Shard, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, facts = ClassifyWork(load(str(bundle)), ("aligned", "beats")), PartFacts("r", 0, {"run_id": "r"})
    results, _ = process_recordings(shard.recordings, work, Limits(), Here(Limits()))

    def parts() -> Parts:
        made = ShardParts(work, facts)
        for result in results:
            made.add(result)
        return made.finish()

    whole = parts()
    monkeypatch.setattr("jobs.tasks.parts.BATCH_RECORDINGS", 3)
    batches = parts()
    assert batches.labels == whole.labels
    assert len(whole.labels) == 4
    for name, columns in {"features": None, "predictions": ["recording_id", "predicted_label"]}.items():
        found, expected = (from_parquet(one.tables[name], columns) for one in (batches, whole))
        assert found.equals(expected, check_metadata=True), name


def test_a_shard_is_never_in_memory_whole(shard: Shard, recipe: Recipe) -> None:
    """Otherwise the frames of a large shard would take gigabytes."""
    reference = Reference(np.zeros((131_072, 2), np.float32))
    work = DatasetWork(recipe, reference, ORIGINAL_LABELS, padded=False)
    [[one], _] = process_recordings(shard.recordings[:1], work, Limits(), Here(Limits()))
    made = ShardParts(work, PartFacts("r", 0, {}))
    tracemalloc.start()
    try:
        for _ in range(400):
            made.add(replace(one, frames=np.ones((131_072, 2), np.float32)))
        parts = made.finish()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    file = pq.ParquetFile(io.BytesIO(parts.tables["recordings"]))
    assert file.metadata.num_rows == len(parts.labels) == 400
    # Together the frames take 400 MiB.
    assert file.num_row_groups > 400 / 64
    assert peak_bytes < 150 * 2**20


# In isolation: each recording in a process that may die.


def test_an_isolated_shard_gives_the_same_rows(
    shard: Shard, job: ClassifyJob, tmp_path: Path, bundle: Path, recipe: Recipe
) -> None:
    isolated = in_isolation(shard)
    assert isolated == replace(shard, isolated=True)
    assert in_isolation(isolated) is None, "it is no help twice"
    alone = classify_job(tmp_path / "alone", bundle)
    assert classify_shard(isolated, alone) == classify_shard(shard, job)
    for name in TABLES:
        assert comparable(out_of(alone), name) == comparable(out_of(job), name)
    uri = store_reference(tmp_path / "reference", frames_of(recipe, 1, 2.5))
    parts = []
    for one, folder in ((shard, "plain"), (isolated, "isolated")):
        dataset_shard(one, DatasetJob(run_facts(tmp_path / folder), recipe, uri, ORIGINAL_LABELS, padded=False))
        parts.append(tree(tmp_path / folder))
        rows = comparable(tmp_path / folder, "recordings")
    assert comparable(tmp_path / "plain", "recordings") == rows
    scaler = "_scalers/0-part-000003.safetensors"
    assert parts[0][scaler] == parts[1][scaler]


def test_an_isolated_scan_finds_the_same_reference(shard: Shard) -> None:
    found = scan_shard(shard, SCAN)
    assert found is not None
    assert scan_shard(replace(shard, isolated=True), SCAN) == found


def test_what_kills_in_isolation_is_a_failure_row_and_its_neighbours_are_done(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    kinds = ("a", "kill", "b", "memory", "hang", "c")
    for number, name in enumerate(kinds):
        (folder / f"{name}.wav").write_bytes(heart_bytes("normal", number))
    recordings = tuple(recording_of(folder / f"{name}.wav") for name in kinds)
    monkeypatch.setattr("jobs.tasks.processing.process", misbehaviour.process)
    limits = Limits(deadline_s=4.0, max_memory_bytes=2**30)
    whole = classify_job(tmp_path / "out", bundle)
    job = replace(whole, run=replace(whole.run, limits=limits))
    commit = classify_shard(Shard(0, recordings, isolated=True), job)
    assert commit.rows == {"predictions": 3, "features": 3, "failures": 3}
    assert [Path(row["uri"]).stem for row in read_rows(tmp_path / "out", "predictions")] == ["a", "b", "c"]
    failures = {Path(row["uri"]).stem: row for row in read_rows(tmp_path / "out", "failures")}
    assert {name: (row["stage"], row["error_type"]) for name, row in failures.items()} == {
        "kill": ("process", "worker_crash"),
        "memory": ("process", "out_of_memory"),
        "hang": ("process", "timeout"),
    }
    assert "SIGKILL" in failures["kill"]["message"]
    assert "4 s" in failures["hang"]["message"]


def test_a_shard_carries_its_generation_into_every_row(shard: Shard, job: ClassifyJob) -> None:
    classify_shard(replace(shard, generation=2), job)
    for name in TABLES:
        assert {row["generation"] for row in read_rows(out_of(job), name)} == {2}


# What is committed, and what is stopped.


def test_a_committed_shard_is_not_done_again(
    shard: Shard, job: ClassifyJob, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = store_reference(tmp_path / "reference", frames_of(recipe, 1, 2.5))
    dataset_job = DatasetJob(run_facts(tmp_path / "dataset"), recipe, uri, ORIGINAL_LABELS, padded=False)
    commits = classify_shard(shard, job), dataset_shard(shard, dataset_job)

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a committed shard was worked on")

    for name in ("settle_failures", "commit_shard", "load_bundle", "_load_reference"):
        monkeypatch.setattr(f"jobs.tasks.shards.{name}", refuse)
    monkeypatch.setattr("jobs.tasks.processing.read_recordings", refuse)
    shutil.rmtree(tmp_path / "in")
    (tmp_path / "dataset/recordings/part-000003.parquet").unlink()
    assert (classify_shard(shard, job), dataset_shard(shard, dataset_job)) == commits
    assert classify_shard(replace(shard, isolated=True), job) == commits[0]
    with pytest.raises(AssertionError):
        classify_shard(replace(shard, index=4), job)


@pytest.fixture
def stoppable(job: ClassifyJob, monkeypatch: pytest.MonkeyPatch) -> ClassifyJob:
    """A job of a driver that nobody has stopped yet."""
    monkeypatch.setattr("jobs.tasks.context._stopped_drivers", set())
    monkeypatch.setattr("jobs.tasks.context._committing", set())
    return replace(job, run=replace(job.run, driver="driver-1"))


def test_a_stopped_drivers_task_does_not_begin(shard: Shard, stoppable: ClassifyJob) -> None:
    assert stop_work("driver-1") == 0
    with pytest.raises(Stopped):
        classify_shard(shard, stoppable)
    assert not out_of(stoppable).exists()
    # The next driver of the same run is another.
    other = replace(stoppable, run=replace(stoppable.run, driver="driver-2"))
    assert classify_shard(shard, other).listed == 6


def test_a_task_that_is_stopped_ends_before_its_next_recording(
    shard: Shard, stoppable: ClassifyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def processing(recording: Recording, *arguments: Any) -> Any:
        done.append(recording.relative_path)
        if len(done) == 2:
            stop_work("driver-2")
        if len(done) == 3:
            assert stop_work("driver-1") == 0
        return process(recording, *arguments)

    monkeypatch.setattr("jobs.tasks.processing.process", processing)
    with pytest.raises(Stopped):
        classify_shard(shard, stoppable)
    assert done == ["0.wav", "1.wav", "2.wav"]
    assert not out_of(stoppable).exists()


def test_a_task_that_was_stopped_at_its_last_recording_does_not_begin_to_commit(
    shard: Shard, stoppable: ClassifyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def processing(recording: Recording, *arguments: Any) -> Any:
        stop_work("driver-1")
        return process(recording, *arguments)

    monkeypatch.setattr("jobs.tasks.processing.process", processing)
    with pytest.raises(Stopped):
        classify_shard(replace(shard, recordings=shard.recordings[:1]), stoppable)
    assert not out_of(stoppable).exists()


@pytest.mark.parametrize("moment", ["settle_failures", "commit_shard"])
def test_a_task_that_is_committing_goes_on(
    shard: Shard, stoppable: ClassifyJob, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    real = getattr(tasks, moment)
    committing = []

    def stopping(*arguments: Any) -> Any:
        committing.append(stop_work("driver-1"))
        assert stop_work("driver-2") == 0
        return real(*arguments)

    monkeypatch.setattr(tasks, moment, stopping)
    assert classify_shard(shard, stoppable).listed == 6
    assert_complete(stoppable, shard, 2)
    assert committing == [1]
    assert stop_work("driver-1") == 0


def test_a_commit_that_fails_is_not_waited_for(
    shard: Shard, stoppable: ClassifyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: object) -> None:
        raise StorageError("away")

    monkeypatch.setattr(tasks, "commit_shard", failing)
    with pytest.raises(StorageError):
        classify_shard(shard, stoppable)
    assert stop_work("driver-1") == 0


def test_what_goes_to_the_workers_can_be_pickled(shard: Shard, job: ClassifyJob) -> None:
    for one in (classify_shard, dataset_shard, scan_shard, reference.store, partial(stop_work, "x"), shard, job):
        pickle.loads(pickle.dumps(one))


# The dataset's tasks.


def store_reference(folder: Path, frames: NDArray[np.float32]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "_reference.safetensors"
    path.write_bytes(safetensors.numpy.save({"reference.frames": frames}))
    return f"file://{path}"


def frames_of(recipe: Recipe, seed: int, duration_s: float) -> NDArray[np.float32]:
    waveform = decode(heart_bytes("normal", seed, duration_s))
    return compute_frames(waveform.samples, waveform.sample_rate_hz, recipe.frames)


@pytest.mark.parametrize("padded", [False, True])
def test_a_dataset_shard(shard: Shard, tmp_path: Path, recipe: Recipe, padded: bool) -> None:
    uri = store_reference(tmp_path / "out", frames_of(recipe, 1, 2.5))
    job = DatasetJob(run_facts(tmp_path / "out"), recipe, uri, ORIGINAL_LABELS, padded=padded)
    commit = dataset_shard(shard, job)
    assert commit.rows == {"recordings": 4, "failures": 2}
    table = read_table(tmp_path / "out", "recordings")
    assert table.schema.equals(RECORDINGS, check_metadata=False)
    length = len(frames_of(recipe, 1, 2.5))
    for row in table.to_pylist():
        assert len(row["frequency_hz"]) == len(row["amplitude"]) == (length if padded else row["n_frames"])
        assert 0 <= row["offset_frames"] <= length - row["n_frames"]
        assert row["label"] is row["label_code"] is row["patient_id"] is None
    assert storage.exists(storage.join(job.run.out, "_scalers/0-part-000003.safetensors"))
    before = tree(tmp_path / "out")
    assert dataset_shard(shard, job) == commit
    assert tree(tmp_path / "out") == before


def test_the_scaler_part_belongs_to_the_rows_that_are_stored(shard: Shard, tmp_path: Path, recipe: Recipe) -> None:
    """An attempt that could not read one recording died; its failures stand, and the scaler leaves the row out too."""
    uri = store_reference(tmp_path / "out", frames_of(recipe, 1, 2.5))
    job = DatasetJob(run_facts(tmp_path / "out"), recipe, uri, ORIGINAL_LABELS, padded=False)
    missing = tmp_path / "in" / "2.wav"
    data = missing.read_bytes()
    missing.unlink()
    dataset_shard(shard, job)
    for name in ("recordings/part-000003.parquet", "_commits/part-000003.json", "_scalers/0-part-000003.safetensors"):
        (tmp_path / "out" / name).unlink()
    missing.write_bytes(data)
    commit = dataset_shard(shard, job)
    assert commit.rows == {"recordings": 3, "failures": 3}
    state = safetensors.numpy.load((tmp_path / "out/_scalers/0-part-000003.safetensors").read_bytes())
    without = Shard(3, tuple(one for one in shard.recordings if one.relative_path != "2.wav"))
    uri = store_reference(tmp_path / "other", frames_of(recipe, 1, 2.5))
    dataset_shard(
        without, DatasetJob(run_facts(tmp_path / "other", "run-2"), recipe, uri, ORIGINAL_LABELS, padded=False)
    )
    expected = safetensors.numpy.load((tmp_path / "other/_scalers/0-part-000003.safetensors").read_bytes())
    assert state.keys() == expected.keys()
    for name in state:
        np.testing.assert_array_equal(state[name], expected[name])


def test_a_worker_that_outlives_a_run_forgets_its_reference(shard: Shard, tmp_path: Path, recipe: Recipe) -> None:
    """The output folder was removed and built again from other recordings, by the same workers."""
    lengths = []
    for run_id, duration_s in (("run-1", 2.0), ("run-2", 3.0)):
        uri = store_reference(tmp_path / "out", frames_of(recipe, 1, duration_s))
        dataset_shard(shard, DatasetJob(run_facts(tmp_path / "out", run_id), recipe, uri, ORIGINAL_LABELS, padded=True))
        lengths.append(len(read_rows(tmp_path / "out", "recordings")[0]["amplitude"]))
        shutil.rmtree(tmp_path / "out")
    assert lengths == [len(frames_of(recipe, 1, 2.0)), len(frames_of(recipe, 1, 3.0))]


# The reference: the longest recording, by what it holds.

SCAN = ScanJob(run_facts(Path("/unused")), FramesSettings(delta_time_s=0.1))


def write_recordings(folder: Path, **files: bytes) -> Shard:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / f"{name}.wav").write_bytes(data)
    return Shard(0, tuple(recording_of(folder / f"{name}.wav") for name in files))


def test_the_reference_is_the_longest_in_frames(tmp_path: Path) -> None:
    found = scan_shard(
        write_recordings(
            tmp_path,
            short=heart_bytes("normal", 1, 1.0),
            longest=heart_bytes("murmur", 2, 2.0),
            # More samples and bytes, but fewer frames a second and a shorter time.
            fast=heart_bytes("normal", 3, 1.5, 16_000),
        ),
        SCAN,
    )
    assert found is not None
    assert found.uri.endswith("/longest.wav")
    assert found.sample_rate_hz == 4_000
    # n_fft = 2 ** floor(log2(400)) = 256, hop_length = 64, centred: 1 + 8000 // 64.
    assert found.n_frames == 1 + 8_000 // 64


def test_a_truncated_file_that_claims_more_does_not_win(tmp_path: Path) -> None:
    found = scan_shard(
        write_recordings(
            tmp_path,
            cut=heart_bytes("normal", 1, 9.0)[: 44 + 2 * 4_000],
            header=heart_bytes("normal", 2, 8.0)[:44],
            whole=heart_bytes("murmur", 3, 2.0),
            text=b"claims nothing",
            empty=b"",
        ),
        SCAN,
    )
    assert found is not None
    assert found.uri.endswith("/whole.wav")


def test_a_truncated_file_wins_by_what_it_holds(tmp_path: Path) -> None:
    found = scan_shard(
        write_recordings(
            tmp_path, whole=heart_bytes("murmur", 3, 2.0), cut=heart_bytes("normal", 1, 9.0)[: 44 + 2 * 12_000]
        ),
        SCAN,
    )
    assert found is not None
    assert found.uri.endswith("/cut.wav")
    assert found.n_frames == 1 + 12_000 // 64


def test_of_truncated_files_the_one_that_holds_most_wins(tmp_path: Path) -> None:
    claims_most, holds_most = heart_bytes("normal", 1, 9.0), heart_bytes("murmur", 2, 8.0)
    for most, least in ((holds_most, claims_most), (claims_most, holds_most)):
        files = {"least": least[: 44 + 2 * 4_000], "most": most[: 44 + 2 * 8_000]}
        found = scan_shard(write_recordings(tmp_path, **files, short=heart_bytes("normal", 3, 1.0)), SCAN)
        assert found is not None
        assert found.uri.endswith("/most.wav")


def test_the_first_of_equals_is_the_reference(tmp_path: Path) -> None:
    two, cut = heart_bytes("normal", 1, 2.0), heart_bytes("murmur", 3, 9.0)[: 44 + 2 * 8_000]
    for order in (("b", "a", "c"), ("c", "b", "a")):
        found = scan_shard(write_recordings(tmp_path, **dict.fromkeys(order, two)), SCAN)
        assert found is not None
        assert found.uri.endswith(f"/{order[0]}.wav")
    # One that claims more and holds as much is looked at first, and comes second.
    found = scan_shard(write_recordings(tmp_path, first=two, second=cut), SCAN)
    assert found is not None
    assert found.uri.endswith("/first.wav")
    found = scan_shard(write_recordings(tmp_path, cut=cut, whole=two), SCAN)
    assert found is not None
    assert found.uri.endswith("/cut.wav")


def test_nothing_that_can_be_decoded_gives_no_reference(tmp_path: Path) -> None:
    short = audio_bytes(np.zeros(100))
    assert scan_shard(write_recordings(tmp_path, text=b"text", short=short), SCAN) is None
    with pytest.raises(JobError, match="none of the recordings can be decoded"):
        choose({0: 0, 1: 5}, lambda shards: [None for _ in shards])


@given(st.dictionaries(st.integers(0, 9), st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_the_longest_of_the_shards_is_chosen_though_headers_promise_more(shards: dict[int, tuple[int, int]]) -> None:
    true = {shard: min(pair) for shard, pair in shards.items()}
    asked: list[int] = []

    def decode(wanted: set[int]) -> list[Longest | None]:
        asked.extend(wanted)
        return [Longest(one, f"file:///{one}", "i", "s", 4_000, true[one]) if true[one] else None for one in wanted]

    claims = {shard: max(pair) for shard, pair in shards.items()}
    if not any(true.values()):
        with pytest.raises(JobError, match="none of the recordings can be decoded"):
            choose(claims, decode)
        return
    longest = max(true.values())
    expected = min(shard for shard, n in true.items() if n == longest)
    assert choose(claims, decode).shard == expected
    assert len(asked) == len(set(asked))
    if claims == true:
        assert asked == [expected], "a promise that was kept costs one decoding"


def test_a_reference_that_changed_meanwhile_is_not_taken(tmp_path: Path) -> None:
    found = scan_shard(write_recordings(tmp_path / "in", a=heart_bytes("normal", 1)), SCAN)
    assert found is not None
    (tmp_path / "in" / "a.wav").write_bytes(heart_bytes("normal", 2))
    with pytest.raises(JobError, match=r"a\.wav changed while the job ran"):
        reference.store(found, replace(SCAN, run=run_facts(tmp_path / "out")))
    (tmp_path / "in" / "a.wav").unlink()
    with pytest.raises(JobError, match=r"a\.wav can't be read any more"):
        reference.store(found, replace(SCAN, run=run_facts(tmp_path / "out")))


def test_of_two_drivers_the_first_settles_the_reference_for_both(tmp_path: Path) -> None:
    """Also where the first has died before it stored the frames."""
    inputs = write_recordings(
        tmp_path / "in", first=heart_bytes("normal", 1, 1.0), second=heart_bytes("murmur", 2, 2.0)
    )
    first, second = (scan_shard(Shard(0, (one,)), SCAN) for one in inputs.recordings)
    assert first is not None
    assert second is not None
    job = replace(SCAN, run=run_facts(tmp_path / "out"))
    storage.create(f"file://{tmp_path}/out/_reference.json", canonical_json(asdict(first)))
    assert reference.store(second, job) == first == reference.read_choice(f"file://{tmp_path}/out")
    frames = safetensors.numpy.load((tmp_path / "out" / "_reference.safetensors").read_bytes())["reference.frames"]
    assert len(frames) == first.n_frames != second.n_frames


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_cannot_be_written_is_named(shard: Shard, job: ClassifyJob) -> None:
    out_of(job).mkdir()
    out_of(job).chmod(0o500)
    with pytest.raises(StorageError, match="cannot be written: Permission denied"):
        classify_shard(shard, job)
