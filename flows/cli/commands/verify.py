"""`fervid verify`: read every file of the results and compare it with what was written."""

import typer

from flows.cli.console import DONE, SOME_FAILED, Results, console, counted, fatal_errors


def verify(results: Results) -> None:
    """Read every table and observation, check their checksums, and list damaged files. Exit code 3 if there are any."""
    from analytics.results.verification import find_damage

    with fatal_errors():
        found = find_damage(results)
    for damage in found:
        console.print(damage.message(), highlight=False, markup=False, soft_wrap=True)
    summary = f"{counted(len(found), 'damaged file')}" if found else "no damaged files"
    console.print(summary, highlight=False)
    raise typer.Exit(SOME_FAILED if found else DONE)
