"""What a report says of how the rows were split."""

from __future__ import annotations

from heartbeat_core.evaluation.protocols import protocol_text
from heartbeat_core.evaluation.splits import folds_protocol


def test_the_grouped_folds_keep_their_text() -> None:
    assert protocol_text("grouped-folds", 5, 3) == folds_protocol(5, 3)


def test_what_is_left_out_is_named() -> None:
    assert protocol_text("leave-one-device-out", 5, 3) == (
        "Protocol: leave one device out: each device is predicted by a model that was trained on all other devices, "
        "without any recording of its patients; seeds 0 to 2, each with the same splits; "
        "reference, scaler, weights, thresholds and temperature fitted in the training rows only (the last by inner "
        "folds of these); predictions of all devices pooled."
    )
    assert "each database is predicted by a model that was trained" in protocol_text("leave-one-database-out", 5, 1)
