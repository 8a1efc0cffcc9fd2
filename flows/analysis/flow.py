"""The main flow: bring the results of a folder of videos up to date, a task per video."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed

from analytics.results.storage_paths import StorageError, absolute, is_remote, resolve_path
from analytics.results.store import Store, StoreError
from fer_models.device import DeviceError
from fer_models.registry.model_registry import WeightsError, portable_model_ref
from fer_models.video import VideoReadError, stated_duration_s
from flows.analysis.analyze_video import VideoFailed, VideoOutcome, analyze_video, is_transient, observe_part
from flows.analysis.inputs import find_videos
from flows.analysis.model_bundle import load_models
from flows.analysis.progress import Stopped, VideoEnded, current_progress
from flows.analysis.work_plan import index_object_versions
from flows.prefect.task_runners import Submit, running
from flows.settings import AnalyzeSettings, EngineSettings

# These end the run: they would meet every other video, too.
FATAL = (StoreError, StorageError, WeightsError, DeviceError)


@dataclass(frozen=True)
class Failure:
    """A video that could not be analyzed, and why."""

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
    """Some videos could not be analyzed; all others are done. `summary` tells which and why."""

    def __init__(self, summary: RunSummary) -> None:
        self.summary = summary
        n_videos = len(summary.outcomes) + len(summary.failures)
        reasons = "; ".join(failure.reason for failure in summary.failures)
        super().__init__(f"{len(summary.failures)} of {n_videos} videos failed: {reasons}")


def try_again(task: Any, task_run: Any, state: State[Any]) -> bool:
    """Whether the task failed for a reason that may go away by itself."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and is_transient(error)


@task(
    name="analyze video",
    task_run_name="analyze {path.name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=try_again,
)
def analyze_one(path: Path, out: Path, settings: AnalyzeSettings, parts: Sequence[int] = ()) -> VideoOutcome:
    """One video: what is done is skipped, what is left is finished; `parts` is what its parts gave before."""
    outcome = analyze_video(path, Store(out), settings, current_progress())
    return dataclasses.replace(outcome, n_observed=outcome.n_observed + sum(parts))


