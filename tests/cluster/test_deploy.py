"""What the deploy recipes say is what the embedded cluster does."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jobs.cluster.connect import LOCAL_CONFIG

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_what_is_started_by_hand_gets_the_same_settings() -> None:
    settings = yaml.safe_load((DEPLOY / "dask.yaml").read_text())["distributed"]
    assert settings["nanny"]["pre-spawn-environ"] == LOCAL_CONFIG["distributed.nanny.pre-spawn-environ"]
    assert settings["scheduler"]["allowed-failures"] == LOCAL_CONFIG["distributed.scheduler.allowed-failures"]
    assert settings["worker"]["profile"]["enabled"] == LOCAL_CONFIG["distributed.worker.profile.enabled"]
    assert settings["admin"]["low-level-log-length"] == LOCAL_CONFIG["distributed.admin.low-level-log-length"]


def test_whoever_starts_workers_says_what_they_may_take_and_when_they_end() -> None:
    """Also that their dashboards stay on loopback."""
    starts = {
        f"{path.relative_to(DEPLOY)}:{number}": line
        for path in DEPLOY.rglob("*")
        if path.suffix in (".md", ".service", ".sbatch", ".yaml")
        for number, line in enumerate(path.read_text().replace("\\\n", " ").splitlines(), 1)
        if re.search(r"dask worker (tcp|tls|--sch)|\"dask\" \"worker\"", line)
    }
    starts["compose"] = " ".join(
        yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())["services"]["worker"]["command"]
    )
    assert len(starts) == 7, starts
    for place, line in starts.items():
        for option in ("--nthreads", "--memory-limit", "--dashboard-address", "--lifetime", "--lifetime-stagger"):
            assert re.search(rf"{option}\b(?!-)", line), (place, option)
        assert "127.0.0.1:" in line, place
        # A job of an array ends with its workers: Slurm starts the next one.
        assert ("--lifetime-restart" in line) == ("slurm/" not in place), place


def verify(folder: Path, name: str, text: str) -> str:
    """Return what ``systemd-analyze verify`` says of a unit whose commands are those of this environment."""
    unit = folder / name
    unit.write_text(text.replace("/opt/heartbeat", sys.prefix))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    # It verifies the units that this one pulls in, too.
    told = [line for line in done.stderr.splitlines() if str(unit) in line or name in line]
    return "\n".join(told) if told or done.returncode == 0 else done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", ["heartbeat-scheduler.service", "heartbeat-worker.service"])
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    text = (DEPLOY / "hosts" / name).read_text()
    assert verify(tmp_path, name, text) == ""
    assert "Unknown key" in verify(tmp_path, name, text.replace("RestartSec=", "RestartSecs="))
    assert "not executable" in verify(tmp_path, name, text.replace("bin/dask", "bin/dusk"))


def test_the_units_name_only_variables_that_their_file_sets() -> None:
    variables = dict(
        line.split("=", 1) for line in (DEPLOY / "hosts" / "heartbeat.env").read_text().splitlines() if line[:1] != "#"
    )
    used = {
        part.partition("}")[0]
        for unit in (DEPLOY / "hosts").glob("*.service")
        for part in unit.read_text().split("${")[1:]
    }
    assert used == set(variables)
