"""The requests that ``heartbeat plan`` tells of, held against those that a real run makes of a real server."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.recipe import Recipe
from heartbeat_core.settings import S3Settings
from jobs.drivers.build_dataset import DatasetOptions, build_dataset
from jobs.drivers.classify import classify
from jobs.planning.estimate import shard_sizes
from jobs.planning.request_counts import JobName, requests_of_listing, requests_of_run
from jobs.planning.sample import list_inputs
from jobs.settings import JobSettings
from tests.faults.rig import start
from tests.s3.conftest import Store
from tests.s3.proxy import FaultProxy

ABOUT = {"put": 8, "get": 6}
"""The driver's word every few seconds is a matter of time, and the figures of the report one of the data."""


@pytest.fixture
def uploaded(s3: Store, bucket: str, library: Path) -> str:
    """Return the URL of a copy of the library: 31 recordings in five prefixes, and a file beside them."""
    s3.client().put(str(library), f"{bucket}/in", recursive=True)
    return f"{bucket}/in"


def counted(proxy: FaultProxy) -> dict[str, int]:
    """Return the requests that came, by what they are billed as."""
    kinds = Counter("list" if "list-type=" in one.path else one.method.lower() for one in proxy.requests)
    return {kind: kinds[kind] for kind in ("put", "get", "head", "list", "delete")}


@pytest.mark.parametrize("job", ["classify", "build-dataset"])
def test_requests_of_a_run(
    job: JobName,
    s3: Store,
    bucket: str,
    uploaded: str,
    bundle: Path,
    recipe: Recipe,
    in_process: None,
    console: Console,
) -> None:
    with FaultProxy(s3.endpoint) as proxy:
        content = {"model": str(bundle), "s3": {"endpoint_url": proxy.endpoint}, "shards": {"recordings": 4}}
        settings = JobSettings.model_validate(content)
        began = time.monotonic()
        if job == "classify":
            classify([uploaded], f"{bucket}/out", settings, console)
        else:
            build_dataset([uploaded], f"{bucket}/out", DatasetOptions(recipe), settings, console)
        seconds = time.monotonic() - began
        found = counted(proxy)
        proxy.requests.clear()
        with storage.using(storage.Access(S3Settings(endpoint_url=proxy.endpoint)), 20):
            listed = list_inputs([uploaded], settings, 300)
        listing = requests_of_listing(listed.n_keys, listed.n_prefixes)
        assert asdict(listing) == counted(proxy)
    n_shards = len(list(shard_sizes(listed.sample, listed.n_recordings, settings.shards)))
    assert n_shards == len(s3.client().find(f"{bucket}/out/_commits")) > 2
    assert listed.n_recordings == listed.n_remote == 31
    run = requests_of_run(job, listed.n_recordings, listed.n_remote, n_shards, 1, seconds)
    told = asdict(run + listing)
    # The shard with the longest recording is read again, and how many are in it is not known before.
    assert told.pop("get") == pytest.approx(found.pop("get"), rel=0.03 if job == "build-dataset" else 0)
    assert told == found


def test_the_command_tells_what_a_cluster_asks(s3: Store, bucket: str, uploaded: str, tmp_path: Path) -> None:
    """With both processes' real start and end; the driver's word every few seconds is a matter of time."""
    with FaultProxy(s3.endpoint) as proxy:
        variables = {**s3.variables(), "AWS_ENDPOINT_URL": proxy.endpoint}
        plan = start("plan", uploaded, "--workers", "2", "--json", log=tmp_path / "plan", variables=variables)
        assert plan.wait(120) == 0, (tmp_path / "plan").read_text()
        told = (tmp_path / "plan").read_text()
        requests = json.loads(told[told.index("{") : told.rindex("}") + 1])["requests"]
        assert counted(proxy)["put"] == 0
        proxy.requests.clear()
        run = start(
            "classify", uploaded, "-o", f"{bucket}/out", "--workers", 2, log=tmp_path / "log", variables=variables
        )
        assert run.wait(180) == 0, (tmp_path / "log").read_text()
        found = counted(proxy)
    for kind, number in found.items():
        assert requests[kind] == pytest.approx(number, rel=0.03, abs=ABOUT.get(kind, 0)), (kind, requests, found)
