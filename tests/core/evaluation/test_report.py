"""What a reader of the leaderboard and of a recipe's section sees."""

from __future__ import annotations

import numpy as np

from heartbeat_core.evaluation.figures import (
    DeviceOverSeeds,
    LabelOverSeeds,
    PooledJudgement,
    RecipeFigures,
)
from heartbeat_core.evaluation.intervals import IntervalOverSeeds, OverSeeds
from heartbeat_core.evaluation.judging import OutOfFold, judge
from heartbeat_core.evaluation.markdown import markdown_table
from heartbeat_core.evaluation.pooling import pool
from heartbeat_core.evaluation.report import HEAD, leaderboard, leaderboard_rows, recipe_section
from heartbeat_core.labels import ORIGINAL_LABELS


def figure(value: float, low: float, high: float) -> IntervalOverSeeds:
    return IntervalOverSeeds(value=value, low=low, high=high, least=value - 0.01, most=value + 0.01)


def spread(value: float) -> OverSeeds:
    return OverSeeds(value=value, least=value - 0.01, most=value + 0.02)


def judgement(balanced_accuracy: float = 0.694) -> PooledJudgement:
    return PooledJudgement(
        n_seeds=3,
        n_rows=545,
        n_patients=300,
        labels=("normal", "murmur"),
        accuracy=figure(0.8126, 0.7777, 0.8555),
        balanced_accuracy=figure(balanced_accuracy, 0.641, 0.7512),
        macro_f1=figure(0.5, 0.4, 0.6),
        by_label={
            "murmur": LabelOverSeeds(n_rows=129, recall=spread(0.61), precision=None),
            "normal": LabelOverSeeds(n_rows=416, recall=spread(0.9), precision=spread(0.85)),
        },
        confusion_matrix=((1200, 48), (151, 236)),
        within_devices={
            "phone": DeviceOverSeeds(n_rows=85, labels=("normal",), balanced_accuracy=spread(0.64)),
            "stethoscope": DeviceOverSeeds(n_rows=460, labels=("normal", "murmur"), balanced_accuracy=spread(0.6004)),
        },
        ece=spread(0.051),
        brier=spread(0.432),
        risk_coverage=tuple(spread(0.02 * i) for i in range(1, 11)),
        aurc=spread(0.103),
    )


def rule(name: str, judged: PooledJudgement) -> RecipeFigures:
    return RecipeFigures(name=name, task="4 classes", dropped_labels=("artifact",), judgement=judged)


def entry(
    name: str,
    task: str,
    judged: PooledJudgement,
    no_better_than: tuple[str, ...] = (),
    fit_s: float | None = 1.0,
    weights_bytes: int | None = 10,
) -> RecipeFigures:
    return RecipeFigures(
        name=name,
        task=task,
        dropped_labels=(),
        judgement=judged,
        recipe_fingerprint="f" * 64,
        no_better_than=no_better_than,
        fit_s=fit_s,
        weights_bytes=weights_bytes,
    )


RECIPE = entry("statistics", "4 classes", judgement(), (), 12.34, 37_640)
DEVICE = rule("device rule", judgement(0.5))
MAJORITY = rule("majority rule", judgement(0.25))


def test_one_row_of_the_leaderboard() -> None:
    assert leaderboard_rows([RECIPE]) == [
        [
            "4 classes",
            "statistics",
            "0.694 (0.64 to 0.75)",
            "0.500 (0.40 to 0.60)",
            "0.813 (0.78 to 0.86)",
            "phone 0.640, stethoscope 0.600",
            "0.051",
            "–",
            "12.3",
            "37.6",
        ]
    ]
    assert len(HEAD) == 10


def test_a_recipe_that_beats_no_rule_says_so_and_a_rule_has_neither_fit_nor_calibration() -> None:
    poor = RECIPE.model_copy(update={"no_better_than": ("majority rule", "device rule"), "weights_bytes": None})
    cells = dict(zip(HEAD, leaderboard_rows([poor])[0], strict=True))
    assert cells["no better than"] == "majority rule, device rule"
    assert cells["weights (kB)"] == "–"
    assert cells["ECE"] == "0.051"
    cells = dict(zip(HEAD, leaderboard_rows([DEVICE])[0], strict=True))
    assert cells["recipe"] == "device rule"
    assert cells["balanced accuracy"].startswith("0.500 (")
    assert [cells[name] for name in ("ECE", "no better than", "fit (s)", "weights (kB)")] == ["–"] * 4


def test_a_recipe_that_is_fitted_in_no_time_or_nobody_knows_in_what_is_no_rule() -> None:
    for fit_s, told in ((0.0, "0.0"), (None, "–")):
        quick = RECIPE.model_copy(update={"fit_s": fit_s})
        assert not quick.is_rule
        assert leaderboard_rows([quick])[0][-2] == told
        assert leaderboard_rows([quick])[0][6] == "0.051"


