"""Read Parquet files on disk and in object stores with Arrow, and verify their checksums."""

import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from analytics.results.checksums import ShardChecksum, stream_crc32
from analytics.results.storage_paths import (
    StoragePath,
    check_readable,
    filesystem_of,
    is_remote,
    read_bytes,
    translate_client_errors,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

SMALL_BYTES = 4 << 20  # local files up to this size are read whole, which serves both the checksum and the data
CONTENT_CHANGED = "its content has changed since it was written"


def read_table(path: StoragePath, **options: Any) -> pa.Table:
    """Read a whole Parquet file, in one request.

    The file may be replaced meanwhile, as that of a live session is: it is opened only once, whereas Arrow opens paths
    once for the footer and once for the data.

    Raises:
        OSError, pa.ArrowException: if it cannot be read.
    """
    if not is_remote(path):
        check_readable(path)
    with pa.BufferReader(read_bytes(path)) if is_remote(path) else pa.OSFile(str(path)) as source:
        return pq.read_table(source, partitioning=None, **options)


def n_rows(path: StoragePath) -> int:
    """The number of rows in a Parquet file.

    Raises:
        OSError, pa.ArrowException: if it cannot be read.
    """
    fs, name = arrow_files(path)
    with translate_client_errors(path):
        return int(pq.read_metadata(name, filesystem=fs).num_rows)


def arrow_files(
    root: StoragePath,
    small: Collection[str] = (),
    checksums: Mapping[str, int] | None = None,
    footers: Mapping[str, ShardChecksum] | None = None,
) -> tuple[pyarrow.fs.FileSystem, str]:
    """The Arrow file system for the files below a folder, and the folder's path in it.

    Args:
        root: the folder.
        small: paths in the file system of objects that are read whole.
        checksums: the CRC-32 of files by path, checked when they are opened (for objects, when read whole).
        footers: the checksums of shards by path; their footers are checked when they are opened (not for objects).
    """
    checksums, footers = checksums or {}, footers or {}
    if not is_remote(root):
        if not checksums and not footers:
            return pyarrow.fs.LocalFileSystem(), str(root)
        return pyarrow.fs.PyFileSystem(_LocalFiles(checksums, footers)), str(root)
    fs, name = filesystem_of(root)
    return pyarrow.fs.PyFileSystem(_Objects(fs, small, checksums)), name


class _Objects(pyarrow.fs.FSSpecHandler):  # type: ignore[misc]
    """Arrow file handler for objects: small ones are read in one request, large ones in the ranges needed."""

    def __init__(self, fs: "AbstractFileSystem", small: Collection[str], checksums: Mapping[str, int]) -> None:
        super().__init__(fs)
        self.small = small
        self.checksums = checksums

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open an object for random access."""
        if path in self.small:
            content = self.fs.cat_file(path, start=0)
            _check_content(path, zlib.crc32(content), self.checksums.get(path))
            return pa.BufferReader(content)
        return pa.PythonFile(self.fs.open(path, "rb", cache_type="none"), mode="r")


class _LocalFiles(pyarrow.fs.FSSpecHandler):  # type: ignore[misc]
    """Arrow file handler that verifies the checksum of local files when they are opened."""

    def __init__(self, checksums: Mapping[str, int], footers: Mapping[str, ShardChecksum]) -> None:
        super().__init__(None)
        self.checksums, self.footers = checksums, footers

    def get_type_name(self) -> str:
        """The name of the file system type."""
        return "checked"

    def normalize_path(self, path: str) -> str:
        """Return the path unchanged."""
        return path

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open a file for random access.

        Raises:
            OSError: if it cannot be read, or its checksum differs.
        """
        if (footer := self.footers.get(path)) is not None:
            check_footer(Path(path), footer)
        if path not in self.checksums:
            return pa.OSFile(path)
        if Path(path).stat().st_size <= SMALL_BYTES:
            content = Path(path).read_bytes()
            _check_content(path, zlib.crc32(content), self.checksums.get(path))
            return pa.BufferReader(content)
        with Path(path).open("rb") as file:
            crc32 = stream_crc32(file)
        _check_content(path, crc32, self.checksums.get(path))
        return pa.OSFile(path)


def check_footer(path: Path, checksum: ShardChecksum) -> None:
    """Compare the footer of a file in a shard with the one that was written.

    Raises:
        OSError: if the file cannot be read, or its footer differs.
    """
    with path.open("rb") as file:
        if not checksum.has_footer(file):
            raise OSError(f"{path}: corrupt: {CONTENT_CHANGED}")


def _check_content(path: str, found_crc32: int, crc32: int | None) -> None:
    if crc32 is not None and found_crc32 != crc32:
        raise OSError(f"{path}: corrupt: {CONTENT_CHANGED}")
