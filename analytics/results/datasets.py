"""Combine Parquet files of a results folder into one Arrow dataset."""

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
import pyarrow.dataset as ds

from analytics.results.arrow_files import arrow_files
from analytics.results.checksums import ShardChecksum
from analytics.results.scans import Dataset
from analytics.results.storage_paths import StoragePath, arrow_name, is_remote


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

    def make_fragments() -> list[ds.Fragment]:
        return [
            read.make_fragment(name, fs, partition_expression=part.rows_have(as_dictionary), row_groups=part.row_groups)
            for name, part in zip(names, parts, strict=True)
        ]

    return Dataset(make_fragments, as_read, read, fs)
