"""Compact many small files into few larger ones (see `analytics.results.shards`) while other processes read and write.

Each analysis stays readable at every step: a new shard takes effect once its last file is written. The original files
are kept, so that programs which read `faces/**/*.parquet` still find each analysis exactly once. If the caller asks to
delete them, they are deleted after a delay, so that running queries can finish. The next compaction finishes or cleans
up an interrupted one.
"""

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analytics.errors import StoreError
from analytics.results.arrow_files import read_table
from analytics.results.atomic_write import write_atomic
from analytics.results.catalog import Catalog, read_catalog
from analytics.results.checksums import ShardChecksum, to_metadata
from analytics.results.damage import MISSING, Damage, DamagedFileError
from analytics.results.results_folder import check_results
from analytics.results.shards import FOLDER, ROWS, read_shards, shard_path
from analytics.results.storage_paths import StoragePath, is_remote, list_files, remove
from analytics.results.table_checks import changed_shard_file
from analytics.results.table_files import parquet_options, table_path
from analytics.results.video_lock import hold_video
from analytics.results.video_rows import Ids, ids_of, own_rows
from analytics.tables.schema import TABLES, TIMELINE_TABLES, conform

MAX_ANALYSES = 1000  # maximum number of analyses in a shard
MAX_BYTES = 512 << 20  # limit on the size of a shard, measured by the files that are compacted
SMALL_BYTES = 8 << 20  # analyses with larger tables are not compacted
BATCH = 16  # number of analyses read at a time
WAIT_S = 150.0  # seconds before replaced files are deleted: longer than the time limit of a query
CHANGED = "changed while it was compacted: run the same command again"


@dataclass(frozen=True)
class Compaction:
    """The outcome of a compaction."""

    n_analyses: int  # number of analyses in new shards
    n_shards: int  # number of new shards
    n_removed: int  # number of deleted files, which new shards have replaced


def compact(
    results: StoragePath,
    *,
    wait_s: float = WAIT_S,
    delete_originals: bool = False,
    on_wait: Callable[[], object] = lambda: None,
) -> Compaction:
    """Combine the tables of small analyses into shards, and small shards into larger ones.

    Do not purge at the same time. Observations are not changed.

    Args:
        results: the results folder.
        wait_s: delay before replaced files are deleted, so that running queries can finish.
        delete_originals: delete the original small files, too, not only replaced shards.
        on_wait: called before the delay, if there are files to delete.

    Raises:
        StoreError: if `results` is not a results folder or not writable, a purge was interrupted, or another process
            keeps changing a video.
        DamagedFileError: if a shard, or the row of a video, is damaged; nothing is deleted then but shards that an
            interrupted compaction left behind.
    """
    check_results(results)
    if list_files(results / ".purging"):
        raise StoreError(f"{results}: a purge was interrupted: run `fervid purge` again first")
    if lost := remove_broken_shards(results):
        raise DamagedFileError.of(lost[0])
    catalog = read_catalog(results)
    groups = list(_groups(catalog))
    for group in groups:
        write_shard(catalog, group)
    originals, shards = find_replaced(results)
    if shards or (originals and delete_originals):
        on_wait()
        time.sleep(wait_s)
    n_removed = delete_replaced_files(results, originals=delete_originals)
    return Compaction(sum(map(len, groups)), len(groups), n_removed)


def _groups(catalog: Catalog) -> Iterator[list[Ids]]:
    """The ids of the analyses for each new shard."""
    size_bytes = _sizes(catalog)
    is_live = pc.fill_null(catalog.rows["is_running"], False)  # the tables of a live session are rewritten repeatedly
    rows = catalog.rows.filter(pc.and_not(pc.equal(catalog.rows["status"], "done"), is_live))
    own = {pair for pair in ids_of(rows) if pair not in catalog.shard_of and size_bytes.get(pair, 0) <= SMALL_BYTES}
    in_shard: dict[str, list[Ids]] = {}
    for pair, where in catalog.shard_of.items():
        in_shard.setdefault(where.shard, []).append(pair)
    small = [
        pairs
        for pairs in in_shard.values()
        if len(pairs) < MAX_ANALYSES / 2 and sum(size_bytes.get(pair, 0) for pair in pairs) < MAX_BYTES / 2
    ]
    if len(own) + len(small) < 2:
        return
    group: list[Ids] = []
    group_bytes = 0
    for pair in sorted(own.union(*small)):
        if group and (len(group) == MAX_ANALYSES or group_bytes + size_bytes.get(pair, 0) > MAX_BYTES):
            yield group
            group, group_bytes = [], 0
        group.append(pair)
        group_bytes += size_bytes.get(pair, 0)
    yield group


