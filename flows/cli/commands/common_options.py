"""Arguments and options that several commands share and that are not settings."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from flows.cli.console import Device, parse_path, refuse_standard_output

InputPaths = Annotated[
    list[Path],
    typer.Argument(
        parser=parse_path,
        metavar="INPUT",
        help="Videos, images, or folders of them; also addresses such as s3://bucket/videos.",
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        parser=parse_path,
        callback=refuse_standard_output,
        metavar="FOLDER",
        help="Results folder, also at an address such as s3://bucket/results; created if missing.",
    ),
]
Recursive = Annotated[bool, typer.Option(help="Search folders recursively.")]
Pattern = Annotated[str, typer.Option(metavar="GLOB", help="In folders, use only files whose name matches.")]
ComputeDevice = Annotated[Device, typer.Option(help="Device to compute on.")]
# For options that are required in one command and optional in another.
LABELED_FACES = typer.Option(help="FER-2013 as Parquet or CSV, or a folder with a folder of images per emotion.")
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")]
Seed = Annotated[int, typer.Option(help="Seed of the random numbers.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

F = TypeVar("F", bound=Callable[..., None])


def with_options_of(command: Callable[..., None], *, leaving_out: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Add the arguments and options of another command before those of a command, as keyword arguments."""

    def decorate(function: F) -> F:
        theirs, ours = (inspect.signature(of, eval_str=True).parameters.values() for of in (command, function))
        own = [p.replace(kind=p.KEYWORD_ONLY) for p in ours if p.kind is not p.VAR_KEYWORD]
        without = {*leaving_out, *(p.name for p in own)}
        shared = [p.replace(kind=p.KEYWORD_ONLY) for p in theirs if p.name not in without]
        function.__signature__ = inspect.Signature([*shared, *own])  # type: ignore[attr-defined]  # read by Typer
        return function

    return decorate
