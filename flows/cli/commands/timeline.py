"""`fervid timeline`: rebuild timelines from stored observations with other settings."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.commands.common_options import AsJson
from flows.cli.console import (
    DONE,
    RESUME_HINT,
    SOME_FAILED,
    Results,
    console,
    errors,
    failures,
    fatal_errors,
    note,
    say,
)
from flows.cli.display import PEOPLE_COLUMNS, people_columns
from flows.cli.escaping import escape_controls
from flows.cli.options import with_settings
from flows.cli.tables import table_of
from flows.settings import TimelineSettings

if TYPE_CHECKING:
    from flows.analysis.rebuild_timeline import Rebuilt


@with_settings(settings=TimelineSettings)
def timeline(
    results: Results,
    settings: TimelineSettings,
    video: Annotated[
        list[str] | None, typer.Option(help="Only this video, by path, name or id; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild timelines from stored observations with other settings; the videos are not needed.

    Settings that are not given are those of the environment (FERVID_TIME_CONSTANT_S …) or the defaults, not those of
    the previous timeline. With the settings of an earlier timeline, that timeline is shown again.
    """
    with fatal_errors(RESUME_HINT):
        from flows.analysis.rebuild_timeline import rebuild_timelines

        rebuilt = rebuild_timelines(results, settings, video or (), _note_success)
        if as_json:
            print(json.dumps([dataclasses.asdict(timeline) for timeline in rebuilt], indent=2))
        else:
            _print_failed(rebuilt)
            if not errors.quiet:
                _print_rebuilt(results, rebuilt, settings)
    raise typer.Exit(SOME_FAILED if any(timeline.status == "failed" for timeline in rebuilt) else DONE)


def _note_success(timeline: "Rebuilt") -> None:
    """Print a line for a video; failures are printed with their reasons at the end."""
    if timeline.status != "failed":
        note(f"{timeline.status} {timeline.path}" + (f": {timeline.note}" if timeline.note else ""))


def _print_failed(rebuilt: "Sequence[Rebuilt]") -> None:
    """Print why timelines failed; with --quiet on standard error, as `fervid analyze` does."""
    for timeline in rebuilt:
        if timeline.status == "failed":
            (failures if errors.quiet else console).print(
                escape_controls(f"failed {timeline.note}"), highlight=False, markup=False, soft_wrap=True
            )


def _print_rebuilt(results: Path, rebuilt: "Sequence[Rebuilt]", settings: TimelineSettings) -> None:
    """Print a table of the timelines that did not fail, and the number of each outcome."""
    failed = [timeline for timeline in rebuilt if timeline.status == "failed"]
    if built := [timeline for timeline in rebuilt if timeline.status != "failed"]:
        from analytics import connect, queries

        with contextlib.closing(connect(results, observations=False)) as connection:
            video_ids = [timeline.video_id for timeline in built]
            people = people_columns(connection, video_ids)
            notes = queries.speech_notes(connection, video_ids)
            if note_on_baseline := queries.baseline_note(connection, video_ids):
                notes.append(note_on_baseline)
        rows = [[one.path, one.status, one.n_faces, *people[one.video_id], one.seconds or None] for one in built]
        console.print(table_of(["video", "status", "faces", *PEOPLE_COLUMNS, "rebuild time (s)"], rows))
        say(describe(settings))
        for line in notes:
            say(line)
    n_new = sum(timeline.status == "done" for timeline in rebuilt)
    say(f"{n_new} rebuilt, {len(rebuilt) - len(failed) - n_new} unchanged, {len(failed)} failed; results in {results}")
    if failed:
        say("a video that failed keeps its previous timeline, if it has one")


def describe(settings: TimelineSettings) -> str:
    """The settings of the timelines in one line."""
    span = "" if settings.baseline_span_s is None else " {:g} to {:g} s".format(*settings.baseline_span_s)
    counted = "faces of sufficient quality" if settings.gate else "all faces"
    speech = {"include": "", "exclude": " without intervals of speaking", "only": " in intervals of speaking only"}
    return (
        f"{counted}{speech[settings.speech]}, smoothed with weights exp(-distance / {settings.time_constant_s:g} s) to "
        "both sides, "
        f"tracks continued across gaps up to {settings.max_gap_s:g} s, and longer ones by appearance and position, "
        f"baseline {settings.baseline}{span}"
    )