def _sizes(catalog: Catalog) -> dict[Ids, int]:
    """The table sizes of each analysis; within a shard, its share of the size by the number of rows."""
    sizes: dict[Ids, int] = {}
    for name in TIMELINE_TABLES:
        for file, entry in list_files(catalog.root / name).items():
            folder, _, last = file.partition("/")
            pair = folder.removeprefix("video_id="), last.removesuffix(".parquet")
            sizes[pair] = sizes.get(pair, 0) + entry.size_bytes
    shards = read_shards(catalog.root)
    files = list_files(catalog.root / FOLDER)
    for shard, rows in shards.rows.items():
        total = sum(files[f"{shard}/{name}.parquet"].size_bytes for name in TIMELINE_TABLES)
        n_rows = [sum(counts) + 1 for counts in rows["n_rows"].to_pylist()]
        for pair, n in zip(ids_of(rows), n_rows, strict=True):
            if pair in catalog.shard_of and catalog.shard_of[pair].shard == shard:
                sizes[pair] = total * n // sum(n_rows)
    return sizes


def write_shard(catalog: Catalog, ids: Sequence[Ids]) -> str:
    """Write a shard of these analyses, from their own files or other shards; return its name.

    Raises:
        StoreError: if an analysis was changed or deleted meanwhile, or the disk is full.
    """
    index = {pair: i for i, pair in enumerate(ids_of(catalog.rows))}
    rows = catalog.rows.take(pa.array([index[pair] for pair in ids], pa.int64()))
    shard = f"s{secrets.token_hex(8)}"  # a unique name, so that concurrent compactions do not overwrite each other
    counts: list[list[int]] = []
    checksums: dict[str, ShardChecksum] = {}

    def write(name: str, part: Path) -> None:
        counts.append(_write_groups(catalog, name, ids, part))
        checksums[name] = ShardChecksum.of(part)

    for name in TIMELINE_TABLES:
        try:
            write_atomic(shard_path(catalog.root, shard, name), partial(write, name))
        except StoreError:
            remove_shard(catalog.root, shard)
            raise
    n_rows = pa.array(list(zip(*counts, strict=True)), ROWS.field("n_rows").type)
    manifest = rows.append_column(ROWS.field("n_rows"), n_rows).cast(ROWS)
    manifest = manifest.replace_schema_metadata(to_metadata(checksums))
    now = read_catalog(catalog.root, skip_damaged=True)
    finished_at = dict(zip(ids_of(now.rows), now.rows["finished_at"].to_pylist(), strict=True))
    has_changed = [finished_at.get(pair) for pair in ids] != rows["finished_at"].to_pylist()
    # Another compaction or a purge that began meanwhile takes the shard for one of an interrupted compaction.
    if has_changed or not _has_tables(catalog.root, shard):
        remove_shard(catalog.root, shard)
        raise StoreError(f"{catalog.root}: {CHANGED}")
    path = shard_path(catalog.root, shard, "videos")
    write_atomic(path, lambda part: pq.write_table(manifest, part, write_page_checksum=True))
    return shard


