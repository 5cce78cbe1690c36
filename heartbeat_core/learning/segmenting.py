"""Train the network that segments heart sounds, which ``features.segmenter`` computes with NumPy.

Each epoch reads one random window of one random copy of each recording. Copies are heard through simulated devices and
noise (``features.augmentation``). Most windows are stretched in time by state, because the recordings of one database
have too few rates: diastole most, as in the heart.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from heartbeat_core.errors import DatasetError
from heartbeat_core.features.augmentation import alter_sound
from heartbeat_core.features.decoding import STATE_HZ
from heartbeat_core.features.segmenter import BANDS_HZ, DILATIONS, KERNEL, Levels, band_envelopes, standardise
from heartbeat_core.features.signal import RATE_HZ, prepare, resample
from heartbeat_core.learning.training import deterministic

WIDTH = 24
N_STATES = 4
UNKNOWN = -1
"""The state of a frame that nobody annotated."""
KNOWN_MIN = 50
"""Recordings with fewer annotated frames, 1 s, are left out."""
WINDOW_FRAMES, BATCH_SIZE = 512, 64
EPOCHS, LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 60, 4e-3, 1e-2, 0.1
DROPOUT, LABEL_SMOOTHING, MAX_NORM = 0.1, 0.02, 1.0
STRETCHED = 0.8
"""Share of the windows whose time is stretched."""
OnEpoch = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Example:
    """One recording to learn from.

    Attributes
    ----------
    envelopes : ndarray, [n_copies, n, 6] float32
        At 50 Hz: first of the recording, then of its altered copies.
    states : ndarray, [n] int64
        0 S1, 1 systole, 2 S2, 3 diastole, or ``UNKNOWN``.
    """

    envelopes: Levels
    states: NDArray[np.int64]


class SegmenterNetwork(nn.Module):
    """Dilated convolutions over time, each added to its input but the first; then one score for each state."""

    def __init__(self) -> None:
        super().__init__()
        widths = [len(BANDS_HZ), *[WIDTH] * len(DILATIONS)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, WIDTH, KERNEL, padding=dilation * (KERNEL // 2), dilation=dilation)
            for width, dilation in zip(widths, DILATIONS, strict=False)
        )
        self.head = nn.Conv1d(WIDTH, N_STATES, 1)
        self.dropout = nn.Dropout1d(DROPOUT)

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """Return scores [batch, 4, n] float32 for levels [batch, 6, n] float32."""
        first, *others = self.convolutions
        x = torch.relu(first(levels))
        for convolution in others:
            x = x + self.dropout(torch.relu(convolution(x)))
        scores: torch.Tensor = self.head(x)
        return scores


def make_example(
    samples: NDArray[np.float32], sample_rate_hz: int, segments: NDArray[np.float64], n_copies: int
) -> Example:
    """Compute the envelopes of a recording and of altered copies; the same samples always give the same.

    Parameters
    ----------
    samples : ndarray, [n] float32
        Mono.
    sample_rate_hz : int
        Native sample rate.
    segments : ndarray, [n_segments, 3] float64
        As ``Dataset.segments`` returns them.
    n_copies : int
        Number of altered copies.
    """
    resampled = resample(samples, sample_rate_hz)
    seed = zlib.crc32(np.ascontiguousarray(samples).tobytes())
    copies = (alter_sound(resampled, np.random.default_rng([seed, copy])) for copy in range(n_copies))
    rows = [band_envelopes(prepare(one, RATE_HZ)) for one in (resampled.astype(np.float32), *copies)]
    return Example(np.stack(rows), frame_states(segments, len(rows[0])))


def frame_states(segments: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Return the state in the middle of each frame of 20 ms.

    Parameters
    ----------
    segments : ndarray, [n_segments, 3] float64
        Start and end in s, and the state: 1 S1, 2 systole, 3 S2, 4 diastole, 0 where nobody annotated.
    n : int
        Number of frames.

    Returns
    -------
    ndarray, [n] int64
        0 S1, 1 systole, 2 S2, 3 diastole; ``UNKNOWN`` where no segment says one.
    """
    times_s = (np.arange(n) + 0.5) / STATE_HZ
    states = np.full(n, UNKNOWN, np.int64)
    for start_s, end_s, state in segments.tolist():
        # In the database, state 0 means that nobody annotated this stretch.
        states[(times_s >= start_s) & (times_s < end_s)] = int(state) - 1
    return states


