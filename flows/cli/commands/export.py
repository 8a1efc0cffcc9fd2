"""`fervid export`: files for other programs, one for each video."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.answers import OverwriteOption
from flows.cli.console import Results, console, counted, errors, fatal_errors


class ExportFormat(StrEnum):
    """The program that reads the files."""

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
    out: Annotated[Path, typer.Option(help="The folder for the files; created if missing, never inside the results.")],
    video: Annotated[
        list[str] | None, typer.Option(help="Export only this video, by path, name or id; repeatable.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write one file for each video, for other programs."""
    from analytics.exports import export_videos

    with fatal_errors():
        written = export_videos(results, out, form.value, wanted=video or (), overwrite=overwrite)
        for path in written:
            console.print(str(path), highlight=False, markup=False, soft_wrap=True)
            if form in (ExportFormat.srt, ExportFormat.vtt) and "-->" not in path.read_text(encoding="utf-8"):
                line = f"{path} holds no subtitles: nobody in this video has a label"
                errors.print(line, highlight=False, markup=False, soft_wrap=True)
        errors.print(
            f"{counted(len(written), 'file')} ({form.value}) in {out}", highlight=False, markup=False, soft_wrap=True
        )
