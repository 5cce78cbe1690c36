"""Patients: their table after every kind of run, and pseudonyms wherever a path or a patient could tell."""

from __future__ import annotations

import io
import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from heartbeat_core.bundles.manifest import read_manifest
from heartbeat_core.errors import ConfigError, InputError, JobError, OutputError, UsageError
from heartbeat_core.results.database import connect
from heartbeat_core.results.folder import Results
from heartbeat_core.results.notes import describe
from jobs.drivers.classify import ClassifySummary, classify
from jobs.drivers.compact import compact
from jobs.drivers.reclassify import reclassify
from jobs.drivers.review import review
from jobs.listing.pseudonyms import opened
from jobs.output.plans import PlanFolder
from jobs.settings import JobSettings
from tests.commands import done, refused
from tests.helpers import LIMITS, heart_bytes, read_rows, web_server, write_csv

SECRET = "an example of a long random secret"
PATTERN = r"([A-Z]+[0-9]+)_(?P<site>AV|MV)?"
CANARY = "CANARY"


@dataclass
class Clinic:
    """A folder of recordings whose names begin with their patients, and the job over it."""

    folder: Path
    bundle: Path
    console: Console

    @property
    def out(self) -> Path:
        return self.folder.parent / "out"

    def put(self, name: str, seed: int) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(heart_bytes("murmur" if seed % 2 else "normal", seed))

    def classify(self, *inputs: Path, update: bool = False, retry: bool = False, **more: Any) -> ClassifySummary:
        content = {"model": str(self.bundle), "shards": {"recordings": 2}, "limits": LIMITS, **more}
        settings = JobSettings.model_validate({"patient_from": PATTERN, **content})
        places = [str(one) for one in inputs or (self.folder,)]
        retried = [] if retry else None
        return classify(places, str(self.out), settings, self.console, update=update, retry_failed=retried)

    def patients(self) -> dict[str, dict[str, Any]]:
        return {row["patient_id"]: row for row in pq.read_table(self.out / "patients.parquet").to_pylist()}

    def text(self) -> str:
        assert isinstance(self.console.file, io.StringIO)
        return self.console.file.getvalue()


@pytest.fixture
def clinic(tmp_path: Path, bundle: Path, console: Console, in_process: None) -> Clinic:
    """Write two patients with several recordings, and one with a file that is no audio."""
    clinic = Clinic(tmp_path / "in", bundle, console)
    names = (f"{CANARY}1_AV.wav", f"{CANARY}1_MV.wav", f"{CANARY}2_AV.wav", f"{CANARY}2/{CANARY}2_.wav")
    for seed, name in enumerate(names):
        clinic.put(name, seed)
    (clinic.folder / f"{CANARY}3_AV.wav").write_bytes(b"nothing")
    return clinic


def by_loop(out: Path, bundle: Path) -> dict[str, dict[str, Any]]:
    """Return what the table must say, from the newest rows of the other tables."""
    manifest = read_manifest(str(bundle))
    classified, failed = defaultdict(list), defaultdict(list)
    for row in Results(out).predictions().to_pylist():
        classified[row["patient_id"]].append(row)
    for row in Results(out).failures().to_pylist():
        failed[row["patient_id"]].append(row)
    found = {}
    for patient in {*classified, *failed} - {None}:
        rows = classified[patient]
        sure = [row for row in rows if not row["unsure"]] or rows
        columns = [f"prob_{label}" for label in manifest.labels]
        pooled = [float(np.mean([row[name] for row in sure])) if rows else None for name in columns]
        worst = [max(row[name] for row in rows) if rows else None for name in columns]
        ratios = [p / t for p, t in zip(pooled, manifest.decision.thresholds, strict=True)] if rows else []
        found[patient] = {
            "n_recordings": len(rows) + len(failed[patient]),
            "n_failed": len(failed[patient]),
            "n_unsure": sum(row["unsure"] for row in rows),
            "sites": sorted({row["site"] for row in rows + failed[patient]} - {None}),
            "predicted_label": manifest.labels[int(np.argmax(ratios))] if rows else None,
            **dict(zip(columns, pooled, strict=True)),
            **dict(zip((f"worst_{name}" for name in columns), worst, strict=True)),
        }
    return found


