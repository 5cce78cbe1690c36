"""What drivers share: a folder is begun, given back, or taken over, at whatever moment another driver died."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.errors import ConfigError, DeviceError, HeartbeatError, InputError, JobError, OutputError
from heartbeat_core.recordings.recording import Recording
from jobs.drivers.run import COST_A_WORKER, Run, begin, count, finish, job_identity, worth_workers
from jobs.output import plans
from jobs.output.lease import present
from jobs.output.ledger import Ledger, Totals
from jobs.output.plans import PlanFolder
from jobs.settings import JobSettings
from tests.helpers import tree
from tests.jobs.output.test_ledger import IDENTITY, SHARDS, write_commit

OTHER = {**IDENTITY, "model": "b@2"}


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "RECORDINGS_A_PIECE", 2)


def begin_here(
    out: Path, console: Console, shards: Iterable[list[Recording]] | None = SHARDS, identity: Any = IDENTITY
) -> Run:
    """Begin or go on; with None, listing is an error."""

    def make_plan() -> Iterable[list[Recording]]:
        assert shards is not None, "listed again"
        return shards

    with begin(str(out), identity, JobSettings(), make_plan, console) as run:
        return run


def indices(run: Run) -> list[int]:
    return [shard.index for shard in run.remaining()]


@pytest.mark.parametrize(
    ("sizes", "n_committed", "expected"),
    [
        ([], 0, 1),
        ([1_000] * 12, 0, 1),
        ([None] * 12, 0, 1),  # Remote rows of a manifest.
        ([COST_A_WORKER] * 3, 0, 4),  # With what each costs besides its size.
        ([COST_A_WORKER] * 3, 2, 2),
        ([COST_A_WORKER] * 3, 3, 1),
        ([1] * 4_000, 0, 8),
    ],
)
def test_a_job_is_worth_as_many_workers_as_have_a_second_of_work(
    sizes: list[int | None],
    n_committed: int,
    expected: int,
    tmp_path: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(plans, "RECORDINGS_A_PIECE", 8192)
    shards = [[Recording(f"file:///{number}.wav", "x", size_bytes=size)] for number, size in enumerate(sizes)]
    begin_here(tmp_path, console, shards)
    for number in range(n_committed):
        write_commit(tmp_path, number, 1)
    assert worth_workers(begin_here(tmp_path, console, None if shards else [])) == expected


def test_a_job_begins_and_goes_on_without_listing_again(tmp_path: Path, console: Console) -> None:
    first = begin_here(tmp_path, console)
    assert (first.n_shards, first.n_recordings, first.is_committed, first.access.looks_first) == (3, 5, False, False)
    assert [list(shard.recordings) for shard in first.shards()] == SHARDS
    write_commit(tmp_path, 1, 2)
    second = begin_here(tmp_path, console, None)
    assert second.run_id == first.run_id
    assert indices(second) == [0, 2]
    with pytest.raises(JobError, match=r"shards not committed: \[0, 2\]"):
        finish(second)
    write_commit(tmp_path, 0, 2, 1)
    write_commit(tmp_path, 2, 1)
    # Committed by another driver meanwhile, and found.
    assert count(second) == Totals(5, 1)
    assert begin_here(tmp_path, console, None).is_committed


def test_of_the_shards_that_are_left_the_long_ones_come_first(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "RECORDINGS_A_PIECE", 100)
    sizes = [(10, 20), (500_000,), (1, 2, 3), (2**20,), (400_000, 200_000)]
    shards = [
        [Recording(f"file:///{number}/{i}.wav", "", size) for i, size in enumerate(shard)]
        for number, shard in enumerate(sizes)
    ]
    with begin(str(tmp_path), IDENTITY, JobSettings(), lambda: shards, console) as run:
        assert indices(run) == [3, 4, 1, 2, 0]
        assert [shard.index for shard in run.shards()] == [0, 1, 2, 3, 4]


def test_a_commit_record_that_went_away_is_missed(tmp_path: Path, console: Console) -> None:
    run = begin_here(tmp_path, console)
    for shard, listed in enumerate((2, 2, 1)):
        write_commit(tmp_path, shard, listed)
    assert count(run) == Totals(5, 0)
    (tmp_path / "_commits/part-000001.json").unlink()
    with pytest.raises(JobError, match=r"shards not committed: \[1\]"):
        count(run)


def test_a_driver_that_claimed_and_died_before_the_plan(tmp_path: Path, console: Console) -> None:
    run_id = Ledger(str(tmp_path)).claim(IDENTITY)
    with pytest.raises(OutputError, match=r"holds another job \(--model: "):
        begin_here(tmp_path, console, identity=OTHER)
    run = begin_here(tmp_path, console)
    assert run.run_id == run_id
    assert indices(run) == [0, 1, 2]


def test_a_driver_that_died_in_the_middle_of_its_plan(tmp_path: Path, console: Console) -> None:
    run_id = Ledger(str(tmp_path)).claim(IDENTITY)
    folder = tmp_path / "_plan" / "000000-00aa"
    folder.mkdir(parents=True)
    (folder / "000000.parquet").write_bytes(b"PAR1 whatever it listed")
    run = begin_here(tmp_path, console)
    assert run.run_id == run_id
    assert [list(shard.recordings) for shard in run.shards()] == SHARDS


def failing_after(n_shards: int, error: BaseException) -> Iterator[list[Recording]]:
    yield from SHARDS[:n_shards]
    raise error


def test_a_driver_that_told_of_itself_and_has_not_claimed_yet(tmp_path: Path, console: Console) -> None:
    """Another of the same job begins at the same time, or the first has died there."""
    with present(storage.to_uri(str(tmp_path)), alone=False):
        assert indices(begin_here(tmp_path, console)) == [0, 1, 2]


@pytest.mark.parametrize("n_shards", [0, 1, 2, 3])
@pytest.mark.parametrize("error", [InputError("the bucket is gone"), KeyboardInterrupt()], ids=["input", "ctrl-c"])
def test_a_listing_that_fails_gives_the_folder_back(
    tmp_path: Path, console: Console, n_shards: int, error: BaseException
) -> None:
    out = tmp_path / "out"
    with pytest.raises(type(error)):
        begin_here(out, console, failing_after(n_shards, error))
    assert tree(tmp_path) == {}
    # To the same job, or to another.
    for identity in (IDENTITY, OTHER):
        assert begin_here(out, console, identity=identity).n_recordings == 5
        shutil.rmtree(out)
        with pytest.raises(type(error)):
            begin_here(out, console, failing_after(n_shards, error))


def test_a_listing_that_fails_does_not_take_the_folder_from_who_claimed_it(tmp_path: Path, console: Console) -> None:
    """The second driver of the job found the first one's claim, and its own listing fails."""
    run_id = Ledger(str(tmp_path)).claim(IDENTITY)
    with pytest.raises(InputError):
        begin_here(tmp_path, console, failing_after(2, InputError("the bucket is gone")))
    assert Ledger(str(tmp_path)).find_run(IDENTITY) == run_id


