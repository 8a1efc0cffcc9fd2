"""Write files of a results folder atomically, on disk and in object stores."""

import contextlib
import errno
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from analytics.errors import StoreError
from analytics.results.storage_paths import StoragePath, is_remote, upload


def write_atomic(path: StoragePath, write: Callable[[Path], object]) -> None:
    """Write a hidden temporary file, then rename it, so that readers see the complete file or none.

    For an object store, the file is written on disk first and then uploaded: objects appear whole or not at all.

    Raises:
        StoreError: if the disk is full, or the folder is not writable.
        StorageError: if the object store cannot be reached.
    """
    with prepared_file(path, write) as publish:
        publish()


@contextlib.contextmanager
def prepared_file(path: StoragePath, write: Callable[[Path], object]) -> Iterator[Callable[[], None]]:
    """Write a hidden temporary file; the function returned renames it. On exit, it is deleted if it was not renamed.

    Raises:
        StoreError, StorageError: as `write_atomic` does.
    """
    with _folder_for_part(path) as folder:
        part = folder / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part"

        def publish() -> None:
            with _clear_errors(path, folder):
                upload(part, path) if is_remote(path) else part.replace(path)

        try:
            with _clear_errors(path, folder):
                part.parent.mkdir(parents=True, exist_ok=True)
                write(part)
            yield publish
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


@contextlib.contextmanager
def _clear_errors(path: StoragePath, folder: Path) -> Iterator[None]:
    """Raise a `StoreError` that says what to do if the disk of `folder` is full, or `path` cannot be written to."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"{folder}: the disk is full: free some space and run again") from error
        refused = isinstance(error, PermissionError | NotADirectoryError | FileExistsError)
        no_bucket = is_remote(path) and isinstance(error, FileNotFoundError)
        if refused or no_bucket or error.errno == errno.EROFS:
            # The operating system's reason is shorter than Arrow's message.
            reason = os.strerror(error.errno) if error.errno else error
            raise StoreError(f"{path.parent}: cannot be written to ({reason}): give another folder") from error
        raise


@contextlib.contextmanager
def _folder_for_part(path: StoragePath) -> Iterator[Path]:
    """The folder for the temporary file: that of the file itself, or for an object, a temporary one."""
    if is_remote(path):
        with tempfile.TemporaryDirectory(prefix="fervid-") as folder:
            yield Path(folder)
    else:
        yield path.parent
