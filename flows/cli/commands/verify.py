"""`fervid verify`: read every file of the results and compare it with what was written."""

import typer

from analytics.text import counted
from flows.cli.console import DONE, SOME_FAILED, Results, fatal_errors, say


def verify(results: Results) -> None:
    """Read all files of the results, compare their checksums, and list damaged ones (exit code 3 if any)."""
    from analytics.results.verification import find_damage, find_missing_rows

    with fatal_errors():
        found = [*find_damage(results), *find_missing_rows(results)]
    for damage in found:
        say(damage.message())
    say(counted(len(found), "damaged file") if found else "no damaged files")
    raise typer.Exit(SOME_FAILED if found else DONE)
