"""Five hosts, as network namespaces: strangers, a worker that is cut off, a scheduler out of reach, and ssh."""

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

from jobs.cluster.certificates import make_certs
from tests.helpers import comparable, environment, wait_for, write_many
from tests.s3.server import BUCKET, NoServerError, Store, running_store

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="network namespaces need iproute2"),
]

N_RECORDINGS = 400
PYTHON = (sys.executable, "-m")
README = Path(__file__).parents[2] / "deploy" / "hosts" / "README.md"
QUICK = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s", "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20s"}
"""A loss is noticed in 20 s and not in 40, to keep the test short."""


@dataclass(frozen=True)
class Host:
    """A network namespace with one address."""

    name: str
    address: str
    cable: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """The command that runs another one on this host."""
        return "ip", "netns", "exec", self.name

    def start(self, *command: object, log: Path, **variables: str) -> subprocess.Popen[bytes]:
        """Start a program on this host."""
        with log.open("ab") as file:
            return subprocess.Popen(
                [*self.prefix, *map(str, command)],
                cwd=log.parent,
                start_new_session=True,
                stdout=file,
                stderr=file,
                env={**environment(), **variables},
            )

    def programs(self) -> str:
        """Return the command lines of what runs on this host."""
        pids = subprocess.run(["ip", "netns", "pids", self.name], check=True, capture_output=True, text=True).stdout
        return "\n".join(Path("/proc", pid, "cmdline").read_text().replace("\0", " ") for pid in pids.split())

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
    """Return five hosts on one bridge, with names and a subnet of this process's own: two tests may run at once."""
    prefix = f"hb{os.getpid()}"
    bridge = f"{prefix}br"
    # With one subnet for all, what this process sends to its hosts would go over another one's bridge.
    subnet = f"10.{64 + os.getpid() // 256 % 64}.{os.getpid() % 256}"
    made = [Host(f"{prefix}n{i}", f"{subnet}.{i + 1}", f"{prefix}v{i}") for i in range(5)]
    with ExitStack() as stack:
        try:
            _ip("link", "add", bridge, "type", "bridge")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        stack.callback(_ip, "link", "delete", bridge)
        # This process reaches the hosts, too.
        _ip("addr", "add", f"{subnet}.254/24", "dev", bridge)
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
def cluster(hosts: list[Host], folder: Path, **more: str) -> Iterator[str]:
    """Run a scheduler on the first host and a worker on the second and the third; yields the address.

    ``DASK_CONFIG`` among the variables is the file of ``heartbeat certs`` with which they encrypt.
    """
    variables = {**QUICK, **more}
    started: list[subprocess.Popen[bytes]] = []
    file = folder / "scheduler.json"
    try:
        options = ("--host", hosts[0].address, "--port", 8786, "--no-dashboard", "--scheduler-file", file)
        started.append(
            hosts[0].start(*PYTHON, "distributed.cli.dask_scheduler", *options, log=folder / "scheduler", **variables)
        )
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        address = f"{'tls' if 'DASK_CONFIG' in more else 'tcp'}://{hosts[0].address}:8786"
        for host in hosts[1:3]:
            options = (address, "--nthreads", 2, "--host", host.address, "--no-dashboard", "--local-directory", folder)
            started.append(
                host.start(*PYTHON, "distributed.cli.dask_worker", *options, log=folder / host.name, **variables)
            )
        yield address
    finally:
        for process in started:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def stored(host: Host, folder: Path) -> Iterator[Store]:
    """Run an S3 server on a host."""
    try:
        with running_store(folder, host.address, host.prefix) as store:
            yield store
    except NoServerError as error:
        pytest.skip(str(error))


def sshd(hosts: list[Host], folder: Path, stack: ExitStack) -> Path:
    """Run ssh's server on hosts until the stack ends; returns the key that opens them."""
    server = shutil.which("sshd", path=f"/usr/sbin:{os.environ['PATH']}")
    if server is None:
        pytest.skip("no sshd here: install openssh-server")
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("key", "host-key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    options = {
        "HostKey": folder / "host-key",
        "AuthorizedKeysFile": folder / "key.pub",
        "StrictModes": "no",
        "PidFile": "none",
        "SetEnv": f"PYTHONPATH={environment()['PYTHONPATH']}",
    }
    for host in hosts:
        given = {**options, "ListenAddress": host.address}
        words = [word for name, value in given.items() for word in ("-o", f"{name}={value}")]
        process = host.start(server, "-D", "-e", "-f", "/dev/null", *words, log=folder / f"sshd-{host.name}")
        stack.callback(end, process)
    return folder / "key"


def command(place: object, out: str, folder: Path, bundle: Path, *cluster: object) -> tuple[object, ...]:
    (folder / "job.yaml").write_text("shards: {recordings: 8}\n")
    arguments = ["classify", f"{place}/in", "-o", f"{place}/{out}", "--model", bundle, "--config", folder / "job.yaml"]
    return *PYTHON, "jobs.cli", *arguments, *cluster


def n_committed(out: Path) -> int:
    return len(list((out / "_commits").glob("part-*.json"))) if (out / "_commits").exists() else 0


