"""A cluster that encrypts: whoever has its files takes part, and nobody else does."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from heartbeat_core.errors import ConfigError, JobError
from heartbeat_core.storage.access import Access
from jobs.cluster.certificates import Certificates, make_certs
from jobs.cluster.connect import connect
from jobs.cluster.tls import shake_hands
from jobs.drivers.classify import classify
from jobs.output.ledger import Totals
from jobs.settings import ClusterSettings, load_cluster_settings
from tests.cluster.test_address import Remote, running, scheduler, settings_for, worker
from tests.helpers import COUNTS, comparable, start_command, wait_for

SOON_S = 28.0
"""Far below the 60 s for which a job waits for a scheduler: what is refused is refused at once."""


@dataclass(frozen=True)
class Encrypted:
    """A running scheduler with a worker, the files of their authority, and files of another one."""

    remote: Remote
    certs: Certificates
    foreign: Certificates


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    folder = tmp_path_factory.mktemp("encrypted")
    certs, foreign = (make_certs(str(folder / name), ("127.0.0.1",), 1) for name in ("certs", "foreign"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("DASK_CONFIG", str(certs.config))
        with scheduler(folder) as (_, remote), worker(remote, folder):
            yield Encrypted(remote, certs, foreign)


@pytest.fixture(autouse=True)
def without_dask_config(encrypted: Encrypted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the driver from the settings that the cluster was started with."""
    monkeypatch.delenv("DASK_CONFIG")


def tls(made: Certificates, **others: Path) -> dict[str, str]:
    files = {"ca_file": made.ca_file, "cert_file": made.cert_file, "key_file": made.key_file}
    return {name: str(path) for name, path in (files | others).items()}


def submit(
    encrypted: Encrypted, library: Path, bundle: Path, tmp_path: Path, cluster: object, exit_code: int = 1
) -> tuple[str, str]:
    """Run ``heartbeat classify``; returns the last line of its stderr and all of it. A refusal has to come soon."""
    begun = time.monotonic()
    process = start_command(
        *("classify", library / "normal", "-o", "out", "--model", bundle, "--cluster", cluster), cwd=tmp_path
    )
    _, error = process.communicate(timeout=120)
    assert process.returncode == exit_code, error
    assert "Traceback" not in error
    if exit_code != 0:
        assert time.monotonic() - begun < SOON_S
        assert error.splitlines()[-1].startswith("heartbeat: ")
        assert error.count("heartbeat: ") == 1
        assert not (tmp_path / "out" / "_SUCCESS").exists()
    return error.splitlines()[-1], error


def cluster_file(folder: Path, address: str, files: dict[str, str]) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump({"kind": "address", "address": address, "tls": files}))
    return path


@pytest.mark.parametrize("kind", ["address", "scheduler-file"])
def test_classify_gives_the_same_rows_as_without_a_cluster(
    encrypted: Encrypted,
    library: Path,
    bundle: Path,
    tmp_path: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
    in_process: None,
    kind: str,
) -> None:
    remote = encrypted.remote
    place = {"address": remote.address} if kind == "address" else {"scheduler_file": str(remote.scheduler_file)}
    cluster: dict[str, Any] = {"kind": kind, **place, "workers": 1, "tls": tls(encrypted.certs)}
    settings = settings_for(bundle, cluster)
    classify([str(library)], str(tmp_path / "here"), settings, console)
    monkeypatch.undo()
    summary = classify([str(library)], str(tmp_path / "there"), settings, console)
    assert summary.totals == Totals(sum(COUNTS.values()), 0)
    for name in ("predictions", "features"):
        assert comparable(tmp_path / "here", name) == comparable(tmp_path / "there", name)


def test_all_of_them_speak_tls(encrypted: Encrypted, tmp_path: Path) -> None:
    assert encrypted.remote.address.startswith("tls://127.0.0.1:")
    settings = {"kind": "address", "address": encrypted.remote.address, "tls": tls(encrypted.certs)}
    (tmp_path / "shared").write_text("")
    shared = f"file://{tmp_path}/shared"
    with connect(ClusterSettings.model_validate(settings), shared, Access()) as connection:
        assert connection.address == encrypted.remote.address
        workers = connection.client.scheduler_info(n_workers=-1)["workers"]
        assert [address.partition("://")[0] for address in workers] == ["tls"]
        assert [one["nanny"].partition("://")[0] for one in workers.values()] == ["tls"]


