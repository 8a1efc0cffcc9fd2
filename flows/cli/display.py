"""Terminal output of a run: progress bars while it works, tables at the end."""

import contextlib
import shlex
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from fer_models.labels import EMOTIONS
from flows.analysis.progress import Event, VideoEnded, VideoProgress
from flows.cli.console import errors, failures, note, say
from flows.cli.tables import table_of

if TYPE_CHECKING:
    import duckdb

    from analytics.results.storage_paths import StoragePath
    from flows.analysis.outcomes import RunSummary
    from flows.analysis.work_plan import VideoPlan

# For each video, without hidden people: the number of people, the two emotions that the three people with the most good
# faces show longest, leaving out shares that round to 0 %, and how many people have no label.
_SHARES = ", ".join(f"{{share: share_{name}, is_first: emotion = '{name}', name: '{name}'}}" for name in EMOTIONS)
PEOPLE_SQL = f"""
SELECT video_id, count(*),
    string_agg(person || ' ' || array_to_string(shown, ', '), '; ' ORDER BY track_id)
        FILTER (emotion IS NOT NULL AND rank <= 3)
    || CASE WHEN count(emotion) > 3 THEN '; …' ELSE '' END,
    count(*) FILTER (emotion IS NULL)
FROM (
    SELECT *,
        row_number() OVER (PARTITION BY video_id ORDER BY emotion IS NULL, n_faces_ok DESC, track_id) AS rank,
        [one.name || ' ' || round(100 * one.share)::INT || ' %'
            FOR one IN list_reverse_sort([{_SHARES}])[:2] IF round(100 * one.share) > 0] AS shown
    FROM visible('tracks') JOIN people USING (video_id, analysis_id, track_id)
)
GROUP BY video_id
"""
PEOPLE_COLUMNS = ("people", "main emotions (share of labeled time)", "people without label")
# Reasons why people have no label: the most frequent problem of the faces of each person.
UNLABELED_SQL = """
SELECT coalesce(reason, 'not visible for long enough'), count(*)
FROM (
    SELECT mode(replace(quality_reason, '_', ' ')) AS reason
    FROM visible('faces') SEMI JOIN (SELECT video_id, track_id FROM tracks WHERE emotion IS NULL)
        USING (video_id, track_id)
    WHERE video_id IN (SELECT unnest($videos))
    GROUP BY video_id, track_id
)
GROUP BY 1 ORDER BY 2 DESC, 1
"""
EXAMPLE_SQL = (
    "SELECT parse_filename(path) AS video, track_id, emotion, start_s, end_s, peak "
    "FROM episodes JOIN videos USING (video_id) "
    "ORDER BY round(peak, 2) DESC, end_s - start_s DESC LIMIT 10"
)


@dataclass
class _VideoBar:
    bar: TaskID
    started_s: float
    first_frames: int  # number of frames that were done when the bar appeared
    done_frames: int


class RunDisplay:
    """Show the events of a run: a bar for all videos, one for each video in progress, a line for each failure.

    If standard error is not a terminal, show a line for each finished video instead.
    """

    def __init__(self, console: Console, n_videos: int) -> None:
        self.console = console
        self.started_s = 0.0  # time at which the first frame was observed
        self.bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.folder = self.bars.add_task("loading models", total=n_videos, unit="videos", rate="")
        self.videos: dict[StoragePath, _VideoBar] = {}
        self.n_frames = 0
        self.one_at_a_time = threading.Lock()

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def show(self, event: Event) -> None:
        """Show one event; events arrive from several threads."""
        with self.one_at_a_time:
            if isinstance(event, VideoProgress):
                self._advance(event)
            else:
                self._end(event)

    def _advance(self, event: VideoProgress) -> None:
        now_s = time.monotonic()
        self.started_s = self.started_s or now_s
        if event.path not in self.videos:
            bar = self.bars.add_task(event.path.name, total=event.total_frames, unit="frames", rate="")
            # The rate does not include frames of earlier runs.
            self.videos[event.path] = _VideoBar(bar, now_s, event.done_frames, event.done_frames)
        video = self.videos[event.path]
        self.n_frames += event.done_frames - video.done_frames
        video.done_frames = event.done_frames
        rate = (event.done_frames - video.first_frames) / max(now_s - video.started_s, 1e-3)
        self.bars.update(video.bar, completed=event.done_frames, rate=f"{rate:.0f} frames/s")
        rate = self.n_frames / max(now_s - self.started_s, 1e-3)
        self.bars.update(self.folder, description="analyzing", rate=f"{rate:.0f} frames/s")

    def _end(self, event: VideoEnded) -> None:
        if event.path in self.videos:
            self.bars.remove_task(self.videos.pop(event.path).bar)
        self.bars.advance(self.folder)
        if event.status == "failed" or not self.console.is_terminal:
            note(event_line(event))


def event_line(event: VideoEnded) -> str:
    """A finished video in one line."""
    return f"{event.status} {event.error or event.path}"


