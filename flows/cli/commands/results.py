"""`fervid summary`: answers to common questions about the results."""

import contextlib
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analytics.text import counted
from flows.cli.answers import Format, FormatOption, OutputOption, OverwriteOption, resolve_format, write_answer
from flows.cli.commands.query import Events, Memory, Timeout, Video
from flows.cli.compact import compact, omits_columns
from flows.cli.console import Results, fatal_errors, is_typed, note, say
from flows.cli.questions import (
    OF_EVENTS,
    OF_PARTICIPANTS,
    UNFILTERED,
    USED_BY,
    Question,
    Request,
    answer,
    explanation,
    is_about_time,
    videos_of,
    why_empty,
)

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

BEFORE_S = 5.0


def summary(
    context: typer.Context,
    results: Results,
    question: Annotated[Question, typer.Argument(metavar="QUESTION", help="Question to answer.")] = (Question.overview),
    video: Video = None,
    emotion: Annotated[str | None, typer.Option(help="For moments: the emotion.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="For moments: number of rows.")] = 10,
    bin_ms: Annotated[int, typer.Option(min=1, help="For timeline, averages: length of a bin in milliseconds.")] = 1000,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="For compare: a CSV file with the columns path (path, file name or video_id of a video), group, and "
            "optionally participant. With the same participants in both groups, the comparison is paired."
        ),
    ] = None,
    participants: Annotated[
        Path | None,
        typer.Option(
            help="For compare, rates, dwell, averages: a CSV file with the columns path and participant, such as that "
            "of --groups. Videos of one participant count as one unit. Default: for compare, the column participant "
            "of --groups; else the people named in the dashboard, else each video by itself."
        ),
    ] = None,
    events: Events = None,
    before_s: Annotated[
        float, typer.Option("--before", min=0, help="For events, averages: seconds before an event to compare with.")
    ] = BEFORE_S,
    after_s: Annotated[
        float | None,
        typer.Option("--after", min=0, help="For averages: seconds after the onset (default: until the event ends)."),
    ] = None,
    all_faces: Annotated[
        bool,
        typer.Option(
            "--all-faces",
            help="For shares, timeline, compare --groups: also count low-quality faces without a label, with the "
            "emotion of their own frame. (fervid timeline --no-gate smooths over all low-quality faces.)",
        ),
    ] = False,
    form: FormatOption = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    timeout_s: Timeout = 120.0,
    memory: Memory = "2GB",
) -> None:
    """Answer a common question about the results; without one, print an overview.

    shares: who shows what, for how long; library: how long each emotion is shown in all videos; timeline: how the
    probabilities change over time; moments: when an emotion is most pronounced; transitions: which emotion follows
    which; dwell: how long an episode lasts; rates: how often episodes and transitions occur; compare: whether groups of
    videos, or kinds of events, differ; events: what each person shows during each event; averages: how people react to
    an event on average; synchrony: whether people show the same emotions at the same time; movements: how often a
    person blinks, speaks, nods; quality: how many faces are of low quality, and why; gate: whether the shares of time
    would differ if low-quality faces counted; validity: how far the results of each person can be trusted; failures:
    which videos failed, or have damaged frames.
    """
    _check_use(context, question)
    _check_options(question, emotion, groups, events, all_faces=all_faces)
    if question == Question.averages:
        _check_window(before_s, bin_ms)
    if question == Question.overview and (form not in (None, Format.table) or output is not None):
        raise typer.BadParameter("the overview has no rows to write: name a question", param_hint="QUESTION")
    from analytics import queries
    from analytics.queries.connection import connect, limited
    from analytics.queries.event_files import read_events
    from analytics.results.verification import name_damaged_file

    with fatal_errors(), name_damaged_file(results):
        form = resolve_format(form, output, overwrite=overwrite)
        request = Request(
            question,
            emotion=emotion,
            limit=limit,
            bin_ms=bin_ms,
            groups=groups,
            participants=participants,
            events=None if events is None else read_events(events),
            before_s=before_s,
            after_s=after_s,
            all_faces=all_faces,
        )
        opened = connect(results, video=video, observations=False, memory_limit=memory)
        with contextlib.closing(opened) as connection, limited(connection, timeout_s):
            if question == Question.overview:
                _print_overview(connection, results, [queries.gate_note(connection), *_data_notes(connection, results)])
                return
            rows = answer(connection, request)
            is_compact = form == Format.table and output is None and omits_columns(question, rows)
            notes = _notes(connection, results, request, rows, is_compact=is_compact)
        _write_rows(results, request, compact(question, rows) if is_compact else rows, notes, form, output)


