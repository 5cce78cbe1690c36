"""How the suite runs, held by small suites of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import environment
from tests.s3.server import running_store

SPREAD = """
import os, time
import pytest

@pytest.mark.parametrize("number", range(4))
def test_it(number):
    with open(os.environ["SEEN"], "a") as file:
        file.write(f"{os.environ['PYTEST_XDIST_WORKER']} {__file__.rpartition('tests/')[2]}\\n")
    time.sleep(0.2)
"""


def run(folder: Path, files: dict[str, str], *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a suite as ``make test`` runs ours."""
    for name, text in files.items():
        path = folder / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    command = (sys.executable, "-m", "pytest", "-ra", "-p", "tests.running", "--import-mode", "importlib")
    return subprocess.run(
        [*command, "-n", "2", "--dist", "loadscope", "--no-loadscope-reorder", *options, "tests"],
        cwd=folder,
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_long_tests_come_first_one_by_one_and_a_files_tests_go_to_one_process(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    done = run(tmp_path, {"core/test_a.py": SPREAD, "s3/test_b.py": SPREAD}, SEEN=str(seen))
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].strip("= ").startswith("8 passed in ")
    assert "S3 was not tested" not in done.stdout
    lines = [line.split() for line in seen.read_text().splitlines()]
    assert lines[0][1] == lines[1][1] == "s3/test_b.py"
    assert {worker for worker, name in lines if name == "s3/test_b.py"} == {"gw0", "gw1"}
    assert len({worker for worker, name in lines if name == "core/test_a.py"}) == 1


def test_a_process_that_crashes_fails_the_run(tmp_path: Path) -> None:
    crash = "import os\ndef test_before(): pass\ndef test_crash():\n    os._exit(0)\ndef test_after(): pass\n"
    done = run(tmp_path, {"test_a.py": crash, "test_b.py": "def test_it(): pass\n"})
    assert done.returncode == 1
    assert "FAILED tests/test_a.py::test_crash" in done.stdout
    # Once; the others of its process have run as well.
    assert done.stdout.splitlines()[-1].strip("= ").startswith("1 failed, 3 passed in ")


@pytest.mark.parametrize("option", ["-n2", "-n0"])
def test_tests_of_s3_that_did_not_run_are_told(tmp_path: Path, option: str) -> None:
    skip = "import pytest\ndef test_it(): pytest.skip('no server; install one')\n"
    done = run(tmp_path, {"s3/test_a.py": skip, "s3/test_b.py": skip, "core/test_a.py": skip}, option)
    assert done.returncode == 0, done.stdout
    assert "= S3 was not tested =" in done.stdout
    assert "2 tests of tests/s3 did not run: no server; install one" in done.stdout
    assert done.stdout.splitlines()[-1].strip("= ").startswith("3 skipped in ")


def test_two_servers_of_s3_run_side_by_side(tmp_path: Path) -> None:
    """And so do two checkouts' tests."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with running_store(tmp_path / "one") as one, running_store(tmp_path / "other") as other:
        one.client().pipe_file("hearts/a", b"of one")
        assert not other.client().exists("hearts/a")


def test_make_installs_the_checkout_in_place() -> None:
    """With a copy in the environment, what runs in the checkout is partly the copy and partly the checkout."""
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    installs = re.findall(r"\$\(BIN\)/python \$\(PIP\) install .* '?\.(?:\[\w+\])?'?$", makefile, re.MULTILINE)
    assert len(installs) == 2
    assert all("--editable ." in line or "--editable '." in line for line in installs)
