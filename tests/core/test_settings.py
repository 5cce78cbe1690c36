"""Settings: frozen, strict about keys and values, and fingerprinted by what changes results."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

import pytest
from pydantic import ValidationError

from heartbeat_core.errors import ConfigError
from heartbeat_core.features.extract import input_settings
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.recipe import Recipe
from heartbeat_core.settings import Limits, canonical_json, fingerprint, parse_mapping, parse_settings, parse_yaml


def test_labels_and_codes_are_the_originals() -> None:
    assert dict(enumerate(ORIGINAL_LABELS)) == {0: "normal", 1: "extrahls", 2: "murmur", 3: "artifact", 4: "extrastole"}


def test_the_defaults_are_the_originals_best() -> None:
    recipe = Recipe(name="x")
    assert recipe.network.hidden == (16, 8)
    assert recipe.network.dropout == 0.5
    training = recipe.training
    assert (training.batch_size, training.epochs, training.learning_rate) == (64, 50, 0.001)
    assert (training.plateau_patience, training.plateau_factor, training.seed) == (5, 0.3, 42)
    assert training.holdout_folds == 5


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            {"nome": 1},
            "r.yaml: unknown key 'nome'; "
            "allowed here: alignment, augmentation, bagging, compression, decision, description, frames, input, "
            "labels, model, name, network, training, version",
        ),
        ({"frames": {"delta": 1}}, "r.yaml: unknown key 'frames.delta'; allowed here: delta_time_s, method"),
        ({"alignment": {"mode": 1}}, "r.yaml: unknown key 'alignment.mode'; allowed here: pad_mode"),
        ({"network": {"hiden": [3]}}, "r.yaml: unknown key 'network.hiden'; allowed here: dropout, hidden"),
        (
            {"training": {"lr": 1}},
            "r.yaml: unknown key 'training.lr'; allowed here: batch_size, class_weights, epochs, holdout_folds, "
            "learning_rate, plateau_factor, plateau_patience, seed, weight_decay, within_databases",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_allowed_ones(content: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(Recipe, {"name": "x"} | content, "r.yaml")
    assert str(caught.value) == told


def test_a_misspelt_key_is_named_and_not_the_one_that_is_missing_then() -> None:
    with pytest.raises(ConfigError, match=r"^r\.yaml: unknown key 'nome'; "):
        parse_settings(Recipe, {"nome": "x"}, "r.yaml")


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({}, "name"),
        ({"name": "Has Spaces"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": "../x"}, "name"),
        ({"name": "x", "version": 2}, "version"),
        ({"name": "x", "frames": {"delta_time_s": 0}}, "frames.delta_time_s"),
        ({"name": "x", "frames": {"delta_time_s": float("nan")}}, "frames.delta_time_s"),
        ({"name": "x", "frames": {"delta_time_s": float("inf")}}, "frames.delta_time_s"),
        ({"name": "x", "frames": {"method": "mean"}}, "frames.method"),
        ({"name": "x", "frames": 3}, "frames"),
        ({"name": "x", "alignment": {"pad_mode": "end"}}, "alignment.pad_mode"),
        ({"name": "x", "network": {"hidden": [16, 0]}}, "network.hidden.1"),
        ({"name": "x", "network": {"dropout": 1}}, "network.dropout"),
        ({"name": "x", "network": {"dropout": float("nan")}}, "network.dropout"),
        ({"name": "x", "training": {"batch_size": 1}}, "training.batch_size"),
        ({"name": "x", "training": {"epochs": 0}}, "training.epochs"),
        ({"name": "x", "training": {"epochs": 1.5}}, "training.epochs"),
        ({"name": "x", "training": {"seed": -1}}, "training.seed"),
        ({"name": "x", "training": {"seed": 2**32}}, "training.seed"),
        ({"name": "x", "training": {"holdout_folds": 1}}, "training.holdout_folds"),
        ({"name": "x", "training": {"plateau_factor": 1}}, "training.plateau_factor"),
        ({"name": "x", "bagging": {"members": []}}, "bagging.members"),
        ({"name": "x", "bagging": {"members": ["all", ""]}}, "bagging.members.1"),
        ({"name": "x", "bagging": {"members": 6}}, "bagging.members"),
    ],
)
def test_a_value_out_of_range_is_named(content: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(Recipe, content, "r.yaml")
    text = str(caught.value)
    assert text.startswith(f"r.yaml: {key}: ")
    assert "\n" not in text


@pytest.mark.parametrize(("content", "kind"), [(None, "NoneType"), ([], "list"), ("text", "str"), (3, "int")])
def test_settings_are_a_mapping(content: object, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"^r.yaml: expected a mapping of settings, found {kind}$"):
        parse_settings(Recipe, content, "r.yaml")


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\t- x", "a: !!python/object/apply:os.getcwd []", "'"])
def test_what_is_not_yaml_is_a_named_error_of_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(Recipe, text, "r.yaml")
    assert str(caught.value).startswith("r.yaml: not valid YAML: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1: 2", "{name: x, 3: 4}", "? [a, b]\n: 1", "name: !!map [1]", "!!map [1]"])
def test_keys_that_are_no_text(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^r\.yaml: "):
        parse_yaml(Recipe, text, "r.yaml")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("name: a\ninput: aligned\nname: b\n", "name"),
        ("training: {epochs: 3, epochs: 5}\n", "epochs"),
        ("x: [1, {a: 1, a: 2}]\n", "a"),
    ],
)
def test_a_key_that_is_given_twice_is_named(text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"^r.yaml: the key '{key}' is given twice: keep one of them$"):
        parse_mapping(text, "r.yaml")


def test_the_same_key_in_two_places_is_no_repetition() -> None:
    assert parse_mapping("a: {x: 1}\nb: {x: 1}\nc: [{x: 1}, {x: 1}]\n", "r.yaml")["b"] == {"x": 1}
    # A number and its text are two keys, and a merged mapping may have a key again.
    assert parse_mapping("1: a\n'1': b\n", "r.yaml") == {1: "a", "1": "b"}
    assert parse_mapping("a: &a {x: 1}\nb: {<<: *a, x: 2}\n", "r.yaml")["b"] == {"x": 2}


def test_what_is_expected_is_told_in_words() -> None:
    for text, told in (
        ("bagging: {members: all}", r"bagging\.members: expected a list, such as \[a, b\]"),
        ("training: 3", r"training: expected a mapping of settings, such as \{key: value\}"),
    ):
        with pytest.raises(ConfigError, match=told):
            parse_yaml(Recipe, f"name: x\n{text}", "r.yaml")


def test_an_empty_file_has_the_defaults() -> None:
    assert parse_yaml(Limits, "", "limits.yaml") == Limits()
    assert parse_yaml(Limits, "# nothing", "limits.yaml") == Limits()
    with pytest.raises(ConfigError, match="name: Field required"):
        parse_yaml(Recipe, "", "r.yaml")


def test_yaml_is_read() -> None:
    text = "name: x\nframes: {delta_time_s: 0.1, method: median}\nnetwork: {hidden: [4]}\n"
    recipe = parse_yaml(Recipe, text, "r.yaml")
    assert recipe.frames.delta_time_s == 0.1
    assert recipe.frames.method == "median"
    assert recipe.network.hidden == (4,)


def test_settings_are_frozen() -> None:
    recipe = Recipe(name="x")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.name = "y"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        recipe.frames.method = "median"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        Limits().max_channels = 3  # type: ignore[misc]


def changed(**changes: Any) -> Recipe:
    return Recipe.model_validate({"name": "x", "description": "d"} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": {"delta_time_s": 0.1}},
        {"frames": {"method": "average"}},
        {"alignment": {"pad_mode": "front"}},
        {"network": {"hidden": [8, 16]}},
        {"network": {"dropout": 0.4}},
        {"training": {"batch_size": 32}},
        {"training": {"epochs": 49}},
        {"training": {"learning_rate": 0.002}},
        {"training": {"plateau_patience": 4}},
        {"training": {"plateau_factor": 0.4}},
        {"training": {"holdout_folds": 4}},
        {"training": {"seed": 41}},
        {"training": {"class_weights": "balanced"}},
        {"training": {"weight_decay": 0.1}},
        {"training": {"within_databases": True}},
        {"decision": {"calibrated": True, "inner": "databases"}},
        {"input": "statistics"},
        {"labels": ["absent", "present"]},
        {"model": "boosting"},
        {"compression": {"pruned": 0.5}},
        {"compression": {"int8": True}},
        {"decision": {"calibrated": True}},
        {"decision": {"balance": 0.8}},
        {"decision": {"inner_folds": 4}},
        {"decision": {"odds": {"labels": ["extrahls"], "times": 2}}},
    ],
)
def test_the_fingerprint_changes_with_what_changes_results(changes: dict[str, Any]) -> None:
    assert changed(**changes).fingerprint() != changed().fingerprint()
    [section] = changes
    concerns_datasets = section in ("frames", "alignment")
    assert (changed(**changes).dataset_settings() != changed().dataset_settings()) == concerns_datasets


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("members", ["all"]),
        ("members", ["all", "rhythm"]),
        ("balance", 0.5),
        ("input_dropout", 0.0),
        ("input_noise", 0.0),
        ("label_smoothing", 0.0),
        ("input_share", 0.5),
        ("whole_part", "all"),
        ("shared_part", "rhythm"),
        ("clip", 2.0),
        ("specialists", {"part": "timbre", "labels": ["extrahls"]}),
        ("float16", True),
        ("moved", 2.0),
    ],
)
def test_the_fingerprint_changes_with_the_bagging(name: str, value: Any) -> None:
    parts = {"input": "statistics", "model": "bagged-fcnn", "network": {"hidden": [4]}}
    assert changed(**parts, bagging={name: value}).fingerprint() != changed(**parts).fingerprint()


def test_the_fingerprint_changes_with_the_copies() -> None:
    copies = changed(input="statistics", augmentation={"copies": 2})
    assert copies.fingerprint() != changed(input="statistics").fingerprint()
    assert input_settings(copies) != input_settings(changed(input="statistics"))
    harsh = changed(input="statistics", augmentation={"copies": 2, "harsh": True})
    assert harsh.fingerprint() != copies.fingerprint()
    assert input_settings(harsh) != input_settings(copies)
    pieces = changed(input="statistics", augmentation={"copies": 2, "pieces": 1})
    assert pieces.fingerprint() != copies.fingerprint()
    assert input_settings(pieces) != input_settings(copies)


def test_settings_of_later_versions_are_not_written_where_they_are_off() -> None:
    # Recipes and bundles of earlier versions keep their fingerprints.
    written = changed(input="statistics", model="bagged-fcnn", network={"hidden": [4]}).model_dump(mode="json")
    assert not {"harsh", "pieces"} & set(written["augmentation"])
    later = {"input_share", "whole_part", "shared_part", "clip", "specialists", "float16", "moved"}
    assert not later & set(written["bagging"])
    assert "within_databases" not in written["training"]
    assert "inner" not in written["decision"]


def test_no_setting_is_forgotten_in_the_tests_above() -> None:
    assert {
        name: sorted(type(getattr(changed(), name)).model_fields)
        for name in Recipe.model_fields
        if name not in ("name", "version", "description", "input", "labels", "model")
    } == {
        "augmentation": ["copies", "harsh", "pieces"],
        "bagging": [
            *("balance", "clip", "float16", "input_dropout", "input_noise", "input_share", "label_smoothing"),
            *("members", "moved", "shared_part", "specialists", "whole_part"),
        ],
        "compression": ["int8", "pruned"],
        "decision": ["balance", "calibrated", "inner", "inner_folds", "odds"],
        "frames": ["delta_time_s", "method"],
        "alignment": ["pad_mode"],
        "network": ["dropout", "hidden"],
        "training": [
            *("batch_size", "class_weights", "epochs", "holdout_folds", "learning_rate"),
            *("plateau_factor", "plateau_patience", "seed", "weight_decay", "within_databases"),
        ],
    }


@pytest.mark.parametrize("changes", [{"name": "y"}, {"description": "else"}, {"description": ""}])
def test_the_fingerprint_does_not_change_with_names(changes: dict[str, Any]) -> None:
    assert changed(**changes).fingerprint() == changed().fingerprint()
    assert changed(**changes).dataset_settings() == changed().dataset_settings()


def test_the_fingerprint_does_not_depend_on_how_a_recipe_is_spelled() -> None:
    short = parse_yaml(Recipe, "name: x", "a")
    long = parse_yaml(Recipe, "training: {seed: 42}\nnetwork: {dropout: 5e-1, hidden: [16, 8]}\nname: x", "b")
    assert short.fingerprint() == long.fingerprint()
    assert parse_settings(Recipe, short.model_dump(mode="json"), "c").fingerprint() == short.fingerprint()


def test_canonical_json() -> None:
    assert canonical_json({"b": [1, 2.5, None, True], "a": "ü\n"}) == '{"a":"ü\\n","b":[1,2.5,null,true]}'.encode()
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_every_shipped_recipe_is_valid_and_named_like_its_file() -> None:
    recipes = list((files("heartbeat_core.configs") / "recipes").iterdir())
    assert recipes
    for entry in recipes:
        recipe = parse_yaml(Recipe, entry.read_text("utf-8"), entry.name)
        assert entry.name == f"{recipe.name}.yaml"
        assert recipe.description