def _check_use(context: typer.Context, question: Question) -> None:
    """Raise a usage error if an option was given that the question does not use."""
    for parameter in context.command.params:
        name = str(parameter.name)
        if question not in USED_BY.get(name, tuple(Question)) and is_typed(context, name):
            is_other = name == "groups" and question in OF_PARTICIPANTS
            other = "; --participants reads the column participant of the same file" if is_other else ""
            raise typer.BadParameter(
                f"{question} does not use it: it is for {', '.join(USED_BY[name])}{other}", param_hint=parameter.opts[0]
            )


def _check_options(
    question: Question, emotion: str | None, groups: Path | None, events: Path | None, *, all_faces: bool
) -> None:
    """Raise a usage error if a question lacks an option that it needs, or events are compared with --all-faces."""
    if question == Question.moments and emotion is None:
        raise typer.BadParameter("moments needs an emotion, such as --emotion happy")
    if question == Question.compare and (groups is None) == (events is None):
        raise typer.BadParameter(
            "compare needs either --groups FILE, a CSV file with the columns path and group, or --events FILE",
            param_hint="--groups",
        )
    if all_faces and question == Question.compare and groups is None:
        raise typer.BadParameter("compare includes low-quality faces only with --groups", param_hint="--all-faces")
    if question in (Question.events, Question.averages) and events is None:
        raise typer.BadParameter(
            f"{question} needs --events FILE, a CSV file with the columns start_s, end_s and label",
            param_hint="--events",
        )


def _check_window(before_s: float, bin_ms: int) -> None:
    """Raise a usage error if the window before an event has no whole number of bins."""
    before_ms = round(1000 * before_s)
    if before_ms % bin_ms:
        whole_s = math.ceil(before_ms / bin_ms) * bin_ms / 1000
        got = f"but its default is {BEFORE_S:g} s" if before_s == BEFORE_S else f"got {before_s:g}"
        raise typer.BadParameter(
            f"must be a multiple of --bin-ms ({bin_ms / 1000:g} s), {got}: use --before {whole_s:g} or "
            f"--bin-ms {math.gcd(before_ms, bin_ms)}",
            param_hint="--before",
        )


def _notes(
    connection: "duckdb.DuckDBPyConnection", results: Path, request: Request, rows: "pa.Table", *, is_compact: bool
) -> list[str]:
    """The notes to print below an answer, of which some columns are not shown if it `is_compact`."""
    from analytics import queries
    from analytics.queries.event_files import offset_note

    notes = [] if len(rows) else [why_empty(connection, request.question, request.emotion)]
    notes += explanation(connection, request, rows, is_compact=is_compact)
    video_ids = videos_of(connection, request)
    if request.question not in UNFILTERED:
        quality = queries.gate_note(connection, video_ids=video_ids, all_faces=request.all_faces)
        # The column low_quality_share of a comparison is about the people with a label only.
        notes.append(f"All faces in these videos: {quality}" if request.question == Question.compare else quality)
        about_videos = queries.mixed_settings_note, queries.baseline_note
        notes += [text for note_on in about_videos if (text := note_on(connection, video_ids)) is not None]
    if is_about_time(request) and (stills := queries.still_images_note(connection, video_ids)):
        notes.append(stills)
    if request.question in OF_PARTICIPANTS:
        # Only the comparison reads the participants of a groups file.
        given = request.participants or (request.groups if request.question == Question.compare else None)
        several = queries.several_people_note(connection, given, video_ids)
        notes += [several] if several else []
    if request.question in OF_EVENTS and request.events is not None:
        about_events = (
            queries.unassigned_events_note,
            queries.repeated_events_note,
            queries.late_events_note,
            queries.unseen_events_note,
        )
        notes += [text for note_on in about_events if (text := note_on(connection, request.events))]
        notes += [shifted] if (shifted := offset_note(request.events)) else []
    if request.question == Question.averages and request.events is not None:
        missing = queries.missing_baseline_note(
            connection,
            request.events,
            participants=request.participants,
            before_s=request.before_s,
            after_s=request.after_s,
        )
        notes += [missing] if missing else []
    if request.question in (Question.events, Question.averages) and request.events is not None:
        overlap = queries.baseline_overlap_note(connection, request.events, before_s=request.before_s)
        notes += [f"{overlap} Use a shorter --before."] if overlap else []
    notes += _data_notes(connection, results)
    return [*notes, "All columns: --format long, or --out FILE."] if is_compact else notes


