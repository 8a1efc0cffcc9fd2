"""The command line. The module of a command is imported only when that command is called."""

import ast
import contextlib
import functools
import importlib
import importlib.abc
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from flows.cli.escaping import escape_controls
from flows.cli.pyarrow_import import hide_pandas_from_pyarrow
from flows.cli.validation import explain
from flows.cli.verbosity import with_verbosity

# Maps each command to its module and function, in the order of the help page.
COMMANDS = {
    "analyze": "flows.cli.commands.analyze:analyze",
    "live": "flows.cli.commands.live:live",
    "schedule": "flows.cli.commands.schedule:schedule",
    "watch": "flows.cli.commands.watch:watch",
    "timeline": "flows.cli.commands.timeline:timeline",
    "query": "flows.cli.commands.query:query",
    "summary": "flows.cli.commands.results:summary",
    "agreement": "flows.cli.commands.agreement:agreement",
    "export": "flows.cli.commands.export:export",
    "plot": "flows.cli.commands.plot:plot",
    "render": "flows.cli.commands.render:render",
    "report": "flows.cli.commands.report:report",
    "purge": "flows.cli.commands.purge:purge",
    "status": "flows.cli.commands.upkeep:status",
    "verify": "flows.cli.commands.verify:verify",
    "retry": "flows.cli.commands.upkeep:retry",
    "gc": "flows.cli.commands.upkeep:gc",
    "compact": "flows.cli.commands.compact:compact",
    "dashboard": "flows.cli.commands.dashboard:dashboard",
    "doctor": "flows.cli.commands.machine:doctor",
    "demo": "flows.cli.commands.machine:demo",
    "models": "flows.cli.commands.models:models_app",
    "train": "flows.cli.commands.train:train",
    "schedule-training": "flows.cli.commands.schedule:schedule_training",
    "evaluate": "flows.cli.commands.compare:evaluate",
    "compare": "flows.cli.commands.compare:compare",
    "train-detector": "flows.cli.commands.train:train_detector",
    "evaluate-detector": "flows.cli.commands.detectors:evaluate_detector",
    "train-landmarks": "flows.cli.commands.landmarks:train_landmarks",
    "evaluate-landmarks": "flows.cli.commands.landmarks:evaluate_landmarks",
}
CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}
# The base class of all usage errors, found this way because its module depends on the version of Typer.
UsageError: Any = typer.BadParameter.__base__


def unwrapped(docstring: str) -> str:
    """Join the lines of each paragraph: help is wrapped to the width of the terminal."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(docstring).split("\n\n"))


class LazyCommand(TyperCommand):
    """A command whose module is imported when it is called; until then only the first line of its help is known."""

    def __init__(self, name: str, target: str) -> None:
        self.target = target
        super().__init__(name, help=first_help_line(target))

    def load(self) -> Any:
        """The Click command itself, with all of its options."""
        module, _, attribute = self.target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False, context_settings=CONTEXT_SETTINGS)
            single.command(self.name, help=unwrapped(found.__doc__ or ""))(with_verbosity(found))
            found = single
        command = typer.main.get_command(found)
        command.name = self.name
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments with the command itself, and reword pydantic's error messages."""
        try:
            hide_pandas_from_pyarrow()
            return self.load().make_context(info_name, args, parent, **extra)
        except typer.BadParameter as error:
            if problems := getattr(error.__cause__, "errors", None):
                error.message = "; ".join(map(explain, problems()))
            raise


class LazyGroup(TyperGroup):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, target in COMMANDS.items():
            self.add_command(LazyCommand(name, target))

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the options before the command."""
        with escaped_usage_errors():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Parse the arguments of the command and run it."""
        with escaped_usage_errors():
            return super().invoke(ctx)


@contextlib.contextmanager
def escaped_usage_errors() -> Iterator[None]:
    """Escape control characters in usage errors, which quote arguments as they were typed."""
    try:
        yield
    except UsageError as error:
        error.message = escape_controls(error.message, keep="\n")
        raise


@functools.cache  # the command line is built again for each command that a process runs
def first_help_line(target: str) -> str:
    """The first line of the help of a command, read from the source of its module without importing it."""
    module, _, attribute = target.partition(":")
    package, _, name = module.rpartition(".")
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / f"{name}.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == attribute:
            return (ast.get_docstring(node) or "").partition("\n\n")[0]
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and attribute in map(ast.unparse, node.targets)
        ):
            # This is a group of commands: `attribute = typer.Typer(help="…")`.
            return str(
                next(ast.literal_eval(keyword.value) for keyword in node.value.keywords if keyword.arg == "help")
            )
    raise LookupError(target)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT_SETTINGS,
    help="Turn videos into emotion timelines that can be queried, viewed and trusted.",
    epilog="Exit codes: 0 success, 1 fatal error, 2 usage error, 3 some videos failed, 130 interrupted, "
    "143 terminated.",
)


def print_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        import importlib.metadata

        print(f"fervid {importlib.metadata.version('fervid')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn videos into emotion timelines that can be queried, viewed and trusted."""


def main() -> None:
    """The `fervid` command."""
    try:
        app()
    finally:
        flush_output()


def flush_output() -> None:
    """Flush standard output; if its reader has gone, as with `| head`, end silently."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes again at exit, and would then print the error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
