"""Check the path of an output file before any work is done."""

import os
import re
from pathlib import Path

from analytics.results.results_folder import MARKER_NAME
from analytics.results.storage_paths import StoragePath, is_remote
from fer_models.errors import FervidError

# At least two letters before the colon, because one letter is a drive of Windows.
_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+:/")


class OutputError(FervidError):
    """The output cannot be written, or would overwrite a file, mix with results, or contradict its suffix."""


def check_output_file(path: Path, *, overwrite: bool, new_results: StoragePath | None = None) -> None:
    """Make sure that `path` can be written, and that this destroys nothing.

    Args:
        path: the file to write; links are followed.
        overwrite: whether an existing regular file may be replaced.
        new_results: the results folder that will be created before the file is written.

    Raises:
        OutputError: if it exists (unless `overwrite`), is not a regular file, lies inside a results folder, or its
            folder cannot be written to.
    """
    check_output_folder(path.parent, new_results)
    target = path.resolve()
    if target.parent != path.parent.resolve():  # the path is a link to a file elsewhere
        _check_is_outside(target.parent, new_results)
    if not path.exists():
        return
    if not path.is_file():
        raise OutputError(f"{path}: not a regular file: give another name")
    if not overwrite:
        raise OutputError(f"{path} already exists: give another name, or --overwrite to replace it")


def check_output_folder(folder: Path, new_results: StoragePath | None = None) -> None:
    """Make sure that files can be written to `folder`, and do not mix with results. The folder is not created.

    Args:
        folder: where files will be written.
        new_results: a results folder that does not exist yet, but will be created.

    Raises:
        OutputError: if it is a results folder, lies inside one, is a URL, is not a folder, or cannot be written to.
    """
    if _URL.match(str(folder)):
        raise OutputError(f"{folder}: a URL: give a path on this machine, then upload the file")
    _check_is_outside(folder, new_results)
    target = folder.resolve()
    existing = next((ancestor for ancestor in (target, *target.parents) if ancestor.exists()), target)
    if not existing.is_dir():
        raise OutputError(f"{folder}: not a folder: give another one")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: cannot be written to: give another folder")


def _check_is_outside(folder: Path, new_results: StoragePath | None) -> None:
    target = folder.resolve()
    planned = None if new_results is None or is_remote(new_results) else new_results.resolve()
    for ancestor in (target, *target.parents):
        if ancestor == planned or (ancestor / MARKER_NAME).is_file():
            raise OutputError(f"{folder}: inside the results folder {ancestor}: give a path outside it")


def format_of(path: Path, formats: dict[str, str], chosen: str | None) -> str:
    """The format that the suffix of a file names.

    Args:
        path: the file to write.
        formats: the format of each known suffix, such as `{".csv": "csv"}`.
        chosen: the format that was asked for explicitly, which must agree.

    Raises:
        ValueError: if the suffix is unknown, or names another format than the one chosen.

    >>> format_of(Path("rows.CSV"), {".csv": "csv"}, None)
    'csv'
    """
    known = formats.get(path.suffix.lower())
    if known is None:
        raise ValueError(f"{path}: the suffix decides the format: end the name in {', '.join(formats)}")
    if chosen is not None and chosen != known:
        raise ValueError(f"{path}: a name ending in {path.suffix} holds {known}, not {chosen}: change one of them")
    return known
