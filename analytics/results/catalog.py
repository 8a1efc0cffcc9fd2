"""What a results folder holds at a moment: the rows of table videos, and where the tables of each analysis are.

A file for each analysis is right for writers, a thousand of them slow for readers: rows once read are remembered.
"""

import contextlib
import operator
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from analytics.results.damage import Damage, DamagedFileError, one_line
from analytics.results.shards import Where, read_shards, shard_path
from analytics.results.storage_paths import (
    StorageError,
    arrow_files,
    filesystem_of,
    is_remote,
    list_files,
    read_bytes,
    translate_client_errors,
)
from analytics.results.store import StoreError, row_crc32, table_path, write_atomic
from analytics.tables.schema import TIMELINE_TABLES, VIDEOS

# Holds what the files it was made from hold, and nothing that they do not: it may be deleted at any time, and must be
# when the rows of a video are. Hidden, so that nobody's glob takes it for a table.
REMEMBERED = Path("videos") / ".rows.arrow"
WORTH_REMEMBERING = 64  # rows read anew; fewer are read in no time
ATTEMPTS = 5
RETRY_S = 0.2
SMALL_BYTES = 1 << 20  # at an address such a file is read whole: its parts one by one would take longer
_SCHEMA = pa.schema([*VIDEOS, pa.field("stamp", pa.string())])
Ids = tuple[str, str]  # video_id and analysis_id


@dataclass(frozen=True, eq=False)
class Catalog:
    """The analyses and failures of a results folder at a moment."""

    root: Path
    rows: pa.Table  # of table videos, in no order
    shard_of: Mapping[Ids, Where]  # of analyses whose tables are in a shard; all others have files of their own
    small: Collection[str]  # objects that are best read whole
    damaged: Sequence[Damage] = ()  # rows of videos and shards that cannot be read, tables of another size than written

    def table(self, name: str, ids: Iterable[Ids], schema: pa.Schema) -> ds.Dataset:
        """The rows of these analyses in table `name` as one Arrow dataset; nothing is read or listed."""
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
            parts.append(Part(shard_path(self.root, shard, name), {}, row_groups, (min(videos), max(videos))))
        return dataset(self.root, parts, schema, self.small)

    @cached_property
    def _checksums(self) -> dict[Ids, list[int] | None]:
        """The CRC-32 of the tables of each analysis, in the order of `TIMELINE_TABLES`; None for version 0.1."""
        rows = zip(ids_of(self.rows), *(self.rows[n].to_pylist() for n in ("is_running", "table_crc32")), strict=True)
        return {ids: None if is_running else crc32 for ids, is_running, crc32 in rows}


@dataclass(frozen=True)
class Part:
    """A Parquet file, and the columns that its folders' names hold; of a shard, what is wanted of it."""

    path: Path
    known: Mapping[str, str]
    row_groups: Sequence[int] | None = None
    videos: tuple[str, str] | None = None  # the first and the last
    crc32: int | None = None  # of the file, if known

    def rows_have(self, as_dictionary: bool) -> ds.Expression:
        """What is true of every row: a question that excludes it need not open the file."""

        def is_(name: str, value: str) -> ds.Expression:
            return ds.field(name) == (pa.array([value]).dictionary_encode()[0] if as_dictionary else value)

        conditions = [is_(name, value) for name, value in self.known.items()]
        if self.videos is not None:
            first, last = self.videos
            conditions.append((ds.field("video_id") >= first) & (ds.field("video_id") <= last))
        return reduce(operator.and_, conditions, ds.scalar(True))


def read_catalog(root: Path, *, skip_damaged: bool = False) -> Catalog:
    """What is there now. A finished analysis counts only while all its tables are there.

    Args:
        root: the results folder.
        skip_damaged: leave out analyses whose files are damaged, and list these files in `Catalog.damaged`.

    Raises:
        DamagedFileError: if the row of a video, or a shard, cannot be read, unless `skip_damaged`.
    """
    catalog = _read_catalog_while_it_changes(root)
    if catalog.damaged:  # or its row is not written yet: read again
        time.sleep(RETRY_S)
        catalog = _read_catalog_while_it_changes(root)
    if catalog.damaged and not skip_damaged:
        raise DamagedFileError.of(catalog.damaged[0])
    return catalog


def _read_catalog_while_it_changes(root: Path) -> Catalog:
    for _ in range(ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):  # deleted since it was listed, as by a compaction
            return _read_catalog(root)
    return _read_catalog(root)


