"""Export results to files for other programs: one file per video, or one table of all trials."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from analytics.exports.annotations import write_boris, write_elan, write_subtitles
from analytics.exports.figures import write_figure
from analytics.exports.tables import write_faces, write_fex, write_openface
from analytics.exports.trials import EACH_VIDEO, TrialDesign, read_covariates, trials_table, write_trials
from analytics.queries.connection import connect
from analytics.queries.event_files import read_events
from analytics.queries.groups import find_conditions, resolve_participants
from analytics.results.atomic_write import write_atomic
from analytics.results.output_files import check_output_file, check_output_folder
from analytics.results.videos import all_videos, choose_videos, known_videos, names_apart, short_names
from fer_models.errors import FervidError

# A function that writes one video, a row of the table `videos` read through a connection, to a file.
Writer = Callable[..., None]  # arguments: connection, video, path; some also take `escape_formulas` or `name`
# Formats that spreadsheets open, and that therefore get `escape_formulas`.
SPREADSHEETS = ("csv", "fex", "openface", "boris")
# Formats in which each row has the name of the video, so that files can be combined.
NAMED = ("csv", "boris")

# Maps each format to the suffix of its files and to the function that writes them.
FORMATS: dict[str, tuple[str, Writer]] = {
    "csv": (".csv", write_faces),
    "fex": (".fex.csv", write_fex),
    "openface": (".openface.csv", write_openface),
    "elan": (".eaf", write_elan),
    "boris": (".boris.tsv", write_boris),
    "srt": (".srt", lambda connection, video, path: write_subtitles(connection, video, path, "srt")),
    "vtt": (".vtt", lambda connection, video, path: write_subtitles(connection, video, path, "vtt")),
    "png": (".png", lambda connection, video, path: write_figure(connection, video, path, "png")),
    "svg": (".svg", lambda connection, video, path: write_figure(connection, video, path, "svg")),
}


def export_trials(
    results: Path,
    target: Path,
    design: TrialDesign = EACH_VIDEO,
    *,
    wanted: Sequence[str] = (),
    overwrite: bool = False,
    escape_formulas: bool = True,
) -> Path:
    """Write one table for mixed models over all videos, or over those that `wanted` names; return its path.

    Args:
        results: the results folder.
        target: the CSV file.
        design: what the trials are; by default each video.
        wanted: videos by path, name or id; empty: all.
        overwrite: replace an existing file.
        escape_formulas: as for `export_videos`.

    Raises:
        GroupError: if groups or covariates cannot be read, or two conditions differ only in case or blanks.
        EventsError: if the events cannot be read.
        OutputError: if the file exists (unless `overwrite`), or lies inside a results folder.
    """
    check_output_folder(target.parent)
    check_output_file(target, overwrite=overwrite)
    with connect(results, video=wanted or None, observations=False) as connection:
        videos = known_videos(connection)
        table = trials_table(
            connection,
            events=None if design.events is None else read_events(design.events),
            conditions=None if design.groups is None else find_conditions(design.groups, videos),
            participants=resolve_participants(connection, design.groups),
            covariates=None if design.covariates is None else read_covariates(design.covariates, videos),
            bin_ms=design.bin_ms,
        )
    write_atomic(target, partial(write_trials, table, escape_formulas=escape_formulas))
    return target


class ExportError(FervidError):
    """No finished video is selected."""


def export_videos(
    results: Path,
    out: Path,
    form: str,
    *,
    wanted: Sequence[str] = (),
    overwrite: bool = False,
    escape_formulas: bool = True,
) -> list[Path]:
    """Write a file for each finished video of the results, or for those that `wanted` names; return their paths.

    With `escape_formulas`, texts in CSV and BORIS files that begin with `=`, `+`, `-` or `@` get an apostrophe in
    front, so that no spreadsheet runs them. Hidden people are left out of every format. A video has the same file name
    whether it is exported alone or with others.

    Raises:
        ExportError: if no finished video is selected.
        OutputError: if a file exists (unless `overwrite`), or `out` lies inside a results folder.
        UnknownVideoError: if the results have no such video.
        StoreError: if `results` is not a results folder, or `out` cannot be written to.
        ValueError: if the format is unknown.
    """
    check_output_folder(out)
    if form not in FORMATS:
        raise ValueError(f"form must be one of {', '.join(FORMATS)}, got {form!r}")
    suffix, write = FORMATS[form]
    if form in SPREADSHEETS:
        write = partial(write, escape_formulas=escape_formulas)
    with connect(results, observations=False) as connection:
        videos = all_videos(connection)
        names = names_apart(videos)
        chosen = choose_videos(videos, wanted) if wanted else names.keys()
        done = [row for row in videos if row.video_id in chosen and row.status == "done"]
        if not done:
            raise ExportError(
                f"{results}: none of these videos has a finished analysis: `fervid status RESULTS` says why"
            )
        targets = {row.video_id: out / (names[row.video_id] + suffix) for row in done}
        for target in targets.values():
            check_output_file(target, overwrite=overwrite)
        shown = short_names(videos)
        for video in done:
            options = {"name": shown[video.video_id]} if form in NAMED else {}
            write_atomic(targets[video.video_id], partial(write, connection, video, **options))
    return list(targets.values())
