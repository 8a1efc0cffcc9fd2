"""Access files on disk and in object stores (`s3://bucket/results`) through one interface.

A remote path is a `UPath` of universal_pathlib, which has the methods of `pathlib.Path`. An object store has no folders
to create, no renaming and no partially written files: an object appears whole or not at all. Requests are slow, so the
docstrings state how many each function makes.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_models.errors import FervidError
from fer_models.extras import install_command

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_EXTRAS = {"s3": "s3", "s3a": "s3"}  # the extra to install for each URL scheme


class StorageError(FervidError):
    """A URL cannot be used: its client is not installed, or the object store cannot be reached."""


@dataclass(frozen=True)
class FileInfo:
    """The size and version of a file in a listing."""

    size_bytes: int
    stamp: str  # changes whenever the file is written


def resolve_path(given: str | Path) -> Path:
    """Turn a path or URL given by the user into a local path or a `UPath`.

    Raises:
        StorageError: if the package for this kind of URL is not installed, or the scheme is unknown.
    """
    text = str(given)
    if "://" not in text:
        return Path(given)
    try:
        from upath import UPath  # importing takes 0.25 s, and most results are on disk

        path: Any = UPath(text, use_listings_cache=False)  # other processes write, too
        path.fs  # noqa: B018 (imports the client)
    except ImportError as error:
        extra = _EXTRAS.get(text.split("://")[0])
        command = install_command(extra) if extra else f"pip install '{getattr(error, 'name', None) or error}'"
        raise StorageError(f"{text}: reading such addresses needs further packages. Run: {command}") from error
    except ValueError as error:
        raise StorageError(f"{text}: not an address that can be read: {error}") from error
    return Path(path.path) if path.protocol in ("file", "local") else path


def absolute(path: Path) -> Path:
    """Make a path absolute and remove `.` and `..`; symbolic links are resolved only before a `..`.

    >>> absolute(Path("/clips/./new/../a.mp4"))
    PosixPath('/clips/a.mp4')
    """
    if is_remote(path):
        return path
    path = path.absolute()
    plain = Path(path.anchor)
    for part in path.parts[1:]:
        # The parent of a symbolic link is the parent of its target.
        plain = (plain.resolve() if plain.is_symlink() else plain).parent if part == ".." else plain / part
    return plain


def is_remote(path: Path) -> bool:
    """Whether the path is in an object store."""
    return not isinstance(path, Path)


def filesystem_of(path: Path) -> tuple["AbstractFileSystem", str]:
    """The fsspec file system of a remote path, and the path within it."""
    remote: Any = path
    return remote.fs, remote.path


@contextlib.contextmanager
def translate_client_errors(path: Path) -> Iterator[None]:
    """Translate errors of the object store's client into a `StorageError` of one line.

    Raises:
        StorageError: if the object store cannot be reached, for example without credentials or network.
    """
    try:
        yield
    except _client_errors() as error:
        raise StorageError(f"{path}: cannot be reached: {error}: check credentials, endpoint and network") from error


def _client_errors() -> tuple[type[Exception], ...]:
    """The exceptions of the S3 client other than OSError; empty if it is not loaded."""
    client = sys.modules.get("botocore.exceptions")
    return () if client is None else (client.BotoCoreError,)


def read_bytes(path: Path) -> bytes:
    """Read a whole file, in one request.

    Raises:
        OSError: if it cannot be read.
    """
    if not is_remote(path):
        return path.read_bytes()
    fs, name = filesystem_of(path)
    with translate_client_errors(path):
        content: bytes = fs.cat_file(name, start=0)  # without start, s3fs requests the size first
    return content


def list_files(folder: Path) -> dict[str, FileInfo]:
    """All files below a folder, by relative path, except hidden ones and those in hidden folders.

    Object stores: one request for each 1,000 files. Empty if the folder does not exist.
    """
    if is_remote(folder):
        fs, root = filesystem_of(folder)
        with translate_client_errors(folder):
            found = fs.find(root, detail=True)
        below = {name[len(root.rstrip("/")) + 1 :]: info for name, info in found.items()}
        visible = {name: info for name, info in below.items() if name and not any(map(_is_hidden, name.split("/")))}
        return {name: FileInfo(info["size"] or 0, version(info)) for name, info in visible.items()}
    return dict(_walk(folder, ""))


def _walk(folder: Path | str, above: str) -> Iterator[tuple[str, FileInfo]]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, f"{above}{entry.name}/")
            else:
                stat = entry.stat()
                yield above + entry.name, FileInfo(stat.st_size, f"{stat.st_mtime_ns}-{stat.st_size}-{stat.st_ino}")


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def version(info: dict[str, Any]) -> str:
    """The version of an object: its ETag, else its time and size."""
    tag = info.get("ETag") or info.get("etag")
    when = info.get("LastModified") or info.get("mtime") or info.get("created")
    return str(tag).strip('"') if tag else f"{when}-{info['size']}"


def upload(local: Path, target: Path) -> None:
    """Upload a local file as one object, which appears atomically.

    Raises:
        OSError: if it cannot be written.
    """
    fs, name = filesystem_of(target)
    with translate_client_errors(target):
        fs.put_file(str(local), name)


def remove(paths: Iterable[Path]) -> None:
    """Delete files; missing ones are ignored. Object stores: one request for each 1,000 files."""
    paths = list(paths)
    if paths and is_remote(paths[0]):
        fs, _ = filesystem_of(paths[0])
        with translate_client_errors(paths[0]), contextlib.suppress(FileNotFoundError):
            fs.rm([filesystem_of(path)[1] for path in paths])
    else:
        for path in paths:
            path.unlink(missing_ok=True)
