"""The command line: one line for what a person did wrong, and an exit code that a script can go by."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner, Result

from heartbeat_core.devices import has_gpu
from heartbeat_core.errors import ConfigError, InputError
from heartbeat_core.features.catalogue import FEATURE_SETS, shape_read
from heartbeat_core.labels import ORIGINAL_LABELS, parse_cell, settle_labels
from heartbeat_core.recipe import BaggingSettings, Recipe
from heartbeat_core.settings import DEFAULT_MODEL, parse_yaml
from heartbeat_core.storage import access
from jobs.cli.__main__ import app
from jobs.listing.label_maps import load_label_map
from jobs.settings import (
    THREADS_A_WORKER,
    ClusterSettings,
    JobSettings,
    load_cluster_settings,
    load_job_settings,
    load_recipe,
)
from tests.conftest import STATISTICS_RECIPE, TINY_RECIPE
from tests.helpers import (
    COUNTS,
    WARD_ROWS,
    broken_bytes,
    comparable,
    heart_bytes,
    read_rows,
    start_command,
    tree,
    wait_for,
    web_server,
    write_broken,
    write_csv,
)

COMMANDS = ("classify", "build-dataset", "train", "evaluate", "predict", "score", "export", "plan", "certs", "demo")
CONFIGS = Path(str(files("heartbeat_core.configs")))


def heartbeat(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def assert_refused(result: Result, exit_code: int, *told: str) -> None:
    """One line on stderr that names the thing, nothing on stdout, no traceback."""
    assert result.exit_code == exit_code, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("heartbeat: ")
    for text in told:
        assert text in lines[0]
    assert result.stdout == ""


@dataclass(frozen=True)
class Place:
    """What the bad commands are made of; ``out`` does not exist yet."""

    tmp: Path
    library: Path
    dataset: Path
    bundle: Path

    @property
    def out(self) -> Path:
        return self.tmp / "out"

    def write(self, name: str, text: str) -> Path:
        (self.tmp / name).write_text(text)
        return self.tmp / name

    def classify(self, *arguments: object, inputs: object = None, out: object = None) -> Result:
        return heartbeat("classify", inputs or self.library, "-o", out or self.out, "--model", self.bundle, *arguments)

    def evaluate(self, *arguments: object, dataset: object = None) -> Result:
        return heartbeat("evaluate", dataset or self.dataset, "-o", self.out, *arguments)

    def build(self, *arguments: object, recipe: object = "seed-mini") -> Result:
        return heartbeat("build-dataset", self.library, "-o", self.out, "--recipe", recipe, *arguments)


@pytest.fixture
def place(tmp_path: Path, library: Path, dataset: Path, bundle: Path, in_process: None) -> Place:
    return Place(tmp_path, library, dataset, bundle)


def test_an_empty_folder(place: Place) -> None:
    (place.tmp / "empty").mkdir()
    assert_refused(place.classify(inputs=place.tmp / "empty"), 2, f"no recordings in {place.tmp}/empty")
    assert not place.out.exists()


def test_a_missing_path(place: Place) -> None:
    assert_refused(place.classify(inputs=place.tmp / "gone"), 2, f"{place.tmp}/gone: no such file or folder")
    assert_refused(heartbeat("train", place.tmp / "gone", "-o", place.out), 2, "gone is not a finished dataset")
    judged = place.evaluate("--recipe", "statistics", dataset=place.tmp / "gone")
    assert_refused(judged, 2, "gone is not a finished dataset")
    assert_refused(place.evaluate("--recipe", place.tmp / "r.yaml"), 2, "r.yaml: no such file")
    assert_refused(place.build("--labels", place.tmp / "l.csv"), 2, "l.csv: no such label file")
    assert_refused(place.classify("--config", place.tmp / "c.yaml"), 2, "c.yaml: no such file")
    assert_refused(place.classify("--cluster", place.tmp / "c.yaml"), 2, "c.yaml: no such file")
    assert_refused(place.build(recipe=place.tmp / "r.yaml"), 2, "r.yaml: no such file")
    assert not place.out.exists()


@pytest.mark.parametrize("scheme", ["gopher", "s3x"])
def test_an_unknown_scheme(place: Place, scheme: str) -> None:
    assert_refused(place.classify(inputs=f"{scheme}://bucket/x"), 2, f"{scheme}://bucket/x", "fsspec knows")
    assert_refused(place.classify(out=f"{scheme}://bucket/x"), 2, f"{scheme}://bucket/x")


def test_a_folder_that_is_not_ours(place: Place) -> None:
    place.out.mkdir()
    (place.out / "thesis.tex").write_text("three years")
    for result in (place.classify(), place.build()):
        assert_refused(result, 2, f"{place.out} is not empty", "name another folder")
    assert_refused(heartbeat("train", place.dataset, "-o", place.out), 2, f"{place.out} is there already")
    assert_refused(heartbeat("demo", place.out), 2, "holds something else (thesis.tex)")
    assert tree(place.out) == {"thesis.tex": b"three years"}


def test_an_output_that_is_a_file_or_below_one(place: Place) -> None:
    file = place.write("file", "mine")
    assert_refused(place.classify(out=file), 2, f"{file} is a file: name a folder")
    assert_refused(place.classify(out=file / "below"), 2, f"{file}/below")
    assert_refused(heartbeat("train", place.dataset, "-o", file), 2, str(file))
    assert_refused(heartbeat("train", place.dataset, "-o", file / "below"), 2, f"{file}/below")
    assert_refused(heartbeat("demo", file), 2, str(file))
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    "command",
    [
        ("classify", "s3://b/in", "-o", "OUT"),
        ("classify", "LIBRARY", "-o", "s3://b/out"),
        ("classify", "LIBRARY", "-o", "OUT", "--model", "s3://b/model"),
        ("classify", "LIBRARY", "-o", "OUT", "--config", "s3://b/job.yaml"),
        ("build-dataset", "LIBRARY", "-o", "OUT", "--recipe", "seed-mini", "--labels", "s3://b/labels.csv"),
        ("build-dataset", "s3://b/in", "-o", "OUT", "--recipe", "seed-mini", "--database", "circor"),
        ("plan", "s3://b/in"),
        ("predict", "s3://b/a.wav"),
        ("train", "s3://b/dataset", "-o", "OUT"),
        ("evaluate", "s3://b/dataset", "-o", "OUT", "--recipe", "statistics"),
        ("status", "s3://b/out"),
        ("sql", "s3://b/out", "-c", "SELECT 1"),
    ],
    ids=" ".join,
)
def test_a_store_that_does_not_answer_is_no_wrong_usage(
    place: Place, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.drivers.reach.START_PATIENCE_S", 1.0)
    monkeypatch.setattr("jobs.drivers.plan.PATIENCE_S", 1.0)
    # A process keeps its store: another test may have reached one by the same settings, or will.
    monkeypatch.setattr(access, "_s3_store", lru_cache(maxsize=1)(access._s3_store.__wrapped__))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with socket.socket() as reserved:  # Bound, and nobody listens.
        reserved.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{reserved.getsockname()[1]}")
        filled = [{"OUT": place.out, "LIBRARY": place.library}.get(one, one) for one in command]
        assert_refused(heartbeat(*filled), 1, "s3://b/")
    assert not place.out.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_no_permission(place: Place) -> None:
    (place.tmp / "secret").mkdir(mode=0)
    (place.tmp / "sealed").mkdir(mode=0o500)
    try:
        assert_refused(place.classify(inputs=place.tmp / "secret"), 2, "secret: cannot be listed")
        result = place.classify(out=place.tmp / "sealed" / "out")
        assert result.exit_code == 2
        last = result.stderr.splitlines()[-1]
        assert f"{place.tmp}/sealed/out/" in last
        assert "cannot be written: Permission denied" in last
        assert_refused(place.classify(out=place.tmp / "secret"), 2, "secret")
        result = heartbeat("train", place.dataset, "-o", place.tmp / "sealed" / "model")
        assert_refused(result, 2, "cannot be written")
        assert_refused(heartbeat("train", place.dataset, "-o", place.tmp / "secret"), 2, "secret")
        assert_refused(heartbeat("demo", place.tmp / "secret"), 2, "secret")
        (place.tmp / "secret").chmod(0o300)
        assert_refused(place.classify(out=place.tmp / "secret"), 2, "secret: cannot be listed")
        (place.tmp / "secret").chmod(0)
        assert_refused(heartbeat("train", place.tmp / "secret", "-o", place.out), 2, "secret")
        assert_refused(heartbeat("predict", place.library, "--model", place.tmp / "secret"), 2, "secret")
        assert_refused(place.classify("--config", place.tmp / "secret" / "j.yaml"), 2, "secret/j.yaml")
    finally:
        (place.tmp / "secret").chmod(0o700)
        (place.tmp / "sealed").chmod(0o700)


def test_another_job_in_the_folder(place: Place) -> None:
    assert place.classify().exit_code == 0
    before = tree(place.out)
    result = place.classify(inputs=place.library / "normal")
    assert_refused(
        result,
        2,
        f"{place.out} holds another job (INPUT: {place.library} there, {place.library}/normal here)",
        "name another folder",
    )
    assert_refused(
        place.build(), 2, f"{place.out} holds another job ('heartbeat classify' there, 'heartbeat build-dataset' here)"
    )
    assert tree(place.out) == before


def test_an_unknown_recipe(place: Place) -> None:
    assert_refused(
        place.build(recipe="seed-tiny"), 2, "unknown recipe 'seed-tiny'", "seed-main, seed-mini,", "or give a"
    )
    assert_refused(heartbeat("train", place.dataset, "-o", place.out, "--recipe", "x"), 2, "unknown recipe 'x'")
    assert_refused(
        place.evaluate("--recipe", "statistics", "--recipe", "x"), 2, "unknown recipe 'x': shipped ones are "
    )
    assert not place.out.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{name: x, epochs: 3}", "unknown key 'epochs'; allowed here: alignment, "),
        ("{name: x, training: {epoch: 3}}", "unknown key 'training.epoch'; allowed here: batch_size, "),
        ("{name: x, training: {epochs: 0}}", "training.epochs: Input should be greater than 0"),
        ("{name: x, frames: {delta_time_s: .inf}}", "frames.delta_time_s: "),
        ("{name: x, frames: {method: mean}}", "frames.method: Input should be 'dominant', 'average' or 'median'"),
        ("{name: Über}", "name: expected up to 64 small letters, digits, '.', '_' and '-', such as 'seed-small-2'"),
        ("{version: 1}", "name: Field required"),
        ("{name: x, version: 2}", "version: Input should be 1"),
        ("[1, 2]", "expected a mapping of settings, found list"),
        ("name: [unclosed", "not valid YAML"),
        ("name: x\n\tframes: 3", "not valid YAML"),
    ],
)
def test_a_wrong_recipe_file(place: Place, content: str, told: str) -> None:
    path = place.write("recipe.yaml", content)
    assert_refused(place.build(recipe=path), 2, f"{path}: {told}")
    assert_refused(heartbeat("train", place.dataset, "-o", place.out, "--recipe", path), 2, f"{path}: {told}")
    assert not place.out.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "modell: x",
            "unknown key 'modell'; allowed here: cluster, device, features, keep_columns, limits, log_json, ",
        ),
        ("limits: {max_bytes: 1}", "unknown key 'limits.max_bytes'; allowed here: deadline_s, max_channels, "),
        ("cluster: {kind: local, threads: 2}", "unknown key 'cluster.threads'; allowed here: address, dashboard"),
        ("cluster: {kind: slurmy}", "cluster.kind: Input should be 'local', 'address' or 'scheduler-file'"),
        ("cluster: {kind: address}", "cluster: kind 'address' needs the key 'address'"),
        ("cluster: {kind: scheduler-file}", "cluster: kind 'scheduler-file' needs the key 'scheduler_file'"),
        ("cluster: {memory_limit: banana}", "cluster.memory_limit: expected 'auto', or a size such as '4GiB'"),
        ("s3: {endpoint_url: 's3.example.org'}", "s3.endpoint_url: expected an address such as 'https://s3.exam"),
        ("s3: {role_arn: reader}", "s3.role_arn: expected a role such as 'arn:aws:iam::123456789012:role/reader'"),
        ("cluster: {dashboard: 8787}", "cluster.dashboard: Input should be a valid string"),
        ("cluster: {dashboard: ':8787'}", "cluster: dashboard: ':8787' is not host:port"),
        ("cluster: {dashboard: 'localhost:99999'}", "cluster: dashboard: 'localhost:99999' is not host:port"),
        ("shards: {recordings: none}", "shards.recordings: Input should be a valid integer"),
        ("max_failure_rate: 1.5", "max_failure_rate: Input should be less than or equal to 1"),
        ("features: [pitch]", "features: unknown feature set 'pitch'"),
        ("task_retries: -1", "task_retries: "),
        ("model: 2024-99-99", "not valid YAML"),
        ("7: seven", "7: Keys should be strings"),
        ("just a sentence", "expected a mapping of settings, found str"),
        ("a: b: c", "not valid YAML"),
        ("\x07", "not valid YAML"),
    ],
)
def test_a_wrong_job_file(place: Place, content: str, told: str) -> None:
    path = place.write("job.yaml", content)
    for command in (place.classify, place.build):
        assert_refused(command("--config", path), 2, f"{path}: {told}")
    assert not place.out.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{kind: local, worker: 2}", "unknown key 'worker'; allowed here: address, dashboard, kind"),
        ("{kind: address}", "kind 'address' needs the key 'address'"),
        ("{kind: scheduler-file, address: 'tcp://h:1'}", "kind 'scheduler-file' needs the key 'scheduler_file'"),
        ("{workers: 0}", "workers: Input should be greater than 0"),
        ("- local", "expected a mapping of settings, found list"),
        ("{", "not valid YAML"),
    ],
)
def test_a_wrong_cluster_file(place: Place, content: str, told: str) -> None:
    path = place.write("cluster.yaml", content)
    result = place.classify("--cluster", path)
    assert_refused(result, 2, f"{path}: ", told)


def test_a_file_that_is_not_text(place: Place) -> None:
    (place.tmp / "job.yaml").write_bytes(b"\xff\xfe\x00")
    assert_refused(place.classify("--config", place.tmp / "job.yaml"), 2, "job.yaml: not a text file")
    assert_refused(place.classify("--config", place.tmp), 2, "Is a directory")


@pytest.mark.parametrize("text", ["", "remote", "localhost:8786", "cluster.toml"])
def test_a_cluster_that_is_none(place: Place, text: str) -> None:
    result = place.classify("--cluster", text)
    assert_refused(result, 2, f"--cluster {text}: expected 'local', an address such as tcp://host:8786")


def damage_bundle(source: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    shutil.copytree(source, target)
    content = json.loads((target / "bundle.json").read_text())
    change(content)
    (target / "bundle.json").write_text(json.dumps(content))
    return target


def change_figure(content: dict[str, Any]) -> None:
    content["holdout"]["model"]["accuracy"] = 0.99


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (change_figure, "does not match its digest"),
        (lambda content: content.update(digest="0" * 64), "does not match its digest 000000000000"),
        (lambda content: content.update(format_version=1), "bundle format 1 is not the one this program reads (2)"),
        (lambda content: content.update(format="pickle"), "does not describe a heartbeat bundle"),
        (lambda content: content.pop("recipe"), "recipe: Field required"),
        (lambda content: content.update(extra=1), "unknown key 'extra'"),
    ],
)
def test_a_bundle_that_cannot_be_trusted(place: Place, change: Callable[[dict[str, Any]], object], told: str) -> None:
    model = damage_bundle(place.bundle, place.tmp / "model", change)
    assert_refused(place.classify("--model", model), 2, str(model), told)
    assert_refused(heartbeat("predict", place.library, "--model", model), 2, str(model), told)
    assert not place.out.exists()


def test_a_bundle_with_damaged_weights(place: Place) -> None:
    shutil.copytree(place.bundle, place.tmp / "model")
    data = bytearray((place.tmp / "model/weights.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (place.tmp / "model/weights.safetensors").write_bytes(data)
    result = heartbeat("predict", place.library, "--model", place.tmp / "model")
    assert_refused(result, 2, "weights.safetensors does not match its digest: copy the bundle again")
    (place.tmp / "model/weights.safetensors").unlink()
    assert_refused(
        heartbeat("predict", place.library, "--model", place.tmp / "model"), 2, "weights.safetensors is missing"
    )


def test_a_missing_bundle(place: Place) -> None:
    for model in ("seed-smal", place.tmp / "none", place.library, place.library / "labels.csv"):
        assert_refused(place.classify("--model", model), 2, str(model))
        assert_refused(heartbeat("predict", place.library, "--model", model), 2, str(model))


def test_an_unknown_label(place: Place) -> None:
    labels = write_csv(place.tmp / "l.csv", ("path", "label"), [("normal/normal_00.wav", "not ill")])
    assert_refused(place.build("--labels", labels), 2, "row 1: 'not ill' cannot be a label", "--label-map")
    (place.tmp / "not ill").mkdir()
    (place.tmp / "not ill" / "a.wav").write_bytes(heart_bytes("normal", 1))
    result = heartbeat(
        "build-dataset", place.tmp / "not ill", "-o", place.out,
        *("--recipe", "seed-mini", "--label-from", "parent-folder"),
    )  # fmt: skip
    assert result.exit_code == 2
    assert "'not ill' cannot be a label" in result.stderr.splitlines()[-1]
    result = heartbeat("train", place.dataset, "-o", place.out, "--drop-label", "healthy")
    assert_refused(result, 2, "--drop-label: 'healthy' is not a label", ", ".join(ORIGINAL_LABELS))
    assert not place.out.exists()


def test_labels_from_two_places(place: Place) -> None:
    sources = (
        ("--labels", place.library / "labels.csv"),
        ("--database", "circor"),
        ("--label-from", "parent-folder"),
    )
    for one, other in combinations(sources, 2):
        assert_refused(place.build(*one, *other), 2, "give one of --labels, --database and --label-from")
    assert_refused(place.build(*(part for one in sources for part in one)), 2, "give one of --labels, ")
    assert not place.out.exists()


def test_a_dataset_with_one_class(place: Place) -> None:
    built = heartbeat(
        "build-dataset", place.library / "normal", "-o", place.tmp / "d",
        *("--recipe", "seed-mini", "--label-from", "parent-folder"),
    )  # fmt: skip
    assert built.exit_code == 0, built.output
    assert_refused(heartbeat("train", place.tmp / "d", "-o", place.out), 2, "at least two labels", "8 normal")
    assert not place.out.exists()


def test_a_dataset_that_is_not_finished(place: Place) -> None:
    shutil.copytree(place.dataset, place.tmp / "d")
    (place.tmp / "d" / "_SUCCESS").unlink()
    result = heartbeat("train", place.tmp / "d", "-o", place.out)
    assert_refused(result, 2, "d is not a finished dataset", "run that command again to go on")
    assert_refused(heartbeat("train", place.library, "-o", place.out), 2, "is not a finished dataset")
    judged = place.evaluate("--recipe", "statistics", dataset=place.tmp / "d")
    assert_refused(judged, 2, "d is not a finished dataset", "run that command again to go on")
    assert not place.out.exists()


def test_an_evaluation_that_cannot_be(place: Place) -> None:
    recipe, twin = place.write("tiny.yaml", TINY_RECIPE), place.write("twin.yaml", TINY_RECIPE)
    for told, arguments in {
        "two recipes are called 'tiny': give one of them another name": ("--recipe", recipe, "--recipe", twin),
        "--without: 'healthy' is not a label": ("--recipe", recipe, "--without", "healthy"),
        "no label has the 9 rows that 9 folds need; the most is 8": ("--recipe", recipe, "--folds", 9),
        "patients are too few to hold out one of 32 folds": ("--recipe", recipe, "--folds", 32),
        "at least two labels": (
            "--recipe",
            recipe,
            *(part for label in ORIGINAL_LABELS[1:] for part in ("--without", label)),
        ),
    }.items():
        assert_refused(place.evaluate(*arguments), 2, told)
        assert not place.out.exists()
    place.write("file", "mine")
    result = heartbeat("evaluate", place.dataset, "-o", place.tmp / "file", "--recipe", recipe)
    assert_refused(result, 2, "file is a file: name a folder")


def test_figures_that_are_not_of_this_model(place: Place, evaluation: Path) -> None:
    train = ("train", place.dataset, "-o", place.out, "--evaluation")
    assert_refused(heartbeat(*train, place.tmp / "gone"), 2, "gone: no evaluation there (figures.json is missing)")
    assert_refused(heartbeat(*train, evaluation), 2, f"{evaluation}: an evaluation of other recordings, labels")
    assert_refused(heartbeat(*train, evaluation, "--drop-label", "murmur"), 2, str(evaluation))
    recipe = place.write("other.yaml", TINY_RECIPE.replace("epochs: 4", "epochs: 5"))
    told = f"{evaluation}: recipe 'tiny', as it is now, was not judged there: judge it again"
    assert_refused(heartbeat(*train, evaluation, "--recipe", recipe), 2, told)
    assert not place.out.exists()


def test_a_recipe_that_makes_no_bundle(place: Place) -> None:
    recipe = place.write("r.yaml", "{name: voting, input: statistics, model: vote, frames: {delta_time_s: 0.1}}")
    result = heartbeat("train", place.dataset, "-o", place.out, "--recipe", recipe)
    assert_refused(result, 2, "recipe 'voting' (vote on statistics) cannot be packed into a bundle, only evaluated")
    assert not place.out.exists()


def test_the_help_lists_the_commands_in_the_order_of_their_use() -> None:
    told = re.findall(r"^[│ ]+([a-z-]+)  +[A-Z]", heartbeat("--help").stdout.partition("Commands")[2], re.MULTILINE)
    assert told == [
        *("demo", "predict", "plan", "classify", "status", "metrics", "report", "inspect", "review", "compact"),
        *("reclassify", "sql", "open", "describe", "diff"),
        *("build-dataset", "evaluate", "train", "score", "export", "certs"),
    ]
    assert set(told) == set(get_command(app).commands)


def test_the_help_names_every_feature_set_that_can_be_written() -> None:
    [option] = [one for one in get_command(app).commands["classify"].params if "--features" in one.opts]
    told = re.findall(r"[a-z-]+", option.help.partition(":")[2].partition(", and")[0])
    assert told == [one.name for one in FEATURE_SETS.all() if one.columns]


def test_a_feature_set_that_is_not_known(place: Place) -> None:
    told = "features: unknown feature set 'pitch': there are aligned, statistics"
    assert_refused(place.classify("--features", "aligned,pitch"), 2, told)


def test_sizes_and_times_that_cannot_be_read(place: Place) -> None:
    for option, text, told in (
        ("--min-size", "big", "selection.min_size: expected a size such as '4kB'"),
        ("--max-size", "4parsec", "selection.max_size: expected a size such as '4kB'"),
        ("--since", "yesterday", "selection.since: expected a time such as '2026-11-01'"),
        ("--before", "2026-13-01", "selection.before: expected a time such as '2026-11-01'"),
    ):
        assert_refused(place.classify(option, text), 2, told)
    assert not place.out.exists()


def test_the_status_of_a_file(place: Place) -> None:
    for command in ("status", "compact"):
        told = "labels.csv is a file: name the output folder of a job"
        assert_refused(heartbeat(command, place.library / "labels.csv"), 2, told)


def test_typers_own_refusals(place: Place) -> None:
    for arguments in (
        ("classify", place.library),
        ("classify", "-o", place.out),
        ("classify", place.library, "-o", place.out, "--workers", "0"),
        ("classify", place.library, "-o", place.out, "--max-failure-rate", "2"),
        ("build-dataset", place.library, "-o", place.out),
        ("build-dataset", place.library, "-o", place.out, "--recipe", "seed-mini", "--layout", "wide"),
        ("train", place.dataset),
        ("evaluate", place.dataset, "-o", place.out),
        ("evaluate", place.dataset, "--recipe", "statistics"),
        ("evaluate", place.dataset, "-o", place.out, "--recipe", "statistics", "--folds", "1"),
        ("evaluate", place.dataset, "-o", place.out, "--recipe", "statistics", "--seeds", "0"),
        ("predict",),
        ("classfy",),
    ):
        result = heartbeat(*arguments)
        assert result.exit_code == 2, arguments
        assert "Traceback" not in result.output
    assert not place.out.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_exit_codes(command: str) -> None:
    result = heartbeat(command, "--help")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "Exit codes: 0" in text
    for code in ("2 wrong usage", "130 interrupted"):
        assert code in text


@pytest.mark.parametrize("command", [*COMMANDS, "status", "inspect", "compact", "reclassify"])
def test_help_names_no_option_that_the_command_lacks(command: str) -> None:
    text = heartbeat(command, "--help").stdout
    found = next(one for name, one in get_command(app).commands.items() if name == command)
    options = {name for one in found.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    named = set(re.findall(r"--[a-z][a-z0-9-]*", text))
    assert named <= options


def test_certs_advises_workers_as_the_deploy_page_does(tmp_path: Path) -> None:
    told = " ".join(heartbeat("certs", tmp_path / "certs").stdout.replace("\\", " ").split())
    page = " ".join((Path(__file__).parents[3] / "deploy/README.md").read_text().replace("\\", " ").split())
    [worker] = re.findall(r"dask worker tls://HOST:8786 (.*?) DASK_CONFIG", told)
    assert f"dask worker tls://10.0.0.5:8786 {worker}" in page
    assert f"--nthreads {THREADS_A_WORKER} " in worker


def test_an_expression_can_be_copied_from_the_help() -> None:
    """The help is read as Markdown, which drops what looks like a tag."""
    text = re.sub(r"[│\s]", "", heartbeat("classify", "--help").stdout)
    assert r"asin(\d+)_(?P<site>\w+)." in text


def test_help_and_version_of_the_whole() -> None:
    result = heartbeat("--help")
    assert all(command in result.stdout for command in COMMANDS)
    assert "Exit codes" in result.stdout
    assert heartbeat("--version").stdout.startswith("heartbeat ")
    assert heartbeat().exit_code == 2


def test_help_does_not_wait_for_numeric_libraries() -> None:
    code = "import sys, jobs.cli.__main__; print([m for m in ('torch', 'numpy', 'distributed') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


# What works.


def test_classify_tells_counts_model_and_places(place: Place) -> None:
    (place.tmp / "in [new]").mkdir()
    expected = write_broken(place.tmp / "in [new]")
    out = place.tmp / "results [bold] :smile:"
    n_good = sum(COUNTS.values())
    config = place.write("job.yaml", "limits: {max_object_bytes: 200000, max_duration_s: 30}")
    result = heartbeat(
        "classify", place.library, place.tmp / "in [new]", "-o", out, "--model", place.bundle, "--config", config
    )
    assert result.exit_code == 0, result.output
    n_listed = n_good + len(expected)
    first, *_ = result.stdout.splitlines()
    assert first == f"{n_listed} recordings listed = {n_good} predictions + {len(expected)} failures"
    for name in ("predictions", "features", "failures"):
        assert f"  {out}/{name}\n" in result.stdout
    assert "model tiny@" in result.stdout
    again = heartbeat(
        "classify", place.library, place.tmp / "in [new]", "-o", out, "--model", place.bundle, "--config", config
    )
    assert again.exit_code == 0
    assert again.stdout == result.stdout


def test_more_failures_than_allowed(place: Place) -> None:
    (place.tmp / "in").mkdir()
    for number in range(3):
        (place.tmp / "in" / f"good_{number}.wav").write_bytes(heart_bytes("normal", number))
    (place.tmp / "in" / "broken.wav").write_text("text")
    allowed = place.classify("--max-failure-rate", "0.25", inputs=place.tmp / "in")
    assert allowed.exit_code == 0, allowed.output
    # All is there, and the share that is allowed is no part of what the job is.
    refused = place.classify("--max-failure-rate", "0.2", inputs=place.tmp / "in")
    assert refused.exit_code == 3
    assert refused.stderr.splitlines()[-1] == (
        "heartbeat: 1 of 4 recordings failed, more than --max-failure-rate 0.2 allows"
    )
    assert "4 recordings listed = 3 predictions + 1 failure" in refused.stdout
    assert (place.out / "_SUCCESS").exists()
    build = heartbeat(
        "build-dataset", place.tmp / "in", "-o", place.tmp / "d", "--recipe", "seed-mini", "--max-failure-rate", "0"
    )
    assert build.exit_code == 3


def test_failures_are_counted_by_their_type(place: Place) -> None:
    (place.tmp / "in").mkdir()
    for name, data in {
        "good": heart_bytes("normal", 1),
        "text": b"text",
        "other": b"text again",
        "empty": b"",
    }.items():
        (place.tmp / "in" / f"{name}.wav").write_bytes(data)
    told = ["       2 failed: not_audio", "       1 failed: empty"]
    for _ in range(2):
        result = place.classify(inputs=place.tmp / "in")
        assert result.exit_code == 0, result.output
        assert [line[2:] for line in result.stdout.splitlines() if "failed:" in line] == told
    [advised] = [line for line in result.stdout.splitlines() if line.startswith("each one, and why: heartbeat ")]
    shown = heartbeat(*shlex.split(advised)[5:])
    assert all(f"{name}.wav" in shown.output for name in ("text", "other", "empty")), shown.output
    built = heartbeat("build-dataset", place.tmp / "in", "-o", place.tmp / "d", "--recipe", "seed-mini")
    assert built.exit_code == 0, built.output
    assert [line[2:] for line in built.stdout.splitlines() if "failed:" in line] == told
    # An update that mends one of them: the newest row of each counts.
    (place.tmp / "in" / "text.wav").write_bytes(heart_bytes("normal", 2))
    result = place.classify("--update", inputs=place.tmp / "in")
    assert result.exit_code == 0, result.output
    assert "4 recordings listed = 2 predictions + 2 failures" in result.stdout
    failed = [line[2:] for line in result.stdout.splitlines() if "failed:" in line]
    assert sorted(failed) == ["       1 failed: empty", "       1 failed: not_audio"]


@pytest.mark.parametrize(
    ("arguments", "retried"),
    [
        (("IN", "--retry-failed"), 2),
        (("IN", "--retry-failed", "--workers", 1), 2),
        (("--retry-failed", "IN"), 2),
        (("IN", "--retry-failed="), 2),
        (("IN", "--retry-failed", "empty"), 1),
        (("IN", "--retry-failed=empty, not_audio"), 2),
        (("--retry-failed", "empty,not_audio", "IN"), 2),
        (("IN", "--retry-failed", "timeout"), 0),
    ],
)
def test_an_option_with_or_without_error_types(place: Place, arguments: tuple[object, ...], retried: int) -> None:
    folder = place.tmp / "in"
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"no sound")
    (folder / "b.wav").write_bytes(b"")
    (folder / "c.wav").write_bytes(heart_bytes("normal", 1))
    command = ("classify", "-o", place.out, "--model", place.bundle)
    assert heartbeat(*command, folder).exit_code == 0
    result = heartbeat(*command, *(folder if one == "IN" else one for one in arguments))
    assert result.exit_code == 0, result.output
    assert "3 recordings listed = 1 prediction + 2 failures" in result.stdout
    assert Counter(row["generation"] for row in read_rows(place.out, "failures")) == Counter({0: 2, 1: retried})


def test_an_input_behind_the_option_is_no_error_type(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.tmp)
    for name in ("hearts", "empty"):
        Path(name).mkdir()
        Path(name, "a.wav").write_bytes(b"" if name == "empty" else b"no sound")
    command = ("classify", "-o", "out", "--model", place.bundle)
    assert heartbeat(*command, "hearts").exit_code == 3
    again = heartbeat(*command, "--retry-failed", "hearts")
    assert again.exit_code == 3, again.output
    assert Counter(row["generation"] for row in read_rows(Path("out"), "failures")) == Counter({0: 1, 1: 1})
    # The name of an error type is one, even where a folder has the same name.
    assert "Missing argument" in heartbeat(*command, "--retry-failed", "empty").output


def test_error_types_that_do_not_exist(place: Place) -> None:
    for name in ("timeot", "read-timeout", "too_short,timeot"):
        refused = place.classify("--retry-failed", name)
        told = f"--retry-failed {name.rpartition(',')[2]}: no such error type; there are changed_since_listed, empty, "
        assert_refused(refused, 2, told)
    assert_refused(place.classify("--update", "--retry-failed"), 2, "give --update or --retry-failed, not both")
    assert not place.out.exists()


def test_nothing_but_failures(place: Place) -> None:
    (place.tmp / "in").mkdir()
    (place.tmp / "in" / "text.wav").write_text("text")
    (place.tmp / "in" / "nan.wav").write_bytes(broken_bytes()["nan.wav"][0])
    (place.tmp / "in" / "short.wav").write_bytes(heart_bytes("normal", 1, duration_s=0.01))
    result = place.classify(inputs=place.tmp / "in")
    assert result.exit_code == 3
    assert "3 recordings listed = 0 predictions + 3 failures" in result.stdout
    assert "1 failed: not_audio" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("heartbeat: 3 recordings failed, and none succeeded")
    assert (place.out / "_SUCCESS").exists()
    built = heartbeat("build-dataset", place.tmp / "in", "-o", place.tmp / "d", "--recipe", "seed-mini")
    assert built.exit_code == 3
    told = built.stderr.splitlines()[-1]
    assert "none of the recordings can be decoded, so there is no reference to align with (1 " in told
    for reason in ("1 not_audio", "1 too_short", "1 not decodable"):
        assert reason in told
    # Nothing was written, so that the folder is free for other recordings.
    assert not [path for path in (place.tmp / "d").rglob("*") if path.is_file()]


def test_build_train_classify_predict(place: Place) -> None:
    """The three users' path, by the command line alone."""
    recipe = place.write("tiny.yaml", TINY_RECIPE)
    labels = write_csv(
        place.tmp / "l.csv",
        ("file", "finding", "child", "worn"),
        [(path.name, path.parent.name, path.stem, "belt") for path in sorted(place.library.rglob("*.wav"))[1:]]
        + [("gone.wav", "normal", "", "")],
    )
    built = place.build(
        *("--labels", labels, "--label-column", "finding", "--label-path-column", "file"),
        *("--patient-column", "child", "--device-column", "worn", "--layout", "padded"),
        recipe=recipe,
    )
    assert built.exit_code == 0, built.output
    n_rows = sum(COUNTS.values())
    assert f"{n_rows} recordings listed = {n_rows} rows + 0 failures" in built.stdout
    assert "1 label without a recording" in built.stdout
    assert "1 recording without a label" in built.stdout
    assert "8 normal" in built.stdout
    assert f"  {place.out}/_unmatched_labels.csv" in built.stdout
    assert {row["device"] for row in read_rows(place.out, "recordings")} == {"belt", None}
    trained = heartbeat(
        "train", place.out, "-o", place.tmp / "model", "--drop-label", "artifact", "--drop-label", "MURMUR"
    )
    assert trained.exit_code == 0, trained.output
    for text in ("accuracy", "balanced accuracy", "macro-F1", "always 'normal'", "digest", "MODEL_CARD.md"):
        assert text in trained.stdout
    table = heartbeat("predict", place.library / "normal/normal_00.wav", "--model", place.tmp / "model")
    assert table.exit_code == 0
    assert "normal_00.wav" in table.stdout


