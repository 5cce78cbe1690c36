"""Four hosts, as network namespaces: strangers, a worker that is cut off and healed, a scheduler out of reach."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from jobs.cluster.certificates import make_certs
from jobs.drivers.classify import classify
from jobs.settings import JobSettings
from tests.helpers import comparable, environment, wait_for, write_many

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="network namespaces need iproute2"),
]

N_RECORDINGS = 400
SUBNET = "10.77.3"
QUICK = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s", "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20s"}
"""A loss is noticed in 20 s and not in 40, to keep the test short."""


@dataclass(frozen=True)
class Host:
    """A network namespace with one address."""

    name: str
    address: str
    cable: str

    def start(self, *command: object, log: Path, **variables: str) -> subprocess.Popen[bytes]:
        """Start one of Dask's commands, or ``heartbeat``, on this host."""
        with log.open("ab") as file:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, sys.executable, *map(str, command)],
                cwd=log.parent,
                start_new_session=True,
                stdout=file,
                stderr=file,
                env={**environment(), **variables},
            )

    def cut(self) -> None:
        """Pull the cable: nothing is told to either side."""
        _ip("link", "set", self.cable, "down")

    def heal(self) -> None:
        """Put it in again."""
        _ip("link", "set", self.cable, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Return four hosts on one bridge, whose names hold this process's id: two tests may run at once."""
    prefix = f"hb{os.getpid()}"
    bridge = f"{prefix}br"
    made = [Host(f"{prefix}n{i}", f"{SUBNET}.{i + 1}", f"{prefix}v{i}") for i in range(4)]
    with ExitStack() as stack:
        try:
            _ip("link", "add", bridge, "type", "bridge")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        stack.callback(_ip, "link", "delete", bridge)
        _ip("link", "set", bridge, "up")
        for host in made:
            _ip("netns", "add", host.name)
            stack.callback(_ip, "netns", "delete", host.name)
            _ip("link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            # A namespace goes some time after it was deleted; its cable now.
            stack.callback(_ip, "link", "delete", host.cable)
            _ip("link", "set", host.cable, "master", bridge, "up")
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _ip("-n", host.name, "link", "set", device, "up")
        yield made


@contextmanager
def cluster(hosts: list[Host], folder: Path, config: Path | None = None) -> Iterator[str]:
    """Run a scheduler on the first host and a worker on the second and the third; yields the address.

    ``config`` is the file of ``heartbeat certs`` with which they encrypt.
    """
    variables = {**QUICK, **({} if config is None else {"DASK_CONFIG": str(config)})}
    started: list[subprocess.Popen[bytes]] = []
    file = folder / "scheduler.json"
    try:
        options = ("--host", hosts[0].address, "--port", 8786, "--no-dashboard", "--scheduler-file", file)
        started.append(
            hosts[0].start("-m", "distributed.cli.dask_scheduler", *options, log=folder / "scheduler", **variables)
        )
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        address = f"{'tcp' if config is None else 'tls'}://{hosts[0].address}:8786"
        for host in hosts[1:3]:
            options = (address, "--nthreads", 2, "--host", host.address, "--no-dashboard", "--local-directory", folder)
            started.append(
                host.start("-m", "distributed.cli.dask_worker", *options, log=folder / host.name, **variables)
            )
        yield address
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def command(address: str, folder: Path, bundle: Path) -> tuple[object, ...]:
    (folder / "job.yaml").write_text("shards: {recordings: 8}\n")
    arguments = ["classify", folder / "in", "-o", folder / "out", "--model", bundle, "--config", folder / "job.yaml"]
    return "-c", "from jobs.cli.__main__ import main; main()", *arguments, "--cluster", address, "--workers", 2


def n_committed(out: Path) -> int:
    return len(list((out / "_commits").glob("part-*.json"))) if (out / "_commits").exists() else 0


def test_strangers_are_refused_and_a_worker_that_is_cut_off_and_healed_changes_nothing(
    hosts: list[Host], bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    write_many(tmp_path / "in", N_RECORDINGS)
    addresses = tuple(host.address for host in hosts)
    ours, foreign = (make_certs(str(tmp_path / name), addresses, 1) for name in ("certs", "foreign"))
    with cluster(hosts, tmp_path, ours.config) as address:
        plain = address.replace("tls://", "tcp://")
        for stranger, (place, variables, told) in {
            "plain": (plain, {}, "hangs up: if it encrypts, give its tls:// address"),
            "without": (address, {}, "wants certificates"),
            "foreign": (address, {"DASK_CONFIG": str(foreign.config)}, "has a certificate of another CA"),
        }.items():
            log = tmp_path / f"{stranger}.log"
            refused = hosts[3].start(*command(place, tmp_path, bundle), log=log, **variables)
            assert refused.wait(120) == 1, log.read_text()
            assert told in log.read_text()
            assert "Traceback" not in log.read_text()
            assert n_committed(tmp_path / "out") == 0
        log = tmp_path / "driver"
        config = {"DASK_CONFIG": str(ours.config)}
        driver = hosts[3].start(*command(address, tmp_path, bundle), log=log, **QUICK, **config)
        try:
            wait_for(lambda: n_committed(tmp_path / "out") > 2, driver)
            hosts[1].cut()
            before = n_committed(tmp_path / "out")
            time.sleep(25)
            hosts[1].heal()
            assert driver.wait(180) == 0, log.read_text()
            assert before < N_RECORDINGS // 8, "it was over before the cable was pulled"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
    settings = JobSettings.model_validate({"model": str(bundle), "shards": {"recordings": 8}})
    classify([str(tmp_path / "in")], str(tmp_path / "clean"), settings, console)
    for table in ("predictions", "features", "failures"):
        assert comparable(tmp_path / "out", table) == comparable(tmp_path / "clean", table)
    assert len(comparable(tmp_path / "out", "predictions")) == N_RECORDINGS
    assert json.loads((tmp_path / "out" / "_SUCCESS").read_text())["done"] == N_RECORDINGS


def test_a_scheduler_out_of_reach_ends_the_driver(hosts: list[Host], bundle: Path, tmp_path: Path) -> None:
    write_many(tmp_path / "in", N_RECORDINGS)
    with cluster(hosts, tmp_path) as address:
        log = tmp_path / "driver"
        driver = hosts[3].start(*command(address, tmp_path, bundle), log=log)
        try:
            wait_for(lambda: n_committed(tmp_path / "out") > 2, driver)
            hosts[3].cut()
            assert driver.wait(120) == 1, log.read_text()
            assert "run the same command again to go on" in log.read_text()
            assert "Traceback" not in log.read_text()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