@pytest.mark.parametrize("by", ["DASK_CONFIG", "cluster file"])
def test_the_command(
    encrypted: Encrypted, library: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    cluster: object = encrypted.remote.address
    if by == "DASK_CONFIG":
        monkeypatch.setenv("DASK_CONFIG", str(encrypted.certs.config))
    else:
        cluster = cluster_file(tmp_path, encrypted.remote.address, tls(encrypted.certs))
    _, error = submit(encrypted, library, bundle, tmp_path, cluster, exit_code=0)
    assert f"at {encrypted.remote.address}" in error
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_certificates_of_another_authority_are_refused(
    encrypted: Encrypted, library: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_CONFIG", str(encrypted.foreign.config))
    told, _ = submit(encrypted, library, bundle, tmp_path, encrypted.remote.address)
    assert f"the scheduler at {encrypted.remote.address} has a certificate of another CA" in told
    assert "'heartbeat certs'" in told


def test_the_scheduler_refuses_who_trusts_it_without_a_certificate_of_its_authority(
    encrypted: Encrypted, library: Path, bundle: Path, tmp_path: Path
) -> None:
    files = tls(encrypted.foreign, ca_file=encrypted.certs.ca_file)
    told, _ = submit(encrypted, library, bundle, tmp_path, cluster_file(tmp_path, encrypted.remote.address, files))
    assert f"the scheduler at {encrypted.remote.address} refuses our certificate" in told


def test_a_client_without_tls_is_refused(encrypted: Encrypted, library: Path, bundle: Path, tmp_path: Path) -> None:
    plain = encrypted.remote.address.replace("tls://", "tcp://")
    told, _ = submit(encrypted, library, bundle, tmp_path, plain)
    assert f"the scheduler at {plain} hangs up: if it encrypts, give its tls:// address" in told


def test_a_client_without_certificates_is_told_where_to_get_them(
    encrypted: Encrypted, library: Path, bundle: Path, tmp_path: Path
) -> None:
    told, _ = submit(encrypted, library, bundle, tmp_path, encrypted.remote.address)
    assert "wants certificates: set DASK_CONFIG to the dask.yaml of 'heartbeat certs'" in told


def test_dask_config_keeps_the_driver_from_a_plain_address(
    encrypted: Encrypted, library: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_CONFIG", str(encrypted.certs.config))
    plain = encrypted.remote.address.replace("tls://", "tcp://")
    told, _ = submit(encrypted, library, bundle, tmp_path, plain)
    assert f"{plain} is not encrypted, and the settings want TLS" in told


def test_a_scheduler_that_does_not_encrypt_is_refused(
    encrypted: Encrypted, library: Path, bundle: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with scheduler(tmp_path_factory.mktemp("plain")) as (_, remote):
        address = remote.address.replace("tcp://", "tls://")
        file = cluster_file(tmp_path, address, tls(encrypted.certs))
        told, _ = submit(encrypted, library, bundle, tmp_path, file)
    assert f"the scheduler at {address} does not speak TLS" in told


def test_files_that_are_not_there_are_told_before_anything_is_listed(
    encrypted: Encrypted, library: Path, bundle: Path, tmp_path: Path
) -> None:
    files = tls(encrypted.certs, key_file=tmp_path / "gone.pem")
    file = cluster_file(tmp_path, encrypted.remote.address, files)
    _, error = submit(encrypted, library, bundle, tmp_path, file, exit_code=2)
    assert error.splitlines() == [
        f"heartbeat: {tmp_path}/gone.pem: No such file or directory: "
        "take the files that 'heartbeat certs' made for this cluster"
    ]
    assert not (tmp_path / "out").exists()


def test_a_worker_of_another_authority_does_not_join(
    encrypted: Encrypted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_CONFIG", str(encrypted.foreign.config))
    log = encrypted.remote.scheduler_file.with_name("scheduler.log")
    begun = len(log.read_text())
    with running("worker", encrypted.remote.address, "--no-dashboard", "--no-nanny", cwd=tmp_path) as process:
        # It tries again and again, and says nothing; the scheduler does.
        wait_for(lambda: log.read_text()[begun:].count("TLS handshake failed") > 1, process)
    assert "Register worker" not in log.read_text()[begun:]


@pytest.mark.parametrize(
    "cluster", [{}, {"kind": "address", "address": "tcp://h:8786"}, {"kind": "address", "address": "h:8786"}]
)
def test_tls_with_a_place_that_has_none(tmp_path: Path, cluster: dict[str, str]) -> None:
    content = {**cluster, "tls": {"ca_file": "a", "cert_file": "b", "key_file": "c"}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="'tls' goes with a scheduler at tls://host:port, not with ") as caught:
        load_cluster_settings(str(tmp_path / "c.yaml"), None)
    assert str(caught.value).endswith(cluster.get("address", "kind 'local'"))


def test_nobody_there(encrypted: Encrypted, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tls://127.0.0.1:{free.getsockname()[1]}"
    settings = {"kind": "address", "address": address, "tls": tls(encrypted.certs), "wait_s": 0.3}
    with (
        pytest.raises(JobError, match=r"no Dask scheduler answers at tls://.*refused"),
        connect(ClusterSettings.model_validate(settings), f"file://{tmp_path}", Access()),
    ):
        raise AssertionError("connected")


def test_somebody_who_is_silent(encrypted: Encrypted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.cluster.tls.ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        context = ssl.create_default_context(cafile=os.fspath(encrypted.certs.ca_file))
        context.check_hostname = False
        with pytest.raises(JobError, match=r"does not speak TLS .*timed out"):
            shake_hands("127.0.0.1", port, context, 5)