def test_evaluate_train_classify(place: Place, ward: Path, ward_dataset: Path, evaluation: Path) -> None:
    """The researcher's path: judge recipes, train the best on everything, serve it."""
    statistics, tiny = place.write("s.yaml", STATISTICS_RECIPE), place.write("t.yaml", TINY_RECIPE)
    command = ("--recipe", statistics, "--recipe", tiny, "--without", "ARTIFACT", "--folds", 3, "--seeds", 2)
    judged = place.evaluate(*command, dataset=ward_dataset)
    assert judged.exit_code == 0, judged.output
    for text in ("5 classes", "4 classes", "majority", "device", "StratifiedGroupKFold(3, shuffle) by patient"):
        assert text in judged.stdout
    assert "tiny, 4 classes: no better than the majority rule" in judged.stdout
    for name in ("predictions", "figures.json", "LEADERBOARD.md"):
        assert f"  {place.out}/{name}\n" in judged.stdout
        assert (place.out / name).exists()
    assert "folds: 24/24 folds" in judged.stderr
    for name in tree(evaluation / "predictions"):  # The metadata name the run, and the command that began it.
        here, there = (pq.read_table(out / "predictions" / name) for out in (place.out, evaluation))
        assert here.equals(there)
    again = place.evaluate(*command, dataset=ward_dataset)
    assert (again.exit_code, again.stdout) == (0, judged.stdout)
    assert "folds: " not in again.stderr
    model = place.tmp / "model"
    trained = heartbeat("train", ward_dataset, "-o", model, "--recipe", statistics, "--evaluation", place.out)
    assert trained.exit_code == 0, trained.output
    assert f"trained on {WARD_ROWS} rows, none held out; by cross-validation:" in trained.stdout
    assert "holdout.parquet" not in trained.stdout
    assert f"  {model}/MODEL_CARD.md\n" in trained.stdout
    served = heartbeat("predict", ward / "03.wav", "--json", "--model", model)
    assert served.exit_code == 0, served.output
    row = json.loads(served.stdout)
    assert row["model_id"].startswith("tiny-statistics@")
    assert row["unsure"] == (row["unsure_reason"] is not None)


