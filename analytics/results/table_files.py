"""The Parquet files of tables: their paths, how they are written, and how they are read whole."""

import contextlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.results.arrow_files import read_table
from analytics.results.atomic_write import prepared_file
from analytics.results.storage_paths import StoragePath
from analytics.tables.schema import TABLES, TIMELINE_TABLES

# Rows per row group, about 3 MB of faces, so that readers of a short time range skip the rest.
ROW_GROUP_ROWS = 64 * 1024
ZSTD_LEVEL = 3  # compression level; higher levels save 5% and take three times as long


def table_path(root: StoragePath, name: str, video_id: str, analysis_id: str) -> StoragePath:
    """The file with the rows of an analysis in table `name`."""
    if name not in TABLES:
        raise ValueError(f"name must be one of {', '.join(TABLES)}, got {name!r}")
    return root / name / f"video_id={video_id}" / f"{analysis_id}.parquet"


def has_tables(root: StoragePath, video_id: str, analysis_id: str) -> bool:
    """Whether all tables of an analysis exist."""
    return all(table_path(root, name, video_id, analysis_id).is_file() for name in TIMELINE_TABLES)


@dataclass(frozen=True)
class FileContent:
    """The checksum and size of a written file."""

    crc32: int
    size_bytes: int


def write_table(path: StoragePath, table: pa.Table, sort_by: tuple[str, ...] = ()) -> None:
    """Write a table, sorted by these columns, as a Parquet file.

    Raises:
        StoreError: if the disk is full, or the folder is not writable.
    """
    if sort_by:
        table = table.sort_by([(name, "ascending") for name in sort_by])
    write_tables({path: table})


def write_tables(tables: Mapping[StoragePath, pa.Table]) -> list[FileContent]:
    """Write tables as Parquet files that take the place of earlier ones shortly after one another.

    Raises:
        StoreError: if the disk is full, or a folder is not writable.
    """
    with contextlib.ExitStack() as files:
        prepared = [files.enter_context(_prepared_table(path, table)) for path, table in tables.items()]
        for _, publish in prepared:
            publish()
    return [content for content, _ in prepared]


@contextlib.contextmanager
def _prepared_table(path: StoragePath, table: pa.Table) -> Iterator[tuple[FileContent, Callable[[], None]]]:
    """Write a table; the function returned puts the file in its place, see `prepared_file`."""
    options = parquet_options(table.schema)
    written: list[FileContent] = []

    def write(part: Path) -> None:
        pq.write_table(table, part, row_group_size=ROW_GROUP_ROWS, **options)
        content = part.read_bytes()
        written.append(FileContent(zlib.crc32(content), len(content)))

    with prepared_file(path, write) as publish:
        yield written[-1], publish


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """The options for writing a Parquet file with these columns."""
    # Measurements rarely repeat, so byte-stream-split encoding takes half the space of dictionary encoding.
    points = ("landmarks_px", "points_px")
    leaves = {f.name: f"{f.name}.list.element" if f.name in points else f.name for f in schema}
    kinds = {leaf: schema.field(name).type for name, leaf in leaves.items()}
    measured = [leaf for leaf, kind in kinds.items() if pa.types.is_floating(kind) or pa.types.is_fixed_size_list(kind)]
    # Columns whose values increase by nearly constant steps.
    counted = [leaf for leaf in kinds if leaf == "frame_index"]
    return {
        "compression": "zstd",
        "compression_level": ZSTD_LEVEL,
        "write_page_checksum": True,
        "use_dictionary": [leaf for leaf in kinds if leaf not in measured + counted],
        "column_encoding": dict.fromkeys(measured, "BYTE_STREAM_SPLIT") | dict.fromkeys(counted, "DELTA_BINARY_PACKED"),
    }


def read_whole(path: StoragePath, schema: pa.Schema) -> pa.Table | None:
    """The rows of a file; None if it is missing, damaged or from another version."""
    try:
        table = read_table(path, page_checksum_verification=True)
    except (FileNotFoundError, pa.ArrowException, OSError):
        return None
    table = _add_missing_columns(table, schema)
    return table if table.schema.equals(schema) else None


def _add_missing_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Add columns that an older version did not write, filled with NULL."""
    for i, field in enumerate(schema):
        if field.nullable and field.name not in table.column_names:
            table = table.add_column(min(i, table.num_columns), field, pa.nulls(len(table), field.type))
    return table
