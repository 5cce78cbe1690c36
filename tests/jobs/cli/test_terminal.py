"""What commands say to programs and to people: JSON Lines, states that are watched, plurals, ``dask heartbeat``."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import dask.cli
import pytest
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner, Result

from heartbeat_core.settings import DEFAULT_MODEL
from jobs.cli.__main__ import app
from jobs.cli.printing import print_predictions, print_status
from jobs.cli.records import print_json, watch
from jobs.drivers.classify import classify
from jobs.logs import JsonLines, json_lines
from jobs.output.lease import Driver
from jobs.output.status import Status, read_status
from jobs.settings import JobSettings
from tests.commands import done
from tests.conftest import quiet_console, without_cluster
from tests.helpers import environment, heart_bytes, read_rows

ROOT = Path(__file__).parents[3]


def heartbeat(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def told(*arguments: object) -> list[Any]:
    """Return the objects that a command prints with --json, one from each line."""
    result = heartbeat(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good recording and two broken ones, of two kinds."""
    folder = tmp_path_factory.mktemp("ward")
    (folder / "a.wav").write_bytes(heart_bytes("normal", 1))
    (folder / "b.wav").write_bytes(b"no sound")
    (folder / "c.wav").write_bytes(heart_bytes("normal", 2)[:30])
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, ward: Path, bundle: Path) -> Path:
    out = tmp_path_factory.mktemp("results") / "out"
    with pytest.MonkeyPatch.context() as patch:
        without_cluster(patch)
        classify([str(ward)], str(out), JobSettings(model=str(bundle)), quiet_console())
    return out


def test_every_command_that_reports_takes_json() -> None:
    without = {
        name
        for name, one in get_command(app).commands.items()
        if "--json" not in [option for parameter in one.params for option in parameter.opts]
    }
    # They have answers, and not a report: sql has --format, open starts Python, and metrics speaks to Prometheus.
    assert without == {"sql", "open", "metrics"}


def test_classify_for_programs(ward: Path, bundle: Path, tmp_path: Path, in_process: None) -> None:
    command = ("classify", ward, "-o", tmp_path / "out", "--model", bundle)
    [found] = told(*command)
    assert found["output"] == str(tmp_path / "out")
    assert (found["listed"], found["done"], found["failed"]) == (3, 1, 2)
    assert sum(found["errors"].values()) == 2
    assert sum(found["labels"].values()) == 1
    again, compacted = told(*command, "--compact")
    assert again == found
    assert compacted["n_rows"] == {"predictions": 1, "features": 1, "failures": 2}
    assert told("status", tmp_path / "out")[0]["errors"] == found["errors"]


def test_other_commands_for_programs(
    dataset: Path, bundle: Path, library: Path, tmp_path: Path, in_process: None
) -> None:
    [built] = told(
        "build-dataset", library, "-o", tmp_path / "data", "--recipe", "seed-mini", "--label-from", "parent-folder"
    )
    assert built["listed"] == built["done"] + built["failed"] == sum(built["labels"].values()) + built["failed"]
    [exported] = told("export", bundle, "-o", tmp_path / "weights.h5", "--format", "hdf5")
    assert exported["n_bytes"] == (tmp_path / "weights.h5").stat().st_size
    [made] = told("certs", tmp_path / "certs")
    assert Path(made["ca_file"]).is_file()
    [again] = told("reclassify", _classified(library, bundle, tmp_path), "-o", tmp_path / "again", "--model", bundle)
    assert (again["from_stored"], again["lacking"]) == (again["done"], [])


def _classified(library: Path, bundle: Path, tmp_path: Path) -> Path:
    assert heartbeat("classify", library, "-o", tmp_path / "first", "--model", bundle).exit_code == 0
    return tmp_path / "first"


def test_what_is_no_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"score": float("nan"), "cost": float("inf"), "name": "é", "place": Path("/a")})
    assert json.loads(capsys.readouterr().out) == {"score": None, "cost": None, "name": "é", "place": "/a"}


