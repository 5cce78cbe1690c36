"""Workers that could not do the job are refused before the first task; the message says which, and what they lack."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client
from distributed.comm.core import CommClosedError
from rich.console import Console

from heartbeat_core.bundles.manifest import read_manifest
from heartbeat_core.errors import BundleError, JobError, RecordingNotFound
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import Limits
from heartbeat_core.storage import Access
from jobs.cluster import workers
from jobs.cluster.workers import PACKAGES, ask, describe_mismatch, installed_versions
from jobs.drivers.classify import classify
from jobs.output.ledger import Totals
from jobs.settings import JobSettings
from jobs.tasks.probe import Probe, choose_inputs, try_job
from tests.cluster.test_address import Remote, scheduler, worker
from tests.helpers import COUNTS, comparable, write_csv
from tests.s3.server import BUCKET, CLOSED_BUCKET, READER, WRITER, Store


@contextmanager
def cluster_with(folder: Path, **variables: str) -> Iterator[Remote]:
    """Run a scheduler and a worker that has these variables, which this process has not."""
    folder.mkdir(exist_ok=True)
    with scheduler(folder) as (_, remote), pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        with worker(remote, folder):
            patch.undo()
            yield remote


def settings_of(remote: Remote, bundle: Path | str) -> JobSettings:
    cluster = {"kind": "address", "address": remote.address}
    return JobSettings.model_validate({"model": str(bundle), "cluster": cluster, "shards": {"recordings": 8}})


def test_another_version_of_a_package(library: Path, bundle: Path, tmp_path: Path, console: Console) -> None:
    # The worker is started there, which makes it the first place where Python looks for packages.
    found = tmp_path / "cluster" / "soxr-0.0.1.dist-info"
    found.mkdir(parents=True)
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: soxr\nVersion: 0.0.1\n")
    out = tmp_path / "out"
    with cluster_with(tmp_path / "cluster") as remote:
        told = r"^worker tcp://127\.0\.0\.1:\d+ has soxr 0\.0\.1, not \d[\d.]*: install the same"
        with pytest.raises(JobError, match=told):
            classify([str(library)], str(out), settings_of(remote, bundle), console)
    assert not (out / "_run.json").exists(), "the folder is given back"


def test_a_worker_that_is_stopped(library: Path, bundle: Path, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    with cluster_with(tmp_path / "cluster") as remote, worker(remote, tmp_path / "cluster"):
        settings = settings_of(remote, bundle)
        settings = settings.model_copy(update={"cluster": settings.cluster.model_copy(update={"workers": 2})})
        with Client(remote.address) as client:
            client.wait_for_workers(2)
            stopped, pid = max(client.run(os.getpid).items())
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(JobError, match=rf"^worker {stopped} does not answer: "):
            classify([str(library)], str(out), settings, console)
    assert not (out / "_run.json").exists(), "the folder is given back"


def test_a_worker_that_answers_and_then_hangs_over_its_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "TRIAL_PATIENCE_S", 1.0)
    with cluster_with(tmp_path / "cluster") as remote, Client(remote.address) as client:
        client.wait_for_workers(1)
        with pytest.raises(JobError, match=r"^worker tcp://127\.0\.0\.1:\d+ does not answer: "):
            ask(client, time.sleep, 3_600.0)


def test_what_differs_is_told_and_builds_do_not_count() -> None:
    ours = installed_versions()
    assert all(version for _, version in ours.packages), "a name in PACKAGES is not installed"
    assert describe_mismatch(ours, ours) == ""
    local = tuple((name, f"{version}+cu999") for name, version in ours.packages)
    assert describe_mismatch(replace(ours, packages=local), ours) == ""
    none = tuple((name, "" if name == "scipy" else version) for name, version in ours.packages)
    scipy = dict(ours.packages)["scipy"]
    assert describe_mismatch(replace(ours, packages=none), ours) == f"no scipy, which has to be {scipy}"
    assert describe_mismatch(replace(ours, python="3.7"), ours) == f"Python 3.7, not {ours.python}"
    assert "results 0" in describe_mismatch(replace(ours, results=0), ours)
    assert describe_mismatch(replace(ours, packages=()), ours).count("; ") == len(PACKAGES) - 1


def test_credentials_that_may_not_write(
    s3: Store, library: Path, bundle: Path, tmp_path: Path, console: Console
) -> None:
    out = f"s3://{BUCKET}/may-not-write"
    with cluster_with(tmp_path / "cluster", **s3.variables(READER)) as remote:
        told = rf"^worker tcp://127\.0\.0\.1:\d+: {out}/_probe-\w+: cannot be written: .*denied"
        with pytest.raises(JobError, match=f"(?i){told}"):
            classify([str(library)], out, settings_of(remote, bundle), console)
    assert not s3.client().exists(f"{out}/_run.json"), "the folder is given back"


def test_credentials_that_may_not_read_the_inputs(
    s3: Store, library: Path, bundle: Path, tmp_path: Path, console: Console
) -> None:
    inputs = f"s3://{CLOSED_BUCKET}/in"
    s3.client().put(str(library / "normal"), inputs, recursive=True)
    with cluster_with(tmp_path / "cluster", **s3.variables(WRITER)) as remote:
        told = rf"^worker tcp://127\.0\.0\.1:\d+ cannot read the inputs: {inputs}/\S+: .*denied"
        with pytest.raises(JobError, match=f"(?i){told}"):
            classify([inputs], f"s3://{BUCKET}/may-not-read", settings_of(remote, bundle), console)


def test_keys_that_the_store_does_not_know(
    s3: Store, library: Path, bundle: Path, tmp_path: Path, console: Console
) -> None:
    out = f"s3://{BUCKET}/unknown-keys"
    with (
        cluster_with(tmp_path / "cluster", **s3.variables("nobody")) as remote,
        pytest.raises(JobError, match=rf"^worker tcp://127\.0\.0\.1:\d+: {out}/_run\.json: [^\n]+$"),
    ):
        classify([str(library)], out, settings_of(remote, bundle), console)


def test_a_worker_that_can_do_the_job_leaves_nothing_behind(
    s3: Store, library: Path, bundle: Path, tmp_path: Path, console: Console
) -> None:
    out = f"s3://{BUCKET}/all-is-well"
    with cluster_with(tmp_path / "cluster", **s3.variables(WRITER)) as remote:
        summary = classify([str(library)], out, settings_of(remote, bundle), console)
    assert summary.totals == Totals(sum(COUNTS.values()), 0)
    assert not [name for name in s3.client().find(out) if "_probe-" in name]


def test_recordings_that_nobody_can_read_are_rows(
    library: Path, bundle: Path, tmp_path: Path, console: Console
) -> None:
    """All of the inputs that are tried are missing, here as there."""
    gone = [str(tmp_path / f"{number}.wav") for number in range(3)]
    write_csv(tmp_path / "list.csv", ("path",), [(path,) for path in gone])
    (tmp_path / "good").symlink_to(library / "normal")
    with cluster_with(tmp_path / "cluster") as remote:
        classify(
            [str(tmp_path / "list.csv"), str(tmp_path / "good")],
            str(tmp_path / "out"),
            settings_of(remote, bundle).model_copy(update={"shards": JobSettings().shards}),
            console,
        )
    assert len(comparable(tmp_path / "out", "failures")) == len(gone)


def test_another_model_under_the_same_name(bundle: Path, tmp_path: Path) -> None:
    digest = read_manifest(str(bundle)).digest
    probe = Probe(f"file://{tmp_path}/out", f"file://{bundle}", digest, (), Access(), Limits(), None, "")
    assert try_job(probe) == []
    with pytest.raises(BundleError, match=rf"the model \S+ there is {digest[:12]}, not 0000"):
        try_job(replace(probe, digest="0" * 64))


def test_inputs_are_read_as_a_task_reads_them(library: Path, bundle: Path, tmp_path: Path) -> None:
    names = [str(path) for path in sorted((library / "normal").glob("*.wav"))]
    listed = [Recording(f"file://{path}", path) for path in [*names, str(tmp_path / "gone.wav")]]
    chosen = choose_inputs(listed)
    assert [one.uri for one in chosen] == [listed[0].uri, listed[len(names) // 2].uri, listed[-1].uri]
    digest = read_manifest(str(bundle)).digest
    out = tmp_path / "out"
    first, middle, last = try_job(Probe(f"file://{out}", str(bundle), digest, chosen, Access(), Limits(), None, ""))
    assert (first, middle) == (None, None)
    assert isinstance(last, RecordingNotFound)
    assert list(out.iterdir()) == []
    assert choose_inputs(listed[:1]) == (listed[0],)
    assert choose_inputs([replace(one, stored_in="part") for one in listed]) == ()


def test_a_worker_that_ends_while_it_is_asked_is_no_other_release() -> None:
    class Asked:
        def sync(self, *_: object) -> dict[str, object]:
            return {"tcp://10.0.0.1:1": 1, "tcp://10.0.0.2:1": CommClosedError("Stream is closed")}

    told = r"^worker tcp://10\.0\.0\.2:1 ended while it was asked: run the same command again$"
    with pytest.raises(JobError, match=told):
        ask(Asked(), os.getpid)  # type: ignore[arg-type]
