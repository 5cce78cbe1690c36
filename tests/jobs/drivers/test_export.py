"""One file from a bundle: checked before it is written, never over another, and told of in a few lines."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import h5py
import numpy as np
import onnx
import onnxruntime
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from heartbeat_core.bundles import bundle as bundles
from heartbeat_core.bundles.export import plausible_inputs, to_hdf5, to_onnx, torch_outputs
from heartbeat_core.bundles.manifest import MANIFEST_NAME, WEIGHTS_NAME, manifest_bytes
from heartbeat_core.errors import BundleError, JobError, OutputError, StorageError, UsageError
from jobs.cli.__main__ import app
from jobs.drivers import export as exporting
from jobs.drivers.export import export
from tests.bundles import THRESHOLDS, made_up_bundle

KINDS = ("aligned", "statistics")


def heartbeat(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


@pytest.fixture(params=KINDS)
def made_up(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the folder of a bundle of either kind."""
    return write_bundle(tmp_path / request.param, request.param)


def write_bundle(folder: Path, kind: str) -> Path:
    bundle, weights = made_up_bundle(kind, temperature=1.5)
    folder.mkdir()
    (folder / MANIFEST_NAME).write_bytes(manifest_bytes(bundle.manifest))
    (folder / WEIGHTS_NAME).write_bytes(weights)
    return folder


