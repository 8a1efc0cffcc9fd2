"""`fervid dashboard`: the results in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import fatal_errors, parse_path

DEMO_RESULTS = Path("demo/results")  # as `make demo` makes them
NO_RESULTS = (
    "there are no results of the demo here. Make them with `make demo`, or with "
    "`fervid demo demo/videos && fervid analyze demo/videos --out demo/results`; "
    "or give a results folder: `fervid dashboard RESULTS`"
)


def dashboard(
    results: Annotated[
        Path,
        typer.Argument(
            parser=parse_path, metavar="[RESULTS]", help="A results folder; without one, that of `make demo`."
        ),
    ] = DEMO_RESULTS,
    events: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Markers: a CSV file with start_s, end_s, label, perhaps video.")
    ] = None,
    codes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Human codes: an ELAN file, BORIS's events, or a CSV file; see agreement."),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Else the first free one from 8501.")] = None,
    address: Annotated[
        str, typer.Option(help="Where to listen; other machines see nothing of 127.0.0.1.")
    ] = "127.0.0.1",
    allowed_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name under which a proxy serves it; may be repeated.")
    ] = None,
    media_folder: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="A folder in which videos that have moved may be; may be repeated."),
    ] = None,
) -> None:
    """Show the results in a browser, on this machine only unless told otherwise; Ctrl-C ends it."""
    from analytics.queries.codes import read_codes
    from analytics.queries.events import read_events
    from analytics.results.store import StoreError, check_results

    with fatal_errors():
        if results == DEMO_RESULTS and not results.exists():
            raise StoreError(f"{results}: {NO_RESULTS}")
        check_results(results)
        if events is not None:
            read_events(events)
        if codes is not None:
            read_codes(codes)
        from dashboard.server import serve

        serve(
            results,
            events=events,
            codes=codes,
            address=address,
            port=port,
            allowed_hosts=tuple(allowed_host or ()),
            media_folders=tuple(media_folder or ()),
        )
