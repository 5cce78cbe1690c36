"""A cluster that is not ours: ``dask scheduler`` and two ``dask worker`` processes, by address and by file."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from rich.console import Console

from heartbeat_core.errors import JobError
from heartbeat_core.recipe import Recipe
from heartbeat_core.storage.access import FROM_ENVIRONMENT
from jobs.cluster import watch
from jobs.cluster.connect import connect
from jobs.cluster.connection import SchedulerGone
from jobs.cluster.workers import ask
from jobs.drivers.build_dataset import DatasetOptions, build_dataset
from jobs.drivers.classify import classify
from jobs.listing.labels import read_labels
from jobs.output.ledger import Totals
from jobs.settings import JobSettings
from tests.helpers import (
    COUNTS,
    LIMITS,
    comparable,
    environment,
    start_command,
    tree,
    wait_for,
    web_server,
    write_broken,
    write_csv,
)

N_WORKERS = 2


@dataclass(frozen=True)
class Remote:
    """A running scheduler."""

    address: str
    scheduler_file: Path


@contextmanager
def running(command: str, *arguments: object, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run one of Dask's commands in a process group of its own, and end all of the group."""
    with (cwd / f"{command}.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{command}", *map(str, arguments)],
            cwd=cwd,
            env=environment(),
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def scheduler(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Remote]]:
    file = folder / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", file)
    with running("scheduler", *options, cwd=folder) as process:

        def is_written() -> bool:
            try:
                return bool(json.loads(file.read_text())["address"])
            except (FileNotFoundError, ValueError):
                return False

        wait_for(is_written, process)
        yield process, Remote(json.loads(file.read_text())["address"], file)


@contextmanager
def worker(remote: Remote, folder: Path) -> Iterator[subprocess.Popen[str]]:
    options = ("--nthreads", 1, "--host", "127.0.0.1", "--no-dashboard", "--local-directory", folder)
    with running("worker", remote.address, *options, cwd=folder) as process:
        yield process


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    # Started from a folder of its own: no relative path of the driver's means anything there.
    folder = tmp_path_factory.mktemp("elsewhere")
    with scheduler(folder) as (_, found), worker(found, folder), worker(found, folder):
        with Client(found.address) as client:
            client.wait_for_workers(N_WORKERS, timeout=60)
        yield found


def settings_for(bundle: Path, cluster: dict[str, Any], **more: Any) -> JobSettings:
    content = {
        "model": str(bundle),
        "cluster": {"workers": N_WORKERS, **cluster},
        "shards": {"recordings": 4},
        "limits": LIMITS,
        **more,
    }
    return JobSettings.model_validate(content)


@pytest.mark.parametrize("kind", ["address", "scheduler-file"])
def test_classify_gives_the_same_rows_as_without_a_cluster(
    remote: Remote,
    library: Path,
    bundle: Path,
    tmp_path: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
    in_process: None,
    kind: str,
) -> None:
    cluster: dict[str, Any] = {"kind": kind}
    cluster |= {"address": remote.address} if kind == "address" else {"scheduler_file": str(remote.scheduler_file)}
    broken = write_broken(tmp_path / "broken")
    settings = settings_for(bundle, cluster)
    inputs = [str(library), str(tmp_path / "broken")]
    classify(inputs, str(tmp_path / "here"), settings, console)
    monkeypatch.undo()
    summary = classify(inputs, str(tmp_path / "there"), settings, console)
    assert summary.totals == Totals(sum(COUNTS.values()) + len(broken), len(broken))
    for name in ("predictions", "features", "failures"):
        here, there = comparable(tmp_path / "here", name), comparable(tmp_path / "there", name)
        assert list(here) == list(there)
        assert here == there
    assert {name for name in tree(tmp_path / "there") if not name.startswith("_")} == {
        name for name in tree(tmp_path / "here") if not name.startswith("_")
    }


