"""Recordings with the same audio: found at the end of every kind of run, and told wherever somebody may look."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from heartbeat_core.errors import InputError
from heartbeat_core.results.folder import Results
from heartbeat_core.results.tables import describe_tables
from jobs.drivers.classify import classify
from jobs.drivers.compact import compact
from jobs.drivers.reclassify import reclassify
from jobs.settings import JobSettings
from tests.helpers import LIMITS, heart_bytes, read_rows, write_csv

pytestmark = pytest.mark.usefixtures("in_process")


class Ward:
    """A folder of recordings, some of them copies, and the job over it."""

    def __init__(self, root: Path, bundle: Path, console: Console) -> None:
        self.folder, self.out, self.console = root / "in", root / "out", console
        content = {"model": str(bundle), "shards": {"recordings": 2}, "limits": LIMITS}
        self.settings = JobSettings.model_validate(content)

    def put(self, name: str, seed: int) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(heart_bytes("normal", seed))

    def classify(self, *, update: bool = False) -> None:
        classify([str(self.folder)], str(self.out), self.settings, self.console, update=update)

    def found(self, out: Path | None = None) -> dict[str, str]:
        """Return the names of duplicates and of what they duplicate, as the view ``features`` tells them."""
        rows = Results(out or self.out).sql("SELECT recording_id, relative_path, duplicate_of FROM features").fetchall()
        names = {one: name for one, name, _ in rows}
        return {name: names[first] for _, name, first in rows if first is not None}

    def by_loop(self) -> dict[str, str]:
        """Return the same from the bytes of the files, in the order of the plan."""
        first: dict[bytes, str] = {}
        found = {}
        for row in sorted(read_rows(self.out, "predictions"), key=lambda row: row["generation"]):
            path = self.folder / row["relative_path"]
            name = first.setdefault(path.read_bytes(), row["relative_path"])
            if name != row["relative_path"]:
                found[row["relative_path"]] = name
        return found


@pytest.fixture
def ward(tmp_path: Path, bundle: Path, console: Console) -> Ward:
    ward = Ward(tmp_path, bundle, console)
    for name, seed in (("a.wav", 1), ("b.wav", 2), ("c.wav", 1), ("d/e.wav", 2), ("d/f.wav", 1), ("g.wav", 3)):
        ward.put(name, seed)
    for name in ("y.wav", "z.wav"):  # Failures are no duplicates: nothing is known of their audio.
        (ward.folder / name).write_bytes(b"nothing")
    return ward


def test_each_names_the_first_of_its_audio(ward: Ward) -> None:
    ward.classify()
    assert ward.found() == ward.by_loop() == {"c.wav": "a.wav", "d/e.wav": "b.wav", "d/f.wav": "a.wav"}
    text = ward.console.file.getvalue()  # type: ignore[attr-defined]
    assert "3 recordings have the same audio as an earlier one" in text
    page = (ward.out / "report.html").read_text()
    assert "Same audio as an earlier recording" in page
    assert "3 (50 %)" in page
    # The table itself, for whoever does not use DuckDB.
    assert pq.read_table(ward.out / "duplicates.parquet").num_rows == 3


def test_an_update_and_a_compaction_find_them_anew(ward: Ward, tmp_path: Path) -> None:
    ward.classify()
    ward.put("a.wav", 4)
    ward.put("h.wav", 3)
    ward.classify(update=True)
    expected = {"d/e.wav": "b.wav", "d/f.wav": "c.wav", "h.wav": "g.wav"}
    assert ward.found() == ward.by_loop() == expected
    compact(str(ward.out), ward.console)
    assert ward.found() == expected
    ward.put("b.wav", 5)
    ward.put("d/e.wav", 5)
    ward.put("d/f.wav", 6)
    ward.put("h.wav", 7)
    ward.classify(update=True)
    assert ward.found() == {"d/e.wav": "b.wav"}
    again = tmp_path / "again"
    reclassify(str(ward.out), str(again), ward.settings, ward.console)
    assert ward.found(again) == {"d/e.wav": "b.wav"}


@pytest.mark.parametrize("lost", ["duplicates.parquet", "_SUCCESS"])
def test_the_table_is_made_again_from_the_committed_rows(ward: Ward, lost: str) -> None:
    ward.classify()
    table = ward.out / "duplicates.parquet"
    before = table.read_bytes()
    (ward.out / lost).unlink()
    if lost == "_SUCCESS":
        table.write_bytes(b"")
    ward.classify()
    assert table.read_bytes() == before


def test_before_the_end_nobody_has_looked(ward: Ward) -> None:
    ward.classify()
    (ward.out / "duplicates.parquet").unlink()
    assert ward.found() == {}


def test_without_duplicates_there_is_an_empty_table(ward: Ward) -> None:
    for name in ("c.wav", "d/e.wav", "d/f.wav"):
        (ward.folder / name).unlink()
    ward.classify()
    assert pq.read_table(ward.out / "duplicates.parquet").num_rows == 0
    assert ward.found() == {}


def test_the_column_is_described(ward: Ward) -> None:
    ward.classify()
    described = describe_tables(str(ward.out))
    shown = [one.name for one in described["features"]]
    assert shown == Results(ward.out).sql("FROM features").columns
    assert all(one.meaning and one.method for one in described["duplicates"])
    stored = json.loads((ward.out / "_schemas" / "duplicates.json").read_text())
    assert [one["name"] for one in stored["fields"]] == ["recording_id", "duplicate_of"]
    assert stored["primaryKey"] == ["recording_id"]


def test_a_kept_column_of_that_name_is_refused(ward: Ward, tmp_path: Path) -> None:
    manifest = write_csv(tmp_path / "list.csv", ("path", "duplicate_of"), [["in/a.wav", "x"]])
    settings = ward.settings.model_copy(update={"keep_columns": ("duplicate_of",)})
    with pytest.raises(InputError, match="duplicate_of"):
        classify([str(manifest)], str(ward.out), settings, ward.console)
