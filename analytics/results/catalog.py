"""List the analyses of a results folder: the rows of the table `videos`, and the files of the tables of an analysis."""

import contextlib
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.dataset as ds

from analytics.results.checksums import ShardChecksum
from analytics.results.damage import MISSING, Damage, DamagedFileError, name_videos
from analytics.results.datasets import Part, dataset
from analytics.results.shards import Where, read_shards, shard_path
from analytics.results.storage_paths import (
    StoragePath,
    arrow_name,
    is_remote,
    list_files,
)
from analytics.results.table_files import table_path
from analytics.results.video_record import video_records
from analytics.results.video_rows import Ids, ids_in_name, ids_of, read_own_rows
from analytics.tables.schema import TIMELINE_TABLES, VIDEOS

ATTEMPTS = 5
RETRY_S = 0.2
LATER_RUN_FAILED = "a later run failed: "  # beginning of `error` in the view `videos` if the analysis is finished
SMALL_BYTES = 1 << 20  # objects up to this size are read whole, which is faster than requesting several ranges


@dataclass(frozen=True, eq=False)
class Catalog:
    """A snapshot of the analyses and failures in a results folder."""

    root: StoragePath
    rows: pa.Table  # rows of the table `videos`, in no particular order
    # Position of each analysis whose tables are in a shard; all others have files of their own.
    shard_of: Mapping[Ids, Where]
    small: Collection[str]  # paths of the objects that are read whole
    shard_checksums: Mapping[str, Mapping[str, ShardChecksum]]  # shard -> table -> checksums
    damaged: Sequence[Damage] = ()  # unreadable rows and shards, and tables that are missing or have another size

    def table(self, name: str, ids: Iterable[Ids], schema: pa.Schema) -> ds.Dataset:
        """The rows of these analyses in table `name` as one Arrow dataset; no file is read or listed yet."""
        parts: list[Part] = []
        number = list(TIMELINE_TABLES).index(name)
        of_shard: dict[str, list[tuple[int, str]]] = {}
        for pair in ids:
            if (where := self.shard_of.get(pair)) is None:
                checksums = self._checksums.get(pair)
                crc32 = None if checksums is None else checksums[number]
                parts.append(Part(table_path(self.root, name, *pair), {"video_id": pair[0]}, crc32=crc32))
            else:
                of_shard.setdefault(where.shard, []).append((where.row_group, pair[0]))
        for shard, found in of_shard.items():
            row_groups, videos = zip(*sorted(found), strict=True)
            footer = self.shard_checksums[shard].get(name)
            path = shard_path(self.root, shard, name)
            parts.append(Part(path, {}, row_groups, (min(videos), max(videos)), footer=footer))
        return dataset(self.root, parts, schema, self.small)

    @cached_property
    def _checksums(self) -> dict[Ids, list[int] | None]:
        """The CRC-32 of the tables of each analysis, in the order of `TIMELINE_TABLES`; None for version 0.1."""
        rows = zip(ids_of(self.rows), *(self.rows[n].to_pylist() for n in ("is_running", "table_crc32")), strict=True)
        return {ids: None if is_running else crc32 for ids, is_running, crc32 in rows}


def read_catalog(root: StoragePath, *, skip_damaged: bool = False) -> Catalog:
    """Read the current catalog.

    Args:
        root: the results folder.
        skip_damaged: leave out analyses whose files are damaged, and list these files in `Catalog.damaged`.

    Raises:
        DamagedFileError: if the row of a video, or a shard, cannot be read, unless `skip_damaged`.
    """
    catalog = _read_catalog_while_it_changes(root)
    if catalog.damaged:  # the row of an analysis may be written a moment after its tables: read again
        time.sleep(RETRY_S)
        catalog = _read_catalog_while_it_changes(root)
    if catalog.damaged and not skip_damaged:
        raise DamagedFileError.of(catalog.damaged[0])
    return catalog


def _read_catalog_while_it_changes(root: StoragePath) -> Catalog:
    for _ in range(ATTEMPTS):
        # A file may be deleted after it was listed, for example by a compaction.
        with contextlib.suppress(FileNotFoundError):
            return _read_catalog(root)
    return _read_catalog(root)


