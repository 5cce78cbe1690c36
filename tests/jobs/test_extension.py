"""A feature set and a model kind from another package: no file of ours is edited, and every command knows them."""

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
from tests.helpers import environment, write_ward

MODULE = '''
"""The energy of a recording in two halves, and a model that answers with the nearest label's mean."""

import numpy as np
import torch

from heartbeat_core.features.feature_set import Column, FeatureSet
from heartbeat_core.learning.kinds import ModelKind
from heartbeat_core.learning.model import Implementation, Outputs
from heartbeat_core.features.extract import join_vectors
from heartbeat_core.labels import ORIGINAL_LABELS


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
        return {"means": torch.from_numpy(self.means)}

    def form(self):
        return None

    def _logits(self, rows):
        rows = np.stack(rows) if rows else np.zeros((0, self.means.shape[1]))
        return -np.square(rows[:, np.newaxis] - self.means).sum(axis=2)


class NearestMeans(Implementation):
    def fit(self, recipe, inputs, codes, seed, reference=None, on_step=lambda: None):
        rows = np.stack([one[0] for one in inputs]).astype(np.float64)
        means = np.zeros((len(ORIGINAL_LABELS), rows.shape[1]))
        for code in np.unique(codes):
            means[code] = rows[codes == code].mean(axis=0)
        on_step()
        return NearestMean(means, recipe.input)

    def check_servable(self, recipe):
        pass

    def restore(self, recipe, tensors, reference, device="cpu"):
        return NearestMean(tensors["means"].numpy(), recipe.input)

    def describe(self, recipe):
        return "The nearest mean of a label's rows"


NEAREST_MEAN = ModelKind("nearest-mean", {"vector": NearestMeans})
'''

ENTRY_POINTS = """
[heartbeat.feature_sets]
halves = halves_and_means:HALVES
[heartbeat.model_kinds]
nearest-mean = halves_and_means:NEAREST_MEAN
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
    assert told[0]["predicted_label"] in {label for *_, label in rows}
    refused = heartbeat(installed, "export", tmp_path / "model", "-o", tmp_path / "model.onnx")
    assert refused.returncode == 2
    assert "a model of the kind 'nearest-mean' cannot be exported" in refused.stderr


def test_without_the_package_its_names_are_refused_in_one_line(installed: dict[str, str], tmp_path: Path) -> None:
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(RECIPE)
    told = heartbeat(environment(), "build-dataset", tmp_path, "-o", tmp_path / "out", "--recipe", recipe)
    assert told.returncode == 2
    assert told.stderr.strip() == (
        "heartbeat: unknown model 'nearest-mean': there are fcnn, bagged-fcnn, boosting, cnn, rnn, vote"
    )
