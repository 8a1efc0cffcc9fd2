"""Check the tables of finished analyses for missing and damaged files."""

import zlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.results.arrow_files import CONTENT_CHANGED, check_footer
from analytics.results.checksums import ShardChecksum, stream_crc32
from analytics.results.damage import MISSING, Damage, one_line
from analytics.results.shards import read_shards, shard_path
from analytics.results.storage_paths import StoragePath, is_remote, read_bytes
from analytics.results.table_files import table_path
from analytics.results.video_record import VideoRecord
from analytics.tables.schema import TIMELINE_TABLES, without


def damaged_tables(root: StoragePath, row: VideoRecord) -> Iterator[Damage]:
    """The tables of a finished analysis (not in a shard) that are missing or damaged.

    Args:
        root: the results folder.
        row: the row of the analysis in the table `videos`.
    """
    checksums: Sequence[int | None] = row.table_crc32 or [None] * len(TIMELINE_TABLES)
    for (name, schema), crc32 in zip(TIMELINE_TABLES.items(), checksums, strict=True):
        path = table_path(root, name, row.video_id, row.analysis_id)
        if reason := _why_unreadable(path, without(schema, "video_id"), crc32):
            yield Damage(path, reason, row.video_id)


def damaged_in_shard(root: StoragePath, video_id: str, analysis_id: str) -> Iterator[Damage]:
    """The tables of an analysis in a shard that are damaged."""
    shards = read_shards(root)
    where = shards.where[video_id, analysis_id]
    checksums = shards.checksums[where.shard]
    for name in TIMELINE_TABLES:
        path = shard_path(root, where.shard, name)
        try:
            if not is_remote(path) and name in checksums:
                check_footer(path, checksums[name])
            source = pa.BufferReader(read_bytes(path)) if is_remote(path) else path
            with pq.ParquetFile(source, page_checksum_verification=True) as file:
                file.read_row_group(where.row_group)
        except (OSError, pa.ArrowException) as error:
            yield Damage(path, one_line(error), video_id, is_in_shard=True)


def changed_shard_file(path: StoragePath, checksum: ShardChecksum) -> Iterator[Damage]:
    """The file of a shard, if any byte of it has changed; which videos this affects is unknown."""
    try:
        with path.open("rb") as file:
            if stream_crc32(file) == checksum.crc32:
                return
        reason = CONTENT_CHANGED
    except OSError as error:
        reason = one_line(error)
    yield Damage(path, reason, is_in_shard=True)


def _why_unreadable(path: StoragePath, schema: pa.Schema, crc32: int | None) -> str:
    """The reason why a file cannot be used; empty if it can. `crc32` is None for results of version 0.1."""
    try:
        content = read_bytes(path)
        if crc32 is not None:
            return "" if zlib.crc32(content) == crc32 else CONTENT_CHANGED
        found = pq.read_table(pa.BufferReader(content), partitioning=None, page_checksum_verification=True).schema
    except FileNotFoundError:
        return MISSING
    except (OSError, pa.ArrowException) as error:
        return one_line(error)
    known = {field.name: field.type for field in schema}
    unexpected = [field.name for field in found if known.get(field.name) != field.type]
    if unexpected or "analysis_id" not in found.names:
        return f"it has other columns than table {path.parent.parent.name}"
    return ""
