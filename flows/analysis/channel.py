"""Messages between the process that analyzes videos and its child, which runs the flow: pickles over two pipes."""

import itertools
import pickle
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from analytics.results.storage_paths import StoragePath
from flows.analysis.progress import Event

if TYPE_CHECKING:
    from flows.analysis.outcomes import RunSummary, VideoOutcome
    from flows.analysis.run import AnalysisRun

Errors = Sequence[BaseException]  # an error, its cause, the cause of that, and so on, because pickling drops causes


@dataclass(frozen=True)
class RunRequest:
    """To the child: run the flow."""

    run: "AnalysisRun"


@dataclass(frozen=True)
class VideoRequest:
    """From the child: a task of the flow needs the outcome of this video."""

    number: int
    path: StoragePath


@dataclass(frozen=True)
class VideoAnswer:
    """To the child: the outcome of a requested video, or why there is none."""

    number: int
    outcome: "VideoOutcome | None" = None
    errors: Errors = ()


@dataclass(frozen=True)
class ProgressEvent:
    """From the child: an event of the flow."""

    event: Event


@dataclass(frozen=True)
class StopChange:
    """From the child: stop all analyses, or allow them again."""

    is_requested: bool


@dataclass(frozen=True)
class RunAnswer:
    """From the child: the result of the flow, or why it failed."""

    summary: "RunSummary | None" = None
    errors: Errors = ()


@dataclass(frozen=True)
class Close:
    """To the child: no further run follows."""


Message = RunRequest | VideoRequest | VideoAnswer | ProgressEvent | StopChange | RunAnswer | Close


class Channel:
    """Sends and receives messages; several threads may send."""

    def __init__(self, source: IO[bytes], target: IO[bytes]) -> None:
        self._source, self._target = source, target
        self._sending = threading.Lock()

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            OSError: if the other process has ended.
        """
        # Pickled before anything is written, because half a message would stop the other process.
        content = pickle.dumps(message)
        with self._sending:
            self._target.write(content)
            self._target.flush()

    def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            EOFError: if the other process has ended.
        """
        try:
            # Trusted, because this process started the other one or was started by it.
            message: Message = pickle.load(self._source)
        except pickle.UnpicklingError as error:  # the other process was killed while it wrote
            raise EOFError(str(error)) from error
        return message


def with_causes(error: BaseException | None) -> list[BaseException]:
    """An error and its causes; one that cannot be pickled is replaced by its text."""
    errors: list[BaseException] = []
    while error is not None:
        try:
            pickle.loads(pickle.dumps(error))
            errors.append(error)
        except Exception:
            errors.append(RuntimeError(f"{type(error).__name__}: {error}"))
        error = error.__cause__
    return errors


def joined(errors: Errors) -> BaseException:
    """Chain errors, each caused by the next one, and return the first."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]
