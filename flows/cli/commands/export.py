"""`fervid export`: write files for other programs."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from analytics.text import counted
from flows.cli.answers import OverwriteOption
from flows.cli.commands.query import Events, note_on_events, note_on_people
from flows.cli.console import STANDARD_OUTPUT, Results, fatal_errors, is_typed, note, say


class ExportFormat(StrEnum):
    """File format, or the table to write."""

    csv = "csv"
    fex = "fex"
    openface = "openface"
    elan = "elan"
    boris = "boris"
    srt = "srt"
    vtt = "vtt"
    png = "png"
    svg = "svg"
    tracks = "tracks"
    episodes = "episodes"
    frames = "frames"
    trials = "trials"


# Number of videos with faces and without landmarks.
WITHOUT_LANDMARKS_SQL = """
SELECT count(*) FROM (SELECT bool_or(points_px IS NOT NULL) AS kept FROM faces GROUP BY video_id) WHERE NOT kept
"""
LANDMARK_FORMATS = (ExportFormat.fex, ExportFormat.openface)
# Formats that give one CSV file for all videos.
TABLE_FORMATS = (ExportFormat.tracks, ExportFormat.episodes, ExportFormat.frames, ExportFormat.trials)
# Formats without rows for still images. Subtitles and figures of still images are written, but empty.
TIMED_FORMATS = (
    ExportFormat.elan,
    ExportFormat.boris,
    ExportFormat.tracks,
    ExportFormat.episodes,
    ExportFormat.trials,
)


def export(
    context: typer.Context,
    results: Results,
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="For each video: tidy CSV, py-feat, OpenFace-like CSV (both with landmarks if "
            "analyzed with --keep-landmarks), ELAN, BORIS, subtitles or a figure. For all "
            "videos in one CSV file: tracks, episodes, frames (a row per person and frame) or trials for mixed models.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the files; created if missing, never inside the results. For a table of all videos also "
            "the file, such as episodes.csv, or - for standard output.",
        ),
    ],
    video: Annotated[
        list[str] | None, typer.Option(help="Export only this video, by path, name or id; may be repeated.")
    ] = None,
    overwrite: OverwriteOption = False,
    escape_formulas: Annotated[
        bool,
        typer.Option(help="Put an apostrophe before texts that a spreadsheet would read as a formula (= + - @)."),
    ] = True,
    events: Events = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="For trials: a CSV file with the column path, and optionally participant and group (the condition or, "
            "with --events, a column of its own)."
        ),
    ] = None,
    covariates: Annotated[
        Path | None,
        typer.Option(help="For trials: a CSV file with the column participant or path, and further columns to join."),
    ] = None,
    bin_ms: Annotated[int, typer.Option(min=1, help="For trials: length of a time bin in milliseconds.")] = 1000,
) -> None:
    """Write files for other programs: one for each video, or one table of all videos."""
    if form != ExportFormat.trials and (events or groups or covariates or is_typed(context, "bin_ms")):
        raise typer.BadParameter("--events, --groups, --covariates and --bin-ms are for --format trials")
    if out == STANDARD_OUTPUT and form not in TABLE_FORMATS:
        raise typer.BadParameter(
            f"--format {form.value} writes a file for each video: only tracks, episodes, frames and trials can be "
            "written to standard output",
            param_hint="--out",
        )
    from analytics.results.verification import name_damaged_file

    with fatal_errors(), name_damaged_file(results):
        from analytics.exports import export_trials, export_videos
        from analytics.exports.trials import TrialDesign

        options = {"overwrite": overwrite, "escape_formulas": escape_formulas}
        if form == ExportFormat.trials:
            design = TrialDesign(events, groups, covariates, bin_ms)
            with table_file(out, form) as target:
                export_trials(results, target, design, wanted=video or (), **options)
            if events is not None:
                note_on_events(results, events, video or None)
            _note_on_trials(results, video or None, groups)
        elif form in TABLE_FORMATS:
            from analytics.exports.folder_tables import export_table

            with table_file(out, form) as target:
                export_table(results, form.value, target, wanted=video or (), **options)
        else:
            written = export_videos(results, out, form.value, wanted=video or (), **options)
            for path in written:
                say(str(path))
                if form in (ExportFormat.srt, ExportFormat.vtt) and "-->" not in path.read_text(encoding="utf-8"):
                    note(f"{path} contains no subtitles: nobody in this video has a label, or it is a still image")
            note(f"{counted(len(written), 'file')} ({form.value}) in {out}")
        if form in LANDMARK_FORMATS:
            _note_missing_landmarks(results, video or None)
        if form in TIMED_FORMATS:
            _note_still_images(results, video or None)
        note_on_people(results, video or None)


def _note_on_trials(results: Path, video: Sequence[str] | None, participants: Path | None) -> None:
    """Say which of these videos (None: all) have no trials, and why trials may not be comparable."""
    from analytics import connect, queries

    with connect(results, video=video, observations=False) as connection:
        for text in (
            queries.mixed_settings_note(connection),
            queries.baseline_note(connection),
            queries.several_people_note(connection, participants),
        ):
            if text:
                note(text)


def _note_still_images(results: Path, video: Sequence[str] | None) -> None:
    """Say how many of the exported videos (None: all) are still images with faces, which have no intervals."""
    from analytics import connect, queries

    with connect(results, video=video, observations=False) as connection:
        if text := queries.still_images_note(connection):
            note(text)


def _note_missing_landmarks(results: Path, video: Sequence[str] | None) -> None:
    """Say how many of the exported videos (None: all) have no landmarks, whose columns are empty."""
    from analytics import connect

    with connect(results, video=video, observations=False) as connection:
        ((n_videos,),) = connection.sql(WITHOUT_LANDMARKS_SQL).fetchall()
    if n_videos:
        note(
            f"{counted(n_videos, 'video')} without landmarks, because they were not kept; their columns are empty. "
            "Run fervid analyze with --keep-landmarks to have them"
        )


@contextlib.contextmanager
def table_file(out: Path, form: ExportFormat) -> Iterator[Path]:
    """Yield the file to write a table of all videos to; then print its path, or with `--out -` its content.

    It is `out` if that is named like a CSV file, else a file in the folder `out`.
    """
    if out == STANDARD_OUTPUT:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{form.value}.csv"
            yield path
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
    else:
        path = out if out.suffix.lower() == ".csv" and not out.is_dir() else out / f"{form.value}.csv"
        yield path
        say(str(path))
