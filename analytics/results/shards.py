"""Read shards: Parquet files that each hold the tables of many small analyses (`compaction` writes them).

    compacted/s…/faces.parquet       also frames, tracks, episodes, transitions: row group i belongs to analysis i
    compacted/s…/videos.parquet      row i belongs to analysis i; written last and deleted first: a shard without it is
                                     ignored, and one that has it but lacks a table is damaged

Shards are immutable: to delete rows, a new shard is written without them. For a while, an analysis may be in two shards
and in its own files as well; readers choose one copy.
"""

import contextlib
import errno
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

import pyarrow as pa

from analytics.results.arrow_files import read_table
from analytics.results.checksums import ShardChecksum, from_metadata
from analytics.results.damage import MISSING, Damage, one_line
from analytics.results.storage_paths import StoragePath, is_remote, list_files
from analytics.results.video_record import VideoRecord, video_records
from analytics.tables.schema import TABLES, TIMELINE_TABLES, VIDEOS

FOLDER = "compacted"
ATTEMPTS = 5
# `n_rows`: the number of rows of each table.
ROWS = pa.schema([*VIDEOS, pa.field("n_rows", pa.list_(pa.int64(), len(TIMELINE_TABLES)))])
_FILES = [f"{name}.parquet" for name in TABLES]
_MANIFEST = "videos.parquet"


@dataclass(frozen=True)
class Where:
    """The position of an analysis in a shard."""

    shard: str
    row_group: int
    finished_at: datetime


def shard_path(root: StoragePath, shard: str, name: str) -> StoragePath:
    """The path of a table in a shard."""
    return root / FOLDER / shard / f"{name}.parquet"


@dataclass(frozen=True)
class CompactedAnalysis:
    """An analysis in a shard."""

    video: VideoRecord
    n_rows: list[int]  # number of rows of each table, in the order of `TIMELINE_TABLES`


@dataclass(frozen=True, eq=False)
class Shards:
    """The content of all shards that are complete and undamaged."""

    rows: Mapping[str, pa.Table]  # shard -> its rows of the table `videos`, with the columns of `ROWS`
    # (video_id, analysis_id) -> position of its newest copy; of equally new copies, the one in the largest shard
    where: Mapping[tuple[str, str], Where]
    damaged: tuple[Damage, ...] = ()  # the shards whose rows are unreadable, and the missing tables of others
    checksums: Mapping[str, Mapping[str, ShardChecksum]] = field(default_factory=dict)  # shard -> table -> checksums

    def find(self, video_id: str, analysis_id: str) -> CompactedAnalysis | None:
        """The row of an analysis and the sizes of its tables; None if no shard has it."""
        at = self.where.get((video_id, analysis_id))
        if at is None:
            return None
        row = self.rows[at.shard].slice(at.row_group, 1)
        return CompactedAnalysis(video_records(row)[0], row["n_rows"].to_pylist()[0])


def read_shards(root: StoragePath) -> Shards:
    """Read the current shards: one or two listings, and one file for each new shard.

    Damaged shards are left out and listed in `damaged`.
    """
    for _ in range(ATTEMPTS):
        # A file may be deleted after it was listed, for example by a purge.
        with contextlib.suppress(FileNotFoundError):
            found = _written(root)
            shards = _shards(root, found)
            # Unlike a listing of a folder, a listing of an object store is atomic.
            if (not found and is_remote(root)) or _written(root) == found:
                return shards
    raise FileNotFoundError(errno.ENOENT, "the shards keep changing: try again later", str(root / FOLDER))


@dataclass(frozen=True)
class _Written:
    """A shard that was written completely."""

    shard: str
    stamp: str  # version of the manifest, which changes only through damage
    missing: tuple[str, ...]  # the files that were lost since


def _written(root: StoragePath) -> tuple[_Written, ...]:
    """The shards with a manifest, in order."""
    files: dict[str, dict[str, str]] = {}
    for name, entry in list_files(root / FOLDER).items():
        shard, _, file = name.partition("/")
        files.setdefault(shard, {})[file] = entry.stamp
    return tuple(
        _Written(shard, of[_MANIFEST], tuple(file for file in _FILES if file not in of))
        for shard, of in sorted(files.items())
        if _MANIFEST in of
    )


@lru_cache(maxsize=4)
def _shards(root: StoragePath, found: tuple[_Written, ...]) -> Shards:
    rows: dict[str, pa.Table] = {}
    checksums: dict[str, Mapping[str, ShardChecksum]] = {}
    damaged: list[Damage] = []
    for written in found:
        shard = written.shard
        if written.missing:
            folder = root / FOLDER / shard
            damaged += [Damage(folder / file, MISSING, is_in_shard=True) for file in written.missing]
            continue
        try:
            rows[shard], checksums[shard] = _manifest(root, shard, written.stamp)
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException, ValueError) as error:
            damaged.append(Damage(shard_path(root, shard, "videos"), one_line(error), is_in_shard=True))
    where: dict[tuple[str, str], Where] = {}
    for shard, of_shard in sorted(rows.items(), key=lambda item: (len(item[1]), item[0])):
        columns = (of_shard[name].to_pylist() for name in ("video_id", "analysis_id", "finished_at"))
        for i, (video_id, analysis_id, finished_at) in enumerate(zip(*columns, strict=True)):
            known = where.get((video_id, analysis_id))
            if known is None or finished_at >= known.finished_at:
                where[video_id, analysis_id] = Where(shard, i, finished_at)
    return Shards(rows, where, tuple(damaged), checksums)


@lru_cache(maxsize=1024)
def _manifest(root: StoragePath, shard: str, stamp: str) -> tuple[pa.Table, Mapping[str, ShardChecksum]]:
    """The rows of a shard, and the checksums of its tables; `stamp` is the version of the file, for the cache.

    Raises:
        OSError, pa.ArrowException, ValueError: if the file is missing or damaged.
    """
    table = read_table(shard_path(root, shard, "videos"), page_checksum_verification=True)
    checksums = from_metadata(table.schema.metadata)
    # Columns that version 0.1 did not write.
    missing = [column for column in ROWS if column.name not in table.schema.names]
    for column in missing:
        table = table.append_column(column, pa.nulls(len(table), column.type))
    table = table.select(ROWS.names).cast(ROWS)
    check_rows(table.to_pylist())
    return table, checksums


def check_rows(rows: Iterable[Mapping[str, object]]) -> None:
    """Compare rows of the table `videos` with the checksums in them; rows of version 0.1 have none.

    Raises:
        ValueError: if a row has changed.
    """
    if any(row["row_crc32"] not in (None, row_crc32(row)) for row in rows):
        raise ValueError("its content has changed since it was written")


def row_crc32(row: Mapping[str, object]) -> int:
    """The CRC-32 of a row of the table `videos`, over all its values except NULL and `row_crc32` itself."""
    values = {name: str(row[name]) for name in VIDEOS.names if name != "row_crc32" and row.get(name) is not None}
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())