def test_predict_json(place: Place) -> None:
    broken = place.write("broken [x].wav", "text")
    good = place.library / "murmur/murmur_00.wav"
    result = heartbeat("predict", good, broken, "--json", "--model", place.bundle)
    assert result.exit_code == 1
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["predicted_label"] in ORIGINAL_LABELS
    assert first["probabilities"].keys() == set(ORIGINAL_LABELS)
    assert second["error_type"] == "not_audio"
    assert second["uri"] == f"file://{broken}"
    assert heartbeat("predict", good, "--json", "--model", place.bundle).exit_code == 0
    result = heartbeat("predict", good, place.tmp / "gone.wav", "--json", "--model", place.bundle)
    assert result.exit_code == 1
    assert [row.get("error_type") for row in map(json.loads, result.stdout.splitlines())] == [None, "not_found"]
    table = heartbeat("predict", good, broken, "--model", place.bundle)
    assert table.exit_code == 1
    assert "not_audio" in table.stdout
    assert "broken [x].wav" in table.stdout
    assert "Traceback" not in table.output


def test_the_default_model(place: Place) -> None:
    result = heartbeat("classify", place.library / "normal", "-o", place.out)
    assert result.exit_code == 0, result.output
    assert f"model {DEFAULT_MODEL}@" in result.stdout


