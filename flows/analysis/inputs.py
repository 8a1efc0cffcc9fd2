"""Find the videos and images that a run analyzes, named one by one or in folders, and the files that it skips."""

import contextlib
import mimetypes
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from analytics.results.results_folder import MARKER_NAME
from analytics.results.storage_paths import (
    StoragePath,
    absolute,
    filesystem_of,
    is_remote,
    list_files,
    path_below,
    resolve_path,
    translate_client_errors,
)
from analytics.text import counted
from fer_models.errors import FervidError
from fer_models.files import other_kind
from fer_models.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

PART_BYTES = 8 << 20  # bytes of an object that are fetched at a time
NAMED_PER_REASON = 5  # for each reason, this many skipped files are listed by name
NAMED_OTHERS = 3  # likewise of files that are neither videos nor images

UNKNOWN_SUFFIX = "media with an unknown suffix: name the file itself, or rename it"
HIDDEN = "hidden"
LINKED = "a link to a folder: name it as an input"
UNREADABLE = "a folder that cannot be read"
IN_RESULTS = "in a results folder"


class InputError(FervidError):
    """The inputs contain nothing to analyze."""


@dataclass(frozen=True)
class SkippedFile:
    """A media file or a folder that a run does not analyze, and why."""

    path: StoragePath
    reason: str

    def as_json(self) -> dict[str, str]:
        """The file as plain values."""
        return {"path": str(self.path), "reason": self.reason}


@dataclass(frozen=True)
class FoundFiles:
    """The files that a run over some files and folders analyzes, and those that it skips."""

    videos: list[StoragePath]  # videos and images to analyze
    skipped: list[SkippedFile]
    other_files: list[StoragePath]  # files in the folders that are neither videos nor images
    empty: list[SkippedFile] = field(default_factory=list)  # inputs without media, which are among the videos, too

    def skipped_json(self) -> list[dict[str, str]]:
        """The skipped files as plain values."""
        return [file.as_json() for file in self.skipped]

    def skipped_lines(self) -> list[str]:
        """The skipped files for the user: a line per reason with the first names, and one for the others."""
        lines = []
        for reason in dict.fromkeys(file.reason for file in self.skipped):
            paths = [file.path for file in self.skipped if file.reason == reason]
            lines.append(f"{counted(len(paths), 'file')} skipped ({reason}): {_first(paths, NAMED_PER_REASON)}")
        if self.other_files:
            files = counted(len(self.other_files), "other file")
            lines.append(f"{files} skipped (neither video nor image): {_first(self.other_files, NAMED_OTHERS)}")
        return lines


def _first(paths: Sequence[StoragePath], n: int) -> str:
    """The first `n` paths, and the number of the others.

    >>> _first([Path("a"), Path("b"), Path("c")], 2)
    'a, b and 1 more'
    """
    more = f" and {len(paths) - n} more" if len(paths) > n else ""
    return ", ".join(map(str, paths[:n])) + more


def find_files(inputs: Sequence[str | StoragePath], *, recursive: bool = True, pattern: str = "*") -> FoundFiles:
    """Find the videos and images that `inputs` name, each once, those of a folder in the order of their names.

    Different spellings of a path count once. A named file is accepted with any suffix; in a folder, only
    regular files with a suffix of a video or an image that match `pattern` are, and none that is hidden or in a results
    folder, such as previews. An input without media files is kept, so that a run that analyzes the others reports it
    as failed.

    Raises:
        InputError: if none of the inputs holds anything to analyze.
        StorageError: if an address cannot be reached.
    """
    videos: dict[StoragePath, StoragePath] = {}  # absolute path -> path as the user wrote it
    skipped: dict[StoragePath, SkippedFile] = {}
    named: set[StoragePath] = set()
    empty: list[SkippedFile] = []
    others: dict[StoragePath, StoragePath] = {}
    for path in map(resolve_path, inputs):
        found = FoundFiles([path], [], [])
        with translate_client_errors(path):
            if path.is_dir():
                found = _files_in(path, recursive, pattern)
                if not found.videos:
                    empty.append(SkippedFile(path, _why_empty(path, recursive, pattern, found)))
            elif not path.exists():
                empty.append(SkippedFile(path, "no such file or folder: check its name"))
        for video in found.videos or [path]:
            videos.setdefault(absolute(video), video)
        for file in found.skipped:
            skipped.setdefault(absolute(file.path), file)
        for other in found.other_files:
            others.setdefault(absolute(other), other)
        named.add(absolute(path))
    if len(empty) == len(inputs):
        reasons = "; ".join(f"{file.path}: {file.reason}" for file in empty)
        raise InputError(reasons or "nothing to analyze: name a video, an image or a folder")
    asked = videos.keys() | named
    return FoundFiles(
        list(videos.values()),
        [file for at, file in skipped.items() if at not in asked],
        [path for at, path in others.items() if at not in asked],
        empty,
    )


def videos_in(folder: StoragePath, recursive: bool, pattern: str) -> list[StoragePath]:
    """The videos and images of a folder, in the order of their names."""
    return _files_in(folder, recursive, pattern).videos


