"""The faults of ``tests.faults`` in small, and what has no figure: each with a real server and real processes."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from pathlib import Path

import pytest
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.settings import S3Settings
from jobs.drivers.classify import classify
from jobs.settings import JobSettings
from tests.faults import scenarios
from tests.faults.rig import kill_group, names_in, read_rows, start, tiny_recordings, upload, wait_until
from tests.faults.scenarios import Finding
from tests.helpers import heart_bytes
from tests.s3.conftest import Store
from tests.s3.proxy import Fault, FaultProxy
from tests.s3.server import KEY, SECRET


def hold(findings: list[Finding]) -> None:
    assert findings
    for finding in findings:
        assert finding.holds, finding


def test_soak(s3: Store, tmp_path: Path) -> None:
    hold(scenarios.soak(s3, tmp_path, 400, 3, 1))


def test_a_driver_killed_at_random_moments(s3: Store, tmp_path: Path) -> None:
    hold(scenarios.driver_kills(s3, tmp_path, 150, 2))


def test_lost_responses(s3: Store) -> None:
    hold(scenarios.lost_responses(s3, 10))


def test_files_that_kill_hang_and_eat(s3: Store, tmp_path: Path) -> None:
    hold(scenarios.killer_files(s3, tmp_path, 40))


def test_flipped_bits(s3: Store, tmp_path: Path) -> None:
    hold(scenarios.flips(s3, tmp_path, 300))


def test_the_store_away_for_a_while(s3: Store, tmp_path: Path) -> None:
    hold(scenarios.store_away(s3, tmp_path, 300, 8.0))


def test_a_flipped_bit_is_found_by_the_etag_where_there_is_no_checksum(s3: Store, bucket: str) -> None:
    s3.client().call_s3("put_object", Bucket="hearts", Key="plain", Body=b"content" * 100)
    with FaultProxy(s3.endpoint) as proxy:
        with storage.using(storage.Access(S3Settings(endpoint_url=proxy.endpoint)), 20):
            times = 0

            def twice(method: str, path: str) -> bool:
                nonlocal times
                times += 1
                return times <= 2

            proxy.only = twice
            proxy.rates = {Fault.FLIP: 1.0}
            assert storage.read("s3://hearts/plain") == b"content" * 100
        assert proxy.count("GET", Fault.FLIP) == 2


def test_an_etag_that_is_no_md5_costs_a_second_look(s3: Store, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.client().pipe_file(f"{bucket}/a", b"content")
    # A store whose ETags only look like one, as some are that encrypt or compress.
    monkeypatch.setattr("heartbeat_core.storage.s3.hashlib.md5", lambda data, **more: hashlib.sha1(data))
    with (
        FaultProxy(s3.endpoint) as proxy,
        storage.using(storage.Access(S3Settings(endpoint_url=proxy.endpoint)), 20),
    ):
        assert storage.read(f"{bucket}/a") == b"content"
        assert proxy.count("GET") == 2


@pytest.mark.parametrize("fault", [Fault.TRUNCATE, Fault.ERROR_BODY, Fault.TOO_MANY, Fault.INTERNAL, Fault.RESET])
def test_a_read_that_fails_once_is_asked_again(s3: Store, bucket: str, fault: Fault) -> None:
    s3.client().pipe_file(f"{bucket}/a", b"content" * 100)
    with FaultProxy(s3.endpoint) as proxy:
        seen: list[str] = []

        def first(method: str, path: str) -> bool:
            seen.append(path)
            return len(seen) == 1

        proxy.only = first
        proxy.rates = {fault: 1.0}
        with storage.using(storage.Access(S3Settings(endpoint_url=proxy.endpoint)), 20):
            assert storage.read(f"{bucket}/a") == b"content" * 100
        assert proxy.count("GET", fault) == 1


def test_an_object_that_never_comes_is_a_row_and_its_store_is_not_blamed(
    s3: Store, bucket: str, bundle: Path, in_process: None, console: Console
) -> None:
    client = s3.client()
    for number in range(3):
        client.pipe_file(f"{bucket}/in/{number}.wav", heart_bytes("normal", number))
    with FaultProxy(s3.endpoint) as proxy:
        proxy.only = lambda method, path: method == "GET" and path.endswith("/in/1.wav")
        proxy.rates = {Fault.HANG: 1.0}
        proxy.stall_s = 60
        content = {"model": str(bundle), "s3": {"endpoint_url": proxy.endpoint}, "limits": {"deadline_s": 3}}
        began = time.monotonic()
        summary = classify([f"{bucket}/in"], f"{bucket}/out", JobSettings.model_validate(content), console)
        assert time.monotonic() - began < 50
    assert (summary.totals.listed, summary.totals.failed) == (3, 1)
    (failure,) = read_rows(s3, f"{bucket}/out", "failures")
    assert (failure["stage"], failure["error_type"]) == ("read", "timeout")
    assert failure["uri"].endswith("/in/1.wav")


def test_an_object_over_the_limit_is_never_fetched(
    s3: Store, bucket: str, bundle: Path, in_process: None, console: Console
) -> None:
    client = s3.client()
    client.pipe_file(f"{bucket}/in/small.wav", heart_bytes("normal", 1))
    client.pipe_file(f"{bucket}/in/large.wav", bytes(100_000))
    with FaultProxy(s3.endpoint) as proxy:
        content = {"model": str(bundle), "s3": {"endpoint_url": proxy.endpoint}, "limits": {"max_object_bytes": 50_000}}
        classify([f"{bucket}/in"], f"{bucket}/out", JobSettings.model_validate(content), console)
        assert not [one for one in proxy.requests if one.path.endswith("/large.wav")]
    (failure,) = read_rows(s3, f"{bucket}/out", "failures")
    assert (failure["error_type"], failure["stage"]) == ("too_large", "read")


def test_changed_since_listed_and_taken_anew(
    s3: Store, bucket: str, bundle: Path, in_process: None, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.tasks.shards import classify_task

    client = s3.client()
    for name in ("a", "b"):
        client.pipe_file(f"{bucket}/in/{name}.wav", heart_bytes("normal", 1))

    def late(shard: object, job: object) -> object:
        client.pipe_file(f"{bucket}/in/b.wav", heart_bytes("murmur", 2))
        return classify_task(shard, job)  # type: ignore[arg-type]

    settings = JobSettings(model=str(bundle))
    with monkeypatch.context() as patch:
        patch.setattr("jobs.drivers.classify.classify_task", late)
        classify([f"{bucket}/in"], f"{bucket}/out", settings, console)
    (failure,) = read_rows(s3, f"{bucket}/out", "failures")
    assert failure["error_type"] == "changed_since_listed"
    summary = classify([f"{bucket}/in"], f"{bucket}/out", settings, console, update=True)
    assert (summary.totals.listed, summary.totals.failed) == (2, 0)
    rows = read_rows(s3, f"{bucket}/out", "predictions")
    assert sorted((row["uri"].rpartition("/")[2], row["generation"]) for row in rows) == [("a.wav", 0), ("b.wav", 1)]


def test_a_store_that_ignores_conditions_takes_one_driver_at_a_time(
    s3: Store, bucket: str, bundle: Path, tmp_path: Path, in_process: None, console: Console
) -> None:
    inputs = upload(s3, f"{bucket.removeprefix('s3://hearts/')}/in", tiny_recordings(200))
    with FaultProxy(s3.endpoint) as proxy:
        proxy.ignore_conditions = (KEY, SECRET)
        variables = {**s3.variables(), "AWS_ENDPOINT_URL": proxy.endpoint}
        with storage.using(storage.Access(S3Settings(endpoint_url=proxy.endpoint)), 20):
            assert not storage.honours_conditions(f"{bucket}/probe")
        command = ("classify", inputs, "-o", f"{bucket}/out", "--model", bundle)
        # Slow enough that the first still works when the second begins.
        proxy.latency_s = 0.1
        first = start(*command, log=tmp_path / "first", variables=variables)
        assert wait_until(lambda: any("_drivers/" in name for name in names_in(s3, f"{bucket}/out")), 60)
        time.sleep(1)
        second = start(*command, log=tmp_path / "second", variables=variables)
        assert second.wait(60) == 2
        told = (tmp_path / "second").read_text()
        assert "a store that ignores conditional writes" in told
        assert "Traceback" not in told
        assert first.wait(120) == 0, (tmp_path / "first").read_text()
        # And again after a driver was killed, whose word is there still.
        assert start(*command, log=tmp_path / "third", variables=variables).wait(60) == 0
    assert len(read_rows(s3, f"{bucket}/out", "predictions")) == 200


def test_ctrl_c_lets_what_is_committing_end(s3: Store, bucket: str, tmp_path: Path) -> None:
    inputs = upload(s3, f"{bucket.removeprefix('s3://hearts/')}/in", tiny_recordings(600))
    out = f"{bucket}/out"
    command = ("classify", inputs, "-o", out)
    with FaultProxy(s3.endpoint) as proxy:
        proxy.latency_s = 0.1
        variables = {**s3.variables(), "AWS_ENDPOINT_URL": proxy.endpoint}
        driver = start(*command, log=tmp_path / "log", variables=variables)
        assert wait_until(lambda: any(name.startswith("_commits/") for name in names_in(s3, out)), 90)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(30) == 130, (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
    there = names_in(s3, out)
    assert "_SUCCESS" not in there
    # Each shard that had begun to write is committed; the others have left nothing.
    begun = {name.rpartition("/")[2] for name in there if name.startswith("_settled/")}
    committed = {name.rpartition("/")[2].removesuffix(".json") for name in there if name.startswith("_commits/")}
    assert begun == committed
    assert not [name for name in there if name.startswith("_drivers/")]
    assert start(*command, log=tmp_path / "again", variables=s3.variables()).wait(120) == 0
    assert len(read_rows(s3, out, "predictions")) == 600


def test_ctrl_c_twice_is_at_once(s3: Store, bucket: str, tmp_path: Path) -> None:
    inputs = upload(s3, f"{bucket.removeprefix('s3://hearts/')}/in", tiny_recordings(100))
    with FaultProxy(s3.endpoint) as proxy:
        variables = {**s3.variables(), "AWS_ENDPOINT_URL": proxy.endpoint}
        driver = start("classify", inputs, "-o", f"{bucket}/out", log=tmp_path / "log", variables=variables)
        assert wait_until(lambda: any("_commits/" in one.path for one in proxy.requests if one.method == "PUT"), 90)
        proxy.away = True  # Nothing can be committed any more.
        driver.send_signal(signal.SIGINT)
        time.sleep(1)
        driver.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert driver.wait(60) == 130
        assert time.monotonic() - began < 10
    kill_group(driver)


def test_status_while_another_process_runs_the_job(s3: Store, bucket: str, tmp_path: Path) -> None:
    inputs = upload(s3, f"{bucket.removeprefix('s3://hearts/')}/in", tiny_recordings(400))
    out = f"{bucket}/out"
    (tmp_path / "job.yaml").write_text("shards: {recordings: 20}")  # So that there are many.

    def status() -> dict[str, object]:
        process = start("status", out, "--json", log=tmp_path / "status", variables=s3.variables())
        assert process.wait(60) == 0, (tmp_path / "status").read_text()
        text = (tmp_path / "status").read_text()
        (tmp_path / "status").unlink()
        found: dict[str, object] = json.loads(text)
        return found

    with FaultProxy(s3.endpoint) as proxy:
        proxy.latency_s = 0.15
        variables = {**s3.variables(), "AWS_ENDPOINT_URL": proxy.endpoint}
        driver = start(
            *("classify", inputs, "-o", out, "--config", tmp_path / "job.yaml"),
            log=tmp_path / "log",
            variables=variables,
        )
        assert wait_until(lambda: any(name.startswith("_commits/") for name in names_in(s3, out)), 90)
        found = status()
        assert found["listed"] == 400
        assert not found["finished"]
        assert found["drivers"]
        assert int(str(found["done"])) + int(str(found["left"])) == 400
        assert found["left"] != 0
        assert driver.wait(180) == 0, (tmp_path / "log").read_text()
    found = status()
    assert (found["done"], found["left"], found["finished"], found["drivers"]) == (400, 0, True, [])
