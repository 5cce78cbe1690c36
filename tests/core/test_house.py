"""The rules of the house, read from the imports: who may know whom, and who may know which library."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import heartbeat_core

ROOT = Path(__file__).parents[2]
PACKAGES = ("heartbeat_core", "jobs")
GROUND = ("errors", "arrays", "labels", "settings", "recipe", "registry", "devices", "wording")
"""Modules of the core that belong to no wing."""
RULES: dict[str, set[str]] = {
    "heartbeat_core.formats": set(),
    "heartbeat_core.storage": set(),
    "heartbeat_core.audio": set(),
    "heartbeat_core.alignment": set(),
    "heartbeat_core.evaluation": set(),
    "heartbeat_core.challenges": set(),
    "heartbeat_core.features": {"heartbeat_core.audio"},
    "heartbeat_core.databases": {f"heartbeat_core.{wing}" for wing in ("storage", "formats")},
    "heartbeat_core.datasets": {f"heartbeat_core.{wing}" for wing in ("storage", "formats", "alignment")},
    "heartbeat_core.recordings": {f"heartbeat_core.{wing}" for wing in ("storage", "audio", "alignment", "features")},
    "heartbeat_core.learning": {f"heartbeat_core.{wing}" for wing in ("features", "alignment", "evaluation")},
    "heartbeat_core.bundles": {
        f"heartbeat_core.{wing}"
        for wing in (
            *("storage", "audio", "alignment", "evaluation", "features", "datasets", "recordings", "learning"),
        )
    },
    "heartbeat_core.results": {
        f"heartbeat_core.{wing}"
        for wing in (
            *("formats", "storage", "audio", "alignment", "evaluation", "features", "datasets", "recordings"),
            "bundles",
        )
    },
    "heartbeat_core.reporting": {
        f"heartbeat_core.{wing}" for wing in ("evaluation", "features", "learning", "bundles", "results")
    },
    "heartbeat_core.reviewing": {f"heartbeat_core.{wing}" for wing in ("formats", "audio", "features", "evaluation")},
    "jobs.listing": {"jobs"},
    "jobs.cluster": {"jobs"},
    "jobs.output": {"jobs", "jobs.listing"},
    "jobs.tasks": {"jobs", "jobs.listing", "jobs.output"},
    "jobs.planning": {"jobs", "jobs.listing", "jobs.output", "jobs.tasks"},
    "jobs.drivers": {"jobs", "jobs.listing", "jobs.cluster", "jobs.output", "jobs.tasks", "jobs.planning"},
    "jobs.cli": {"jobs", "jobs.listing", "jobs.cluster", "jobs.output", "jobs.planning", "jobs.drivers"},
}
"""Which other wings each wing may import; every wing of the core may import the ground, the jobs all of the core."""
PURE = (
    *("alignment.correlation", "alignment.placement", "alignment.scaling"),
    *("evaluation.baselines", "evaluation.figures", "evaluation.judging", "evaluation.metrics", "evaluation.report"),
    *("evaluation.splits", "evaluation.leave_one_out", "evaluation.against_rest", "evaluation.rank_figures"),
    *("evaluation.rank_report", "evaluation.protocols", "evaluation.intervals", "evaluation.markdown"),
    *("evaluation.pooling", "evaluation.reliability", "evaluation.diagram", "evaluation.traits", "evaluation.unsure"),
    *("evaluation.calls", "evaluation.finished", "evaluation.finished_report", "evaluation.row_report"),
    *("challenges.answers", "challenges.challenge", "challenges.cinc2016", "challenges.moody2022"),
    *("features.augmentation", "features.catalogue", "features.cycles", "features.cycles_columns"),
    *("features.beats", "features.beats_columns", "features.cycle_spectrum", "features.cycle_spectrum_columns"),
    *("features.decoding", "features.dynamics", "features.feature_set", "features.frames", "features.rhythm"),
    *("features.groups", "features.series", "features.signal_quality", "features.signal_quality_columns"),
    *("features.signal", "features.similarity", "features.statistics", "features.statistics_columns"),
    *("audio.containers", "audio.quality", "audio.synthetic_artifacts", "audio.synthetic_beats"),
    *("audio.synthetic_hearts", "audio.synthetic_recorders", "audio.synthetic_waves"),
    *("learning.decision", "learning.limits", "learning.network", "learning.weighting"),
    *("evaluation.agreement", "reporting.drawing", "reporting.page", "reviewing.choosing"),
)
"""Arrays in, arrays out."""


def _modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            path.read_text("utf-8")
        )
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


MODULES = _modules()


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of all that is imported, anywhere in the tree but under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (name for branch in node.orelse for name in _imports(branch))
        else:
            yield from _imports(node)


IMPORTS = {module: sorted(set(_imports(tree))) for module, tree in MODULES.items()}


def _internal(module: str) -> set[str]:
    """Return the modules of the project that a module imports, by their full names."""
    found = set()
    for name in IMPORTS[module]:
        if name.partition(".")[0] in PACKAGES:
            found.add(name if name in MODULES else name.rpartition(".")[0])
    return found - {*PACKAGES}


def _users_of(library: str) -> set[str]:
    return {
        module
        for module, names in IMPORTS.items()
        if any(name == library or name.startswith(f"{library}.") for name in names)
    }


def _wing(module: str) -> str:
    """Return the wing that a module lies in; of the top folders' own modules, the folder."""
    name, _, rest = module.partition(".")
    wing = rest.partition(".")[0]
    return f"{name}.{wing}" if wing and (ROOT / name / wing).is_dir() else name