def _read_catalog(root: Path) -> Catalog:
    own, damaged = read_own_rows(root)  # before the shards: what is gone from here is in one of them
    shards = read_shards(root)
    damaged += shards.damaged
    names = ("video_id", "analysis_id", "status", "finished_at", "table_bytes", "is_running")
    columns = (own[name].to_pylist() for name in names)
    there, small = _tables_there(root) if is_remote(root) else (None, frozenset())
    shard_of = dict(shards.where)
    known, kept = set(), []
    for i, (video_id, analysis_id, status, finished_at, written_bytes, is_running) in enumerate(
        zip(*columns, strict=True)
    ):
        ids = video_id, analysis_id
        known.add(ids)
        where = shards.where.get(ids)
        # Files whose row is no newer than the shard are about to be deleted.
        outdated = where is not None and finished_at <= where.finished_at
        sizes = _table_sizes(root, ids) if there is None else there.get(ids)
        if not outdated and status == "done" and sizes is not None:
            # The tables of a live session are written again and again, each time before its row.
            if written_bytes is not None and sizes != written_bytes and not is_running:
                damaged += _of_other_size(root, ids, sizes, written_bytes)
                continue
            shard_of.pop(ids, None)
        elif where is None and status == "done":
            continue
        kept.append(i)
    rows = [own.take(pa.array(kept, pa.int64()))]
    for shard, of_shard in shards.rows.items():
        all_ids = ids_of(of_shard)
        mine = [i for i, ids in enumerate(all_ids) if ids not in known and shards.where[ids].shard == shard]
        rows.append(of_shard.select(VIDEOS.names).take(pa.array(mine, pa.int64())))
    return Catalog(root, pa.concat_tables(rows), shard_of, small, tuple(damaged))


def _table_sizes(root: Path, ids: Ids) -> list[int] | None:
    """The sizes of the tables of an analysis on disk, in the order of `TIMELINE_TABLES`; None if one is missing."""
    try:
        return [table_path(root, name, *ids).stat().st_size for name in TIMELINE_TABLES]
    except FileNotFoundError:
        return None


def _of_other_size(root: Path, ids: Ids, sizes: list[int], written_bytes: list[int]) -> list[Damage]:
    return [
        Damage(table_path(root, name, *ids), f"{size:,} bytes, {written:,} were written", ids[0])
        for name, size, written in zip(TIMELINE_TABLES, sizes, written_bytes, strict=True)
        if size != written
    ]


def _tables_there(root: Path) -> tuple[dict[Ids, list[int]], frozenset[str]]:
    """The table sizes of analyses that have all, and the names of small objects: a listing for each table."""
    sizes: list[dict[Ids, int]] = []
    small: set[str] = set()
    for name in TIMELINE_TABLES:
        prefix = filesystem_of(root / name)[1]
        found = list_files(root / name)
        sizes.append({ids: entry.size_bytes for file, entry in found.items() if (ids := _ids_in(file)) is not None})
        small |= {f"{prefix}/{file}" for file, entry in found.items() if entry.size_bytes <= SMALL_BYTES}
    complete = set.intersection(*map(set, sizes))
    return {ids: [of_table[ids] for of_table in sizes] for ids in complete}, frozenset(small)


def dataset(root: Path, parts: Iterable[Part], schema: pa.Schema, small: Collection[str] = ()) -> ds.Dataset:
    """Parquet files below `root` as one Arrow dataset; columns that they lack are NULL.

    Text is handed on as dictionaries, as it is stored: a few names are not copied for each of millions of rows. The
    ids of videos are not where shards are read: Arrow finds the row groups of a video only if its id is plain text.
    Reading ahead pays for stores over the network; for local files it doubled the time of each.
    """
    parts = list(parts)
    as_dictionary = all(part.videos is None for part in parts)
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    text = text if as_dictionary else [name for name in text if name != "video_id"]
    as_read = pa.schema([f.with_type(pa.dictionary(pa.int32(), pa.string())) if f.name in text else f for f in schema])
    options = ds.ParquetFragmentScanOptions(pre_buffer=is_remote(root), page_checksum_verification=True)
    read = ds.ParquetFileFormat(dictionary_columns=text, default_fragment_scan_options=options)
    names = [filesystem_of(part.path)[1] if is_remote(root) else str(part.path) for part in parts]
    checksums = {name: part.crc32 for name, part in zip(names, parts, strict=True) if part.crc32 is not None}
    fs, _ = arrow_files(root, small, checksums)
    fragments = [
        read.make_fragment(
            name,
            fs,
            partition_expression=part.rows_have(as_dictionary),
            row_groups=part.row_groups,
        )
        for name, part in zip(names, parts, strict=True)
    ]
    return ds.FileSystemDataset(fragments, as_read, read, fs)


