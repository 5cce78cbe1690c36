"""The model card: every figure that a reader needs by each protocol, how it decides, and what its data lack."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest

from heartbeat_core.bundles.card import model_card
from heartbeat_core.bundles.card_figures import card_diagrams
from heartbeat_core.bundles.manifest import BundleManifest, read_manifest
from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.evaluation.figures import Evaluation, RecipeFigures
from heartbeat_core.evaluation.judging import FoldResult, judge_recipe, judge_rules
from heartbeat_core.evaluation.protocols import Protocol, make_splits, protocol_text
from heartbeat_core.evaluation.splits import Task
from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.learning.decision import Decision
from heartbeat_core.recipe import OddsSettings, SpecialistSettings

CELLS = ["normal", "murmur", "normal", "extrahls"] * 10 + ["normal", "murmur"] * 15
DATABASES = ["north"] * 40 + ["south"] * 30
TASKS = (Task("3 classes"), Task("2 classes", ("extrahls",)))


def recordings() -> Labelled:
    """Return recordings, two of most patients: only the north's phone has extrahls, and only the south knows ages."""
    names = [str(number) for number in range(len(CELLS))]
    # The tube is used for normal recordings alone.
    devices = [
        "phone" if name == "north" else ("horn", "tube")[number % 4 == 0] for number, name in enumerate(DATABASES)
    ]
    ages = [("Child", "Adult")[number % 4 < 2] if name == "south" else "" for number, name in enumerate(DATABASES)]
    targets = Targets.of_cells(CELLS, ORIGINAL_LABELS)
    groups = [f"{number // 4}-{number % 2}" for number in range(len(CELLS))]
    return Labelled(names, names, names, targets, groups, devices, DATABASES, {"age": ages})


def evaluated(protocol: Protocol, tasks: Sequence[Task] = TASKS) -> Evaluation:
    """Return an evaluation of a model that is right two times in three, and is sure of half of its predictions."""
    truth, recipe = recordings(), read_manifest("cycles").recipe
    rng = np.random.default_rng(0)
    recipes, rules = [], []
    for task in tasks:
        splits = make_splits(protocol, truth, task, 3, 0)
        kept = task.rows(truth.targets)
        here = judge_rules(truth, task, [splits])
        folds = []
        for split in splits:
            rows = kept[split.test]
            trained = task.targets(truth.targets).take(kept[split.training]).present
            chances = np.zeros((len(rows), 5))
            chances[:, trained] = rng.dirichlet(np.ones(len(trained)), len(rows))
            for place, code in enumerate(truth.codes[rows].tolist()):
                if place % 3 and code in trained:
                    chances[place] = np.eye(5)[code] * 0.75 + chances[place] * 0.25
            unsure = np.arange(len(rows)) % 2 == 0
            folds.append(FoldResult(rows, chances.argmax(axis=1), chances, unsure, 1.0, None))
        recipes.append(judge_recipe(truth, task, recipe, [folds], here, protocol != "grouped-folds"))
        rules += here
    return Evaluation(
        protocol=protocol_text(protocol, 3, 1), data_fingerprint="f", recipes=tuple(recipes), rules=tuple(rules)
    )


@pytest.fixture(scope="module")
def manifest() -> BundleManifest:
    found = read_manifest("cycles")
    facts = {"cross_validation": evaluated("grouped-folds"), "left_out": (evaluated("leave-one-database-out"),)}
    return found.model_copy(update=facts)


@pytest.fixture(scope="module")
def card(manifest: BundleManifest) -> str:
    return model_card(manifest, 1_000, ())


def section(card: str, title: str) -> str:
    """Return what stands under a heading of the second level."""
    [found] = [part for part in card.split("\n## ") if part.startswith(title + "\n")]
    return found


