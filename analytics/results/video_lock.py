"""The lock of a video: held while its analyses or notes change, or are deleted."""

import contextlib
import threading
from collections.abc import Iterator

from analytics.errors import StoreError
from analytics.results.storage_paths import StoragePath, is_remote
from fer_models.file_lock import hold_lock

FOLDER = ".locks"  # hidden, so that nothing takes it for a table
WAIT_S = 120.0  # building the timeline of a video of some hours takes about a minute

# Object stores have no locks: there, only the threads of this process wait for one another.
_remote_locks: dict[tuple[str, str], threading.RLock] = {}


@contextlib.contextmanager
def hold_video(root: StoragePath, video_id: str) -> Iterator[None]:
    """Keep other threads and processes from changing or deleting analyses and notes of a video.

    The thread that holds a video may hold it again.

    Raises:
        StoreError: if another process holds the video for `WAIT_S`, or the results cannot be written.
    """
    with contextlib.ExitStack() as held:
        if is_remote(root):
            held.enter_context(_remote_locks.setdefault((str(root), video_id), threading.RLock()))
        else:
            try:
                held.enter_context(hold_lock(root / FOLDER / f"{video_id}.lock", wait_s=WAIT_S))
            except TimeoutError as error:
                raise StoreError(f"{root}: another process is changing video {video_id}: try again later") from error
            except OSError as error:
                raise StoreError(f"{root}: cannot be written to ({error.strerror or error})") from error
        yield
