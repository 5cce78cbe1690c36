"""The faults, one function each: breaks something real, and returns what was found."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq

from heartbeat_core import storage
from heartbeat_core.errors import HeartbeatError
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.plan import plan_table
from heartbeat_core.settings import S3Settings
from jobs.output.commits import commit_shard, settle_failures
from jobs.output.ledger import find_commit
from tests.faults.rig import (
    Finding,
    account,
    by_recording,
    kill_group,
    names_in,
    read_rows,
    sabotaged,
    start,
    tiny_recordings,
    undisturbed,
    upload,
    wait_until,
    workers_of,
)
from tests.helpers import audio_bytes
from tests.s3.proxy import Fault, FaultProxy
from tests.s3.server import Store

SOAK_RATES = {
    Fault.SLOW_DOWN: 0.06,
    Fault.INTERNAL: 0.06,
    Fault.RESET: 0.05,
    Fault.LOST_RESPONSE: 0.08,
    Fault.TRUNCATE: 0.05,
    Fault.STALL: 0.01,
    Fault.FLIP: 0.01,
}
MEMORY_LIMIT_BYTES = 4 * 2**30
WINDOW_SHARDS = 2 * 2 * 4
"""Two tasks for each of two workers' four threads."""


def soak(store: Store, folder: Path, n_recordings: int, n_worker_kills: int, n_driver_kills: int) -> list[Finding]:
    """Fault the store's answers, kill workers and drivers, and let two drivers work at once; then count."""
    rng = random.Random(3)
    inputs = upload(store, "soak/in", tiny_recordings(n_recordings))
    expected = undisturbed(store, inputs, "s3://hearts/soak/clean", folder / "clean.log")
    out = "s3://hearts/soak/out"
    workers_killed = drivers_killed = 0
    with FaultProxy(store.endpoint, seed=1) as proxy:
        proxy.rates = SOAK_RATES
        proxy.stall_s = 2.0
        variables = {**store.variables(), "AWS_ENDPOINT_URL": proxy.endpoint}

        def drive(number: int) -> subprocess.Popen[bytes]:
            log = folder / f"driver-{number}.log"
            return start("classify", inputs, "-o", out, "--workers", 2, log=log, variables=variables)

        drivers = [drive(0), drive(1)]
        began = time.monotonic()
        while True:
            time.sleep(rng.uniform(0.5, 1.5))
            for number, driver in enumerate(drivers):
                if driver.poll() not in (None, 0):
                    drivers[number] = drive(number)
            if all(driver.poll() == 0 for driver in drivers) or time.monotonic() - began > 1800:
                break
            running = [driver for driver in drivers if driver.poll() is None]
            workers = [worker for driver in running for worker in workers_of(driver)]
            if workers and workers_killed < n_worker_kills:
                rng.choice(workers).kill()
                workers_killed += 1
            # Each while there is work: after so many worker kills.
            elif running and drivers_killed < n_driver_kills and workers_killed >= n_worker_kills:
                victim = rng.choice(running)
                kill_group(victim)
                drivers[drivers.index(victim)] = drive(drivers.index(victim))
                drivers_killed += 1
                workers_killed -= 2 if workers_killed > 15 else 0
        found = account(store, out, inputs, expected)
        share = proxy.share_faulted()
        n_requests = len(proxy.requests)
        for driver in drivers:
            kill_group(driver)
    figure = (
        f"{found.n_rows} rows, {found.missing} missing, {found.duplicate} duplicate, {found.different} different; "
        f"{share:.0%} of {n_requests} requests faulted, {workers_killed} workers and {drivers_killed} drivers killed, "
        "2 drivers at once"
    )
    holds = found.is_exact and found.n_rows == n_recordings and "_SUCCESS" in names_in(store, out) and share >= 0.2
    return [Finding("soak", figure, holds and drivers_killed >= n_driver_kills)]


