"""One folder, one job: claimed, resumed, refused, and only called a success when everything adds up."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from heartbeat_core import storage
from heartbeat_core.errors import JobError, OutputError
from heartbeat_core.recordings.recording import Recording
from jobs.output.ledger import Commit, Ledger, Totals, find_commit, reconcile
from jobs.output.places import part_name, part_uri
from jobs.output.plans import PlanFolder
from tests.helpers import tree

IDENTITY: dict[str, Any] = {
    "job": "classify",
    "inputs": ["file:///in"],
    "shards": {"recordings": 2, "bytes": 9},
    "model": "a@1",
}
SHARDS = [[Recording(f"file:///in/{n}.wav", f"{n}.wav", 5) for n in numbers] for numbers in ((0, 1), (2, 3), (4,))]


def write_commit(out: Path, shard: int, listed: int, failed: int = 0) -> None:
    rows = {"predictions": listed - failed, "features": listed - failed, "failures": failed}
    (out / "_commits").mkdir(exist_ok=True)
    (out / f"_commits/{part_name(shard)}.json").write_text(json.dumps(asdict(Commit(shard, listed, rows, "r"))))


def test_a_free_folder_is_claimed_and_found_again(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "new" / "out"))
    assert ledger.find_run(IDENTITY) is None
    run_id = ledger.claim(IDENTITY)
    assert ledger.find_run(IDENTITY) == run_id
    assert Ledger(f"file://{tmp_path}/new/out/").find_run(dict(reversed(IDENTITY.items()))) == run_id
    assert Ledger(str(tmp_path / "new" / "other")).claim(IDENTITY) != run_id


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    assert Ledger(str(tmp_path)).find_run(IDENTITY) is None


def test_what_is_written_outlives_a_driver_that_died(tmp_path: Path) -> None:
    """Killed while it wrote its record: the folder holds a temporary file of ours and is free."""
    (tmp_path / "._run.json.0123456789abcdef.tmp").write_text('{"run_')
    ledger = Ledger(str(tmp_path))
    assert ledger.find_run(IDENTITY) is None
    ledger.claim(IDENTITY)
    # Killed between the record and the plan, then in the middle of a piece of it, and of the plan's record.
    plans = PlanFolder(ledger.out)
    assert plans.generations() == []
    (tmp_path / "_plan" / "000000-00aa").mkdir(parents=True)
    (tmp_path / "_plan" / "000000-00aa" / "000000.parquet").write_bytes(b"PAR1 the first driver's")
    (tmp_path / "_plan" / "000000-00aa" / ".000001.parquet.00aa.tmp").write_bytes(b"PAR1")
    (tmp_path / "_plan" / ".000000.json.00aa.tmp").write_text('{"num')
    assert plans.generations() == []
    settled = plans.settle(0, 0, SHARDS)
    assert plans.generations() == [settled]
    assert [list(shard.recordings) for shard in plans.shards(settled)] == SHARDS


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model": "b@2"}, "--model: a@1 there, b@2 here"),
        ({"job": "build-dataset", "new": 1}, "'heartbeat classify' there, 'heartbeat build-dataset' here"),
        ({"inputs": ["file:///other"]}, "INPUT: /in there, /other here"),
        ({"shards": {"recordings": 3, "bytes": 9}}, "shards.recordings: 2 there, 3 here"),
        ({"new": 1}, "new: none there, 1 here"),
    ],
)
def test_another_job_is_refused_with_what_differs(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.claim(IDENTITY)
    plans = PlanFolder(ledger.out)
    settled = plans.settle(0, 0, SHARDS)
    before = tree(tmp_path)
    with pytest.raises(OutputError) as caught:
        ledger.find_run({**IDENTITY, **changed})
    assert str(caught.value).startswith(f"{tmp_path} holds another job ({told})")
    with pytest.raises(OutputError) as caught:
        ledger.claim({**IDENTITY, **changed})
    assert str(caught.value).startswith(f"{tmp_path} holds another job ({told})")
    assert plans.settle(0, 0, SHARDS[:1]) == settled
    assert tree(tmp_path) == before


def test_of_two_drivers_of_one_job_the_first_names_the_run(tmp_path: Path) -> None:
    """Both found the folder free; the second, or the first after a lost answer, adopts what is there."""
    first, second = Ledger(str(tmp_path)), Ledger(str(tmp_path))
    assert first.find_run(IDENTITY) is second.find_run(IDENTITY) is None
    run_id = first.claim(IDENTITY)
    before = tree(tmp_path)
    assert second.claim(IDENTITY) == first.claim(IDENTITY) == run_id
    assert tree(tmp_path) == before


def test_a_folder_is_given_back_by_the_run_that_holds_it_alone(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    run_id = ledger.claim(IDENTITY)
    ledger.release("another")
    assert ledger.find_run(IDENTITY) == run_id
    ledger.release(run_id)
    assert ledger.find_run({"job": "any"}) is None
    assert tree(tmp_path) == {}


def test_a_folder_is_given_back_with_its_plan_alone(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    run_id = ledger.claim(IDENTITY)
    PlanFolder(ledger.out).settle(0, 0, SHARDS)
    (tmp_path / "_drivers").mkdir()
    (tmp_path / "_drivers" / "x.json").write_text("{}")
    before = tree(tmp_path)
    ledger.release(run_id)
    assert tree(tmp_path) == before
    # A part of a table, whoever stored it, would be taken for the next job's.
    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / "part-000000.parquet").write_bytes(b"PAR1")
    ledger.release(run_id, with_plan=True)
    assert before.items() < tree(tmp_path).items()
    shutil.rmtree(tmp_path / "failures")
    ledger.release(run_id, with_plan=True)
    assert list(tree(tmp_path)) == ["_drivers/x.json"]
    assert ledger.find_run({"job": "any"}) is None
    ledger.release(run_id, with_plan=True)


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("three years")
    with pytest.raises(OutputError, match="is not empty and not the output of a heartbeat job"):
        Ledger(str(tmp_path)).find_run(IDENTITY)
    assert tree(tmp_path) == {"thesis.tex": b"three years"}


@pytest.mark.parametrize(
    "content", ["", "no json", "[]", "{}", '{"run_id": "x"}', '{"run_id": "x", "identity": [1]}', "null", "3"]
)
def test_a_record_that_is_not_ours_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "_run.json").write_text(content)
    with pytest.raises(OutputError, match=r"_run\.json is not a run record"):
        Ledger(str(tmp_path)).find_run(IDENTITY)


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="out is a file: name a folder"):
        Ledger(str(tmp_path / "out")).find_run(IDENTITY)
    with pytest.raises(OutputError, match="Not a directory"):
        Ledger(str(tmp_path / "out" / "below")).find_run(IDENTITY)


def committed(ledger: Ledger) -> dict[int, Commit]:
    return ledger.commits(ledger.committed())


def test_reconcile_names_the_shards_that_are_missing(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    with pytest.raises(JobError, match=r"shards not committed: \[0, 1, 2\]; run the same command again"):
        reconcile(3, 5, committed(ledger))
    write_commit(tmp_path, 1, 2)
    with pytest.raises(JobError, match=r"shards not committed: \[0, 2\]"):
        reconcile(3, 5, committed(ledger))
    with pytest.raises(JobError, match=r"not committed: \[0, 2, .*, 20\] and 79 more; run"):
        reconcile(100, 500, committed(ledger))


@pytest.mark.parametrize("listed", [(2, 1, 3), (2, 1, 1), (0, 0, 0)])
def test_reconcile_refuses_what_does_not_add_up(tmp_path: Path, listed: tuple[int, ...]) -> None:
    ledger = Ledger(str(tmp_path))
    for shard, n_listed in enumerate(listed):
        write_commit(tmp_path, shard, n_listed)
    with pytest.raises(JobError, match=f"^5 recordings were listed and {sum(listed)} are committed$"):
        reconcile(3, 5, committed(ledger))


@pytest.mark.parametrize(
    "name", ["part-000001 (copy).json", "part-x.json", "part-1.json", "part-000001.json~", "a.txt"]
)
def test_other_files_beside_the_commit_records_are_passed_over(tmp_path: Path, name: str) -> None:
    write_commit(tmp_path, 0, 3)
    (tmp_path / "_commits" / name).write_text("{}")
    assert Ledger(str(tmp_path)).committed() == {0}


def test_commit_records_are_read_side_by_side_and_damaged_ones_named(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    assert committed(ledger) == {}
    for shard in range(0, 80, 2):
        write_commit(tmp_path, shard, 3, 1)
    assert ledger.committed() == set(range(0, 80, 2))
    found = ledger.commits(range(80))
    assert found.keys() == set(range(0, 80, 2))
    assert all(commit.shard == shard and commit.failed == 1 for shard, commit in found.items())
    assert find_commit(ledger.out, 4) == found[4]
    assert find_commit(ledger.out, 5) is None
    for content in ("{", "[]", '{"shard": 4}', "null"):
        (tmp_path / "_commits/part-000004.json").write_text(content)
        with pytest.raises(JobError, match=r"_commits/part-000004\.json: not a commit record"):
            committed(ledger)


def test_totals_and_the_success_mark(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    for shard, (listed, failed) in enumerate(((2, 1), (2, 0), (1, 1))):
        write_commit(tmp_path, shard, listed, failed)
    # What a worker that was killed leaves behind is no commit.
    (tmp_path / "_commits" / ".part-000000.json.0123.tmp").write_text("{")
    totals = reconcile(3, 5, committed(ledger))
    assert (totals, totals.done) == (Totals(listed=5, failed=2), 3)
    # The third shard was a retry of one of the failures.
    assert reconcile(3, 5, committed(ledger), 1) == Totals(listed=4, failed=1)
    assert not ledger.is_finished()
    assert not storage.exists(storage.join(ledger.out, "_SUCCESS"))
    ledger.mark_success(totals, committed(ledger).values())
    assert storage.exists(storage.join(ledger.out, "_SUCCESS"))
    [journal] = (tmp_path / "_journal").iterdir()
    mark = {"listed": 5, "done": 3, "failed": 2, "journal": journal.name}
    assert json.loads((tmp_path / "_SUCCESS").read_text()) == mark
    assert ledger.is_finished()
    ledger.unmark_success()
    assert not ledger.is_finished()
    ledger.unmark_success()


def test_parts_are_named_by_their_shard() -> None:
    assert part_uri("file:///out", "predictions", 42) == "file:///out/predictions/part-000042.parquet"
    assert part_uri("s3://bucket/x/", "failures", 1_234_567) == "s3://bucket/x/failures/part-1234567.parquet"


def journal_of(folder: Path) -> Path:
    return folder / "_journal" / str(json.loads((folder / "_SUCCESS").read_text())["journal"])


def test_a_finished_jobs_records_are_read_from_one_object(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    for shard in range(5):
        write_commit(tmp_path, shard, shard + 1, shard % 2)
    found = committed(ledger)
    ledger.mark_success(reconcile(5, 15, found), found.values())
    # What stands in the records now is read by nobody.
    for shard in range(5):
        (tmp_path / f"_commits/{part_name(shard)}.json").write_text("{")
    assert committed(ledger) == found
    assert ledger.commits([3, 7, 8]).keys() == {3}
    # Another shard was committed since: its record is read beside the journal.
    write_commit(tmp_path, 5, 9)
    assert committed(ledger).keys() == {0, 1, 2, 3, 4, 5}
    assert committed(ledger)[5].listed == 9


def test_without_a_success_mark_the_journal_does_not_count(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    write_commit(tmp_path, 0, 2)
    ledger.mark_success(Totals(2, 0), committed(ledger).values())
    kept = journal_of(tmp_path)
    text = kept.read_text()
    ledger.unmark_success()
    assert not kept.exists()
    # As a driver leaves it that dies between the two: the shard was done again since.
    kept.write_text(text)
    write_commit(tmp_path, 0, 3)
    assert committed(ledger)[0].listed == 3


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"a": 1}', '[{"shard": 0}]'])
def test_records_count_where_the_journal_is_damaged_or_lost(tmp_path: Path, content: str | None) -> None:
    ledger = Ledger(str(tmp_path))
    write_commit(tmp_path, 0, 2)
    ledger.mark_success(Totals(2, 0), committed(ledger).values())
    found = journal_of(tmp_path)
    found.unlink() if content is None else found.write_text(content)
    assert committed(ledger)[0].listed == 2


@pytest.mark.parametrize("mark", ["", "{}", "[]", '{"listed": 2, "done": 2, "failed": 0}', '{"journal": 5}'])
def test_a_success_mark_of_an_earlier_release_names_no_journal(tmp_path: Path, mark: str) -> None:
    ledger = Ledger(str(tmp_path))
    write_commit(tmp_path, 0, 2)
    (tmp_path / "_SUCCESS").write_text(mark)
    assert committed(ledger)[0].listed == 2
    ledger.unmark_success()
    assert not ledger.is_finished()


def test_a_driver_that_claims_the_folder_in_between_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look for its record and the look into the folder."""
    other, run_ids = Ledger(str(tmp_path / "out")), []
    read = storage.read

    def read_late(uri: str) -> bytes:
        monkeypatch.setattr(storage, "read", read)
        run_ids.append(other.claim(IDENTITY))
        raise FileNotFoundError(uri)

    monkeypatch.setattr(storage, "read", read_late)
    assert Ledger(str(tmp_path / "out")).find_run(IDENTITY) == run_ids[0]


