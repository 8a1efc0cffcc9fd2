"""Read the rows of the table `videos` outside of shards, through a cache: thousands of small files are slow to read."""

import contextlib
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from analytics.errors import StoreError
from analytics.results.atomic_write import write_atomic
from analytics.results.damage import Damage, one_line
from analytics.results.datasets import Part, dataset
from analytics.results.shards import check_rows
from analytics.results.storage_paths import (
    StorageError,
    StoragePath,
    arrow_name,
    is_remote,
    list_files,
    read_bytes,
    translate_client_errors,
)
from analytics.results.table_files import table_path
from analytics.tables.schema import VIDEOS

# Cache of all rows of the table `videos`. It may be deleted at any time, and must be deleted together with the rows of
# a video. The name begins with a dot, so that no pattern for tables matches it.
ROWS_CACHE = Path("videos") / ".rows.arrow"
ATTEMPTS = 5
MIN_ROWS_TO_CACHE = 64  # the cache is updated after reading at least this many rows; fewer are read quickly
_CRC_BYTES = 4
_SCHEMA = pa.schema([*VIDEOS, pa.field("stamp", pa.string())])
Ids = tuple[str, str]  # video_id and analysis_id


def ids_of(rows: pa.Table) -> list[Ids]:
    """The ids of each row of the table `videos`."""
    return list(zip(rows["video_id"].to_pylist(), rows["analysis_id"].to_pylist(), strict=True))


def ids_in_name(name: str) -> Ids | None:
    """The ids in `video_id=v…/a….parquet`; None for any other name."""
    folder, _, file = name.partition("/")
    if not folder.startswith("video_id=") or not file.endswith(".parquet") or "/" in file:
        return None
    return folder.removeprefix("video_id="), file.removesuffix(".parquet")


def own_rows(root: StoragePath) -> pa.Table:
    """The readable rows of the table `videos` outside of shards, with the columns of `VIDEOS`."""
    return read_own_rows(root)[0]


def read_own_rows(root: StoragePath) -> tuple[pa.Table, list[Damage]]:
    """The rows of the table `videos` outside of shards, with the columns of `VIDEOS`, and the unreadable files."""
    for _ in range(ATTEMPTS - 1):
        # A file may be deleted after it was listed, for example at the end of a live session.
        with contextlib.suppress(FileNotFoundError):
            return _read_listed_rows(root)
    return _read_listed_rows(root)


def _read_listed_rows(root: StoragePath) -> tuple[pa.Table, list[Damage]]:
    found = {ids: file for name, file in list_files(root / "videos").items() if (ids := ids_in_name(name)) is not None}
    cached = _read_cache(root)
    stamps = cached["stamp"].to_pylist()
    valid = [i for i, ids in enumerate(ids_of(cached)) if ids in found and found[ids].stamp == stamps[i]]
    known = cached.take(pa.array(valid, pa.int64())).select(VIDEOS.names)
    unread = found.keys() - set(ids_of(known))
    read, damaged = _read(root, sorted(unread)) if unread else (VIDEOS.empty_table(), [])
    rows = pa.concat_tables([known, read])
    if len(unread) >= MIN_ROWS_TO_CACHE or len(known) < len(cached):
        _write_cache(root, rows, {ids: file.stamp for ids, file in found.items()})
    return rows, damaged


def _read(root: StoragePath, ids: Sequence[Ids]) -> tuple[pa.Table, list[Damage]]:
    """The rows of these analyses, and the unreadable files."""
    try:
        return _read_rows(root, ids), []
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, ValueError) as error:  # ValueError: an id in the file is NULL
        if len(ids) == 1:
            damage = Damage(table_path(root, "videos", *ids[0]), one_line(error), ids[0][0])
            return VIDEOS.empty_table(), [damage]
    halves = [_read(root, half) for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :])]
    return pa.concat_tables([rows for rows, _ in halves]), [one for _, found in halves for one in found]


def _read_rows(root: StoragePath, ids: Sequence[Ids]) -> pa.Table:
    parts = [Part(table_path(root, "videos", *pair), {"video_id": pair[0]}) for pair in ids]
    small = {arrow_name(part.path) for part in parts} if is_remote(root) else ()
    with translate_client_errors(root):
        rows = dataset(root, parts, VIDEOS, small).to_table().cast(VIDEOS)
    if ids_of(rows) != list(ids) or rows["finished_at"].null_count or rows["status"].null_count:
        raise pa.ArrowInvalid("it is not a row of table videos")
    check_rows(rows.to_pylist())
    return rows


def _read_cache(root: StoragePath) -> pa.Table:
    """The cached rows and the versions of their files; empty without a usable cache of this version."""
    with contextlib.suppress(OSError, pa.ArrowException):
        content = read_bytes(root / ROWS_CACHE)
        rows, checksum = content[:-_CRC_BYTES], content[-_CRC_BYTES:]
        if zlib.crc32(rows).to_bytes(_CRC_BYTES) == checksum:
            table = pa.ipc.open_file(rows).read_all()
            if table.schema.equals(_SCHEMA):
                return table
    return _SCHEMA.empty_table()


def _write_cache(root: StoragePath, rows: pa.Table, stamps: Mapping[Ids, str]) -> None:
    """Write the cache, if the folder is writable."""
    table = rows.append_column(_SCHEMA.field("stamp"), pa.array([stamps[ids] for ids in ids_of(rows)], pa.string()))
    with contextlib.suppress(OSError, StoreError, StorageError):
        write_atomic(root / ROWS_CACHE, partial(_write_with_checksum, table.cast(_SCHEMA)))


def _write_with_checksum(table: pa.Table, part: Path) -> None:
    """Write the cache: an Arrow IPC file, followed by its CRC-32."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    rows = sink.getvalue().to_pybytes()
    part.write_bytes(rows + zlib.crc32(rows).to_bytes(_CRC_BYTES))
