"""Consoles, exit codes, and one-line errors, shared by all commands."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.markup import escape

from fer_models.errors import FervidError
from fer_models.extras import missing_extra_hint
from flows.cli.escaping import SafeConsole, escape_controls

if TYPE_CHECKING:
    from analytics.results.storage_paths import StoragePath

# Exit codes. USAGE: the command line itself is wrong. FATAL: for example, a file that it names is missing or would be
# overwritten, or a dependency is not installed.
DONE, FATAL, USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
TERMINATED = 143
TERMINATION_SIGNALS = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP, which is sent when a terminal is closed
# Printed when a command is interrupted that continues where it was stopped.
RESUME_HINT = "finished work is kept; run the same command again to resume"
STANDARD_OUTPUT = Path("-")
WIDE = 200  # width in characters of output to files and pipes
T = TypeVar("T")
console = SafeConsole(width=None if sys.stdout.isatty() else WIDE)
errors = SafeConsole(stderr=True)  # prints notes and progress, which --quiet hides
failures = SafeConsole(stderr=True)


def say(line: str) -> None:
    """Print a line of the result to standard output, without any markup."""
    console.print(escape_controls(line), highlight=False, markup=False, soft_wrap=True)


def note(line: str) -> None:
    """Print a line about the run to standard error, without any markup."""
    errors.print(escape_controls(line), highlight=False, markup=False, soft_wrap=True)


def parse_path(text: str) -> "StoragePath":
    """A local path, or an address such as `s3://bucket/results`."""
    from analytics.results.storage_paths import StorageError, resolve_path

    try:
        return resolve_path(text)
    except StorageError as error:
        raise typer.BadParameter(str(error)) from error


def refuse_standard_output(path: Path | None) -> Path | None:
    """Refuse `-` as an output path (a callback for options)."""
    if path == STANDARD_OUTPUT:
        raise typer.BadParameter("cannot be written to standard output: give a path")
    return path


Results = Annotated[
    Path,
    typer.Argument(parser=parse_path, metavar="RESULTS", help="Results folder, the `--out` of `fervid analyze`."),
]


class Device(StrEnum):
    """Device to compute on."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def usage_checked(make: Callable[..., T], **values: Any) -> T:
    """`make(**values)`; a ValueError is a usage error (exit code 2)."""
    try:
        return make(**values)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def is_typed(context: typer.Context, name: str) -> bool:
    """Whether a parameter was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def confirm_removal(question: str) -> None:
    """Ask a question, and exit unless the answer is yes: with code 130 after Ctrl-C, else with code 1."""
    try:
        typer.confirm(question, abort=True)
    except typer.Abort as error:
        if not isinstance(error.__context__, KeyboardInterrupt):  # Typer raises Abort for both
            raise
        errors.print()  # ends the line of the question
        note("stopped: nothing was removed")
        raise typer.Exit(INTERRUPTED) from None


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM, as from `kill` or a service manager, or SIGHUP."""


@contextlib.contextmanager
def stop_on_interrupt(at_once: bool = False) -> Iterator[None]:
    """Let the first Ctrl-C (or SIGTERM) request an orderly stop, and a second one end the run immediately.

    Args:
        at_once: end immediately at the first one, because other processes do the work.

    Raises:
        Terminated: if the run was stopped by SIGTERM.
    """
    from flows.analysis.progress import Stopped, progress

    interrupt: type[KeyboardInterrupt] = KeyboardInterrupt

    def stop(signum: int, frame: object) -> None:
        nonlocal interrupt
        interrupt = Terminated if signum == signal.SIGTERM else KeyboardInterrupt
        if at_once or progress.stop_requested.is_set():
            raise interrupt
        progress.stop_requested.set()
        note("stopping after the current batch; press Ctrl-C again to stop immediately")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Stopped as error:
        raise interrupt from error
    finally:
        progress.stop_requested.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _interrupted_by_termination() -> Iterator[None]:
    """Let the signals that end a process without cleaning up interrupt the block, as Ctrl-C does."""

    def interrupt(signum: int, frame: object) -> None:
        raise Terminated

    numbers = [getattr(signal, name) for name in TERMINATION_SIGNALS if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]  # nohup ignores SIGHUP
    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def fatal_errors(resume_hint: str = "run the same command again") -> Iterator[None]:
    """Print an expected failure as one line, and exit with code 1.

    Ctrl-C and SIGTERM end the block in an orderly way, with codes of their own.

    Args:
        resume_hint: printed if the command is interrupted: what was kept, and how to continue.
    """
    from flows.analysis.progress import Stopped

    try:
        with _interrupted_by_termination():
            yield
    except (Stopped, KeyboardInterrupt) as error:
        note(f"stopped: {resume_hint}")
        raise typer.Exit(TERMINATED if isinstance(error, Terminated) else INTERRUPTED) from None
    except (typer.Exit, typer.BadParameter, BrokenPipeError):
        raise
    except OSError as error:
        fail(
            f"{error.filename}: {error.strerror}: check the path and its permissions" if error.filename else str(error),
            error,
        )
    except FervidError as error:
        fail(str(error), error)
    except ModuleNotFoundError as error:
        hint = missing_extra_hint(error)
        if hint is None:
            raise
        fail(hint, error)
    except BaseException as error:
        if type(error).__name__ != "TerminationSignal":  # Prefect raises this error for SIGTERM during a flow
            raise
        note(f"stopped: {resume_hint}")
        raise typer.Exit(TERMINATED) from None


def fail(reason: str, error: Exception | None = None) -> NoReturn:
    """Print the reason and exit with code 1."""
    failures.print(f"[red]error[/red] {escape(reason)}", highlight=False, soft_wrap=True)
    raise typer.Exit(FATAL) from error
