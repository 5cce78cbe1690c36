"""Name the benchmarks; each is a module of its own, started as ``python -m tests.benchmarks.NAME``."""

from __future__ import annotations

import ast
import sys
from pathlib import Path


def benchmarks() -> dict[str, str]:
    """Return the first line of each benchmark's docstring by its name.

    A benchmark is a module whose docstring shows its own command.
    """
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if f"python -m tests.benchmarks.{path.stem}" in docstring:
            found[path.stem] = docstring.partition("\n")[0]
    return found


def main() -> int:
    """Print a line for each, and return the exit code of a command that lacks its argument."""
    print("Which benchmark? python -m tests.benchmarks.NAME, and --help tells its options:")
    for name, line in benchmarks().items():
        print(f"  {name:18}{line}")
    return 2


if __name__ == "__main__":
    sys.exit(main())