def test_strangers_are_refused_and_a_worker_that_is_cut_off_and_healed_changes_nothing(
    hosts: list[Host], bundle: Path, tmp_path: Path
) -> None:
    write_many(tmp_path / "in", N_RECORDINGS)
    (tmp_path / "store").mkdir()
    addresses = tuple(host.address for host in hosts)
    ours, foreign = (make_certs(str(tmp_path / name), addresses, 1) for name in ("certs", "foreign"))
    with ExitStack() as stack:
        store = stack.enter_context(stored(hosts[4], tmp_path / "store"))
        files = store.client()
        files.put(str(tmp_path / "in"), f"{BUCKET}/in", recursive=True)
        config = {**store.variables(), "DASK_CONFIG": str(ours.config)}
        address = stack.enter_context(cluster(hosts, tmp_path, **config))

        def start(name: str, out: str, *options: object, **variables: str) -> subprocess.Popen[bytes]:
            words = command(f"s3://{BUCKET}", out, tmp_path, bundle, *options)
            process = hosts[3].start(*words, log=tmp_path / name, **{**store.variables(), **variables})
            stack.callback(end, process)
            return process

        def n_stored() -> int:
            return len(files.glob(f"{BUCKET}/out/_commits/part-*.json"))

        plain = address.replace("tls://", "tcp://")
        for stranger, (place, variables, told) in {
            "plain": (plain, {}, "hangs up: if it encrypts, give its tls:// address"),
            "without": (address, {}, "wants certificates"),
            "foreign": (address, {"DASK_CONFIG": str(foreign.config)}, "has a certificate of another CA"),
        }.items():
            log = tmp_path / f"{stranger}.log"
            assert start(log.name, "out", "--cluster", place, "--workers", 2, **variables).wait(120) == 1, (
                log.read_text()
            )
            assert told in log.read_text()
            assert "Traceback" not in log.read_text()
            assert n_stored() == 0
        driver = start("driver", "out", "--cluster", address, "--workers", 2, **QUICK, **config)
        wait_for(lambda: n_stored() > 2, driver)
        hosts[1].cut()
        before = n_stored()
        time.sleep(25)
        hosts[1].heal()
        assert driver.wait(180) == 0, (tmp_path / "driver").read_text()
        assert before < N_RECORDINGS // 8, "it was over before the cable was pulled"
        assert start("alone", "clean", "--workers", 2).wait(180) == 0, (tmp_path / "alone").read_text()
        for out in ("out", "clean"):
            files.get(f"{BUCKET}/{out}/", str(tmp_path / out), recursive=True)
    for table in ("predictions", "features", "failures"):
        assert comparable(tmp_path / "out", table) == comparable(tmp_path / "clean", table)
    assert len(comparable(tmp_path / "out", "predictions")) == N_RECORDINGS
    assert json.loads((tmp_path / "out" / "_SUCCESS").read_text())["done"] == N_RECORDINGS


def test_a_scheduler_out_of_reach_ends_the_driver(hosts: list[Host], bundle: Path, tmp_path: Path) -> None:
    write_many(tmp_path / "in", N_RECORDINGS)
    with cluster(hosts, tmp_path) as address, ExitStack() as stack:
        log = tmp_path / "driver"
        words = command(tmp_path, "out", tmp_path, bundle, "--cluster", address, "--workers", 2)
        driver = hosts[3].start(*words, log=log)
        stack.callback(end, driver)
        wait_for(lambda: n_committed(tmp_path / "out") > 2, driver)
        hosts[3].cut()
        assert driver.wait(120) == 1, log.read_text()
        assert "run the same command again to go on" in log.read_text()
        assert "Traceback" not in log.read_text()


def test_the_line_for_ssh_starts_a_cluster_and_ctrl_c_ends_it(hosts: list[Host], bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("paramiko", reason="dask ssh needs paramiko")
    write_many(tmp_path / "in", 40)
    [line] = [line for line in README.read_text().splitlines() if line.startswith("    dask ssh ")]
    for there, here in {
        "10.0.0.5": hosts[0].address,
        "10.0.0.6": hosts[1].address,
        "10.0.0.7": hosts[2].address,
        "/opt/heartbeat/bin/python": sys.executable,
        "--nworkers 8": "--nworkers 1",
    }.items():
        assert there in line
        line = line.replace(there, here)
    with ExitStack() as stack:
        key = sshd(hosts[:3], tmp_path, stack)
        words = [*PYTHON, "dask", "ssh", "--ssh-private-key", key, *line.split()[2:]]
        ssh = hosts[3].start(*words, log=tmp_path / "ssh")
        stack.callback(end, ssh)
        options = ("--cluster", f"tcp://{hosts[0].address}:8786", "--workers", 2)
        driver = hosts[3].start(*command(tmp_path, "out", tmp_path, bundle, *options), log=tmp_path / "driver")
        stack.callback(end, driver)
        assert driver.wait(180) == 0, (tmp_path / "driver").read_text() + (tmp_path / "ssh").read_text()
        ssh.send_signal(signal.SIGINT)
        ssh.wait(60)
        assert not [host.name for host in hosts[:3] if "distributed.cli" in host.programs()]
    assert len(comparable(tmp_path / "out", "predictions")) == 40