def test_the_walk_over_the_imports_sees_something() -> None:
    assert "heartbeat_core.recipe" in _internal("heartbeat_core.alignment.placement")
    assert "heartbeat_core.storage" in _internal("jobs.listing.listing")
    assert "numpy" in IMPORTS["heartbeat_core.features.frames"]
    assert _wing("heartbeat_core.audio.decode") == "heartbeat_core.audio"
    assert _wing("heartbeat_core.recipe") == "heartbeat_core"
    assert len(MODULES) > 100


def test_the_science_does_not_know_the_drivers() -> None:
    assert not [module for module in _users_of("jobs") if module.startswith("heartbeat_core")]
    assert not [module for module in _users_of("tests") if not module.startswith("tests")]


def test_every_wing_has_a_rule() -> None:
    wings = {_wing(module) for module in MODULES}
    assert wings - set(PACKAGES) == set(RULES)
    in_no_wing = {module for module in MODULES if _wing(module) == "heartbeat_core"} - {"heartbeat_core"}
    assert in_no_wing <= {f"heartbeat_core.{name}" for name in GROUND}


@pytest.mark.parametrize("name", GROUND)
def test_the_ground_imports_the_ground_alone(name: str) -> None:
    if f"heartbeat_core.{name}" in MODULES:
        assert _internal(f"heartbeat_core.{name}") <= {f"heartbeat_core.{other}" for other in GROUND}


@pytest.mark.parametrize("wing", RULES)
def test_a_wing_imports_what_its_rule_allows(wing: str) -> None:
    for module in MODULES:
        if _wing(module) != wing:
            continue
        others = {_wing(other) for other in _internal(module)} - {wing}
        allowed = RULES[wing] | {"heartbeat_core"}
        if wing.startswith("jobs"):
            allowed |= {other for other in RULES if other.startswith("heartbeat_core")}
        assert others <= allowed, module


def test_the_ground_of_the_jobs_imports_the_core_and_itself_alone() -> None:
    for module in MODULES:
        if _wing(module) == "jobs":
            others = {_wing(other) for other in _internal(module)} - {"jobs"}
            assert all(other.startswith("heartbeat_core") for other in others), module


def test_the_core_does_not_use_its_own_public_names() -> None:
    """They would hide which wing a module imports."""
    hidden = {"heartbeat_core", *(f"heartbeat_core.{name}" for name in (*heartbeat_core.__all__, "*"))}
    for module in MODULES:
        if module.startswith("heartbeat_core."):
            assert not hidden & set(IMPORTS[module]), module


def _in(*places: str) -> set[str]:
    """Return the modules of these wings, and these modules."""
    return {module for module in MODULES if module in places or _wing(module) in places}


