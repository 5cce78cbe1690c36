"""Array types that all wings share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import SupportsFloat

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]
Values = NDArray[np.float64]
Named = Mapping[str, SupportsFloat]
"""Single values, by name."""
Inputs = NDArray[np.float32]
Logits = NDArray[np.float64]
Codes = NDArray[np.int64]
