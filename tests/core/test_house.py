"""The rules of the house, read from the imports: who may know whom, and who may know which library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("heartbeat_core", "jobs")
PURE = (
    "alignment",
    "augmentation",
    "calibration",
    "correlation",
    "cycles",
    "cycles_names",
    "dynamics",
    "evaluation",
    "figures",
    "frames",
    "judging",
    "leaderboard",
    "names_page",
    "quality",
    "rhythm",
    "rules",
    "scaling",
    "similarity",
    "statistics",
    "statistics_names",
    "summaries",
    "summary",
)
"""Arrays in, arrays out."""


TORCH = (
    "accelerator",
    "bagging",
    "bundle",
    "compression",
    "export",
    "fcnn",
    "frame_models",
    "inference",
    "sequence_models",
    "streaming",
    "training",
    "vector_models",
)


def _modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text("utf-8"))
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
    return found - {"heartbeat_core.__init__", *PACKAGES}


def _users_of(library: str) -> set[str]:
    return {
        module
        for module, names in IMPORTS.items()
        if any(name == library or name.startswith(f"{library}.") for name in names)
    }


def test_the_walk_over_the_imports_sees_something() -> None:
    assert "heartbeat_core.config" in _internal("heartbeat_core.alignment")
    assert "heartbeat_core.storage" in _internal("jobs.plan")
    assert "numpy" in IMPORTS["heartbeat_core.frames"]
    assert len(MODULES) > 30


def test_the_science_does_not_know_the_drivers() -> None:
    assert not [module for module in _users_of("jobs") if module.startswith("heartbeat_core")]
    assert not [module for module in _users_of("tests") if not module.startswith("tests")]


@pytest.mark.parametrize("module", ["errors", "config"])
def test_the_foundations_import_nothing_internal(module: str) -> None:
    assert _internal(f"heartbeat_core.{module}") <= {"heartbeat_core.errors"}
    assert _internal("heartbeat_core.errors") == set()


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("torch", {f"heartbeat_core.{name}" for name in TORCH}),
        ("pyarrow", {f"heartbeat_core.{name}" for name in ("columns", "evaluation_tables", "schema", "tables")}),
        ("fsspec", {"heartbeat_core.storage", "heartbeat_core.stores", "heartbeat_core.s3"}),
        ("s3fs", {"heartbeat_core.storage", "heartbeat_core.s3"}),
        ("aiobotocore", {"heartbeat_core.storage", "heartbeat_core.s3"}),
        ("botocore", {"heartbeat_core.storage", "heartbeat_core.s3"}),
        ("boto3", set()),
        ("aiohttp", {"heartbeat_core.storage", "heartbeat_core.s3"}),
        ("tenacity", {"heartbeat_core.retry"}),
        ("sqlite3", {"jobs.known"}),
        ("dask", {"jobs.cluster", "jobs.runner"}),
        ("distributed", {"jobs.cluster", "jobs.runner"}),
        ("cryptography", {"jobs.certs", "jobs.tls"}),
        ("typer", {"jobs.cli"}),
        ("soundfile", {"heartbeat_core.audio", "heartbeat_core.synthesis"}),
        (
            "librosa",
            {"heartbeat_core.frames", "heartbeat_core.audio", "heartbeat_core.inputs", "heartbeat_core.statistics"},
        ),
        ("soxr", {"heartbeat_core.augmentation", "heartbeat_core.statistics"}),
        ("sklearn", {f"heartbeat_core.{name}" for name in ("decision", "evaluation", "judging", "tree_models")}),
        ("perpetual", {"heartbeat_core.tree_models"}),
        ("onnx", {"heartbeat_core.export"}),
        ("onnxruntime", {"jobs.export"}),
        ("h5py", {"heartbeat_core.export"}),
        ("pandas", set()),
        ("polars", set()),
        ("duckdb", set()),
    ],
)
def test_each_library_has_its_rooms(library: str, allowed: set[str]) -> None:
    assert _users_of(library) <= allowed


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
    assert {module for module in MODULES if "jobs.cli" in _internal(module)} <= {"jobs.__main__"}


@pytest.mark.parametrize("name", [name for name in PURE if f"heartbeat_core.{name}" in MODULES])
def test_pure_modules_do_no_io(name: str) -> None:
    module = f"heartbeat_core.{name}"
    known = {name.partition(".")[0] for name in IMPORTS[module]}
    assert not known & {"fsspec", "io", "logging", "os", "pathlib", "pyarrow", "shutil", "socket", "soundfile", "torch"}
    # The audio module is known for the type of its waveform.
    pure = {f"heartbeat_core.{other}" for other in (*PURE, "config", "errors", "audio")}
    assert _internal(module) <= pure
    calls = {ast.unparse(node.func) for node in ast.walk(MODULES[module]) if isinstance(node, ast.Call)}
    assert not calls & {"open", "print", "input"}


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
