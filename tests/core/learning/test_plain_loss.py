"""Rows with one label each are trained on as with torch's own loss, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.learning.fcnn import FCNN
from heartbeat_core.learning.training import MatrixRows, deterministic, label_mask, label_weights, train_network
from heartbeat_core.recipe import Recipe


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_rows_of_one_label_are_trained_on_by_the_plain_loss(class_weights: str) -> None:
    rng = np.random.default_rng(3)
    codes = rng.choice([0, 1, 2, 4], 90, p=[0.5, 0.2, 0.2, 0.1])
    inputs = rng.standard_normal((90, 30)).astype(np.float32)
    targets = Targets.of_codes(codes)
    training = {"epochs": 3, "batch_size": 32, "learning_rate": 0.01, "class_weights": class_weights}
    recipe = Recipe.model_validate({"name": "x", "network": {"hidden": [8]}, "training": training})
    found = train_network(MatrixRows(inputs, targets), recipe, seed=5)

    weights = label_weights(targets, class_weights)
    offsets = label_mask(targets.present, 5) + (0.0 if weights is None else weights.log())
    with deterministic(5):
        network = FCNN(30, (8,), len(ORIGINAL_LABELS), recipe.network.dropout)
        optimiser = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=recipe.training.weight_decay)
        loss_function = nn.CrossEntropyLoss(weight=weights)
        order = torch.Generator().manual_seed(5)
        rows = torch.utils.data.TensorDataset(torch.from_numpy(inputs), torch.from_numpy(codes))
        loader = torch.utils.data.DataLoader(rows, batch_size=32, shuffle=True, generator=order)
        for _ in range(3):
            for batch, labels in loader:
                optimiser.zero_grad()
                loss_function(network(batch) + offsets, labels).backward()
                optimiser.step()
    for name, expected in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], expected), name