def _read_catalog(root: StoragePath) -> Catalog:
    # Read before the shards: a row that is compacted in between is then found in the shard.
    own, damaged = read_own_rows(root)
    shards = read_shards(root)
    damaged += shards.damaged
    names = ("video_id", "analysis_id", "status", "finished_at", "table_bytes", "is_running")
    columns = (own[name].to_pylist() for name in names)
    existing, small = _existing_tables(root) if is_remote(root) else (None, frozenset())
    shard_of = dict(shards.where)
    known, kept = set(), []
    for i, (video_id, analysis_id, status, finished_at, written_bytes, is_running) in enumerate(
        zip(*columns, strict=True)
    ):
        ids = video_id, analysis_id
        known.add(ids)
        where = shards.where.get(ids)
        # A shard replaces the analysis's own files if its copy is at least as new.
        outdated = where is not None and finished_at <= where.finished_at
        sizes = _table_sizes(root, ids) if existing is None else existing.get(ids)
        if not outdated and status == "done" and sizes is not None:
            # A live session rewrites its tables repeatedly, each time before its row in the table `videos`.
            if written_bytes is not None and sizes != written_bytes and not is_running:
                damaged += _of_other_size(root, ids, sizes, written_bytes)
                continue
            shard_of.pop(ids, None)
        elif where is None and status == "done":
            damaged += _missing_tables(root, ids)
            continue
        kept.append(i)
    rows = [own.take(pa.array(kept, pa.int64()))]
    for shard, of_shard in shards.rows.items():
        all_ids = ids_of(of_shard)
        mine = [i for i, ids in enumerate(all_ids) if ids not in known and shards.where[ids].shard == shard]
        rows.append(of_shard.select(VIDEOS.names).take(pa.array(mine, pa.int64())))
    named = tuple(name_videos(damaged, video_records(own) if damaged else [], root))
    return Catalog(root, pa.concat_tables(rows), shard_of, small, shards.checksums, named)


def _table_sizes(root: StoragePath, ids: Ids) -> list[int] | None:
    """The table sizes of an analysis on disk, in the order of `TIMELINE_TABLES`; None if a table is missing."""
    try:
        return [table_path(root, name, *ids).stat().st_size for name in TIMELINE_TABLES]
    except FileNotFoundError:
        return None


def _missing_tables(root: StoragePath, ids: Ids) -> list[Damage]:
    paths = (table_path(root, name, *ids) for name in TIMELINE_TABLES)
    return [Damage(path, MISSING, ids[0]) for path in paths if not path.exists()]


def _of_other_size(root: StoragePath, ids: Ids, sizes: list[int], written_bytes: list[int]) -> list[Damage]:
    return [
        Damage(table_path(root, name, *ids), f"{size:,} bytes instead of {written:,}", ids[0])
        for name, size, written in zip(TIMELINE_TABLES, sizes, written_bytes, strict=True)
        if size != written
    ]


def _existing_tables(root: StoragePath) -> tuple[dict[Ids, list[int]], frozenset[str]]:
    """The table sizes of analyses with all tables, and the paths of small objects; one listing for each table."""
    sizes: list[dict[Ids, int]] = []
    small: set[str] = set()
    for name in TIMELINE_TABLES:
        prefix = arrow_name(root / name)
        found = list_files(root / name)
        sizes.append({ids: entry.size_bytes for file, entry in found.items() if (ids := ids_in_name(file)) is not None})
        small |= {f"{prefix}/{file}" for file, entry in found.items() if entry.size_bytes <= SMALL_BYTES}
    complete = set.intersection(*map(set, sizes))
    return {ids: [of_table[ids] for of_table in sizes] for ids in complete}, frozenset(small)


def latest_rows(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows that the view `videos` shows, and those of the newest finished analysis of each video.

    A finished analysis stays visible, because the other views show its rows; the reason of a later failure is put into
    its `error`. A failure without a finished analysis is shown only while its path has no newer row and no content of
    another video, so that it disappears when the broken file is replaced.
    """
    rows = rows.sort_by([("finished_at", "ascending"), ("analysis_id", "ascending")])
    video_id, path, status, error = (rows[name].to_pylist() for name in ("video_id", "path", "status", "error"))
    is_replaced = rows["is_replaced"].to_pylist()
    latest = {video: i for i, video in enumerate(video_id)}
    newest_done = {video: i for i, video in enumerate(video_id) if status[i] == "done"}
    latest_of_path = {file: i for i, file in enumerate(path)}
    shown = []
    for video, i in latest.items():
        if video in newest_done:
            if status[i] != "done":
                error[newest_done[video]] = f"{LATER_RUN_FAILED}{error[i]}"
            shown.append(newest_done[video])
        elif latest_of_path[path[i]] == i and not is_replaced[i]:
            shown.append(i)
    column = rows.schema.get_field_index("error")
    with_errors = rows.set_column(column, rows.schema.field(column), pa.array(error, pa.string()))
    return with_errors.take(pa.array(shown, pa.int64())), rows.take(pa.array(sorted(newest_done.values()), pa.int64()))