def _write_groups(catalog: Catalog, name: str, ids: Sequence[Ids], part: Path) -> list[int]:
    """Write a row group for each analysis, even if it has no rows; return the numbers of rows."""
    schema, counted = TABLES[name], list[int]()
    with pq.ParquetWriter(part, schema, **parquet_options(schema)) as writer:
        for batch in (ids[start : start + BATCH] for start in range(0, len(ids), BATCH)):
            try:
                rows = catalog.table(name, batch, schema).to_table()
            except FileNotFoundError:
                raise
            except OSError as error:
                raise StoreError(f"{catalog.root}: {CHANGED} (`fervid verify` finds damaged files)") from error
            for video_id, analysis_id in batch:
                is_of_analysis = (pc.field("video_id") == video_id) & (pc.field("analysis_id") == analysis_id)
                mine = conform(rows.filter(is_of_analysis).cast(schema), schema)
                writer.write_table(mine, row_group_size=max(len(mine), 1))
                counted.append(len(mine))
    return counted


def delete_replaced_files(root: StoragePath, *, originals: bool) -> int:
    """Delete replaced shards and, with `originals`, the original files; return the number of deleted files.

    Files of analyses that another process changes meanwhile are kept.

    Raises:
        DamagedFileError: if a shard that replaces them is damaged; nothing is deleted.
    """
    own, empty = find_replaced(root)
    own = own if originals else {}
    _check_content(root, list(own), empty)
    n_deleted = _delete_originals(root, own)
    for shard in empty:
        remove_shard(root, shard)
    return n_deleted + len(empty) * len(TABLES)


def _delete_originals(root: StoragePath, copied: Mapping[Ids, datetime]) -> int:
    """Delete the files of these analyses that have not changed since; return the number of deleted files.

    Args:
        root: the results folder.
        copied: `finished_at` of each analysis that is in a shard.
    """
    if is_remote(root):  # object stores have no locks, so all are checked shortly before
        now, _ = find_replaced(root)
        unchanged = [ids for ids, finished_at in copied.items() if now.get(ids) == finished_at]
        _delete_files(root, unchanged)
    else:
        unchanged = []
        for ids, finished_at in copied.items():
            with hold_video(root, ids[0]):
                if _finished_at(root, ids) == finished_at:
                    _delete_files(root, [ids])
                    unchanged.append(ids)
    return len(unchanged) * len(TABLES)


def _finished_at(root: StoragePath, ids: Ids) -> datetime | None:
    """`finished_at` in the row of an analysis outside of shards; None if there is none."""
    try:
        rows = read_table(table_path(root, "videos", *ids), columns=["finished_at"])
    except (OSError, pa.ArrowException):
        return None
    return cast(datetime, rows["finished_at"][0].as_py())


def _delete_files(root: StoragePath, analyses: Sequence[Ids]) -> None:
    """Delete the files of analyses outside of shards, and folders that are empty then."""
    tables = [table_path(root, name, *ids) for ids in analyses for name in TIMELINE_TABLES]
    rows = [table_path(root, "videos", *ids) for ids in analyses]
    remove(tables)
    remove(rows)  # rows are removed last, because a row tells readers that its tables may exist
    for folder in {path.parent for path in [*tables, *rows] if not is_remote(root)}:
        with contextlib.suppress(OSError):  # OSError: the folder is not empty
            folder.rmdir()


def _check_content(root: StoragePath, own: Sequence[Ids], replaced: Sequence[str]) -> None:
    """Check that the shards with these analyses, and with those of replaced shards, are as they were written.

    Raises:
        DamagedFileError: if one is not.
    """
    shards = read_shards(root)
    analyses = [*own, *(pair for shard in replaced for pair in ids_of(shards.rows[shard]))]
    for shard in {shards.where[pair].shard for pair in analyses}:
        for name, checksum in shards.checksums[shard].items():
            for damage in changed_shard_file(shard_path(root, shard, name), checksum):
                raise DamagedFileError.of(damage)


def find_replaced(root: StoragePath) -> tuple[dict[Ids, datetime], list[str]]:
    """The analyses whose own files a shard replaces, with `finished_at`, and the shards that newer shards replace."""
    shards = read_shards(root)
    rows = own_rows(root)
    own = {
        pair: finished_at
        for pair, finished_at in zip(ids_of(rows), rows["finished_at"].to_pylist(), strict=True)
        if pair in shards.where and finished_at <= shards.where[pair].finished_at
    }
    read = {where.shard for where in shards.where.values()}
    return own, [shard for shard in shards.rows if shard not in read]


