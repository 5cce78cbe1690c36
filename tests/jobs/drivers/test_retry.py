"""Failures taken again: as a further generation, within other limits, with exactly one newest row a recording."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.errors import InputError, OutputError, UsageError
from heartbeat_core.results.folder import Results
from heartbeat_core.settings import Limits
from heartbeat_core.storage.uris import TABLES
from jobs.drivers.classify import ClassifySummary, classify
from jobs.drivers.compact import compact
from jobs.output.ledger import Ledger, Totals
from jobs.output.newest import read_failures
from jobs.output.plans import PlanFolder
from jobs.output.status import read_status
from jobs.settings import JobSettings
from jobs.tasks import processing as tasks
from jobs.tasks.shards import classify_task
from tests.faults.rig import tiny_recordings
from tests.helpers import LIMITS, heart_bytes, read_rows, tree, web_server, write_csv
from tests.jobs.drivers.test_classify import newest_in_duckdb, settings_for, text_of

SMALL = {**LIMITS, "max_object_bytes": 5_000}
"""Limits under which a long recording is too large."""


@dataclass
class Share:
    """A folder of recordings, some of which are ``away`` while tasks read, and the job over it."""

    folder: Path
    out: Path
    settings: JobSettings
    console: Console
    away: set[str] = field(default_factory=set)
    read: list[str] = field(default_factory=list)

    def put(self, name: str, data: bytes) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(data)

    def classify(self, **options: Any) -> ClassifySummary:
        self.read.clear()
        return classify([str(self.folder)], str(self.out), self.settings, self.console, **options)

    def rows(self, table: str) -> list[tuple[str, int]]:
        """Return all rows of a table, old ones as well: name and generation."""
        return sorted((Path(row["uri"]).name, row["generation"]) for row in read_rows(self.out, table))

    def newest(self) -> dict[str, int]:
        """Return the generation of each newest prediction, as the documented query finds it."""
        return {name: row["generation"] for name, row in newest_in_duckdb(self.out).items()}

    def counts(self) -> tuple[int, int, int, int]:
        found = read_status(str(self.out))
        return found.listed, found.done, found.failed, found.left

    def n_generations(self) -> int:
        return len(list((self.out / "_plan").glob("*.json")))


@pytest.fixture
def share(bundle: Path, tmp_path: Path, console: Console, in_process: None, monkeypatch: pytest.MonkeyPatch) -> Share:
    """An empty folder."""
    made = Share(tmp_path / "in", tmp_path / "out", settings_for(bundle), console)
    real = tasks.read_recordings

    def reading(recordings: Any, limits: Any) -> Iterator[Any]:
        made.read.extend(recording.relative_path for recording in recordings)
        gone = [path for name in made.away if (path := made.folder / name).exists()]
        for path in gone:
            path.rename(path.with_suffix(".away"))
        try:
            yield from real(recordings, limits)
        finally:
            for path in gone:
                path.with_suffix(".away").rename(path)

    monkeypatch.setattr("jobs.tasks.processing.read_recordings", reading)
    return made


@pytest.fixture
def failed(share: Share) -> Share:
    """A job that is finished: two recordings were away, two are no sound, and two have predictions."""
    for number, name in enumerate(("a.wav", "b.wav", "c.wav", "d.wav")):
        share.put(name, heart_bytes("normal", number))
    share.put("x.wav", b"no sound")
    share.put("y.wav", b"")
    share.away = {"a.wav", "b.wav"}
    assert share.classify().totals == Totals(6, 4)
    share.away.clear()
    text_of(share.console)
    return share


def test_a_hundred_transient_failures_become_a_hundred_predictions(share: Share) -> None:
    recordings = tiny_recordings(104)
    for name, data in recordings.items():
        share.put(name, data)
    share.away = set(list(recordings)[:100])
    first = share.classify()
    assert (first.totals, first.errors) == (Totals(104, 100), {"not_found": 100})
    before = tree(share.out)
    share.away.clear()
    text_of(share.console)
    second = share.classify(retry_failed=[])
    assert (second.totals, second.errors) == (Totals(104, 0), {})
    assert second.labels == dict(Counter(row["predicted_label"] for row in newest_in_duckdb(share.out).values()))
    text = text_of(share.console)
    assert "retry 1: 100 recordings that had failed" in text
    assert "listed" not in text
    assert "classify: 104/104 recordings, " in text
    assert ", 0 failures, " in text
    assert Counter(share.read) == Counter(list(recordings)[:100])
    assert Counter(generation for _, generation in share.rows("predictions")) == {0: 4, 1: 100}
    assert len(share.newest()) == len({name for name, _ in share.rows("predictions")}) == 104
    assert share.rows("features") == share.rows("predictions")
    # What was there stays, and the table of duplicates is made anew.
    after = tree(share.out)
    changed = {name.partition("/")[0] for name in before if after.get(name) != before[name]}
    assert changed == {"_SUCCESS", "_journal", "duplicates.parquet"}
    # Every reader counts each recording once.
    assert read_failures(str(share.out)) == []
    results = Results(share.out)
    assert (results.predictions().num_rows, results.features().num_rows, results.failures().num_rows) == (104, 104, 0)
    assert share.counts() == (104, 104, 0, 0)
    assert json.loads((share.out / "_SUCCESS").read_text()).items() >= {"listed": 104, "done": 104, "failed": 0}.items()
    compact(str(share.out), share.console)
    assert (len(share.rows("predictions")), share.rows("failures")) == (104, [])
    assert json.loads((share.out / "_SUCCESS").read_text()).items() >= {"listed": 104, "done": 104, "failed": 0}.items()
    assert share.classify() == second
    # The files have not changed since they were taken again.
    assert share.classify(update=True) == second
    assert share.n_generations() == 2


def test_what_fails_again_has_its_newest_failure(failed: Share) -> None:
    assert failed.classify(retry_failed=[]).totals == Totals(6, 2)
    assert sorted(failed.read) == ["a.wav", "b.wav", "x.wav", "y.wav"]
    assert failed.rows("failures") == [
        *(("a.wav", 0), ("b.wav", 0), ("x.wav", 0), ("x.wav", 1), ("y.wav", 0), ("y.wav", 1))
    ]
    found = {(Path(row["uri"]).name, row["generation"]) for row in read_failures(str(failed.out))}
    assert found == {("x.wav", 1), ("y.wav", 1)}
    assert failed.counts() == (6, 4, 2, 0)
    # Once more: only what still fails.
    assert failed.classify(retry_failed=[]).totals == Totals(6, 2)
    assert sorted(failed.read) == ["x.wav", "y.wav"]
    assert failed.newest() == {"a.wav": 1, "b.wav": 1, "c.wav": 0, "d.wav": 0}
    assert failed.counts() == (6, 4, 2, 0)
    compact(str(failed.out), failed.console)
    assert failed.rows("failures") == [("x.wav", 2), ("y.wav", 2)]
    # And after a compaction.
    assert failed.classify(retry_failed=["not_audio"]).totals == Totals(6, 2)
    assert failed.rows("failures") == [("x.wav", 2), ("x.wav", 3), ("y.wav", 2)]


def test_only_the_error_types_that_are_named(failed: Share) -> None:
    summary = failed.classify(retry_failed=["empty", "not_found"])
    assert sorted(failed.read) == ["a.wav", "b.wav", "y.wav"]
    assert (summary.totals, summary.errors) == (Totals(6, 2), {"empty": 1, "not_audio": 1})


def test_where_nothing_has_failed_so_nothing_is_retried(failed: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a retry without work asked for a cluster")

    monkeypatch.setattr("jobs.cluster.connect.connect", refuse)
    before = tree(failed.out)
    assert failed.classify(retry_failed=["timeout", "too_large"]).totals == Totals(6, 4)
    assert "nothing is retried: no recording has failed with timeout or too_large" in text_of(failed.console)
    assert tree(failed.out) == before


def test_of_a_free_folder_it_is_the_job_itself(share: Share) -> None:
    share.put("x.wav", b"no sound")
    share.put("a.wav", heart_bytes("normal", 1))
    assert share.classify(retry_failed=[]).totals == Totals(2, 1)
    assert share.n_generations() == 1


def test_other_limits_are_those_of_the_retry_alone(failed: Share, bundle: Path) -> None:
    original = failed.settings
    failed.put("long.wav", heart_bytes("murmur", 9, 8.0))
    failed.out = failed.out.with_name("limited")
    failed.settings = small = settings_for(bundle, limits=SMALL)
    assert failed.classify().errors["too_large"] == 5
    identity = (failed.out / "_run.json").read_bytes()
    failed.settings = original
    refused = r"limits\.max_object_bytes: 5000 there, 200000 here.*--retry-failed takes its failed recordings again"
    for options in ({}, {"update": True}):
        with pytest.raises(OutputError, match=refused):
            failed.classify(**options)
    assert failed.classify(retry_failed=["too_large"]).totals == Totals(7, 2)
    assert (failed.out / "_run.json").read_bytes() == identity
    assert [one.limits for one in PlanFolder(f"file://{failed.out}").generations()] == [None, original.limits]
    # The job is still the one with its own limits, which count for an update.
    failed.settings = small
    failed.put("new.wav", heart_bytes("murmur", 10, 8.0))
    assert failed.classify(update=True).errors["too_large"] == 1


def test_whatever_else_differs_is_refused(failed: Share, bundle: Path) -> None:
    failed.settings = settings_for(bundle, limits=SMALL, shards={"recordings": 9})
    with pytest.raises(OutputError, match=r"another job \(shards\.recordings: 8 there, 9 here\)"):
        failed.classify(retry_failed=[])


def test_update_and_retry_are_two_commands(failed: Share) -> None:
    with pytest.raises(UsageError, match="give --update or --retry-failed, not both"):
        failed.classify(update=True, retry_failed=[])


def test_what_was_begun_is_finished_first_and_within_its_own_limits(failed: Share, bundle: Path) -> None:
    parts = [f"{table}/part-000000.parquet" for table in TABLES]
    for name in ("_SUCCESS", "_commits/part-000000.json", "_settled/part-000000", *parts):
        (failed.out / name).unlink()
    failed.away = {"a.wav"}
    # Within these limits, all recordings would be too large.
    failed.settings = settings_for(bundle, limits={**LIMITS, "max_object_bytes": 10})
    summary = failed.classify(retry_failed=["not_found"])
    assert Counter(failed.read) == {
        **dict.fromkeys(("a.wav", "b.wav", "c.wav", "d.wav", "x.wav", "y.wav"), 1),
        "a.wav": 2,
    }
    assert summary.errors == {"not_audio": 1, "empty": 1, "too_large": 1}


@pytest.mark.parametrize("again", ["same", "other-types-and-limits", "plain"])
@pytest.mark.parametrize("moment", ["plan", "mark", "first-shard", "second-shard", "success"])
def test_a_retry_killed_in_the_middle_goes_on(
    share: Share, bundle: Path, monkeypatch: pytest.MonkeyPatch, moment: str, again: str
) -> None:
    recordings = tiny_recordings(16)
    for name, data in recordings.items():
        share.put(name, data)
    share.put("x.wav", b"no sound")
    original = share.settings = settings_for(bundle, limits={**LIMITS, "max_object_bytes": 100})
    assert share.classify().errors == {"too_large": 16, "not_audio": 1}
    unmark = Ledger.unmark_success

    def n_commits() -> int:
        return len(list((share.out / "_commits").iterdir()))

    n_shards = n_commits()
    share.settings = settings_for(bundle, limits=LIMITS)
    with monkeypatch.context() as patch:

        def dying(*arguments: Any, **options: Any) -> None:
            raise KeyboardInterrupt

        def dying_shard(shard: Any, job: Any) -> Any:
            if moment == "first-shard" or n_commits() > n_shards:
                raise KeyboardInterrupt
            return classify_task(shard, job)

        def unmarking(ledger: Ledger) -> None:
            unmark(ledger)
            patch.setattr("jobs.output.ledger.Ledger.mark_success", dying)

        match moment:
            case "plan":
                patch.setattr("jobs.output.plans.PlanFolder.settle", dying)
            case "mark":
                patch.setattr("jobs.output.ledger.Ledger.unmark_success", dying)
            case "success":
                patch.setattr("jobs.output.ledger.Ledger.unmark_success", unmarking)
            case _:
                patch.setattr("jobs.drivers.classify.classify_task", dying_shard)
        with pytest.raises(KeyboardInterrupt):
            share.classify(retry_failed=[])
    begun = moment != "plan"
    assert share.n_generations() == 1 + begun
    listed, done, failed, left = share.counts()
    n_done = {"second-shard": 8, "success": 16}.get(moment, 0)
    assert (listed, done, left) == (17, n_done, {"plan": 0, "success": 0}.get(moment, 17 - n_done))
    assert done + failed + left == listed
    text_of(share.console)
    match again:
        case "same":
            summary = share.classify(retry_failed=[])
        case "other-types-and-limits":
            share.settings = settings_for(bundle, limits={**LIMITS, "max_object_bytes": 200})
            summary = share.classify(retry_failed=["too_large"])
        case _:
            share.settings = original
            summary = share.classify()
    # Whoever finishes a retry does so with the limits and the recordings that it began with, and begins no other.
    is_whole = begun or again == "same"
    assert summary.totals == Totals(17, 1 if is_whole else 17)
    assert ("retry 1 had been begun and is finished now" in text_of(share.console)) == (begun and again != "plain")
    assert share.n_generations() == 1 + (begun or again != "plain")
    assert Counter(generation for _, generation in share.rows("predictions")) == ({1: 16} if is_whole else {})
    assert share.counts() == ((17, 16, 1, 0) if is_whole else (17, 0, 17, 0))
    # The next one is another round.
    share.settings = settings_for(bundle, limits=LIMITS)
    assert share.classify(retry_failed=["not_audio"]).totals.failed == summary.totals.failed
    assert share.read == ["x.wav"]


def test_a_recording_that_changed_after_it_was_listed(failed: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    failed.put("a.wav", heart_bytes("murmur", 20, 3.0))
    assert failed.classify(retry_failed=[]).errors == {"not_audio": 1, "empty": 1}
    # Its version is the new one: an update does not take it again.
    assert failed.classify(update=True).totals == Totals(6, 2)
    assert failed.read == []


def test_a_recording_that_is_gone_is_still_not_found(failed: Share) -> None:
    (failed.folder / "a.wav").unlink()
    assert failed.classify(retry_failed=["not_found"]).errors == {"not_found": 1, "not_audio": 1, "empty": 1}


def test_a_recording_of_an_update_is_taken_as_the_update_planned_it(failed: Share) -> None:
    failed.put("c.wav", heart_bytes("normal", 30))
    failed.put("later/e.wav", heart_bytes("normal", 31))
    failed.away = {"a.wav", "b.wav", "c.wav", "later/e.wav"}
    assert failed.classify(update=True).totals == Totals(7, 6)
    failed.away = {"b.wav"}
    assert failed.classify(retry_failed=["not_found"]).totals == Totals(7, 3)
    assert sorted(failed.read) == ["a.wav", "b.wav", "c.wav", "later/e.wav"]
    newest = newest_in_duckdb(failed.out).values()
    assert sorted((Path(row["uri"]).name, row["generation"]) for row in newest if row["generation"]) == [
        *(("a.wav", 2), ("c.wav", 2), ("e.wav", 2))
    ]


def test_the_rows_of_a_manifest_are_revealed_again(share: Share, tmp_path: Path) -> None:
    share.put("a.wav", heart_bytes("normal", 1))
    share.put("b.wav", heart_bytes("normal", 2))
    with web_server(share.folder) as (address, _):
        signed = f"{address}/b.wav?X-Amz-Signature=c0ffee-token"
        manifest = write_csv(tmp_path / "m.csv", ["path"], [["in/a.wav"], [signed]])

        def run(**options: Any) -> ClassifySummary:
            return classify([str(manifest)], str(share.out), share.settings, share.console, **options)

        for name in ("a.wav", "b.wav"):
            (share.folder / name).rename(share.folder / f"{name}.away")
        assert run().errors == {"not_found": 2}
        for name in ("a.wav", "b.wav"):
            (share.folder / f"{name}.away").rename(share.folder / name)
        assert run(retry_failed=[]).totals == Totals(2, 0)
        n_generations = share.n_generations()
        assert run(update=True).totals == Totals(2, 0)
        # Neither has changed since.
        assert share.n_generations() == n_generations == 2
    planned = PlanFolder(f"file://{share.out}")
    told = [
        {Path(one.relative_path).name: one.version for shard in planned.shards(generation) for one in shard.recordings}
        for generation in planned.generations()
    ]
    # What is not there has no version when it is listed, and a remote row of a manifest never has one.
    found = storage.find(f"file://{share.folder}/a.wav")
    assert found is not None
    assert told == [{"a.wav": None, "b.wav": None}, {"a.wav": found.version, "b.wav": None}]
    assert not [name for name, data in tree(share.out).items() if b"c0ffee-token" in data and name.startswith("_plan")]


def test_the_limits_of_a_folder(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    assert ledger.find_limits() is None
    limits = Limits(deadline_s=3)
    ledger.claim({"job": "classify", "limits": limits.model_dump(mode="json")})
    assert ledger.find_limits() == limits
    for record in ("", "[]", '{"identity": 3}', '{"identity": {"limits": {"deadline_s": -1}}}'):
        (tmp_path / "_run.json").write_text(record)
        assert ledger.find_limits() is None


def test_the_inputs_are_not_looked_at(failed: Share) -> None:
    failed.put("later.wav", heart_bytes("normal", 40))
    assert failed.classify(retry_failed=["not_found"]).totals == Totals(6, 2)
    failed.folder.rename(failed.folder.with_name("elsewhere"))
    assert failed.classify(retry_failed=["empty"]).errors == {"not_audio": 1, "not_found": 1}
    with pytest.raises(InputError, match="no such file or folder"):
        failed.classify(update=True)
