"""`fervid compact`: combine many small files into a few larger ones."""

from typing import Annotated

import typer

from analytics.text import counted
from flows.cli.console import Results, fatal_errors, note, say


def compact(
    results: Results,
    delete_originals: Annotated[
        bool,
        typer.Option(
            "--delete-originals",
            help="Also delete the small files. Programs that read faces/**/*.parquet no longer find them then.",
        ),
    ] = False,
    wait: Annotated[
        float, typer.Option(metavar="S", min=0, help="Time for running queries to finish before files are deleted.")
    ] = 150.0,
) -> None:
    """Combine the tables of many analyses into larger files, so that queries open fewer; results stay the same."""
    from analytics.results.compaction import compact as compact_results

    with fatal_errors("run the same command again to continue"):
        done = compact_results(
            results,
            wait_s=wait,
            delete_originals=delete_originals,
            on_wait=lambda: note(f"waiting {wait:g} s for running queries before the replaced files are deleted"),
        )
        analyses = counted(done.n_analyses, "analysis", "analyses")
        say(f"{analyses} in {counted(done.n_shards, 'new shard')}, {counted(done.n_removed, 'file')} deleted")