def print_plan(console: Console, plans: Sequence["VideoPlan"], out: Path) -> None:
    """Print what a run would do with each video."""
    rows = [
        [
            str(p.path),
            p.action,
            p.n_frames,
            p.n_remaining,
            None if p.duration_s is None else f"{p.duration_s:.1f}",
            p.decoder,
        ]
        for p in plans
    ]
    console.print(table_of(["video", "action", "frames", "remaining", "duration (s)", "decoder"], rows))
    console.print(
        f"dry run: nothing was written; results would go to {out}", highlight=False, markup=False, soft_wrap=True
    )


def _replaced_files(summary: "RunSummary") -> str | None:
    """A sentence on files of this results folder that were replaced."""
    from analytics.results.catalog import latest_rows, read_catalog
    from analytics.results.replaced_files import replaced_files_note
    from analytics.results.video_record import video_records

    videos, _ = latest_rows(read_catalog(summary.out, skip_damaged=True).rows)
    return replaced_files_note(summary.out, video_records(videos))


def print_summary(console: Console, summary: "RunSummary") -> None:
    """Print the outcome of each video and the commands to continue with; with --quiet only the failures."""
    for failure in summary.failures:
        (failures if errors.quiet else console).print(
            f"failed {failure.reason}", highlight=False, markup=False, soft_wrap=True
        )
    if errors.quiet:
        return
    if summary.outcomes:
        from analytics.results.damage import DamagedFileError  # imported here because it loads PyArrow
        from analytics.results.verification import name_damaged_file

        try:
            with name_damaged_file(summary.out):
                _print_outcomes(console, summary)
        except DamagedFileError as error:  # most likely of another video: those of this run are finished
            note(f"the summary of people is left out: {error}")
    n_new = sum(o.status == "done" for o in summary.outcomes)
    n_old = len(summary.outcomes) - n_new
    say(f"{n_new} analyzed, {n_old} unchanged, {len(summary.failures)} failed; results in {summary.out}")
    for outcome in summary.outcomes:
        if outcome.n_undecoded:
            say(f"{outcome.path}: {outcome.n_undecoded} of {outcome.n_frames} frames could not be decoded")
        for remark in outcome.notes:
            say(f"{outcome.path}: {remark}")
        if outcome.same_as:
            say(f"{outcome.path}: same content as {outcome.same_as}, which represents both")
    for models in Counter(o.models for o in summary.outcomes):  # several values if workers used different models
        say(models)
    if replaced := _replaced_files(summary):
        say(replaced)
    if summary.outcomes:
        say(f"look at the videos and their timelines: {shlex.join(['fervid', 'dashboard', str(summary.out)])}")
        say(f"ask a question: {shlex.join(['fervid', 'query', str(summary.out), EXAMPLE_SQL])}")


def _print_outcomes(console: Console, summary: "RunSummary") -> None:
    """Print a table of all videos that did not fail; then why people have no label, and what is not known."""
    from analytics import connect, queries

    with contextlib.closing(connect(summary.out, observations=False)) as connection:
        people = people_columns(connection, [o.video_id for o in summary.outcomes])
        rows = []
        for o in summary.outcomes:
            rate = None if o.frames_per_s is None else round(o.frames_per_s)
            rows.append([o.path.name, o.status, o.n_frames, o.n_faces, *people[o.video_id], rate])
        console.print(table_of(["video", "status", "frames", "faces", *PEOPLE_COLUMNS, "frames/s"], rows))
        videos = [video_id for video_id, (*_, n_unlabeled) in people.items() if n_unlabeled]
        if line := unlabeled_line(connection, videos):
            say(line)
        video_ids = [o.video_id for o in summary.outcomes]
        analyzed = [o.video_id for o in summary.outcomes if o.status == "done"]  # reading all videos would take long
        if untracked := queries.untracked_note(connection, analyzed):
            say(untracked)
        for line in queries.speech_notes(connection, video_ids):
            say(line)
        if uncorrected := queries.baseline_note(connection, video_ids):
            say(uncorrected)


def people_columns(
    connection: "duckdb.DuckDBPyConnection", video_ids: Sequence[str]
) -> dict[str, tuple[int, str | None, int]]:
    """By video: the values of `PEOPLE_COLUMNS`, without hidden people."""
    found = {video: tuple(values) for video, *values in connection.sql(PEOPLE_SQL).fetchall()}
    return {video: found.get(video, (0, None, 0)) for video in video_ids}


def unlabeled_line(connection: "duckdb.DuckDBPyConnection", videos: Sequence[str]) -> str:
    """One line with the number of people without a label, and the reasons; empty if all have one."""
    if not videos:
        return ""
    reasons = connection.execute(UNLABELED_SQL, {"videos": list(videos)}).fetchall()
    n_people = sum(n for _, n in reasons)
    return f"{n_people} {'person has' if n_people == 1 else 'people have'} no label: " + ", ".join(
        f"{n} {reason}" for reason, n in reasons
    )
