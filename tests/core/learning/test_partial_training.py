"""Training on rows that say less than one label: what they teach, what they leave alone, and how they are weighed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.arrays import Inputs
from heartbeat_core.labels import ORIGINAL_LABELS, Labels, Targets, joined
from heartbeat_core.learning.bagging import tempered_label_weights, train_bagged
from heartbeat_core.learning.decision import balanced_thresholds
from heartbeat_core.learning.fit import Examples, Fitted, fit
from heartbeat_core.learning.sequences import SequenceModel
from heartbeat_core.learning.training import MatrixRows, label_weights, train_network
from heartbeat_core.recipe import Recipe
from tests import naive

WIDTHS = {"aligned": 2, "statistics": 392, "log-mel": 40}
KINDS = [
    ("statistics", "fcnn", {}),
    ("statistics", "fcnn", {"decision": {"calibrated": True, "balance": 0.8, "inner_folds": 3}}),
    ("statistics", "bagged-fcnn", {"network": {"hidden": [5]}}),
    ("aligned", "fcnn", {}),
    ("log-mel", "cnn", {}),
    ("statistics", "vote", {"decision": {"balance": 1.0}}),
]
VALVES: Labels = ("AS", "MR", "MS")
REFERENCE = Reference(np.ones((40, 2), np.float32))
SHARES = [0.675, 0.225, 0.1]


def recipe(kind: str, model: str, training: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    settings = {"batch_size": 16, "epochs": 3, "learning_rate": 0.01, "class_weights": "balanced"} | (training or {})
    return Recipe.model_validate({"name": "x", "input": kind, "model": model, "training": settings} | changes)


def made_up(kind: str, cells: list[str | None], labels: Labels = ORIGINAL_LABELS, seed: int = 0) -> Examples:
    """Return rows that the first label that each may have shifts; two rows a patient."""
    rng = np.random.default_rng(seed)
    inputs: list[Inputs] = []
    for cell in cells:
        n_rows = 1 if kind == "statistics" else int(rng.integers(20, 90))
        shift = labels.index(cell.split("|")[0]) if cell else 0
        inputs.append((rng.standard_normal((n_rows, WIDTHS[kind])) + shift).astype(np.float32))
    groups = [f"patient {number // 2}" for number in range(len(cells))]
    return Examples(inputs, Targets.of_cells(cells, labels), groups)


def mixed(rows: Examples, others: Examples) -> Examples:
    """Return both, a row of ``others`` before each third row of ``rows``; the others are louder and longer."""
    inputs, groups, order = [], [], []
    waiting = list(range(len(others)))
    for number in range(len(rows)):
        if number % 3 == 0 and waiting:
            place = waiting.pop(0)
            order.append(len(rows) + place)
            inputs.append(50 * others.inputs[place])
            groups.append(f"other {place}")
        order.append(number)
        inputs.append(rows.inputs[number])
        groups.append(rows.groups[number])
    assert not waiting
    both = joined([rows.targets, others.targets], rows.targets.labels)
    return Examples(inputs, both.take(np.array(order)), groups)


def content(fitted: Fitted, probes: list[Inputs]) -> list[bytes]:
    """Return the bytes of all that was fitted, and of its outputs."""
    model: Any = fitted.model
    found = [repr((fitted.decision, fitted.limits.min_confidence, fitted.limits.max_distance)).encode()]
    found += [model.logits(probes).tobytes(), fitted.predict(probes)[0].tobytes(), fitted.trained.tobytes()]
    if isinstance(model, SequenceModel):
        tensors = {name: value.numpy() for name, value in model.network.state_dict().items()}
        found += [model.scaler.mean.tobytes(), model.scaler.scale.tobytes()]
    else:
        tensors = model.tensors() if hasattr(model, "tensors") else {}
        found += [model.aligner.reference.frames.tobytes()] if hasattr(model, "aligner") else []
    return found + [tensors[name].tobytes() for name in sorted(tensors)]


# Rows that say nothing


@pytest.mark.parametrize(
    ("kind", "model", "changes", "reference"), [*((*one, None) for one in KINDS), ("aligned", "fcnn", {}, REFERENCE)]
)
def test_a_row_that_says_nothing_changes_nothing(
    kind: str, model: str, changes: dict[str, Any], reference: Reference | None
) -> None:
    chosen = recipe(kind, model, **changes)
    rows = made_up(kind, ["normal", "murmur", "extrastole", "normal|murmur", "murmur"] * 8)
    silent = made_up(
        kind,
        [
            "|".join(ORIGINAL_LABELS),
            None,
            "normal|murmur|extrastole",  # all labels that occur
            "normal|extrahls|murmur|extrastole",
            "extrahls|artifact",  # none that occurs
        ],
        seed=1,
    )
    probes = list(made_up(kind, ["normal", "murmur", "extrastole"] * 3, seed=2).inputs)
    plain = fit(chosen, rows, 1, reference)
    again = fit(chosen, mixed(rows, silent), 1, reference)
    assert content(again, probes) == content(plain, probes)
    # A row that says something does.
    louder = fit(chosen, mixed(rows, made_up(kind, ["normal|murmur"] * 4, seed=3)), 1, reference)
    assert content(louder, probes) != content(plain, probes)


@pytest.mark.parametrize("model", ["vote", "boosting"])
def test_a_model_without_a_network_leaves_rows_of_several_labels_out(model: str) -> None:
    if model == "boosting":
        pytest.importorskip("perpetual")
    rows = made_up("statistics", ["normal", "murmur", "extrastole"] * 6)
    more = mixed(rows, made_up("statistics", ["normal|murmur"] * 4, seed=3))
    probes = list(made_up("statistics", ["normal", "murmur"] * 3, seed=2).inputs)
    plain, again = (fit(recipe("statistics", model), one, 1) for one in (rows, more))
    assert np.array_equal(again.model.logits(probes), plain.model.logits(probes))


@pytest.mark.parametrize("model", ["fcnn", "vote"])
def test_a_possibility_of_a_label_that_no_row_is_known_to_have_changes_nothing(model: str) -> None:
    cells: list[str | None] = ["normal", "murmur", "extrastole", "normal|murmur", "murmur"] * 8
    rows = made_up("statistics", cells)
    wider = made_up("statistics", [f"{cell}|artifact" if number > 10 else cell for number, cell in enumerate(cells)])
    assert wider.targets.codes[11:].tolist() == [-1] * 29
    chosen = recipe("statistics", model, decision={"balance": 1.0})
    plain, again = fit(chosen, rows, 0), fit(chosen, wider, 0)
    assert content(again, list(rows.inputs)) == content(plain, list(rows.inputs))


@pytest.mark.parametrize(("kind", "model", "changes"), KINDS)
def test_a_label_that_only_occurs_among_several_is_never_predicted(
    kind: str, model: str, changes: dict[str, Any]
) -> None:
    # Nine rows of ten may be extrastoles, and none is known to be one.
    rows = made_up(kind, [*["normal|extrastole", "murmur|extrastole"] * 18, *["normal", "murmur"] * 4])
    fitted = fit(recipe(kind, model, **changes), rows, 0)
    assert fitted.trained.tolist() == [0, 2]
    probabilities, predicted = fitted.predict(rows.inputs)
    assert set(predicted.tolist()) <= {0, 2}
    assert (probabilities[:, [1, 3, 4]] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


# What partial labels teach


@pytest.mark.parametrize(
    ("kind", "model", "changes"),
    [
        ("statistics", "fcnn", {"network": {"hidden": [8], "dropout": 0.1}}),
        (
            "statistics",
            "bagged-fcnn",
            {"network": {"hidden": [8], "dropout": 0.1}, "bagging": {"members": ["all"] * 2}},
        ),
        ("aligned", "fcnn", {"network": {"hidden": [8], "dropout": 0.1}}),
        ("log-mel", "cnn", {}),
        ("log-mel", "rnn", {}),
    ],
)
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_model_learns_from_partial_labels_alone(kind: str, model: str, changes: dict[str, Any], side: float) -> None:
    """The rows with one label are all alike, so only the others tell on which side a label lies."""
    rng = np.random.default_rng(0)

    def drawn(cells: list[str], shift: float) -> list[Inputs]:
        n_rows = 1 if kind == "statistics" else 30
        shape = (n_rows, WIDTHS[kind])
        return [(3 * shift + 0.3 * rng.standard_normal(shape)).astype(np.float32) for _ in cells]

    known, above, below = ["AS", "MR", "MS", "TR"] * 6, ["AS|MR"] * 30, ["MS|TR"] * 30
    inputs = [*drawn(known, 0), *drawn(above, side), *drawn(below, -side)]
    targets = Targets.of_cells([*known, *above, *below], (*VALVES, "TR"))
    rows = Examples(inputs, targets, [str(number) for number in range(len(inputs))])
    training = {"epochs": 20, "learning_rate": 0.02}
    reference = Reference(np.zeros((30, 2), np.float32)) if kind == "aligned" else None
    fitted = fit(recipe(kind, model, training, **changes), rows, 0, reference)
    assert fitted.trained.tolist() == [0, 1, 2, 3]
    of_above, of_below = (fitted.predict(inputs[first : first + 30])[0].mean(axis=0) for first in (24, 54))
    assert of_above[:2].sum() > 0.8
    assert of_below[2:].sum() > 0.8


def partly() -> tuple[NDArray[np.float32], Targets]:
    """Return rows that tell nothing, with the most likely shares ``SHARES``: half of them may have two labels."""
    cells = [*["AS"] * 60, *["MR"] * 20, *["MS"] * 20, *["AS|MR"] * 100]
    rows = np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32) * 1e-3
    return rows, Targets.of_cells(cells, VALVES)


@pytest.mark.parametrize("how", ["none", "balanced"])
def test_the_logits_are_those_of_the_most_likely_shares_however_the_loss_is_balanced(how: str) -> None:
    rows, targets = partly()
    training = {"epochs": 60, "batch_size": 50, "learning_rate": 0.02, "class_weights": how}
    chosen = recipe("statistics", "fcnn", training, network={"hidden": [4], "dropout": 0.0})
    network = train_network(MatrixRows(rows, targets), chosen, seed=0)
    with torch.inference_mode():
        shares = torch.softmax(network(torch.from_numpy(rows)), dim=1).mean(dim=0).tolist()
    assert shares == pytest.approx(SHARES, abs=0.05)


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_bagged_logits_are_those_of_the_most_likely_shares(balance: float) -> None:
    rows, targets = partly()
    bagging = {"members": ["all", "all"], "balance": balance, "label_smoothing": 0.0, "input_noise": 0.0}
    training = {"epochs": 60, "batch_size": 50, "learning_rate": 0.02}
    chosen = recipe("statistics", "bagged-fcnn", training, bagging=bagging, network={"hidden": [4], "dropout": 0.0})
    network = train_bagged(rows[:, np.newaxis], targets, np.ones((2, 2), bool), chosen, 0)
    with torch.inference_mode():
        shares = torch.softmax(network(torch.from_numpy(rows)), dim=1).mean(dim=0).tolist()
    assert shares == pytest.approx(SHARES, abs=0.05)


def test_label_smoothing_counts_for_rows_of_several_labels_too() -> None:
    rows, targets = partly()
    training = {"epochs": 60, "batch_size": 50, "learning_rate": 0.02}
    bagging = {"members": ["all"], "balance": 0.0, "label_smoothing": 0.6, "input_noise": 0.0}
    chosen = recipe("statistics", "bagged-fcnn", training, bagging=bagging, network={"hidden": [4], "dropout": 0.0})
    network = train_bagged(rows[:, np.newaxis], targets, np.ones((1, 2), bool), chosen, 0)
    with torch.inference_mode():
        found = torch.softmax(network(torch.from_numpy(rows)), dim=1).mean(dim=0).numpy()
    # Of MS, the smoothed loss is lowest at 40 % of the most likely share and 60 % of a third.
    assert found[2] == pytest.approx(0.4 * SHARES[2] + 0.6 / 3, abs=0.02)
    assert found[0] > found[1]


def test_weights_count_a_row_of_several_labels_for_each_by_its_share() -> None:
    _, targets = partly()
    counts = naive.expected_counts(targets.possible.tolist(), 3)
    assert counts == pytest.approx([135, 45, 20])
    balanced = label_weights(targets, "balanced")
    assert balanced is not None
    assert balanced.tolist() == pytest.approx([200 / (3 * count) for count in counts])
    assert label_weights(targets, "none") is None
    raw = [(200 / count) ** 0.75 for count in counts]
    mean = (60 * raw[0] + 20 * raw[1] + 20 * raw[2]) / 100
    assert tempered_label_weights(targets, 0.75).tolist() == pytest.approx([one / mean for one in raw])
    assert balanced_thresholds(targets, 0.5) == pytest.approx([(count / 200) ** 0.5 for count in counts])
