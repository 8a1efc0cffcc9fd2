"""The main flow: bring the results of a folder of videos up to date, with a task per video."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed

from analytics.results.storage_paths import StoragePath, is_remote, resolve_path
from fer_models.errors import PredictionError
from fer_models.files import valid_text
from flows.analysis.context import AnalysisContext
from flows.analysis.failures import FATAL, VideoFailed, is_transient
from flows.analysis.outcomes import Failure, RunSummary, VideoOutcome
from flows.analysis.progress import Stopped, VideoEnded
from flows.analysis.run import AnalysisRun, Inputs, prepare_run, prepared, prepared_run
from flows.prefect.task_runners import Submit, running
from flows.settings import AnalyzeSettings, EngineSettings


class VideosFailed(Exception):
    """Some videos could not be analyzed; all others are finished. `summary` has the reasons."""

    def __init__(self, summary: RunSummary) -> None:
        self.summary = summary
        n_videos = len(summary.outcomes) + len(summary.failures)
        reasons = "; ".join(failure.reason for failure in summary.failures)
        super().__init__(f"{len(summary.failures)} of {n_videos} videos failed: {reasons}")


def should_retry(task: Any, task_run: Any, state: State[Any]) -> bool:
    """Whether a task failed for a reason that may be temporary."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and is_transient(error)


def analyze_name() -> str:
    """A readable name for the task of a video in Prefect's pages."""
    return f"analyze {valid_text(runtime.task_run.parameters['path'].name)}"


def observe_name() -> str:
    """A readable name for the task of a part of a video in Prefect's pages."""
    parameters = runtime.task_run.parameters
    return f"observe {valid_text(parameters['path'].name)} part {parameters['part']}"


@task(
    name="analyze video",
    task_run_name=analyze_name,
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=should_retry,
)
def analyze_one(path: Path, context: AnalysisContext, parts: Sequence[int] = ()) -> VideoOutcome:
    """Analyze a video; `parts` are the results of the tasks that observed its parts before."""
    if context.analyze_elsewhere is not None:
        return context.analyze_elsewhere(path)
    if work := context.finished.find(path):
        from flows.analysis.skipping import skip_outcome

        return skip_outcome(path, work, context)
    from flows.analysis.analyze_video import analyze_video  # imported here because it loads torch

    outcome = analyze_video(path, context)
    return dataclasses.replace(outcome, n_observed=outcome.n_observed + sum(parts))