def _write_rows(
    results: Path, request: Request, rows: "pa.Table", notes: list[str], form: Format, output: Path | None
) -> None:
    """Print the rows of an answer or write them to a file, and print the notes."""
    if len(rows) or form != Format.table or output is not None:
        write_answer(rows, form, output)
    for line in notes:
        (say if form in (Format.table, Format.long) else note)(line)
    if request.question == Question.failures:
        _print_resume_hint(results, rows)


def _print_overview(connection: "duckdb.DuckDBPyConnection", results: Path, notes: list[str]) -> None:
    """Print what `fervid summary RESULTS` prints: totals, emotions of all people, and failures."""
    from analytics import queries

    (n,) = queries.totals(connection).to_pylist()
    left_out_s = (n["duration_s"] or 0) - (n["analyzed_s"] or 0)
    part = f", {n['analyzed_s']:.0f} s of it analyzed (--start, --end)" if left_out_s >= 0.5 else ""
    images = f" and {counted(n['n_images'], 'still image')}" if n["n_images"] else ""
    later = f", a later run of {n['n_later_runs_failed']} of the others failed" if n["n_later_runs_failed"] else ""
    say(
        f"{results}: {counted(n['n_videos'] - n['n_images'], 'video')}{images}, {n['n_failed']} of them failed{later}; "
        f"{n['duration_s'] or 0:.0f} s of video{part}, {counted(n['n_frames'], 'frame')}, "
        f"{counted(n['n_tracks'], 'person (track)', 'people (tracks)')}, {counted(n['n_episodes'], 'episode')}"
    )
    for line in notes:
        say(line)
    labeled = queries.library(connection)
    if len(labeled):
        say("Labeled time, over all people:")
        write_answer(labeled, Format.table, None)
    failures = queries.failures(connection)
    if len(failures):
        say("Failures:")
        write_answer(failures, Format.table, None)
        _print_resume_hint(results, failures)
    names = ", ".join(question for question in Question if question != Question.overview)
    say(f"For more: {shlex.join(['fervid', 'summary', str(results)])} QUESTION, which is one of {names}")


def _data_notes(connection: "duckdb.DuckDBPyConnection", results: Path) -> list[str]:
    """Notes on videos that users may want to exclude from the results."""
    from analytics import queries
    from analytics.results.replaced_files import replaced_files_note
    from analytics.results.videos import all_videos

    notes = [
        queries.dropped_frames_note(connection),
        queries.unconfirmed_people_note(connection),
        replaced_files_note(results, all_videos(connection)),
    ]
    return [text for text in notes if text is not None]


def _print_resume_hint(results: Path, failures: "pa.Table") -> None:
    if any(failures["error"].is_valid().to_pylist()):  # a video with frames that cannot be decoded has not failed
        note(f"What to do about each failure: {shlex.join(['fervid', 'status', str(results)])}")