def driver_kills(store: Store, folder: Path, n_recordings: int, n_kills: int) -> list[Finding]:
    """Kill the driver and its workers at a random moment, run the command again, compare; many times."""
    rng = random.Random(5)
    inputs = upload(store, "kills/in", tiny_recordings(n_recordings))
    began = time.monotonic()
    expected = undisturbed(store, inputs, "s3://hearts/kills/clean", folder / "clean.log")
    whole_s = time.monotonic() - began
    exact, redone, moments = 0, [], []
    for number in range(n_kills):
        out = f"s3://hearts/kills/out-{number}"
        log = folder / f"kill-{number}.log"
        driver = start("classify", inputs, "-o", out, log=log, variables=store.variables())
        moment = rng.uniform(0.3, whole_s)
        time.sleep(moment)
        kill_group(driver)
        there = names_in(store, out)
        begun = {name.rpartition("/")[2].partition(".")[0] for name in there if name.startswith("_settled/")}
        committed = {name.rpartition("/")[2].partition(".")[0] for name in there if name.startswith("_commits/")}
        redone.append(len(begun - committed))
        moments.append(len(committed))
        again = start("classify", inputs, "-o", out, log=log, variables=store.variables())
        exact += again.wait(300) == 0 and account(store, out, inputs, expected).is_exact
    figure = (
        f"{exact} of {n_kills} identical to the undisturbed run; at most {max(redone)} shards begun and done again "
        f"(window {WINDOW_SHARDS}); killed with {min(moments)} to {max(moments)} shards committed"
    )
    return [Finding("driver killed at random moments", figure, exact == n_kills and max(redone) <= WINDOW_SHARDS)]


def lost_responses(store: Store, n_commits: int) -> list[Finding]:
    """Lose the answer to every first PUT, and commit."""

    one_row = to_parquet(plan_table([(0, [Recording("s3://hearts/a.wav", "a.wav")])]))
    errors = commits = 0
    with FaultProxy(store.endpoint) as proxy:
        seen: set[str] = set()

        def first_time(method: str, path: str) -> bool:
            is_first = method == "PUT" and path not in seen
            seen.add(path)
            return is_first

        proxy.only = first_time
        proxy.rates = {Fault.LOST_RESPONSE: 1.0}
        out = "s3://hearts/lost"
        with storage.using(storage.Access(S3Settings(endpoint_url=proxy.endpoint)), 60):
            for shard in range(n_commits):
                tables = {"predictions": one_row, "features": one_row}
                try:
                    settled = settle_failures(out, shard, None)
                    commit_shard(out, shard, 1, settled, tables, "run", [None])
                except HeartbeatError as error:
                    print(f"shard {shard}: {error!r}")
                    errors += 1
                commits += find_commit(out, shard) is not None
        lost = proxy.count("PUT", Fault.LOST_RESPONSE)
    figure = f"{commits} commits, {errors} errors; the answers to {lost} PUTs were lost"
    return [Finding("lost PUT responses", figure, commits == n_commits and errors == 0 and lost >= n_commits)]


def killer_files(store: Store, folder: Path, n_recordings: int) -> list[Finding]:
    """Recordings that crash, hang and eat the process that decodes them, among good ones."""
    found = []
    files = tiny_recordings(n_recordings)
    good = upload(store, "killer/good", files)
    expected = undisturbed(store, good, "s3://hearts/killer/clean", folder / "killer-clean.log")
    # Short where it is waited for; what a busy machine is slow at is not to be late.
    for marker, error_type, deadline_s in (
        ("KILL", "worker_crash", 60),
        ("HANG", "timeout", 4),
        ("EATS", "out_of_memory", 60),
    ):
        files = tiny_recordings(n_recordings)
        poison = f"{sorted(files)[n_recordings // 2]}.wav"
        files[poison] = next(iter(files.values())) + marker.encode()
        inputs = upload(store, f"killer-{marker}/in", files)
        out = f"s3://hearts/killer-{marker}/out"
        config = folder / f"{marker}.yaml"
        config.write_text(
            f"limits: {{deadline_s: {deadline_s}, max_memory_bytes: 1000000000}}\n"
            "cluster: {memory_limit: 1.5GiB}\n"  # Soon reached: to touch memory takes a second a GiB, or several.
        )
        variables = {**store.variables(), **sabotaged()}
        log = folder / f"{marker}.log"
        driver = start("classify", inputs, "-o", out, "--config", config, log=log, variables=variables)
        pids: set[int] = set()
        while driver.poll() is None:
            pids |= {worker.pid for worker in workers_of(driver)}
            time.sleep(0.1)
        failures = read_rows(store, out, "failures")
        told = [(row["uri"].removeprefix(f"{inputs}/"), row["error_type"]) for row in failures]
        features, predictions = (
            by_recording(read_rows(store, out, name), inputs) for name in ("features", "predictions")
        )
        # With the poison among them, the same recordings are scored in other batches: the last bits differ.
        logits = {path: row["logits"] for path, row in expected["predictions"].items()}
        same = predictions.keys() == expected["predictions"].keys() and all(
            abs(here - there) < 1e-5
            for path, row in predictions.items()
            for here, there in zip(row["logits"], logits[path], strict=True)
        )
        same = same and features == expected["features"]
        deaths = len(pids) - 2
        holds = driver.returncode == 0 and told == [(poison, error_type)] and same and deaths <= 5
        figure = f"{len(failures)} failure row ({error_type}), {deaths} worker deaths, all other rows there: {same}"
        found.append(Finding(f"a file that makes its worker {marker.lower()}", figure, holds))
    return found


