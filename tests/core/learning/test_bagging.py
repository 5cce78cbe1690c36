"""The bagged network: one FCNN that is the mean of its members, the same for the same seed, fair to rare labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.errors import DatasetError
from heartbeat_core.features.catalogue import columns_read
from heartbeat_core.labels import Targets
from heartbeat_core.learning.bagging import _Members, member_votes, train_bagged
from heartbeat_core.learning.fcnn import FCNN
from heartbeat_core.learning.vectors import BaggedFCNN, _members_read
from heartbeat_core.recipe import Recipe

WIDTH = 6


def recipe(**parts: Any) -> Recipe:
    content: dict[str, Any] = {
        "name": "small",
        "input": "statistics",
        "model": "bagged-fcnn",
        "network": {"hidden": [5], "dropout": 0.1},
        "training": {"epochs": 12, "batch_size": 16, "learning_rate": 0.02},
        "bagging": {"members": ["all"] * 3},
    }
    return Recipe.model_validate(content | parts)


def train(rows: NDArray[np.float32], codes: NDArray[np.int64], settings: Recipe, seed: int) -> FCNN:
    """Train members that all read everything."""
    everything = np.ones((len(settings.bagging.members), rows.shape[2]), dtype=np.bool_)
    return train_bagged(rows, Targets.of_codes(codes), everything, settings, seed)


def made_up(n: int = 90, n_copies: int = 2, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return rows [n, n_copies, WIDTH] of three labels that lie apart, and their codes; label 4 is rare."""
    rng = np.random.default_rng(seed)
    codes = rng.choice([0, 2, 4], n, p=[0.6, 0.3, 0.1]).astype(np.int64)
    rows = rng.standard_normal((n, n_copies, WIDTH))
    rows[np.arange(n), :, codes] += 3.0
    return rows.astype(np.float32), codes


SPECIALISTS = {
    "members": ["statistics", "timbre", "statistics"],
    "specialists": {"part": "timbre", "labels": ["extrahls", "extrastole"]},
}
"""The second of three members decides on two labels; no row has the label artifact."""


@pytest.mark.parametrize("bagging", [{"members": ["all"] * 3}, SPECIALISTS], ids=["all alike", "specialists"])
def test_the_merged_network_adds_up_the_members_logits(bagging: dict[str, Any]) -> None:
    torch.manual_seed(1)
    members = _Members(torch.ones(3, WIDTH), 4, 5)
    for parameter in members.parameters():
        torch.nn.init.normal_(parameter)
    rows = torch.randn(20, 2, WIDTH)
    members.settle(rows)
    inputs = torch.randn(7, WIDTH)
    logits = []
    for one in range(3):
        flat = torch.relu(rows.reshape(-1, WIDTH) @ members.first[one] + members.first_bias[one])
        hidden = torch.relu(inputs @ members.first[one] + members.first_bias[one])
        scaled = (hidden - flat.mean(dim=0)) / torch.sqrt(flat.var(dim=0, unbiased=False) + 1e-5)
        logits.append((scaled * members.gain[one] + members.shift[one]) @ members.last[one] + members.last_bias[one])
    targets = Targets.of_codes(np.array([0, 1, 2, 4]))
    votes = torch.from_numpy(member_votes(targets, recipe(bagging=bagging)))
    with torch.inference_mode():
        found = members.merged(0.3, votes)(inputs)
    expected = sum(logits) / 3
    if "specialists" in bagging:
        expected = logits[1].clone()
        for label in (0, 2):  # Normal and murmur.
            mean, of_specialist = torch.zeros(7), torch.zeros(7)
            for other in (0, 2):
                mean += (logits[0][:, other] + logits[2][:, other]) / 2 / 2
                of_specialist += logits[1][:, other] / 2
            expected[:, label] = (logits[0][:, label] + logits[2][:, label]) / 2 - mean + of_specialist
    trained = [0, 1, 2, 4]
    torch.testing.assert_close(found[:, trained], expected[:, trained], rtol=1e-4, atol=1e-4)


def test_specialists_leave_the_other_labels_to_the_other_members() -> None:
    """What only a specialist reads changes how likely its labels are, and nothing among the others."""
    rows, codes = made_up(n_copies=1)
    settings = recipe(bagging=SPECIALISTS)
    reads = np.zeros((3, WIDTH), np.bool_)
    reads[0, [0, 2]] = reads[2, [0, 2]] = reads[1, 4] = True
    network = train_bagged(rows, Targets.of_codes(codes), reads, settings, 0)
    inputs = torch.zeros(2, WIDTH)
    inputs[1, 4] = 4.0
    with torch.inference_mode():
        before, after = network(inputs).numpy()
    assert after[0] - after[2] == pytest.approx(before[0] - before[2], abs=1e-4)
    assert after[4] - after[0] > before[4] - before[0] + 2


def test_specialists_that_decide_on_all_labels_are_refused() -> None:
    everything = {**SPECIALISTS, "specialists": {"part": "timbre", "labels": ["normal", "murmur"]}}
    with pytest.raises(DatasetError, match="normal, murmur: no row has another label"):
        member_votes(Targets.of_codes(np.array([0, 2])), recipe(bagging=everything))