def test_who_claimed_does_not_give_back_what_another_has_planned(tmp_path: Path, console: Console) -> None:
    """The second driver of the job settled its plan while the first was listing, which fails then."""

    def shards() -> Iterator[list[Recording]]:
        yield from SHARDS[:2]
        assert begin_here(tmp_path, console).n_shards == 3
        raise InputError("the bucket is gone")

    with pytest.raises(InputError):
        begin_here(tmp_path, console, shards())
    assert begin_here(tmp_path, console, None).n_shards == 3


def fail(out: Path, console: Console, error: BaseException, *, working: bool = False) -> None:
    """Begin a job that ends with an error, before or after its tasks may have written."""
    with begin(str(out), IDENTITY, JobSettings(), lambda: SHARDS, console) as run:
        if working:
            run.presence.stage = "working"
        raise error


@pytest.mark.parametrize("error", [JobError("no scheduler"), DeviceError("no GPU"), ConfigError("no certificate")])
def test_a_job_that_fails_before_any_work_gives_the_folder_back(
    tmp_path: Path, console: Console, error: HeartbeatError
) -> None:
    with pytest.raises(type(error)):
        fail(tmp_path, console, error)
    assert tree(tmp_path) == {}
    assert begin_here(tmp_path, console, identity=OTHER).n_recordings == 5