def check(clinic: Clinic) -> None:
    stored, wanted = clinic.patients(), by_loop(clinic.out, clinic.bundle)
    assert stored.keys() == wanted.keys()
    for patient, row in wanted.items():
        for name, value in row.items():
            close = pytest.approx(value, abs=1e-6) if isinstance(value, float) else value
            assert stored[patient][name] == close, (patient, name)


def test_the_table_is_right_after_every_kind_of_run(clinic: Clinic) -> None:
    clinic.classify()
    check(clinic)
    first = clinic.patients()
    assert {patient: row["sites"] for patient, row in first.items()} == {
        f"{CANARY}1": ["AV", "MV"],
        f"{CANARY}2": ["AV"],
        f"{CANARY}3": ["AV"],
    }
    lost = first[f"{CANARY}3"]
    assert (lost["predicted_label"], lost["unsure"], lost["unsure_reason"]) == (None, True, "no_recording")

    clinic.put(f"{CANARY}1_AV.wav", 11)
    clinic.put(f"{CANARY}4_MV.wav", 4)
    clinic.classify(update=True)
    check(clinic)
    assert clinic.patients().keys() == {*first, f"{CANARY}4"}
    assert clinic.patients()[f"{CANARY}1"] != first[f"{CANARY}1"]

    clinic.put(f"{CANARY}3_AV.wav", 5)
    clinic.classify(retry=True)
    check(clinic)
    before = clinic.patients()
    assert before[f"{CANARY}3"]["n_failed"] == 0

    compact(str(clinic.out), clinic.console)
    check(clinic)
    clinic.put(f"{CANARY}5_MV.wav", 6)
    clinic.classify(update=True)
    check(clinic)
    assert {patient: row for patient, row in clinic.patients().items() if patient in before} == before


@pytest.mark.parametrize("lost", ["patients.parquet", "_SUCCESS"])
def test_it_is_made_again_from_the_committed_rows(clinic: Clinic, lost: str) -> None:
    clinic.classify()
    table = clinic.out / "patients.parquet"
    before = table.read_bytes()
    (clinic.out / lost).unlink()
    if lost == "_SUCCESS":
        table.write_bytes(b"")
    clinic.classify()
    assert table.read_bytes() == before


def test_it_says_where_it_comes_from(clinic: Clinic) -> None:
    clinic.classify()
    run = json.loads((clinic.out / "_run.json").read_text())
    found = pq.read_schema(clinic.out / "patients.parquet").metadata
    assert found[b"heartbeat.run_id"].decode() == run["run_id"]
    assert json.loads(found[b"heartbeat.configuration"]) == run["origin"]["configuration"]
    assert json.loads(found[b"heartbeat.inputs"])[0]["recordings"] > 0
    assert b"heartbeat.patient_rule" in found


def test_patients_of_a_manifest(clinic: Clinic, tmp_path: Path) -> None:
    rows = [[f"in/{CANARY}1_AV.wav", "7", "AV"], [f"in/{CANARY}1_MV.wav", "7", ""], [f"in/{CANARY}2_AV.wav", "", "MV"]]
    manifest = write_csv(tmp_path / "m.csv", ("path", "subject", "site"), rows)
    clinic.classify(manifest, patient_from=None, keep_columns=["site"])
    [patient] = clinic.patients().values()
    assert (patient["patient_id"], patient["n_recordings"], patient["sites"]) == ("7", 2, ["AV"])
    assert "1 patient, 1 recordings without one" in clinic.text()


def test_without_patients_there_is_no_table(clinic: Clinic) -> None:
    clinic.classify(patient_from=None)
    assert not (clinic.out / "patients.parquet").exists()


def hits(folder: Path, word: str) -> list[str]:
    """Return where a word is: in names, in bytes, and in the values and metadata of Parquet files."""
    found = []
    for path in folder.rglob("*"):
        place = str(path.relative_to(folder))
        found += [place] if word in place else []
        if path.is_file() and word.encode() in path.read_bytes():
            found.append(f"{place}: bytes")
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            found += [f"{place}: metadata"] if word in f"{table.schema.metadata}{table.schema}" else []
            found += [f"{place}: {name}" for name in table.column_names if word in str(table.column(name).to_pylist())]
    return found


