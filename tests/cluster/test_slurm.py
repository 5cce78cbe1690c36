"""A real Slurm on this machine: jobs are cancelled, reach their walltime and start again."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import Gate, comparable, environment, heart_bytes, web_server, write_csv

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
LACKING = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="to start a Slurm of its own, the test needs root"),
    pytest.mark.skipif(
        bool(LACKING),
        reason=f"no {', '.join(LACKING)} here: apt-get install slurmctld slurmd slurm-client munge",
    ),
    pytest.mark.timeout(900),
]

RECIPES = Path(__file__).parents[2] / "deploy" / "slurm"
N_RECORDINGS = 24
GATED = "23.wav"
"""The last recording, which the web server holds back."""

GOES_ON = re.compile(r"going on: \d+ of \d+ shards")

SMALL = {
    "--ntasks=18": "--ntasks=3",
    "--mem-per-cpu=3G": "--mem-per-cpu=1500M",
    "%16": "%1",
    "--cpus-per-task=8": "--cpus-per-task=1",
    "--mem=24G": "--mem=1500M",
    "--mem=6G": "--mem=1500M",
    "--time=04:00:00": "--time=00:01:00",
}
"""What a user would change in the recipes' ``#SBATCH`` lines."""

# The node claims more cores than there are. 'cred_expire' is how long a requeued job waits before it starts again.
CONFIG = """
ClusterName=heartbeat
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
KillWait=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=2
SlurmdParameters=config_overrides
NodeName=localhost NodeAddr=127.0.0.1 CPUs=16 RealMemory=16000
PartitionName=main Nodes=localhost Default=YES
"""


@dataclass(frozen=True)
class Slurm:
    """A controller with one node."""

    config: Path

    def __call__(self, *command: object, cwd: Path | None = None) -> str:
        """Run one of Slurm's commands and return what it prints."""
        run = subprocess.run(
            [str(one) for one in command],
            cwd=cwd,
            env={**environment(), "SLURM_CONF": str(self.config)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, f"{command}: {run.stderr}"
        return run.stdout.strip()

    def fact(self, job: str, name: str) -> str:
        """Return one of the facts that Slurm keeps of a job, as in ``JobState=RUNNING``."""
        found = re.search(rf"\b{name}=(\S+)", self("scontrol", "show", "job", job))
        assert found, f"{job} has no {name}"
        return found[1]

    def running(self, array: str) -> list[str]:
        """Return the jobs of an array that run, as in ``7_1``."""
        return self("squeue", "--noheader", "--array", "--states=R", f"--name={array}", "--format=%i").split()


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    # A socket's path must be short.
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o600)
        controller, node = _free_ports(2)
        config = folder / "slurm.conf"
        config.write_text(CONFIG.format(folder=folder, controller=controller, node=node))
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
        munge = [f"--{option}={folder}/munge.{ending}" for option, ending in files.items()]
        for command in (
            ["munged", "--foreground", "--force", *munge],
            ["slurmctld", "-D", "-i", "-f", str(config)],
            ["slurmd", "-D", "-N", "localhost", "-f", str(config)],
        ):
            stack.enter_context(_daemon(command, folder))
            _wait_for(lambda: (folder / "munge.socket").exists(), "munged")
        slurm = Slurm(config)
        _wait_for(lambda: "idle" in _output("sinfo", config), "the node")
        yield slurm
        slurm("scancel", "--me")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def _daemon(command: list[str], folder: Path) -> Iterator[None]:
    with (folder / f"{command[0]}.log").open("wb") as log:
        path = f"{os.environ['PATH']}:/usr/sbin"
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PATH": path})
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def _output(command: str, config: Path) -> str:
    run = subprocess.run([command], env={**os.environ, "SLURM_CONF": str(config)}, capture_output=True, text=True)
    return run.stdout


def _wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 240) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: nothing happened in time"
        time.sleep(0.2)


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """Return a copy of the recipes for a small cluster, from where the jobs are submitted."""
    folder = tmp_path / "recipes"
    shutil.copytree(RECIPES, folder)
    scripts = sorted(folder.glob("*.sbatch"))
    for old, new in SMALL.items():
        assert any(old in script.read_text() for script in scripts), old
        for script in scripts:
            script.write_text(script.read_text().replace(old, new))
    places = {"PATH": f"{Path(sys.executable).parent}:$PATH", "PYTHONPATH": environment()["PYTHONPATH"]}
    (folder / "environment.sh").write_text("".join(f'export {name}="{place}"\n' for name, place in places.items()))
    (folder / "settings.yaml").write_text("{model: seed-small, shards: {recordings: 4}}\n")
    return folder


@pytest.fixture
def gate(tmp_path: Path, recipes: Path) -> Iterator[Gate]:
    """Serve recordings, the last of which waits at a gate, and list them in ``recordings.csv``."""
    files = tmp_path / "files"
    files.mkdir()
    for i in range(N_RECORDINGS):
        (files / f"{i:02d}.wav").write_bytes(heart_bytes("normal", i))
    with web_server(files, lambda path: path.endswith(GATED)) as (address, gate):
        rows = [[f"{address}/{i:02d}.wav"] for i in range(N_RECORDINGS)]
        write_csv(recipes / "recordings.csv", ["path"], rows)
        yield gate


