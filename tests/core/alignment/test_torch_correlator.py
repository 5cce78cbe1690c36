"""Torch's transforms against the plain loop, on the processor; and on a GPU where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.alignment.reference import make_reference
from heartbeat_core.alignment.torch_correlator import TorchCorrelator
from heartbeat_core.devices import has_gpu, resolve_device
from heartbeat_core.errors import DeviceError
from tests import naive

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def reference_on(device: str, frames: np.ndarray) -> Reference:
    return Reference(frames, lambda frames: TorchCorrelator(frames, device))


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=60)
@given(length=st.integers(1, 300), part=st.floats(0, 1), levels=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_the_offsets_are_the_loops(device: str, length: int, part: float, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Few levels give many ties, one level silence.
    reference = rng.integers(0, levels, (length, 2)).astype(np.float32) * np.float32([100, 0.1])
    n = max(1, round(part * length))
    query = rng.integers(0, levels, (n, 2)).astype(np.float32) * np.float32([100, 0.1])
    assert reference_on(device, reference).best_offset(query) == naive.best_offset(query, reference)


@pytest.mark.parametrize("device", DEVICES)
def test_the_profile_is_within_its_bound(device: str) -> None:
    rng = np.random.default_rng(0)
    reference, query = (np.float32(rng.normal(100, 300, (n, 2))) for n in (5_000, 1_700))
    profile, bound = reference_on(device, reference).distance_profile(query)
    exact = [np.sum(np.square(query.astype(float) - reference[i : i + 1_700])) for i in range(5_000 - 1_700 + 1)]
    assert np.abs(profile - exact).max() <= bound


def test_a_reference_on_the_processor_is_the_usual_one() -> None:
    frames = np.ones((10, 2), np.float32)
    assert len(make_reference(frames, "cpu")) == 10


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu() -> None:
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(DeviceError, match="'cuda' is not available: use 'auto', which takes a GPU only if there"):
        resolve_device("cuda")


def test_a_gpu_is_known_by_its_device_file(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    assert not has_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert has_gpu(tmp_path)
