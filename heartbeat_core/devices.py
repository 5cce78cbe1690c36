"""Whether this machine may have a GPU: asked before torch is loaded, which takes seconds."""

from __future__ import annotations

from pathlib import Path

_DEVICE_FILES = ("nvidia[0-9]*", "kfd", "dxg")
"""Of NVIDIA's and AMD's drivers on Linux, and of Windows' under it."""


def has_gpu(folder: Path = Path("/dev")) -> bool:
    """Tell whether there is a device file of a GPU that torch may know; a container that is given none has none."""
    return any(next(folder.glob(pattern), None) is not None for pattern in _DEVICE_FILES)
