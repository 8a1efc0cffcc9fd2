"""Read uploaded files."""

import tempfile
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import TypeVar

from fer_models.errors import FervidError

T = TypeVar("T")


def read_upload(read: Callable[[Path], T], content: bytes, name: str) -> T:
    """Read an uploaded file with a function that takes a path; its errors name the file as the user does.

    Raises:
        FervidError: as `read` does.
    """
    name = PurePath(name).name
    with tempfile.TemporaryDirectory(prefix="fervid-") as folder:
        path = Path(folder) / name  # readers also recognize the kind of file by its name
        path.write_bytes(content)
        try:
            return read(path)
        except FervidError as error:
            raise type(error)(str(error).replace(f"{path}", name)) from error
