"""List the analyses of a results folder: the rows of the table `videos`, and the files of the tables of each analysis.

One file per analysis suits writers, but thousands of files are slow to read: rows of the table `videos` are cached.
"""

import contextlib
import operator
import time
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from analytics.errors import StoreError
from analytics.results.arrow_files import arrow_files
from analytics.results.atomic_write import write_atomic
from analytics.results.checksums import ShardChecksum
from analytics.results.damage import Damage, DamagedFileError, one_line
from analytics.results.scans import Dataset
from analytics.results.shards import Where, check_rows, read_shards, shard_path
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
from analytics.tables.schema import TIMELINE_TABLES, VIDEOS

# Cache of all rows of the table `videos`. It may be deleted at any time, and must be deleted together with the rows of
# a video. The name begins with a dot, so that no pattern for tables matches it.
REMEMBERED = Path("videos") / ".rows.arrow"
WORTH_REMEMBERING = 64  # the cache is updated after reading at least this many rows; fewer are read quickly
ATTEMPTS = 5
RETRY_S = 0.2
SMALL_BYTES = 1 << 20  # objects up to this size are read whole, which is faster than requesting several ranges
_CRC_BYTES = 4
_SCHEMA = pa.schema([*VIDEOS, pa.field("stamp", pa.string())])
Ids = tuple[str, str]  # video_id and analysis_id


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


@dataclass(frozen=True)
class Part:
    """A Parquet file, and the column values in its folder names; for a shard, also the row groups to read."""

    path: StoragePath
    known: Mapping[str, str]
    row_groups: Sequence[int] | None = None
    videos: tuple[str, str] | None = None  # the first and the last video_id in the file
    crc32: int | None = None  # CRC-32 of the file, if recorded
    footer: ShardChecksum | None = None  # checksums of the footer of a shard, if recorded

    def rows_have(self, as_dictionary: bool) -> ds.Expression:
        """A condition that all rows of the file meet, so that queries which contradict it skip the file."""

        def is_(name: str, value: str) -> ds.Expression:
            return ds.field(name) == (pa.array([value]).dictionary_encode()[0] if as_dictionary else value)

        conditions = [is_(name, value) for name, value in self.known.items()]
        if self.videos is not None:
            first, last = self.videos
            conditions.append((ds.field("video_id") >= first) & (ds.field("video_id") <= last))
        return reduce(operator.and_, conditions, ds.scalar(True))


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
    return Catalog(root, pa.concat_tables(rows), shard_of, small, shards.checksums, tuple(damaged))


def _table_sizes(root: StoragePath, ids: Ids) -> list[int] | None:
    """The table sizes of an analysis on disk, in the order of `TIMELINE_TABLES`; None if a table is missing."""
    try:
        return [table_path(root, name, *ids).stat().st_size for name in TIMELINE_TABLES]
    except FileNotFoundError:
        return None


def _missing_tables(root: StoragePath, ids: Ids) -> list[Damage]:
    paths = (table_path(root, name, *ids) for name in TIMELINE_TABLES)
    return [Damage(path, "missing", ids[0]) for path in paths if not path.exists()]


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
        sizes.append({ids: entry.size_bytes for file, entry in found.items() if (ids := _ids_in(file)) is not None})
        small |= {f"{prefix}/{file}" for file, entry in found.items() if entry.size_bytes <= SMALL_BYTES}
    complete = set.intersection(*map(set, sizes))
    return {ids: [of_table[ids] for of_table in sizes] for ids in complete}, frozenset(small)


def dataset(root: StoragePath, parts: Iterable[Part], schema: pa.Schema, small: Collection[str] = ()) -> ds.Dataset:
    """Combine Parquet files below `root` into one Arrow dataset; missing columns are NULL.

    Text columns stay dictionary-encoded, so that a few names are not copied for millions of rows. With shards, video_id
    is plain text instead, because Arrow prunes row groups only by plain text. Pre-buffering speeds up object stores but
    doubles the time for local files.
    """
    parts = list(parts)
    as_dictionary = all(part.videos is None for part in parts)
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    text = text if as_dictionary else [name for name in text if name != "video_id"]
    as_read = pa.schema([f.with_type(pa.dictionary(pa.int32(), pa.string())) if f.name in text else f for f in schema])
    options = ds.ParquetFragmentScanOptions(pre_buffer=is_remote(root), page_checksum_verification=True)
    read = ds.ParquetFileFormat(dictionary_columns=text, default_fragment_scan_options=options)
    names = [arrow_name(part.path) for part in parts]
    checksums = {name: part.crc32 for name, part in zip(names, parts, strict=True) if part.crc32 is not None}
    footers = {name: part.footer for name, part in zip(names, parts, strict=True) if part.footer is not None}
    fs, _ = arrow_files(root, small, checksums, footers)
    fragments = [
        read.make_fragment(
            name,
            fs,
            partition_expression=part.rows_have(as_dictionary),
            row_groups=part.row_groups,
        )
        for name, part in zip(names, parts, strict=True)
    ]
    return Dataset(fragments, as_read, read, fs)


