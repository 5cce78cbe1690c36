"""``heartbeat review`` over a bucket: results, page and verdicts all lie there."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from heartbeat_core import storage
from jobs.drivers.classify import classify
from jobs.settings import JobSettings
from tests.commands import done
from tests.conftest import quiet_console
from tests.helpers import write_many


def test_out_and_back_in_a_bucket(bucket: str, bundle: Path, tmp_path: Path, in_process: None) -> None:
    write_many(tmp_path / "in", 4)
    for path in sorted((tmp_path / "in").iterdir()):
        storage.create(f"{bucket}/in/{path.name}", path.read_bytes())
    out, folder = f"{bucket}/out", f"{bucket}/review"
    classify([f"{bucket}/in"], out, JobSettings(model=str(bundle)), quiet_console())
    [found] = map(json.loads, done("review", out, "-o", folder, "--audio", "--json").stdout.splitlines())
    assert (found["n_recordings"], found["left_out"]) == (4, [])
    assert len(storage.list_names(f"{folder}/audio")) == 4
    assert storage.read(f"{folder}/review.html").count(b"<article") == 4
    ids = [row["recording"] for row in csv.DictReader(storage.read(f"{folder}/review.csv").decode().splitlines())]
    text = "recording,verdict\n" + "".join(f"{one},normal\n" for one in ids)
    storage.create(f"{bucket}/back.csv", text.encode())
    for expected in ((4, 0), (0, 4)):
        [found] = map(json.loads, done("review", out, "--import", f"{bucket}/back.csv", "--json").stdout.splitlines())
        assert (found["n_new"], found["n_same"]) == expected
    assert storage.list_names(f"{out}/reviews") == ["part-000001.parquet"]
    # A folder of label tracks.
    for name in storage.list_names(f"{folder}/audacity"):
        track = storage.read(f"{folder}/audacity/{name}").decode().replace(" = ?", " = murmur")
        storage.create(f"{bucket}/tracks/{name}", track.encode())
    [found] = map(json.loads, done("review", out, "--import", f"{bucket}/tracks", "--json").stdout.splitlines())
    assert (found["n_changed"], found["n_reviews"]) == (4, 4)
    assert storage.list_names(f"{out}/reviews") == ["part-000002.parquet"]
