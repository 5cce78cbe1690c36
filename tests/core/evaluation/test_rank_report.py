"""What a reader sees of the figures of each label against the rest."""

from __future__ import annotations

import numpy as np

from heartbeat_core.evaluation.against_rest import rank
from heartbeat_core.evaluation.intervals import IntervalOverSeeds
from heartbeat_core.evaluation.rank_figures import DatabaseMean, DatabaseMeans, LabelRanks, RankFigures
from heartbeat_core.evaluation.rank_report import RANK_HEAD, rank_leaderboard, rank_section
from heartbeat_core.labels import Targets


def figure(value: float) -> IntervalOverSeeds:
    return IntervalOverSeeds(value=value, low=value - 0.1, high=value + 0.1, least=value, most=value)


def figures(auroc: float | None, n_positive: int = 10) -> RankFigures:
    return RankFigures(
        n_positive=n_positive,
        n_negative=20,
        n_patients=25,
        auroc=None if auroc is None else figure(auroc),
        auprc=None if auroc is None else figure(auroc / 2),
        sensitivity=None if auroc is None else figure(0.25),
        calibration_error=None if auroc is None else figure(0.15),
    )


def means(auroc: float | None) -> DatabaseMeans:
    mean = None if auroc is None else DatabaseMean(value=auroc, n_databases=1)
    return DatabaseMeans(auroc=mean, auprc=mean, sensitivity=mean)


def ranks(label: str, auroc: float | None, **changed: object) -> LabelRanks:
    made = LabelRanks(
        label=label,
        pooled=figures(0.8, 11),
        by_patient=figures(0.875),
        databases={"cinc-a": figures(auroc), "circor": figures(None, 0)},
        databases_by_patient={"cinc-a": figures(0.75), "circor": figures(None, 0)},
        devices={"phone": figures(0.625, 12)},
        mean_over_databases=means(auroc),
        mean_over_databases_by_patient=means(0.75),
        groups={"age": {"2-12": figures(0.6, 4)}, "sex": {"Male": figures(None, 0)}},
    )
    return made.model_copy(update=changed)


def test_one_table_a_label() -> None:
    note, heading, table, *others = rank_section([ranks("murmur", 0.7), ranks("normal", 0.6)]).split("\n\n")
    assert "95 % interval over patients (bootstrap)" in note
    assert "the score is the mean over all of a patient's recordings in one database" in note
    assert heading == "### murmur against the rest"
    assert table.splitlines() == [
        "| recordings of | rows (+/−) | patients | AUROC | AUPRC | sensitivity at 0.9 specificity | calibration error "
        "| AUROC by patient |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| database cinc-a | 10/20 | 25 | 0.700 (0.60 to 0.80) | 0.350 (0.25 to 0.45) | 0.250 (0.15 to 0.35) "
        "| 0.150 (0.05 to 0.25) | 0.750 (0.65 to 0.85) |",
        "| database circor | 0/20 | 25 | – | – | – | – | – |",
        "| mean over databases |  |  | 0.700 (of 1) | 0.700 (of 1) | 0.700 (of 1) | – | 0.750 (of 1) |",
        "| all databases pooled | 11/20 | 25 | 0.800 (0.70 to 0.90) | 0.400 (0.30 to 0.50) | 0.250 (0.15 to 0.35) "
        "| 0.150 (0.05 to 0.25) | 0.875 (0.78 to 0.97) |",
        "| device phone | 12/20 | 25 | 0.625 (0.53 to 0.72) | 0.312 (0.21 to 0.41) | 0.250 (0.15 to 0.35) "
        "| 0.150 (0.05 to 0.25) |  |",
        "| age 2-12 | 4/20 | 25 | 0.600 (0.50 to 0.70) | 0.300 (0.20 to 0.40) | 0.250 (0.15 to 0.35) "
        "| 0.150 (0.05 to 0.25) |  |",
        "| sex Male | 0/20 | 25 | – | – | – | – |  |",
    ]
    assert others[0] == "### normal against the rest"
    assert len(others) == 2


def test_the_figures_of_one_database_are_not_repeated() -> None:
    one = ranks("murmur", 0.7, databases={"a": figures(0.7)}, databases_by_patient={"a": figures(0.75)})
    rows = rank_section([one]).split("\n\n")[-1].splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| database a", "| device phone", "| age 2-12", "| sex Male"]


def test_the_leaderboard_has_a_row_a_recipe_the_best_mean_first() -> None:
    text = rank_leaderboard(
        {
            "cnn": [ranks("murmur", 0.6), ranks("normal", 0.9)],
            "cycles": [ranks("murmur", 0.7), ranks("normal", 0.8)],
        }
    )
    note, *tables = text.split("\n\n")
    assert "plain mean over the databases" in note
    assert tables[0] == "### murmur"
    assert tables[1].splitlines() == [
        "| recipe | cinc-a | circor | mean over databases |",
        "| --- | --- | --- | --- |",
        "| cycles | 0.700 | – | 0.700 (of 1) |",
        "| cnn | 0.600 | – | 0.600 (of 1) |",
    ]
    assert tables[2] == "### normal"
    assert [line.split(" | ")[0] for line in tables[3].splitlines()[2:]] == ["| cnn", "| cycles"]
    assert text.endswith("|\n")


def test_a_label_that_no_database_decides_has_no_mean() -> None:
    text = rank_leaderboard({"cnn": [ranks("murmur", None)], "cycles": [ranks("murmur", 0.2)]})
    assert text.splitlines()[-2:] == ["| cycles | 0.200 | – | 0.200 (of 1) |", "| cnn | – | – | – |"]


def test_what_is_judged_can_be_shown() -> None:
    codes = np.arange(40) % 2
    targets = Targets.of_codes(codes, ("abnormal", "normal"))
    names = [f"{i}" for i in range(40)]
    judged = rank(targets, np.eye(2)[codes], names, ["a", "b"] * 10 + ["b", "a"] * 10, ["phone"] * 40)
    perfect = "1.000 (1.00 to 1.00)"
    never_wrong = "0.000 (0.00 to 0.00)"
    assert f"| database a | 10/10 | 20 | {' | '.join([perfect] * 3)} | {never_wrong} | {perfect} |" in rank_section(
        judged
    )
    assert "| cycles | 1.000 | 1.000 | 1.000 (of 2) |" in rank_leaderboard({"cycles": judged})
    assert len(RANK_HEAD) == 8
