"""`fervid plot`: static timelines for papers."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.answers import OverwriteOption
from flows.cli.console import Results, counted, fatal_errors, note, say

FORMATS = ("png", "svg")


def plot(
    results: Results,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the figures; created if missing, never inside the results.")
    ],
    video: Annotated[
        list[str] | None, typer.Option(help="Plot only this video, by path, name or id; repeatable.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw the timeline of each video as PNG and SVG: the smoothed probabilities of each person over time."""
    with fatal_errors():
        from analytics.exports import export_videos

        written = [
            path
            for form in FORMATS
            for path in export_videos(results, out, form, wanted=video or (), overwrite=overwrite)
        ]
        for path in written:
            say(str(path))
        note(f"{counted(len(written), 'figure')} in {out}")
