"""`fervid report`: the results as one page that a person can mail."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import Results, check_free, console, fatal_errors


def report(
    results: Results,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over a file that is there.")] = False,
) -> None:
    """Write one self-contained page: overview, timelines, quality, failures, method and settings."""
    from analytics.report import write_report

    check_free(out, overwrite)
    with fatal_errors():
        write_report(results, out)
        console.print(str(out), highlight=False, markup=False, soft_wrap=True)
