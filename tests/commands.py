"""Run the command line in the process of the tests."""

import io
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli.app import app


def fervid(*arguments: object, env: dict[str, str] | None = None, **options: Any) -> Result:
    """Run `fervid` with these arguments, by default in a terminal in which few messages wrap.

    Args:
        arguments: words of the command line; all but texts are converted.
        env: environment variables in addition to those of the tests.
        options: further arguments of Click's runner, such as `input`.
    """
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, words, env={"COLUMNS": "250"} | (env or {}), **options)


class _CtrlC(io.StringIO):
    """An input at which Ctrl-C is pressed."""

    def readline(self, size: int | None = -1, /) -> str:
        raise KeyboardInterrupt


def interrupt_at_prompt(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    """Run `fervid` with these arguments, press Ctrl-C where it asks a question, and return the exit code."""
    monkeypatch.setattr("sys.stdin", _CtrlC())
    with pytest.raises(SystemExit) as ended:
        app([str(argument) for argument in arguments])
    return ended.value.code
