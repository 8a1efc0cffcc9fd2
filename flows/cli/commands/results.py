"""`fervid summary`: the usual questions about the results."""

import contextlib
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.answers import Format, FormatOption, OutputOption, OverwriteOption, resolve_format, write_answer
from flows.cli.commands.query import Events, Memory, Video
from flows.cli.commands.questions import Question, explanation, why_empty
from flows.cli.compact import compact, left_out
from flows.cli.console import Results, console, counted, errors, fatal_errors, usage_checked

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Give up after so many seconds.")]


def summary(
    results: Results,
    question: Annotated[Question, typer.Argument(help="What to answer.")] = Question.overview,
    video: Video = None,
    emotion: Annotated[str | None, typer.Option(help="For moments: of which emotion.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="For moments: how many.")] = 10,
    bin_ms: Annotated[int, typer.Option(min=1, help="For timeline, averages: length of a bin in milliseconds.")] = 1000,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="For compare: a CSV file with the columns path, which names a video by path, file name or video_id, "
            "group, and perhaps participant. Participants in both groups make the comparison paired."
        ),
    ] = None,
    participants: Annotated[
        Path | None,
        typer.Option(
            help="For compare, rates, dwell, averages: a CSV file with the columns path and participant. Videos of one "
            "participant count as one unit. Default: the column participant of --groups, or else each video by itself."
        ),
    ] = None,
    events: Events = None,
    before_s: Annotated[
        float, typer.Option("--before", min=0, help="For events, averages: seconds before an event to compare with.")
    ] = 5.0,
    after_s: Annotated[
        float | None,
        typer.Option("--after", min=0, help="For averages: seconds after the onset; by default until the event ends."),
    ] = None,
    all_faces: Annotated[
        bool,
        typer.Option(
            "--all-faces",
            help="For shares, timeline, compare: without the quality filter. Low-quality faces without a label count "
            "with the emotion of their own frame. (fervid timeline --no-gate smooths over them, too.)",
        ),
    ] = False,
    form: FormatOption = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    timeout_s: Timeout = 120.0,
    memory: Memory = "2GB",
) -> None:
    """Answer the usual questions about the results; without one, a short page about all of them."""
    from analytics import queries
    from analytics.queries.connection import connect, limited
    from analytics.results.verification import name_damaged_file

    if question == Question.moments and emotion is None:
        raise typer.BadParameter("moments are those of one emotion: name it with --emotion")
    if question == Question.compare and (groups is None) == (events is None):
        raise typer.BadParameter(
            "compare needs either --groups FILE, a CSV file with the columns path, group, or --events FILE",
            param_hint="--groups",
        )
    if question in (Question.events, Question.averages) and events is None:
        raise typer.BadParameter(
            f"{question} needs a CSV file: give --events FILE with the columns start_s, end_s, label",
            param_hint="--events",
        )
    if question == Question.overview and (form not in (None, Format.table) or output is not None):
        raise typer.BadParameter("the overview is a page for people: name a question", param_hint="QUESTION")
    with fatal_errors(), name_damaged_file(results):
        form = resolve_format(form, output, overwrite=overwrite)
        opened = connect(results, video=video, observations=False, memory_limit=memory)
        with contextlib.closing(opened) as connection, limited(connection, timeout_s):
            if question == Question.overview:
                _print_overview(connection, results, queries.gate_note(connection))
                return
            rows = _answer(
                connection,
                question,
                emotion=emotion,
                limit=limit,
                bin_ms=bin_ms,
                groups=groups,
                participants=participants,
                events=events,
                before_s=before_s,
                after_s=after_s,
                all_faces=all_faces,
            )
            counts_all = all_faces and question in (Question.shares, Question.timeline, Question.compare)
            notes = [
                *explanation(question, rows),
                queries.gate_note(connection, paths=_about(connection, question, groups, rows), all_faces=counts_all),
            ]
            if not len(rows):
                notes.insert(0, why_empty(connection, question, emotion))
        if len(rows) or form != Format.table or output is not None:
            is_compact = form == Format.table and output is None and left_out(question, rows)
            write_answer(compact(question, rows) if is_compact else rows, form, output)
            if is_compact:
                notes.append("All columns: --format long, or --output FILE.")
        for note in notes:
            (console if form in (Format.table, Format.long) else errors).print(
                note, highlight=False, markup=False, soft_wrap=True
            )
        if question == Question.failures:
            _print_resume_hint(rows)