def test_no_name_is_told_with_a_salt(clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLINIC_SALT", SECRET)
    Path(os.fsdecode(bytes(clinic.folder) + f"/{CANARY}\xff".encode("latin-1") + b".wav")).write_bytes(b"")
    (clinic.folder / f"{CANARY}6_AV.wav").symlink_to(f"{CANARY}-is-away.wav")
    (tmp_path / f"{CANARY}7_AV.wav").mkdir()
    cells = [
        [f"in/{CANARY}1_MV.wav?x=1", f"{CANARY}9", f"file:///{CANARY}", "AV"],
        [f"{CANARY}7_AV.wav", "", "", ""],
    ]
    header = ("path", "Patient", "link", "site")
    manifest = write_csv(tmp_path / f"{CANARY}.csv", header, cells)
    salted = {"salt_env": "CLINIC_SALT", "keep_columns": ["PATH", "patient", "link"]}
    options: dict[str, Any] = {**salted, "selection": {"exclude": [f"*{CANARY}2*"]}}
    inputs = (clinic.folder, manifest)
    clinic.classify(*inputs, **options)
    check(clinic)
    assert {row["error_type"] for row in read_rows(clinic.out, "failures")} == {
        *("not_audio", "not_found", "unreadable"),
    }
    clinic.put(f"{CANARY}1_AV.wav", 11)
    clinic.classify(*inputs, update=True, **options)
    clinic.put(f"{CANARY}3_AV.wav", 5)
    clinic.classify(*inputs, retry=True, **options)
    assert len(PlanFolder(str(clinic.out)).generations()) == 3
    check(clinic)
    compact(str(clinic.out), clinic.console)
    assert hits(clinic.out, CANARY) == []
    assert hits(clinic.out, SECRET) == []
    assert CANARY not in clinic.text()
    told = {row["encoded_uri"].partition(":")[0] for row in read_rows(clinic.out, "features")}
    assert told == {"salted"}
    # What the plan seals can be opened again.
    plans = PlanFolder(str(clinic.out))
    [first, *_] = [one for shard in plans.shards(plans.generations()[0]) for one in shard.recordings]
    assert CANARY in opened([first], "CLINIC_SALT", None, "")[0].opens


def test_another_model_on_results_with_pseudonyms(
    clinic: Clinic, tmp_path: Path, statistics_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_SALT", SECRET)
    clinic.classify(salt_env="CLINIC_SALT")
    clinic.put(f"{CANARY}3_AV.wav", 5)  # It had failed, and so is read again.
    settings = JobSettings(model=str(statistics_bundle))
    out = tmp_path / "again"
    with pytest.raises(UsageError, match="--salt-env"):
        reclassify(str(clinic.out), str(out), settings, clinic.console)
    monkeypatch.setenv("OTHER", SECRET + "!")
    with pytest.raises(UsageError, match="not made with the secret"):
        reclassify(str(clinic.out), str(out), settings.model_copy(update={"salt_env": "OTHER"}), clinic.console)
    settings = settings.model_copy(update={"salt_env": "CLINIC_SALT"})
    summary = reclassify(str(clinic.out), str(out), settings, clinic.console)
    assert (summary.n_stored, summary.classified.totals.failed) == (4, 0)
    again = Clinic(clinic.folder, statistics_bundle, clinic.console)
    monkeypatch.setattr(Clinic, "out", out)
    check(again)
    assert hits(out, CANARY) == []


def test_a_plan_tells_no_name_either(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLINIC_SALT", SECRET)
    options = ("--model", clinic.bundle, "--salt-env", "CLINIC_SALT")
    found = json.loads(done("plan", clinic.folder, *options, "--json").stdout)
    assert [kind["example"].partition(":")[0] for kind in found["failure_kinds"]] == ["salted"]
    for result in (done("plan", clinic.folder, *options), done("plan", clinic.folder, *options, "--json")):
        assert CANARY not in result.output


def test_a_review_tells_no_name_either(clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLINIC_SALT", SECRET)
    clinic.classify(salt_env="CLINIC_SALT")
    place = tmp_path / "review"
    with pytest.raises(UsageError, match="--salt-env"):
        review(str(clinic.out), str(place), 5, clinic.console, with_audio=True)
    monkeypatch.setenv("OTHER", SECRET + "!")
    with pytest.raises(UsageError, match="not made with the secret"):
        review(str(clinic.out), str(place), 5, clinic.console, with_audio=True, salt_env="OTHER")
    assert not place.exists()
    (clinic.folder / f"{CANARY}1_AV.wav").unlink()
    clinic.put(f"{CANARY}1_MV.wav", 11)
    done = review(str(clinic.out), str(place), 5, clinic.console, with_audio=True, salt_env="CLINIC_SALT")
    assert (done.n_recordings, len(done.left_out)) == (2, 2)
    assert {path.suffix for path in place.rglob("*")} >= {".html", ".json", ".xml", ".csv", ".txt", ".wav"}
    assert hits(place, CANARY) == hits(place, SECRET) == []
    assert CANARY not in str(done)
    assert CANARY not in clinic.text()


def test_the_columns_say_what_they_are(clinic: Clinic) -> None:
    clinic.classify()
    for one in describe(pq.read_schema(clinic.out / "patients.parquet")):
        assert "" not in (one.meaning, one.method), one.name
    stored = json.loads((clinic.out / "_schemas" / "patients.json").read_text())
    assert stored["primaryKey"] == ["patient_id"]
    assert [one["name"] for one in stored["fields"]] == pq.read_schema(clinic.out / "patients.parquet").names
    database = connect(str(clinic.out))
    assert database.sql("SELECT count(*) FROM patients").fetchall() == [(3,)]


def test_with_one_secret_two_runs_name_a_patient_alike(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, secret in (("a", SECRET), ("b", SECRET), ("c", SECRET + "!")):
        monkeypatch.setenv("CLINIC_SALT", secret)
        run = Clinic(clinic.folder, clinic.bundle, clinic.console)
        monkeypatch.setattr(Clinic, "out", clinic.folder.parent / name)
        run.classify(salt_env="CLINIC_SALT")
        found.append(set(run.patients()))
    assert found[0] == found[1]
    assert not found[0] & found[2]


def test_another_secret_is_another_job(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLINIC_SALT", SECRET)
    clinic.classify(salt_env="CLINIC_SALT")
    monkeypatch.setenv("OTHER_NAME", SECRET)
    clinic.classify(salt_env="OTHER_NAME")
    monkeypatch.setenv("CLINIC_SALT", SECRET + "!")
    with pytest.raises(OutputError, match=r"--salt-env \(a digest of its secret\)"):
        clinic.classify(salt_env="CLINIC_SALT")
    with pytest.raises(OutputError, match="--salt-env"):
        clinic.classify()
    planned = next(PlanFolder(str(clinic.out)).shards(PlanFolder(str(clinic.out)).generations()[0])).recordings
    with pytest.raises(JobError, match="another secret"):
        opened(planned, "CLINIC_SALT", None, "")


def test_an_address_with_a_secret_is_read_again_from_its_manifest(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_SALT", SECRET)
    with web_server(clinic.folder) as (address, _):
        rows = [[f"{address}/{CANARY}1_AV.wav?token=hush"], [f"{address}/{CANARY}8_AV.wav?token=hush"]]
        manifest = write_csv(tmp_path / "m.csv", ("path",), rows)
        summary = clinic.classify(manifest, salt_env="CLINIC_SALT")
    assert (summary.totals.done, summary.totals.failed) == (1, 1)
    assert hits(clinic.out, CANARY) == hits(clinic.out, "hush") == hits(clinic.out, address) == []


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"salt_env": "NOT_SET"}, ConfigError, "NOT_SET is not set"),
        ({"salt_env": "SHORT"}, ConfigError, "SHORT has fewer than 16 characters"),
        ({"patient_from": "("}, ConfigError, "not a regular expression"),
        ({"patient_from": "[0-9]+"}, ConfigError, "put the patient in a group"),
        ({"patient_from": "(clinic)"}, InputError, r"found in none of 5"),
        ({"patient_from": "(a)(?P<recording_id>b)"}, InputError, "recording_id"),
        ({"patient_column": "patient"}, UsageError, "not both"),
    ],
)
def test_what_cannot_be_used_is_refused(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], error: type[Exception], told: str
) -> None:
    monkeypatch.setenv("SHORT", "hush")
    with pytest.raises(error, match=told):
        clinic.classify(**options)
    assert not (clinic.out / "_run.json").exists()


def test_the_command(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLINIC_SALT", SECRET)
    told = ["classify", clinic.folder, "-o", clinic.out, "--model", clinic.bundle, "--patient-from", PATTERN]
    result = done(*told, "--salt-env", "CLINIC_SALT")
    assert "3 patients" in result.stderr
    assert CANARY not in result.output
    assert len(clinic.patients()) == 3
    assert "salt" in json.loads((clinic.out / "_run.json").read_text())["identity"]
    assert "--salt-env" in refused(*told)