@pytest.mark.parametrize(
    ("error", "working"), [(KeyboardInterrupt(), False), (ZeroDivisionError(), False), (JobError("x"), True)]
)
def test_an_interrupted_job_and_one_that_has_worked_keep_the_folder(
    tmp_path: Path, console: Console, error: BaseException, working: bool
) -> None:
    """What was listed is kept, and a task that is still under way may write."""
    with pytest.raises(type(error)):
        fail(tmp_path, console, error, working=working)
    assert begin_here(tmp_path, console, None).n_shards == 3


def test_a_job_that_goes_on_and_fails_keeps_the_folder(tmp_path: Path, console: Console) -> None:
    begin_here(tmp_path, console)
    with pytest.raises(JobError):
        fail(tmp_path, console, JobError("no scheduler"))
    assert begin_here(tmp_path, console, None).n_shards == 3


def test_a_job_that_fails_does_not_give_back_what_another_driver_works_on(tmp_path: Path, console: Console) -> None:
    with begin(str(tmp_path), IDENTITY, JobSettings(), lambda: SHARDS, console) as first:
        with pytest.raises(JobError):
            fail(tmp_path, console, JobError("no scheduler"))
        assert Ledger(str(tmp_path)).find_run(IDENTITY) == first.run_id
    assert begin_here(tmp_path, console, None).n_shards == 3


def test_a_folder_that_is_given_back_while_another_driver_begins(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second found the first's plan, which is gone when it has announced itself: it claims the folder and lists."""
    first = begin(str(tmp_path), IDENTITY, JobSettings(), lambda: SHARDS, console)
    first.__enter__()

    def late(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr("jobs.drivers.run.present", present)
        first.__exit__(JobError, JobError("no scheduler"), None)
        return present(*arguments, **options)

    monkeypatch.setattr("jobs.drivers.run.present", late)
    assert begin_here(tmp_path, console).n_shards == 3
    assert begin_here(tmp_path, console, None).n_shards == 3


def test_a_finished_job_is_said_to_be_finished(tmp_path: Path, console: Console) -> None:
    begin_here(tmp_path, console)
    for shard, listed in enumerate((2, 2, 1)):
        write_commit(tmp_path, shard, listed)
    assert isinstance(console.file, io.StringIO)
    finish(begin_here(tmp_path, console, None))
    assert "going on: 3 of 3 shards committed already" in console.file.getvalue()
    console.file.truncate(0)
    begin_here(tmp_path, console, None)
    assert console.file.getvalue().strip("\0") == "finished already: 3 shards, all committed\n"


def test_of_two_drivers_that_list_at_once_both_go_by_one_plan(tmp_path: Path, console: Console) -> None:
    def shards() -> Iterator[list[Recording]]:
        yield from SHARDS
        assert begin_here(tmp_path, console, SHARDS[:2]).n_shards == 2

    run = begin_here(tmp_path, console, shards())
    assert run.n_shards == 2
    assert PlanFolder(storage.to_uri(str(tmp_path))).generations() == list(run.generations)


def test_a_store_that_ignores_conditions_takes_one_driver(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "honours_conditions", lambda folder: False)
    with begin(str(tmp_path), IDENTITY, JobSettings(), lambda: SHARDS, console) as run:
        assert run.access.looks_first
        with pytest.raises(OutputError, match="one of the two must be alone"):
            begin_here(tmp_path, console, None)
    assert begin_here(tmp_path, console, None).run_id == run.run_id


def test_the_identity_names_inputs_without_what_may_be_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    identity = job_identity("classify", ["in", "https://u:hunter2@h/a?hunter2"], JobSettings(), model="m")
    assert identity["inputs"] == [f"file://{tmp_path}/in", "https://h/a"]
    assert "hunter2" not in repr(identity)
    # How the store is reached, and where the tasks run, makes no other job.
    settings = JobSettings.model_validate({"s3": {"region": "eu"}, "cluster": {"workers": 7}, "task_retries": 9})
    assert job_identity("classify", ["in", "https://h/a"], settings, model="m") == identity
    filtered = JobSettings.model_validate({"selection": {"include": ["*.wav"]}})
    assert job_identity("classify", ["in", "https://h/a"], filtered, model="m") != identity
    for columns in ({"keep_columns": ["site"]}, {"patient_column": "Kind"}):
        other = JobSettings.model_validate(columns)
        assert job_identity("classify", ["in", "https://h/a"], other, model="m") != identity