@pytest.mark.parametrize(("number", "title"), [(0, "grouped folds"), (1, "one database left out")])
def test_each_protocol_has_its_figures(manifest: BundleManifest, card: str, number: int, title: str) -> None:
    evaluation = manifest.evaluations[number]
    text = section(card, f"Figures by cross-validation: {title}")
    assert evaluation.protocol in text
    entry: RecipeFigures = evaluation.recipes[0]
    for one in evaluation.recipes:
        figure = one.judgement.balanced_accuracy
        assert f"### {one.name}: {one.task}\n" in text
        assert f"| balanced accuracy | {figure.value:.3f} ({figure.low:.2f} to {figure.high:.2f}) |" in text
    # All that follows is of the labels that the model was trained on.
    assert "All that follows is for 3 classes." in text
    [murmur] = [ranks for ranks in entry.against_rest if ranks.label == "murmur"]
    table = text.partition(f"### murmur against the rest, {title}\n\n")[2].partition("\n\n")[0]
    rows = {cells[1].strip(): cells[2:-1] for line in table.splitlines() if (cells := line.split("|"))}
    of_label = text.partition(f"### murmur against the rest, {title}\n\n")[2].partition("\n### ")[0]
    reason = "No figure, because there are too few + rows, − rows or patients: "
    without = of_label.partition(reason)[2].partition(".\n")[0]
    named = 0
    judged = {
        **{f"database {name}": figures for name, figures in murmur.databases.items()},
        "all databases pooled": murmur.pooled,
        **{f"device {name}": figures for name, figures in murmur.devices.items()},
        **{f"age {name}": figures for name, figures in murmur.groups["age"].items()},
    }
    assert set(rows) - {"recordings of", "---", "mean over databases"} <= judged.keys()
    for name, figures in judged.items():
        if figures.auroc is None:
            assert name not in rows
            kind, _, value = name.partition(" ")
            [told] = [part for part in without.split("; ") if part.startswith(f"{kind} ")]
            assert value in told.removeprefix(f"{kind} ").split(", ")
            named += 1
            continue
        assert figures.calibration_error is not None
        auroc, error = figures.auroc, figures.calibration_error
        assert [cell.strip() for cell in rows[name][:4]] == [
            f"{figures.n_positive}/{figures.n_negative}",
            str(figures.n_patients),
            f"{auroc.value:.3f} ({auroc.low:.2f} to {auroc.high:.2f})",
            f"{error.value:.3f} ({error.low:.2f} to {error.high:.2f})",
        ]
    # All of the tube's recordings are normal.
    assert named > 0
    by_patient = murmur.databases_by_patient["south"].auroc
    assert by_patient is not None
    assert by_patient != murmur.databases["south"].auroc
    assert (
        rows["database south"][4].strip() == f"{by_patient.value:.3f} ({by_patient.low:.2f} to {by_patient.high:.2f})"
    )
    south = entry.unsure["south"]
    assert f"| south | {south.of_right:.3f} of {south.n_right} | {south.of_wrong:.3f} of {south.n_wrong} |" in text
    assert "| normal recordings of south | 15 |" in text


def test_a_model_without_a_label_has_the_figures_without_it(manifest: BundleManifest) -> None:
    text = section(model_card(manifest, 1_000, ("extrahls",)), "Figures by cross-validation: grouped folds")
    assert "All that follows is for 2 classes." in text
    assert "extrahls against the rest" not in text


def test_every_label_has_a_diagram_with_a_panel_a_protocol(manifest: BundleManifest, card: str) -> None:
    diagrams = card_diagrams(manifest, ())
    assert sorted(diagrams) == ["reliability-extrahls.svg", "reliability-murmur.svg", "reliability-normal.svg"]
    for name in diagrams:
        assert f"]({name})" in section(card, "Reliability")
    svg = "{http://www.w3.org/2000/svg}"
    titles = {
        name: [panel.findtext(f"{svg}text") for panel in ElementTree.fromstring(text).findall(f"{svg}g")]
        for name, text in diagrams.items()
    }
    assert titles["reliability-murmur.svg"] == ["murmur: grouped folds", "murmur: one database left out"]
    # Where the north is left out, no model knows this label.
    assert titles["reliability-extrahls.svg"] == ["extrahls: grouped folds"]


def test_figures_of_earlier_versions_have_no_diagrams(manifest: BundleManifest) -> None:
    evaluation = manifest.evaluations[0]
    entry = evaluation.recipes[0]
    ranks = tuple(one.model_copy(update={"reliability": {}}) for one in entry.against_rest)
    facts = {"recipes": (entry.model_copy(update={"against_rest": ranks, "unsure_pooled": None, "calls": {}}),)}
    older = manifest.model_copy(update={"cross_validation": evaluation.model_copy(update=facts), "left_out": ()})
    assert card_diagrams(older, ()) == {}
    text = model_card(older, 1_000, ())
    assert "## Reliability" not in text
    assert "are marked as unsure" not in text
    assert "called normal" not in text


def test_what_the_data_lack_is_said(card: str) -> None:
    text = section(card, "What it must not be used for")
    assert "In its data: devices: horn, phone, tube; age: Adult, Child." in text
    assert "- extrahls: only in north and with phone" in text
    assert "- murmur" not in text
    assert "- normal" not in text


def test_the_data_are_what_the_description_says(manifest: BundleManifest) -> None:
    described = manifest.training_data.model_copy(update={"description": "Hearts 1.0 (ODC-By 1.0)"})
    text = section(model_card(manifest.model_copy(update={"training_data": described}), 1_000, ()), "Data")
    assert "Hearts 1.0 (ODC-By 1.0). No recording is part of this bundle." in text