def mutants(folder: Path, n_mutants: int) -> list[Finding]:
    """Classify damaged files of every format, headers that claim 64 GiB, and a decompression bomb."""
    files = {f"{i:05d}.{suffix}": data for i, (suffix, data) in enumerate(_mutated(n_mutants))}
    files |= _bombs()
    (folder / "in").mkdir()
    for name, data in files.items():
        (folder / "in" / name).write_bytes(data)
    (folder / "job.yaml").write_text(f"cluster: {{memory_limit: '{MEMORY_LIMIT_BYTES}'}}\n")
    log, out = folder / "log", folder / "out"
    driver = start("classify", folder / "in", "-o", out, "--config", folder / "job.yaml", log=log)
    pids: set[int] = set()
    peak = 0
    while driver.poll() is None:
        for worker in workers_of(driver):
            pids.add(worker.pid)
            with suppress(psutil.NoSuchProcess):
                peak = max(peak, worker.memory_info().rss)
        time.sleep(0.05)
    rows = [
        row["uri"]
        for table in ("predictions", "failures")
        for part in sorted((out / table).glob("*.parquet"))
        for row in pq.ParquetFile(part).read(["uri"]).to_pylist()
    ]
    deaths = len(pids) - 2
    figure = (
        f"{len(rows)} rows for {len(files)} files, {len(rows) - len(set(rows))} twice; {deaths} deaths of a worker; "
        f"at most {peak / 2**30:.1f} GiB a worker (limit {MEMORY_LIMIT_BYTES / 2**30:.0f} GiB)"
    )
    is_one_each = sorted(rows) == sorted(f"file://{folder}/in/{name}" for name in files)
    holds = driver.returncode == 0 and is_one_each and deaths == 0 and peak < MEMORY_LIMIT_BYTES
    return [Finding("mutated files, 64 GiB headers, a decompression bomb", figure, holds)]


def _mutated(count: int) -> Iterator[tuple[str, bytes]]:
    """Yield damaged files: cut, with bytes changed in the header or anywhere, with blocks swapped."""
    rng = random.Random(13)
    tone = np.sin(np.arange(3_000) * 0.1).astype(np.float32)
    wholes = [
        (name.lower(), audio_bytes(tone, 4_000 if name != "MP3" else 16_000, name, subtype))
        for name in ("WAV", "W64", "FLAC", "OGG", "AIFF", "AU", "CAF", "MP3", "RF64", "WAVEX", "NIST", "VOC", "SVX")
        for subtype in [None, *(["FLOAT", "PCM_24", "ULAW"] if name in ("WAV", "AIFF", "AU", "CAF") else [])]
    ]
    audio = {"wav", "w64", "flac", "ogg", "aiff", "au", "caf", "mp3"}
    for _ in range(count):
        suffix, whole = rng.choice(wholes)
        data = bytearray(whole)
        kind = rng.randrange(4)
        if kind == 0:
            del data[rng.randrange(len(data)) :]
        elif kind in (1, 2):
            reach = 64 if kind == 1 else len(data)
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(min(reach, len(data)))] = rng.choice((0, 0xFF, 0x7F, 0x80, rng.randrange(256)))
        else:
            size = rng.randint(4, 256)
            one, two = (rng.randrange(max(1, len(data) - size)) for _ in range(2))
            data[one : one + size], data[two : two + size] = data[two : two + size], data[one : one + size]
        yield suffix if suffix in audio else "wav", bytes(data)


