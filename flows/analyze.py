"""The main flow: bring the results of a folder of videos up to date, a task per video."""

import dataclasses
import errno
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, runtime, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import unmapped

from analytics.places import PlaceError, is_remote, place
from analytics.store import Store, StoreError
from fer_models.device import DeviceError
from fer_models.weights import WeightsError
from flows.inputs import find_videos
from flows.progress import Stopped, VideoEnded, progress
from flows.settings import AnalyzeSettings, EngineSettings
from flows.video_job import VideoFailed, VideoOutcome, analyze_video, known_objects, load_models

# These end the run: they would meet every other video, too.
FATAL = (StoreError, PlaceError, WeightsError, DeviceError)
# What a disk or a network share may give once and not again.
PASSING_ERRNO = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ENETDOWN, errno.ESTALE, errno.ETIMEDOUT}


@dataclass(frozen=True)
class Failure:
    """A video that could not be analysed, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class RunSummary:
    """What a run did, video by video."""

    out: Path
    outcomes: list[VideoOutcome]
    failures: list[Failure]
    seconds: float

    @property
    def frames_per_s(self) -> float:
        """Frames looked at in this run per second of it."""
        return sum(o.n_observed for o in self.outcomes) / max(self.seconds, 1e-9)

    def as_json(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "out": str(self.out),
            "seconds": self.seconds,
            "frames_per_s": self.frames_per_s,
            "videos": [dataclasses.asdict(o) | {"path": str(o.path)} for o in self.outcomes],
            "failures": [{"path": str(f.path), "reason": f.reason} for f in self.failures],
        }


class VideosFailed(Exception):
    """Some videos could not be analysed; all others are done. `summary` tells which and why."""

    def __init__(self, summary: RunSummary) -> None:
        self.summary = summary
        n_videos = len(summary.outcomes) + len(summary.failures)
        reasons = "; ".join(failure.reason for failure in summary.failures)
        super().__init__(f"{len(summary.failures)} of {n_videos} videos failed: {reasons}")


def can_pass(task: Any, task_run: Any, state: State[Any]) -> bool:
    """Whether a failure may go away by itself: trouble with reading a file, never a file that is wrong."""
    error = state.result(raise_on_failure=False)
    while isinstance(error, BaseException):
        if isinstance(error, OSError) and error.errno in PASSING_ERRNO:
            return True
        error = error.__cause__
    return False


@task(
    name="analyze video",
    task_run_name="analyze {path.name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=can_pass,
)
def analyze_one(path: Path, out: Path, settings: AnalyzeSettings) -> VideoOutcome:
    """One video: what is done is skipped, what is left is finished."""
    try:
        return analyze_video(path, Store(out), settings, progress)
    except FATAL:
        progress.stop_requested.set()  # the videos that wait would meet the same
        raise


def describe_run() -> str:
    """The name of a run that a person can read in Prefect's pages."""
    parameters = runtime.flow_run.parameters
    inputs = [Path(path).name or str(path) for path in parameters["inputs"]]
    more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
    return f"{inputs[0] if inputs else 'nothing'}{more} into {Path(parameters['out']).name}"


@flow(
    name="analyze",
    flow_run_name=describe_run,
    persist_result=False,
    task_runner=ThreadPoolTaskRunner(max_workers=EngineSettings().workers),  # type: ignore[arg-type]
)
def analyze(
    inputs: list[str | Path],
    out: str | Path,
    recursive: bool = True,
    pattern: str = "*",
    settings: AnalyzeSettings | None = None,
) -> RunSummary:
    """Analyse videos and pictures, and those in folders, into the results folder `out`.

    What is done already is left alone; what was begun goes on where it stopped.

    Raises:
        VideosFailed: if some videos could not be analysed; the others are done.
        InputError: if none of the inputs holds anything to analyse.
        StoreError: if the results cannot be written.
        PlaceError: if an address cannot be reached.
        WeightsError: if a model is not there or damaged.
        Stopped: if the user asked to stop.
    """
    settings = settings or AnalyzeSettings()
    out = place(out)
    progress.stop_requested.clear()
    known_objects.cache_clear()
    videos = find_videos(inputs, recursive=recursive, pattern=pattern)
    Store(out)  # refuses a folder that is not ours before any work is done
    load_models(settings)
    started_s = time.monotonic()
    futures = analyze_one.map(videos, out=unmapped(out), settings=unmapped(settings))
    report_each(videos, futures)
    summary = summarise(out, videos, futures, time.monotonic() - started_s)
    publish(summary)
    if summary.failures:
        raise VideosFailed(summary)
    return summary


