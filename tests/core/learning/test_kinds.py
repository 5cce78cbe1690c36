"""The registry of model kinds: which inputs and settings go with which."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest

from heartbeat_core.errors import ConfigError
from heartbeat_core.learning.aligned import AlignedFCNN
from heartbeat_core.learning.kinds import MODEL_KINDS, check_recipe, implementation_of
from heartbeat_core.learning.model import Implementation
from heartbeat_core.recipe import Recipe
from heartbeat_core.settings import parse_yaml


def recipe(**content: Any) -> Recipe:
    return Recipe.model_validate({"name": "x"} | content)


PARTS = [
    ({"model": "cnn"}, "model 'cnn' reads sequences, and the input 'aligned' is frames"),
    ({"model": "rnn", "input": "mfcc"}, "model 'rnn' reads sequences, and the input 'mfcc' is a vector"),
    ({"model": "vote"}, "model 'vote' reads vectors, and the input 'aligned' is frames"),
    ({"input": "log-mel"}, "model 'fcnn' reads frames or vectors, and the input 'log-mel' is a sequence"),
    (
        {"input": "statistics+cycles+statistics"},
        "the input 'statistics+cycles+statistics' names a feature set twice",
    ),
    ({"augmentation": {"copies": 1}}, "copies and pieces are made for vectors only, and 'aligned' is not one"),
    ({"augmentation": {"pieces": 1}}, "copies and pieces are made for vectors only, and 'aligned' is not one"),
    (
        {"model": "cnn", "input": "log-mel", "compression": {"int8": True}},
        "'compression' goes with the model 'fcnn', not with 'cnn'",
    ),
    (
        {"model": "bagged-fcnn", "input": "statistics", "network": {"hidden": [16, 8]}},
        "a bagged-fcnn has one hidden layer: its width is that of each member's",
    ),
    (
        {"training": {"within_databases": True}},
        "'within_databases' goes with the model 'bagged-fcnn', not with 'fcnn'",
    ),
    *(
        (
            {
                "model": "bagged-fcnn",
                "input": "statistics",
                "network": {"hidden": [4]},
                "bagging": {"members": members, "specialists": {"part": "timbre", "labels": ["extrahls"]}},
            },
            "some members, but not all, must read the specialists' part 'timbre'",
        )
        for members in (["rhythm"], ["timbre", "timbre"])
    ),
    (
        {
            "model": "bagged-fcnn",
            "input": "statistics",
            "network": {"hidden": [4]},
            "bagging": {"members": ["rhythm"], "whole_part": "timbre"},
        },
        "no member reads the part 'timbre' that is read in whole",
    ),
    (
        {
            "model": "bagged-fcnn",
            "input": "statistics",
            "network": {"hidden": [4]},
            "bagging": {"moved": 2.0},
        },
        "'moved' needs 'within_databases: true': rows move between databases",
    ),
    ({"bagging": {"members": ["all"]}}, "'bagging' goes with the model 'bagged-fcnn', not with 'fcnn'"),
    ({"model": "boosting", "network": {"hidden": [4]}}, "'network' goes with the model 'fcnn', not with 'boosting'"),
]


@pytest.mark.parametrize(("content", "told"), PARTS)
def test_parts_that_do_not_go_together_are_refused(content: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_recipe(recipe(**content))
    assert str(caught.value) == f"recipe 'x': {told}"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"model": "svm"}, "unknown model 'svm': there are fcnn, bagged-fcnn, boosting, cnn, rnn, vote"),
        ({"input": "pitch"}, "unknown feature set 'pitch'"),
        (
            {"model": "bagged-fcnn", "input": "mfcc", "network": {"hidden": [8]}, "bagging": {"members": ["timbre"]}},
            "input 'mfcc' has no part 'timbre': there are all",
        ),
    ],
)
def test_names_that_are_not_known_are_refused(content: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_recipe(recipe(**content))
    assert told in str(caught.value)


def test_what_is_spelled_out_as_it_is_by_default_is_no_contradiction() -> None:
    vote = recipe(model="vote", input="statistics")
    check_recipe(Recipe.model_validate(vote.model_dump(mode="json")))


@pytest.mark.parametrize(
    "entry",
    sorted((files("heartbeat_core.configs") / "recipes").iterdir(), key=lambda entry: entry.name),
    ids=lambda entry: str(entry.name),
)
def test_every_shipped_recipe_goes_together(entry: Any) -> None:
    check_recipe(parse_yaml(Recipe, entry.read_text("utf-8"), entry.name))


def test_every_implementation_can_be_loaded() -> None:
    inputs = {"frames": "aligned", "vector": "statistics", "sequence": "log-mel"}
    for kind in MODEL_KINDS.all():
        for shape in kind.implementations:
            network = {"network": {"hidden": [4]}} if "bagging" in kind.sections else {}
            one = implementation_of(recipe(model=kind.name, input=inputs[shape], **network))
            assert isinstance(one, Implementation)
            assert type(one).fit is not Implementation.fit
    assert isinstance(implementation_of(recipe()), AlignedFCNN)