def test_build_dataset_gives_the_same_dataset(
    remote: Remote, library: Path, dataset: Path, recipe: Recipe, bundle: Path, tmp_path: Path, console: Console
) -> None:
    settings = settings_for(bundle, {"kind": "address", "address": remote.address}, shards={"recordings": 8})
    options = DatasetOptions(recipe, labels=read_labels(str(library / "labels.csv")))
    build_dataset([str(library)], str(tmp_path / "out"), options, settings, console)
    assert comparable(tmp_path / "out", "recordings") == comparable(dataset, "recordings")
    for name in ("_scaler.safetensors", "_reference.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (dataset / name).read_bytes()


def test_the_command_with_relative_paths(remote: Remote, library: Path, bundle: Path) -> None:
    """A worker's working directory is not the driver's."""
    out = bundle.parent / "by-command"
    process = start_command(
        *("classify", library / "normal", "-o", "by-command", "--model", f"./{bundle.name}"),
        *("--cluster", remote.address, "--workers", N_WORKERS),
        cwd=bundle.parent,
    )
    told, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert f"{COUNTS['normal']} recordings listed = {COUNTS['normal']} predictions + 0 failures" in told
    assert f"{N_WORKERS} workers at {remote.address}" in error
    assert "Traceback" not in error
    assert (out / "_SUCCESS").exists()


def test_a_worker_that_is_killed_loses_nothing(
    remote: Remote, library: Path, bundle: Path, tmp_path: Path, console: Console
) -> None:
    names = [str(path.relative_to(library)) for path in sorted(library.rglob("*.wav"))]
    n_shards = -(-len(names) // 4)
    commits = tmp_path / "out" / "_commits"
    with (
        web_server(library, lambda path: path.endswith("murmur_00.wav")) as (address, gate),
        Client(remote.address, set_as_default=False) as client,
    ):
        client.wait_for_workers(N_WORKERS, timeout=60)
        pids = client.run(os.getpid)
        write_csv(tmp_path / "list.csv", ("path",), [(f"{address}/{name}",) for name in names])
        (tmp_path / "job.yaml").write_text("shards: {recordings: 4}")
        process = start_command(
            *("classify", "list.csv", "-o", "out", "--model", bundle, "--config", "job.yaml"),
            *("--cluster", remote.address, "--workers", N_WORKERS),
            cwd=tmp_path,
        )
        # All other shards are done, and one worker waits for the recording that is held back.
        wait_for(lambda: gate.asked.is_set() and len(list(commits.glob("*.json"))) == n_shards - 1, process)

        def busy() -> list[str]:
            return [address for address, stacks in client.call_stack().items() if stacks]

        # The other one has committed its last shard and may still be on its way out of it.
        wait_for(lambda: len(busy()) == 1, process)
        before = {name: data for name, data in tree(tmp_path / "out").items() if not name.startswith("_drivers/")}
        os.kill(pids[busy()[0]], signal.SIGKILL)
        gate.opened.set()
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    assert before.items() <= tree(tmp_path / "out").items()
    uris = [f"{address}/{name}" for name in names]
    for table in ("predictions", "features"):
        assert list(comparable(tmp_path / "out", table)) == uris
    assert comparable(tmp_path / "out", "failures") == {}


def test_a_worker_that_cannot_see_the_output_is_named(remote: Remote, tmp_path: Path) -> None:
    cluster = JobSettings.model_validate({"cluster": {"kind": "address", "address": remote.address}}).cluster
    shared = f"file://{tmp_path}/only-here/_run.json"
    told = r"does not see .*/only-here/_run\.json: .* all machines share"
    with pytest.raises(JobError, match=told), connect(cluster, shared, FROM_ENVIRONMENT):
        raise AssertionError("connected")


def test_fewer_workers_than_wanted(
    remote: Remote, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.cluster.connect._PATIENCE_S", 0.2)
    cluster = {"kind": "address", "address": remote.address, "workers": 9, "wait_s": 0.5}
    settings = settings_for(bundle, cluster)
    told = r"has 2 workers after 0\.5 s and 9 are wanted"
    lines: list[str] = []
    shared = f"file://{tmp_path}"
    with (
        pytest.raises(JobError, match=told),
        connect(settings.cluster, shared, FROM_ENVIRONMENT, tell=lines.append),
    ):
        raise AssertionError("connected")
    assert lines[-1] == f"waiting for workers at {remote.address}, 0.5 s at most"


def test_nothing_is_told_of_a_scheduler_that_answers(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = JobSettings.model_validate({"cluster": {"kind": "address", "address": remote.address}}).cluster
    timers: list[threading.Timer] = []

    class Watched(threading.Timer):
        def start(self) -> None:
            timers.append(self)
            super().start()

    monkeypatch.setattr("jobs.cluster.connect.Timer", Watched)
    shared = tmp_path / "shared"
    shared.touch()
    with connect(cluster, shared.as_uri(), FROM_ENVIRONMENT):
        pass
    assert len(timers) == 2
    assert all(timer.finished.is_set() for timer in timers), "it would speak later"


def test_a_scheduler_that_dies_ends_the_job_resumably(
    library: Path, bundle: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mortal")
    with (
        web_server(library, lambda path: path.endswith("murmur_00.wav")) as (address, gate),
        scheduler(folder) as (process, remote),
        worker(remote, folder),
    ):
        names = [str(path.relative_to(library)) for path in sorted(library.rglob("m*.wav"))]
        write_csv(tmp_path / "list.csv", ("path",), [(f"{address}/{name}",) for name in names])
        job = start_command(
            *("classify", "list.csv", "-o", "out", "--model", bundle, "--cluster", remote.address), cwd=tmp_path
        )
        wait_for(gate.asked.is_set, job)
        process.kill()
        _, error = job.communicate(timeout=120)
    assert job.returncode == 1, error
    assert "run the same command again to go on" in error.splitlines()[-1]
    assert "Traceback" not in error
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_a_job_without_workers_says_so_and_goes_on_with_new_ones(
    library: Path,
    bundle: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.2)
    folder = tmp_path_factory.mktemp("workers")
    console = Console(file=io.StringIO(), width=200)

    def printed() -> str:
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    with (
        # The check before the first task may read; the first task waits.
        web_server(library, lambda path: "1 worker at" in printed()) as (address, gate),
        scheduler(folder) as (process, remote),
        ThreadPoolExecutor(1) as pool,
    ):
        names = [str(path.relative_to(library)) for path in sorted(library.rglob("m*.wav"))]
        manifest = write_csv(tmp_path / "list.csv", ("path",), [(f"{address}/{name}",) for name in names])
        settings = settings_for(bundle, {"kind": "address", "address": remote.address, "workers": 1})
        with worker(remote, folder):
            work = pool.submit(classify, [str(manifest)], str(tmp_path / "out"), settings, console)
            wait_for(lambda: gate.asked.is_set() or work.done(), process)
        gate.opened.set()
        wait_for(lambda: "no worker is left" in printed() or work.done(), process)
        with worker(remote, folder):
            summary = work.result(timeout=120)
    assert summary.totals == Totals(len(names), 0)
    assert printed().count(f"no worker is left at {remote.address}: the job waits for one; start some, or stop it") == 1
    assert printed().count(f"there are workers at {remote.address} again") == 1


def test_a_scheduler_that_dies_while_workers_are_asked_is_gone(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mortal")
    shared = tmp_path / "_run.json"
    shared.touch()

    def run() -> None:
        # Dask tries for so long to connect again.
        cluster = {"kind": "address", "address": remote.address, "wait_s": 5}
        settings = JobSettings.model_validate({"cluster": cluster})
        with connect(settings.cluster, shared.as_uri(), FROM_ENVIRONMENT) as connection:
            process.kill()
            process.wait()
            ask(connection.client, os.getpid)

    with (
        scheduler(folder) as (process, remote),
        worker(remote, folder),
        pytest.raises(SchedulerGone, match="run the same command again to go on"),
    ):
        run()


def test_an_error_is_told_although_the_scheduler_is_lost_right_after_it(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask notices a lost scheduler at a moment that a test cannot choose, and then says so with a plain OSError."""
    unregister = Client.unregister_worker_plugin
    shared = tmp_path / "_run.json"
    shared.touch()

    def lost(self: Client, name: str) -> None:
        unregister(self, name)
        raise OSError("Timed out trying to connect")

    def run() -> None:
        cluster = JobSettings.model_validate({"cluster": {"kind": "address", "address": remote.address}}).cluster
        with connect(cluster, shared.as_uri(), FROM_ENVIRONMENT):
            raise JobError("what went wrong")

    monkeypatch.setattr(Client, "unregister_worker_plugin", lost)
    with pytest.raises(JobError, match="what went wrong"):
        run()


def test_a_scheduler_that_is_lost_while_workers_are_prepared_is_gone(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: Client, plugin: object) -> None:
        raise OSError("Timed out trying to connect")

    cluster = JobSettings.model_validate({"cluster": {"kind": "address", "address": remote.address}}).cluster
    shared = tmp_path / "_run.json"
    shared.touch()
    monkeypatch.setattr(Client, "register_plugin", lost)
    with (
        pytest.raises(SchedulerGone, match=r"Timed out.*run the same command again"),
        connect(cluster, shared.as_uri(), FROM_ENVIRONMENT),
    ):
        raise AssertionError("connected")


def test_a_job_leaves_nothing_of_its_own_on_the_cluster(
    library: Path, bundle: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("left")
    with scheduler(folder) as (_, remote), worker(remote, folder):
        job = start_command(
            *("classify", library, "-o", "out", "--model", bundle, "--cluster", remote.address), cwd=tmp_path
        )
        _, error = job.communicate(timeout=120)
        assert job.returncode == 0, error
        with Client(remote.address) as client:
            plugins = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.worker_plugins))
            assert not [name for name in plugins if "heartbeat" in name]
            assert not client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))


def test_jobs_share_a_cluster(
    library: Path, bundle: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shared")
    with scheduler(folder) as (_, remote), worker(remote, folder):
        jobs = [
            start_command(
                *("classify", library, "-o", f"out{number}", "--model", bundle, "--cluster", remote.address),
                cwd=tmp_path,
            )
            for number in range(4)
        ]
        for job in jobs:
            _, error = job.communicate(timeout=120)
            assert job.returncode == 0, error
    assert len(list(tmp_path.glob("out*/_SUCCESS"))) == 4
