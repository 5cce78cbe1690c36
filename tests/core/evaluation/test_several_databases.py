"""Recipes and rules judged over several databases, with partial labels, and with labels that a model does not know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.evaluation.baselines import DEVICE_RULE, MAJORITY_RULE
from heartbeat_core.evaluation.figures import DeviceFigures, Evaluation, RecipeFigures
from heartbeat_core.evaluation.judging import FoldResult, OutOfFold, judge, judge_recipe, judge_rules
from heartbeat_core.evaluation.pooling import pool
from heartbeat_core.evaluation.protocols import Protocol, make_splits
from heartbeat_core.evaluation.report import HEAD, as_markdown, leaderboard_rows, recipe_section
from heartbeat_core.evaluation.splits import Split, Task
from heartbeat_core.labels import Labels, Targets
from heartbeat_core.recipe import Recipe

VALVES: Labels = ("AS", "MR", "MS")
TASK = Task("3 classes")
RECIPE = Recipe(name="valves")


def labelled(cells: Sequence[str], databases: Sequence[str], devices: Sequence[str] | None = None) -> Labelled:
    """Return rows of one patient each."""
    names = [str(number) for number in range(len(cells))]
    devices = ["phone"] * len(cells) if devices is None else devices
    return Labelled(names, names, names, Targets.of_cells(cells, VALVES), names, list(devices), list(databases))


def trained_results(truth: Labelled, splits: Sequence[Split], seed: int = 0) -> list[FoldResult]:
    """Return predictions of models that know the labels of their training rows only, and are right half the time."""
    rng = np.random.default_rng(seed)
    found = []
    for split in splits:
        trained = truth.targets.take(split.training).present
        chances = np.zeros((len(split.test), 3))
        chances[:, trained] = rng.dirichlet(np.ones(len(trained)), len(split.test))
        for row, (number, code) in enumerate(zip(split.test, truth.codes[split.test], strict=True)):
            if number % 2 and code in trained:
                chances[row] = np.eye(3)[code] * 0.75 + chances[row] * 0.25
        unsure = chances.max(axis=1) < 0.6
        found.append(FoldResult(split.test, chances.argmax(axis=1), chances, unsure, 1.5, 1_000))
    return found


def judged(truth: Labelled, protocol: Protocol, n_seeds: int = 2) -> tuple[RecipeFigures, list[RecipeFigures]]:
    """Judge a recipe and the rules by a protocol."""
    splits = [make_splits(protocol, truth, TASK, 3, seed) for seed in range(n_seeds)]
    rules = judge_rules(truth, TASK, splits)
    results = [trained_results(truth, each, seed) for seed, each in enumerate(splits)]
    return judge_recipe(truth, TASK, RECIPE, results, rules, protocol != "grouped-folds"), rules


# Within databases


def out_of_fold(databases: Sequence[str]) -> OutOfFold:
    true, said = np.array([0, 0, 1, 2, 0, 1]), np.array([0, 1, 1, 1, 0, 0])
    names = list("abcdef")
    return OutOfFold(VALVES, true, said, np.eye(3)[said], names, ["phone"] * 6, list(databases))


def test_figures_within_each_database_are_of_its_labels_alone() -> None:
    found = judge(out_of_fold(["x", "x", "x", "x", "y", "y"]))
    assert found.labels == VALVES
    assert found.within_databases == {
        "x": DeviceFigures(n_rows=4, labels=VALVES, balanced_accuracy=(1 / 2 + 1 + 0) / 3),
        "y": DeviceFigures(n_rows=2, labels=("AS", "MR"), balanced_accuracy=1 / 2),
    }
    pooled = pool([found, judge(out_of_fold(["x", "x", "x", "x", "y", "y"]), 1)], VALVES)
    assert pooled.within_databases["y"].labels == ("AS", "MR")
    assert pooled.within_databases["x"].balanced_accuracy.value == pytest.approx(1 / 2)


def test_one_database_has_no_figures_beside_the_overall_ones() -> None:
    assert judge(out_of_fold(["x"] * 6)).within_databases == {}


@pytest.mark.parametrize("protocol", ["grouped-folds", "leave-one-database-out"])
def test_a_report_of_several_databases_shows_each_beside_every_pooled_figure(protocol: Protocol) -> None:
    truth = labelled(["AS", "MR", "MS", "AS|MR"] * 15, (["north"] * 4 + ["south"] * 4 + ["west"] * 4) * 5)
    entry, rules = judged(truth, protocol)
    databases = {"north", "south", "west"}
    assert entry.judgement.within_databases.keys() == databases
    assert [ranks.label for ranks in entry.against_rest] == list(VALVES)
    for ranks in entry.against_rest:
        assert ranks.databases.keys() == ranks.databases_by_patient.keys() == databases
    for row in leaderboard_rows([entry, *rules]):
        within = dict(zip(HEAD, row, strict=True))["within"]
        assert [part.split()[0] for part in within.split(", ")] == sorted(databases)
    section = recipe_section(entry, rules)
    for database in databases:
        assert f"| balanced accuracy within {database} (15 rows: AS, MR, MS) |" in section
        assert section.count(f"| database {database} |") == 3
    # The pooled row of each label stands below those of the databases.
    for table in section.split("against the rest\n")[1:]:
        assert table.index("| database west |") < table.index("| all databases pooled |")
    evaluation = Evaluation(protocol="P", data_fingerprint="f", recipes=(entry,), rules=tuple(rules))
    text = as_markdown(evaluation)
    assert "## Within each database: 3 classes" in text
    assert "| recipe | north | south | west | mean over databases |" in text
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_a_report_of_one_database_shows_its_devices() -> None:
    truth = labelled(["AS", "MR", "MS"] * 15, ["north"] * 45, ["phone", "other", "phone"] * 15)
    entry, rules = judged(truth, "grouped-folds")
    assert entry.judgement.within_databases == {}
    assert leaderboard_rows([entry])[0][HEAD.index("within")].startswith("other ")
    text = as_markdown(Evaluation(protocol="P", data_fingerprint="f", recipes=(entry,), rules=tuple(rules)))
    assert "Within each database" not in text
    assert "all databases pooled" not in text
    assert "| database north |" in text


# What is marked, and what recordings are called


def test_marked_and_called_by_a_plain_loop() -> None:
    """Partial labels count where they decide; a left-out label of a fold's model is none that its rows can refute."""
    truth = labelled(["AS", "MR", "MS", "AS|MR"] * 10 + ["AS", "MR", "AS|MR"] * 6, ["north"] * 40 + ["south"] * 18)
    splits = make_splits("leave-one-database-out", truth, TASK, 3, 0)
    of_seeds = [trained_results(truth, splits, seed) for seed in range(2)]
    entry = judge_recipe(truth, TASK, RECIPE, of_seeds, [], leaves_out=True)
    counts: dict[tuple[str, bool, bool], int] = {}
    calls: dict[str, dict[str, dict[str, int]]] = {}
    for fold in (fold for results in of_seeds for fold in results):
        trained = {code for chances in fold.probabilities for code in range(3) if chances[code] > 0}
        for row, code, is_unsure in zip(fold.rows.tolist(), fold.predicted.tolist(), fold.unsure, strict=True):
            possible = {VALVES.index(name) for name in (truth.targets.cells()[row] or "").split("|")}
            database = truth.databases[row]
            if not trained <= possible:
                key = (database, code in possible, bool(is_unsure))
                counts[key] = counts.get(key, 0) + 1
            if len(possible) == 1:
                said = calls.setdefault(database, {}).setdefault(VALVES[possible.pop()], {})
                said[VALVES[code]] = said.get(VALVES[code], 0) + 1
    assert entry.calls == calls
    assert entry.unsure.keys() == {"north", "south"}
    for database, shares in entry.unsure.items():
        right, wrong = (
            [counts.get((database, is_right, is_unsure), 0) for is_unsure in (False, True)]
            for is_right in (True, False)
        )
        assert (shares.n_right, shares.n_wrong) == (sum(right), sum(wrong))
        assert shares.of_right == pytest.approx(right[1] / sum(right))
        assert shares.of_wrong == pytest.approx(wrong[1] / sum(wrong))
    assert entry.unsure_pooled is not None
    assert entry.unsure_pooled.n_wrong == sum(shares.n_wrong for shares in entry.unsure.values()) > 0
    assert any(is_unsure for *_, is_unsure in counts)
    # The north's model does not know MS, so that "AS or MR" says nothing of it.
    assert entry.unsure["north"].n_right + entry.unsure["north"].n_wrong == 2 * 30