def _about(
    connection: "duckdb.DuckDBPyConnection", question: Question, groups: Path | None, rows: "pa.Table"
) -> Collection[str] | None:
    """Paths of the videos that an answer is about; None: all."""
    if question == Question.compare and groups is not None:
        from analytics.queries.groups import find_groups
        from analytics.results.videos import all_videos

        return find_groups(groups, all_videos(connection)).keys()
    return set(rows["path"].to_pylist()) if question == Question.events else None


def _answer(
    connection: "duckdb.DuckDBPyConnection",
    question: Question,
    *,
    emotion: str | None,
    limit: int,
    bin_ms: int,
    groups: Path | None,
    participants: Path | None,
    events: Path | None,
    before_s: float,
    after_s: float | None,
    all_faces: bool,
) -> "pa.Table":
    from analytics import queries

    if question == Question.shares:
        return queries.shares(connection, all_faces=all_faces)
    if question == Question.timeline:
        return queries.timeline(connection, bin_ms=bin_ms, all_faces=all_faces)
    if question == Question.moments:
        return usage_checked(partial(queries.top_moments, connection), emotion=emotion, limit=limit)
    if question == Question.compare and groups is not None:
        return queries.compare(connection, groups, participants=participants, all_faces=all_faces)
    if question == Question.compare and events is not None:
        return queries.compare_events(connection, events, participants=participants)
    if question == Question.events and events is not None:
        return queries.during_events(connection, events, before_s=before_s)
    if question == Question.averages and events is not None:
        ask = partial(queries.averages, connection, events, participants=participants)
        return usage_checked(ask, bin_ms=bin_ms, before_s=before_s, after_s=after_s)
    if question == Question.rates:
        return queries.rates(connection, participants=participants)
    if question == Question.dwell:
        return queries.dwell(connection, participants=participants)
    plain = {
        Question.synchrony: queries.synchrony,
        Question.library: queries.library,
        Question.transitions: queries.transitions,
        Question.quality: queries.quality,
        Question.validity: queries.validity,
        Question.gate: queries.gate_effect,
        Question.failures: queries.failures,
    }
    return plain[question](connection)


def _print_overview(connection: "duckdb.DuckDBPyConnection", results: Path, note: str) -> None:
    """The page that `fervid summary RESULTS` prints."""
    from analytics import queries

    (n,) = queries.totals(connection).to_pylist()
    console.print(
        f"{results}: {counted(n['n_videos'], 'video')}, {n['n_failed']} of them failed; "
        f"{n['duration_s'] or 0:.0f} s of video, {n['n_frames']} frames looked at, "
        f"{n['n_tracks']} people (tracks), {n['n_episodes']} episodes",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print(note, highlight=False, soft_wrap=True)
    console.print("Time with a label, over all people:")
    write_answer(queries.library(connection), Format.table, None)
    failures = queries.failures(connection)
    if len(failures):
        console.print("What went wrong:")
        write_answer(failures, Format.table, None)
        _print_resume_hint(failures)
    names = ", ".join(question for question in Question if question != Question.overview)
    console.print(f"Ask on: fervid summary RESULTS QUESTION, which is one of {names}", highlight=False, soft_wrap=True)


def _print_resume_hint(failures: "pa.Table") -> None:
    if any(failures["error"].is_valid().to_pylist()):  # frames alone that cannot be decoded are no failure
        errors.print("Mend or remove these files, then run `fervid analyze` again: it does only what is left.")
