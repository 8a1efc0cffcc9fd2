"""`fervid export`: the results in files that other programs read."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import Results, console, counted, errors, fatal_errors


class ExportFormat(StrEnum):
    """What the files are for."""

    csv = "csv"
    fex = "fex"
    openface = "openface"
    elan = "elan"
    boris = "boris"
    srt = "srt"
    vtt = "vtt"


def export(
    results: Results,
    form: Annotated[
        ExportFormat,
        typer.Option("--format", help="Tidy CSV, py-feat, OpenFace-like CSV, ELAN, BORIS, or subtitles."),
    ],
    out: Annotated[Path, typer.Option(help="The folder for the files; made if it is not there.")],
    video: Annotated[
        list[str] | None, typer.Option(help="Only this one, by path, name or id; may be given again.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over files that are there.")] = False,
) -> None:
    """Write the results for other programs, a file a video."""
    from analytics.exports import export_videos

    with fatal_errors():
        written = export_videos(results, out, form.value, wanted=video or (), overwrite=overwrite)
        for path in written:
            console.print(str(path), highlight=False, markup=False, soft_wrap=True)
            if form in (ExportFormat.srt, ExportFormat.vtt) and "-->" not in path.read_text(encoding="utf-8"):
                line = f"{path}: holds no subtitle: nobody in this video has a label"
                errors.print(line, highlight=False, markup=False, soft_wrap=True)
        errors.print(
            f"{counted(len(written), 'file')} for {form.value} in {out}", highlight=False, markup=False, soft_wrap=True
        )
