"""Progress events of a run, and the request to stop it, within one process."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from analytics.results.storage_paths import StoragePath


class Stopped(Exception):
    """The user asked to stop; finished work is kept."""


@dataclass(frozen=True)
class VideoProgress:
    """Progress of one video."""

    path: StoragePath
    done_frames: int
    total_frames: int


@dataclass(frozen=True)
class VideoEnded:
    """A video needs no more work in this run."""

    path: StoragePath
    status: str  # status of the video: "done", "unchanged" or "failed"
    error: str = ""


Event = VideoProgress | VideoEnded


class Progress:
    """Passes events of a run to listeners; safe to use from several threads."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event], None]] = []
        self.stop_requested = threading.Event()

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event from now on, in the thread that reports it."""
        self._listeners.append(listener)

    def report(self, event: Event) -> None:
        """Pass an event to all listeners."""
        for listener in self._listeners:
            listener(event)

    def request_stop(self) -> None:
        """Ask all analyses to stop."""
        self.stop_requested.set()

    def withdraw_stop(self) -> None:
        """Allow new analyses after a stop."""
        self.stop_requested.clear()

    def check(self) -> None:
        """Raise `Stopped` if a stop was requested."""
        if self.stop_requested.is_set():
            raise Stopped


progress = Progress()  # progress of the command that this process runs; an interrupt requests a stop through it
