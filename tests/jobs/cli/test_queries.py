"""``heartbeat sql`` and ``heartbeat open``: what people type, and what programs read."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import psutil
import pyarrow as pa
import pytest

from heartbeat_core.features.catalogue import FEATURE_SETS
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.results.notes import describe
from heartbeat_core.results.schema import features_schema, with_metadata
from tests.commands import done, heartbeat, refused
from tests.core.results.test_comparison import row, write_side
from tests.helpers import environment
from tests.results import write_results


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rows = {"a.wav": [0.75, 0.25], "b.wav": [0.25, 0.75], "c, d.wav": [float("nan"), 1.0]}
    return write_results(tmp_path / "out", ["normal", "murmur"], rows, failed=["x.wav"], poor=["b.wav"])


QUERY = "SELECT uri, prob_normal, unsure_reason FROM predictions ORDER BY uri"


def test_csv_and_json_are_for_programs(results: Path) -> None:
    found = list(csv.reader(io.StringIO(done("sql", results, "--format", "csv", "-c", QUERY).stdout)))
    assert found == [
        ["uri", "prob_normal", "unsure_reason"],
        ["file:///in/a.wav", "0.75", ""],
        ["file:///in/b.wav", "0.25", "low_confidence,poor_quality"],
        ["file:///in/c, d.wav", "nan", ""],
    ]
    found = json.loads(done("sql", results, "--format", "json", "-c", QUERY).stdout)
    assert found[1:] == [
        {"uri": "file:///in/b.wav", "prob_normal": 0.25, "unsure_reason": "low_confidence,poor_quality"},
        {"uri": "file:///in/c, d.wav", "prob_normal": None, "unsure_reason": None},
    ]
    nested = "SELECT DATE '2026-01-02' AS day, [1.5, NULL] AS list, {'a': TIME '10:00'} AS struct"
    [row] = json.loads(done("sql", results, "--format", "json", "-c", nested).stdout)
    assert row == {"day": "2026-01-02", "list": [1.5, None], "struct": {"a": "10:00:00"}}
    nothing = "SELECT uri FROM predictions WHERE false"
    assert json.loads(done("sql", results, "--format", "json", "-c", nothing).stdout) == []
    assert done("sql", results, "--format", "csv", "-c", nothing).stdout == "uri\n"


def test_standard_input_is_read_where_it_is_no_terminal(results: Path) -> None:
    command = [sys.executable, "-m", "jobs.cli", "sql", str(results), "--format", "csv"]
    text = "-- two\nSELECT count(*) AS n FROM predictions;\nSELECT uri FROM failures;\n"
    found = subprocess.run(command, input=text, capture_output=True, text=True, env=environment(), check=True)
    assert found.stdout == "n\n3\nuri\nfile:///in/x.wav\n"
    assert found.stderr == ""


def at_terminal(typed: str, *arguments: object) -> str:
    """Return what a command prints at a terminal, at which lines are typed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "jobs.cli", *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
    ) as one:
        os.close(theirs)
        os.write(ours, typed.encode())
        assert one.stdout is not None
        printed = one.stdout.read().decode()
    os.close(ours)
    assert one.returncode == 0, printed
    return printed


def test_the_prompt_goes_on_after_an_error(results: Path) -> None:
    printed = at_terminal(
        "SELECT count(*) AS n\nFROM predictions;\nSELECT wrong;\nFROM failures;\nexit\n", "sql", results
    )
    assert "tables: predictions, failures." in printed
    assert "│     3 │" in printed
    assert 'Binder Error: Referenced column "wrong"' in printed
    assert "Traceback" not in printed
    assert "file:///in/x.wav" in printed


def test_open_starts_a_python_prompt_that_knows_the_tables(results: Path) -> None:
    typed = 'len(predictions.df())\nfailures.pl().height\nsql("FROM predictions").to_arrow_table().num_rows + 39\n\x04'
    printed = at_terminal(typed, "open", results)
    assert "predictions.df() is a pandas table" in printed
    assert "42" in printed
    assert "Traceback" not in printed