# Settings.


def test_every_config_is_valid() -> None:
    recipes = sorted((CONFIGS / "recipes").glob("*.yaml"))
    originals = {"frequency-baseline", "perpetual", "seed-padded", "seed-mini", "seed-small", "seed-main"}
    proposals = {"mfcc", "spectral-contrast", "cnn", "rnn", "seed-small-pruned", "seed-small-int8"}
    assert {path.stem for path in recipes} > originals | proposals | {"statistics", "vote"}
    for path in recipes:
        recipe = parse_yaml(Recipe, path.read_text(), path.name)
        assert recipe.name == path.stem
        assert recipe == load_recipe(path.stem) == load_recipe(str(path))
    levels = {"seed-main": 0.001, "seed-mini": 0.1, "seed-small": 0.01}
    assert {name: load_recipe(name).frames.delta_time_s for name in levels} == levels
    clusters = sorted((CONFIGS / "clusters").glob("*.yaml"))
    kinds = {load_cluster_settings(str(path), None).kind for path in clusters}
    assert kinds == {"local", "address", "scheduler-file"}
    maps = sorted((CONFIGS / "label_maps").glob("*.yaml"))
    assert [path.stem for path in maps] == ["cinc2016", "circor-murmur", "circor-outcome", "pascal"]
    for path in maps:
        content = yaml.safe_load(path.read_text())
        found = load_label_map(path.stem)
        assert found.words == {word: cell or "" for word, cell in content["labels"].items()}
        assert found.column == content.get("column")
        # Each is a map onto the original's five.
        parsed = {name for cell in found.words.values() for name in parse_cell(cell, path.name)}
        assert settle_labels(parsed) == ORIGINAL_LABELS
    every = {*recipes, *clusters, *maps, CONFIGS / "job.example.yaml"}
    assert every == set(CONFIGS.rglob("*.yaml")), "a file that no test reads"


