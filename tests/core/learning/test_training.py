"""Training: the same weights again, untrained labels masked, and nothing left behind in torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from heartbeat_core.alignment.scaling import Scaler, fit_scaler
from heartbeat_core.bundles.predictions import Predictions
from heartbeat_core.errors import DatasetError
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.learning.decision import Decision
from heartbeat_core.learning.fcnn import FCNN, as_arrays
from heartbeat_core.learning.scorer import Scorer
from heartbeat_core.learning.training import AlignedFrames, label_mask, train_network
from heartbeat_core.recipe import Recipe
from tests import naive
from tests.core.conftest import LENGTH, MadeUp, make_rows, tiny_recipe


def scored(network: FCNN, scaler: Scaler, trained: np.ndarray, rows: MadeUp) -> Predictions:
    """Return what serving makes of the rows."""
    logits = Scorer(as_arrays(network), scaler).score(rows.frames, rows.offsets.tolist())
    decision = Decision(thresholds=(1.0,) * len(ORIGINAL_LABELS))
    probabilities = decision.probabilities(logits.astype(np.float64), trained)
    return Predictions(logits, probabilities.astype(np.float32), decision.codes(probabilities))


def weights(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in network.state_dict().items()}


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].tobytes() == right[name].tobytes(), name


@pytest.fixture
def torch_state() -> Iterator[None]:
    """Put torch's global settings back, whatever a test does to them."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def test_two_trainings_give_the_same_weights(rows: MadeUp, torch_state: None) -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    first = train_network(rows.inputs(), tiny_recipe())
    torch.manual_seed(2)
    torch.rand(100)
    torch.set_num_threads(2)
    assert_same_weights(first, train_network(rows.inputs(), tiny_recipe()))


def test_another_seed_gives_other_weights(rows: MadeUp) -> None:
    a = train_network(rows.inputs(), tiny_recipe(seed=1))
    b = train_network(rows.inputs(), tiny_recipe(seed=2))
    assert not np.array_equal(weights(a)["layers.0.weight"], weights(b)["layers.0.weight"])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("deterministic", "warn_only"), [(False, False), (True, False), (True, True)])
def test_torchs_global_state_is_left_as_it_was(
    rows: MadeUp, torch_state: None, threads: int, deterministic: bool, warn_only: bool
) -> None:
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    train_network(rows.inputs(), tiny_recipe())
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert torch.is_deterministic_algorithms_warn_only_enabled() == warn_only
    assert torch.equal(torch.random.get_rng_state(), before)


def test_torchs_global_state_is_left_as_it_was_by_a_training_that_fails(rows: MadeUp, torch_state: None) -> None:
    torch.set_num_threads(2)
    before = torch.random.get_rng_state()

    def fail(epoch: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_network(rows.inputs(), tiny_recipe(), fail)
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("labels", [("normal", "murmur"), ("extrahls", "artifact", "extrastole"), ORIGINAL_LABELS])
def test_untrained_labels_are_never_predicted(labels: tuple[str, ...]) -> None:
    rows = make_rows(25, labels)
    inputs = rows.inputs()
    network = train_network(inputs, tiny_recipe())
    trained = np.array(sorted(ORIGINAL_LABELS.index(label) for label in labels))
    untrained = [code for code in range(len(ORIGINAL_LABELS)) if code not in trained]
    with torch.no_grad():
        network.layers[-1].bias[untrained] = 1e6  # the raw outputs prefer them by far
    scores = scored(network, inputs.scaler, trained, rows)
    assert set(scores.codes.tolist()) <= set(trained.tolist())
    assert np.array_equal(scores.probabilities[:, untrained], np.zeros((25, len(untrained)), np.float32))
    assert np.all(scores.probabilities[:, trained] > 0)
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1, rtol=1e-6)
    assert scores.probabilities.dtype == scores.logits.dtype == np.float32


def test_untrained_outputs_have_no_gradient(rows: MadeUp) -> None:
    # Their biases stay as the seed drew them: nothing that they were "taught" can leak out.
    recipe = tiny_recipe(epochs=1)
    after = train_network(rows.inputs(), recipe).layers[-1].bias.detach()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        before = FCNN(LENGTH * 2, recipe.network.hidden, 5, recipe.network.dropout).layers[-1].bias.detach()
    changed = (after != before).tolist()
    assert changed == [True, False, True, False, True]


def test_label_mask() -> None:
    assert label_mask(np.array([0, 2, 4]), 5).tolist() == [0, -np.inf, 0, -np.inf, 0]
    assert label_mask(np.array([1, 2]), 3).tolist() == [-np.inf, 0, 0]


