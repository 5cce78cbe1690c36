"""Small libraries of synthetic recordings, datasets of them, a bundle, an evaluation, and drivers without a cluster."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
from filelock import FileLock
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.errors import StorageError
from heartbeat_core.recipe import Recipe
from heartbeat_core.settings import parse_yaml
from jobs.drivers.build_dataset import DatasetOptions, build_dataset
from jobs.drivers.evaluate import EvaluateOptions, evaluate
from jobs.drivers.train import TrainOptions, train
from jobs.listing.labels import read_labels
from jobs.settings import JobSettings
from tests.helpers import write_library, write_ward
from tests.s3.server import NoServerError, Store, running_store

pytest_plugins = ["tests.running"]

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
def _connect(
    settings: Any, shared: str, access: Any, worth: int | None = None, tell: Any = None
) -> Iterator[SimpleNamespace]:
    assert tell is not None, "no driver lets a person wait for a scheduler in silence"
    facts = {"n_workers": 1, "n_threads": 1, "address": "none", "dashboard": "none", "is_local": True}
    yield SimpleNamespace(client=None, shape={"kind": "local", "workers": 1, "threads": 1}, **facts)


def _run_tasks(connection: Any, tasks: Any, items: Iterable[Any]) -> None:
    for item in items:
        tasks.on_submit(item)
        # What a cluster would do to the arguments and to the result.
        item, job = pickle.loads(pickle.dumps((item, tasks.job)))
        tasks.on_result(pickle.loads(pickle.dumps(tasks.function(item, job))))


def watched(monkeypatch: pytest.MonkeyPatch, run_tasks: str) -> list[str]:
    """Return a list that will tell when a driver watches for lost workers and when it works; ``run_tasks`` by path."""
    from importlib import import_module

    seen: list[str] = []

    @contextmanager
    def watch(connection: object, tell: object) -> Iterator[None]:
        seen.append("watch")
        yield
        seen.append("end")

    module, name = run_tasks.rsplit(".", 1)
    run = getattr(import_module(module), name)

    def work(*arguments: Any) -> None:
        seen.append("work")
        run(*arguments)

    monkeypatch.setattr("jobs.cluster.watch.telling_of_lost_workers", watch)
    monkeypatch.setattr(run_tasks, work)
    return seen


def fill_disk(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """Let the disk be full for objects whose names end so."""
    create = storage.create

    def full(uri: str, data: bytes) -> bool:
        if uri.endswith(ending):
            raise StorageError(f"{uri}: cannot be written: No space left on device")
        return create(uri, data)

    monkeypatch.setattr(storage, "create", full)


def without_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the drivers run their tasks one after the other in this process."""
    # Last the modules that others import from, so that these have what they import by then.
    for module in ("jobs.drivers.train", "jobs.drivers.judge", "jobs.cluster.connect"):
        monkeypatch.setattr(f"{module}.connect", _connect)
    drivers = ("build_dataset", "train", "evaluate", "judge")
    for module in (*(f"jobs.drivers.{name}" for name in drivers), "jobs.cluster.runner"):
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


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return a function that lets the first of the test processes make a folder, and gives it to all of them."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def make_once(name: str, make: Callable[[Path], object]) -> Path:
        made, folder = shared / f"{name}.made", shared / name / name
        with FileLock(shared / f"{name}.lock"):
            if not made.exists():
                folder.parent.mkdir(exist_ok=True)
                make(folder)
                made.touch()
        return folder

    return make_once


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Return a recipe at mini level that trains in a moment."""
    return parse_yaml(Recipe, TINY_RECIPE, "tiny.yaml")


@pytest.fixture(scope="session")
def library(once: Once) -> Path:
    """Return a folder of labelled recordings; not to be changed."""
    return once("library", write_library)


@pytest.fixture(scope="session")
def dataset(once: Once, library: Path, recipe: Recipe) -> Path:
    """Return the library's compact dataset, in several parts; not to be changed."""
    return once("dataset", lambda out: _build(library, out, recipe, 8))


@pytest.fixture(scope="session")
def bundle(once: Once, dataset: Path) -> Path:
    """Return a bundle trained on the dataset without artifacts; not to be changed."""
    options = TrainOptions(drop_labels=("artifact",), data="synthetic")
    return once("bundle", lambda out: train([str(dataset)], str(out), options, JobSettings(), quiet_console()))


@pytest.fixture(scope="session")
def statistics_recipe() -> Recipe:
    """Return a recipe on statistics that trains in a moment."""
    return parse_yaml(Recipe, STATISTICS_RECIPE, "tiny-statistics.yaml")


@pytest.fixture(scope="session")
def ward(once: Once) -> Path:
    """Return a folder of labelled recordings of some patients; not to be changed."""
    return once("ward", write_ward)


@pytest.fixture(scope="session")
def ward_dataset(once: Once, ward: Path, recipe: Recipe) -> Path:
    """Return the ward's dataset, in two parts; not to be changed."""
    return once("ward-dataset", lambda out: _build(ward, out, recipe, 40))


@pytest.fixture(scope="session")
def evaluate_options(recipe: Recipe, statistics_recipe: Recipe) -> EvaluateOptions:
    """Return two recipes, two tasks, two seeds and three folds."""
    return EvaluateOptions((statistics_recipe, recipe), ("artifact",), n_folds=3, n_seeds=2)


@pytest.fixture(scope="session")
def evaluation(once: Once, ward_dataset: Path, evaluate_options: EvaluateOptions) -> Path:
    """Return an evaluation on the ward's dataset; not to be changed."""

    def make(out: Path) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            without_cluster(monkeypatch)
            evaluate([str(ward_dataset)], str(out), evaluate_options, JobSettings(), quiet_console())

    return once("evaluation", make)


@pytest.fixture(scope="session")
def statistics_bundle(once: Once, ward_dataset: Path, statistics_recipe: Recipe) -> Path:
    """Return a bundle that reads statistics, trained on the ward with rows held out; not to be changed."""

    def make(out: Path) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            without_cluster(monkeypatch)
            train([str(ward_dataset)], str(out), TrainOptions(statistics_recipe), JobSettings(), quiet_console())

    return once("statistics-bundle", make)


def _build(recordings: Path, out: Path, recipe: Recipe, shard: int) -> None:
    """Build a dataset without a cluster, ``shard`` recordings a part."""
    options = DatasetOptions(recipe, labels=read_labels(str(recordings / "labels.csv")))
    settings = JobSettings.model_validate({"shards": {"recordings": shard}})
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        build_dataset([str(recordings)], str(out), options, settings, quiet_console())


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Start a real S3 server, one for all tests of a process: connections to a store are kept there."""
    try:
        with running_store(tmp_path_factory.mktemp("seaweedfs")) as store:
            yield store
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture
def s3(seaweedfs: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the server; the standard variables of this process point at it."""
    for name, value in seaweedfs.variables().items():
        monkeypatch.setenv(name, value)
    return seaweedfs
