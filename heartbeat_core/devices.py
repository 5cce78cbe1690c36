"""Choose the device to compute on. Torch takes seconds to load, so it is only asked if there may be a GPU."""

from __future__ import annotations

from pathlib import Path

from heartbeat_core.errors import DeviceError
from heartbeat_core.settings import Device

_DEVICE_FILES = ("nvidia[0-9]*", "kfd", "dxg")
"""Device files of the NVIDIA and AMD drivers on Linux, and of the Windows driver for Linux."""


def has_gpu(folder: Path = Path("/dev")) -> bool:
    """Return whether there is a device file of a GPU that torch may know; a container without a GPU has none."""
    return any(next(folder.glob(pattern), None) is not None for pattern in _DEVICE_FILES)


def resolve_device(wanted: Device) -> str:
    """Return ``cpu`` or ``cuda``; ``auto`` takes a GPU if there is one.

    Raises
    ------
    DeviceError
        ``cuda`` was requested but is not available.
    """
    if wanted == "cpu":
        return "cpu"
    if has_gpu():
        import torch

        if torch.cuda.is_available():
            return "cuda"
    if wanted == "cuda":
        raise DeviceError("device: 'cuda' is not available: use 'auto', which takes a GPU only if there is one")
    return "cpu"
