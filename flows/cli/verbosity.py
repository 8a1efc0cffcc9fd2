"""The options `--quiet` and `--verbose` of every command except `fervid models`."""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Annotated

import typer

from flows.cli.console import errors

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also print the log.")]
PACKAGES = ("analytics", "dashboard", "fer_models", "flows")


def with_verbosity(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options `--quiet` and `--verbose` to a command, after its own."""

    @functools.wraps(command)
    def run(quiet: bool, verbose: bool, **values: object) -> None:
        errors.quiet = quiet
        if verbose:
            show_log()
        command(**values)

    own = [p.replace(kind=p.KEYWORD_ONLY) for p in inspect.signature(command, eval_str=True).parameters.values()]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("quiet", Quiet), ("verbose", Verbose))
    ]
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]  # read by Typer
    run.__annotations__ = {p.name: p.annotation for p in [*own, *added]}
    return run


def show_log() -> None:
    """Print the log of Fervid's packages to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S"))
    for name in PACKAGES:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