def test_a_section_shows_what_is_called_and_marked() -> None:
    truth = labelled(["AS", "MR", "MS"] * 10 + ["AS", "MR"] * 9, ["north"] * 30 + ["south"] * 18)
    entry, rules = judged(truth, "grouped-folds")
    section = recipe_section(entry, rules)
    assert "|  | rows | called AS | called MR | called MS |" in section
    n_seeds = entry.judgement.n_seeds
    for database, label, n in (("north", "AS", 10), ("north", "MS", 10), ("south", "MR", 9)):
        said = entry.calls[database][label]
        shares = [f"{said[other] / (n * n_seeds):.3f}" if other in said else "–" for other in VALVES]
        assert f"| {label} recordings of {database} | {n} | {' | '.join(shares)} |" in section
    assert "MS recordings of south" not in section
    north = entry.unsure["north"]
    assert f"| north | {north.of_right:.3f} of {north.n_right} | {north.of_wrong:.3f} of {north.n_wrong} |" in section
    assert "| all databases |" in section


def test_figures_of_earlier_versions_are_read_and_written_as_they_were() -> None:
    entry, rules = judged(labelled(["AS", "MR", "MS"] * 15, ["north"] * 45), "grouped-folds")
    assert entry.calls
    assert entry.unsure
    for rule in rules:
        assert rule.model_dump(mode="json").keys().isdisjoint({"calls", "unsure", "unsure_pooled"})
        assert RecipeFigures.model_validate(rule.model_dump(mode="json")) == rule
        assert "marked as unsure" not in recipe_section(rule, [])
    assert RecipeFigures.model_validate(entry.model_dump(mode="json")) == entry


