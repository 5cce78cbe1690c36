"""What another package adds: a feature set, a model kind and a database. No file of ours is edited."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import duckdb
import numpy as np
import pytest
import soundfile

from heartbeat_core.audio.decode import decode
from heartbeat_core.datasets.dataset import Dataset
from tests.helpers import environment, heart_bytes, write_ward

MODULE = '''
"""The energy of a recording in two halves, a model that answers with the nearest label's mean, and a ward's book."""

import numpy as np

from heartbeat_core.databases.database import DatabaseTable, Segment
from heartbeat_core.databases.folder import Folder
from heartbeat_core.features.feature_set import Column, FeatureSet
from heartbeat_core.learning.kinds import ModelKind
from heartbeat_core.learning.model import Implementation, Outputs
from heartbeat_core.features.extract import join_vectors


def energies(samples, sample_rate_hz):
    halves = np.array_split(samples.astype(np.float64), 2)
    return np.array([np.log(np.square(half).mean() + 1e-12) for half in halves], np.float32)


HALVES = FeatureSet(
    name="halves",
    version="halves-v1",
    shape="vector",
    columns=(
        Column("first_half_log_energy", "natural logarithm of the mean square of the first half"),
        Column("second_half_log_energy", "natural logarithm of the mean square of the second half"),
    ),
    needs=("samples", "sample_rate_hz"),
    function=energies,
    introduction="Energies of halves.",
)


class NearestMean:
    def __init__(self, means, recipe_input):
        self.means = means
        self.recipe_input = recipe_input
        self.n_bytes = means.nbytes

    def logits(self, inputs):
        return self._logits([one[0] for one in inputs])

    def distances(self, inputs):
        return None

    def serve(self, results):
        return Outputs(self._logits([join_vectors(one.features, self.recipe_input) for one in results]))

    def tensors(self):
        return {"means": self.means}

    def form(self):
        return None

    def _logits(self, rows):
        rows = np.stack(rows) if rows else np.zeros((0, self.means.shape[1]))
        return -np.square(rows[:, np.newaxis] - self.means).sum(axis=2)


class NearestMeans(Implementation):
    def fit(self, recipe, inputs, targets, seed, reference=None, on_step=lambda: None):
        rows = np.stack([one[0] for one in inputs]).astype(np.float64)
        means = np.zeros((len(targets.labels), rows.shape[1]))
        for code in targets.present:
            means[code] = rows[targets.codes == code].mean(axis=0)
        on_step()
        return NearestMean(means, recipe.input)

    def check_servable(self, recipe):
        pass

    def restore(self, recipe, tensors, reference, device="cpu"):
        return NearestMean(tensors["means"], recipe.input)

    def describe(self, recipe):
        return "The nearest mean of a label's rows"


NEAREST_MEAN = ModelKind("nearest-mean", {"vector": NearestMeans})


class Book:
    name = "ward-book"
    description = "The ward's book: a line a recording"
    label_columns = ("finding",)

    def read(self, folder):
        files = Folder(folder)
        rows, segments = [], []
        for line in files.read_text("book.txt", "the ward").splitlines():
            path, finding, bed = line.split()
            files.check_recording(path, "book.txt")
            rows.append(
                {"path": path, "finding": finding, "patient_id": f"bed_{bed}", "device": "horn", "database": "ward"}
            )
            segments.append(Segment(path, 0.0, 0.25, 1))
        return DatabaseTable.of_rows(rows, segments, ["the book is kept by hand"])


BOOK = Book()
'''

ENTRY_POINTS = """
[heartbeat.feature_sets]
halves = halves_and_means:HALVES
[heartbeat.model_kinds]
nearest-mean = halves_and_means:NEAREST_MEAN
[heartbeat.databases]
ward-book = halves_and_means:BOOK
"""

RECIPE = """
name: toy
description: A recipe of another package
input: halves+statistics
model: nearest-mean
frames: {delta_time_s: 0.1}
training: {holdout_folds: 4}
decision: {calibrated: true, inner_folds: 2}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which the other package is installed, as far as Python can tell."""
    site = tmp_path_factory.mktemp("site")
    (site / "halves_and_means.py").write_text(textwrap.dedent(MODULE))
    facts = site / "halves_and_means-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: halves-and-means\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(ENTRY_POINTS)
    ours = environment()
    return {**ours, "PYTHONPATH": os.pathsep.join([ours["PYTHONPATH"], str(site)])}


def heartbeat(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)


def done(environment: dict[str, str], *arguments: object) -> str:
    finished = heartbeat(environment, *arguments)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_it_is_built_judged_trained_served_and_read_back(installed: dict[str, str], tmp_path: Path) -> None:
    ward = write_ward(tmp_path / "ward")
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(RECIPE)
    labels = ward / "labels.csv"
    done(installed, "build-dataset", ward, "-o", tmp_path / "dataset", "--recipe", recipe, "--labels", labels)
    judged = done(
        installed, "evaluate", tmp_path / "dataset", "-o", tmp_path / "judged", "--recipe", recipe, "--seeds", "1"
    )
    assert "toy" in judged
    done(installed, "train", tmp_path / "dataset", "-o", tmp_path / "model", "--recipe", recipe)
    card = (tmp_path / "model/MODEL_CARD.md").read_text()
    assert "The nearest mean of a label's rows on 2 values of `halves` (`halves-v1`) and 392 values of" in card
    # On two worker processes, which have never heard of the package but by its entry points.
    done(
        installed,
        *("classify", ward, "-o", tmp_path / "results", "--model", tmp_path / "model"),
        *("--features", "halves", "--workers", "2"),
    )
    rows = duckdb.sql(
        f"""SELECT uri, first_half_log_energy, second_half_log_energy, predicted_label
        FROM '{tmp_path}/results/features/*.parquet' JOIN '{tmp_path}/results/predictions/*.parquet' USING (uri)"""
    ).fetchall()
    assert len(rows) > 8
    assert len({label for *_, label in rows}) > 1
    for uri, first, second, _ in rows:
        samples = decode(Path(uri.removeprefix("file://")).read_bytes()).samples.astype(np.float64)
        halves = np.array_split(samples, 2)
        assert [first, second] == pytest.approx([np.log(np.mean(half**2) + 1e-12) for half in halves], rel=1e-5)
    columns = duckdb.sql(f"SELECT * FROM '{tmp_path}/results/features/*.parquet'").columns
    assert "mfcc_00_mean" not in columns

    one = tmp_path / "one.wav"
    soundfile.write(one, np.random.default_rng(0).normal(size=8_000) * 0.1, 4_000)
    told = json.loads(done(installed, "predict", one, "--model", tmp_path / "model", "--json"))
    assert told["predicted_label"] in {label for *_, label in rows}
    refused = heartbeat(installed, "export", tmp_path / "model", "-o", tmp_path / "model.onnx")
    assert refused.returncode == 2
    assert "a model of the kind 'nearest-mean' cannot be exported" in refused.stderr


def test_a_dataset_is_built_from_its_database(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    lines = []
    for number, finding in enumerate(("clear", "wheeze", "clear", "clear|wheeze")):
        (tmp_path / "in" / f"{number}.wav").write_bytes(heart_bytes("normal", number))
        lines.append(f"{number}.wav {finding} {number // 2}")
    (tmp_path / "in/book.txt").write_text("\n".join(lines))
    command = ("build-dataset", tmp_path / "in", "--recipe", "seed-mini", "--database", "ward-book")
    built = heartbeat(installed, *command, "-o", tmp_path / "dataset")
    assert built.returncode == 0, built.stderr
    assert "the book is kept by hand" in built.stderr.splitlines()
    assert "labels, in the order of their codes: clear, wheeze" in built.stdout
    rows = duckdb.sql(
        f"SELECT label, patient_id, device, database FROM '{tmp_path}/dataset/recordings/*.parquet' ORDER BY uri"
    ).fetchall()
    assert rows == [
        (finding, f"bed_{number // 2}", "horn", "ward")
        for number, finding in enumerate(("clear", "wheeze", "clear", "clear|wheeze"))
    ]
    assert {tuple(map(tuple, one)) for one in Dataset(str(tmp_path / "dataset")).segments().values()} == {
        ((0.0, 0.25, 1.0),)
    }
    (tmp_path / "in/2.wav").unlink()
    told = heartbeat(installed, *command, "-o", tmp_path / "again")
    assert told.returncode == 2
    assert told.stderr.strip() == (
        f"heartbeat: {tmp_path}/in/2.wav: expected this recording, because book.txt names it, found none"
    )
    told = heartbeat(environment(), *command, "-o", tmp_path / "again")
    assert told.returncode == 2
    assert told.stderr.strip() == "heartbeat: unknown database 'ward-book': there are circor, cinc2016, pascal"


def test_without_the_package_its_names_are_refused_in_one_line(installed: dict[str, str], tmp_path: Path) -> None:
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(RECIPE)
    told = heartbeat(environment(), "build-dataset", tmp_path, "-o", tmp_path / "out", "--recipe", recipe)
    assert told.returncode == 2
    assert told.stderr.strip() == (
        "heartbeat: unknown model 'nearest-mean': there are fcnn, bagged-fcnn, boosting, cnn, rnn, vote"
    )
