"""Which device to compute on; torch, which takes seconds to load, is asked only where a GPU may be."""

from __future__ import annotations

from pathlib import Path

from heartbeat_core.errors import DeviceError
from heartbeat_core.settings import Device

_DEVICE_FILES = ("nvidia[0-9]*", "kfd", "dxg")
"""Of NVIDIA's and AMD's drivers on Linux, and of Windows' under it."""


def has_gpu(folder: Path = Path("/dev")) -> bool:
    """Tell whether there is a device file of a GPU that torch may know; a container that is given none has none."""
    return any(next(folder.glob(pattern), None) is not None for pattern in _DEVICE_FILES)


def resolve_device(wanted: Device) -> str:
    """Return ``cpu`` or ``cuda``; ``auto`` is a GPU where there is one.

    Raises
    ------
    DeviceError
        ``cuda`` was asked for and is not there.
    """
    if wanted == "cpu":
        return "cpu"
    if has_gpu():
        import torch

        if torch.cuda.is_available():
            return "cuda"
    if wanted == "cuda":
        raise DeviceError("device: 'cuda' was asked for and is not there: 'auto' takes a GPU where there is one")
    return "cpu"
