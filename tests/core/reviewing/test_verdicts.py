"""Verdicts from each kind of file, as people and programs leave them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from heartbeat_core.errors import InputError
from heartbeat_core.reviewing.verdicts import Verdict, read_verdicts, settle

A, B = "0123456789abcdef", "0000123456789e12"
LABELS = ("normal", "murmur")


def task(recording_id: str, *choices: str, **more: Any) -> dict[str, Any]:
    """Return a task as Label Studio exports it (https://labelstud.io/guide/task_format)."""
    annotations = [
        {
            "id": number,
            "completed_by": 1,
            "result": [
                {
                    "from_name": "verdict",
                    "to_name": "picture",
                    "type": "choices",
                    "origin": "manual",
                    "value": {"choices": [choice]},
                }
            ],
            "was_cancelled": False,
            "created_at": "2026-11-30T02:00:00.000000Z",
            "updated_at": "2026-11-30T02:30:00.000000Z",
            **more,
        }
        for number, choice in enumerate(choices)
    ]
    return {"id": 7, "data": {"recording_id": recording_id, "audio_sha256": "ab", "chosen": "random"}} | {
        "annotations": annotations,
        "predictions": [],
    }


def test_label_studio() -> None:
    data = json.dumps([task(A, "murmur"), task(B), task(B, "normal", was_cancelled=True)]).encode()
    found = read_verdicts(data, ".json", "export.json")
    when = datetime(2026, 11, 30, 2, 30, tzinfo=UTC)
    assert found == [Verdict(A, "murmur", "label-studio", "ab", "random", when)]


def test_audacity_with_frequencies_and_several_tracks_in_one_file() -> None:
    lines = (
        f"0.000000\t9.800000\tverdict {A}.0A1B2C3D uncertain|random = Murmur \n"
        "\\\t-1.000000\t300.000000\n"
        "0.120000\t0.240000\tS1\n"
        "2.000000\t2.300000\tmurmur\n"
        f"0.000000\t3.000000\tVerdict {B.upper()} = normal\r\n"
        "0.000000\t3.000000\tverdict aaaaaaaaaaaaaaaa random = ?\n"
        "0.000000\t3.000000\tverdict bbbbbbbbbbbbbbbb random =\n"
    )
    found = settle(read_verdicts(lines.encode(), ".txt", "labels.txt"), LABELS)
    assert [(one.recording_id, one.verdict, one.audio_sha256, one.reasons) for one in found] == [
        (A, "murmur", "0a1b2c3d", "uncertain|random"),
        (B, "normal", None, None),
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"recording,verdict\nid-{B},murmur\nid-{A},\n",
        f"verdict;recording_id\r\nmurmur;{B}\r\n?;{A}\r\n",
        f"\ufeffrecording\tverdict\nid-{B}\tmurmur\n",
    ],
)
def test_csv_as_spreadsheets_write_it(text: str) -> None:
    found = read_verdicts(text.encode(), ".csv", "review.csv")
    assert [(one.recording_id, one.verdict) for one in found] == [(B, "murmur")]


@pytest.mark.parametrize(
    ("data", "suffix", "told"),
    [
        (b"{}", ".json", "neither the page's verdicts nor Label Studio's"),
        (b"[1]", ".json", "neither the page's verdicts nor Label Studio's"),
        (b'[{"data": {}}]', ".json", "neither the page's verdicts nor Label Studio's"),
        (b'{"kind": "heartbeat-verdicts", "verdicts": [{"recording_id": 5, "verdict": "x"}]}', ".json", "neither"),
        (b"\xff\xfe", ".json", "neither the page's verdicts nor Label Studio's"),
        (b"a,b\n1,2\n", ".csv", "expected the columns recording and verdict, found a, b"),
        (b"recording,verdict\n,murmur\n", ".csv", "row 2: a verdict without a recording"),
        (b"0\t1\tS1\n", ".txt", "no label is 'verdict ID = LABEL'"),
        (b"\xff\xfe\x00", ".txt", "not UTF-8"),
        (b"", ".xlsx", "verdicts are a file in .json, .csv, .txt"),
    ],
)
def test_other_files_are_refused_by_name(data: bytes, suffix: str, told: str) -> None:
    with pytest.raises(InputError, match=f"^the-file.*{told}") as error:
        read_verdicts(data, suffix, "the-file")
    assert "\n" not in str(error.value)


def test_two_verdicts_that_differ_are_refused() -> None:
    same = [Verdict(A, "Murmur", "csv"), Verdict(A, "murmur", "csv")]
    assert len(settle(same, LABELS)) == 1
    with pytest.raises(InputError, match=f"{A} has two verdicts, murmur and normal"):
        settle([*same, Verdict(A, "normal", "csv")], LABELS)


def test_a_verdict_that_is_no_label_is_refused() -> None:
    with pytest.raises(InputError, match=f"{A}: 'loud' is no verdict: expected normal, murmur or cannot tell"):
        settle([Verdict(A, "loud", "csv")], LABELS)
