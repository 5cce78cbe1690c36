"""Do the steps of the Dockerfile without a container engine, and print how many bytes the image's files have.

Needs root and debootstrap. Each ``FROM`` is a clean Debian made by debootstrap, somewhat larger than ``bookworm-slim``,
and each ``RUN`` a command in it by ``chroot``. At the end the image's user runs the demo, trains a model, and asks a
scheduler for its health as the image does::

    python -m tests.benchmarks.image_steps SCRATCH
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = re.compile(r"PIP_|SSL_CERT_FILE$|https?_proxy$|no_proxy$", re.IGNORECASE)
"""The variables that a step keeps: how this machine reaches the package indexes."""
WORK = (
    "heartbeat demo /tmp/demo",
    "heartbeat build-dataset /tmp/demo/recordings -o /tmp/dataset --recipe seed-small --label-from parent-folder",
    "heartbeat train /tmp/dataset -o /tmp/model --recipe seed-small",
    "heartbeat predict /tmp/demo/recordings/phone/normal_01.wav --model /tmp/model",
)
"""What the image's user does at the end; the labels are the names of two folders."""
APT = """
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };
"""
SCHEDULER = "dask scheduler --port 0 --host 127.0.0.1 --dashboard-address 127.0.0.1:8787"


@dataclass
class Stage:
    """One stage of the image: a file system, and what its instructions have set."""

    root: Path
    user: str = "0:0"
    workdir: str = "/"
    variables: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    )

    def inside(self, path: str) -> Path:
        """Return where a path of the stage is on this machine."""
        return self.root / os.path.join(self.workdir, path).lstrip("/")

    def run(self, command: str) -> None:
        """Run a command of the shell."""
        print(f"RUN {command}", flush=True)
        kept = {name: value for name, value in os.environ.items() if KEPT.match(name)}
        inside = f"cd {shlex.quote(self.workdir)} && {command}"
        unshare = ["unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={self.root / 'proc'}"]
        chroot = ["chroot", f"--userspec={self.user}", self.root, "/bin/sh", "-c", inside]
        subprocess.run([*unshare, *chroot], check=True, env={**kept, **self.variables})


def main() -> None:
    """Do the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path, help="where the file systems go; 6 GB")
    parser.add_argument(
        "--bring", action="append", default=[], type=Path, help="what steps need of this machine's files"
    )
    arguments = parser.parse_args()
    base = arguments.scratch.absolute() / "base"
    if not base.exists():
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", base], check=True)
        shutil.rmtree(base / "var/cache/apt")
        shutil.rmtree(base / "var/lib/apt/lists")
        # As Debian's images have it: no packages are kept, nor the index made of their lists.
        (base / "etc/apt/apt.conf.d/docker-clean").write_text(APT)
        (base / "dev/shm").chmod(0o1777)
    brought = [Path("/etc/resolv.conf"), *arguments.bring]
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    image = build(dockerfile, base, brought)
    for path in brought:
        subprocess.run(["rm", "-r", image.inside(str(path))], check=True)
    for root in (base, image.root):
        subprocess.run(["du", "--summarize", "--bytes", root], check=True)
    for command in WORK:
        image.run(command)
    [health] = [rest for step, rest in steps(dockerfile) if step == "HEALTHCHECK"]
    words = shlex.join(json.loads(health.partition("CMD ")[2]))
    image.run(f"{SCHEDULER} & for i in 1 2 3 4 5 6 7 8 9; do sleep 1; {words} && exit; done; exit 1")


def build(dockerfile: str, base: Path, brought: list[Path]) -> Stage:
    """Do the steps of a Dockerfile, and return its last stage."""
    stages: dict[str, Stage] = {}
    for step, rest in steps(dockerfile):
        if step == "FROM":
            name = rest.partition(" AS ")[2] or "image"
            stage = stages[name] = Stage(base.with_name(name))
            shutil.rmtree(stage.root, ignore_errors=True)
            subprocess.run(["cp", "--archive", base, stage.root], check=True)
            for path in brought:
                copy(path, stage.inside(str(path)))
        elif step == "ENV":
            for variable, _, value in (pair.partition("=") for pair in shlex.split(rest)):
                stage.variables[variable] = value.replace("$PATH", stage.variables["PATH"])
        elif step == "WORKDIR":
            stage.workdir = rest
            stage.inside("").mkdir(parents=True, exist_ok=True)
        elif step == "USER":
            stage.user = rest
        elif step == "COPY":
            *sources, target = rest.split()
            other = stages[sources.pop(0).removeprefix("--from=")] if sources[0].startswith("--from=") else Stage(ROOT)
            for source in sources:
                into = os.path.join(target, os.path.basename(source)) if target.endswith("/") else target
                copy(other.inside(source), stage.inside(into))
        elif step == "RUN":
            stage.run(rest)
    return stage


def copy(source: Path, target: Path) -> None:
    """Copy a file or folder as it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", "--no-target-directory", source, target], check=True)


def steps(dockerfile: str) -> list[tuple[str, str]]:
    """Return the instructions with what follows each, without comments and continued lines."""
    whole = re.sub(r"(?m)^\s*#.*\n", "", dockerfile).replace("\\\n", " ")
    return [(step, rest.strip()) for step, _, rest in (line.partition(" ") for line in whole.splitlines()) if step]


if __name__ == "__main__":
    main()
