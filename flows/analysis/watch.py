"""New files in watched folders, each once it has stopped changing. Independent of Prefect."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path

import watchfiles

from analytics.results.storage_paths import StoragePath, absolute
from flows.analysis.inputs import InputError, is_wanted, videos_in

TICK_MS = 500  # milliseconds between checks of files that may still change
# An empty file is yielded after this many seconds, so that it is reported; before, it is a copy that has just begun.
EMPTY_S = 60.0
# Maximum number of files per run: Prefect accepts half a megabyte of parameters, and a path rarely exceeds 500 bytes.
BATCH_FILES = 500
Stamp = tuple[int, int]  # size and modification time of a file, which change while it is being copied


def stable_file_batches(
    folders: Sequence[Path],
    *,
    recursive: bool,
    pattern: str,
    settle_s: float,
    stop: threading.Event,
    force_polling: bool | None = None,
) -> Iterator[list[StoragePath]]:
    """Yield lists of videos and images in `folders`: existing files, then new, changed and renamed ones as they arrive.

    A file is yielded once its size and modification time have not changed for `settle_s`, an empty one for `EMPTY_S`.
    Not every system reports whether another program still has it open: a copy that pauses for longer is yielded
    incomplete, and again once it grows. A file or folder that was removed is yielded again when it is back.

    Args:
        folders: the watched folders.
        recursive: search folders recursively.
        pattern: only files whose name matches.
        settle_s: how long a file must not have changed.
        stop: ends the iteration once it is set.
        force_polling: poll all files, for network drives that report no changes.

    Raises:
        InputError: if one of `folders` is not a folder.
    """
    if not_folders := [str(folder) for folder in folders if not folder.is_dir()]:
        raise InputError(f"{', '.join(not_folders)}: not a folder: only folders can be watched")
    folders = [absolute(folder) for folder in folders]
    waiting = _Waiting(settle_s)
    for changed, removed in _changes(folders, recursive=recursive, stop=stop, force_polling=force_polling):
        waiting.forget(removed)
        for folder in folders:
            for path in changed:
                if path == folder or folder in path.parents:
                    waiting.add(_files_at(path, folder, recursive, pattern))
        settled = waiting.settled()
        for start in range(0, len(settled), BATCH_FILES):
            yield settled[start : start + BATCH_FILES]


def _changes(
    folders: Sequence[Path], *, recursive: bool, stop: threading.Event, force_polling: bool | None
) -> Iterator[tuple[Set[Path], Set[Path]]]:
    """Yield the changed and the removed paths of each tick.

    The system no longer reports changes in a folder that was removed and created again, or on which a drive was mounted
    or unmounted. All folders are then watched again, and have changed.
    """
    while not stop.is_set():
        identities = {folder: _identity(folder) for folder in folders}
        ticks = watchfiles.watch(
            *(folder for folder, identity in identities.items() if identity is not None),
            watch_filter=None,
            stop_event=stop,
            rust_timeout=TICK_MS,
            yield_on_timeout=True,
            recursive=recursive,
            force_polling=force_polling,
        )
        changed = set(folders)  # existing files are listed after watching has started, so that no file is missed
        try:
            for reported in ticks:
                changed |= {Path(path) for _, path in reported}
                removed = {Path(path) for change, path in reported if change == watchfiles.Change.deleted}
                # A new folder may have the inode of the one that was removed, whose removal is reported.
                lost = {folder for folder in folders if folder in removed or _identity(folder) != identities[folder]}
                yield changed, removed | lost
                if lost:
                    break
                changed = set()
        except FileNotFoundError:  # a folder was removed before it could be watched
            stop.wait(TICK_MS / 1000)


def _identity(folder: Path) -> tuple[int, int] | None:
    """The device and inode of a folder; None if it is missing."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _files_at(path: Path, folder: Path, recursive: bool, pattern: str) -> list[StoragePath]:
    """Input files at `path` in `folder`; for a folder that was moved in, only the folder itself is reported."""
    is_folder = path == folder or (recursive and path.is_dir())
    found = videos_in(path, recursive, pattern) if is_folder else [path]
    return [file for file in found if is_wanted(file, folder, pattern)]


class _Waiting:
    """Files that may still change."""

    def __init__(self, settle_s: float) -> None:
        self.settle_s = settle_s
        # File -> size and modification time, and since when they have not changed.
        self._since_s: dict[StoragePath, tuple[Stamp, float]] = {}
        self._handed_out: dict[StoragePath, Stamp] = {}

    def add(self, files: Iterable[StoragePath]) -> None:
        """Add files to wait for."""
        for file in files:
            self._since_s.setdefault(file, ((-1, -1), 0.0))

    def forget(self, removed: Set[Path]) -> None:
        """Forget removed files and those in removed folders, so that they are yielded once they are back."""
        for file in [file for file in self._handed_out if not removed.isdisjoint((file, *file.parents))]:
            del self._handed_out[file]

    def settled(self) -> list[StoragePath]:
        """Remove and return the files that have not changed for long enough."""
        now_s = time.monotonic()
        settled = []
        for file, (stamp, since_s) in list(self._since_s.items()):
            found = _stamp(file)
            # The file was deleted, or only its permissions changed.
            if found is None or found == self._handed_out.get(file):
                del self._since_s[file]
            elif found != stamp:
                self._since_s[file] = found, now_s
            elif now_s - since_s >= (self.settle_s if found[0] else max(self.settle_s, EMPTY_S)):
                del self._since_s[file]
                self._handed_out[file] = found
                settled.append(file)
        return settled


def _stamp(file: StoragePath) -> Stamp | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