def ids_of(rows: pa.Table) -> list[Ids]:
    """The ids of each row of the table `videos`."""
    return list(zip(rows["video_id"].to_pylist(), rows["analysis_id"].to_pylist(), strict=True))


def latest_rows(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows that the view `videos` shows, and those of the newest finished analysis of each video.

    A finished analysis stays visible, because the other views show its rows; the reason of a later failure is put into
    its `error`. A failure without a finished analysis is shown only while its path has no newer row, so that it
    disappears when the broken file is replaced.
    """
    rows = rows.sort_by([("finished_at", "ascending"), ("analysis_id", "ascending")])
    video_id, path, status, error = (rows[name].to_pylist() for name in ("video_id", "path", "status", "error"))
    latest = {video: i for i, video in enumerate(video_id)}
    newest_done = {video: i for i, video in enumerate(video_id) if status[i] == "done"}
    latest_of_path = {file: i for i, file in enumerate(path)}
    shown = []
    for video, i in latest.items():
        if video in newest_done:
            if status[i] != "done":
                error[newest_done[video]] = f"a later run failed: {error[i]}"
            shown.append(newest_done[video])
        elif latest_of_path[path[i]] == i:
            shown.append(i)
    column = rows.schema.get_field_index("error")
    with_errors = rows.set_column(column, rows.schema.field(column), pa.array(error, pa.string()))
    return with_errors.take(pa.array(shown, pa.int64())), rows.take(pa.array(sorted(newest_done.values()), pa.int64()))


def _ids_in(name: str) -> Ids | None:
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
    found = {ids: file for name, file in list_files(root / "videos").items() if (ids := _ids_in(name)) is not None}
    remembered = _remembered(root)
    stamps = remembered["stamp"].to_pylist()
    valid = [i for i, ids in enumerate(ids_of(remembered)) if ids in found and found[ids].stamp == stamps[i]]
    known = remembered.take(pa.array(valid, pa.int64())).select(VIDEOS.names)
    unread = found.keys() - set(ids_of(known))
    read, damaged = _read(root, sorted(unread)) if unread else (VIDEOS.empty_table(), [])
    rows = pa.concat_tables([known, read])
    if len(unread) >= WORTH_REMEMBERING or len(known) < len(remembered):
        _remember(root, rows, {ids: file.stamp for ids, file in found.items()})
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


def _remembered(root: StoragePath) -> pa.Table:
    """The cached rows and the versions of their files; empty without a usable cache of this version."""
    with contextlib.suppress(OSError, pa.ArrowException):
        content = read_bytes(root / REMEMBERED)
        rows, checksum = content[:-_CRC_BYTES], content[-_CRC_BYTES:]
        if zlib.crc32(rows).to_bytes(_CRC_BYTES) == checksum:
            table = pa.ipc.open_file(rows).read_all()
            if table.schema.equals(_SCHEMA):
                return table
    return _SCHEMA.empty_table()


def _remember(root: StoragePath, rows: pa.Table, stamps: Mapping[Ids, str]) -> None:
    """Write the cache, if the folder is writable."""
    table = rows.append_column(_SCHEMA.field("stamp"), pa.array([stamps[ids] for ids in ids_of(rows)], pa.string()))
    with contextlib.suppress(OSError, StoreError, StorageError):
        write_atomic(root / REMEMBERED, partial(_write, table.cast(_SCHEMA)))


def _write(table: pa.Table, part: Path) -> None:
    """Write the cache: an Arrow IPC file, followed by its CRC-32."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    rows = sink.getvalue().to_pybytes()
    part.write_bytes(rows + zlib.crc32(rows).to_bytes(_CRC_BYTES))
