"""Commands over a results folder: questions in SQL, and the dashboard."""

import io
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.console import WIDE, Format, Results, console, fatal_errors
from flows.display import table_of


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
    results: Results,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Else the first free one from 8501.")] = None,
) -> None:
    """Show the results in a browser, on this machine only; Ctrl-C ends it."""
    from analytics.store import check_results

    with fatal_errors():
        check_results(results)
        from streamlit.web import bootstrap

        options = {
            "server_address": "127.0.0.1",
            "server_port": port,
            "server_allowedHosts": ["127.0.0.1", "localhost"],  # no other site's name may be pointed here
            "server_headless": True,  # no browser is opened, no e-mail address asked for
            "server_fileWatcherType": "none",
            "browser_gatherUsageStats": False,
            "client_toolbarMode": "viewer",
        }
        page = Path(__file__).parents[2] / "dashboard" / "app.py"
        bootstrap.load_config_options(options)
        bootstrap.run(str(page), False, [str(results.absolute())], options)