def test_the_annotated_example_states_the_defaults_of_everything() -> None:
    path = CONFIGS / "job.example.yaml"
    assert load_job_settings(str(path), {}) == JobSettings()
    defaults = JobSettings().model_dump(mode="json")

    def keys(content: dict[str, Any]) -> dict[str, Any]:
        return {key: keys(value) if isinstance(value, dict) else None for key, value in content.items()}

    assert keys(yaml.safe_load(path.read_text())) == keys(defaults)


def test_the_shipped_recipes_state_all_that_they_use() -> None:
    """What a person may want to change is there to be changed; what is left out is off, or has no part in it."""
    by_steps = {"batch_size", "epochs", "learning_rate"}
    by_plateau = by_steps | {"plateau_patience", "plateau_factor"}
    for path in (CONFIGS / "recipes").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        recipe = Recipe.model_validate(content)
        used = {"training": {"holdout_folds", "seed"}}
        if shape_read(recipe.input) == "frames":
            used |= {"frames": {"delta_time_s", "method"}, "alignment": {"pad_mode"}}
        if recipe.model in ("fcnn", "cnn", "rnn"):
            used["training"] |= by_plateau
        if recipe.model in ("fcnn", "bagged-fcnn"):
            used["network"] = {"hidden", "dropout"}
        if recipe.model == "bagged-fcnn":
            used["training"] |= by_steps | {"weight_decay"}
            # What was added later is off unless it is written.
            used["bagging"] = set(BaggingSettings.model_fields) - {
                *("input_share", "whole_part", "shared_part", "clip", "specialists", "float16", "moved")
            }
        assert content.keys() >= {"name", "version", "description", *used}, path.name
        for section, keys in used.items():
            assert content[section].keys() >= keys, (path.name, section)


