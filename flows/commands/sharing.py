"""Options that several commands have: declared once, by the command that is about them."""

import inspect
from collections.abc import Callable
from typing import TypeVar

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
