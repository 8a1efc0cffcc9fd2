"""The child process of `flow_process`: Prefect's temporary server, and flows whose videos the parent analyzes."""

import contextlib
import itertools
import os
import queue
import signal
import threading
import traceback
from concurrent.futures import Future
from typing import TYPE_CHECKING

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
from flows.analysis.progress import Event, Progress
from flows.imports import without_gc
from flows.prefect.server import flush_prefect_workers, server_in_thread

if TYPE_CHECKING:
    from flows.analysis.outcomes import VideoOutcome
    from flows.analysis.run import AnalysisRun


def main() -> None:
    """Run the requested flows, until there are no more or the parent ends."""
    if hasattr(signal, "pthread_sigmask"):
        # The parent handles signals to the process group: it asks this process to stop, or closes its pipe.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Standard output carries the messages, so nothing else may be printed to it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    parent = Parent(Channel(source, target))
    try:
        with contextlib.ExitStack() as stack:
            with without_gc():
                if "PREFECT_API_URL" not in os.environ:
                    stack.enter_context(server_in_thread())
                from flows.analysis.flow import run_analyze  # imported here because it loads Prefect
            while (run := parent.next_run()) is not None:
                try:
                    answer = RunAnswer(run_analyze(run))
                except Exception as error:
                    answer = RunAnswer(errors=with_causes(error))
                parent.channel.send(answer)
            flush_prefect_workers()
    except Exception as error:
        parent.channel.send(RunAnswer(errors=with_causes(error)))


class Parent:
    """The process that analyzes the videos."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._runs: queue.SimpleQueue[AnalysisRun | None] = queue.SimpleQueue()
        self._waiting: dict[int, Future[VideoOutcome]] = {}
        self._numbers = itertools.count()
        threading.Thread(target=self._receive, daemon=True).start()

    def next_run(self) -> "AnalysisRun | None":
        """The next run; None if there is none."""
        run = self._runs.get()
        if run is not None:
            run.context.analyze_elsewhere = self.analyze
            run.context.progress = ForwardedProgress(self.channel)
        return run

    def analyze(self, path: StoragePath) -> "VideoOutcome":
        """Wait for the outcome of a video.

        Raises:
            Exception: as the analysis did.
        """
        number = next(self._numbers)
        future = self._waiting[number] = Future()
        self.channel.send(VideoRequest(number, path))
        return future.result()

    def _receive(self) -> None:
        """Pass on what the parent sends; end this process when the parent ends, or when a message cannot be used."""
        try:
            self._pass_on_messages()
        except EOFError:
            os._exit(1)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def _pass_on_messages(self) -> None:
        while True:
            message = self.channel.receive()
            if isinstance(message, RunRequest):
                self._runs.put(message.run)
            elif isinstance(message, Close):
                self._runs.put(None)
            elif isinstance(message, VideoAnswer):
                future = self._waiting.pop(message.number)
                if message.outcome is None:
                    future.set_exception(joined(message.errors))
                else:
                    future.set_result(message.outcome)


class ForwardedProgress(Progress):
    """The progress of a run, shown and stopped by the parent."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.channel = channel

    def report(self, event: Event) -> None:
        """Pass an event to the parent."""
        self.channel.send(ProgressEvent(event))

    def request_stop(self) -> None:
        """Ask the parent to stop all analyses."""
        self.channel.send(StopChange(is_requested=True))

    def withdraw_stop(self) -> None:
        """Let the parent analyze again."""
        self.channel.send(StopChange(is_requested=False))
