"""`fervid compact`: few larger files instead of many small ones."""

from typing import Annotated

import typer

from flows.cli.console import Results, console, errors, fatal_errors


def compact(
    results: Results,
    wait: Annotated[
        float, typer.Option(metavar="S", min=0, help="Let questions that are being answered end, before files go.")
    ] = 150.0,
) -> None:
    """Put the tables of many small analyses together; every answer stays the same."""
    from analytics.results.compaction import compact as put_together

    with fatal_errors("the same command goes on"):
        said = f"the old files are deleted {wait:g} s after the new ones are there: questions can end"
        errors.print(said, highlight=False)
        done = put_together(results, wait_s=wait)
        line = f"{done.n_analyses} analyses in {done.n_shards} new shards, {done.n_removed} files deleted"
        console.print(line, highlight=False)
