"""Locks between threads and processes, which end with the process that holds them."""

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
        OSError: if the file cannot be created, or its disk has no locks.
    """
    from filelock import FileLock  # imported here because that takes 40 ms

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=wait_s, is_singleton=True)
    lock.acquire()
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            # Whoever waits for the deleted file notices, and creates it again. It stays if the disk became read-only.
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a thread or process, this one included, holds the lock that `path` names.

    The file of a lock that nobody holds is deleted: it was left by a process that was killed.

    Raises:
        OSError: if this cannot be found out, as the disk has no locks, or the file may not be opened.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(path, timeout=0, fallback_to_soft=False):
            path.unlink(missing_ok=True)
    except Timeout:
        return True
    return False
