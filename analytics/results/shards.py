"""Read shards: Parquet files that each hold the tables of many small analyses (`compaction` writes them).

    compacted/s…/faces.parquet       also frames, tracks, episodes, transitions: row group i belongs to analysis i
    compacted/s…/videos.parquet      row i belongs to analysis i; written last: a shard without it is ignored

Shards are immutable: to delete rows, a new shard is written without them. For a while, an analysis may be in two shards
and in its own files as well; readers choose one copy.
"""

import contextlib
import errno
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from analytics.results.arrow_files import read_table
from analytics.results.damage import Damage, one_line
from analytics.results.storage_paths import is_remote, list_files
from analytics.tables.schema import TABLES, TIMELINE_TABLES, VIDEOS

FOLDER = "compacted"
ATTEMPTS = 5
ROWS = pa.schema([*VIDEOS, pa.field("n_rows", pa.list_(pa.int64(), len(TIMELINE_TABLES)))])  # of each table
_FILES = {f"{name}.parquet" for name in TABLES}


@dataclass(frozen=True)
class Where:
    """The position of an analysis in a shard."""

    shard: str
    row_group: int
    finished_at: datetime


def shard_path(root: Path, shard: str, name: str) -> Path:
    """The path of a table in a shard."""
    return root / FOLDER / shard / f"{name}.parquet"


@dataclass(frozen=True, eq=False)
class Shards:
    """The content of all complete shards."""

    rows: Mapping[str, pa.Table]  # by shard: rows of table videos, with the columns of `ROWS`
    where: Mapping[
        tuple[str, str], Where
    ]  # by video_id and analysis_id: the newest copy, else the one in the largest shard
    damaged: tuple[Damage, ...] = ()  # shards whose rows are unreadable

    def row(self, video_id: str, analysis_id: str) -> dict[str, Any] | None:
        """The row of an analysis, with the columns of `ROWS`; None if no shard has it."""
        at = self.where.get((video_id, analysis_id))
        return None if at is None else self.rows[at.shard].slice(at.row_group, 1).to_pylist()[0]


def read_shards(root: Path) -> Shards:
    """Read the current shards: one or two listings, and one file for each new shard.

    Damaged shards are left out and listed in `damaged`.
    """
    for _ in range(ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):  # deleted since it was listed, for example by a purge
            names = _whole(root)
            shards = _shards(root, names)
            if (not names and is_remote(root)) or _whole(root) == names:  # a listing of an object store is atomic
                return shards
    raise FileNotFoundError(errno.ENOENT, "the shards keep changing: try again later", str(root / FOLDER))


def _whole(root: Path) -> tuple[str, ...]:
    """The names of the complete shards."""
    files: dict[str, set[str]] = {}
    for name in list_files(root / FOLDER):
        shard, _, file = name.partition("/")
        files.setdefault(shard, set()).add(file)
    return tuple(sorted(shard for shard, names in files.items() if names >= _FILES))


@lru_cache(maxsize=4)
def _shards(root: Path, names: tuple[str, ...]) -> Shards:
    rows: dict[str, pa.Table] = {}
    damaged: list[Damage] = []
    for shard in names:
        try:
            rows[shard] = _rows(root, shard)
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            damaged.append(Damage(shard_path(root, shard, "videos"), one_line(error)))
    where: dict[tuple[str, str], Where] = {}
    for shard, of_shard in sorted(rows.items(), key=lambda item: (len(item[1]), item[0])):
        columns = (of_shard[name].to_pylist() for name in ("video_id", "analysis_id", "finished_at"))
        for i, (video_id, analysis_id, finished_at) in enumerate(zip(*columns, strict=True)):
            known = where.get((video_id, analysis_id))
            if known is None or finished_at >= known.finished_at:
                where[video_id, analysis_id] = Where(shard, i, finished_at)
    return Shards(rows, where, tuple(damaged))


@lru_cache(maxsize=1024)  # shards are immutable
def _rows(root: Path, shard: str) -> pa.Table:
    table = read_table(shard_path(root, shard, "videos"), page_checksum_verification=True)
    missing = [field for field in ROWS if field.name not in table.schema.names]  # in a shard of version 0.1
    for field in missing:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(ROWS.names).cast(ROWS)
