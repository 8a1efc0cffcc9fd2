"""Read shards: Parquet files that each hold the tables of many small analyses (`compaction` writes them).

    compacted/s…/faces.parquet       likewise frames, tracks, episodes, transitions: row group i is of analysis i
    compacted/s…/videos.parquet      row i is of analysis i; written last: without it there is no shard

A shard never changes: what has to go is left out of a new one. So for a while an analysis may be in two, and in files
of its own besides; readers choose one place for each.
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

from analytics.results.damage import Damage, one_line
from analytics.results.storage_paths import is_remote, list_files, read_table
from analytics.tables.schema import TABLES, TIMELINE_TABLES, VIDEOS

FOLDER = "compacted"
ATTEMPTS = 5
ROWS = pa.schema([*VIDEOS, pa.field("n_rows", pa.list_(pa.int64(), len(TIMELINE_TABLES)))])  # of each table
_FILES = {f"{name}.parquet" for name in TABLES}


@dataclass(frozen=True)
class Where:
    """Where the tables of an analysis are."""

    shard: str
    row_group: int
    finished_at: datetime


def shard_path(root: Path, shard: str, name: str) -> Path:
    """The file of a table in a shard."""
    return root / FOLDER / shard / f"{name}.parquet"


@dataclass(frozen=True, eq=False)
class Shards:
    """What is in all whole shards."""

    rows: Mapping[str, pa.Table]  # by shard: rows of table videos, with the columns of `ROWS`
    where: Mapping[tuple[str, str], Where]  # by video_id and analysis_id: of several shards the newest, else largest
    damaged: tuple[Damage, ...] = ()  # shards whose rows cannot be read

    def row(self, video_id: str, analysis_id: str) -> dict[str, Any] | None:
        """The row of an analysis, with the columns of `ROWS`; None if no shard has it."""
        at = self.where.get((video_id, analysis_id))
        return None if at is None else self.rows[at.shard].slice(at.row_group, 1).to_pylist()[0]


def read_shards(root: Path) -> Shards:
    """The shards that are there now: one or two listings, and a file for each that was not there before.

    Damaged ones are left out and listed in `damaged`.
    """
    for _ in range(ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):  # deleted since it was listed, as by a purge
            names = _whole(root)
            shards = _shards(root, names)
            if (not names and is_remote(root)) or _whole(root) == names:  # a listing there is of one moment
                return shards
    raise FileNotFoundError(errno.ENOENT, "shards come and go all the time: try again later", str(root / FOLDER))


def _whole(root: Path) -> tuple[str, ...]:
    """The names of the shards that have all their files."""
    files: dict[str, set[str]] = {}
    for name in list_files(root / FOLDER):
        shard, _, file = name.partition("/")
        files.setdefault(shard, set()).add(file)
    return tuple(sorted(shard for shard, there in files.items() if there >= _FILES))


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


@lru_cache(maxsize=1024)  # a shard never changes
def _rows(root: Path, shard: str) -> pa.Table:
    table = read_table(shard_path(root, shard, "videos"), page_checksum_verification=True)
    missing = [field for field in ROWS if field.name not in table.schema.names]  # of a shard of version 0.1
    for field in missing:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(ROWS.names).cast(ROWS)
