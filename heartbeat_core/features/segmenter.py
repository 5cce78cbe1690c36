"""Estimate the state of the heart (S1, systole, S2, diastole) every 20 ms, with a small convolutional network.

The network reads the envelopes of six bands, each standardised over the recording, through six dilated convolutions. It
is trained on the segments of CirCor (``learning.segmenting``), as the network of Renna et al. ("Deep convolutional
neural networks for heart sound segmentation", IEEE JBHI 23, 2019) on those of Springer et al.; it is computed here with
NumPy, so that a worker that only computes features does not load torch.

``segmenter.safetensors`` holds six networks in float16: ``all`` is trained on every person, and ``fold-0`` to
``fold-4`` each without a fifth of the persons, as ``left_out_fold`` divides them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from heartbeat_core.features.signal import Signal, envelope

BANDS_HZ = ((25.0, 45.0), (45.0, 80.0), (80.0, 130.0), (130.0, 200.0), (200.0, 320.0), (320.0, 550.0))
DILATIONS = (1, 2, 4, 8, 16, 32)
KERNEL = 5
N_FOLDS = 5
ALL = "all"
WEIGHTS_NAME = "segmenter.safetensors"
Levels = NDArray[np.float32]
LogPosteriors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Network:
    """The weights of one network, ready for ``weight @ x + bias``.

    Attributes
    ----------
    layers : tuple[tuple[ndarray, ndarray], ...]
        Weight [24, 5 * n_in] and bias [24, 1] float32 of each convolution.
    head : tuple[ndarray, ndarray]
        Weight [4, 24] and bias [4, 1] float32.
    """

    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    head: tuple[NDArray[np.float32], NDArray[np.float32]]


def left_out_fold(person: str) -> int:
    """Return the fold, 0 to 4, of a person: the one whose network never saw that person.

    Parameters
    ----------
    person : str
        The group of a dataset's row, such as ``patient:circor_14241``.
    """
    return int(hashlib.sha256(person.encode()).hexdigest(), 16) % N_FOLDS


def network_for(person: str | None) -> Network:
    """Return the network that never saw a person; without a person, the network trained on all."""
    return read_network(ALL if person is None else f"fold-{left_out_fold(person)}")


@lru_cache(maxsize=N_FOLDS + 1)
def read_network(name: str) -> Network:
    """Return one of the six networks: ``all``, or ``fold-0`` to ``fold-4``."""
    tensors = {
        key.removeprefix(f"{name}."): value.astype(np.float32)
        for key, value in _tensors().items()
        if key.startswith(f"{name}.")
    }
    layers = tuple(_layer(tensors, f"convolutions.{i}") for i in range(len(DILATIONS)))
    return Network(layers, _layer(tensors, "head"))


def band_envelopes(signal: Signal) -> Levels:
    """Return [n, 6] float32 at 50 Hz: the envelopes of ``BANDS_HZ`` of a signal, as ``prepare`` returns it."""
    envelopes = np.array([envelope(signal, *band_hz) for band_hz in BANDS_HZ])
    n = envelopes.shape[1] // 2
    halved: Levels = (0.5 * (envelopes[:, 0 : 2 * n : 2] + envelopes[:, 1 : 2 * n : 2])).astype(np.float32).T
    return halved


def standardise(envelopes: Levels) -> Levels:
    """Return [n, 6] float32: the logarithms of envelopes, each band with mean 0 and deviation 1.

    A thousandth of its mean is added to each envelope, so that pauses without any noise do not outweigh all else.

    Parameters
    ----------
    envelopes : ndarray, [n, 6] float32
        As ``band_envelopes`` returns them, n > 0.
    """
    levels = np.log(envelopes + np.float32(1e-3) * envelopes.mean(axis=0) + np.float32(1e-9))
    levels = levels - levels.mean(axis=0)
    result: Levels = levels / (levels.std(axis=0) + np.float32(1e-3))
    return result


def log_posteriors(levels: Levels, network: Network) -> LogPosteriors:
    """Return [n, 4] float32: the natural logarithms of the probabilities of S1, systole, S2 and diastole.

    Parameters
    ----------
    levels : ndarray, [n, 6] float32
        As ``standardise`` returns them.
    network : Network
    """
    n, x = len(levels), levels.T
    for i, ((weight, bias), dilation) in enumerate(zip(network.layers, DILATIONS, strict=True)):
        reach = dilation * (KERNEL // 2)
        padded = np.zeros((len(x), n + 2 * reach), np.float32)
        padded[:, reach : reach + n] = x
        hidden = weight @ np.concatenate([padded[:, k * dilation : k * dilation + n] for k in range(KERNEL)])
        hidden += bias
        np.maximum(hidden, 0, out=hidden)
        x = np.add(x, hidden, out=hidden) if i else hidden
    weight, bias = network.head
    scores = weight @ x + bias
    scores -= scores.max(axis=0)
    scores -= np.log(np.exp(scores).sum(axis=0))
    result: LogPosteriors = scores.T
    return result


@lru_cache(maxsize=1)
def _tensors() -> dict[str, NDArray[np.float16]]:
    content = files("heartbeat_core.features").joinpath(WEIGHTS_NAME).read_bytes()
    tensors: dict[str, NDArray[np.float16]] = safetensors.numpy.load(content)
    return tensors


def _layer(tensors: dict[str, NDArray[np.float32]], name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a convolution's weight [n_out, n_in, kernel] as one matrix [n_out, kernel * n_in], and its bias."""
    weight = tensors[f"{name}.weight"]
    return np.ascontiguousarray(weight.transpose(0, 2, 1)).reshape(len(weight), -1), tensors[f"{name}.bias"][
        :, np.newaxis
    ]