# Labels that a model was not trained on


def test_a_left_out_database_is_not_judged_for_a_label_that_its_model_does_not_know() -> None:
    """MS occurs in the north alone, so the model that is judged there does not know it."""
    truth = labelled(["AS", "MR", "MS"] * 10 + ["AS", "MR"] * 10, ["north"] * 30 + ["south"] * 20)
    splits = make_splits("leave-one-database-out", truth, TASK, 5, 0)
    assert [split.name for split in splits] == ["north", "south"]
    results = trained_results(truth, splits)
    assert (results[0].probabilities[:, 2] == 0).all()
    assert results[1].probabilities[:, 2].max() > 0
    entry = judge_recipe(truth, TASK, RECIPE, [results], [], leaves_out=True)
    # The south has no MS, and the north is not judged for it: nothing is left of the label.
    assert [ranks.label for ranks in entry.against_rest] == ["AS", "MR"]
    assert {name: each.n_positive for name, each in entry.against_rest[0].databases.items()} == {
        "north": 10,
        "south": 10,
    }
    # In grouped folds, such a label is one that is never predicted.
    whole = judge_recipe(truth, TASK, RECIPE, [results], [], leaves_out=False)
    assert [ranks.label for ranks in whole.against_rest] == list(VALVES)
    assert whole.against_rest[2].databases["north"].auroc is not None
    assert whole.against_rest[2].databases["north"].auroc.value == 0.5
    # The overall figures are the same: a wrong label is a wrong label.
    assert whole.judgement == entry.judgement


