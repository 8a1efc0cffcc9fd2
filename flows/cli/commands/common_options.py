"""Options that several commands have: declared once, here or by the command that is about them."""

import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from flows.cli.console import Device, place_given


class Detector(StrEnum):
    """Which network finds faces."""

    auto = "auto"
    compact = "compact"
    retinaface = "retinaface"


# What looking at pictures takes, whether they come from files or as they are made.
Out = Annotated[
    Path,
    typer.Option(
        parser=place_given,
        metavar="PATH",
        help="The results folder, also at an address such as s3://bucket/results; made if it is not there.",
    ),
]
Fps = Annotated[float | None, typer.Option(help="Look at this many frames per second (default: all).")]
FindsFaces = Annotated[Detector, typer.Option(help="What finds faces.")]
DetectorSize = Annotated[
    int | None, typer.Option(metavar="PX", help="Look for faces in frames shrunk to this long side, if larger.")
]
ReadsEmotions = Annotated[str, typer.Option(metavar="NAME", help="What reads emotions: a name or a folder.")]
ComputesOn = Annotated[Device, typer.Option(help="Where to compute.")]
MinFace = Annotated[float, typer.Option(metavar="PX", min=0, help="Leave out smaller faces.")]
DoneAsJson = Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")]

F = TypeVar("F", bound=Callable[..., None])


def with_options_of(command: Callable[..., None], *, leaving_out: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Give a command the arguments and options of another, too, before its own.

    They come to the decorated function as keywords, and to `settings_given` as if they were its own.
    """

    def decorate(function: F) -> F:
        theirs, ours = (inspect.signature(of, eval_str=True).parameters.values() for of in (command, function))
        own = [p.replace(kind=p.KEYWORD_ONLY) for p in ours if p.kind is not p.VAR_KEYWORD]
        without = {*leaving_out, *(p.name for p in own)}
        shared = [p.replace(kind=p.KEYWORD_ONLY) for p in theirs if p.name not in without]
        function.__signature__ = inspect.Signature([*shared, *own])  # type: ignore[attr-defined]  # read by Typer
        return function

    return decorate
