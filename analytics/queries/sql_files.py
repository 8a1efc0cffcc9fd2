"""Run the SQL of the standard questions on all or some videos, or a function on the faces of each video."""

from collections.abc import Callable, Collection
from pathlib import Path

import duckdb
import pyarrow as pa

FRAMES_PER_BATCH = 1_000_000  # frames of the videos that are queried at once, if a query keeps all rows in memory
# Ids of the finished videos in batches.
_BATCHES = f"""
WITH done AS (
    SELECT video_id, min(path) AS path, coalesce(max(n_frames), 0) AS n_frames FROM videos
    WHERE status = 'done' GROUP BY video_id
)
SELECT list(video_id ORDER BY path, video_id)
FROM (SELECT *, sum(n_frames) OVER (ORDER BY path, video_id) // {FRAMES_PER_BATCH} AS batch FROM done)
GROUP BY batch ORDER BY batch
"""
_FACES_OF_VIDEO = "SELECT * FROM visible('faces') WHERE video_id = $id"


def sql_of(name: str) -> str:
    """The SQL of a query, such as `timeline`; its parameters begin with `$`."""
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def run_sql(connection: duckdb.DuckDBPyConnection, name: str, **parameters: object) -> pa.Table:
    """Run an SQL file, such as `timeline`, and return its rows."""
    return connection.sql(sql_of(name), params=parameters or None).to_arrow_table()


def run_sql_for_videos(
    connection: duckdb.DuckDBPyConnection, name: str, video_ids: Collection[str], **parameters: object
) -> pa.Table:
    """Run a query whose SQL contains `($videos)`, the ids of the videos.

    Each id is a parameter of its own: with a list in one parameter, DuckDB would read the files of all videos. So it
    would with NULL in place of no ids, unlike with an id that no video has.
    """
    named = {f"video_{i}": video for i, video in enumerate(video_ids or [""])}
    sql = sql_of(name).replace("($videos)", f"({', '.join(f'${name}' for name in named)})")
    return connection.sql(sql, params=parameters | named).to_arrow_table()


def run_sql_in_batches(connection: duckdb.DuckDBPyConnection, name: str) -> pa.Table:
    """Run a query whose SQL contains `($videos)` on all finished videos, and join its rows, by path."""
    batches = [ids for (ids,) in connection.sql(_BATCHES).fetchall()]
    return pa.concat_tables([run_sql_for_videos(connection, name, ids) for ids in batches or [[]]])


def map_videos(
    connection: duckdb.DuckDBPyConnection, schema: pa.Schema, answer: Callable[[str, pa.Table], pa.Table]
) -> pa.Table:
    """Apply `answer` to the faces of each finished video; join its rows, with the video's path as the first column."""
    parts = [schema.insert(0, pa.field("path", pa.string())).empty_table()]
    done = connection.sql("SELECT video_id, path FROM videos WHERE status = 'done' ORDER BY path").fetchall()
    for video_id, path in done:
        faces = connection.sql(_FACES_OF_VIDEO, params={"id": video_id}).to_arrow_table()
        rows = answer(video_id, faces)
        parts.append(rows.add_column(0, "path", pa.repeat(pa.scalar(path), len(rows))))
    return pa.concat_tables(parts)
