"""`fervid timeline`: rebuild timelines from stored observations with other settings."""

import dataclasses
import json
from typing import Annotated

import typer

from flows.cli.commands.common_options import AsJson
from flows.cli.console import DONE, SOME_FAILED, Results, console, errors, fatal_errors
from flows.cli.display import PEOPLE_COLUMNS, people_columns, table_of
from flows.cli.options import with_settings
from flows.settings import TimelineSettings


@with_settings(settings=TimelineSettings)
def timeline(
    results: Results,
    settings: TimelineSettings,
    video: Annotated[
        list[str] | None, typer.Option(help="Only this video, by path, name or id; can be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild timelines from stored observations with other settings; the videos are not needed.

    Settings that are not given come from the environment (FERVID_TIME_CONSTANT_S …) or are the defaults, not those of
    the previous timeline. With the settings of an earlier timeline, that timeline is shown again.
    """
    with fatal_errors():
        from flows.analysis.rebuild_timeline import rebuild_timelines

        rebuilt = rebuild_timelines(
            results,
            settings,
            video or (),
            lambda one: errors.print(f"{one.status} {one.path}", highlight=False, markup=False, soft_wrap=True),
        )
        if as_json:
            print(json.dumps([dataclasses.asdict(one) for one in rebuilt], indent=2))
        else:
            from analytics import connect

            people = people_columns(connect(results, observations=False))
            rows = [
                [o.path, o.status, o.n_faces, o.n_tracks, *people.get(o.video_id, (None, 0)), o.seconds]
                for o in rebuilt
            ]
            names = ["video", "status", "faces", "people", *PEOPLE_COLUMNS, "seconds"]
            console.print(table_of(names, rows))
            for one in rebuilt:
                if one.status == "failed":
                    console.print(f"failed {one.note}", highlight=False, markup=False, soft_wrap=True)
            if any(one.status != "failed" for one in rebuilt):
                console.print(describe(settings), highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(SOME_FAILED if any(one.status == "failed" for one in rebuilt) else DONE)


def describe(settings: TimelineSettings) -> str:
    """The settings of the timelines in one line."""
    span = "" if settings.baseline_span_s is None else " {:g} to {:g} s".format(*settings.baseline_span_s)
    counted = "good faces" if settings.gate else "all faces"
    return (
        f"{counted}, smoothed with weights exp(-distance / {settings.time_constant_s:g} s) to both sides, "
        f"gaps bridged up to {settings.max_gap_s:g} s, longer ones by appearance and position, "
        f"baseline {settings.baseline}{span}"
    )
