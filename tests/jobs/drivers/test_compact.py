"""A finished folder as plain files; and what it tells of itself meanwhile."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console
from typer.testing import CliRunner

from heartbeat_core import storage
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.errors import InputError, OutputError
from heartbeat_core.recipe import Recipe
from heartbeat_core.storage.uris import TABLES
from jobs.cli.__main__ import app
from jobs.drivers.classify import ClassifySummary, classify
from jobs.drivers.compact import compact
from jobs.output.lease import present
from jobs.output.status import Step, read_status
from jobs.settings import JobSettings
from tests.helpers import WARD_ROWS, comparable, heart_bytes, read_rows, read_table, tree

NEWEST = """WITH newest AS (
  SELECT recording_id, max(generation) AS generation
  FROM (SELECT recording_id, generation FROM '{out}/predictions/*.parquet'
        UNION ALL SELECT recording_id, generation FROM '{out}/failures/*.parquet')
  GROUP BY ALL)
SELECT p.uri, p.generation FROM '{out}/predictions/*.parquet' p JOIN newest USING (recording_id, generation)
ORDER BY ALL"""


class Clinic:
    """A folder of recordings that changes, and the job over it."""

    def __init__(self, folder: Path, bundle: Path, console: Console) -> None:
        self.recordings, self.out = folder / "in", folder / "out"
        self.recordings.mkdir()
        self._settings = JobSettings.model_validate({"model": str(bundle), "shards": {"recordings": 4}})
        self._console = console

    def put(self, name: str, data: bytes) -> None:
        (self.recordings / name).write_bytes(data)

    def classify(self, *, update: bool = False) -> ClassifySummary:
        return classify([str(self.recordings)], str(self.out), self._settings, self._console, update=update)

    def compact(self, part_bytes: int = 2**27) -> Any:
        return compact(str(self.out), self._console, part_bytes)

    def newest(self) -> list[tuple[Any, ...]]:
        return duckdb.sql(NEWEST.format(out=self.out)).fetchall()


@pytest.fixture
def clinic(tmp_path: Path, bundle: Path, console: Console, in_process: None) -> Clinic:
    """Two generations: a recording that became bad, one that became good, one that changed, one that is new."""
    made = Clinic(tmp_path, bundle, console)
    for number in range(10):
        made.put(f"{number}.wav", heart_bytes("normal", number))
    made.put("bad.wav", b"no sound")
    made.classify()
    made.put("0.wav", b"no sound any more")
    made.put("1.wav", heart_bytes("murmur", 1))
    made.put("bad.wav", heart_bytes("murmur", 2))
    made.put("new.wav", heart_bytes("murmur", 3))
    made.classify(update=True)
    return made


def names(clinic: Clinic, table: str) -> list[str]:
    return [Path(row["uri"]).name for row in read_rows(clinic.out, table)]


def test_each_recording_is_its_newest_row_alone(clinic: Clinic) -> None:
    assert names(clinic, "predictions").count("1.wav") == 2
    before = clinic.newest()
    summary = clinic.classify()
    done = clinic.compact()
    assert done.n_rows == {"predictions": 11, "features": 11, "failures": 1}
    assert done.n_parts == {"predictions": 1, "features": 1, "failures": 1}
    assert sorted(names(clinic, "predictions")) == sorted([*(f"{i}.wav" for i in range(1, 10)), "bad.wav", "new.wav"])
    assert sorted(names(clinic, "features")) == sorted(names(clinic, "predictions"))
    assert names(clinic, "failures") == ["0.wav"]
    assert clinic.newest() == before
    assert dict(before)[f"file://{clinic.recordings}/1.wav"] == 1
    # Nothing of the old and nothing aside is left; the folder is finished as before.
    left = [name for name in tree(clinic.out) if not name.startswith(("_commits/", "_plan/", "_settled/"))]
    assert not [name for name in left if name.startswith("_compact/") or "part-" in name.replace("compact-", "")]
    assert clinic.classify() == summary
    assert read_table(clinic.out, "predictions").schema.metadata[b"heartbeat.recipe"] == b"tiny"


def test_compacting_again_changes_no_row(clinic: Clinic) -> None:
    clinic.compact(part_bytes=1)
    several = len(list((clinic.out / "predictions").iterdir()))
    assert several > 1
    rows = comparable(clinic.out, "features")
    done = clinic.compact()
    assert done.number == 2
    assert comparable(clinic.out, "features") == rows
    assert len(list((clinic.out / "predictions").iterdir())) == 1


def test_a_job_compacts_what_it_has_added(clinic: Clinic, bundle: Path, tmp_path: Path) -> None:
    """With ``--compact`` at each run: only a run that has added rows is followed by a compaction."""
    (tmp_path / "job.yaml").write_text(f"model: {bundle}\nshards: {{recordings: 4}}")

    def classify(*options: str) -> tuple[str, list[str]]:
        command = ["classify", str(clinic.recordings), "-o", str(clinic.out), "--config", str(tmp_path / "job.yaml")]
        result = CliRunner().invoke(app, [*command, "--compact", *options])
        assert result.exit_code == 0, result.output
        return result.stdout, [path.name for table in TABLES for path in (clinic.out / table).iterdir()]

    rows = clinic.newest()
    told, names = classify()
    assert "predictions: 11 rows in 1 part, before in 4" in told
    assert names == ["compact-000001-000000.parquet"] * 3
    assert clinic.newest() == rows
    before = tree(clinic.out / "features")
    told, names = classify()
    assert "before in" not in told
    assert tree(clinic.out / "features") == before
    clinic.put("later.wav", heart_bytes("murmur", 4))
    told, names = classify("--update")
    assert "predictions: 12 rows in 1 part, before in 2" in told
    assert names == ["compact-000002-000000.parquet"] * 3


def test_a_dataset_is_compacted_at_the_end_of_its_job(
    library: Path, dataset: Path, tmp_path: Path, recipe: Recipe, in_process: None
) -> None:
    (tmp_path / "tiny.yaml").write_text(json.dumps(recipe.model_dump(mode="json")))
    (tmp_path / "job.yaml").write_text("shards: {recordings: 8}")
    command = ["build-dataset", library, "-o", tmp_path / "out", "--recipe", tmp_path / "tiny.yaml"]
    options = ["--labels", library / "labels.csv", "--config", tmp_path / "job.yaml", "--compact"]
    result = CliRunner().invoke(app, [str(one) for one in (*command, *options)])
    assert result.exit_code == 0, result.output
    assert "recordings: 31 rows in 1 part, before in 4" in result.stdout
    assert comparable(tmp_path / "out", "recordings") == comparable(dataset, "recordings")
    assert Dataset(str(tmp_path / "out")).rows().recording_id == Dataset(str(dataset)).rows().recording_id


def test_an_update_goes_on_after_it(clinic: Clinic) -> None:
    clinic.compact()
    clinic.put("later.wav", heart_bytes("murmur", 4))
    assert clinic.classify(update=True).totals.listed == 13
    assert dict(clinic.newest())[f"file://{clinic.recordings}/later.wav"] == 2
    clinic.compact()
    assert len(names(clinic, "predictions")) == 12


@pytest.mark.parametrize("function", ["create", "remove"])
def test_a_compaction_that_died_is_finished_by_the_same_command(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    original: Callable[..., Any] = getattr(storage, function)
    step = 0
    while True:
        left = 0

        def dying(uri: str, *arguments: Any, step: int = step) -> Any:
            nonlocal left
            if "_drivers" not in uri:
                left += 1
                if left > step:
                    raise KeyboardInterrupt
            return original(uri, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(storage, function, dying)
            try:
                clinic.compact(part_bytes=1)
                break
            except KeyboardInterrupt:
                pass
        # Whatever was reached, no row is lost: it is in a table or aside.
        if not (clinic.out / "_SUCCESS").exists():
            with pytest.raises(OutputError, match="a compaction was interrupted"):
                clinic.classify()
        step += 1
    assert step > 3
    assert len(names(clinic, "predictions")) == 11
    assert names(clinic, "failures") == ["0.wav"]
    assert clinic.classify().totals.listed == 12
    assert not [name for name in tree(clinic.out) if name.startswith("_compact")]


def test_what_is_not_finished_or_at_work_is_refused(clinic: Clinic, tmp_path: Path, console: Console) -> None:
    with pytest.raises(InputError, match=r"is not the output of a heartbeat job: there is no _run\.json"):
        compact(str(tmp_path / "nothing"), console)
    before = tree(clinic.out)
    with present(f"file://{clinic.out}", alone=False), pytest.raises(OutputError, match="works there"):
        clinic.compact()
    assert tree(clinic.out) == before
    (clinic.out / "_SUCCESS").unlink()
    with pytest.raises(InputError, match="is not finished: run its job again"):
        clinic.compact()


def test_no_job_begins_while_it_works(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update would change what the new parts are made of, and its success mark would stand or fall by chance."""
    refused: list[str] = []
    write = storage.create

    def updating(uri: str, data: bytes) -> bool:
        if "/_compact/" in uri:
            clinic.put("later.wav", heart_bytes("murmur", 4))
            with pytest.raises(OutputError, match="one of the two must be alone, as a compaction must") as caught:
                clinic.classify(update=True)
            refused.append(str(caught.value))
        return write(uri, data)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "create", updating)
        clinic.compact()
    assert len(refused) == 4, "before each new part and before the record"
    assert len(names(clinic, "predictions")) == 11
    # Afterwards the update is taken.
    assert clinic.classify(update=True).totals.listed == 13


