"""What commands load: a look at a folder must not wait for numeric libraries or for Dask."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from heartbeat_core.bundles.manifest import shipped_models
from heartbeat_core.settings import DEFAULT_MODEL
from jobs.drivers.classify import classify
from jobs.settings import JobSettings
from tests.conftest import quiet_console, without_cluster
from tests.helpers import environment, write_csv, write_library

NUMERIC = ("torch", "scipy", "soundfile", "soxr", "sklearn", "librosa")
DASK = ("dask", "distributed")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, library: Path, bundle: Path) -> Path:
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        classify([str(library)], str(out), JobSettings(model=str(bundle)), quiet_console())
    return out


def loaded_by(*arguments: object) -> set[str]:
    """Return the packages and modules that a command has loaded when it ends."""
    code = (
        "import sys; from jobs.cli.__main__ import app; app(sys.argv[1:], standalone_mode=False); "
        "print('loaded', *sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120, check=True)
    return set(done.stderr.splitlines()[-1].split()[1:])


def test_status_loads_neither_numeric_libraries_nor_dask(finished: Path) -> None:
    found = loaded_by("status", finished)
    assert "pydantic" in found
    assert not found & {*NUMERIC, *DASK}


def test_compact_loads_no_dask_and_no_torch(finished: Path) -> None:
    found = loaded_by("compact", finished)
    assert "pyarrow" in found
    assert not found & {*DASK, *NUMERIC}


@pytest.mark.parametrize("command", [("sql", "-c", "SELECT 1"), ("describe",), ("open",)])
def test_a_look_at_tables_loads_no_dask_and_no_numeric_libraries(finished: Path, command: tuple[str, ...]) -> None:
    name, *more = command
    assert not loaded_by(name, finished, *more) & {*DASK, *NUMERIC}


def test_score_loads_no_audio_libraries_and_no_dask(finished: Path, tmp_path: Path) -> None:
    truth = write_csv(tmp_path / "truth.csv", ("path", "label"), [("normal_00.wav", "normal")])
    found = loaded_by("score", finished, "--truth", truth, "--challenge", "cinc2016", "-o", tmp_path / "scores.json")
    assert (tmp_path / "scores.json").exists()
    # The measures themselves are scikit-learn's, which loads SciPy.
    assert not found & {*DASK, *NUMERIC} - {"scipy", "sklearn"}


def test_reclassify_loads_no_dask_where_nothing_is_read(finished: Path, bundle: Path, tmp_path: Path) -> None:
    found = loaded_by("reclassify", finished, "--model", bundle, "-o", tmp_path / "again")
    assert (tmp_path / "again" / "_SUCCESS").exists()
    assert not found & {*DASK, "pandas", "torch", "matplotlib", "pyarrow.compute"}


def test_predict_loads_what_one_file_needs(tmp_path: Path) -> None:
    write_library(tmp_path)
    found = loaded_by("predict", tmp_path / "normal" / "normal_00.wav")
    assert "soundfile" in found
    unneeded = {*DASK, "torch", "librosa", "sklearn", "numba", "pandas", "pyarrow", "fsspec", "tenacity", "yaml"}
    assert not found & unneeded


@pytest.mark.parametrize(
    ("command", "model"), [*product(("classify", "predict"), shipped_models()), ("demo", DEFAULT_MODEL)]
)
def test_models_serve_where_torch_cannot_be_loaded(command: str, model: str, tmp_path: Path) -> None:
    """This holds for the driver and for all processes that it starts."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "torch.py").write_text(
        f"open({str(tmp_path / 'loaded')!r}, 'a').close()\nraise ImportError('torch must not be loaded')\n"
    )
    write_library(tmp_path / "in")
    arguments = {
        "classify": ["classify", tmp_path / "in", "-o", tmp_path / "out", "--model", model, "--workers", 1],
        "predict": ["predict", tmp_path / "in", "--model", model],
        "demo": ["demo", tmp_path / "demo", "--workers", 1],
    }[command]
    code = "from jobs.cli.__main__ import main; main()"
    paths = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "first"), environment()["PYTHONPATH"]])}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment() | paths,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "loaded").exists()


def test_help_loads_nothing_heavy() -> None:
    assert not loaded_by("--help") & {*NUMERIC, *DASK, "numpy", "pyarrow", "fsspec"}


def test_the_core_alone_loads_nothing() -> None:
    code = "import sys, heartbeat_core; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=60, check=True
    )
    assert not set(done.stdout.split()) & {*NUMERIC, *DASK, "numpy", "pyarrow", "fsspec", "pydantic"}