def test_a_store_that_lists_a_record_it_does_not_have_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger(str(tmp_path)).claim(IDENTITY)

    def read(uri: str) -> bytes:
        raise FileNotFoundError(uri)

    monkeypatch.setattr(storage, "read", read)
    with pytest.raises(OutputError, match="not the output of a heartbeat job"):
        Ledger(str(tmp_path)).find_run(IDENTITY)


@pytest.mark.parametrize("place", ["s3://b//out", "s3://b/a//out/", "memory://a//b"])
def test_a_doubled_slash_in_an_output_is_refused(place: str) -> None:
    with pytest.raises(OutputError, match="'//' in a path means one thing to one store and another to the next"):
        Ledger(place)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("memory://out", "memory://out: no worker sees the memory of this process, .*name a folder or a bucket"),
        ("/", "^/: the root of the file system is no output: name a folder below it"),
        ("file:///", "^/: the root of the file system is no output: name a folder below it"),
    ],
)
def test_a_place_that_can_hold_no_output_is_refused(place: str, told: str) -> None:
    with pytest.raises(OutputError, match=told):
        Ledger(place)


def test_slashes_at_the_end_make_no_other_output() -> None:
    assert Ledger("s3://b/out//").out == Ledger("s3://b/out").out == "s3://b/out"
