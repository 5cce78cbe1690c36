"""Small libraries of synthetic recordings, datasets of them, a bundle, an evaluation, and drivers without a cluster."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
from rich.console import Console

from heartbeat_core.recipe import Recipe
from heartbeat_core.settings import parse_yaml
from jobs.drivers.build_dataset import DatasetOptions, build_dataset
from jobs.drivers.evaluate import EvaluateOptions, evaluate
from jobs.drivers.train import TrainOptions, train
from jobs.listing.labels import read_labels
from jobs.settings import JobSettings
from tests.helpers import write_library, write_ward

# No test asserts a time, and other work on the machine is not a failure.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

TINY_RECIPE = """
name: tiny
frames: {delta_time_s: 0.1}
network: {hidden: [8], dropout: 0.2}
training: {epochs: 4, batch_size: 8, learning_rate: 0.01, holdout_folds: 5, seed: 1}
"""

STATISTICS_RECIPE = """
name: tiny-statistics
input: statistics
frames: {delta_time_s: 0.1}
augmentation: {copies: 1}
network: {hidden: [8], dropout: 0.2}
training: {epochs: 12, batch_size: 16, learning_rate: 0.02, class_weights: balanced, holdout_folds: 4, seed: 1}
decision: {calibrated: true, inner_folds: 2}
"""


@contextmanager
def _connect(settings: Any, shared: str, access: Any) -> Iterator[SimpleNamespace]:
    yield SimpleNamespace(client=None, n_workers=1, n_threads=1, address="none", dashboard="none", is_local=True)


def _run_tasks(connection: Any, tasks: Any, items: Iterable[Any]) -> None:
    for item in items:
        tasks.on_submit(item)
        # What a cluster would do to the arguments and to the result.
        item, job = pickle.loads(pickle.dumps((item, tasks.job)))
        tasks.on_result(pickle.loads(pickle.dumps(tasks.function(item, job))))


def without_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the drivers run their tasks one after the other in this process."""
    for module in ("jobs.drivers.run", "jobs.drivers.train"):
        monkeypatch.setattr(f"{module}.connect", _connect)
    for module in ("jobs.drivers.run", "jobs.drivers.build_dataset", "jobs.drivers.train", "jobs.drivers.evaluate"):
        monkeypatch.setattr(f"{module}.run_tasks", _run_tasks)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the drivers run their tasks one after the other in this process."""
    without_cluster(monkeypatch)


@pytest.fixture
def console() -> Console:
    """A console that keeps its text in ``console.file``."""
    return quiet_console()


def quiet_console() -> Console:
    """Return a console that writes to memory."""
    return Console(file=io.StringIO(), width=300)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Return a recipe at mini level that trains in a moment."""
    return parse_yaml(Recipe, TINY_RECIPE, "tiny.yaml")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of labelled recordings; not to be changed."""
    return write_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, library: Path, recipe: Recipe) -> Path:
    """Return the library's compact dataset, in several parts; not to be changed."""
    out = tmp_path_factory.mktemp("dataset") / "compact"
    labels = read_labels(str(library / "labels.csv"), None, None, None)
    settings = JobSettings.model_validate({"shards": {"recordings": 8}})
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        build_dataset([str(library)], str(out), DatasetOptions(recipe, labels=labels), settings, quiet_console())
    return out


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Path:
    """Return a bundle trained on the dataset without artifacts; not to be changed."""
    out = tmp_path_factory.mktemp("bundle") / "tiny"
    options = TrainOptions(drop_labels=("artifact",), data="synthetic")
    train(str(dataset), str(out), options, JobSettings(), quiet_console())
    return out


@pytest.fixture(scope="session")
def statistics_recipe() -> Recipe:
    """Return a recipe on statistics that trains in a moment."""
    return parse_yaml(Recipe, STATISTICS_RECIPE, "tiny-statistics.yaml")


@pytest.fixture(scope="session")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of labelled recordings of some patients; not to be changed."""
    return write_ward(tmp_path_factory.mktemp("ward") / "recordings")


@pytest.fixture(scope="session")
def ward_dataset(tmp_path_factory: pytest.TempPathFactory, ward: Path, recipe: Recipe) -> Path:
    """Return the ward's dataset, in two parts; not to be changed."""
    out = tmp_path_factory.mktemp("ward-dataset") / "dataset"
    options = DatasetOptions(recipe, labels=read_labels(str(ward / "labels.csv")))
    settings = JobSettings.model_validate({"shards": {"recordings": 40}})
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        build_dataset([str(ward)], str(out), options, settings, quiet_console())
    return out


@pytest.fixture(scope="session")
def evaluate_options(recipe: Recipe, statistics_recipe: Recipe) -> EvaluateOptions:
    """Return two recipes, two tasks, two seeds and three folds."""
    return EvaluateOptions((statistics_recipe, recipe), ("artifact",), n_folds=3, n_seeds=2)


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory: pytest.TempPathFactory, ward_dataset: Path, evaluate_options: EvaluateOptions) -> Path:
    """Return an evaluation on the ward's dataset; not to be changed."""
    out = tmp_path_factory.mktemp("evaluation") / "out"
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        evaluate(str(ward_dataset), str(out), evaluate_options, JobSettings(), quiet_console())
    return out


@pytest.fixture(scope="session")
def statistics_bundle(tmp_path_factory: pytest.TempPathFactory, ward_dataset: Path, statistics_recipe: Recipe) -> Path:
    """Return a bundle that reads statistics, trained on the ward with rows held out; not to be changed."""
    out = tmp_path_factory.mktemp("statistics-bundle") / "model"
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        train(str(ward_dataset), str(out), TrainOptions(statistics_recipe), JobSettings(), quiet_console())
    return out
