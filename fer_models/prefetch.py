"""Prefetch items in a background thread; abandon the thread if it stalls.

A call into a decoder or an unresponsive disk cannot be interrupted without ending the process, and a process for each
video would add seconds of start-up to every one. A stalled thread is therefore left behind, with its open file, until
the process ends, while other videos continue.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

T = TypeVar("T")

STALLED_S = 120.0  # default number of seconds without progress after which reading is abandoned
_END = object()  # follows the last item
# A stall is this many checks in a row without progress; checks are counted because a suspended process makes none.
_CHECKS = 60


class StallTimeout(Exception):
    """Reading made no progress for too long."""


class _Progress:
    count = 0


_of_this_thread = threading.local()


def heartbeat() -> None:
    """Report progress of reading in this thread; called after each packet or block of bytes."""
    progress = getattr(_of_this_thread, "progress", None)
    if progress is not None:
        progress.count += 1


def prefetch(items: Iterator[T], timeout_s: float) -> Generator[T, None, None]:
    """Produce items in a background thread while the previous one is processed; at most one waits.

    Raises:
        StallTimeout: if neither an item nor a `heartbeat` arrives for `timeout_s`.
    """
    waiting: queue.Queue[Any] = queue.Queue(maxsize=1)  # items, and after them an error or `_END`
    stop = threading.Event()
    progress = _Progress()

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def read() -> None:
        _of_this_thread.progress = progress
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    break
            put(_END)
        except BaseException as error:  # raised again in the consuming thread
            put(error)
        finally:
            if hasattr(items, "close"):
                items.close()  # closes the file in the thread that opened it

    thread = threading.Thread(target=read, name="prefetch", daemon=True)
    thread.start()
    has_stalled = False
    try:
        while (item := _next(waiting, progress, timeout_s)) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    except StallTimeout:
        has_stalled = True
        raise
    finally:
        stop.set()
        if not has_stalled:
            thread.join(timeout_s)  # closing the file may stall too, so it is not waited for longer than this


def _next(waiting: queue.Queue[T], progress: _Progress, timeout_s: float) -> T:
    quiet, count = 0, progress.count
    while quiet < _CHECKS:
        try:
            return waiting.get(timeout=timeout_s / _CHECKS)
        except queue.Empty:
            quiet = quiet + 1 if progress.count == count else 0
            count = progress.count
    raise StallTimeout


def run_with_watchdog(work: Callable[[], T], timeout_s: float) -> T:
    """Run `work` in a background thread and return its result.

    Raises:
        StallTimeout: if for `timeout_s` it neither ends nor calls `heartbeat`.
    """
    with closing(prefetch((work() for _ in range(1)), timeout_s)) as results:
        return next(results)
