"""Access files on disk and in object stores (`s3://bucket/results`) through one interface.

`resolve_path` turns what a user typed into a `StoragePath`: a `pathlib.Path`, or a `UPath` of universal_pathlib, which
has the same methods. `is_remote` distinguishes the two, also for the type checker.

An object store has no folders to create, no renaming and no partially written files: an object appears whole or not at
all. Requests are slow, so the docstrings state how many each function makes.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union, overload

from fer_models.errors import FervidError
from fer_models.extras import install_command, pip_install
from fer_models.files import other_kind

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from typing_extensions import TypeIs
    from upath import UPath

StoragePath: TypeAlias = Union[Path, "UPath"]

_EXTRAS = {"s3": "s3", "s3a": "s3"}  # maps URL schemes to the extra that has to be installed


class StorageError(FervidError):
    """A URL cannot be used: its client is not installed, or the object store cannot be reached."""


@dataclass(frozen=True)
class FileInfo:
    """The size and version of a file in a listing."""

    size_bytes: int
    stamp: str  # version of the file: a text that changes whenever the file is written
    modified_s: float = 0.0  # time of the last change, since 1970


def resolve_path(given: str | StoragePath) -> StoragePath:
    """Turn a path or URL given by the user into a local path or a `UPath`.

    Raises:
        StorageError: if the package for this kind of URL is not installed, or the scheme is unknown.
    """
    if not isinstance(given, str) and is_remote(given):
        return given
    if "://" not in (text := str(given)):
        return Path(text)
    try:
        from upath import UPath  # imported here because that takes 0.25 s and most results are on disk

        path = UPath(text, use_listings_cache=False)  # other processes write to the store as well
        path.fs  # noqa: B018 (imports the client)
    except ImportError as error:
        extra = _EXTRAS.get(text.split("://")[0])
        command = install_command(extra) if extra else pip_install(getattr(error, "name", None) or str(error))
        raise StorageError(f"{text}: reading such addresses needs further packages. Run: {command}") from error
    except ValueError as error:
        raise StorageError(f"{text}: not an address that can be read: {error}") from error
    return Path(path.path) if path.protocol in ("file", "local") else path


@overload
def absolute(path: Path) -> Path: ...
@overload
def absolute(path: StoragePath) -> StoragePath: ...
def absolute(path: StoragePath) -> StoragePath:
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


def is_remote(path: StoragePath) -> "TypeIs[UPath]":
    """Whether the path is in an object store."""
    return not isinstance(path, Path)


def is_file(path: StoragePath) -> bool:
    """Whether there is a file; False also if its folder may not be read, where `Path.is_file` raises an error."""
    try:
        return path.is_file()
    except OSError:
        return False


def path_below(root: StoragePath, path: StoragePath) -> str:
    """The path relative to a folder that contains it, with `/` as separator.

    >>> path_below(Path("results"), Path("results/faces/a.parquet"))
    'faces/a.parquet'
    """
    if not is_remote(path) and not is_remote(root):
        return path.relative_to(root).as_posix()
    return path.as_posix().removeprefix(root.as_posix()).lstrip("/")


def arrow_name(path: StoragePath) -> str:
    """The name of a file in the file system of `arrow_files`."""
    return path.path if is_remote(path) else str(path)


def filesystem_of(path: "UPath") -> tuple["AbstractFileSystem", str]:
    """The fsspec file system of a remote path, and the path within it."""
    return path.fs, path.path


@contextlib.contextmanager
def translate_client_errors(path: StoragePath) -> Iterator[None]:
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


def read_bytes(path: StoragePath) -> bytes:
    """Read a whole file, in one request.

    Raises:
        OSError: if it cannot be read.
    """
    if not is_remote(path):
        check_readable(path)
        return path.read_bytes()
    fs, name = filesystem_of(path)
    with translate_client_errors(path):
        content: bytes = fs.cat_file(name, start=0)  # start=0, because without it s3fs first requests the size
    return content


def check_readable(path: Path) -> None:
    """Check that a path is a regular file, because reading a pipe would wait for a writer.

    Raises:
        OSError: if it is not, or there is nothing at this path.
    """
    if kind := other_kind(path):
        raise OSError(f"{path}: is {kind}, not a regular file")


def read_json(path: StoragePath) -> Any:
    """Read a JSON file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(read_bytes(path))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def list_files(folder: StoragePath) -> dict[str, FileInfo]:
    """All regular files below a folder, by relative path, except hidden ones and those in hidden or linked folders.

    Object stores: one request for each 1,000 files. Empty if the folder does not exist.
    """
    if is_remote(folder):
        fs, root = filesystem_of(folder)
        with translate_client_errors(folder):
            found = fs.find(root, detail=True)
        below = {name[len(root.rstrip("/")) + 1 :]: info for name, info in found.items()}
        visible = {name: info for name, info in below.items() if name and not any(map(_is_hidden, name.split("/")))}
        return {name: FileInfo(info["size"] or 0, version(info), _modified_s(info)) for name, info in visible.items()}
    return dict(_walk(folder, ""))


def _walk(folder: Path | str, above: str) -> Iterator[tuple[str, FileInfo]]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            # Links are not followed, because a link to a folder may lead into a loop.
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{above}{entry.name}/")
            elif entry.is_file():
                with contextlib.suppress(FileNotFoundError):  # a file may be deleted after it was listed
                    stat = entry.stat()
                    stamp = f"{stat.st_mtime_ns}-{stat.st_size}-{stat.st_ino}"
                    yield above + entry.name, FileInfo(stat.st_size, stamp, stat.st_mtime)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def version(info: Mapping[str, object]) -> str:
    """The version of an object: its ETag, else its time and size."""
    tag = info.get("ETag") or info.get("etag")
    return str(tag).strip('"') if tag else f"{_modified(info)}-{info['size']}"


def _modified(info: Mapping[str, object]) -> object:
    """When an object was written, as its store says."""
    return info.get("LastModified") or info.get("mtime") or info.get("created")


def _modified_s(info: Mapping[str, object]) -> float:
    """When an object was written, in seconds since 1970; 0 if its store does not say so."""
    when = _modified(info)
    return when.timestamp() if isinstance(when, datetime) else float(when) if isinstance(when, int | float) else 0.0


def file_version(path: StoragePath) -> str:
    """Identify the version of a file without reading it: by the object store's version, or size, times and inode.

    Raises:
        OSError: if there is no such file, or it may not be read.
        StorageError: if the address cannot be reached.
    """
    if not is_remote(path):
        stat = path.stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}"
    fs, name = filesystem_of(path)
    with translate_client_errors(path):
        return version(fs.info(name))


def is_unmodified(path: StoragePath, version: str) -> bool:
    """Whether a local file has the size and time of a `file_version`; a copy may have them, too."""
    stat = path.stat()
    return version.startswith(f"{stat.st_size}-{stat.st_mtime_ns}-")


def upload(local: Path, target: "UPath") -> None:
    """Upload a local file as one object, which appears atomically.

    Raises:
        OSError: if it cannot be written.
    """
    fs, name = filesystem_of(target)
    with translate_client_errors(target):
        fs.put_file(str(local), name)


def remove(paths: Iterable[StoragePath]) -> None:
    """Delete files; missing ones are ignored. Object stores: one request for each 1,000 files."""
    remote = []
    for path in paths:
        if is_remote(path):
            remote.append(path)
        else:
            path.unlink(missing_ok=True)
    if remote:
        with translate_client_errors(remote[0]), contextlib.suppress(FileNotFoundError):
            remote[0].fs.rm([path.path for path in remote])
