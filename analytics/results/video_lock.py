"""The lock of a video: held while its analyses or notes change, or are deleted."""

import contextlib
import errno
import threading
from collections.abc import Iterator

from analytics.errors import StoreError
from analytics.results.storage_paths import StoragePath, is_remote
from fer_models.file_lock import hold_lock

FOLDER = ".locks"  # hidden, so that nothing takes it for a table
WAIT_S = 120.0  # building the timeline of a video of some hours takes about a minute

# Object stores and some network drives have no locks: there, only the threads of this process wait for one another.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)
_thread_locks: dict[tuple[str, str], threading.RLock] = {}


@contextlib.contextmanager
def hold_video(root: StoragePath, video_id: str) -> Iterator[None]:
    """Keep other threads and processes from changing or deleting analyses and notes of a video.

    The thread that holds a video may hold it again.

    Raises:
        StoreError: if another process holds the video for `WAIT_S`, or the results cannot be written.
    """
    path = root / FOLDER / f"{video_id}.lock"
    with contextlib.ExitStack() as held:
        has_locks = not is_remote(path)
        if not is_remote(path):
            try:
                held.enter_context(hold_lock(path, wait_s=WAIT_S))
            except TimeoutError as error:
                raise StoreError(f"{root}: another process is changing video {video_id}: try again later") from error
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise StoreError(f"{root}: cannot be written to ({error.strerror or error})") from error
                path.unlink(missing_ok=True)
                has_locks = False
        if not has_locks:
            held.enter_context(_thread_locks.setdefault((str(root), video_id), threading.RLock()))
        yield
