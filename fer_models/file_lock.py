"""A lock between threads and processes, which ends with the process that holds it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def hold_lock(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock that `path` names; the thread that holds it may hold it again.

    The file exists only while the lock is held.

    Args:
        path: the file of the lock.
        wait_s: how long to wait for another holder.

    Raises:
        TimeoutError: if another thread or process still holds the lock.
        OSError: if the file cannot be created.
    """
    from filelock import FileLock  # imported here because that takes 40 ms

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=wait_s, is_singleton=True)
    lock.acquire()
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            path.unlink(missing_ok=True)  # whoever waits for the deleted file notices, and creates it again
        lock.release()
