"""Reading in a thread of its own: ahead of the reader, and left behind when it comes to a stand.

A call into a decoder, or into a disk that does not answer, cannot be ended from outside without ending the process;
a process of its own for each video would cost every good one a start of seconds. So the thread stays where it is, with
the file it holds, until the process ends, and the others go on.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TypeVar

T = TypeVar("T")

STALLED_S = 120.0  # reading that gives no sign of life for so long is given up, unless a caller says otherwise
_LOOKS = 60  # in a row without a sign of life make a stand: counted, as a process that was asleep is not at a stand


class StallTimeout(Exception):
    """Reading gave no sign of life for too long."""


class _Pulse:
    beats = 0


_of_this_thread = threading.local()


def heartbeat() -> None:
    """Say that reading in this thread goes on: after each packet, each block of bytes."""
    pulse = getattr(_of_this_thread, "pulse", None)
    if pulse is not None:
        pulse.beats += 1


def prefetch(items: Iterator[T], timeout_s: float) -> Generator[T, None, None]:
    """The same items, made in another thread while the last one is being worked on; at most one waits.

    Raises:
        StallTimeout: if an item is waited for, and for `timeout_s` neither comes nor is there a `heartbeat`.
    """
    waiting: queue.Queue[T | BaseException | None] = queue.Queue(maxsize=1)
    stop = threading.Event()
    pulse = _Pulse()

    def put(item: T | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def read() -> None:
        _of_this_thread.pulse = pulse
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    break
            put(None)
        except BaseException as error:  # goes on in the thread that waits
            put(error)
        finally:
            if hasattr(items, "close"):
                items.close()  # closes the file, in the thread that opened it

    thread = threading.Thread(target=read, name="read ahead", daemon=True)
    thread.start()
    stands = False
    try:
        while (item := _next(waiting, pulse, timeout_s)) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    except StallTimeout:
        stands = True
        raise
    finally:
        stop.set()
        if not stands:
            thread.join(timeout_s)  # reading may have come to a stand meanwhile


def _next(waiting: queue.Queue[T], pulse: _Pulse, timeout_s: float) -> T:
    quiet, beats = 0, pulse.beats
    while quiet < _LOOKS:
        try:
            return waiting.get(timeout=timeout_s / _LOOKS)
        except queue.Empty:
            quiet = quiet + 1 if pulse.beats == beats else 0
            beats = pulse.beats
    raise StallTimeout


def run_with_watchdog(work: Callable[[], T], timeout_s: float) -> T:
    """What `work` gives, from a thread of its own.

    Raises:
        StallTimeout: if for `timeout_s` it neither ends nor gives a `heartbeat`.
    """
    with closing(prefetch((work() for _ in range(1)), timeout_s)) as results:
        return next(results)