def ids_of(rows: pa.Table) -> list[Ids]:
    """The ids of each row of table videos."""
    return list(zip(rows["video_id"].to_pylist(), rows["analysis_id"].to_pylist(), strict=True))


def latest_rows(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows that view videos shows, and those of the newest finished analysis of each video.

    The row of a finished analysis stays, because the other views show its rows; the reason of a later failure is put
    into its `error`. A failure without a finished analysis is shown only while nothing newer is known of its path, so
    that it disappears when the broken file is replaced.
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
    """The ids in `video_id=v…/a….parquet`; None for another name."""
    folder, _, file = name.partition("/")
    if not folder.startswith("video_id=") or not file.endswith(".parquet") or "/" in file:
        return None
    return folder.removeprefix("video_id="), file.removesuffix(".parquet")


def own_rows(root: Path) -> pa.Table:
    """The rows that have a file of their own and can be read, with the columns of `VIDEOS`."""
    return read_own_rows(root)[0]


def read_own_rows(root: Path) -> tuple[pa.Table, list[Damage]]:
    """The rows that have a file of their own, with the columns of `VIDEOS`, and the files that cannot be read."""
    found = {ids: file for name, file in list_files(root / "videos").items() if (ids := _ids_in(name)) is not None}
    remembered = _remembered(root)
    stamps = remembered["stamp"].to_pylist()
    true = [i for i, ids in enumerate(ids_of(remembered)) if ids in found and found[ids].stamp == stamps[i]]
    known = remembered.take(pa.array(true, pa.int64())).select(VIDEOS.names)
    unread = found.keys() - set(ids_of(known))
    read, damaged = _read(root, sorted(unread)) if unread else (VIDEOS.empty_table(), [])
    rows = pa.concat_tables([known, read])
    if len(unread) >= WORTH_REMEMBERING or len(known) < len(remembered):
        _remember(root, rows, {ids: file.stamp for ids, file in found.items()})
    return rows, damaged


def _read(root: Path, ids: Sequence[Ids]) -> tuple[pa.Table, list[Damage]]:
    """The rows of these analyses, and the files of those that cannot be read."""
    try:
        return _read_rows(root, ids), []
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, ValueError) as error:  # ValueError: NULL in place of an id
        if len(ids) == 1:
            damage = Damage(table_path(root, "videos", *ids[0]), one_line(error), ids[0][0])
            return VIDEOS.empty_table(), [damage]
    halves = [_read(root, half) for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :])]
    return pa.concat_tables([rows for rows, _ in halves]), [one for _, found in halves for one in found]


def _read_rows(root: Path, ids: Sequence[Ids]) -> pa.Table:
    parts = [Part(table_path(root, "videos", *pair), {"video_id": pair[0]}) for pair in ids]
    small = {filesystem_of(part.path)[1] for part in parts} if is_remote(root) else ()
    with translate_client_errors(root):
        rows = dataset(root, parts, VIDEOS, small).to_table().cast(VIDEOS)
    if ids_of(rows) != list(ids) or rows["finished_at"].null_count or rows["status"].null_count:
        raise pa.ArrowInvalid("it is not a row of table videos")
    if any(row["row_crc32"] not in (None, row_crc32(row)) for row in rows.to_pylist()):
        raise pa.ArrowInvalid("its content has changed since it was written")
    return rows


def _remembered(root: Path) -> pa.Table:
    """What was remembered last, with stamps; no rows if there is nothing or it is of another version."""
    with contextlib.suppress(OSError, pa.ArrowException):
        table = pa.ipc.open_file(read_bytes(root / REMEMBERED)).read_all()
        if table.schema.equals(_SCHEMA):
            return table
    return _SCHEMA.empty_table()


def _remember(root: Path, rows: pa.Table, stamps: Mapping[Ids, str]) -> None:
    """Write the rows for the next reader, if the folder can be written to."""
    table = rows.append_column(_SCHEMA.field("stamp"), pa.array([stamps[ids] for ids in ids_of(rows)], pa.string()))
    with contextlib.suppress(OSError, StoreError, StorageError):
        write_atomic(root / REMEMBERED, partial(_write, table.cast(_SCHEMA)))


def _write(table: pa.Table, part: Path) -> None:
    with pa.ipc.new_file(part, table.schema) as writer:
        writer.write_table(table)
