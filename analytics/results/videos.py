"""Find videos of a results folder by id, path or name, and derive display and file names."""

import ntpath
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analytics.results.ids import content_id
from analytics.results.storage_paths import StoragePath, absolute, is_remote, resolve_path
from analytics.results.video_record import NamedVideo, VideoName, VideoRecord, video_names, video_records
from fer_models.errors import FervidError
from fer_models.files import valid_text

if TYPE_CHECKING:
    import duckdb

# Maximum length of the name of a file or folder in UTF-8: two of them and the suffixes of an export and of a temporary
# file fit into the 255 bytes that most file systems allow.
MAX_NAME_BYTES = 90
UNKNOWN_VIDEO_ADVICE = 'fervid query RESULTS "SELECT path, video_id FROM videos" lists them, "fervid analyze" adds it'
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # a drive or a share; elsewhere, names may contain backslashes
_ESCAPED_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")  # as `path_text` writes a byte that is not UTF-8
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f<>:"/\\|?*]')  # characters that some operating systems forbid in file names


class UnknownVideoError(FervidError):
    """No video matches, or several do."""


class AmbiguousVideoError(UnknownVideoError):
    """Several videos match."""


def path_text(path: StoragePath) -> str:
    """The absolute path or URL as valid Unicode text, even if the file name is not."""
    if is_remote(path):
        return str(path)
    return valid_text(absolute(path))


def stored_path(text: str) -> StoragePath:
    r"""The file or object at a path of the table `videos`: the inverse of `path_text`.

    A file whose name contains the characters `\xe9` is preferred to one with the byte.

    Raises:
        StorageError: if the package for this kind of address is not installed.
    """
    path = resolve_path(text)
    if is_remote(path) or os.path.lexists(path):
        return path
    unescaped = Path(os.fsdecode(_ESCAPED_BYTE.sub(lambda found: bytes([int(found[1], 16)]), os.fsencode(text))))
    return unescaped if os.path.lexists(unescaped) else path


def file_name(path: str) -> str:
    r"""The last part of a path in the table `videos`, with POSIX or Windows separators.

    >>> file_name("/clips/a.mp4"), file_name(r"C:\\clips\\a.mp4")
    ('a.mp4', 'a.mp4')
    """
    return _split(path)[1]


def folder_of(path: str) -> str:
    r"""The folder of a path in the table `videos`, with POSIX or Windows separators.

    >>> folder_of("/clips/a.mp4"), folder_of(r"C:\clips\a.mp4")
    ('/clips', 'C:\\clips')
    """
    return _split(path)[0]


def _split(path: str) -> tuple[str, str]:
    """The folder of a path in the table `videos`, and its last part."""
    return ntpath.split(path) if _WINDOWS_PATH.match(path) else posixpath.split(path)


def all_videos(connection: "duckdb.DuckDBPyConnection") -> list[VideoRecord]:
    """The rows of the view `videos`, by path."""
    return video_records(connection.sql("SELECT * FROM videos ORDER BY path, video_id").to_arrow_table())


def known_videos(connection: "duckdb.DuckDBPyConnection") -> list[VideoName]:
    """The videos of the results, also those that the connection does not show."""
    return video_names(connection.sql("SELECT * FROM known_videos").to_arrow_table())


def short_names(videos: Sequence[NamedVideo]) -> dict[str, str]:
    """A display name for each video: its file name; if several share it, with the folder in front or the id behind.

    >>> from analytics.results.video_record import VideoName
    >>> short_names([VideoName("v1", "/x/a.mp4"), VideoName("v2", "/y/a.mp4")])
    {'v1': 'x/a.mp4', 'v2': 'y/a.mp4'}
    >>> short_names([VideoName("v1", "/x/1/a.mp4"), VideoName("v2", "/y/1/a.mp4")])
    {'v1': 'a.mp4-v1', 'v2': 'a.mp4-v2'}
    """
    plain = {row.video_id: file_name(row.path) for row in videos}
    return _apart(plain, {row.video_id: f"{_folder(row)}/{plain[row.video_id]}".lstrip("/") for row in videos})


