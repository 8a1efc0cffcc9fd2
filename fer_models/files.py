"""Check that a path is a regular file, because reading a device, a socket or a pipe might never end; print paths."""

import os
import stat
from pathlib import Path

from fer_models.errors import FervidError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


class NotRegularFileError(FervidError):
    """A path is not a regular file; the message says what it is."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(path, kind)
        self.path = path
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.path}: is {self.kind}: give a regular file"


def valid_text(path: object) -> str:
    r"""The text of a path as valid Unicode: bytes that are not UTF-8 become escapes.

    >>> valid_text(Path(os.fsdecode(b"caf\xe9.mp4")))
    'caf\\xe9.mp4'
    """
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")


def other_kind(path: Path) -> str:
    """Describe a path that is not a regular file, such as "a device"; empty for a regular file.

    Links are followed. Nothing is opened, as opening a pipe would wait for its writer.

    Raises:
        OSError: if there is nothing at this path, or permission is denied.
    """
    mode = path.stat().st_mode
    return "" if stat.S_ISREG(mode) else next((kind for is_kind, kind in _KINDS if is_kind(mode)), "no regular file")


def check_regular_file(path: Path) -> None:
    """Check that a path is a regular file or a link to one, without opening it.

    Raises:
        NotRegularFileError: if it is not.
        OSError: if there is nothing at this path, or permission is denied.
    """
    if kind := other_kind(path):
        raise NotRegularFileError(path, kind)
