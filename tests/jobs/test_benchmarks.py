"""The benchmarks still start, and the engines' comparison tells a wrong result from a right one."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import Limits
from jobs.settings import load_recipe
from jobs.tasks.reference import decode_frames
from tests import benchmarks, naive
from tests.benchmarks import __main__ as overview
from tests.benchmarks import common, engine_work, engines

NEED_PEERS = {"engine_ray", "engine_spark"}
MODULES = sorted({module.name for module in pkgutil.iter_modules(benchmarks.__path__)} - NEED_PEERS - {"__main__"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return common.synthesise_folder(tmp_path_factory.mktemp("benchmarks") / "recordings", 6)


def run(monkeypatch: pytest.MonkeyPatch, module: str, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", [module, *arguments])
    importlib.import_module(f"tests.benchmarks.{module}").main()


@pytest.mark.parametrize("name", MODULES)
def test_each_benchmark_loads_and_tells_its_options(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not hasattr(importlib.import_module(f"tests.benchmarks.{name}"), "main"):
        return
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, name, "--help")
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_the_overview_names_the_benchmarks_and_ends_as_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert overview.main() == 2
    printed = capsys.readouterr().out
    assert "engines" in printed
    assert "check_offsets" in printed
    assert "plain_loop" not in printed


def test_plain_loop_aligns_every_recording_with_the_longest(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "plain_loop", str(folder), str(tmp_path / "out"), "seed-mini")
    result = engines.read_result(tmp_path / "out")
    recipe = load_recipe("seed-mini")
    frames = {
        Recording(path.as_uri(), path.name).recording_id: decode_frames(path.read_bytes(), Limits(), recipe.frames)[0]
        for path in common.audio_files(folder)
    }
    reference = Reference(max(frames.values(), key=len))
    assert result.rows.num_rows == 6
    assert result.rows["label"].to_pylist().count("murmur") == 3
    for row in result.rows.to_pylist():
        offset, _, _ = naive.place(frames[row["recording_id"]], reference.frames, recipe.alignment.pad_mode)
        assert row["offset_frames"] == offset
    assert result.scaler.mean.shape == (len(reference), 2)


def test_parts_hold_each_recording_once_in_order() -> None:
    recordings = [Recording(f"file:///{number}.wav", f"{number}.wav") for number in range(1_001)]
    for parts in (engine_work.small_parts(recordings), engine_work.large_parts(recordings, 2)):
        assert [recording for part in parts for recording in part] == recordings
    assert len(engine_work.large_parts(recordings, 2)) == 8
    assert len(engine_work.large_parts(recordings, 1)) == 8


def test_a_result_that_differs_is_told() -> None:
    expected = result(offsets=[3, 0])
    assert engines.difference(result(offsets=[3, 0]), expected) is None
    assert engines.difference(result(offsets=[3, 0], error=1e-9), expected) is None
    assert engines.difference(result(offsets=[3, 1]), expected) == "other values of offset_frames"
    assert engines.difference(result(offsets=[3]), expected) == "1 rows in place of 2"
    assert engines.difference(result(offsets=[3, 0], error=1e-3), expected) == "another scaler: mean"


def result(offsets: list[int], error: float = 0.0) -> engines.Result:
    names = [str(number) for number in range(len(offsets))]
    same = {name: names for name in engines.COMPARED if name != "offset_frames"}
    scaler = Scaler(np.full((5, 2), 1.0 + error), np.ones((5, 2)))
    return engines.Result(pa.table({**same, "offset_frames": offsets}), scaler)