def test_one_database_binds_no_label(manifest: BundleManifest) -> None:
    evaluation = manifest.evaluations[0]
    entry = evaluation.recipes[0]
    within = {name: one for name, one in entry.judgement.within_devices.items() if name == "phone"}
    alone = entry.judgement.model_copy(update={"within_databases": {}, "within_devices": within})
    facts = {"recipes": (entry.model_copy(update={"judgement": alone}),)}
    one = manifest.model_copy(update={"cross_validation": evaluation.model_copy(update=facts), "left_out": ()})
    assert "- extrahls: only" not in model_card(one, 1_000, ())


def test_the_commands_make_both_evaluations(card: str) -> None:
    text = section(card, "Made by")
    assert "heartbeat evaluate DATASET --recipe cycles --without extrahls -o EVALUATION-1\n" in text
    assert "--recipe cycles --without extrahls --protocol leave-one-database-out -o EVALUATION-2\n" in text
    assert "-o cycles --evaluation EVALUATION-1 --evaluation EVALUATION-2" in text
    assert (
        "`cycles` is a shipped recipe, or else the YAML file of one's own, whose settings `bundle.json` holds." in text
    )


def test_the_rule_of_equal_thresholds_is_the_most_probable_label(manifest: BundleManifest, card: str) -> None:
    assert "largest probability / threshold; thresholds: normal 0.616, " in section(card, "Decision")
    assert "`confidence` is the probability of the predicted label." in section(card, "Decision")
    equal = manifest.model_copy(update={"decision": Decision(temperature=2.0, thresholds=(0.2,) * 5)})
    text = section(model_card(equal, 1_000, ()), "Decision")
    assert "The most probable label is predicted, and `confidence` is its probability." in text
    assert "threshold" not in text


def test_labels_that_count_more_are_told(manifest: BundleManifest) -> None:
    odds = OddsSettings(labels=("extrahls",), times=2)
    settings = manifest.recipe.decision.model_copy(update={"balance": 0.0, "odds": odds})
    recipe = manifest.recipe.model_copy(update={"decision": settings})
    decision = Decision(temperature=2.0, thresholds=(1.0, 0.5, 1.0, 1.0, 1.0))
    one = manifest.model_copy(update={"recipe": recipe, "decision": decision, "trained_labels": manifest.labels})
    text = section(model_card(one, 1_000, ()), "Decision")
    assert "The label of the largest probability is predicted, where that of extrahls counts 2 times; `conf" in text


def test_labels_that_specialists_decide_on_are_told(manifest: BundleManifest, card: str) -> None:
    assert "units that read" not in card
    specialists = SpecialistSettings(part="timbre", labels=("extrahls", "extrastole"))
    bagging = manifest.recipe.bagging.model_copy(update={"specialists": specialists})
    recipe = manifest.recipe.model_copy(update={"bagging": bagging})
    text = section(model_card(manifest.model_copy(update={"recipe": recipe}), 1_000, ()), "Decision")
    assert "Only the units that read `timbre` decide how likely these labels are: extrahls, extrastole. " in text


def test_every_reason_to_be_unsure_is_explained(manifest: BundleManifest, card: str) -> None:
    assert "`out_of_distribution`: " in card
    assert "unlike_training_data" not in card
    assert "no_heart_found" not in card
    limits = {"max_distance": None, "max_unlike": 1.25, "min_segmentation": 0.375, "min_confidence": 0.0}
    sureness = manifest.sureness.model_copy(update=limits)
    text = section(model_card(manifest.model_copy(update={"sureness": sureness}), 1_000, ()), "Decision")
    assert (
        "- `unlike_training_data`: the root mean square of the scaled values that the model reads is above 1.250"
        in text
    )
    assert "- `no_heart_found`: the `segmentation_confidence` of the heart sounds is below 0.375" in text
    assert "out_of_distribution" not in text
    assert "low_confidence" not in text
    assert "and the predicted label is not" not in text
    place = manifest.labels.index("artifact")
    sureness = sureness.model_copy(update={"no_heart_code": place})
    text = section(model_card(manifest.model_copy(update={"sureness": sureness}), 1_000, ()), "Decision")
    assert "training recordings of hearts, and the predicted label is not artifact" in text
    least = tuple(0.5 + code / 10 for code in range(len(manifest.labels)))
    sureness = manifest.sureness.model_copy(update={"min_confidence": least})
    text = section(model_card(manifest.model_copy(update={"sureness": sureness}), 1_000, ()), "Decision")
    shown = ", ".join(f"{least[manifest.labels.index(label)]:.3f} for {label}" for label in manifest.trained_labels)
    assert f"- `low_confidence`: the predicted label's probability is below {shown}: there, " in text
    assert "A label that only one database has cannot be judged so: it has the mean limit of the others" in text


def test_a_card_of_held_out_rows_says_nothing_of_evaluations() -> None:
    card = model_card(read_manifest("seed-small"), 1_000, ("artifact",))
    assert "## Figures on held-out rows" in card
    assert "cross-validation" not in card
    assert "## Reliability" not in card
    assert "In its data:" not in card
