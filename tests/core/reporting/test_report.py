"""Reports of made-up runs: what the first screen says, and pages that hold to the rules of every page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from heartbeat_core.bundles.drift import DISTANCE_EDGES, drift_of
from heartbeat_core.bundles.manifest import BundleManifest, read_manifest
from heartbeat_core.features.groups import groups_read
from heartbeat_core.reporting.drawing import draw
from heartbeat_core.reporting.drift import distance_percentiles, verdict
from heartbeat_core.reporting.facts import FailureType, ReportFacts, ShardDrift, Task
from heartbeat_core.reporting.render import render
from heartbeat_core.reporting.report import build_report
from heartbeat_core.reporting.run import rate_over_time, working_seconds
from heartbeat_core.results.sample import Sample
from tests import naive
from tests.core.reporting.test_drawing import assert_texts_lie_within
from tests.pagecheck import read_page

HOSTILE = '<script>alert("1")</script> & $x$ "quoted" 心音 ' + "long" * 40
READ = groups_read("statistics+cycles")
WIDTH = sum(len(one.columns) for one in READ)


@pytest.fixture(scope="module")
def manifest() -> BundleManifest:
    return read_manifest("cycles")


def drifted(mean: float, n: int = 60) -> Any:
    return drift_of(np.random.default_rng(0).normal(mean, 0.5, (n, WIDTH)), READ)


def facts_of(manifest: BundleManifest | None, **more: Any) -> ReportFacts:
    """Return the facts of a run of 100 recordings, of which 4 failed."""
    rng = np.random.default_rng(1)
    labels = np.array(["murmur"] * 60 + ["normal"] * 36, object)
    unsure = np.arange(96) < 10
    predictions = {
        "predicted_label": labels,
        "confidence": rng.uniform(0.3, 1, 96),
        "unsure": unsure.astype(float),
        "unsure_reason": np.where(unsure, "low_confidence,poor_quality", None),
    }
    recordings = {
        "duration_s": rng.uniform(0.5, 30, 96),
        "sample_rate_hz": np.array([4000.0] * 90 + [44100.0] * 6),
        "channels": np.ones(96),
        "format": np.array(["WAV"] * 96, object),
        "subtype": np.array(["PCM_16"] * 96, object),
        "truncated": np.zeros(96),
        "rms_amplitude": rng.uniform(0, 0.5, 96),
        "dc_offset": np.zeros(96),
        "clipped_fraction": np.zeros(96),
        "silent_fraction": np.ones(96),
        "offset_frames": np.arange(96.0),
        "alignment_distance": np.arange(96.0),
        "n_frames_cut": np.zeros(96),
        "heart_rate_bpm": rng.uniform(50, 120, 96),
        "device": np.array([HOSTILE] * 95 + [None], object),
    }
    given: dict[str, Any] = {
        "job": "classify",
        "folder": "/out/" + HOSTILE,
        "state": "finished",
        "listed": 100,
        "done": 96,
        "failed": 4,
        "left": 0,
        "n_generations": 1,
        "n_duplicates": 12,
        "labels": {"murmur": 60, "normal": 36},
        "failures": {"truncated": FailureType(3, [(HOSTILE, "it breaks off")]), "empty": FailureType(1, [])},
        "predictions": Sample(predictions, {}, 3, 3, 1),
        "recordings": Sample(recordings, {}, 3, 3, 1),
        "drift": drifted(0.0),
        "shards": [ShardDrift(k, 20, 0.1 * k) for k in range(5)],
        "tasks": [Task(25, f"host:{k % 2}", 100.0 + k, 102.0 + k, {"read": 0.5, "features": 1.0}) for k in range(4)],
        "manifest": manifest,
        "provenance": {"job": "classify", "inputs": HOSTILE},
        "made_at": "2026-01-01 00:00 UTC",
    }
    return ReportFacts(**{**given, **more})


def test_a_page_holds_to_the_rules(manifest: BundleManifest) -> None:
    report = build_report(facts_of(manifest))
    html = render(report, "now", "heartbeat")
    page = read_page(html)
    assert "<script>alert" not in html
    assert HOSTILE in page.text
    for section in report.sections:
        assert section.name in page.anchors
        assert section.name in page.ids
    for figure in report.figures:
        assert figure.help.endswith(".")
        assert f"figure-{figure.name}" in page.ids
        assert figure.chart is None or figure.alt
        shown = page.tables[figure.name]
        assert len(shown) - 1 == len(next(iter(figure.numbers.values())))
        assert shown[0] == [name.replace("_", " ") for name in figure.numbers]
    assert [one.title for one in report.sections][-1] == "Provenance"
    assert dict(report.summary)["Same audio as an earlier recording"] == "12 (12 %)"
    names = [figure.name for figure in report.figures]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("job", ["classify", "build-dataset"])
def test_an_empty_run_has_a_page(job: str) -> None:
    nothing = Sample({}, {}, 0, 0, 1)
    facts = facts_of(
        None,
        job=job,
        listed=9,
        done=0,
        failed=0,
        left=9,
        n_duplicates=None,
        labels={},
        failures={},
        tasks=[],
        shards=[],
        predictions=nothing,
        recordings=nothing,
        drift=None,
        state="not finished",
    )
    page = read_page(render(build_report(facts), "now", "heartbeat"))
    assert "9 of 9 recordings have no row yet" in page.text


def test_the_first_screen_warns_of_a_foreign_bucket(manifest: BundleManifest) -> None:
    report = build_report(facts_of(manifest, drift=drifted(0.8)))
    assert report.findings[0].level == "bad"
    assert "unlike the training data" in report.findings[0].text
    assert "brighter" in report.findings[0].text
    assert "calls 62 % of them 'murmur', a label that 22 % of its training rows have" in report.findings[0].text
    assert dict(report.summary)["Against the training data"].startswith("unlike")


@pytest.mark.parametrize(
    ("mean", "told"), [(0.0, "like"), (0.45, "somewhat unlike"), (0.6, "unlike"), (-0.6, "unlike")]
)
def test_the_verdict_follows_the_shift(manifest: BundleManifest, mean: float, told: str) -> None:
    facts = facts_of(manifest, drift=drifted(mean))
    assert verdict(facts) == told
    words = " ".join(one.text for one in build_report(facts).findings)
    assert ("darker" in words) == (mean < -0.2)


def test_foreign_shards_are_named_though_they_cancel_out(manifest: BundleManifest) -> None:
    shards = [*(ShardDrift(k, 10, 0.1) for k in range(6)), *(ShardDrift(k, 10, 0.9, f"b/{k}.wav") for k in (6, 7))]
    facts = facts_of(manifest, shards=shards)
    assert verdict(facts) == "partly unlike"
    report = build_report(facts)
    assert any("25 % of them lie in shards that are unlike" in one.text for one in report.findings)
    assert not [one for one in report.findings if "are like the training data" in one.text]
    [table] = [one for one in report.figures if one.name == "drift-farthest"]
    assert table.numbers["first_recording"] == ["b/6.wav", "b/7.wav"]


def test_few_recordings_and_other_models_have_no_verdict(manifest: BundleManifest) -> None:
    assert verdict(facts_of(manifest, drift=drifted(3.0, n=7))) == "unknown"
    assert verdict(facts_of(manifest, drift=None)) == "unknown"
    findings = build_report(facts_of(manifest, drift=None)).findings
    assert not [one for one in findings if "training data" in one.text]


def test_many_marked_predictions_are_a_finding(manifest: BundleManifest) -> None:
    facts = facts_of(manifest)
    assert facts.predictions is not None
    columns = dict(facts.predictions.columns)
    columns["unsure_reason"] = np.array(["out_of_distribution"] * 24 + [None] * 72, object)
    told = build_report(replace(facts, predictions=replace(facts.predictions, columns=columns))).findings
    assert "25 % of the predictions lie farther from the training data than 99.5% of its training rows." in {
        one.text for one in told
    }


def test_failures_are_told_by_their_share() -> None:
    few = build_report(facts_of(None, listed=100, failed=4)).findings
    many = build_report(facts_of(None, listed=10, failed=4)).findings
    assert [one.level for one in few if "failed" in one.text] == ["look"]
    assert [one.level for one in many if "failed" in one.text] == ["bad"]
    none = build_report(facts_of(None, failed=0, failures={}, listed=96)).findings
    assert any(one.level == "good" and "All 96" in one.text for one in none)


def test_percentiles_of_binned_distances() -> None:
    counts = np.zeros(len(DISTANCE_EDGES) + 1, np.int64)
    counts[3], counts[4] = 50, 50  # 0.75 to 1, and 1 to 1.25.
    assert distance_percentiles(counts) == [0.8, 0.875, 1.0, 1.125, 1.2]


def test_a_sample_is_said_to_be_one(manifest: BundleManifest) -> None:
    facts = facts_of(manifest, done=50_000)
    assert facts.recordings is not None
    assert facts.predictions is not None
    part = replace(
        facts, recordings=replace(facts.recordings, of_parts=90), predictions=replace(facts.predictions, of_parts=90)
    )
    notes = {one.name: one.note for one in build_report(part).figures}
    for name in (
        "confidence",
        "confidence-by-label",
        "unsure",
        "durations",
        "quality",
        "levels",
        "heart-rates",
        "offsets",
    ):
        assert notes[name] == "From a sample: 96 of 50,000 rows, at even distances in the listing."
    assert dict(build_report(part).summary)["Unsure"] == "about 10 %"


def test_heart_rates_come_from_what_was_written(manifest: BundleManifest) -> None:
    facts = facts_of(manifest)
    assert facts.recordings is not None

    def titles(*without: str, **more: Any) -> tuple[list[str], str]:
        assert facts.recordings is not None
        columns = {name: one for name, one in facts.recordings.columns.items() if name not in without} | more
        sections = build_report(replace(facts, recordings=replace(facts.recordings, columns=columns))).sections
        [section] = [one for one in sections if one.name == "heart"]
        return [figure.name for figure in section.figures], " ".join(section.lead)

    assert titles()[0] == ["heart-rates"]
    named, lead = titles("heart_rate_bpm", rhythm_low_period_s=np.full(96, 0.8))
    assert named == ["heart-rates"]
    assert "rough estimate" in lead
    assert titles("heart_rate_bpm") == (
        [],
        "The features that were written have no heart rate: '--features …,beats' writes one for each recording.",
    )


def test_a_heart_rate_without_confidence_counts_as_not_found(manifest: BundleManifest) -> None:
    facts = facts_of(manifest)
    assert facts.recordings is not None
    rates, confidences = np.tile([0.0, 60.0, 80.0, 100.0], 24), np.tile([0.9, 0.29, 0.3, 0.9], 24)
    columns = {**facts.recordings.columns, "heart_rate_bpm": rates, "heart_rate_confidence": confidences}
    report = build_report(replace(facts, recordings=replace(facts.recordings, columns=columns)))
    [section] = [one for one in report.sections if one.name == "heart"]
    assert section.lead[0].startswith("No heart rate was found in 48 of 96 recordings. One whose heart_rate_confidence")
    numbers = section.figures[0].numbers
    shown = {start: count for start, count in zip(numbers["from"], numbers["recordings"], strict=True) if count}
    assert sum(shown.values()) == 48
    assert min(shown) >= 79


def test_work_is_the_time_in_which_a_task_was_under_way() -> None:
    spans = [(0.0, 10.0), (2.0, 4.0), (8.0, 15.0), (1000.0, 1005.0)]
    tasks = [Task(10, "a:1", start, end, {}) for start, end in sorted(spans, key=lambda one: one[1])]
    tenths = {round(start + k / 10, 1) for start, end in spans for k in range(round((end - start) * 10))}
    assert working_seconds(tasks) == pytest.approx(len(tenths) / 10)
    minutes, rates = rate_over_time(tasks)
    assert minutes[-1] == pytest.approx(20 / 60, abs=1e-3)
    assert sum(rates) * 20 / len(rates) == pytest.approx(40)


def test_each_chart_of_a_report_is_drawn(manifest: BundleManifest) -> None:
    for figure in build_report(facts_of(manifest)).figures:
        if figure.chart is None:
            with pytest.raises(ValueError, match="has no chart"):
                draw(figure)
            continue
        svg = draw(figure)
        assert svg == draw(figure), "the same figure is the same drawing"
        assert "var(--ink)" in svg
        assert_texts_lie_within(svg)


def test_a_histogram_draws_each_count(manifest: BundleManifest) -> None:
    [figure] = [one for one in build_report(facts_of(manifest)).figures if one.name == "durations"]
    facts = facts_of(manifest)
    assert facts.recordings is not None
    values = np.asarray(facts.recordings.columns["duration_s"], float).tolist()
    edges = [*figure.numbers["from"], figure.numbers["to"][-1]]
    assert figure.numbers["recordings"] == naive.counts_between(values, edges)