def _bombs() -> dict[str, bytes]:
    """Return headers that claim 64 GiB, and a small file that is 29 minutes of silence at 96 kHz."""
    wav = bytearray(audio_bytes(np.zeros(3_000), 4_000))
    wav[4:8] = wav[40:44] = (2**32 - 1).to_bytes(4, "little")
    w64 = bytearray(audio_bytes(np.zeros(3_000), 4_000, "W64"))
    w64[16:24] = (2**36).to_bytes(8, "little")
    at = w64.index(b"data\xf3\xac\xd3\x11")
    w64[at + 16 : at + 24] = (2**36).to_bytes(8, "little")
    flac = bytearray(audio_bytes(np.zeros(3_000), 4_000, "FLAC"))
    flac[21] |= 0x0F
    flac[22:26] = b"\xff" * 4
    silence = audio_bytes(np.zeros(96_000 * 29 * 60, np.int16), 96_000, "FLAC")
    return {"claims.wav": bytes(wav), "claims.w64": bytes(w64), "claims.flac": bytes(flac), "bomb.flac": silence}


def flips(store: Store, folder: Path, n_recordings: int) -> list[Finding]:
    """Flip a bit in some answers, and compare the features."""
    inputs = upload(store, "flips/in", tiny_recordings(n_recordings))
    expected = undisturbed(store, inputs, "s3://hearts/flips/clean", folder / "flips-clean.log")
    with FaultProxy(store.endpoint, seed=7) as proxy:
        proxy.rates = {Fault.FLIP: 0.01}
        variables = {**store.variables(), "AWS_ENDPOINT_URL": proxy.endpoint}
        out = "s3://hearts/flips/out"
        driver = start("classify", inputs, "-o", out, log=folder / "flips.log", variables=variables)
        code = driver.wait(600)
        flipped, gets = proxy.count("GET", Fault.FLIP), proxy.count("GET")
    found = account(store, out, inputs, expected)
    figure = f"{found.different} rows differ from the clean run; {flipped} of {gets} GETs had a bit flipped"
    return [Finding("flipped bits", figure, code == 0 and found.is_exact and flipped > 0)]


def store_away(store: Store, folder: Path, n_recordings: int, away_s: float) -> list[Finding]:
    """Let the store be away in mid-run."""
    inputs = upload(store, "away/in", tiny_recordings(n_recordings))
    expected = undisturbed(store, inputs, "s3://hearts/away/clean", folder / "away-clean.log")
    with FaultProxy(store.endpoint) as proxy:
        variables = {**store.variables(), "AWS_ENDPOINT_URL": proxy.endpoint}
        out = "s3://hearts/away/out"
        driver = start("classify", inputs, "-o", out, log=folder / "away.log", variables=variables)
        wait_until(lambda: any(name.startswith("_commits/") for name in names_in(store, out)), 120)
        proxy.away = True
        began = time.monotonic()
        time.sleep(away_s)
        # What was under way when the store went, up to 24 requests a process, fails in the first second; only then can
        # a process know that the store is away.
        busiest = _busiest(proxy, began + 1, began + away_s)
        proxy.away = False
        code = driver.wait(600)
    found = account(store, out, inputs, expected)
    # Two workers and the driver.
    figure = (
        f"exit {code}, {found.n_rows} rows, {found.missing} missing, {found.different} different; at most "
        f"{busiest / 2:.0f} requests a second a worker after the first second, while it was away for {away_s:g} s"
    )
    return [Finding("the store away", figure, code == 0 and found.is_exact and busiest / 2 <= 50)]