def _submit(slurm: Slurm, recipes: Path, script: str) -> str:
    arguments = ("classify", "recordings.csv", "-o", "results", "--config", "settings.yaml")
    return slurm("sbatch", "--parsable", script, *arguments, cwd=recipes)


def _begin(slurm: Slurm, recipes: Path, script: str, gate: Gate) -> str:
    """Submit the job, and return its number when some shards are committed and the gate is reached."""
    job = _submit(slurm, recipes, script)
    commits = recipes / "results" / "_commits"
    _wait_for(lambda: gate.asked.is_set() and len(list(commits.glob("*"))) >= 4, _log(recipes, job))
    gate.asked.clear()
    return job


def _log(recipes: Path, job: str) -> str:
    log = recipes / f"heartbeat-{job}.log"
    return log.read_text() if log.exists() else "no log"


def _check_end(slurm: Slurm, recipes: Path, job: str, starts: int) -> None:
    _wait_for(lambda: slurm.fact(job, "JobState") not in ("PENDING", "RUNNING", "COMPLETING"), "the end")
    log = _log(recipes, job)
    assert slurm.fact(job, "ExitCode") == "0:0", log
    assert int(slurm.fact(job, "Restarts")) == starts - 1
    predictions = comparable(recipes / "results", "predictions")
    assert Counter(uri.rpartition("/")[2] for uri in predictions) == {f"{i:02d}.wav": 1 for i in range(N_RECORDINGS)}
    assert comparable(recipes / "results", "failures") == {}
    assert f"{N_RECORDINGS} recordings listed = {N_RECORDINGS} predictions + 0 failures" in log
    assert "jobs/drivers" not in log, "the driver's traceback"
    # Nobody is left, and no key either.
    _wait_for(lambda: slurm("squeue", "--noheader") == "", "the workers' end")
    assert list(recipes.glob("run-*")) == []


def test_one_allocation_starts_again_before_its_walltime(slurm: Slurm, recipes: Path, gate: Gate) -> None:
    job = _begin(slurm, recipes, "one-allocation.sbatch", gate)
    slurm("scancel", "--batch", "--signal=USR1", job)  # As Slurm does by '--signal=B:USR1@120'.
    _wait_for(lambda: slurm.fact(job, "Restarts") == "1", "the second start")
    gate.opened.set()
    _check_end(slurm, recipes, job, starts=2)
    assert GOES_ON.search(_log(recipes, job))


def test_a_cancelled_allocation_goes_on_as_a_new_job(slurm: Slurm, recipes: Path, gate: Gate) -> None:
    job = _begin(slurm, recipes, "one-allocation.sbatch", gate)
    slurm("scancel", job)
    _wait_for(lambda: slurm("squeue", "--noheader") == "", "the end")
    assert slurm.fact(job, "JobState") == "CANCELLED"
    gate.opened.set()
    job = _submit(slurm, recipes, "one-allocation.sbatch")
    _check_end(slurm, recipes, job, starts=1)
    assert GOES_ON.search(_log(recipes, job))


def test_the_exit_code_of_an_allocation_is_the_drivers(slurm: Slurm, recipes: Path) -> None:
    job = slurm("sbatch", "--parsable", "one-allocation.sbatch", "classify", "nowhere", "-o", "results", cwd=recipes)
    _wait_for(lambda: slurm.fact(job, "JobState") == "FAILED", _log(recipes, job))
    assert slurm.fact(job, "ExitCode") == "2:0"
    assert "heartbeat: " in _log(recipes, job)


def test_an_array_replaces_its_workers_and_its_driver_starts_again(slurm: Slurm, recipes: Path, gate: Gate) -> None:
    job = _begin(slurm, recipes, "driver.sbatch", gate)
    array = f"heartbeat-workers-{job}"
    [first] = slurm.running(array)
    slurm("scancel", first)
    _wait_for(lambda: slurm.running(array) not in ([], [first]), "a worker in place of the cancelled one")
    [second] = slurm.running(array)
    assert slurm.fact(first, "JobState") == "CANCELLED"

    # Its task waits at the gate when its walltime is over.
    _wait_for(lambda: slurm.running(array) not in ([], [second]), "a worker in place of the one at its walltime")
    assert slurm.fact(second, "JobState") == "TIMEOUT"
    assert slurm.fact(job, "JobState") == "RUNNING"

    gate.asked.clear()
    slurm("scontrol", "requeue", job)
    _wait_for(gate.asked.is_set, _log(recipes, job))
    assert len(slurm.running(array)) == 1
    slurm("scancel", "--batch", "--signal=USR1", job)  # As Slurm does by '--signal=B:USR1@180'.
    _wait_for(lambda: slurm.fact(job, "Restarts") == "2", "the third start")
    gate.opened.set()
    _check_end(slurm, recipes, job, starts=3)
