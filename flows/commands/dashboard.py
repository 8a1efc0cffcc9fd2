"""`fervid dashboard`: the results in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import fatal_errors, place_given

DEMO_RESULTS = Path("demo/results")  # as `make demo` makes them


def dashboard(
    results: Annotated[
        Path,
        typer.Argument(
            parser=place_given, metavar="[RESULTS]", help="A results folder; without one, that of `make demo`."
        ),
    ] = DEMO_RESULTS,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Else the first free one from 8501.")] = None,
    address: Annotated[
        str, typer.Option(help="Where to listen; other machines see nothing of 127.0.0.1.")
    ] = "127.0.0.1",
    allowed_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name under which a proxy serves it; may be repeated.")
    ] = None,
) -> None:
    """Show the results in a browser, on this machine only unless told otherwise; Ctrl-C ends it."""
    from analytics.store import check_results

    with fatal_errors():
        check_results(results)
        from dashboard.server import serve

        serve(results, address=address, port=port, allowed_hosts=tuple(allowed_host or ()))