def test_a_job_that_came_and_went_before_it_was_alone(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had found the folder finished; meanwhile an update has begun and died."""
    before = tree(clinic.out / "predictions")

    def late(out: str, *, alone: bool) -> Any:
        (clinic.out / "_SUCCESS").unlink()
        return present(out, alone=alone)

    monkeypatch.setattr("jobs.drivers.compact.present", late)
    with pytest.raises(InputError, match="is not finished: run its job again"):
        clinic.compact()
    assert tree(clinic.out / "predictions") == before


def test_a_job_that_looked_before_a_compaction_died_is_refused(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had found no compaction; until it had announced itself, one has begun and died half way."""

    def dying(*arguments: Any) -> None:
        raise KeyboardInterrupt

    def late(out: str, *, alone: bool) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr("jobs.drivers.compact._publish", dying)
            with pytest.raises(KeyboardInterrupt):
                clinic.compact()
        return present(out, alone=alone)

    with monkeypatch.context() as patch:
        patch.setattr("jobs.drivers.run.present", late)
        with pytest.raises(OutputError, match="a compaction was interrupted: finish it with"):
            clinic.classify(update=True)
    clinic.compact()
    assert clinic.classify().totals.listed == 12


def test_an_update_that_was_planned_and_not_begun_is_not_finished(clinic: Clinic) -> None:
    """Its driver died before it took the success mark away."""
    (clinic.out / "_commits/part-000003.json").unlink()
    with pytest.raises(InputError, match="is not finished: run its job again"):
        clinic.compact()


def test_an_evaluation_is_told_and_not_compacted(
    evaluation: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(evaluation)
    with pytest.raises(InputError, match="is an evaluation, which has nothing to compact: name the output of"):
        compact(str(evaluation), console)
    assert tree(evaluation) == before
    shutil.copytree(evaluation, tmp_path / "out")
    # Two kinds of inputs of 92 rows, in chunks of 32; two recipes, two tasks, two seeds and three folds.
    found = read_status(str(tmp_path / "out"))
    n_parts = 2 * -(-WARD_ROWS // 32)
    assert (found.job, found.finished, found.shards) == ("evaluate", True, 0)
    assert found.steps == {"inputs": Step(n_parts, n_parts), "folds": Step(24, 24)}
    (tmp_path / "out" / "_SUCCESS").unlink()
    next((tmp_path / "out").glob("_inputs/*/part-000000.parquet")).unlink()
    shutil.rmtree(tmp_path / "out" / "_folds")
    found = read_status(str(tmp_path / "out"))
    assert found.steps == {"inputs": Step(n_parts - 1, n_parts), "folds": Step(0, 24)}
    assert not found.finished
    with present(f"file://{tmp_path}/out", alone=False):
        result = CliRunner().invoke(app, ["status", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    first, *lines = result.stdout.splitlines()
    assert first == "evaluate: running"
    assert [line.split() for line in lines[:2]] == [
        [str(n_parts - 1), "of", str(n_parts), "parts", "of", "the", "models'", "inputs", "computed"],
        ["0", "of", "24", "folds", "judged"],
    ]
    assert "listed" not in result.stdout


def test_a_dataset_is_compacted_too(dataset: Path, tmp_path: Path, console: Console) -> None:
    for name, data in tree(dataset).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    rows = read_rows(tmp_path, "recordings")
    compact(str(tmp_path), console)
    assert read_rows(tmp_path, "recordings") == rows
    assert len(list((tmp_path / "recordings").iterdir())) == 1


def test_status_counts_what_is_done_failed_and_left(clinic: Clinic) -> None:
    found = read_status(str(clinic.out))
    assert (found.job, found.generations, found.listed, found.done, found.failed, found.left) == (
        *("classify", 2, 12, 11, 1, 0),
    )
    assert found.finished
    assert found.drivers == found.running == ()
    (clinic.out / "_SUCCESS").unlink()
    plans = [json.loads((clinic.out / f"_plan/00000{number}.json").read_text()) for number in (0, 1)]
    n_shards = sum(plan["n_shards"] for plan in plans)
    lost = json.loads((clinic.out / "_commits/part-000003.json").read_text())["listed"]
    (clinic.out / "_commits/part-000003.json").unlink()
    with present(f"file://{clinic.out}", alone=False) as driver:
        driver.submitted(3)
        driver.submitted(2)
        # What it tells is written every few seconds; what is committed does not run.
        storage.put(
            f"file://{clinic.out}/_drivers/{driver.id}.json",
            json.dumps(
                {"id": driver.id, "host": "h", "pid": 1, "started_at": 4e9, "seen_at": 4e9, "shards": [2, 3]}
            ).encode(),
        )
        found = read_status(str(clinic.out))
    assert (found.committed, found.shards, found.left, found.finished) == (n_shards - 1, n_shards, lost, False)
    assert found.running == (3,)
    assert [one.host for one in found.drivers] == ["h"]