def test_open_prints_lines_for_a_program(results: Path) -> None:
    command = [sys.executable, "-m", "jobs.cli", "open", str(results)]
    lines = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(), check=True
    ).stdout
    names: dict[str, object] = {}
    exec(lines, names)
    assert len(names["results"].sql("FROM predictions").df()) == 3  # type: ignore[attr-defined]
    assert lines.count("results.sql(") == 3


def test_the_lines_name_a_table_that_is_there(tmp_path: Path) -> None:
    for table in ("failures", "recordings"):
        (tmp_path / table).mkdir()
        (tmp_path / table / "part-000000.parquet").write_bytes(to_parquet(pa.table({"recording_id": ["a"]})))
    command = [sys.executable, "-m", "jobs.cli", "open", str(tmp_path)]
    lines = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(), check=True
    ).stdout
    assert lines.count('results.sql("FROM recordings")') == 3


def test_wrong_use_is_told_in_one_line(results: Path, tmp_path: Path) -> None:
    assert "holds no tables" in refused("sql", tmp_path / "nowhere", "-c", "SELECT 1")
    assert 'Referenced column "label" not found' in refused("sql", results, "-c", "SELECT label FROM predictions")
    # A feature set is no table of its own, but the columns of one.
    for answer_format in ("table", "csv", "json"):
        told = refused("sql", results, "-c", "SELECT count(*) FROM beats", "--format", answer_format)
        assert told == "there is no table 'beats': there are predictions, failures"
    assert "Scalar Function with name no_such" in refused("sql", results, "-c", "SELECT no_such(1)")
    assert "only SELECT and EXPLAIN" in refused("sql", results, "-c", f"COPY predictions TO '{tmp_path}/x.csv'")
    assert not (tmp_path / "x.csv").exists()