def test_the_best_comes_first_within_each_task_and_rules_stand_among_the_recipes() -> None:
    five = entry("statistics", "5 classes", judgement(0.9), (), 1.0, 10)
    poor = entry("seed-small", "4 classes", judgement(0.33), ("device rule",), 1.0, 10)
    equal = entry("vote", "4 classes", judgement(), (), 1.0, None)
    rows = leaderboard_rows([MAJORITY, poor, five, RECIPE, DEVICE, equal])
    assert [(row[0], row[1]) for row in rows] == [
        ("4 classes", "statistics"),
        ("4 classes", "vote"),
        ("4 classes", "device rule"),
        ("4 classes", "seed-small"),
        ("4 classes", "majority rule"),
        ("5 classes", "statistics"),
    ]


def test_the_leaderboard_is_a_markdown_table_with_a_note() -> None:
    text = leaderboard([MAJORITY, RECIPE])
    table, note = text.split("\n\n")
    lines = table.splitlines()
    assert lines[0] == (
        "| task | recipe | balanced accuracy | macro-F1 | accuracy | within | ECE | no better than | fit (s) "
        "| weights (kB) |"
    )
    assert lines[1] == "|" + " --- |" * 10
    assert [line.split(" | ")[1] for line in lines[2:]] == ["statistics", "majority rule"]
    assert "95 % interval over patients" in note
    assert text.endswith("\n")


def test_a_name_cannot_break_a_table() -> None:
    assert markdown_table(("a", "b"), [("x|y", "two\nlines")]) == "| a | b |\n| --- | --- |\n| x\\|y | two lines |"


def test_the_section_of_a_recipe() -> None:
    paragraphs = recipe_section(RECIPE, [MAJORITY, DEVICE]).split("\n\n")
    assert paragraphs[0] == "## statistics: 4 classes"
    assert paragraphs[1].startswith("545 rows of 300 patients, ")
    assert "Seeds: 3. The balanced accuracy of each rule beside it lies below" in paragraphs[1]
    assert paragraphs[2].splitlines() == [
        "| figure | statistics | majority rule | device rule |",
        "| --- | --- | --- | --- |",
        "| accuracy | 0.813 (0.78 to 0.86) | 0.813 (0.78 to 0.86) | 0.813 (0.78 to 0.86) |",
        "| balanced accuracy | 0.694 (0.64 to 0.75) | 0.250 (0.64 to 0.75) | 0.500 (0.64 to 0.75) |",
        "| macro-F1 | 0.500 (0.40 to 0.60) | 0.500 (0.40 to 0.60) | 0.500 (0.40 to 0.60) |",
        "| balanced accuracy within phone (85 rows: normal) "
        "| 0.640 (0.630 to 0.660) | 0.640 (0.630 to 0.660) | 0.640 (0.630 to 0.660) |",
        "| balanced accuracy within stethoscope (460 rows: normal, murmur) "
        "| 0.600 (0.590 to 0.620) | 0.600 (0.590 to 0.620) | 0.600 (0.590 to 0.620) |",
    ]
    # In the labels' order, whatever that of the mapping.
    assert paragraphs[4].splitlines() == [
        "| label | rows | recall | precision |",
        "| --- | --- | --- | --- |",
        "| normal | 416 | 0.900 (0.890 to 0.920) | 0.850 (0.840 to 0.870) |",
        "| murmur | 129 | 0.610 (0.600 to 0.630) | – |",
    ]
    assert "summed over seeds (3)" in paragraphs[5]
    assert paragraphs[6].splitlines() == [
        "|  | normal | murmur |",
        "| --- | --- | --- |",
        "| normal | 1200 | 48 |",
        "| murmur | 151 | 236 |",
    ]
    assert "calibration error 0.051 (0.041 to 0.071), Brier score 0.432 (0.422 to 0.452)" in paragraphs[7]
    assert "(AURC) is 0.103 (0.093 to 0.123)" in paragraphs[8]
    assert paragraphs[9].splitlines() == [
        "| rows kept | 10 % | 20 % | 30 % | 40 % | 50 % | 60 % | 70 % | 80 % | 90 % | 100 % |",
        "|" + " --- |" * 11,
        "| error rate | 0.020 | 0.040 | 0.060 | 0.080 | 0.100 | 0.120 | 0.140 | 0.160 | 0.180 | 0.200 |",
    ]
    assert len(paragraphs) == 10


def test_the_section_of_a_recipe_that_is_no_better() -> None:
    poor = RECIPE.model_copy(update={"no_better_than": ("majority rule", "device rule")})
    text = recipe_section(poor, [MAJORITY, DEVICE])
    assert "**No better than the majority rule and the device rule**, whose balanced accuracy reaches" in text
    assert "lies below" not in text


def test_what_is_judged_can_be_shown() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, 50)
    groups, devices = [str(i) for i in range(50)], ["phone", "other"] * 25
    rows = OutOfFold(ORIGINAL_LABELS, true, true, np.eye(5)[true], groups, devices, ["ward"] * 50)
    perfect = entry("perfect", "5 classes", pool([judge(rows), judge(rows)], ORIGINAL_LABELS), (), 1.0, 1_000)
    assert "1.000 (1.00 to 1.00)" in leaderboard([perfect])
    assert "| balanced accuracy within other (25 rows: " in recipe_section(perfect, [])
