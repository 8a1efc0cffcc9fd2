"""Which videos are being analyzed now, or recorded live.

Each run holds a lock of its own for the video, which ends with its process, so that several runs may analyze a video at
once. Where there are no locks, as in object stores and on some network disks, a run counts as ended if its newest
segment is older than `RECENT_S`.
"""

import contextlib
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from analytics.results.segments import newest_segment
from analytics.results.storage_paths import StoragePath, is_remote
from analytics.results.video_lock import FOLDER
from fer_models.file_lock import hold_lock, is_held

RECENT_S = 120.0
WAIT_S = 10.0  # a process that tests a lock holds it for less than a millisecond


@contextlib.contextmanager
def mark_in_progress(root: StoragePath, video_id: str) -> Iterator[None]:
    """Let other processes know that a video is being analyzed, until the block or this process ends."""
    if is_remote(root):
        yield
        return
    path = root / FOLDER / f"{video_id}.{secrets.token_hex(8)}.run"
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(hold_lock(path, wait_s=WAIT_S))
        except OSError:  # The disk has no locks, or is full or read-only, which the first segment reports.
            held.callback(_remove, path)
        yield


def videos_in_progress(root: StoragePath, sessions: Iterable[str] = ()) -> set[str]:
    """The ids of the videos that are being analyzed now, and of live sessions that are running.

    Args:
        root: the results folder.
        sessions: ids of live sessions that were running when their tables were last updated. In object stores, only
            these are found, because listing the segments of every video takes too many requests.
    """
    if is_remote(root):
        return {video_id for video_id in sessions if _is_recent(root, video_id)}
    return {path.name.split(".")[0] for path in (root / FOLDER).glob("*.run") if _is_in_progress(root, path)}


def _is_in_progress(root: Path, path: Path) -> bool:
    try:
        return is_held(path)
    except OSError:
        return _is_recent(root, path.name.split(".")[0])


def _is_recent(root: StoragePath, video_id: str) -> bool:
    """Whether a segment of a video has just been written."""
    return time.time() - newest_segment(root / "observations" / f"video_id={video_id}")[0] < RECENT_S


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