def test_onnx_is_written_and_compared(made_up: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "model.onnx"
    found = export(str(made_up), str(file), "onnx")
    bundle = bundles.load(str(made_up))
    assert file.read_bytes() == to_onnx(bundle)
    assert (found.place, found.model_id, found.n_bytes) == (str(file), bundle.model_id, file.stat().st_size)
    assert found.comparison is not None
    assert found.comparison.n_rows == 64
    assert found.comparison.probability_difference <= 1e-5
    assert found.comparison.logit_difference <= 1e-5
    assert found.comparison.same_label == 1.0
    assert 0 < found.comparison.onnxruntime_ms < 1_000
    assert 0 < found.comparison.torch_ms < 1_000


def test_int8_is_smaller_and_its_difference_is_told(made_up: Path, tmp_path: Path) -> None:
    whole = export(str(made_up), str(tmp_path / "whole.onnx"), "onnx")
    small = export(str(made_up), str(tmp_path / "small.onnx"), "onnx", int8=True)
    assert small.n_bytes == (tmp_path / "small.onnx").stat().st_size < 0.7 * whole.n_bytes
    bundle = bundles.load(str(made_up))
    inputs = plausible_inputs(bundle, exporting.N_ROWS, 0)
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    probabilities, logits = session.run(["probabilities", "logits"], {session.get_inputs()[0].name: inputs})
    expected, expected_logits = torch_outputs(bundle, inputs)
    assert small.comparison is not None
    assert small.comparison.probability_difference == pytest.approx(np.abs(probabilities - expected).max(), rel=1e-3)
    sizes = np.maximum(1, np.abs(expected_logits).max(axis=1))
    differences = np.abs(logits - expected_logits).max(axis=1) / sizes
    assert small.comparison.logit_difference == pytest.approx(differences.max(), rel=1e-3)
    same = np.argmax(probabilities / THRESHOLDS, axis=1) == np.argmax(expected / THRESHOLDS, axis=1)
    assert small.comparison.same_label == same.mean() > 0.9


def test_hdf5_is_written(made_up: Path, tmp_path: Path) -> None:
    found = export(str(made_up), str(tmp_path / "weights.h5"), "hdf5")
    data = (tmp_path / "weights.h5").read_bytes()
    assert data == to_hdf5(bundles.load(str(made_up)))
    assert (found.n_bytes, found.comparison) == (len(data), None)
    with h5py.File(io.BytesIO(data)) as file:
        assert "layers.0.weight" in file


def test_the_shipped_model_is_exported(tmp_path: Path) -> None:
    found = export("seed-small", str(tmp_path / "model.onnx"), "onnx", int8=True)
    assert found.n_bytes < 500_000
    assert found.comparison is not None
    assert found.comparison.same_label > 0.95


def test_a_url(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", "statistics")
    MemoryFileSystem.store.pop("/exports/model.onnx", None)
    found = export(f"file://{folder}", "memory://exports/model.onnx", "onnx")
    assert found.place == "memory://exports/model.onnx"
    assert MemoryFileSystem().cat_file("/exports/model.onnx") == to_onnx(bundles.load(str(folder)))
    with pytest.raises(OutputError, match=r"memory://exports/model\.onnx is there already"):
        export(str(folder), "memory://exports/model.onnx", "onnx")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", "statistics")
    file = tmp_path / "model.onnx"
    file.write_text("mine")
    for export_format in ("onnx", "hdf5"):
        with pytest.raises(OutputError, match=f"{file} is there already: name a new file"):
            export(str(folder), str(file), export_format)
    assert file.read_text() == "mine"
    # Before any work: the bundle has not been looked for.
    with pytest.raises(OutputError, match="is there already"):
        export(str(tmp_path / "gone"), str(file), "onnx")
    with pytest.raises(OutputError, match="is there already"):
        export(str(folder), str(folder), "onnx")


def test_the_first_writer_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_bundle(tmp_path / "bundle", "statistics")
    file = tmp_path / "model.onnx"

    def another_writes_meanwhile(bundle: bundles.Bundle, int8: bool) -> bytes:
        file.write_text("theirs")
        return to_onnx(bundle, int8)

    monkeypatch.setattr(exporting, "to_onnx", another_writes_meanwhile)
    with pytest.raises(OutputError, match="is there already"):
        export(str(folder), str(file), "onnx")
    assert file.read_text() == "theirs"


def damage(monkeypatch: pytest.MonkeyPatch, shift: NDArray[np.float64]) -> None:
    """Let models be made whose logits are shifted."""

    def damaged(bundle: bundles.Bundle, int8: bool) -> bytes:
        model = onnx.load_from_string(to_onnx(bundle, int8))
        (bias,) = (one for one in model.graph.initializer if one.name == "logits.bias")
        values = onnx.numpy_helper.to_array(bias) + shift.astype(np.float32)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr(exporting, "to_onnx", damaged)


def test_labels_are_compared_by_their_thresholds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_bundle(tmp_path / "bundle", "statistics")
    damage(monkeypatch, np.array([0, 4.0, 0, 0, 0]))
    found = export(str(folder), str(tmp_path / "model.onnx"), "onnx", int8=True)
    bundle = bundles.load(str(folder))
    expected, logits = torch_outputs(bundle, plausible_inputs(bundle, exporting.N_ROWS, 0))
    shifted = bundle.manifest.decision.probabilities(logits + np.array([0, 4.0, 0, 0, 0]), np.array([0, 1, 2, 4]))
    same, by_argmax = (
        np.mean(np.argmax(shifted / divisor, axis=1) == np.argmax(expected / divisor, axis=1))
        for divisor in (np.array(THRESHOLDS), np.ones(5))
    )
    assert found.comparison is not None
    assert found.comparison.same_label == pytest.approx(same, abs=0.02)
    assert abs(same - by_argmax) > 0.04


@pytest.mark.parametrize("value", [1e-3, np.nan])
def test_outputs_that_are_not_torch_s_are_not_written(
    made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    damage(monkeypatch, np.full(5, value))
    with pytest.raises(JobError, match=r"nothing was written.* 1e-05 is allowed"):
        export(str(made_up), str(tmp_path / "model.onnx"), "onnx")
    assert not (tmp_path / "model.onnx").exists()
    if np.isfinite(value):
        assert export(str(made_up), str(tmp_path / "model.onnx"), "onnx", int8=True).n_bytes


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", "statistics")
    with pytest.raises(UsageError, match="--int8 is for --format onnx"):
        export(str(folder), str(tmp_path / "w.h5"), "hdf5", int8=True)
    with pytest.raises(BundleError, match="no model bundle there"):
        export(str(tmp_path / "gone"), str(tmp_path / "m.onnx"), "onnx")
    with pytest.raises(StorageError, match="cannot be written"):
        export(str(folder), str(folder / MANIFEST_NAME / "m.onnx"), "onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


# The command.


def test_the_command_tells_what_it_wrote(made_up: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    result = heartbeat(made_up, "--format", "onnx", "--int8", "-o", file)
    assert result.exit_code == 0, result.output
    model, size, difference, times, place = result.stdout.splitlines()
    assert model == f"model {bundles.load(str(made_up)).model_id}"
    assert size == f"onnx, int8: {file.stat().st_size / 1e3:,.1f} kB"
    assert difference.startswith("largest difference from torch over 64 made-up rows: probabilities ")
    assert "the same label in" in difference
    assert times.startswith("one row on one thread, median: onnxruntime ")
    assert place == f"  {file}"


def test_the_command_writes_hdf5(made_up: Path, tmp_path: Path) -> None:
    result = heartbeat(made_up, "--format", "hdf5", "-o", tmp_path / "w.h5")
    assert result.exit_code == 0, result.output
    _, size, place = result.stdout.splitlines()
    assert size == f"hdf5: {(tmp_path / 'w.h5').stat().st_size / 1e3:,.1f} kB"
    assert place == f"  {tmp_path / 'w.h5'}"


@pytest.mark.parametrize("package", ["h5py", "onnx", "onnxruntime"])
def test_a_missing_package_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for module in ("heartbeat_core.bundles.export", "jobs.drivers.export"):
        monkeypatch.delitem(sys.modules, module)
    result = heartbeat("seed-small", "-o", tmp_path / "model.onnx")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"heartbeat: export needs the package '{package}'")
    assert line.endswith("pip install 'heartbeat[export]'")
    assert not (tmp_path / "model.onnx").exists()


def test_bad_usage_ends_with_2(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    for arguments in (
        ("seed-small",),
        ("-o", file),
        ("seed-small", "-o", file, "--format", "tflite"),
        ("seed-small", "-o", file, "--format", "hdf5", "--int8"),
        ("gone", "-o", file),
    ):
        result = heartbeat(*arguments)
        assert result.exit_code == 2, arguments
        assert "Traceback" not in result.output
    assert not file.exists()
