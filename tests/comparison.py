"""Compare two results folders: all tables must have the same rows, except for the time and speed of the runs."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.tables.schema import TABLES
from flows.analysis.rebuild_timeline import SPEEDS

# Columns that differ between two runs over the same videos: times, speeds, and checksums that include them.
OF_THE_RUN = ["started_at", "finished_at", *SPEEDS, "row_crc32", "table_crc32", "table_bytes"]


def files(results: Path) -> set[str]:
    """The paths of the Parquet files that readers see, relative to the folder."""
    found = (path.relative_to(results) for path in results.rglob("*.parquet"))
    return {path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)}


def rows(results: Path, file: str) -> pa.Table:
    """The rows of one file."""
    table = pq.read_table(results / file, partitioning=None)
    return table.drop_columns([name for name in OF_THE_RUN if name in table.column_names])


def assert_same(results: Path, expected: Path) -> None:
    """Check that both folders have the same files, with the same rows bit for bit."""
    assert files(results) == files(expected)
    assert {file.split("/")[0] for file in files(results)} == {*TABLES, "observations"}
    for file in sorted(files(results)):
        assert rows(results, file).equals(rows(expected, file)), file