def test_a_status_names_failures_by_reason(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_rows(results, "failures")
    lines = heartbeat("status", results).stdout.splitlines()
    at = lines.index("          2 failed")
    assert [line.split() for line in lines[at + 1 : at + 3]] == sorted(["1", row["error_type"]] for row in rows)
    assert lines[at + 3] == "          0 left"


def _state(**more: Any) -> Status:
    facts: dict[str, Any] = {
        "job": "classify",
        "run_id": "r",
        "generations": 1,
        "listed": 1,
        "done": 0,
        "failed": 0,
        "errors": {},
        "retried": 0,
        "changed": 0,
        "shards": 1,
        "committed": 0,
        "running": (),
        "finished": False,
        "drivers": (),
    }
    return Status(**{**facts, **more})


def test_one_is_no_plural(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(_state())
    assert "1 recording listed" in (text := capsys.readouterr().out)
    assert "0 of 1 shard committed" in text
    print_status(_state(listed=2, shards=3))
    assert "2 recordings listed" in (text := capsys.readouterr().out)
    assert "0 of 3 shards committed" in text


def test_a_driver_is_shown_with_what_it_has_done(capsys: pytest.CaptureFixture[str]) -> None:
    driver = Driver("d", "ward-7", 4711, 0.0, time.time() - 3, done=8, failed=2)
    print_status(_state(drivers=(driver, replace(driver, pid=4712, done=1, failed=0))))
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"driver on ward-7, process 4711: heard from [34] s ago, 8 recordings done, 2 failed", lines[-2]
    )
    assert re.fullmatch(r"driver on ward-7, process 4712: heard from [34] s ago, 1 recording done", lines[-1])


def test_a_watch_ends_when_the_job_is_finished_or_nobody_works() -> None:
    driver: Any = object()
    working, finished, left = _state(drivers=(driver,)), _state(drivers=(driver,), finished=True), _state()
    for last in (finished, left):
        states = iter([working, working, last, working])
        seen: list[Status] = []
        assert watch(lambda states=states: next(states), seen.append, 0.0) is last
        assert seen == [working, working, last]


def test_status_watch(results: Path, tmp_path: Path) -> None:
    watched = heartbeat("status", results, "--watch")
    assert watched.exit_code == 0
    assert watched.stdout == heartbeat("status", results).stdout
    (tmp_path / "_run.json").write_text((results / "_run.json").read_text())
    unfinished = heartbeat("status", tmp_path, "--watch", "--json")
    assert unfinished.exit_code == 1
    [state] = map(json.loads, unfinished.stdout.splitlines())
    assert not state["finished"]


def test_log_lines_as_json_name_run_shard_and_recording(
    ward: Path, bundle: Path, tmp_path: Path, in_process: None
) -> None:
    console = Console(file=JsonLines(sink := io.StringIO()), width=300)
    settings = JobSettings.model_validate({"model": str(bundle), "shards": {"recordings": 2}})
    classify([str(ward)], str(tmp_path / "out"), settings, console)
    lines = [json.loads(line) for line in sink.getvalue().splitlines()]
    run_id = read_status(str(tmp_path / "out")).run_id
    assert lines[0]["message"] == "3 recordings listed"
    assert all(line["run"] == run_id for line in lines[1:])
    assert all({"time", "level", "message"} <= line.keys() for line in lines)
    failed = {line["recording"]: line for line in lines if line["level"] == "warning"}
    rows = {row["recording_id"]: row for row in read_rows(tmp_path / "out", "failures")}
    assert failed.keys() == rows.keys()
    shards = {line["shard"]: line for line in lines if line["message"] == "shard committed"}
    assert {shard: (line["listed"], line["failed"]) for shard, line in shards.items()} == {0: (2, 1), 1: (1, 1)}
    for one, line in failed.items():
        assert (line["error_type"], line["message"]) == (rows[one]["error_type"], rows[one]["message"])
        assert line["shard"] in shards


def test_text_in_pieces_becomes_one_object_a_line() -> None:
    lines = JsonLines(sink := io.StringIO())
    for text in ("one ", "line\ntwo", " [b]\n\n", "three"):
        assert lines.write(text) == len(text)
    assert [json.loads(line)["message"] for line in sink.getvalue().splitlines()] == ["one line", "two [b]"]
    assert not lines.isatty()


def test_a_log_of_json_is_valid_where_the_terminal_lacks_letters() -> None:
    sink = io.BytesIO()
    lines = JsonLines(io.TextIOWrapper(sink, encoding="ascii", errors="backslashreplace"))
    lines.event("Müller 😀", uri="file:///ä.wav")
    [line] = sink.getvalue().decode("ascii").splitlines()
    assert (json.loads(line)["message"], json.loads(line)["uri"]) == ("Müller 😀", "file:///ä.wav")


def test_a_log_is_text_unless_json_is_asked_for(ward: Path, bundle: Path, tmp_path: Path, in_process: None) -> None:
    console = quiet_console()
    assert json_lines(console) is None
    classify([str(ward)], str(tmp_path / "out"), JobSettings(model=str(bundle)), console)
    assert console.file.getvalue().startswith("3 recordings listed\n")


def _entry_point() -> EntryPoint:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    [(name, value)] = project["entry-points"]["dask_cli"].items()
    return EntryPoint(name, value, "dask_cli")


def test_dask_takes_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    group = click.Group("dask")
    dask.cli._register_command_ep(group, _entry_point())
    assert list(group.commands) == ["heartbeat"]
    assert type(group.commands["heartbeat"]) is click.Command


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (["--version"], 0, "heartbeat 0."),
        (["status", "--help"], 0, "Usage: dask heartbeat status"),
        (["status", "/nowhere"], 2, "heartbeat: /nowhere is not the output of a heartbeat job"),
    ],
)
def test_dask_heartbeat_is_heartbeat(arguments: list[str], exit_code: int, told: str) -> None:
    program = "from jobs.cli.dask_plugin import heartbeat; heartbeat()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == exit_code, done.stderr
    assert told in done.stdout + done.stderr