@pytest.mark.parametrize("batch_size", [4, 16])
def test_it_learns_and_is_one_network_in_evaluation_mode(batch_size: int) -> None:
    rows, codes = made_up()
    training = {"epochs": 12, "batch_size": batch_size, "learning_rate": 0.02}
    network = train(rows, codes, recipe(training=training), seed=3)
    assert not network.training
    assert network.layers[0].weight.shape == (15, WIDTH)
    assert BaggedFCNN().widths(recipe()) == (15,)
    assert network.layers[-1].weight.shape == (5, 15)
    others, true = made_up(seed=9)
    with torch.inference_mode():
        logits = network(torch.from_numpy(others[:, 0])).numpy()
    assert (logits[:, [0, 2, 4]].argmax(axis=1) == np.searchsorted([0, 2, 4], true)).mean() > 0.85


def test_a_member_takes_nothing_from_what_it_does_not_read() -> None:
    rows, codes = made_up()
    reads = np.zeros((3, WIDTH), dtype=np.bool_)
    reads[0, :2] = reads[1, 2:] = reads[2] = True
    network = train_bagged(rows, Targets.of_codes(codes), reads, recipe(), seed=3)
    weights = network.layers[0].weight.detach().numpy().reshape(3, 5, WIDTH)
    assert ((weights != 0).any(axis=1) == reads).all()
    others, true = made_up(seed=9)
    with torch.inference_mode():
        logits = network(torch.from_numpy(others[:, 0])).numpy()
    assert (logits[:, [0, 2, 4]].argmax(axis=1) == np.searchsorted([0, 2, 4], true)).mean() > 0.85


def test_the_same_seed_gives_the_same_weights_and_torchs_own_state_stays() -> None:
    rows, codes = made_up()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = train(rows, codes, recipe(), seed=3).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    again, other = (train(rows, codes, recipe(), seed=seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])


def test_logits_are_those_of_the_true_shares_however_the_loss_is_balanced() -> None:
    """Of inputs that say nothing the labels' shares are all that can be learned."""
    codes = np.array([0] * 120 + [2] * 30 + [4] * 10)
    rows = np.random.default_rng(0).standard_normal((160, 1, 2)).astype(np.float32) * 1e-3
    settings = {"training": {"epochs": 60, "batch_size": 32, "learning_rate": 0.02, "weight_decay": 0.0}}
    for balance in (0.0, 1.0):
        bagging = {"members": ["all", "all"], "balance": balance, "label_smoothing": 0.0, "input_noise": 0.0}
        network = train(rows, codes, recipe(**settings, bagging=bagging), seed=0)
        with torch.inference_mode():
            logits = network(torch.from_numpy(rows[:, 0]))[:, [0, 2, 4]]
        shares = torch.softmax(logits, dim=1).mean(dim=0).tolist()
        assert shares == pytest.approx([0.75, 0.1875, 0.0625], abs=0.06)


def test_a_row_comes_as_any_of_its_copies() -> None:
    rows, codes = made_up(n_copies=1)
    noise = np.random.default_rng(1).standard_normal(rows.shape).astype(np.float32)
    both = np.concatenate([noise, rows], axis=1)
    network = train(both, codes, recipe(training={"epochs": 40, "batch_size": 16, "learning_rate": 0.02}), 0)
    with torch.inference_mode():
        found = network(torch.from_numpy(rows[:, 0])).numpy()[:, [0, 2, 4]].argmax(axis=1)
    assert (found == np.searchsorted([0, 2, 4], codes)).mean() > 0.8


@pytest.mark.parametrize("codes", [[0], [0, 0, 0]])
def test_too_few_rows_or_labels_are_refused(codes: list[int]) -> None:
    rows = np.zeros((len(codes), 1, WIDTH), np.float32)
    with pytest.raises(DatasetError, match="at least two labels"):
        train(rows, np.array(codes), recipe(), seed=0)