def train_segmenter(
    examples: Sequence[Example], seed: int, epochs: int = EPOCHS, on_epoch: OnEpoch | None = None
) -> SegmenterNetwork:
    """Train the network; the same examples and seed give the same weights on the same machine.

    Parameters
    ----------
    examples : Sequence[Example]
        Those with less than 1 s of known states are left out.
    seed : int
    epochs : int
    on_epoch : OnEpoch | None
        Called with the number of the epoch, counted from 1, and its mean loss.

    Returns
    -------
    SegmenterNetwork
        In evaluation mode.

    Raises
    ------
    DatasetError
        Fewer recordings than a batch have known states.
    """
    usable = [one for one in examples if np.count_nonzero(one.states != UNKNOWN) >= KNOWN_MIN]
    n_batches = len(usable) // BATCH_SIZE
    if not n_batches:
        raise DatasetError(f"{len(usable)} recordings have segments of heart sounds: {BATCH_SIZE} are needed at least")
    rng = np.random.default_rng(seed)
    with deterministic(seed):
        network = SegmenterNetwork()
        optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, LEARNING_RATE, total_steps=epochs * n_batches + 1, pct_start=WARM_UP
        )
        for epoch in range(1, epochs + 1):
            order, total = rng.permutation(len(usable)), 0.0
            for batch in np.split(order[: n_batches * BATCH_SIZE], n_batches):
                levels, states = _windows([usable[i] for i in batch.tolist()], rng)
                loss = nn.functional.cross_entropy(
                    network(levels), states, ignore_index=UNKNOWN, label_smoothing=LABEL_SMOOTHING
                )
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM)
                optimiser.step()
                scheduler.step()
                total += loss.item()
            if on_epoch is not None:
                on_epoch(epoch, total / n_batches)
    return network.eval()


def stored_weights(network: SegmenterNetwork) -> dict[str, NDArray[np.float16]]:
    """Return the weights in float16, by name, as ``features.segmenter`` reads them."""
    return {name: value.numpy().astype(np.float16) for name, value in network.state_dict().items()}


def stretch(envelopes: Levels, states: NDArray[np.int64], rng: np.random.Generator) -> tuple[Levels, NDArray[np.int64]]:
    """Stretch time, by one random factor for each state, so that states last longer or shorter.

    Parameters
    ----------
    envelopes : ndarray, [n, 6] float32
    states : ndarray, [n] int64
        At least one is known. Unknown frames are stretched as diastole is.
    rng : numpy.random.Generator

    Returns
    -------
    tuple[ndarray of float32, ndarray of int64]
        Envelopes [m, 6] and states [m].
    """
    sounds = rng.uniform(0.85, 1.25)
    first, systole, second = sounds * rng.uniform((0.85, 0.85, 0.85), (1.15, 1.3, 1.15))
    diastole = sounds * np.exp(rng.uniform(np.log(0.6), np.log(2.6)))
    # The last factor is that of UNKNOWN, which is -1.
    factors = np.array([first, systole, second, diastole, diastole])[states]
    ends = np.concatenate([[0.0], np.cumsum(factors)])
    places = np.interp(np.arange(int(ends[-1])) + 0.5, ends, np.arange(len(ends))) - 0.5
    before = np.clip(np.floor(places).astype(np.intp), 0, len(states) - 1)
    after = np.minimum(before + 1, len(states) - 1)
    share = (places - np.floor(places)).astype(np.float32)[:, np.newaxis]
    nearest = np.clip(np.rint(places).astype(np.intp), 0, len(states) - 1)
    stretched: Levels = envelopes[before] * (1 - share) + envelopes[after] * share
    return stretched, states[nearest]


def _windows(examples: Sequence[Example], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return levels [batch, 6, 512] float32 and states [batch, 512] int64 of a random window of each example."""
    levels = np.zeros((len(examples), WINDOW_FRAMES, len(BANDS_HZ)), np.float32)
    found = np.full((len(examples), WINDOW_FRAMES), UNKNOWN, np.int64)
    for row, one in enumerate(examples):
        envelopes, states = one.envelopes[rng.integers(len(one.envelopes))], one.states
        if rng.random() < STRETCHED:
            envelopes, states = stretch(envelopes, states, rng)
        start = int(rng.integers(0, max(1, len(states) - WINDOW_FRAMES + 1)))
        window = slice(start, start + WINDOW_FRAMES)
        n = len(states[window])
        levels[row, :n], found[row, :n] = standardise(envelopes)[window], states[window]
    return torch.from_numpy(levels.transpose(0, 2, 1).copy()), torch.from_numpy(found)
