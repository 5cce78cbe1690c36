"""Do the steps of the Dockerfile without a container engine, and tell how large the image's files are.

Needs root and debootstrap. Each ``FROM`` is a clean Debian of ``debootstrap --variant=minbase``, which is larger than
``bookworm-slim``, and each ``RUN`` a command in it by ``chroot``. At the end the image's user asks for heartbeat's version.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = re.compile(r"(?i)pip_|.*_proxy$|no_proxy$|ssl_cert_file$")
"""The variables of this machine that a step keeps: how it reaches the package indexes."""


def main() -> None:
    """Do the steps, and print the size as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the file systems go; 6 GB")
    parser.add_argument("--copy", action="append", default=[], type=Path, help="a path of this machine that steps need")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    base = folder / "base"
    if not base.exists():
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", base], check=True)
    root = _build(folder, base, arguments.copy)
    seconds_of_size = subprocess.run(
        ["du", "-sb", "--one-file-system", root], check=True, capture_output=True, text=True
    )
    print(json.dumps({"bytes": int(seconds_of_size.stdout.split()[0])}))


def _build(folder: Path, base: Path, copies: list[Path]) -> Path:
    inherited = {name: value for name, value in os.environ.items() if KEPT.match(name)}
    root, variables, workdir, user = base, {}, "/", "0:0"
    stages: dict[str, Path] = {}
    for step, rest in _steps((ROOT / "deploy" / "docker" / "Dockerfile").read_text()):
        if step == "FROM":
            name = rest.split()[-1] if " AS " in rest else "final"
            root, variables, workdir = folder / name, {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, "/"
            shutil.rmtree(root, ignore_errors=True)
            subprocess.run(["cp", "-a", base, root], check=True)
            stages[name] = root
            if name != "final":
                for one in [Path("/etc/resolv.conf"), *copies]:
                    (root / one.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
                    subprocess.run(["cp", "-rL", one, root / one.relative_to("/")], check=True)
            else:
                shutil.copy("/etc/resolv.conf", root / "etc")
        elif step == "ENV":
            for name, value in (pair.split("=", 1) for pair in shlex.split(rest)):
                variables[name] = value.replace("$PATH", variables["PATH"])
        elif step == "WORKDIR":
            workdir = rest
            (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif step == "USER":
            user = rest
        elif step == "COPY":
            source = ROOT
            if rest.startswith("--from="):
                stage, rest = rest.removeprefix("--from=").split(maxsplit=1)
                source = stages[stage]
            *names, target = rest.split()
            place = root / target.lstrip("/") if target.startswith("/") else root / workdir.lstrip("/") / target
            place.parent.mkdir(parents=True, exist_ok=True)
            for name in names:
                subprocess.run(
                    [
                        "cp",
                        "-a",
                        "-T" if len(names) == 1 and target[-1] != "/" else "-t",
                        *(
                            [source / name.lstrip("/"), place]
                            if len(names) == 1 and target[-1] != "/"
                            else [place, source / name.lstrip("/")]
                        ),
                    ],
                    check=True,
                )
        elif step == "RUN":
            _run(root, "0:0", {**inherited, **variables}, workdir, rest)
    _run(root, user, variables, workdir, "heartbeat --version && dask --version")
    return root


def _run(root: Path, user: str, variables: dict[str, str], workdir: str, command: str) -> None:
    print(f"RUN {command}", flush=True)
    inside = f"cd {shlex.quote(workdir)} && {command}"
    subprocess.run(["chroot", f"--userspec={user}", root, "/bin/sh", "-c", inside], check=True, env=variables)


def _steps(text: str) -> list[tuple[str, str]]:
    lines = re.sub(r"(?m)^\s*#.*\n", "", text).replace("\\\n", " ").splitlines()
    return [(step, rest.strip()) for step, _, rest in (line.partition(" ") for line in lines) if step]


if __name__ == "__main__":
    main()
