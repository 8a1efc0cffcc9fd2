"""What a run looks like in a terminal: bars while it works, tables when it is done."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from flows.progress import Event, VideoEnded, VideoProgress

if TYPE_CHECKING:
    from flows.analyze import RunSummary
    from flows.settings import AnalyzeSettings

# What each person of the newest analyses shows, for the table at the end of a run.
PEOPLE_SQL = """
SELECT video_id, string_agg(emotion || ' ' || round(100 * share)::INT || ' %', ', ' ORDER BY track_id) AS people
FROM (
    SELECT video_id, track_id, emotion,
        greatest(share_angry, share_disgust, share_fear, share_happy, share_sad, share_surprise, share_neutral) AS share
    FROM tracks
)
GROUP BY video_id
"""
EXAMPLE_SQL = (
    "SELECT path, track_id, emotion, start_s, end_s, peak FROM episodes JOIN videos USING (video_id) ORDER BY peak DESC"
)


@dataclass
class _VideoBar:
    bar: TaskID
    started_s: float
    first_frames: int  # done when the bar appeared
    done_frames: int


class RunDisplay:
    """Follows the events of a run: a bar for the folder, one for each video under way, a line for each failure.

    Without a terminal, a line for each finished video instead.
    """

    def __init__(self, console: Console, n_videos: int) -> None:
        self.console = console
        self.started_s = time.monotonic()
        self.bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.folder = self.bars.add_task("loading models, starting Prefect", total=n_videos, unit="videos", rate="")
        self.videos: dict[Path, _VideoBar] = {}
        self.n_frames = 0

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def show(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, VideoProgress):
            self._advance(event)
        else:
            self._end(event)

    def _advance(self, event: VideoProgress) -> None:
        now_s = time.monotonic()
        if event.path not in self.videos:
            bar = self.bars.add_task(event.path.name, total=event.total_frames, unit="frames", rate="")
            # What was done before this run does not count for its rate.
            self.videos[event.path] = _VideoBar(bar, now_s, event.done_frames, event.done_frames)
        video = self.videos[event.path]
        self.n_frames += event.done_frames - video.done_frames
        video.done_frames = event.done_frames
        rate = (event.done_frames - video.first_frames) / max(now_s - video.started_s, 1e-3)
        self.bars.update(video.bar, completed=event.done_frames, rate=f"{rate:.0f} frames/s")
        rate = self.n_frames / max(now_s - self.started_s, 1e-3)
        self.bars.update(self.folder, description="analysing", rate=f"{rate:.0f} frames/s")

    def _end(self, event: VideoEnded) -> None:
        if event.path in self.videos:
            self.bars.remove_task(self.videos.pop(event.path).bar)
        self.bars.advance(self.folder)
        if event.status == "failed":
            self.console.print(f"[red]failed[/red] {escape(event.error)}", highlight=False, soft_wrap=True)
        elif not self.console.is_terminal:
            self.console.print(f"{event.status} {event.path}", highlight=False, soft_wrap=True)


def print_plan(console: Console, videos: Sequence[Path], out: Path, settings: "AnalyzeSettings") -> None:
    """What a run would do with each video, without doing it."""
    from fer_models.video import VideoReadError, frames_to_sample, probe

    rows: list[list[Any]] = []
    for path in videos:
        try:
            info = probe(path, settings.decoder)
            wanted = frames_to_sample(info.pts_s, fps=settings.fps, start_s=settings.start_s, end_s=settings.end_s)
            rows.append([str(path), len(wanted), info.duration_s, f"{info.decoder}: {info.decoder_reason}"])
        except (VideoReadError, OSError) as error:
            rows.append([str(path), None, None, f"would fail: {str(error).removeprefix(f'{path}: ')}"])
    console.print(table_of(["video", "frames", "duration (s)", "decoder"], rows))
    console.print(f"nothing was done; results would go to {out}", highlight=False)


def print_summary(console: Console, summary: "RunSummary") -> None:
    """What a run did, video by video, and what to do next."""
    from analytics import connect

    people = dict(connect(summary.out).sql(PEOPLE_SQL).fetchall())
    rows = [
        [
            o.path.name,
            o.status,
            o.n_frames,
            o.n_faces,
            o.n_tracks,
            people.get(o.video_id, ""),
            o.decoder,
            o.frames_per_s,
        ]
        for o in summary.outcomes
    ]
    if rows:
        names = ["video", "", "frames", "faces", "people", "each mostly", "decoder", "frames/s"]
        console.print(table_of(names, rows))
    n_new = sum(o.status == "done" for o in summary.outcomes)
    n_old = len(summary.outcomes) - n_new
    console.print(
        f"{n_new} analysed, {n_old} unchanged, {len(summary.failures)} failed; results in {summary.out}",
        highlight=False,
    )
    for failure in summary.failures:
        console.print(f"[red]failed[/red] {escape(failure.reason)}", highlight=False, soft_wrap=True)
    if summary.outcomes:
        command = shlex.join(["fervid", "query", str(summary.out), EXAMPLE_SQL])
        console.print(f"next: {command}", highlight=False, soft_wrap=True)


def table_of(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> Table:
    """A table for the terminal; numbers to the right, NULL as an empty cell."""
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        numeric = any(isinstance(row[i], int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell_text(cell) for cell in row))
    return table


def cell_text(value: Any) -> str:
    """One value as a person reads it."""
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
