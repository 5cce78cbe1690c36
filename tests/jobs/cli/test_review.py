"""``heartbeat review`` at the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli.__main__ import app
from jobs.drivers.classify import classify
from jobs.settings import JobSettings
from tests.conftest import quiet_console, without_cluster
from tests.helpers import write_many


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    folder = tmp_path_factory.mktemp("few")
    write_many(folder / "in", 5)
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        classify([str(folder / "in")], str(folder / "out"), JobSettings(model=str(bundle)), quiet_console())
    return folder / "out"


def test_out_and_back(finished: Path, tmp_path: Path) -> None:
    page = tmp_path / "review"
    done = CliRunner().invoke(app, ["review", str(finished), "-o", str(page), "--each", "5"])
    assert done.exit_code == 0, done.output
    assert f"5 recordings to judge: {page}/review.html" in done.output
    lines = (page / "review.csv").read_text().splitlines()
    filled = [lines[0], *(line + verdict for line, verdict in zip(lines[1:], ["normal"] * 4 + [""], strict=True))]
    (tmp_path / "back.csv").write_text("\n".join(filled))
    command = ["review", str(finished), "--import", str(tmp_path / "back.csv")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "4 new verdicts, 0 changed, 0 as before" in done.output
    assert "only a random sample stands for all" in done.output
    assert "0 new verdicts, 0 changed, 4 as before" in CliRunner().invoke(app, command).output
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (found["n_new"], found["n_same"], found["precision"][0]["judged"]) == (0, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name either a new folder (-o REVIEW) or verdicts to take back (--import VERDICTS)"),
        (["-o", "{new}", "--import", "{new}"], "name either a new folder"),
        (["-o", "{out}"], "is not empty: name a new folder"),
        (["--import", "{new}.csv"], "there is no such file"),
        (["--import", "{out}"], "there are no label tracks (.txt) in this folder"),
        (["--import", "{empty}"], "there are no verdicts in it"),
        (["--import", "{unknown}"], "has no prediction of recording 0123456789abcdef: are the verdicts on other"),
    ],
)
def test_a_mistake_gets_one_line(finished: Path, tmp_path: Path, arguments: list[str], told: str) -> None:
    (tmp_path / "empty.csv").write_text("recording,verdict\n0123456789abcdef,\n")
    (tmp_path / "unknown.csv").write_text("recording,verdict\n0123456789abcdef,normal\n")
    places = {"new": tmp_path / "new", "out": finished}
    places |= {name: tmp_path / f"{name}.csv" for name in ("empty", "unknown")}
    done = CliRunner().invoke(app, ["review", str(finished), *(one.format(**places) for one in arguments)])
    assert done.exit_code == 2
    assert told in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["review", str(tmp_path), "-o", str(tmp_path / "new")])
    assert done.exit_code == 2
    assert "is not the output of a heartbeat job" in done.output
