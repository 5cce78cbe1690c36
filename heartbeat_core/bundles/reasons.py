"""The reasons why a model is not sure of a prediction, as the column ``unsure_reason`` names them."""

from __future__ import annotations

LOW_CONFIDENCE = "low_confidence"
POOR_QUALITY = "poor_quality"
OUT_OF_DISTRIBUTION = "out_of_distribution"
UNLIKE_TRAINING_DATA = "unlike_training_data"
NO_HEART_FOUND = "no_heart_found"