@pytest.mark.parametrize("n", [2, 5, 17, 33])
def test_any_number_of_rows_from_two_on_trains(n: int) -> None:
    rows, _ = made_up(n)
    codes = np.arange(n) % 2
    network = train(rows, codes, recipe(training={"epochs": 2, "batch_size": 16, "learning_rate": 0.01}), 0)
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_rows_without_weight_say_nothing() -> None:
    rows, codes = made_up()
    everything = np.ones((3, WIDTH), np.bool_)
    weights = np.where(np.arange(len(codes)) < 60, 1.0, 0.0)
    others = codes.copy()
    others[60:] = codes[60:][::-1]
    first, again = (
        train_bagged(rows, replace(Targets.of_codes(one), weights=weights), everything, recipe(), 1).state_dict()
        for one in (codes, others)
    )
    assert any((codes != others).tolist())
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_probabilities_hold_where_rows_are_as_common_as_they_weigh() -> None:
    # Nothing can be told from the inputs: the probabilities are the shares of the weights.
    rng = np.random.default_rng(0)
    rows = (0.01 * rng.standard_normal((400, 1, WIDTH))).astype(np.float32)
    codes = np.repeat([0, 2], [300, 100])
    weights = np.where(codes == 2, 3.0, 1.0)
    settings = recipe(
        training={"epochs": 40, "batch_size": 64, "learning_rate": 0.02},
        bagging={"members": ["all"] * 3, "label_smoothing": 0.0},
    )
    targets = replace(Targets.of_codes(codes), weights=weights)
    network = train_bagged(rows, targets, np.ones((3, WIDTH), np.bool_), settings, 0)
    with torch.inference_mode():
        chances = torch.softmax(network(torch.from_numpy(rows[:, 0]))[:, [0, 2]], dim=1).mean(dim=0)
    assert chances[1].item() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_each_member_reads_its_own_random_share_of_its_part(share: float) -> None:
    settings = recipe(bagging={"members": ["all", "all", "rhythm"], "input_share": share})
    reads, again, other = (_members_read(settings, seed) for seed in (0, 0, 1))
    parts = [columns_read(part, "statistics") for part in ("all", "all", "rhythm")]
    for row, part in zip(reads, parts, strict=True):
        assert row.sum() == max(1, round(share * part.sum()))
        assert not (row & ~part).any()
    assert np.array_equal(reads, again)
    assert (share == 1) == np.array_equal(reads, other) == np.array_equal(reads[0], reads[1])
    with_rhythm = recipe(bagging={"members": ["all", "all", "rhythm"], "input_share": share, "shared_part": "rhythm"})
    assert np.array_equal(_members_read(with_rhythm, 0), reads | columns_read("rhythm", "statistics"))


def test_inputs_are_clipped_as_the_recipe_says_in_training_and_serving() -> None:
    rows, codes = made_up(n_copies=1)
    settings = recipe(bagging={"members": ["all"] * 2, "clip": 0.5}, input="statistics")
    wide = np.zeros((len(rows), 1, 392), np.float32)
    wide[:, :, :WIDTH] = rows
    model = BaggedFCNN().fit(settings, list(wide), Targets.of_codes(codes), 0)
    restored = BaggedFCNN().restore(settings, model.tensors(), Reference(np.ones((3, 2), np.float32)))
    far = [wide[0], wide[0] + np.where(wide[0] > 0, 100, 0).astype(np.float32)]
    edge = model.scaler.mean + 0.5 * model.scaler.scale
    beyond = (model.scaler.mean + 9 * model.scaler.scale).astype(np.float32)
    for one in (model, restored):
        assert one.scaler.clip == 0.5
        np.testing.assert_allclose(one.logits([beyond[None]]), one.logits([edge[None].astype(np.float32)]), atol=1e-5)
    assert np.array_equal(model.logits(far), restored.logits(far))
    form = model.form()
    assert form.clip == 0.5


def test_specialists_read_their_part_in_whole() -> None:
    bagging = {**SPECIALISTS, "input_share": 0.1}
    reads = _members_read(recipe(bagging=bagging), 0)
    assert (reads[1] == columns_read("timbre", "statistics")).all()
    assert reads[0].sum() == round(0.1 * reads.shape[1])


def test_members_of_the_whole_part_read_all_of_it_and_nothing_else() -> None:
    bagging: dict[str, Any] = {"members": ["all", "timbre", "all"], "whole_part": "timbre", "input_share": 0.1}
    alone = _members_read(recipe(bagging=bagging), 0)
    assert (alone[1] == columns_read("timbre", "statistics")).all()
    assert [alone[0].sum(), alone[2].sum()] == [round(0.1 * 392)] * 2
    rhythm = columns_read("rhythm", "statistics")
    shared = _members_read(recipe(bagging=bagging | {"shared_part": "rhythm"}), 0)
    assert (shared[1] == alone[1]).all()
    assert (shared[[0, 2]] == (alone[[0, 2]] | rhythm)).all()


def test_weights_in_float16_serve_as_they_were_judged() -> None:
    inputs = [one.astype(np.float32) for one in np.random.default_rng(4).standard_normal((40, 1, 392))]
    codes = np.arange(40) % 2
    settings = recipe(bagging={"members": ["all"] * 3, "float16": True})
    model = BaggedFCNN().fit(settings, inputs, Targets.of_codes(codes), 0)
    tensors = model.tensors()
    assert tensors["network.layers.0.weight"].dtype == np.float16
    n_weights = tensors["network.layers.0.weight"].size + tensors["network.layers.4.weight"].size
    exact = BaggedFCNN().fit(recipe(), inputs, Targets.of_codes(codes), 0)
    assert model.n_bytes == exact.n_bytes - 2 * n_weights
    np.testing.assert_allclose(model.logits(inputs), exact.logits(inputs), atol=0.02)
    restored = BaggedFCNN().restore(settings, tensors, Reference(np.ones((3, 2), np.float32)))
    assert (restored.logits(inputs) == model.logits(inputs)).all()