def test_options_override_the_file(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("{model: a, max_failure_rate: 0.5, path_column: x}")
    settings = load_job_settings(str(tmp_path / "job.yaml"), {"model": "b", "path_column": None})
    assert (settings.model, settings.max_failure_rate, settings.path_column) == ("b", 0.5, "x")
    assert load_job_settings(None, {"model": None}) == JobSettings()
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_job_settings(str(tmp_path / "empty.yaml"), {}) == JobSettings()


def test_options_override_the_file_on_the_command_line(place: Place) -> None:
    (place.tmp / "in").mkdir()
    (place.tmp / "in" / "broken.wav").write_text("text")
    (place.tmp / "in" / "good.wav").write_bytes(heart_bytes("normal", 1))
    config = place.write("job.yaml", "{model: not-there, max_failure_rate: 0.1}")
    result = place.classify("--config", config, "--max-failure-rate", "1.0", inputs=place.tmp / "in")
    assert result.exit_code == 0, result.output
    assert place.classify("--config", config, inputs=place.tmp / "in").exit_code == 3


def test_cluster_settings(tmp_path: Path) -> None:
    assert load_cluster_settings("local", 3) == ClusterSettings(workers=3)
    assert load_cluster_settings("tls://h:1", None) == ClusterSettings(kind="address", address="tls://h:1")
    by_file = load_cluster_settings("s.json", 2)
    assert by_file == ClusterSettings(kind="scheduler-file", scheduler_file="s.json", workers=2)
    (tmp_path / "c.yml").write_text("{workers: 4, memory_limit: 2GiB}")
    assert load_cluster_settings(str(tmp_path / "c.yml"), None).workers == 4
    assert load_cluster_settings(str(tmp_path / "c.yml"), 1) == ClusterSettings(workers=1, memory_limit="2GiB")
    with pytest.raises(InputError):
        load_cluster_settings(str(tmp_path / "none.yaml"), None)
    with pytest.raises(ConfigError):
        load_cluster_settings("tcp:8786", None)


@pytest.mark.parametrize("limit", ["auto", "4GiB", "4 GB", "500MB", "1.5GiB", "4000000000", "0"])
def test_memory_limits_as_dask_writes_them(limit: str) -> None:
    assert ClusterSettings(memory_limit=limit).memory_limit == limit


# The real process, on a cluster of its own.


def test_ctrl_c_in_mid_run_and_the_same_command_again(tmp_path: Path, library: Path, bundle: Path) -> None:
    names = [str(path.relative_to(library)) for path in sorted(library.rglob("*.wav"))]
    with web_server(library, lambda path: path.endswith("murmur_00.wav")) as (address, gate):
        write_csv(tmp_path / "list.csv", ("path",), [(f"{address}/{name}",) for name in names])
        (tmp_path / "job.yaml").write_text("{shards: {recordings: 4}, cluster: {workers: 1}}")
        command = ("classify", "list.csv", "-o", "out", "--model", bundle, "--config", "job.yaml")
        process = start_command(*command, cwd=tmp_path)
        commits = tmp_path / "out" / "_commits"
        # One recording is being waited for, so that the run cannot end before it is interrupted.
        wait_for(lambda: gate.asked.is_set() and any(commits.glob("*.json")), process)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=90)
        assert process.returncode == 130, error
        assert "Traceback" not in error
        assert error.splitlines()[-1] == "heartbeat: interrupted; the same command goes on where it stopped"
        left = {name: data for name, data in tree(tmp_path / "out").items() if not name.endswith(".tmp")}
        assert "_SUCCESS" not in left
        gate.opened.set()
        again = start_command(*command, cwd=tmp_path)
        out, error = again.communicate(timeout=120)
    assert again.returncode == 0, error
    assert "Traceback" not in error
    assert "going on: " in error
    assert f"{len(names)} recordings listed = {len(names)} predictions + 0 failures" in out
    assert left.items() <= tree(tmp_path / "out").items()
    uris = [f"{address}/{name}" for name in names]
    for table in ("predictions", "features"):
        assert [row["uri"] for row in read_rows(tmp_path / "out", table)] == uris
    assert comparable(tmp_path / "out", "failures") == {}


