"""`fervid compact`: combine many small files into a few larger ones."""

from typing import Annotated

import typer

from flows.cli.console import Results, console, counted, errors, fatal_errors


def compact(
    results: Results,
    delete_originals: Annotated[
        bool,
        typer.Option(
            "--delete-originals",
            help="Delete the small files, too. Programs that read faces/**/*.parquet then no longer find them.",
        ),
    ] = False,
    wait: Annotated[
        float, typer.Option(metavar="S", min=0, help="Time for running queries to finish before files are deleted.")
    ] = 150.0,
) -> None:
    """Combine the tables of many small analyses, so that queries open fewer files; results stay the same."""
    from analytics.results.compaction import compact as compact_results

    with fatal_errors("run the same command again to continue"):
        if delete_originals:
            errors.print(f"The old files are deleted {wait:g} s after the new ones are written.", highlight=False)
        done = compact_results(results, wait_s=wait, delete_originals=delete_originals)
        line = (
            f"{counted(done.n_analyses, 'analysis') if done.n_analyses == 1 else f'{done.n_analyses:,} analyses'} in "
            f"{counted(done.n_shards, 'new shard')}, {counted(done.n_removed, 'file')} deleted"
        )
        console.print(line, highlight=False)