def _busiest(proxy: FaultProxy, begin: float, end: float) -> int:
    times = sorted(one.time_monotonic for one in list(proxy.requests) if begin <= one.time_monotonic <= end)
    return max((sum(1 for other in times if moment <= other < moment + 1) for moment in times), default=0)


def writer_kills(folder: Path, n_kills: int) -> list[Finding]:
    """Kill a process that creates files on disk, and look for partial ones under their names."""
    rng = random.Random(11)
    target = folder / "written"
    program = (
        "import sys; from heartbeat_core import storage\n"
        "data = bytes(range(256)) * 4096\n"
        "for i in range(10**6): storage.create(f'file://{sys.argv[1]}/{sys.argv[2]}-{i:06d}', data)\n"
    )
    partial = whole = 0
    for number in range(n_kills):
        process = subprocess.Popen([sys.executable, "-c", program, str(target), str(number)])
        wait_until(lambda n=number: target.exists() and any(target.glob(f"{n}-*")), 30)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
        for path in target.iterdir():
            if not path.name.startswith("."):
                is_whole = path.stat().st_size == 2**20 and path.read_bytes() == bytes(range(256)) * 4096
                whole += is_whole
                partial += not is_whole
            path.unlink()
    figure = f"{partial} partial files visible among {whole + partial}, {n_kills} kills"
    return [Finding("local writer killed", figure, partial == 0 and whole > n_kills // 2)]


def full_runs(store: Store, folder: Path, n_runs: int, n_recordings: int) -> list[Finding]:
    """Run the whole command many times."""
    inputs = upload(store, "runs/in", tiny_recordings(n_recordings))
    codes = []
    for number in range(n_runs):
        out = f"s3://hearts/runs/out-{number}"
        codes.append(
            start("classify", inputs, "-o", out, log=folder / "runs.log", variables=store.variables()).wait(300)
        )
    return [Finding("full runs", f"{codes.count(0)} of {n_runs} ended with exit code 0", set(codes) == {0})]


def latency(store: Store, folder: Path, recordings: Path | None, latency_s: float, n_pairs: int) -> list[Finding]:
    """Compare the rate of the job with and without a latency on each request; pairs in turn, medians.

    The rate is counted from the first recording's request to the last commit.
    """
    files = (
        {str(path.relative_to(recordings)): path.read_bytes() for path in sorted(recordings.rglob("*.flac"))}
        if recordings
        else tiny_recordings(3_000)
    )
    inputs = upload(store, "latency/in", files)
    rates: dict[float, list[float]] = {0.0: [], latency_s: []}
    for number in range(n_pairs):
        for seconds, found in rates.items():
            with FaultProxy(store.endpoint) as proxy:
                proxy.latency_s = seconds
                out = f"s3://hearts/latency/out-{number}-{seconds}"
                log = folder / f"latency-{number}-{seconds}.log"
                variables = {**store.variables(), "AWS_ENDPOINT_URL": proxy.endpoint}
                code = start("classify", inputs, "-o", out, log=log, variables=variables).wait(900)
                if code != 0:
                    raise RuntimeError(log.read_text()[-2000:])
                begins = [one.time_monotonic for one in proxy.requests if _is_recording(one.method, one.path)]
                ends = [
                    one.time_monotonic for one in proxy.requests if one.method == "PUT" and "/_commits/" in one.path
                ]
                found.append(len(files) / (max(ends) - min(begins)))
    ratios = [slow / plain for plain, slow in zip(rates[0.0], rates[latency_s], strict=True)]
    figure = (
        f"{statistics.median(ratios):.0%} of the rate without it (median of {n_pairs} pairs, {min(ratios):.0%} to "
        f"{max(ratios):.0%}); {statistics.median(rates[latency_s]):.0f} and {statistics.median(rates[0.0]):.0f} "
        f"recordings a second, {len(files)} recordings"
    )
    return [Finding(f"latency of {latency_s * 1000:g} ms on every request", figure, statistics.median(ratios) >= 0.8)]


def _is_recording(method: str, path: str) -> bool:
    return method == "GET" and "/latency/in/" in path and "list-type" not in path
