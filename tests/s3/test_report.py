"""``heartbeat report`` over a bucket, and what a run with pseudonyms leaves there."""

from __future__ import annotations

import json
from pathlib import Path

from heartbeat_core import storage
from jobs.drivers.classify import classify
from jobs.settings import JobSettings
from tests.commands import done
from tests.conftest import quiet_console
from tests.faults.rig import start
from tests.helpers import heart_bytes
from tests.pagecheck import read_page
from tests.s3.conftest import Store

CANARY = "CANARY"


def put(bucket: str, names: list[str]) -> None:
    for seed, name in enumerate(names):
        storage.create(f"{bucket}/{name}", heart_bytes("normal", seed // 2))
    storage.create(f"{bucket}/{names[0]}.broken.wav", b"nothing")


def test_the_report_lies_in_the_bucket_and_is_made_there_again(bucket: str, bundle: Path, in_process: None) -> None:
    put(bucket, [f"in/{number}.wav" for number in range(4)])
    out = f"{bucket}/out"
    classify([f"{bucket}/in"], out, JobSettings(model=str(bundle)), quiet_console())
    first = storage.read(f"{out}/report.html").decode()
    assert "4 (80 %)" in read_page(first).text
    assert "2 (50 %)" in read_page(first).text  # Every second one has the audio of another.
    storage.remove(f"{out}/report.html")
    assert f"{out}/report.html" in done("report", out).stdout
    again = storage.read(f"{out}/report.html").decode()
    assert read_page(again).tables == read_page(first).tables


def test_no_name_is_told_in_a_bucket_with_a_salt(s3: Store, bucket: str, tmp_path: Path) -> None:
    put(bucket, [f"{CANARY}/{CANARY}{number}.wav" for number in range(4)])
    inputs, out = f"{bucket}/{CANARY}", f"{bucket}/out"
    variables = {**s3.variables(), "WARD_SALT": "an example of a long random secret"}
    salted = ("--salt-env", "WARD_SALT", "--model", "seed-small")
    for name, command in {
        "plan": ("plan", inputs, *salted, "--json"),
        "log": ("classify", inputs, "-o", out, "--workers", 1, "--log-json", *salted),
        "report": ("report", out),
    }.items():
        process = start(*command, log=tmp_path / name, variables=variables)
        assert process.wait(180) == 0, (tmp_path / name).read_text()
        assert CANARY not in (tmp_path / name).read_text(), name
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert {json.loads(line).get("run") for line in lines} - {None}
    client = s3.client()
    objects = client.find(out.removeprefix("s3://"))
    assert len(objects) > 20
    for one in objects:
        assert CANARY not in one
        assert CANARY.encode() not in client.cat_file(one), one
