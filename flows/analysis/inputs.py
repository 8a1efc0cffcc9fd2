"""Which files a run is about: videos and pictures, named one by one or found in folders."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from analytics.results.storage_paths import (
    absolute,
    filesystem_of,
    is_remote,
    list_files,
    resolve_path,
    translate_client_errors,
    version,
)
from fer_models.errors import FervidError
from fer_models.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES

PART_BYTES = 8 << 20  # of a video, fetched at a time


class InputError(FervidError):
    """There is nothing to analyze where the user pointed."""


def find_videos(inputs: Sequence[str | Path], *, recursive: bool = True, pattern: str = "*") -> list[Path]:
    """The videos and pictures that `inputs` name, each once, those of a folder in the order of their names.

    However a path is spelt, it is the same file. A file named itself is taken whatever its suffix; in a folder, only
    files with a suffix of a video or a picture that fit `pattern` are. Hidden files and folders are left out. An input
    without anything to analyze stands for itself, so that it shows up among the failures of a run that goes on with the
    others.

    Raises:
        InputError: if none of the inputs holds anything to analyze.
        StorageError: if an address cannot be reached.
    """
    found: dict[Path, Path] = {}  # by absolute path: as it was given
    empty: list[str] = []
    for path in map(resolve_path, inputs):
        with translate_client_errors(path):
            videos = videos_in(path, recursive, pattern) if path.is_dir() else [path]
            if path.is_dir() and not videos:
                empty.append(f"{path}: no video or picture in this folder{_hint(path, recursive, pattern)}")
            elif not path.is_dir() and not path.exists():
                empty.append(f"{path}: no such file or folder: check its name")
        for video in videos or [path]:
            found.setdefault(absolute(video), video)
    if len(empty) == len(inputs):
        raise InputError("; ".join(empty) or "nothing to analyze: name a video, a picture or a folder")
    return list(found.values())


def videos_in(folder: Path, recursive: bool, pattern: str) -> list[Path]:
    """The videos and pictures of a folder, in the order of their names."""
    if is_remote(folder):  # its files, in one listing
        names = [name for name in sorted(list_files(folder)) if recursive or "/" not in name]
        return [path for name in names if is_wanted(path := folder / name, folder, pattern)]
    return [path for path in sorted(folder.glob("**/*" if recursive else "*")) if is_wanted(path, folder, pattern)]


def is_wanted(path: Path, folder: Path, pattern: str) -> bool:
    """Whether a run over `folder` takes this file in it."""
    visible = not any(part.startswith(".") for part in path.relative_to(folder).parts)
    has_suffix = path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES
    return visible and has_suffix and fnmatch(path.name, pattern) and (is_remote(path) or not path.is_dir())


def _hint(folder: Path, recursive: bool, pattern: str) -> str:
    if pattern != "*":
        return f" fits --pattern {pattern}"
    if not recursive and any(path.is_dir() for path in folder.iterdir()):
        return "; --recursive also looks in its folders"
    return f" (looked for {', '.join(sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES))})"


def object_version(path: Path) -> str | None:
    """What the object store calls this version of a video; None for a file on disk.

    Raises:
        OSError: if there is no such object, or it may not be read.
        StorageError: if the address cannot be reached.
    """
    if not is_remote(path):
        return None
    fs, name = filesystem_of(path)
    with translate_client_errors(path):
        return version(fs.info(name))


@contextlib.contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """A video as a file on disk: itself, or a copy of the object that is deleted in the end, whatever happens.

    It is read three times (to hash, to list and to decode its frames), by libraries that want a file.

    Raises:
        OSError: if the object cannot be read, changes while it is, or the disk is full.
        StorageError: if the address cannot be reached.
    """
    if not is_remote(path):
        yield path
        return
    fs, name = filesystem_of(path)
    with tempfile.TemporaryDirectory(prefix="fervid-") as folder:  # nobody else may look into it
        copy = Path(folder) / path.name
        # A part at a time, each on the condition that the object has not changed.
        with (
            translate_client_errors(path),
            fs.open(name, "rb", block_size=PART_BYTES) as source,
            copy.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, PART_BYTES)
        yield copy
