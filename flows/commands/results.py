"""Commands over a results folder: questions in SQL, and the dashboard."""

import io
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.console import WIDE, Format, Results, console, fatal_errors
from flows.display import table_of

DEMO_RESULTS = Path("demo/results")  # as `make demo` makes them


def query(
    results: Results,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over videos, frames, faces, tracks, episodes.")],
    form: Annotated[Format, typer.Option("--format", help="How the rows are written.")] = Format.table,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
) -> None:
    """Ask SQL of the results; nothing can be changed."""
    from analytics.rows import write_rows
    from analytics.sql import query as ask

    with fatal_errors():
        if form == Format.parquet and output is None:
            raise typer.BadParameter("parquet is not text: give a file", param_hint="--output")
        rows = ask(results, sql)
        if form == Format.table:
            table = table_of(rows.column_names, list(zip(*(c.to_pylist() for c in rows.columns), strict=True)))
        if output is None:
            console.print(table) if form == Format.table else write_rows(rows, sys.stdout.buffer, form.value)
            return
        with output.open("wb") as file:
            if form == Format.table:
                Console(file=io.TextIOWrapper(file, "utf-8"), width=WIDE).print(table)
            else:
                write_rows(rows, file, form.value)


def dashboard(
    results: Annotated[Path, typer.Argument(help="A results folder; without one, that of `make demo`.")] = DEMO_RESULTS,
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