def is_wanted(path: StoragePath, folder: StoragePath, pattern: str) -> bool:
    """Whether a run over `folder` analyzes this file in it."""
    inside = (above for above in path.parents if above == folder or folder in above.parents)
    results = {above for above in inside if (above / MARKER_NAME).exists()}
    return fnmatch(path.name, pattern) and _skip_reason(path, folder, results) is None


def _files_in(folder: StoragePath, recursive: bool, pattern: str) -> FoundFiles:
    if is_remote(folder):  # one request lists all files of the folder
        names = sorted(list_files(folder))
        paths: list[StoragePath] = [folder / name for name in names if recursive or "/" not in name]
        not_searched: list[SkippedFile] = []
    else:
        paths, not_searched = _walk(folder, recursive)
    results = {path.parent for path in paths if path.name == MARKER_NAME}
    found = FoundFiles([], [], [])
    for skipped in not_searched:
        of_results = not results.isdisjoint(skipped.path.parents)
        if skipped.path == folder or not (of_results or _is_hidden(skipped.path, folder)):
            found.skipped.append(skipped)
    for path in paths:
        if not fnmatch(path.name, pattern):
            continue
        reason = _skip_reason(path, folder, results)
        if reason is None:
            found.videos.append(path)
        elif reason:
            found.skipped.append(SkippedFile(path, reason))
        else:
            found.other_files.append(path)
    return found


def _walk(folder: Path, recursive: bool) -> tuple[list[StoragePath], list[SkippedFile]]:
    """The files of a folder on disk, and the folders in it that are not searched: links, and unreadable ones."""
    paths: list[StoragePath] = []
    skipped: list[SkippedFile] = []

    def skip(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder may be deleted after it was listed
            skipped.append(SkippedFile(Path(error.filename), f"{UNREADABLE}: {error.strerror}"))

    for name, folders, files in os.walk(folder, onerror=skip):
        above = Path(name)
        paths += [above / file for file in files]
        if recursive:
            skipped += [SkippedFile(above / link, LINKED) for link in folders if (above / link).is_symlink()]
        else:
            folders.clear()
    return sorted(paths), sorted(skipped, key=lambda file: file.path)


def _skip_reason(path: StoragePath, folder: StoragePath, results: Set[StoragePath]) -> str | None:
    """The reason why a run over `folder` skips this file; None if it does not, empty for files that are no media."""
    has_suffix = path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES
    if not results.isdisjoint(path.parents):
        return IN_RESULTS if has_suffix else ""
    if _is_hidden(path, folder):
        return HIDDEN if has_suffix else ""
    if is_remote(path):
        kind = mimetypes.guess_type(path.name)[0] or ""
        return None if has_suffix else UNKNOWN_SUFFIX if kind.startswith(("video/", "image/")) else ""
    try:
        if kind := other_kind(path):
            return f"{kind}, not a regular file" if has_suffix else ""
        if has_suffix:
            return None
        from fer_models.video.signatures import HEAD_BYTES, is_media  # imported here because it loads PyAV

        with path.open("rb") as file:
            return UNKNOWN_SUFFIX if is_media(file.read(HEAD_BYTES)) else ""
    except OSError:  # a run that has to read the file reports the error
        return None if has_suffix else ""


def _is_hidden(path: StoragePath, folder: StoragePath) -> bool:
    return any(part.startswith(".") for part in path_below(folder, path).split("/"))


def _why_empty(folder: StoragePath, recursive: bool, pattern: str, found: FoundFiles) -> str:
    """Why there is nothing to analyze in a folder."""
    if unreadable := [file.reason for file in found.skipped if file.path == folder]:
        return unreadable[0]
    reason = "no video or image in this folder"
    if pattern != "*":
        reason += f" matches --pattern {pattern}"
    elif not recursive and any(path.is_dir() for path in folder.iterdir()):
        return f"{reason}; --recursive also searches its folders"
    if found.skipped:
        return f"{reason}: {'; '.join(found.skipped_lines())}"
    searched = f" (looked for {', '.join(sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES))})" if pattern == "*" else ""
    return reason + searched


@contextlib.contextmanager
def local_copy(path: StoragePath) -> Iterator[Path]:
    """Provide a video as a file on disk: the file itself, or a copy of the object that is deleted afterwards.

    It is read three times (to hash, to list and to decode its frames), by libraries that need a file.

    Raises:
        OSError: if the object cannot be read, changes while it is, or the disk is full.
        StorageError: if the address cannot be reached.
    """
    if not is_remote(path):
        yield path
        return
    fs, name = filesystem_of(path)
    with tempfile.TemporaryDirectory(prefix="fervid-") as folder:  # only this user can read the temporary folder
        copy = Path(folder) / path.name
        # The object is fetched part by part, each on the condition that it has not changed.
        with (
            translate_client_errors(path),
            fs.open(name, "rb", block_size=PART_BYTES) as source,
            copy.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, PART_BYTES)
        yield copy