def test_no_scheduler_file(tmp_path: Path, library: Path, bundle: Path) -> None:
    (tmp_path / "c.yaml").write_text("{kind: scheduler-file, scheduler_file: none.json, wait_s: 0.5}")
    command = ("classify", library, "-o", "out", "--model", bundle, "--cluster", "c.yaml")
    process = start_command(*command, cwd=tmp_path)
    try:
        _, error = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    assert process.returncode == 1
    assert "none.json" in error.splitlines()[-1]
    assert "Traceback" not in error


def test_no_scheduler_at_the_address(
    tmp_path: Path, library: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cluster.yaml").write_text("{kind: address, address: 'tcp://127.0.0.1:9', wait_s: 0.5}")
    command = ("classify", library, "-o", tmp_path / "out", "--model", bundle)
    result = heartbeat(*command, "--cluster", tmp_path / "cluster.yaml")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert "heartbeat: no Dask scheduler answers at tcp://127.0.0.1:9" in result.stderr.splitlines()[-1]
    assert "waiting" not in result.stderr
    monkeypatch.setattr("jobs.cluster.connect._PATIENCE_S", 0.1)
    result = heartbeat(*command, "--cluster", tmp_path / "cluster.yaml")
    assert "waiting for the Dask scheduler at tcp://127.0.0.1:9, 0.5 s at most" in result.stderr.splitlines()
    assert "dask scheduler" in result.stderr
    # Nothing was done, so that the folder is free for another job.
    assert tree(tmp_path / "out") == {}


def test_a_gpu_that_no_worker_has(tmp_path: Path, library: Path, bundle: Path) -> None:
    if has_gpu():
        pytest.skip("this machine has one")
    result = heartbeat(
        "classify", library, "-o", tmp_path / "out", "--model", bundle, "--device", "cuda", "--workers", 1
    )
    assert result.exit_code == 2, result.output
    assert "device: 'cuda' is not available" in result.stderr.splitlines()[-1]
    assert tree(tmp_path / "out") == {}