def run_analyze(inputs: list[Path], out: Path, recursive: bool, pattern: str, settings: AnalyzeSettings) -> RunSummary:
    """Run the flow; failed videos are in the summary, not raised."""
    try:
        return analyze(
            [str(path) if is_remote(path) else path for path in inputs], str(out), recursive, pattern, settings
        )
    except VideosFailed as error:
        return error.summary


def report_each(videos: Sequence[Path], futures: Sequence[PrefectFuture[VideoOutcome]]) -> None:
    """Tell of each video as soon as nothing more is tried with it."""
    path_of = {future.task_run_id: path for path, future in zip(videos, futures, strict=True)}
    for future in as_completed(list(futures)):
        result = future.result(raise_on_failure=False)
        path = path_of[future.task_run_id]
        if isinstance(result, VideoOutcome):
            progress.report(VideoEnded(path, result.status))
        elif isinstance(result, VideoFailed):
            progress.report(VideoEnded(path, "failed", str(result)))


def summarise(
    out: Path, videos: Sequence[Path], futures: Sequence[PrefectFuture[VideoOutcome]], seconds: float
) -> RunSummary:
    """Sort what the tasks gave into outcomes and failures.

    Raises:
        Stopped, StoreError, PlaceError, WeightsError, DeviceError: as the tasks did.
    """
    outcomes: list[VideoOutcome] = []
    failures: list[Failure] = []
    results = [future.result(raise_on_failure=False) for future in futures]
    for kind in (FATAL, Stopped):  # a fatal error stops the others
        for result in results:
            if isinstance(result, kind):
                raise result
    for path, result in zip(videos, results, strict=True):
        if isinstance(result, VideoOutcome):
            outcomes.append(result)
        else:
            failures.append(Failure(path, str(result) if isinstance(result, VideoFailed) else f"{path}: {result!r}"))
    return RunSummary(out, outcomes, failures, seconds)


def publish(summary: RunSummary) -> None:
    """Leave the summary and a table of all videos with the run, for Prefect's pages."""
    rows = [
        {
            "video": str(o.path),
            "status": o.status,
            "frames": o.n_frames,
            "faces": o.n_faces,
            "tracks": o.n_tracks,
            "frames/s": round(o.frames_per_s, 1) if o.frames_per_s else None,
            "decoder": o.decoder,
            "reason": o.decoder_reason,
        }
        for o in summary.outcomes
    ]
    rows += [{"video": str(f.path), "status": "failed", "reason": f.reason} for f in summary.failures]
    create_table_artifact(rows, key="analyze-videos", description="A row per video of the run")
    create_markdown_artifact(summary_markdown(summary), key="analyze-summary", description="What the run did")


def summary_markdown(summary: RunSummary) -> str:
    """The run in a few lines: videos, frames, faces, frames per second, failures with reasons."""
    analysed = [o for o in summary.outcomes if o.status == "done"]
    lines = [
        f"## {summary.out}",
        "",
        f"- videos analysed: {len(analysed)}, unchanged: {len(summary.outcomes) - len(analysed)}, "
        f"failed: {len(summary.failures)}",
        f"- frames: {sum(o.n_frames for o in analysed):,}, faces: {sum(o.n_faces for o in analysed):,}",
        f"- frames per second: {summary.frames_per_s:.1f}" if analysed else "- nothing new to do",
    ]
    if summary.failures:
        lines += ["", "### Failures", "", *(f"- {failure.reason}" for failure in summary.failures)]
    return "\n".join(lines)
