"""The science of heartbeat: from the bytes of a heart-sound recording to frames, alignment, features and predictions.

Nothing here knows Dask; the drivers live in ``jobs``. The names below are the public interface; each is loaded when it
is used first, so that ``import heartbeat_core`` takes no time.

Examples
--------
>>> import numpy as np
>>> import heartbeat_core as hb
>>> samples = hb.synthesise("murmur", sample_rate_hz=4_000, duration_s=6.0, rng=np.random.default_rng(1))
>>> prediction = hb.predict(samples, sample_rate_hz=4_000)
>>> prediction.label in prediction.probabilities
True
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heartbeat_core.alignment.placement import Placement, Reference, place
    from heartbeat_core.audio.decode import Waveform, decode
    from heartbeat_core.audio.synthesis import synthesise
    from heartbeat_core.bundles.bundle import Bundle
    from heartbeat_core.bundles.bundle import load as load_bundle
    from heartbeat_core.bundles.predict import Prediction, predict
    from heartbeat_core.datasets.dataset import Dataset
    from heartbeat_core.features.extract import compute_features
    from heartbeat_core.features.frames import compute_frames
    from heartbeat_core.results.folder import Results

__version__ = "0.1.0"

_PLACES = {
    "Bundle": "bundles.bundle:Bundle",
    "Dataset": "datasets.dataset:Dataset",
    "Placement": "alignment.placement:Placement",
    "Prediction": "bundles.predict:Prediction",
    "Reference": "alignment.placement:Reference",
    "Results": "results.folder:Results",
    "Waveform": "audio.decode:Waveform",
    "compute_features": "features.extract:compute_features",
    "compute_frames": "features.frames:compute_frames",
    "decode": "audio.decode:decode",
    "load_bundle": "bundles.bundle:load",
    "place": "alignment.placement:place",
    "predict": "bundles.predict:predict",
    "synthesise": "audio.synthesis:synthesise",
}

__all__ = [
    "Bundle",
    "Dataset",
    "Placement",
    "Prediction",
    "Reference",
    "Results",
    "Waveform",
    "compute_features",
    "compute_frames",
    "decode",
    "load_bundle",
    "place",
    "predict",
    "synthesise",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is used first (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return resolve_name(f"{__name__}.{_PLACES[name]}")


def __dir__() -> list[str]:
    """Return the public names too, so that an editor completes them."""
    return sorted([*globals(), *__all__])
