"""SQL over the results: DuckDB views that read the Parquet files and cannot reach anything else."""

import contextlib
import threading
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from analytics.schema import TIMELINE_TABLES, VIDEOS
from analytics.store import StoreError, check_results, has_tables, table_path

MAX_RESULT_BYTES = 256 * 1024**2
# DuckDB sees the files only through the Arrow datasets we hand it, so it needs no file of its own. (Its own Parquet
# reader would need the results folder opened to SQL, which then allows COPY … TO there, and reads [ and * in the
# folder's name as patterns.)
_LOCKED = (
    "SET python_enable_replacements = false",  # SQL must not see the variables of the Python around it
    "SET enable_external_access = false",  # no files, no network, no extensions
    "SET lock_configuration = true",
)


class QueryError(Exception):
    """The SQL is not one SELECT, is wrong, took too long, or gives too much."""


def connect(results: str | Path, *, memory_limit: str = "2GB") -> duckdb.DuckDBPyConnection:
    """A DuckDB connection to the results as they are now, which cannot change them nor reach other files.

    Views: `videos` has a row per file, the latest word on it; `frames`, `faces`, `tracks`, `episodes` and
    `transitions` have the rows of the newest finished analysis of each video.

    Args:
        results: the results folder.
        memory_limit: what DuckDB may use, as in `500MB`.

    Raises:
        StoreError: if `results` is not a results folder of this version.
    """
    root = Path(results).absolute()  # files are opened when asked for, perhaps from another working directory
    check_results(root)
    videos, newest = _latest(_read_videos(root), root)
    connection = duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": ""})
    connection.register("videos", pa.Table.from_pylist(videos, schema=VIDEOS))
    for name, schema in TIMELINE_TABLES.items():
        files = [str(table_path(root, name, video_id, analysis_id)) for video_id, analysis_id in newest]
        connection.register(name, _dataset(root / name, files, schema))
    for statement in _LOCKED:
        connection.execute(statement)
    return connection


def query(results: str | Path, sql: str, *, timeout_s: float = 30.0, memory_limit: str = "2GB") -> pa.Table:
    """The answer to one SELECT over the views of `connect`; for SQL that others wrote.

    Raises:
        QueryError: if `sql` is anything but one SELECT, is wrong, takes longer than `timeout_s`, needs more memory than
            `memory_limit` or gives more than 256 MiB.
        StoreError: if `results` is not a results folder of this version.
    """
    with contextlib.closing(connect(results, memory_limit=memory_limit)) as connection:
        timer = threading.Timer(timeout_s, connection.interrupt)
        timer.start()
        try:
            statements = connection.extract_statements(sql)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise QueryError("only one SELECT at a time can be run here")
            return _named_apart(_bounded(connection.sql(statements[0]).to_arrow_reader()))
        except duckdb.InterruptException as error:
            raise QueryError(f"stopped after {timeout_s:g} s: ask for less, or for a shorter span of time") from error
        except (duckdb.Error, pa.ArrowException) as error:
            raise QueryError(str(error)) from error
        finally:
            timer.cancel()


def _bounded(batches: pa.RecordBatchReader) -> pa.Table:
    """All rows, unless they are too many for this process to hold."""
    kept, size_bytes = [], 0
    for batch in batches:
        kept.append(batch)
        size_bytes += batch.nbytes
        if size_bytes > MAX_RESULT_BYTES:
            raise QueryError(f"the result is larger than {MAX_RESULT_BYTES >> 20} MiB: aggregate it or add a LIMIT")
    return pa.Table.from_batches(kept, batches.schema)


def _named_apart(rows: pa.Table) -> pa.Table:
    """The rows with a number behind names that come again, as from `SELECT * FROM a JOIN b ON …`."""
    names: list[str] = []
    for name in rows.column_names:
        again, number = name, 1
        while again in names:
            again, number = f"{name}_{number}", number + 1
        names.append(again)
    return rows.rename_columns(names)


def _read_videos(root: Path) -> list[dict[str, Any]]:
    """Every row of table videos, the oldest first."""
    files = [str(path) for path in (root / "videos").glob("*/[!.]*.parquet")]
    try:
        rows = _dataset(root / "videos", files, VIDEOS).to_table().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{root}: a row of videos is damaged; delete that file and run again: {error}") from error
    return sorted(rows, key=lambda row: (row["finished_at"], row["analysis_id"]))


def _latest(rows: list[dict[str, Any]], root: Path) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The rows that view videos shows, and video_id and analysis_id of each video's newest finished analysis.

    The row of a finished analysis stays, as the other views show its rows; a later failure is told in its `error`.
    Otherwise a failure is shown only while nothing newer is known of the same path, so that it goes when the broken
    file is replaced.
    """
    rows = [row for row in rows if row["status"] != "done" or has_tables(root, row["video_id"], row["analysis_id"])]
    latest = {row["video_id"]: row for row in rows}
    newest_done = {row["video_id"]: row for row in rows if row["status"] == "done"}
    of_path = {row["path"]: row for row in rows}
    shown = []
    for video_id, row in latest.items():
        if row["status"] == "done":
            shown.append(row)
        elif video_id in newest_done:
            shown.append(newest_done[video_id] | {"error": f"a later run failed: {row['error']}"})
        elif of_path[row["path"]] is row:
            shown.append(row)
    return shown, sorted((video_id, row["analysis_id"]) for video_id, row in newest_done.items())


def _dataset(folder: Path, files: list[str], schema: pa.Schema) -> ds.Dataset:
    """A table of the results as Arrow reads it: only these files, `video_id` from their folders' names."""
    partitioning = ds.partitioning(pa.schema([schema.field("video_id")]), flavor="hive")
    return ds.dataset(files, schema=schema, format="parquet", partitioning=partitioning, partition_base_dir=str(folder))