def test_a_label_that_one_left_out_database_knows_is_judged_elsewhere() -> None:
    cells = ["AS", "MR", "MS"] * 8 + ["AS", "MR", "MS"] * 8 + ["AS", "MR"] * 8
    truth = labelled(cells, ["north"] * 24 + ["south"] * 24 + ["west"] * 16)
    splits = make_splits("leave-one-database-out", truth, TASK, 5, 0)
    # Take MS from the model that is judged on the south.
    results = trained_results(truth, splits)
    results[1].probabilities[:, 2] = 0
    entry = judge_recipe(truth, TASK, RECIPE, [results], [], leaves_out=True)
    of_ms = entry.against_rest[2]
    assert {name: (each.n_positive, each.n_negative) for name, each in of_ms.databases.items()} == {
        "north": (8, 16),
        "south": (0, 0),
        "west": (0, 16),
    }
    assert (of_ms.pooled.n_positive, of_ms.pooled.n_negative) == (8, 32)


# Partial labels


def test_figures_use_a_row_wherever_it_decides_the_question() -> None:
    truth = labelled(["AS", "MR", "MS", "AS|MR"] * 9, ["north"] * 36)
    entry, rules = judged(truth, "grouped-folds")
    # A row of two labels is predicted, but it is no row of the overall figures.
    assert entry.judgement.n_rows == 27
    assert all(rule.judgement.n_rows == 27 for rule in rules)
    by_label = {ranks.label: (ranks.pooled.n_positive, ranks.pooled.n_negative) for ranks in entry.against_rest}
    # "AS or MR" is not MS, and says nothing of AS or of MR.
    assert by_label == {"AS": (9, 18), "MR": (9, 18), "MS": (9, 27)}


def test_a_dropped_label_is_left_out_of_training_and_of_figures() -> None:
    task = Task("2 classes", ("MS",))
    truth = labelled(["AS", "MR", "MS", "AS|MR"] * 9, ["north"] * 36)
    assert task.folder == "all-without-MS"
    splits = [make_splits("grouped-folds", truth, task, 3, 0)]
    rules = judge_rules(truth, task, splits)
    kept = task.rows(truth.targets)
    assert kept.tolist() == [row for row in range(36) if row % 4 < 2]
    chances = np.eye(3)[truth.codes[kept]]
    results = [FoldResult(kept, truth.codes[kept], chances, np.zeros(len(kept), bool), 1.0, None)]
    entry = judge_recipe(truth, task, RECIPE, [results], rules)
    assert (entry.task, entry.dropped_labels, entry.weights_bytes) == ("2 classes", ("MS",), None)
    assert entry.judgement.labels == ("AS", "MR")
    assert entry.judgement.accuracy.value == 1
    assert [ranks.label for ranks in entry.against_rest] == ["AS", "MR"]
    assert {rule.name: rule.judgement.n_rows for rule in rules} == {MAJORITY_RULE: 18, DEVICE_RULE: 18}


def test_the_rules_learn_from_the_training_rows_whose_label_is_known() -> None:
    # Nearly all rows may be MS, but more are known to be MR; the phone has AS alone.
    cells = ["AS"] * 6 + ["MR"] * 9 + ["AS|MS"] * 30 + ["AS", "MR"]
    devices = ["phone"] * 6 + ["other"] * 9 + ["phone"] * 30 + ["phone", "other"]
    truth = labelled(cells, ["north"] * 47, devices)
    split = Split("0", np.arange(45), np.arange(45, 47))
    everything = Split("1", np.arange(45, 47), np.arange(45))
    majority, device = judge_rules(truth, TASK, [[split, everything]])
    assert (majority.name, device.name) == (MAJORITY_RULE, DEVICE_RULE)
    assert majority.judgement.n_rows == device.judgement.n_rows == 17
    assert device.judgement.accuracy.value == 1
    # MR for the last two rows, and AS, the first of two equally common ones, for the others.
    assert majority.judgement.accuracy.value == pytest.approx((1 + 6) / 17)