@pytest.mark.parametrize("batch_size", [2, 4, 8])
def test_a_last_batch_of_one_row_is_left_out(batch_size: int) -> None:
    # BatchNorm1d raises on a batch of one row.
    losses: list[float] = []
    network = train_network(
        make_rows(9).inputs(),
        tiny_recipe(batch_size=batch_size),
        lambda epoch, loss: losses.append(loss),
    )
    assert len(losses) == 3
    assert np.isfinite(losses).all()
    assert not network.training


@pytest.mark.parametrize("n_rows", [2, 8, 9, 10])
def test_every_number_of_rows_can_be_trained(n_rows: int) -> None:
    network = train_network(make_rows(n_rows).inputs(), tiny_recipe())
    assert all(np.isfinite(value).all() for value in weights(network).values())


@pytest.mark.parametrize(
    ("n_rows", "labels", "found"),
    [
        (0, ("normal",), "found 0 rows of: none"),
        (1, ("murmur",), "found 1 rows of: murmur"),
        (5, ("normal",), "found 5 rows of: normal"),
    ],
)
def test_too_little_to_train_on(n_rows: int, labels: tuple[str, ...], found: str) -> None:
    rows = make_rows(n_rows, labels)
    scaler = fit_scaler(make_rows(3).frames, make_rows(3).offsets, LENGTH)
    with pytest.raises(DatasetError, match=f"^training needs rows of at least two labels; {found}$"):
        train_network(AlignedFrames(rows.frames, rows.offsets, rows.targets, scaler), tiny_recipe())


def test_the_callback_sees_every_epoch_and_its_loss(rows: MadeUp) -> None:
    seen: list[tuple[int, float]] = []
    train_network(rows.inputs(), tiny_recipe(epochs=30), lambda epoch, loss: seen.append((epoch, loss)))
    assert [epoch for epoch, _ in seen] == list(range(1, 31))
    assert seen[-1][1] < seen[0][1]


def test_a_model_learns_rows_that_can_be_told_apart(rows: MadeUp) -> None:
    recipe = tiny_recipe(epochs=60, plateau_patience=20)
    inputs = rows.inputs()
    network = train_network(inputs, recipe)
    scores = scored(network, inputs.scaler, np.array([0, 2, 4]), rows)
    assert (scores.codes == rows.codes).mean() >= 0.9


def test_inputs_are_the_scaled_padded_rows_position_major(rows: MadeUp) -> None:
    inputs = rows.inputs()
    assert len(inputs) == 30
    mean, scale = naive.scaler(list(zip(rows.frames, rows.offsets.tolist(), strict=True)), LENGTH)
    for index in (0, 7, 29):
        values, possible = inputs[index]
        expected = (naive.pad(rows.frames[index], int(rows.offsets[index]), LENGTH) - mean) / scale
        np.testing.assert_allclose(values.numpy(), expected.ravel(), rtol=1e-6, atol=1e-6)
        assert values.dtype == torch.float32
        assert possible.nonzero().flatten().tolist() == [rows.codes[index]]


def test_training_and_serving_see_the_same_inputs(rows: MadeUp) -> None:
    inputs = rows.inputs()
    network = train_network(inputs, tiny_recipe())
    with torch.inference_mode():
        by_training = network(torch.stack([inputs[i][0] for i in range(len(inputs))])).numpy()
    served = scored(network, inputs.scaler, np.array([0, 2, 4]), rows)
    np.testing.assert_allclose(served.logits, by_training, rtol=1e-5, atol=1e-5)


def test_the_network_is_the_originals() -> None:
    recipe = Recipe(name="x")
    layers = list(FCNN(100, recipe.network.hidden, 5, recipe.network.dropout).layers)
    assert [type(layer).__name__ for layer in layers] == [
        *("Linear", "ReLU", "BatchNorm1d", "Dropout"),
        *("Linear", "ReLU", "BatchNorm1d", "Dropout"),
        "Linear",
    ]
    assert [tuple(layer.weight.shape) for layer in layers if isinstance(layer, nn.Linear)] == [
        (16, 100),
        (8, 16),
        (5, 8),
    ]
    assert {layer.p for layer in layers if isinstance(layer, nn.Dropout)} == {0.5}
    assert [str(layer) for layer in FCNN(10, (), 5, 0.0).layers] == [
        "Linear(in_features=10, out_features=5, bias=True)"
    ]
