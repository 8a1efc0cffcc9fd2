"""How a run says how far it is, and how it is told to stop; within one process."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Stopped(Exception):
    """The user asked to stop; what is finished is kept."""


@dataclass(frozen=True)
class VideoProgress:
    """How far one video is."""

    path: Path
    done_frames: int
    total_frames: int


@dataclass(frozen=True)
class VideoEnded:
    """One video needs no more work in this run."""

    path: Path
    status: str  # "done", "unchanged" or "failed"
    error: str = ""


Event = VideoProgress | VideoEnded


class Progress:
    """Passes events of a run to those who listen; safe to use from several threads."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event], None]] = []
        self.stop_requested = threading.Event()

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event from now on, in the thread in which it happens."""
        self._listeners.append(listener)

    def report(self, event: Event) -> None:
        """Pass an event on."""
        for listener in self._listeners:
            listener(event)

    def check(self) -> None:
        """Raise `Stopped` if a stop was asked for."""
        if self.stop_requested.is_set():
            raise Stopped


progress = Progress()  # one a process: tasks are started by Prefect and can be handed paths and settings only


def current_progress() -> Progress:
    """The progress of this process, for tasks: they travel to other processes with what they name, and it cannot."""
    return progress
