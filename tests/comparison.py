"""Two results folders side by side: the same rows in every table, but for when and where they were made."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.tables.schema import TABLES
from flows.analysis.rebuild_timeline import SPEEDS

# What differs between two runs over the same videos: when they were, how fast, and the checksums over both.
OF_THE_RUN = ["started_at", "finished_at", *SPEEDS, "row_crc32", "table_crc32", "table_bytes"]


def files(results: Path) -> set[str]:
    """The files that readers see, by their place in the folder."""
    found = (path.relative_to(results) for path in results.rglob("*.parquet"))
    return {path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)}


def rows(results: Path, file: str) -> pa.Table:
    """The rows of one file."""
    table = pq.read_table(results / file, partitioning=None)
    return table.drop_columns([name for name in OF_THE_RUN if name in table.column_names])


def assert_same(results: Path, expected: Path) -> None:
    """Every file of every table is in both, with the same rows bit for bit."""
    assert files(results) == files(expected)
    assert {file.split("/")[0] for file in files(results)} == {*TABLES, "observations"}
    for file in sorted(files(results)):
        assert rows(results, file).equals(rows(expected, file)), file
