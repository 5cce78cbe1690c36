"""Run a command of the command line in this process."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from jobs.cli.__main__ import app


def heartbeat(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, [str(one) for one in arguments])


def done(*arguments: object) -> Result:
    """Run a command that succeeds."""
    result = heartbeat(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: object) -> str:
    """Return the one line on stderr of a command that is refused as wrong usage."""
    result = heartbeat(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    [line] = result.stderr.splitlines()
    assert line.startswith("heartbeat: ")
    assert result.stdout == ""
    return line.removeprefix("heartbeat: ")
