"""The benchmarks still start, and the engines' comparison tells a wrong result from a right one."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from heartbeat_core.alignment import place
from heartbeat_core.frames import compute_frames
from heartbeat_core.scaling import Scaler
from tests import benchmarks
from tests.benchmarks import __main__ as overview
from tests.benchmarks import common, engine_work, engines, plain_loop

PEERS_ENGINES = {"engine_ray", "engine_spark"}
MODULES = sorted({module.name for module in pkgutil.iter_modules(benchmarks.__path__)} - PEERS_ENGINES - {"__main__"})


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
    recipe = engine_work.load_recipe("seed-mini")
    recordings = {one.recording_id: one for one in engine_work.labelled_recordings(str(folder))}
    frames = {key: frames_of(one.uri, recipe) for key, one in recordings.items()}
    reference = engine_work.Reference(max(frames.values(), key=len))
    assert result.rows.num_rows == 6
    assert sorted(result.rows["label"].to_pylist()) == 3 * ["murmur"] + 3 * ["normal"]
    for row in result.rows.to_pylist():
        placement = place(frames[row["recording_id"]], reference, recipe.alignment.pad_mode)
        assert (row["offset_frames"], row["n_frames"]) == (placement.offset_frames, placement.n_frames)
    assert result.scaler.mean.shape == (len(reference), 2)


def frames_of(uri: str, recipe: engine_work.Recipe) -> engine_work.Frames:
    waveform = engine_work.audio.decode(Path(uri.removeprefix("file://")).read_bytes(), engine_work.LIMITS)
    return compute_frames(waveform.samples, waveform.sample_rate_hz, recipe.frames)
