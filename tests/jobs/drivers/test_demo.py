"""The first run: synthetic sounds, two of them broken, counted to the last one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import duckdb
import pytest
from rich.console import Console
from typer.testing import CliRunner

from heartbeat_core.audio.synthesis import demo_recordings
from heartbeat_core.errors import OutputError
from heartbeat_core.labels import ORIGINAL_LABELS
from jobs.cli.__main__ import app
from jobs.drivers.demo import SEED, demo
from jobs.output.ledger import Totals
from jobs.settings import JobSettings
from tests.helpers import read_rows, tree


@pytest.fixture(scope="module")
def sounds() -> dict[str, bytes]:
    return dict(demo_recordings(SEED))


def test_the_demo_tells_what_it_is(tmp_path: Path, sounds: dict[str, bytes], in_process: None) -> None:
    folder = tmp_path / "Anna's demo"  # Which the query must escape.
    result = CliRunner().invoke(app, ["demo", str(folder)])
    assert result.exit_code == 0, result.output
    assert "36 recordings listed = 34 predictions + 2 failures" in result.stdout
    failures = {row["uri"].rpartition("/")[2]: row for row in read_rows(folder / "results", "failures")}
    assert {name: row["error_type"] for name, row in failures.items()} == {
        "notes.wav": "not_audio",
        "interrupted.wav": "truncated",
    }
    for name, row in failures.items():
        assert f"{name}: {row['error_type']}: {row['message']}" in result.stdout
    assert "The sounds are synthetic" in result.stdout
    predicted: dict[str, Counter[str]] = {}
    for row in read_rows(folder / "results", "predictions"):
        kind = row["uri"].rpartition("/")[2].rpartition("_")[0]
        predicted.setdefault(kind, Counter())[row["predicted_label"]] += 1
    lines = [line.split(maxsplit=2) for line in result.stdout.partition("meant as")[2].splitlines()[1:6]]
    assert [line[0] for line in lines] == list(ORIGINAL_LABELS)
    for kind, n, told in lines:
        assert int(n) == predicted[kind].total()
        assert {label: int(count) for count, label in (one.split() for one in told.split(", "))} == predicted[kind]
    assert "no real hearts" in result.stderr
    query = result.stdout.partition("In DuckDB:")[2].partition(";")[0]
    assert sum(row[1] for row in duckdb.sql(query).fetchall()) == 34
    # The sounds are those of the seed, and the same command again adds nothing.
    before = tree(folder)
    assert {name: data for name, data in before.items() if name.startswith("recordings/")} == {
        f"recordings/{name}": data for name, data in sounds.items()
    }
    again = CliRunner().invoke(app, ["demo", str(folder)])
    assert again.exit_code == 0
    as_json = json.loads(CliRunner().invoke(app, ["demo", str(folder), "--json"]).stdout)
    assert as_json["kinds"] == predicted
    assert "36 recordings listed = 34 predictions + 2 failures" in again.stdout
    assert tree(folder) == before


def test_the_demo_ends_with_the_place_of_the_report(
    tmp_path: Path, bundle: Path, console: Console, in_process: None
) -> None:
    settings = JobSettings(model=str(bundle))
    results = demo(str(tmp_path), settings, console).classified.out.removeprefix("file://")
    (Path(results) / "report.html").write_text("<p>")
    assert demo(str(tmp_path), settings, console).report == f"{results}/report.html"
    (Path(results) / "report.html").unlink()
    assert demo(str(tmp_path), settings, console).report is None


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, bundle: Path, console: Console) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    settings = JobSettings(model=str(bundle))
    with pytest.raises(OutputError, match=r"holds something else \(letter\.txt\)"):
        demo(str(tmp_path), settings, console)
    with pytest.raises(OutputError, match=r"letter\.txt is a file: name a folder"):
        demo(str(tmp_path / "letter.txt"), settings, console)
    assert tree(tmp_path) == {"letter.txt": b"mine"}


def test_a_demo_that_was_interrupted_goes_on(
    tmp_path: Path, bundle: Path, sounds: dict[str, bytes], console: Console, in_process: None
) -> None:
    name = next(iter(sounds))
    (tmp_path / "recordings" / name).parent.mkdir(parents=True)
    (tmp_path / "recordings" / name).write_bytes(sounds[name])
    summary = demo(str(tmp_path), JobSettings(model=str(bundle)), console)
    assert summary.classified.totals == Totals(36, 2)