def test_the_plugin_costs_dask_nothing() -> None:
    program = (
        "import sys, jobs.cli.dask_plugin\n"
        "print([name for name in ('typer', 'numpy', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_ends_a_command_is_an_error_in_a_log_of_json(tmp_path: Path) -> None:
    arguments = ["classify", str(tmp_path / "no"), "-o", str(tmp_path / "x"), "--log-json"]
    command = [sys.executable, "-m", "jobs.cli", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert found.returncode == 2
    [line] = map(json.loads, found.stderr.splitlines())
    assert line["level"] == "error"
    assert line["message"] == f"heartbeat: {tmp_path}/no: no such file or folder"


def test_predictions_of_equal_names_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"predicted_label": "normal", "confidence": 0.5, "duration_s": 1.0, "truncated": False, "unsure": False}
    long = "a-very-long-name-of-a-recording-that-no-column-of-a-table-has-room-for.wav"
    print_predictions([{"uri": f"file:///a/{long}", **facts}])
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "/a/" not in printed
    print_predictions([{"uri": f"file:///{folder}/x.wav", **facts} for folder in "ab"])
    printed = capsys.readouterr().out
    assert "/a/x.wav" in printed
    assert "/b/x.wav" in printed


def test_the_default_model_is_told() -> None:
    for command in ("classify", "predict", "plan"):
        assert f"[default: {DEFAULT_MODEL}]" in " ".join(done(command, "--help").output.replace("│", " ").split())


def test_ctrl_c_is_a_line_of_the_log_of_json(ward: Path, bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.cli", "classify", str(ward), "-o", str(tmp_path / "out"), "--log-json"]
    with subprocess.Popen(
        [*command, "--model", str(bundle)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
    ) as one:
        assert one.stderr is not None
        first = one.stderr.readline()
        one.send_signal(signal.SIGINT)
        lines = [first, *one.stderr.read().splitlines()]
    assert one.returncode == 130
    told = [json.loads(line) for line in lines if b"distributed" not in line]
    assert [(line["level"], line["message"]) for line in told if "stopping" in line["message"]] == [
        ("warning", "stopping in order; press Ctrl-C again to stop at once")
    ]
    assert told[-1]["message"] == "heartbeat: interrupted; the same command goes on where it stopped"
