"""The reference on the device that is asked for."""

from __future__ import annotations

from functools import partial

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.arrays import Frames


def make_reference(frames: Frames, device: str) -> Reference:
    """Return a reference whose cross terms are computed on a device.

    Parameters
    ----------
    frames : ndarray, [length, 2] float32
        Hz, linear magnitude.
    device : str
        ``cpu`` computes with SciPy, ``cuda`` with torch. The offsets are the same.

    Raises
    ------
    ValueError
        The frames are empty, or not [length, 2].
    """
    if device == "cpu":
        return Reference(frames)
    # Imported here because torch takes a second to load.
    from heartbeat_core.alignment.torch_correlator import TorchCorrelator

    return Reference(frames, partial(TorchCorrelator, device=device))
