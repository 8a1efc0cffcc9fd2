"""Analyze videos in this process while a child process imports Prefect, starts its server and runs the flow.

Importing Prefect and its server takes more processor time than analyzing a short clip. In the child, both are imported
once, while this process already analyzes; each task of the flow then waits for the outcome of its video.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from analytics.results.storage_paths import StoragePath
from flows.analysis.channel import (
    Channel,
    Close,
    ProgressEvent,
    RunAnswer,
    RunRequest,
    StopChange,
    VideoAnswer,
    VideoRequest,
    joined,
    with_causes,
)
from flows.analysis.context import AnalysisContext
from flows.analysis.outcomes import RunSummary, VideoOutcome
from flows.analysis.run import AnalysisRun
from flows.prefect.server import SERVER_ENVIRONMENT, PrefectServerError, check_healthy, prefect_server

CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from flows.analysis.flow_child import main; main()"
STOP_TIMEOUT_S = 30.0


@contextlib.contextmanager
def flow_runner(is_local: bool, *, once: bool = False) -> Iterator[Callable[[AnalysisRun], RunSummary]]:
    """Yield a function that runs the flow; failed videos are in its summary, not raised.

    Args:
        is_local: whether this process analyzes the videos; otherwise the workers of a cluster do, and this process runs
            the flow.
        once: whether there is only one run; Prefect then shuts down while the results are shown.
    """
    if is_local:
        with contextlib.closing(FlowProcess(once=once)) as process:
            yield process.run
        return
    with prefect_server() as wait_for_server:
        from flows.analysis.flow import run_analyze  # imported here because it loads Prefect

        wait_for_server()
        yield run_analyze


class FlowProcess:
    """A child process that runs flows, whose videos this process analyzes."""

    def __init__(self, *, once: bool = False) -> None:
        """Start the child process, for one run or for several.

        Raises:
            PrefectServerError: if no server answers at `PREFECT_API_URL`.
        """
        environment = {**os.environ}
        if given_url := environment.pop("PREFECT_API_URL", ""):
            check_healthy(given_url)
            environment["PREFECT_API_URL"] = given_url
        else:
            environment |= SERVER_ENVIRONMENT
        self.process = subprocess.Popen(
            # -P: do not import modules from the working directory
            [sys.executable, "-P", "-c", CHILD, json.dumps(sys.path)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must reach only this process, which then asks the flow to stop
        )
        assert self.process.stdin and self.process.stdout
        self.once = once
        # True after a run: the child process may still be recording it in Prefect, and is given time to finish.
        self.has_records = False
        self.channel = Channel(self.process.stdout, self.process.stdin)

    def run(self, run: AnalysisRun) -> RunSummary:
        """Analyze the videos of a run, recorded by its flow; failed videos are in the summary, not raised.

        Raises:
            PrefectServerError: if there is no Prefect server, or the child process ends.
            Stopped, StoreError, StorageError, WeightsError, DeviceError: as the flow does.
        """
        _ = run.context.models  # loaded now, so that a model that cannot be loaded ends the run before it starts
        run = dataclasses.replace(run, started_s=time.monotonic())
        with VideoPool(run) as pool:
            self.has_records = False
            try:
                self.channel.send(RunRequest(run))
                if self.once:
                    self.channel.send(Close())
                while not isinstance(message := self.channel.receive(), RunAnswer):
                    if isinstance(message, VideoRequest):
                        self._answer_when_done(message, pool.outcome(message.path))
                    elif isinstance(message, ProgressEvent):
                        run.context.progress.report(message.event)
                    elif isinstance(message, StopChange):
                        change = run.context.progress
                        change.request_stop() if message.is_requested else change.withdraw_stop()
            except (EOFError, BrokenPipeError) as error:
                try:
                    code = self.process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    code = self.process.wait()
                raise PrefectServerError(f"Prefect's process ended with exit code {code}: run again") from error
        self.has_records = True
        if message.summary is None:
            raise joined(message.errors)
        from flows.analysis.replaced import record_replaced_files  # imported here because it loads PyArrow

        summary = dataclasses.replace(message.summary, out=run.context.out)
        record_replaced_files(summary, run.context)
        return summary

    def _answer_when_done(self, request: VideoRequest, future: "Future[VideoOutcome]") -> None:
        def answer(future: "Future[VideoOutcome]") -> None:
            if future.cancelled():  # the run was interrupted
                return
            with contextlib.suppress(OSError):  # if the child has ended, `run` reports it
                if error := future.exception():
                    self.channel.send(VideoAnswer(request.number, errors=with_causes(error)))
                else:
                    self.channel.send(VideoAnswer(request.number, future.result()))

        future.add_done_callback(answer)

    def close(self) -> None:
        """Let the child send its last records and stop its server; kill it if it has no records, or takes too long."""
        if not self.has_records:
            self.process.kill()
        elif not self.once:
            with contextlib.suppress(OSError):
                self.channel.send(Close())
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        finally:
            self.process.communicate()


class VideoPool:
    """Threads that analyze the videos of a run in their order, as many at a time as the run has workers."""

    def __init__(self, run: AnalysisRun) -> None:
        self.context: AnalysisContext = run.context
        self.videos = run.videos
        self.pool = ThreadPoolExecutor(run.engine.workers, thread_name_prefix="analyze")
        # Retries have threads of their own, because tasks wait for them: they must not queue behind all other videos.
        self.retries = ThreadPoolExecutor(run.engine.workers, thread_name_prefix="retry")
        self.started: dict[StoragePath, Future[VideoOutcome]] = {}

    def __enter__(self) -> "VideoPool":
        """Submit all videos; the threads start with the first ones."""
        self.started = {path: self._submit(path, self.pool) for path in self.videos}
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        """Wait for the threads; stop them after an error, as their results are no longer needed."""
        if kind is not None:
            self.context.progress.request_stop()
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.retries.shutdown(wait=True, cancel_futures=True)

    def outcome(self, path: StoragePath) -> "Future[VideoOutcome]":
        """The outcome of a video; each request after the first one analyzes it again."""
        return self.started.pop(path, None) or self._submit(path, self.retries)

    def _submit(self, path: StoragePath, pool: ThreadPoolExecutor) -> "Future[VideoOutcome]":
        from flows.analysis.analyze_video import analyze_video  # imported here because it loads torch

        return pool.submit(analyze_video, path, self.context)
