"""Models that read a sequence: a convolutional and a recurrent network on log-mel bands, in windows of 3 s.

The original project proposed both as future work and built neither. Each epoch uses one random window of each
recording. In it, one range of time and one range of bands are masked (SpecAugment: Park et al., Interspeech 2019,
arXiv:1904.08779; here with one mask of each kind and no warping). The outputs of a recording are the mean over windows
that overlap by half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.arrays import Inputs, Logits
from heartbeat_core.labels import Targets
from heartbeat_core.learning.model import Implementation, OnStep
from heartbeat_core.learning.training import Batch, check_labels, deterministic, optimise
from heartbeat_core.learning.vectors import VectorScaler, fit_vector_scaler
from heartbeat_core.recipe import Recipe

WINDOW_FRAMES = 150
"""3 s with one frame every 20 ms: long enough for two heartbeats or more."""

_MASKED_FRAMES = 30
_MASKED_BANDS = 8
"""The longest masks."""

_CHANNELS = (16, 32, 64)
_HIDDEN = 32
_DROPOUT = 0.3


class ConvolutionalNetwork(nn.Module):
    """Three blocks of 3 x 3 convolution, BatchNorm, ReLU and maximum pooling; then the mean and maximum of the result.

    The first convolution has a stride of two, which needs only a quarter of the work.
    """

    def __init__(self, n_labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 1
        for next_width in _CHANNELS:
            layers += [
                nn.Conv2d(width, next_width, 3, stride=2 if width == 1 else 1, padding=1, bias=False),
                nn.BatchNorm2d(next_width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            width = next_width
        self.blocks = nn.Sequential(*layers)
        self.output = nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(2 * width, n_labels))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return logits [batch, n_labels] float32 for windows [batch, 150, n_bands] float32."""
        maps = self.blocks(windows.unsqueeze(1)).flatten(2)
        logits: torch.Tensor = self.output(torch.cat([maps.mean(dim=2), maps.amax(dim=2)], dim=1))
        return logits


class RecurrentNetwork(nn.Module):
    """A bidirectional GRU over pairs of frames (40 ms), and the mean of its states."""

    def __init__(self, n_bands: int, n_labels: int) -> None:
        super().__init__()
        self.states = nn.GRU(2 * n_bands, _HIDDEN, batch_first=True, bidirectional=True)
        self.output = nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(2 * _HIDDEN, n_labels))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return logits [batch, n_labels] float32 for windows [batch, 150, n_bands] float32."""
        pairs = windows.reshape(len(windows), WINDOW_FRAMES // 2, -1)
        logits: torch.Tensor = self.output(self.states(pairs)[0].mean(dim=1))
        return logits


@dataclass(frozen=True, slots=True)
class SequenceModel:
    """A network that reads windows of standardised frames, with the scaler of its training rows.

    Attributes
    ----------
    scaler : VectorScaler
        Of each band.
    network : nn.Module
        In evaluation mode: windows [batch, 150, n_bands] float32 to logits [batch, n_labels] float32.
    n_labels : int
    """

    scaler: VectorScaler
    network: nn.Module
    n_labels: int

    @property
    def n_bytes(self) -> int:
        """Return the size of network and scaler."""
        return sum(int(value.nbytes) for value in self.network.state_dict().values()) + self.scaler.n_bytes

    def logits(self, inputs: Sequence[Inputs]) -> Logits:
        """Return [n, n_labels] float64 for n arrays [n_frames_i, n_bands] float32: for each, the mean over windows."""
        found = np.empty((len(inputs), self.n_labels))
        with torch.inference_mode():
            for number, one in enumerate(inputs):
                found[number] = self.network(_windows(_standardised(one, self.scaler))).double().mean(dim=0).numpy()
        return found

    def distances(self, inputs: Sequence[Inputs]) -> None:
        """Return None: windows have no distance from the training rows."""


class Sequences(Implementation):
    """The kinds ``cnn`` and ``rnn``, which cannot be packed into bundles yet."""

    def fit(
        self,
        recipe: Recipe,
        inputs: Sequence[Inputs],
        targets: Targets,
        seed: int,
        reference: Reference | None = None,
        on_step: OnStep = lambda: None,
    ) -> SequenceModel:
        """Fit the scaler and the network to n arrays [n_frames_i, n_bands] float32, with one row every 20 ms.

        All else is as ``Implementation.fit`` says.

        Raises
        ------
        DatasetError
            There are fewer than two rows, or fewer than two labels.
        """
        check_labels(targets)
        scaler = fit_vector_scaler(np.concatenate(inputs))
        rows = RandomWindows([_standardised(one, scaler) for one in inputs], targets)
        n_labels = len(targets.labels)
        with deterministic(seed):
            is_cnn = recipe.model == "cnn"
            network = ConvolutionalNetwork(n_labels) if is_cnn else RecurrentNetwork(rows.n_inputs, n_labels)
            optimise(network, rows, recipe, recipe.training.epochs, seed, lambda epoch, loss: on_step())
        return SequenceModel(scaler, network.eval(), n_labels)

    def n_steps(self, recipe: Recipe) -> int:
        """Return the number of epochs."""
        return recipe.training.epochs


class RandomWindows(Dataset[Batch]):
    """Random windows: each access draws a new window and new masks, with torch's global generator.

    Parameters
    ----------
    rows : Sequence[torch.Tensor]
        n arrays [n_frames, n_bands] float32, standardised, each at least as long as one window.
    targets : Targets
    """

    def __init__(self, rows: Sequence[torch.Tensor], targets: Targets) -> None:
        self.targets = targets
        self._rows = rows
        self._possible = torch.from_numpy(targets.possible)

    @property
    def n_inputs(self) -> int:
        """Return the number of bands in a frame."""
        return int(self._rows[0].shape[1])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a window [150, n_bands] float32 and the labels that it may have, [n_labels] bool."""
        row = self._rows[index]
        start = _random(len(row) - WINDOW_FRAMES + 1)
        window = row[start : start + WINDOW_FRAMES].clone()
        # 0 is the mean of each standardised band.
        window[_random_piece(WINDOW_FRAMES, _MASKED_FRAMES)] = 0
        window[:, _random_piece(self.n_inputs, _MASKED_BANDS)] = 0
        return window, self._possible[index]

    def __getitems__(self, index: list[int]) -> Batch:
        """Return windows [batch, 150, n_bands] float32 and the labels that they may have, [batch, n_labels] bool."""
        windows, possible = zip(*(self[i] for i in index), strict=True)
        return torch.stack(windows), torch.stack(possible)


def _random(below: int) -> int:
    return int(torch.randint(below, ()))


def _random_piece(length: int, longest: int) -> slice:
    n = _random(min(length, longest) + 1)
    start = _random(length - n + 1)
    return slice(start, start + n)


def _standardised(frames: Inputs, scaler: VectorScaler) -> torch.Tensor:
    """Return [max(n_frames, 150), n_bands] float32: scaled frames, with zeros at the end if shorter than a window."""
    scaled = scaler.transform(frames)
    return torch.from_numpy(np.pad(scaled, ((0, max(0, WINDOW_FRAMES - len(scaled))), (0, 0))))


def _windows(row: torch.Tensor) -> torch.Tensor:
    """Return [n, 150, n_bands]: windows that overlap by half; the last window ends where the row ends."""
    last = len(row) - WINDOW_FRAMES
    starts = sorted({*range(0, last, WINDOW_FRAMES // 2), last})
    return torch.stack([row[start : start + WINDOW_FRAMES] for start in starts])