def choose_videos(videos: Sequence[NamedVideo], wanted: Iterable[str], *, by_content: bool = True) -> list[str]:
    """The unique ids of the videos given by id, path, name, or a file with the same content.

    Args:
        videos: those in the results; a video may be in it several times.
        wanted: the text that the user entered for each video.
        by_content: whether to read files with these paths. False for text from other machines, so that it names no
            file of this one; it may then be the end of a path, such as the Library shows.

    Raises:
        UnknownVideoError: if no video matches.
        AmbiguousVideoError: if several have the name or the end of the path.
    """
    return list(dict.fromkeys(found for text in wanted for found in _meant(videos, text, by_content)))


def _meant(videos: Sequence[NamedVideo], text: str, by_content: bool) -> list[str]:
    as_path = (text, path_text(Path(text)))
    exact = [row.video_id for row in videos if text == row.video_id or row.path in as_path]
    if exact:
        return exact
    named = [row for row in videos if text == file_name(row.path)]
    if len(paths := sorted({row.path for row in named})) > 1:
        raise AmbiguousVideoError(f"{text}: {len(paths)} videos have this name, give a path: {', '.join(paths)}")
    if named:
        return [row.video_id for row in named]
    of_content = content_id(Path(text)) if by_content else None
    if of_content is not None and any(row.video_id == of_content for row in videos):
        return [of_content]
    ending = [] if by_content else [row for row in videos if _ends_with(row.path, text)]
    if len(paths := sorted({row.path for row in ending})) > 1:
        raise AmbiguousVideoError(
            f"{text}: {len(paths)} videos have a path that ends so, give more of it: {', '.join(paths)}"
        )
    if ending:
        return [row.video_id for row in ending]
    tried = "neither by path, name or id nor by its content" if by_content else "by path, name or id"
    raise UnknownVideoError(f"{text}: no such video in the results, {tried}: {UNKNOWN_VIDEO_ADVICE}")


def _ends_with(path: str, end: str) -> bool:
    """Whether the last folders and the name of a path in the table `videos` are those of `end`."""
    if _WINDOWS_PATH.match(path):
        path, end = path.replace("\\", "/"), end.replace("\\", "/")
    return not end.startswith("/") and path.endswith(f"/{end}")


def names_apart(videos: Sequence[NamedVideo]) -> dict[str, str]:
    """A unique file stem for each video: its own; if several share it, with the folder in front or the id behind.

    Names are unique even on case-insensitive file systems.

    >>> from analytics.results.video_record import VideoName
    >>> names_apart([VideoName("v1", "/x/a.mp4"), VideoName("v2", "/y/a.mov")])
    {'v1': 'x-a', 'v2': 'y-a'}
    """
    plain = {row.video_id: _safe(posixpath.splitext(file_name(row.path))[0]) for row in videos}
    return _apart(plain, {row.video_id: f"{_safe(_folder(row))}-{plain[row.video_id]}" for row in videos})


def _folder(video: NamedVideo) -> str:
    return file_name(folder_of(video.path))


def _apart(plain: Mapping[str, str], longer: Mapping[str, str]) -> dict[str, str]:
    """A unique name for each id, ignoring case: the plain one, the longer one, or the plain one with the id."""
    taken = Counter(name.casefold() for name in (*plain.values(), *longer.values()))
    shared = Counter(name.casefold() for name in plain.values())
    names = {}
    for video, name in plain.items():
        if shared[name.casefold()] == 1:
            names[video] = name
        else:
            names[video] = longer[video] if taken[longer[video].casefold()] == 1 else f"{name}-{video}"
    return names


def _safe(name: str) -> str:
    allowed = _NOT_IN_NAMES.sub("_", name).encode("utf-8", "surrogateescape")[:MAX_NAME_BYTES]
    return allowed.decode("utf-8", "ignore") or "video"