def drop_from_shards(root: StoragePath, removed: Collection[Ids]) -> None:
    """Rewrite the shards that contain any of these analyses, without them.

    Raises:
        DamagedFileError: if one of the other analyses in these shards is damaged.
        StoreError: if the results are not writable, or change meanwhile.
    """
    for shard, rows in read_shards(root).rows.items():
        if not set(removed).isdisjoint(ids_of(rows)):
            catalog = read_catalog(root, skip_damaged=True)
            of_shard = [pair for pair, where in catalog.shard_of.items() if where.shard == shard]
            if kept := sorted(set(of_shard).difference(removed)):
                videos = {video_id for video_id, _ in set(kept).difference(ids_of(catalog.rows))}
                if damage := next((damage for damage in catalog.damaged if damage.video_id in videos), None):
                    raise DamagedFileError.of(damage)
                write_shard(catalog, kept)
            remove_shard(root, shard)


def remove_broken_shards(root: StoragePath, *, purged: Collection[str] = ()) -> list[Damage]:
    """Delete the files that an interrupted compaction left behind; return `lost_manifests`, whose shards are kept.

    Args:
        root: the results folder.
        purged: ids of videos whose purge may have been interrupted.
    """
    lost = lost_manifests(root, purged=purged)
    for shard in broken_shards(root) - {damage.path.parent.name for damage in lost}:
        remove_shard(root, shard)
    return lost


def broken_shards(root: StoragePath) -> set[str]:
    """The shards without a manifest, which may have tables."""
    shards = read_shards(root)
    # A damaged shard was written completely; its undamaged tables may still be readable, so it is kept.
    damaged = {damage.path.parent.name for damage in shards.damaged}
    folder = root / FOLDER
    if is_remote(folder):
        existing = {name.partition("/")[0] for name in list_files(folder)}
    else:  # also a folder in which there are only hidden temporary files
        existing = {path.name for path in folder.glob("s*")}
    return existing - set(shards.rows) - damaged


def lost_manifests(root: StoragePath, *, purged: Collection[str] = ()) -> list[Damage]:
    """The missing manifests of shards with all tables, some of whose analyses are nowhere else.

    The shards that an interrupted compaction or purge leaves behind contain no other analyses than those that are
    elsewhere or of a video in `purged`.
    """
    complete = [shard for shard in sorted(broken_shards(root)) if _has_tables(root, shard)]
    if not complete:
        return []
    known = {*ids_of(own_rows(root)), *read_shards(root).where}
    return [
        Damage(shard_path(root, shard, "videos"), MISSING, is_in_shard=True, results=str(root))
        for shard in complete
        if _has_others(shard_path(root, shard, "frames"), known, purged)
    ]


def _has_others(frames: StoragePath, known: Collection[Ids], purged: Collection[str]) -> bool:
    """Whether a table `frames` has rows of other analyses than known ones and those of purged videos."""
    try:
        rows = read_table(frames, columns=["video_id", "analysis_id"])
    except FileNotFoundError:  # it was deleted meanwhile
        return False
    except (OSError, pa.ArrowException):  # damaged, which no interruption causes
        return True
    return any(pair not in known and pair[0] not in purged for pair in set(ids_of(rows)))


def _has_tables(root: StoragePath, shard: str) -> bool:
    return all(shard_path(root, shard, name).is_file() for name in TIMELINE_TABLES)


def remove_shard(root: StoragePath, shard: str) -> None:
    """Delete a shard, its rows of the table `videos` first, so that readers ignore it at once."""
    remove([shard_path(root, shard, "videos")])
    if is_remote(root):
        remove([shard_path(root, shard, name) for name in TIMELINE_TABLES])
    else:
        shutil.rmtree(root / FOLDER / shard, ignore_errors=True)
