"""`fervid query`: SQL over the results."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.answers import FormatOption, OutputOption, OverwriteOption, resolve_format, write_answer
from flows.cli.console import Results, fatal_errors, note

Video = Annotated[str | None, typer.Option(help="Only this video, by path, file name or video_id.")]
Events = Annotated[
    Path | None,
    typer.Option(
        help="Stimuli or markers: a CSV file with the columns start_s, end_s, label and optionally video (path, file "
        "name or video_id), or an ELAN file; an event without a video applies to every video."
    ),
]


def parse_memory(size: str) -> str:
    """The size itself, if it is one."""
    from analytics.errors import QueryError
    from analytics.sandbox.request import memory_bytes

    try:
        memory_bytes(size)
    except QueryError as error:
        raise typer.BadParameter(str(error)) from error
    return size


Memory = Annotated[
    str, typer.Option(parser=parse_memory, metavar="SIZE", help="Memory limit of the query, such as 500MB or 4GB.")
]
Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Stop the query after this many seconds.")
]


def query(
    results: Results,
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL", help="One SELECT over videos, frames, faces, tracks, episodes …")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="List all tables and columns instead.")] = False,
    form: FormatOption = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    video: Video = None,
    all_analyses: Annotated[
        bool,
        typer.Option(
            "--all-analyses",
            help="Show all analyses of each video, not only the newest: join USING (video_id, analysis_id).",
        ),
    ] = False,
    events: Events = None,
    timeout_s: Timeout = 30.0,
    memory: Memory = "2GB",
) -> None:
    """Run one SQL query over the results, read-only."""
    with fatal_errors():
        if (sql is None) != schema:
            raise typer.BadParameter("give either one SELECT or --schema", param_hint="SQL")
        if schema and (video or all_analyses or events):
            raise typer.BadParameter("--video, --all-analyses and --events are for a SELECT, not for --schema")
        form = resolve_format(form, output, overwrite=overwrite)
        if sql is None:
            from analytics.queries.connection import describe
            from analytics.results.results_folder import check_results

            check_results(results)
            rows = describe()
        else:
            from analytics.sandbox.process import query as run_query

            rows = run_query(
                results,
                sql,
                video=video,
                all_analyses=all_analyses,
                events=events,
                timeout_s=timeout_s,
                memory_limit=memory,
            )
        write_answer(rows, form, output)
        if all_analyses and sql is not None and "analysis_id" not in sql.lower():
            note("a video may have several analyses: join USING (video_id, analysis_id), and group by analysis_id")
        if sql is not None and not all_analyses and re.search(r"\bpeople\b", sql, re.IGNORECASE):
            note_on_people(results, video)
        if events is not None:
            note_on_events(results, events, video)
        if not len(rows):
            note("no rows")


def note_on_people(results: Path, video: str | Sequence[str] | None = None) -> None:
    """Print a note on people who have to be confirmed.

    Args:
        results: the results folder.
        video: as for `connect`.
    """
    from analytics import connect, queries

    with connect(results, video=video, observations=False) as connection:
        if text := queries.unconfirmed_people_note(connection):
            note(text)


def note_on_events(results: Path, events: Path, video: str | Sequence[str] | None = None) -> None:
    """Print notes on events that were shifted, may name no video by mistake, repeat others, or lie outside the video.

    Args:
        results: the results folder.
        events: the file of events.
        video: as for `connect`.
    """
    from analytics import connect, queries
    from analytics.queries.event_files import offset_note, read_events

    read = read_events(events)
    if shifted := offset_note(read):
        note(shifted)
    with connect(results, video=video, observations=False) as connection:
        for note_on in (queries.unassigned_events_note, queries.repeated_events_note, queries.late_events_note):
            if text := note_on(connection, read):
                note(text)
