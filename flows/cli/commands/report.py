"""`fervid report`: write the results as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.answers import OverwriteOption
from flows.cli.console import Results, fatal_errors, say, usage_checked

HTML = {".html": "HTML", ".htm": "HTML"}


def report(
    results: Results,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="HTML file to write.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Write one self-contained HTML file: overview, timelines, quality, validity, failures, method and settings."""
    from analytics.report import write_report
    from analytics.results.output_files import check_output_file, format_of
    from analytics.results.verification import name_damaged_file

    with fatal_errors(), name_damaged_file(results):
        usage_checked(format_of, path=out, formats=HTML, chosen=None)
        check_output_file(out, overwrite=overwrite)
        write_report(results, out)
        say(str(out))