@pytest.mark.parametrize(
    ("library", "places"),
    [
        (
            "torch",
            (
                *("heartbeat_core.learning", "heartbeat_core.bundles", "heartbeat_core.datasets.streaming"),
                *("heartbeat_core.alignment.torch_correlator", "heartbeat_core.devices"),
            ),
        ),
        ("pyarrow", ("heartbeat_core.formats", "heartbeat_core.results")),
        ("fsspec", ("heartbeat_core.storage",)),
        ("s3fs", ("heartbeat_core.storage",)),
        ("aiobotocore", ("heartbeat_core.storage",)),
        ("botocore", ("heartbeat_core.storage",)),
        ("boto3", ()),
        ("aiohttp", ("heartbeat_core.storage",)),
        ("tenacity", ("heartbeat_core.storage",)),
        ("sqlite3", ("jobs.listing.seen",)),
        ("dask", ("jobs.cluster",)),
        ("distributed", ("jobs.cluster",)),
        ("cryptography", ("jobs.cluster.certificates", "jobs.cluster.tls", "jobs.listing.pseudonyms")),
        ("typer", ("jobs.cli",)),
        ("soundfile", ("heartbeat_core.audio",)),
        ("librosa", ("heartbeat_core.features",)),
        ("soxr", ("heartbeat_core.features",)),
        ("sklearn", ("heartbeat_core.evaluation", "heartbeat_core.challenges", "heartbeat_core.learning")),
        ("matplotlib", ("heartbeat_core.reviewing.picture",)),
        ("PIL", ("heartbeat_core.reviewing.picture",)),
        ("jinja2", ("heartbeat_core.reporting.render", "heartbeat_core.reviewing.page")),
        ("prometheus_client", ("jobs.output.metrics",)),
        ("perpetual", ("heartbeat_core.learning.classical",)),
        ("onnx", ("heartbeat_core.bundles.export",)),
        ("onnxruntime", ("jobs.drivers.export",)),
        ("h5py", ("heartbeat_core.bundles.export",)),
        ("pandas", ()),
        ("polars", ()),
        ("duckdb", ("heartbeat_core.results.database",)),
    ],
)
def test_each_library_has_its_rooms(library: str, places: tuple[str, ...]) -> None:
    assert _users_of(library) <= _in(*places)


@pytest.mark.parametrize("library", ["pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"])
def test_nothing_is_pickled(library: str) -> None:
    assert _users_of(library) == set()


def test_nothing_is_saved_or_loaded_by_torch_or_numpy_with_pickle() -> None:
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in ("torch.load", "torch.save", "torch.jit.load", "np.load"), module
            if isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle", module


def test_nothing_imports_the_command_line() -> None:
    assert {module for module in MODULES if any(_wing(one) == "jobs.cli" for one in _internal(module))} <= _in(
        "jobs.cli"
    )


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_do_no_io(name: str) -> None:
    module = f"heartbeat_core.{name}"
    known = {name.partition(".")[0] for name in IMPORTS[module]}
    assert not known & {"fsspec", "io", "logging", "os", "pathlib", "pyarrow", "shutil", "socket", "soundfile", "torch"}
    # The decoder is known for the type of its waveform.
    pure = {f"heartbeat_core.{other}" for other in (*PURE, *GROUND, "audio.decode")}
    assert _internal(module) <= pure
    calls = {ast.unparse(node.func) for node in ast.walk(MODULES[module]) if isinstance(node, ast.Call)}
    assert not calls & {"open", "print", "input"}


MOST_LINES = 400


def test_no_file_is_too_long_to_read() -> None:
    too_long = {
        module: n_lines
        for module in MODULES
        if (n_lines := max(getattr(node, "end_lineno", 0) for node in MODULES[module].body)) > MOST_LINES
    }
    assert too_long == {}


def test_the_package_list_names_every_wing() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    assert set(listed) == {*PACKAGES, *RULES, "heartbeat_core.configs"}


def test_there_is_no_cycle_among_the_modules() -> None:
    graph = {module: _internal(module) & MODULES.keys() for module in MODULES}
    # Imports inside functions count too. static_order raises CycleError, which names the cycle.
    assert set(TopologicalSorter(graph).static_order()) >= set(MODULES)


def test_all_that_the_package_list_promises_is_there() -> None:
    assert {module.partition(".")[0] for module in MODULES} == set(PACKAGES)
    assert not [path for package in PACKAGES for path in (ROOT / package).rglob("test_*.py")]


def test_broad_excepts_and_asserts_stay_out() -> None:
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            assert not isinstance(node, ast.Assert), f"{module}: line {getattr(node, 'lineno', 0)} asserts"
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{module}: line {node.lineno} catches everything"
                caught = ast.unparse(node.type)
                if caught in ("Exception", "BaseException"):
                    # Allowed only to tidy up and let it pass.
                    assert any(isinstance(inner, ast.Raise) for inner in node.body), f"{module}: line {node.lineno}"
