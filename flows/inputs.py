"""Which files a run is about: videos and pictures, named one by one or found in folders."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from fer_models.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES


class InputError(Exception):
    """There is nothing to analyse where the user pointed."""


def find_videos(inputs: Sequence[str | Path], *, recursive: bool = True, pattern: str = "*") -> list[Path]:
    """The videos and pictures that `inputs` name, each once, those of a folder in the order of their names.

    A file named itself is taken whatever its suffix; in a folder, only files with a suffix of a video or a picture that
    fit `pattern` are. Hidden files and folders are left out. An input without anything to analyse stands for itself,
    so that it shows up among the failures of a run that goes on with the others.

    Raises:
        InputError: if none of the inputs holds anything to analyse.
    """
    found: dict[Path, None] = {}
    empty: list[str] = []
    for path in map(Path, inputs):
        videos = videos_in(path, recursive, pattern) if path.is_dir() else [path]
        if path.is_dir() and not videos:
            empty.append(f"{path}: no video or picture in this folder{_hint(path, recursive, pattern)}")
        elif not path.is_dir() and not path.exists():
            empty.append(f"{path}: no such file or folder: check its name")
        found.update(dict.fromkeys(videos or [path]))
    if len(empty) == len(inputs):
        raise InputError("; ".join(empty) or "nothing to analyse: name a video, a picture or a folder")
    return list(found)


def videos_in(folder: Path, recursive: bool, pattern: str) -> list[Path]:
    """The videos and pictures of a folder, in the order of their names."""
    return [path for path in sorted(folder.glob("**/*" if recursive else "*")) if is_wanted(path, folder, pattern)]


def is_wanted(path: Path, folder: Path, pattern: str) -> bool:
    """Whether a run over `folder` takes this file in it."""
    visible = not any(part.startswith(".") for part in path.relative_to(folder).parts)
    has_suffix = path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES
    return visible and has_suffix and fnmatch(path.name, pattern) and not path.is_dir()


def _hint(folder: Path, recursive: bool, pattern: str) -> str:
    if pattern != "*":
        return f" fits --pattern {pattern}"
    if not recursive and any(path.is_dir() for path in folder.iterdir()):
        return "; --recursive also looks in its folders"
    return f" (looked for {', '.join(sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES))})"
