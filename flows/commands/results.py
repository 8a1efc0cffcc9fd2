"""Commands over a results folder: questions, ready made and in SQL, and the dashboard."""

import contextlib
import io
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.console import WIDE, Format, Results, console, errors, fatal_errors, usage_checked
from flows.display import table_of

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Form = Annotated[Format, typer.Option("--format", help="How the rows are written.")]
Output = Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")]
Video = Annotated[str | None, typer.Option(help="Only this video: its path, file name or video_id.")]
Events = Annotated[Path | None, typer.Option(help="Stimuli or markers: a CSV file with start_s, end_s, label.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Give up after so many seconds.")]
Memory = Annotated[str, typer.Option(help="What a question may use, such as 500MB or 4GB.")]


class Question(StrEnum):
    """What `fervid summary` knows to answer; each but the first is a function of `analytics.queries`."""

    overview = "overview"
    shares = "shares"
    library = "library"
    timeline = "timeline"
    moments = "moments"
    transitions = "transitions"
    dwell = "dwell"
    compare = "compare"
    quality = "quality"
    gate = "gate"
    events = "events"
    synchrony = "synchrony"
    failures = "failures"


def query(
    results: Results,
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL", help="One SELECT over videos, frames, faces, tracks, episodes …")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Show all tables and columns instead.")] = False,
    form: Form = Format.table,
    output: Output = None,
    video: Video = None,
    all_analyses: Annotated[
        bool, typer.Option("--all-analyses", help="All analyses of each video; else only the newest.")
    ] = False,
    events: Events = None,
    timeout_s: Timeout = 30.0,
    memory: Memory = "2GB",
) -> None:
    """Ask SQL of the results; nothing can be changed."""
    from analytics import sql as views
    from analytics.store import check_results

    with fatal_errors():
        if (sql is None) != schema:
            raise typer.BadParameter("give either one SELECT or --schema", param_hint="SQL")
        check_results(results)
        if sql is None:
            rows = views.describe()
        else:
            rows = views.query(
                results,
                sql,
                video=video,
                all_analyses=all_analyses,
                events=events,
                timeout_s=timeout_s,
                memory_limit=memory,
            )
        _write(rows, form, output)


def summary(
    results: Results,
    question: Annotated[Question, typer.Argument(help="What to answer.")] = Question.overview,
    video: Video = None,
    emotion: Annotated[str | None, typer.Option(help="For moments: of which emotion.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="For moments: how many.")] = 10,
    bin_ms: Annotated[int, typer.Option(min=1, help="For timeline: length of a bin in milliseconds.")] = 1000,
    groups: Annotated[Path | None, typer.Option(help="For compare: a CSV file with the columns path, group.")] = None,
    events: Events = None,
    gate: Annotated[
        bool, typer.Option(help="For shares, timeline, compare: whether only faces of good quality count.")
    ] = True,
    form: Form = Format.table,
    output: Output = None,
    timeout_s: Timeout = 120.0,
    memory: Memory = "2GB",
) -> None:
    """Answer the usual questions about the results; without one, a short page about all of them."""
    from analytics import queries
    from analytics.sql import connect, limited

    if question == Question.moments and emotion is None:
        raise typer.BadParameter("moments are those of one emotion: name it with --emotion")
    if question == Question.compare and groups is None:
        raise typer.BadParameter("compare needs a CSV file with the columns path, group", param_hint="--groups")
    if question == Question.events and events is None:
        raise typer.BadParameter(
            "events needs a CSV file with the columns start_s, end_s, label", param_hint="--events"
        )
    if question == Question.overview and (form != Format.table or output is not None):
        raise typer.BadParameter("the overview is a page for people: name a question", param_hint="QUESTION")
    with (
        fatal_errors(),
        contextlib.closing(connect(results, video=video, observations=False, memory_limit=memory)) as connection,
    ):
        with limited(connection, timeout_s):
            note = queries.gate_note(connection)
            if question == Question.overview:
                _print_overview(connection, results, note)
                return
            rows = _answer(
                connection,
                question,
                emotion=emotion,
                limit=limit,
                bin_ms=bin_ms,
                groups=groups,
                events=events,
                gate=gate,
            )
        _write(rows, form, output)
        (console if form == Format.table else errors).print(note, highlight=False, soft_wrap=True)
        if question == Question.failures:
            _say_way_on(rows)


def _answer(
    connection: "duckdb.DuckDBPyConnection",
    question: Question,
    *,
    emotion: str | None,
    limit: int,
    bin_ms: int,
    groups: Path | None,
    events: Path | None,
    gate: bool,
) -> "pa.Table":
    from analytics import queries

    if question == Question.shares:
        return queries.shares(connection, gate=gate)
    if question == Question.timeline:
        return queries.timeline(connection, bin_ms=bin_ms, gate=gate)
    if question == Question.moments:
        return usage_checked(partial(queries.top_moments, connection), emotion=emotion, limit=limit)
    if question == Question.compare and groups is not None:
        return queries.compare(connection, groups, gate=gate)
    if question == Question.events and events is not None:
        return queries.during_events(connection, events)
    plain = {
        Question.synchrony: queries.synchrony,
        Question.library: queries.library,
        Question.transitions: queries.transitions,
        Question.dwell: queries.dwell,
        Question.quality: queries.quality,
        Question.gate: queries.gate_effect,
        Question.failures: queries.failures,
    }
    return plain[question](connection)


def _print_overview(connection: "duckdb.DuckDBPyConnection", results: Path, note: str) -> None:
    """The page that `fervid summary RESULTS` prints."""
    from analytics import queries

    (n,) = queries.totals(connection).to_pylist()
    console.print(
        f"{results}: {n['n_videos']} videos, {n['n_failed']} of them failed; {n['duration_s'] or 0:.0f} s of video, "
        f"{n['n_frames']} frames looked at, {n['n_tracks']} people (tracks), {n['n_episodes']} episodes",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print(note, highlight=False, soft_wrap=True)
    console.print("Time with a label, over all people:")
    _write(queries.library(connection), Format.table, None)
    failures = queries.failures(connection)
    if len(failures):
        console.print("What went wrong:")
        _write(failures, Format.table, None)
        _say_way_on(failures)
    names = ", ".join(question for question in Question if question != Question.overview)
    console.print(f"Ask on: fervid summary RESULTS QUESTION, which is one of {names}", highlight=False, soft_wrap=True)


def _say_way_on(failures: "pa.Table") -> None:
    if len(failures):
        errors.print("Mend or remove these files, then run `fervid analyze` again: it does only what is left.")


def _write(rows: "pa.Table", form: Format, output: Path | None) -> None:
    """Write rows to the terminal or to a file."""
    from analytics.rows import write_rows

    if form == Format.parquet and output is None:
        raise typer.BadParameter("parquet is not text: give a file", param_hint="--output")
    if form == Format.table:
        table = table_of(rows.column_names, list(zip(*(c.to_pylist() for c in rows.columns), strict=True)))
    if output is None:
        console.print(table) if form == Format.table else write_rows(rows, sys.stdout.buffer, form.value)
        return
    with output.open("wb") as file:
        if form == Format.table:
            Console(file=io.TextIOWrapper(file, "utf-8"), width=WIDE).print(table)
        else:
            write_rows(rows, file, form.value)
