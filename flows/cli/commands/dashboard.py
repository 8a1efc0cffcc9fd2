"""`fervid dashboard`: show the results in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import fatal_errors, note, parse_path

DEMO_RESULTS = Path("demo/results")  # folder that `make demo` creates
NO_RESULTS = (
    "no demo results here. Create them with `make demo`, or with "
    "`fervid demo demo/videos && fervid analyze demo/videos --out demo/results`; "
    "or name a results folder: `fervid dashboard RESULTS`"
)


def dashboard(
    results: Annotated[
        Path,
        typer.Argument(parser=parse_path, metavar="RESULTS", help="Results folder; by default that of `make demo`."),
    ] = DEMO_RESULTS,
    events: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Markers: a CSV file with start_s, end_s, label, and optionally video."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port (default: the first free one from 8501).")
    ] = None,
    codes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Human codes: an ELAN file, events of BORIS, or a CSV file; see agreement."),
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            help="Address to listen on; 127.0.0.1 cannot be reached from other machines, 0.0.0.0 needs --allowed-host."
        ),
    ] = "127.0.0.1",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name or address that browsers on other machines open; may be repeated."),
    ] = None,
    media_folder: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Folder to search for videos that have moved; may be repeated."),
    ] = None,
) -> None:
    """Show the results in a browser, by default on this machine only, until Ctrl-C."""
    from analytics.queries.codes import read_codes
    from analytics.queries.event_files import read_events
    from analytics.results.results_folder import check_results
    from analytics.results.store import StoreError

    with fatal_errors():
        if results == DEMO_RESULTS and not results.exists():
            raise StoreError(f"{results}: {NO_RESULTS}")
        check_results(results)
        if events is not None:
            read_events(events)
        if codes is not None:
            read_codes(codes)
        from dashboard.server import serve, unreachable_note

        if unreachable := unreachable_note(address, allowed_host or ()):
            note(unreachable)
        serve(
            results,
            events=events,
            codes=codes,
            address=address,
            port=port,
            allowed_hosts=tuple(allowed_host or ()),
            media_folders=tuple(media_folder or ()),
        )