@task(
    name="observe part",
    task_run_name=observe_name,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def observe_one(path: Path, context: AnalysisContext, part: int, n_parts: int) -> int:
    """Observe a part of a long video; returns the number of frames observed.

    A failure is only logged: the task of the video meets it again and reports it.
    """
    from fer_models.video import VideoReadError
    from flows.analysis.analyze_video import observe_part  # imported here because it loads torch

    try:
        return observe_part(path, context, part, n_parts)
    except (VideoReadError, PredictionError, OSError, *FATAL) as error:
        get_run_logger().warning("part %d of %d of %s: %s", part, n_parts, path, error)
        return 0


def run_name() -> str:
    """A readable name for a run in Prefect's pages."""
    parameters = runtime.flow_run.parameters
    run = prepared_run()
    inputs = [Path(valid_text(path)).name or str(path) for path in (run.inputs.paths if run else parameters["inputs"])]
    more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
    return f"{inputs[0] if inputs else 'nothing'}{more} into {Path(parameters['out']).name}"


@flow(name="analyze", flow_run_name=run_name, persist_result=False)
def analyze(
    inputs: list[str | Path],
    out: str | Path,
    recursive: bool = True,
    pattern: str = "*",
    settings: AnalyzeSettings | None = None,
    engine: EngineSettings | None = None,
) -> RunSummary:
    """Analyze videos and images, and those in folders, into the results folder `out`.

    Finished videos are skipped; interrupted ones are resumed.

    Raises:
        VideosFailed: if some videos could not be analyzed; the others are finished.
        InputError: if none of the inputs holds anything to analyze.
        StoreError: if the results cannot be written.
        StorageError: if an address cannot be reached.
        WeightsError: if a model is missing or damaged.
        EngineError: if the engine is not installed, or its cluster cannot be reached.
        Stopped: if the user asked to stop.
    """
    run = prepared_run()
    if run is None:
        context = AnalysisContext(resolve_path(out), settings or AnalyzeSettings())
        run = prepare_run(Inputs(inputs, recursive, pattern), context, engine)
    if run.is_local and run.context.analyze_elsewhere is None and not all(map(run.context.finished.find, run.videos)):
        _ = run.context.models  # loaded now, so that a model that cannot be loaded ends the run before it starts
    with running(run.engine) as submit:
        started_s = time.monotonic() if run.started_s is None else run.started_s
        futures = submit_all(submit, run)
        try:
            report_each(run, futures)
            summary = summarize(run, futures, time.monotonic() - started_s)
        except FATAL:
            run.context.progress.withdraw_stop()  # the stop was requested for the videos of this run only
            raise
    if run.context.analyze_elsewhere is None:
        from flows.analysis.replaced import record_replaced_files

        record_replaced_files(summary, run.context)
    publish(summary)
    if summary.failures:
        raise VideosFailed(summary)
    return summary


def run_analyze(run: AnalysisRun) -> RunSummary:
    """Run the prepared flow; failed videos are in the summary, not raised."""
    try:
        with prepared(run):
            summary: RunSummary = analyze(**run.parameters())
    except VideosFailed as error:
        summary = error.summary
        clear_tracebacks(error)
    return summary


def submit_all(submit: Submit, run: AnalysisRun) -> list[PrefectFuture[VideoOutcome]]:
    """A task for each video, in their order. On a cluster, long videos come last, each after the tasks of its parts."""
    # With `overwrite`, the task of the video would observe its parts a second time.
    whole = run.is_local or run.context.settings.overwrite
    n_parts = {path: 1 if whole else count_parts(path, run.engine.part_s) for path in run.videos}
    futures = {path: submit(analyze_one, path=path, context=run.context) for path, n in n_parts.items() if n == 1}
    for path in (path for path, n in n_parts.items() if n > 1):
        n = n_parts[path]
        parts = [submit(observe_one, path=path, context=run.context, part=part, n_parts=n) for part in range(n)]
        futures[path] = submit(analyze_one, path=path, context=run.context, parts=parts)
    return [futures[path] for path in run.videos]


def count_parts(path: StoragePath, part_s: float) -> int:
    """Number of parts in which a video is observed: one, unless it is on disk and its header states a long duration."""
    from fer_models.video import VideoReadError, stated_duration_s

    if is_remote(path):
        return 1
    try:
        return max(1, round(stated_duration_s(path) / part_s))
    except (VideoReadError, OSError):
        return 1  # the task of the video meets the same error and reports it


def result_of(future: PrefectFuture[VideoOutcome]) -> VideoOutcome | BaseException:
    """The result of a task, or its error. Tasks whose workers were lost repeatedly raise errors of their cluster."""
    try:
        result: VideoOutcome | BaseException = future.result(raise_on_failure=False)
    except Exception as error:
        result = error
    if isinstance(result, BaseException):
        clear_tracebacks(result)
    return result


def clear_tracebacks(error: BaseException | None) -> None:
    """Clear tracebacks after reporting, so that their frames do not keep objects alive until exit.

    DuckDB would then print forty lines about objects that were not freed.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def report_each(run: AnalysisRun, futures: Sequence[PrefectFuture[VideoOutcome]]) -> None:
    """Report each video once its task has ended, retries included."""
    progress = run.context.progress
    path_of = {future.task_run_id: path for path, future in zip(run.videos, futures, strict=True)}
    for future in as_completed(list(futures)):
        result = result_of(future)
        path = path_of[future.task_run_id]
        if isinstance(result, VideoOutcome):
            progress.report(VideoEnded(path, result.status))
        elif isinstance(result, FATAL):
            progress.request_stop()  # a fatal error would occur for every remaining video
        elif not isinstance(result, Stopped):
            progress.report(VideoEnded(path, "failed", failure_reason(path, result)))


def failure_reason(path: StoragePath, error: BaseException) -> str:
    """Why a video has failed; an error that was not expected is one of the cluster, such as a lost worker."""
    return str(error) if isinstance(error, VideoFailed) else f"{valid_text(path)}: {error!r}"


def summarize(run: AnalysisRun, futures: Sequence[PrefectFuture[VideoOutcome]], seconds: float) -> RunSummary:
    """Sort the results of the tasks into outcomes and failures.

    Raises:
        Stopped, StoreError, StorageError, WeightsError, DeviceError: as the tasks did.
    """
    outcomes: list[VideoOutcome] = []
    failures: list[Failure] = []
    results = [result_of(future) for future in futures]
    for kind in (FATAL, Stopped):  # a fatal error, or a stop, ends the other analyses too
        for result in results:
            if isinstance(result, kind):
                raise result
    for path, result in zip(run.videos, results, strict=True):
        if isinstance(result, VideoOutcome):
            outcomes.append(result)
        else:
            failures.append(Failure(path, failure_reason(path, result)))
    return RunSummary(run.context.out, outcomes, failures, seconds)


def publish(summary: RunSummary) -> None:
    """Attach the summary and a table of all videos to the run, for Prefect's pages."""
    rows = [
        {
            "video": valid_text(o.path),
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
    rows += [{"video": valid_text(f.path), "status": "failed", "reason": f.reason} for f in summary.failures]
    create_table_artifact(rows, key="analyze-videos", description="One row per video of the run")
    create_markdown_artifact(summary_markdown(summary), key="analyze-summary", description="Summary of the run")


def summary_markdown(summary: RunSummary) -> str:
    """The run in a few lines of Markdown."""
    analyzed = [o for o in summary.outcomes if o.status == "done"]
    lines = [
        f"## {valid_text(summary.out)}",
        "",
        f"- videos analyzed: {len(analyzed)}, unchanged: {len(summary.outcomes) - len(analyzed)}, "
        f"failed: {len(summary.failures)}",
        f"- frames: {sum(o.n_frames for o in analyzed):,}, faces: {sum(o.n_faces for o in analyzed):,}",
        f"- frames per second: {summary.frames_per_s:.1f}" if analyzed else "- nothing new to do",
    ]
    if summary.failures:
        lines += ["", "### Failures", "", *(f"- {failure.reason}" for failure in summary.failures)]
    return "\n".join(lines)