@task(
    name="observe part",
    task_run_name="observe {path.name} part {part}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def observe_one(path: Path, out: Path, settings: AnalyzeSettings, part: int, of: int) -> int:
    """A part of a long video: how many frames were looked at.

    What goes wrong with it is met again, and told, by the task of the video.
    """
    try:
        return observe_part(path, Store(out), settings, current_progress(), part, of)
    except (VideoReadError, OSError, *FATAL) as error:
        get_run_logger().warning("part %d of %d of %s: %s", part, of, path, error)
        return 0


def describe_run() -> str:
    """The name of a run that a person can read in Prefect's pages."""
    parameters = runtime.flow_run.parameters
    inputs = [Path(path).name or str(path) for path in parameters["inputs"]]
    more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
    return f"{inputs[0] if inputs else 'nothing'}{more} into {Path(parameters['out']).name}"


@flow(name="analyze", flow_run_name=describe_run, persist_result=False)
def analyze(
    inputs: list[str | Path],
    out: str | Path,
    recursive: bool = True,
    pattern: str = "*",
    settings: AnalyzeSettings | None = None,
    engine: EngineSettings | None = None,
) -> RunSummary:
    """Analyze videos and pictures, and those in folders, into the results folder `out`.

    What is done already is left alone; what was begun goes on where it stopped.

    Raises:
        VideosFailed: if some videos could not be analyzed; the others are done.
        InputError: if none of the inputs holds anything to analyze.
        StoreError: if the results cannot be written.
        StorageError: if an address cannot be reached.
        WeightsError: if a model is not there or damaged.
        EngineError: if the engine is not installed, or its cluster cannot be reached.
        Stopped: if the user asked to stop.
    """
    settings, engine = settings or AnalyzeSettings(), engine or EngineSettings()
    out = resolve_path(out)
    index_object_versions.cache_clear()
    videos = find_videos(inputs, recursive=recursive, pattern=pattern)
    Store(out)  # refuses a folder that is not ours before any work is done
    if engine.engine == "threads":
        load_models(settings)  # a model that is not right ends the run before it begins
    else:  # a worker has a working folder of its own
        videos, out = [absolute(path) for path in videos], absolute(out)
        settings = settings.model_copy(update={"model": portable_model_ref(settings.model)})
    with running(engine) as submit:
        started_s = time.monotonic()
        futures = submit_all(submit, videos, out, settings, engine)
        try:
            report_each(videos, futures)
            summary = summarize(out, videos, futures, time.monotonic() - started_s)
        except FATAL:
            current_progress().stop_requested.clear()  # it was meant for the videos of this run
            raise
    publish(summary)
    if summary.failures:
        raise VideosFailed(summary)
    return summary


def run_analyze(
    inputs: list[Path], out: Path, recursive: bool, pattern: str, settings: AnalyzeSettings, engine: EngineSettings
) -> RunSummary:
    """Run the flow; failed videos are in the summary, not raised."""
    sources = [str(path) if is_remote(path) else path for path in inputs]
    target = str(out.absolute())  # whoever reads of the run elsewhere knows which folder it is
    try:
        summary = analyze(sources, target, recursive, pattern, settings, engine)
    except VideosFailed as error:
        summary = error.summary
        clear_tracebacks(error)
    return dataclasses.replace(summary, out=out)


def submit_all(
    submit: Submit, videos: Sequence[Path], out: Path, settings: AnalyzeSettings, engine: EngineSettings
) -> list[PrefectFuture[VideoOutcome]]:
    """A task for each video, in the order of `videos`. On a cluster, long ones come last, each in parts before."""
    work: dict[str, Any] = {"out": out, "settings": settings}
    whole = engine.engine == "threads" or settings.overwrite  # which would have the parts looked at twice
    n_parts = {path: 1 if whole else count_parts(path, engine.part_s) for path in videos}
    futures = {path: submit(analyze_one, path=path, **work) for path, of in n_parts.items() if of == 1}
    for path in (path for path, of in n_parts.items() if of > 1):
        of = n_parts[path]
        parts = [submit(observe_one, path=path, **work, part=part, of=of) for part in range(of)]
        futures[path] = submit(analyze_one, path=path, **work, parts=parts)
    return [futures[path] for path in videos]


def count_parts(path: Path, part_s: float) -> int:
    """In how many parts a video is looked at: one, unless it is long and says so."""
    try:
        return max(1, round(stated_duration_s(path) / part_s))
    except (VideoReadError, OSError):
        return 1  # its task will meet the same, and tell


def result_of(future: PrefectFuture[VideoOutcome]) -> VideoOutcome | BaseException:
    """What became of a task; one whose workers were lost again and again raises whatever its cluster says of that."""
    try:
        result: VideoOutcome | BaseException = future.result(raise_on_failure=False)
    except Exception as error:
        result = error
    if isinstance(result, BaseException):
        clear_tracebacks(result)
    return result


def clear_tracebacks(error: BaseException | None) -> None:
    """Let go of where an error came from, once it is told: with its frames, what they used would live to the very end.

    DuckDB then prints forty lines on what was not freed.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def report_each(videos: Sequence[Path], futures: Sequence[PrefectFuture[VideoOutcome]]) -> None:
    """Tell of each video as soon as nothing more is tried with it."""
    path_of = {future.task_run_id: path for path, future in zip(videos, futures, strict=True)}
    for future in as_completed(list(futures)):
        result = result_of(future)
        path = path_of[future.task_run_id]
        if isinstance(result, VideoOutcome):
            current_progress().report(VideoEnded(path, result.status))
        elif isinstance(result, VideoFailed):
            current_progress().report(VideoEnded(path, "failed", str(result)))
        elif isinstance(result, FATAL):
            current_progress().stop_requested.set()  # the videos that wait would meet the same


def summarize(
    out: Path, videos: Sequence[Path], futures: Sequence[PrefectFuture[VideoOutcome]], seconds: float
) -> RunSummary:
    """Sort what the tasks gave into outcomes and failures.

    Raises:
        Stopped, StoreError, StorageError, WeightsError, DeviceError: as the tasks did.
    """
    outcomes: list[VideoOutcome] = []
    failures: list[Failure] = []
    results = [result_of(future) for future in futures]
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
    analyzed = [o for o in summary.outcomes if o.status == "done"]
    lines = [
        f"## {summary.out}",
        "",
        f"- videos analyzed: {len(analyzed)}, unchanged: {len(summary.outcomes) - len(analyzed)}, "
        f"failed: {len(summary.failures)}",
        f"- frames: {sum(o.n_frames for o in analyzed):,}, faces: {sum(o.n_faces for o in analyzed):,}",
        f"- frames per second: {summary.frames_per_s:.1f}" if analyzed else "- nothing new to do",
    ]
    if summary.failures:
        lines += ["", "### Failures", "", *(f"- {failure.reason}" for failure in summary.failures)]
    return "\n".join(lines)
