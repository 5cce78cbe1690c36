"""How many synthetic hearts, like the demo's, a model calls what they are, by label and device.

    python -m tests.benchmarks.demo_hearts [--model cycles] [--number 100] [--json FILE]

The hearts are drawn anew, with the demo's durations; the demo itself has too few of them. The figures say whether the
demo's predictions can be believed. They say nothing about real hearts.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from rich.table import Table

from heartbeat_core.audio.synthesis import synthesise
from heartbeat_core.bundles import bundle as bundles
from heartbeat_core.bundles.bundle import Bundle
from heartbeat_core.bundles.predict import predict
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.settings import DEFAULT_MODEL
from tests.benchmarks.common import report

DEVICES = {"phone": 44_100, "stethoscope": 4_000}
DURATION_S = (3.0, 10.0)


def main() -> None:
    """Predict the hearts and print the table."""
    parser = argparse.ArgumentParser(description="How many synthetic hearts a model calls what they are.")
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help=f"shipped model or a bundle's place [default: {DEFAULT_MODEL}]"
    )
    parser.add_argument("--number", type=int, default=100, help="hearts of each label and device [default: 100]")
    parser.add_argument(
        "--json", type=Path, help="where the figures go as JSON [default: build/benchmarks/demo-hearts.json]"
    )
    options = parser.parse_args()
    if options.number < 1:
        parser.error("--number is at least 1")
    bundle = bundles.load(options.model)
    table = Table("label", "device", "called so", "called otherwise", title=options.model)
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for label in ORIGINAL_LABELS:
        counts[label] = {}
        for device in DEVICES:
            called = predictions(bundle, label, device, options.number)
            counts[label][device] = dict(called)
            right = f"{called[label]} of {options.number}" if label in bundle.manifest.labels else "not a label of it"
            wrong = ", ".join(f"{name} {count}" for name, count in called.most_common() if name != label)
            table.add_row(label, device, right, wrong)
    report("demo-hearts", [table], {"model": options.model, "number": options.number, "called": counts}, options.json)


def predictions(bundle: Bundle, label: str, device: str, number: int) -> Counter[str]:
    """Return how often each label was predicted for so many hearts of one label and device."""
    called: Counter[str] = Counter()
    for seed in range(number):
        rng = np.random.default_rng((seed, ORIGINAL_LABELS.index(label), DEVICES[device]))
        samples = synthesise(label, DEVICES[device], rng.uniform(*DURATION_S), rng)
        called[predict(samples, bundle, sample_rate_hz=DEVICES[device]).label] += 1
    return called


if __name__ == "__main__":
    main()
