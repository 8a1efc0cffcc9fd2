"""`fervid live`: analyze a camera or a stream into a results folder."""

import json
import shlex
import time
from collections import deque
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.live import Live
from rich.text import Text

from flows.cli.commands.common_options import AsJson, Out
from flows.cli.console import console, errors, fatal_errors, stop_on_interrupt
from flows.cli.options import usage_error, with_settings
from flows.settings import AnalyzeSettings, LiveSettings

if TYPE_CHECKING:
    from flows.live.run import LiveStatus
    from flows.live.session import LiveOutcome

# The frame rate that is shown is measured over this many seconds.
RATE_OVER_S = 5.0


@with_settings(
    settings=AnalyzeSettings,
    live_settings=LiveSettings,
    without=(
        "fps",
        "adapt_fps",
        "start_s",
        "end_s",
        "video_stream",
        "rotate",
        "detect_every_s",
        "decoder",
        "batch_size",
        "segment_s",
        "decode_timeout_s",
        "overwrite",
        "verify_content",
    ),
)
def live(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A camera (0), an address (rtsp, http, udp, tcp …), or - for a pipe."),
    ],
    out: Out,
    settings: AnalyzeSettings,
    live_settings: LiveSettings,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|auto",
            help="Analyze this many frames per second (default: all); auto: as many as this machine can.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Analyze a live stream until Ctrl-C. Frames are dropped when processing falls behind; no frame is stored."""
    settings, live_settings = with_frame_rate(fps, settings, live_settings)
    with fatal_errors(f"`fervid timeline {shlex.quote(str(out))}` builds the tables of the frames analyzed so far"):
        from fer_models.video.live_source import LiveSource

        found = LiveSource.of(source)
        errors.print(f"opening {found.shown}, results in {out}", highlight=False, markup=False, soft_wrap=True)
        display = LiveDisplay()
        with display, stop_on_interrupt():
            from flows.analysis.progress import progress
            from flows.live.run import run_live

            outcomes = run_live(
                found, out, settings, live_settings, progress, on_status=display.show, on_message=display.show_message
            )
        if as_json:
            print(json.dumps([outcome.as_json() for outcome in outcomes], indent=2))
        else:
            for outcome in outcomes:
                console.print(describe(outcome), highlight=False, markup=False, soft_wrap=True)
                if outcome.counts.n_dropped > outcome.counts.n_analyzed:
                    errors.print(advice(outcome, live_settings), highlight=False, markup=False, soft_wrap=True)


def with_frame_rate(
    fps: str | None, settings: AnalyzeSettings, live_settings: LiveSettings
) -> tuple[AnalyzeSettings, LiveSettings]:
    """The settings with the frame rate of `--fps`, if it was given.

    Raises:
        typer.BadParameter: if it is neither a positive number nor `auto`.
    """
    if fps == "auto":
        return settings.model_copy(update={"fps": None}), live_settings.model_copy(update={"adapt_fps": True})
    if fps is not None:
        try:
            settings = AnalyzeSettings(**settings.model_dump() | {"fps": fps})
        except ValidationError as error:
            raise usage_error(error, {"fps": "--fps"}) from error
        live_settings = live_settings.model_copy(update={"adapt_fps": False})
    return settings, live_settings


class LiveDisplay:
    """A status line with messages above it; without a terminal, only the messages."""

    def __init__(self) -> None:
        self._line = Live(console=errors, refresh_per_second=4, transient=True)
        self._seen: deque[tuple[float, int]] = deque()  # (time, number of frames analyzed until then)

    def __enter__(self) -> "LiveDisplay":
        if errors.is_terminal:
            self._line.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._line.stop()

    def show(self, status: "LiveStatus") -> None:
        """Update the status line."""
        now_s, counts = time.monotonic(), status.counts
        if self._seen and counts.n_analyzed < self._seen[-1][1]:
            self._seen.clear()  # a new session has started
        self._seen.append((now_s, counts.n_analyzed))
        while now_s - self._seen[0][0] > RATE_OVER_S:
            self._seen.popleft()
        first_s, n_first = self._seen[0]
        rate = (counts.n_analyzed - n_first) / max(now_s - first_s, 0.1)
        minutes, seconds = divmod(int(status.seconds), 60)
        parts = [
            f"{minutes // 60}:{minutes % 60:02}:{seconds:02}",
            f"{rate:.1f} frames/s",
            f"{counts.n_dropped} dropped",
            f"{counts.n_faces} faces",
            f"{status.delay_s:.1f} s from frame to row",
            *([f"signal lost {counts.n_losses} times"] if counts.n_losses else []),
        ]
        self._line.update(Text(", ".join(parts)))

    def show_message(self, message: str) -> None:
        """Print a message above the status line."""
        errors.print(message, highlight=False, markup=False, soft_wrap=True)


def describe(outcome: "LiveOutcome") -> str:
    """A session in one line."""
    counts, rows, delay = outcome.counts, outcome.n_rows, outcome.delay
    return (
        f"{outcome.path}: {outcome.duration_s:.1f} s, {counts.n_analyzed} frames analyzed, "
        f"{counts.n_dropped} dropped, {counts.n_undecoded} could not be decoded, signal lost {counts.n_losses} times, "
        f"{rows['faces']} faces, {rows['tracks']} people (tracks); "
        f"{delay.mean_s:.2f} s from frame to row, {delay.most_s:.2f} at most"
    )


def advice(outcome: "LiveOutcome", live_settings: LiveSettings) -> str:
    """Advice for a session of which most frames were dropped."""
    reason = "Most frames were dropped because this machine is too slow for the stream."
    if live_settings.adapt_fps:  # the rate adapts only after some seconds
        return f"{reason} Use a smaller --detector-size to analyze frames faster, or start the sender after Fervid."
    fps = outcome.counts.n_analyzed / max(outcome.duration_s, 1.0)
    return (
        f"{reason} Use --fps auto or --fps {fps:.2g} to analyze fewer, evenly spaced frames, or a smaller "
        "--detector-size to analyze them faster."
    )