def test_a_dataset_or_any_folder_of_tables_will_do(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    table = pa.table({"recording_id": ["a", "b"], "label": ["normal", None]})
    (tmp_path / "recordings" / "part-000000.parquet").write_bytes(to_parquet(table))
    found = done("sql", tmp_path, "--format", "csv", "-c", "SELECT label FROM recordings ORDER BY ALL NULLS LAST")
    assert found.stdout == 'label\nnormal\n""\n'


def test_describe_tells_what_each_column_is(results: Path) -> None:
    printed = done("describe", results).stdout
    assert "predictions: 8 columns" in printed
    assert "failures: 3 columns" in printed
    only = done("describe", results, "failures").stdout
    assert "first 16 hex digits of the SHA-256 of the URI" in only
    assert "prob_normal" not in only
    described = done("describe", results, "predictions").stdout
    assert "prob_normal  float?, model\n      probability of normal\n" in described
    found = json.loads(done("describe", results, "predictions", "--json").stdout)
    assert [one["name"] for one in found["predictions"]][:2] == ["recording_id", "uri"]
    assert found["predictions"][-1] == {
        "name": "generation",
        "type": "int32",
        "unit": "",
        "method": "run",
        "meaning": "0, or the number of the update or retry that took the recording",
        "may_be_null": True,
    }
    assert "there is no table 'feature'" in refused("describe", results, "feature")
    (results / "predictions" / "part-000000.parquet").write_bytes(b"PAR1 no")
    assert "part-000000.parquet: not a Parquet file" in refused("describe", results)


def test_describe_fits_a_terminal(tmp_path: Path) -> None:
    sets = [one.name for one in FEATURE_SETS.all() if one.columns]
    (tmp_path / "features").mkdir()
    table = with_metadata(features_schema(sets).empty_table(), {})
    (tmp_path / "features" / "part-000000.parquet").write_bytes(to_parquet(table))
    lines = done("describe", tmp_path, "features").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    named = [line.split()[0] for line in lines if re.match("  [^ ]", line)]
    assert named == [*table.column_names, "duplicate_of"]
    words = " ".join(" ".join(lines).split())
    told = describe(table.schema)
    assert len(told) > 1000
    assert all(one.meaning in words for one in told)


def test_diff_tells_what_changed(updated: Path, tmp_path: Path) -> None:
    """Of an update, which changed one label; and of a folder and itself, which changed nothing."""
    found = json.loads(done("diff", updated, "--generations", "0,1", "--json").stdout)
    last = json.loads(done("diff", updated, "--json").stdout)
    assert found["n_common"] == 2
    assert last == found
    assert [(one["before"], one["after"], one["count"]) for one in found["changes"]] == [("normal", "murmur", 1)]
    printed = done("diff", updated).stdout
    assert "1 of 2 labels changed (50.0 %)" in printed
    assert "a.wav      normal  0.90  murmur  0.80" in printed
    nothing = done("diff", updated, updated).stdout
    assert "0 of 2 labels changed (0.0 %)" in nothing
    assert "highest confidence" not in nothing
    assert "leave B out" in refused("diff", updated, updated, "--generations", "0,1")
    for wrong in ("0", "0,2", "1,1", "a,b", "0,1,1", "-1,0"):
        assert "expected two numbers of generations from 0 to 1" in refused("diff", updated, f"--generations={wrong}")


def test_what_a_folder_lacks_is_noted(updated: Path) -> None:
    query = ("sql", updated, "-c", "SELECT count(*) FROM predictions")
    unfinished = f"heartbeat: note: {updated} is not finished: 'heartbeat status' says how many recordings are left\n"
    assert done(*query).stderr == ""  # No job's folder.
    (updated / "_run.json").touch()
    assert done(*query).stderr == unfinished
    assert done("diff", updated, updated).stderr == 2 * unfinished
    assert done("open", updated).stderr == unfinished
    (updated / "_SUCCESS").touch()
    assert done(*query).stderr == ""
    assert done("diff", updated).stderr == ""
    (updated / "predictions" / "part-000001.parquet").rename(updated / "predictions" / "compact-000001-000000.parquet")
    assert "recordings that changed look new here" in done("diff", updated).stderr
    assert done("diff", updated, updated).stderr == ""


def test_diff_of_one_generation_wants_a_second_folder(tmp_path: Path) -> None:
    write_side(tmp_path / "one", {"a": row(0.1), "b": row(None)})
    assert "name a second folder" in refused("diff", tmp_path / "one")


@pytest.fixture
def updated(tmp_path: Path) -> Path:
    write_side(tmp_path / "updated", {"a": row(0.1), "b": row(0.2)})
    write_side(tmp_path / "updated", {"a": row(0.8)}, part=1, generation=1)
    return tmp_path / "updated"


def test_an_error_that_shows_while_a_query_runs_is_told_in_one_line(results: Path) -> None:
    for answer_format in ("table", "csv", "json"):
        told = heartbeat("sql", results, "--format", answer_format, "-c", "SELECT uri::INT FROM predictions")
        assert told.exit_code == 2
        assert told.stderr.startswith("heartbeat: Conversion Error: Could not convert string 'file:///in/")
        assert len(told.stderr.splitlines()) == 1
    printed = at_terminal("SELECT uri::INT FROM predictions;\nSELECT 40 + 2 AS n;\nexit\n", "sql", results)
    assert "Traceback" not in printed
    assert "42" in printed


LONG = "SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b"


def test_ctrl_c_ends_the_query_and_not_the_prompt(results: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "jobs.cli", "sql", str(results)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
    ) as one:
        os.close(theirs)
        assert one.stdout is not None
        printed = read_until(one.stdout, b"Leave: exit")
        for _ in range(2):
            os.write(ours, f"{LONG};\n".encode())
            wait_for_work(one)
            one.send_signal(signal.SIGINT)
            printed += read_until(one.stdout, b"interrupted")
        os.write(ours, b"SELECT 40 + 2 AS n;\nexit\n")
        printed += one.stdout.read()
    os.close(ours)
    assert one.returncode == 0
    assert b"42" in printed
    assert b"Traceback" not in printed
    assert b"stopping in order" not in printed


def wait_for_work(process: subprocess.Popen[bytes], cpu_s: float = 2.0) -> None:
    """Wait until a process has computed for longer than its start takes, or than a prompt needs for a line."""
    process_of = psutil.Process(process.pid)
    enough = process_of.cpu_times().user + cpu_s
    while process_of.cpu_times().user < enough:
        time.sleep(0.05)


def read_until(stream: IO[bytes], text: bytes) -> bytes:
    """Return what comes until a text."""
    found = b""
    while text not in found:
        byte = stream.read(1)
        assert byte, found.decode()
        found += byte
    return found


@pytest.mark.parametrize("answer_format", ["table", "csv", "json"])
def test_ctrl_c_ends_a_query_of_the_command_line(results: Path, answer_format: str) -> None:
    command = [sys.executable, "-m", "jobs.cli", "sql", str(results), "--format", answer_format, "-c", LONG]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as one:
        wait_for_work(one)
        one.send_signal(signal.SIGINT)
        _, told = one.communicate(timeout=60)
    assert one.returncode == 130, told.decode()
    assert b"Traceback" not in told
    assert told.decode().splitlines()[-1].startswith("heartbeat: interrupted")


def test_columns_of_one_name_are_all_there_in_json(results: Path) -> None:
    query = "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a, 'é'::BLOB AS b"
    query = query.replace("'é'::BLOB", "'\\xC3\\xA9'::BLOB")
    [row] = json.loads(done("sql", results, "--format", "json", "-c", query).stdout)
    assert row == {"a": 1, "a_2": 2, "a_1": 3, "a_3": 4, "b": "c3a9"}


def test_a_terminal_without_the_letters_gets_escapes(results: Path) -> None:
    command = [sys.executable, "-m", "jobs.cli", "sql", str(results), "--format", "csv", "-c", "SELECT '日本' AS a"]
    env = environment() | {"PYTHONIOENCODING": "latin1"}
    found = subprocess.run(command, capture_output=True, env=env, check=True)
    assert (found.stdout, found.stderr) == (b"a\n\\u65e5\\u672c\n", b"")


def test_json_is_valid_in_any_encoding(results: Path) -> None:
    command = [sys.executable, "-m", "jobs.cli", "sql", str(results), "--format", "json", "-c", "SELECT 'é😀' AS \"ä\""]
    env = {**environment(), "PYTHONIOENCODING": "ascii"}
    found = subprocess.run(command, stdout=subprocess.PIPE, env=env, check=True)
    assert json.loads(found.stdout) == [{"ä": "é😀"}]


@pytest.mark.parametrize("arguments", [("sql", "--format", "csv", "-c", "FROM predictions"), ("describe",)])
def test_a_full_disk_behind_the_answer_is_told_in_one_line(results: Path, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "jobs.cli", arguments[0], str(results), *arguments[1:]]
    with open("/dev/full", "w") as full:
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False)
    assert found.returncode == 1
    assert found.stderr == "heartbeat: the answer cannot be printed: No space left on device\n"


def test_a_process_without_a_standard_output_ends_as_any_other(results: Path) -> None:
    csv = ["sql", str(results), "-c", "SELECT 1", "--format", "csv"]
    for arguments, code in ((csv, 0), (["describe", str(results)], 0), (["describe", str(results / "nowhere")], 2)):
        command = f"{shlex.join([sys.executable, '-m', 'jobs.cli', *arguments])} >&-"
        found = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, env=environment(), check=False)
        assert found.returncode == code, found.stderr
        assert "Traceback" not in found.stderr
