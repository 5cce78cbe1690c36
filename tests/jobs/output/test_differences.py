"""Two jobs' differences, in words that a user of the command line knows."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.output.differences import advise, describe_differences

DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("there", "here", "told"),
    [
        ({"model": "cycles@b669"}, {"model": "seed-small@0a1b"}, "--model: cycles@b669 there, seed-small@0a1b here"),
        ({"keep_columns": []}, {"keep_columns": ["site", "age"]}, "--keep-columns: none there, site, age here"),
        ({"patient_column": "id"}, {"patient_column": None}, "--patient-column: id there, none here"),
        ({"path_column": None}, {"path_column": "file"}, "--path-column: none there, file here"),
        (
            {"selection": {"include": ["*.wav"], "exclude": []}},
            {"selection": {"include": [], "exclude": []}},
            "--include: *.wav there, none here",
        ),
        (
            {"limits": {"max_channels": 16, "deadline_s": 120.0}},
            {"limits": {"max_channels": 2, "deadline_s": 120.0}},
            "limits.max_channels: 16 there, 2 here",
        ),
        (
            {"inputs": ["file:///a", "s3://b/c"]},
            {"inputs": ["file:///a", "file:///d"]},
            "INPUT: /a, s3://b/c there, /a, /d here",
        ),
        (
            {"inputs": ["file:///a", "file:///b"]},
            {"inputs": ["file:///b", "file:///a"]},
            "INPUT: /a, /b there, /b, /a here",
        ),
        (
            {"inputs": [f"s3://b/{n}" for n in range(9)]},
            {"inputs": []},
            "INPUT: s3://b/0, s3://b/1, s3://b/2 and 6 more there, none here",
        ),
        ({"inputs": ["a", "b", "c", "d"]}, {"inputs": ["a", "b", "c"]}, "INPUT: d there, none of these here"),
        (
            {"inputs": ["a", "b", "c", "d"]},
            {"inputs": ["a", "b", "d", "c"]},
            "INPUT: a, b, c and 1 more there, a, b, d and 1 more here",
        ),
        (
            {"features": ["aligned"]},
            {"features": ["aligned", "cycles"]},
            "--features: aligned there, aligned, cycles here",
        ),
        ({"labels": DIGEST}, {"labels": None}, "--labels: 0123456789ab… there, none here"),
        ({"label_from_folder": True}, {"label_from_folder": False}, "--label-from parent-folder: yes there, no here"),
        (
            {"recipe": {"frames": {"delta_time_s": 0.1}}},
            {"recipe": {"frames": {"delta_time_s": 0.01}}},
            "--recipe frames.delta_time_s: 0.1 there, 0.01 here",
        ),
        (
            {"recipes": {"a": DIGEST}},
            {"recipes": {"b": DIGEST}},
            "--recipe a: 0123456789ab… there, none here; --recipe b: none there, 0123456789ab… here",
        ),
        ({"seeds": 3, "folds": 5}, {"seeds": 2, "folds": 5}, "--seeds: 3 there, 2 here"),
        (
            {"job": "classify", "model": "m"},
            {"job": "evaluate"},
            "'heartbeat classify' there, 'heartbeat evaluate' here",
        ),
        ({}, {"new": {"a": 1}}, "new: none there, a 1 here"),
    ],
)
def test_an_option_the_value_there_and_the_value_here(there: dict[str, Any], here: dict[str, Any], told: str) -> None:
    assert describe_differences(there, here) == told


@pytest.mark.parametrize(
    ("changed", "points_to_a_retry"),
    [
        ({"limits": {"max_channels": 2}}, True),
        ({"limits": {"max_channels": 2}, "model": "b"}, False),
        ({"model": "b"}, False),
        ({"job": "build-dataset", "limits": {"max_channels": 2}}, False),
    ],
)
def test_a_retry_is_what_other_limits_alone_are_good_for(changed: dict[str, Any], points_to_a_retry: bool) -> None:
    there = {"job": "classify", "model": "a", "limits": {"max_channels": 16}}
    told = advise(there, {**there, **changed}, "file:///a b/out")
    assert told.startswith(
        "name another folder, or run that job again ('heartbeat inspect '/a b/out'' shows its command)"
    )
    assert ("--retry-failed" in told) == points_to_a_retry
    dataset = {"job": "build-dataset", "limits": {"max_channels": 16}}
    assert "--retry-failed" not in advise(dataset, {**dataset, "limits": {"max_channels": 2}}, "out")
