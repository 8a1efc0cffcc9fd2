"""Export one tidy CSV file for all videos of a results folder: tracks, episodes or frames, without hidden people."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import duckdb

from analytics.exports.tables import ROWS_AT_A_TIME, write_rows
from analytics.queries.connection import connect
from analytics.results.atomic_write import write_atomic
from analytics.results.output_files import check_output_file
from analytics.results.videos import all_videos, choose_videos, short_names
from fer_models.labels import EMOTIONS

# The selected videos; names are unique, because videos in several folders often have the same file name.
_CHOSEN = """
WITH named AS (SELECT unnest($ids::VARCHAR[]) AS video_id, unnest($names::VARCHAR[]) AS name),
chosen AS (SELECT video_id, path, name FROM videos JOIN named USING (video_id))
"""
_SHOWN = ", ".join(f"smooth_{name}" for name in EMOTIONS)
# A row per person and sampled frame. A frame without a visible person has one row; faces without a track have none,
# except in still images: there, each face has a row, whose label and probabilities are its own, as there is nothing to
# smooth. They are empty for low-quality faces, as in videos.
_FRAMES = f"""
, shown AS (
    FROM visible('faces') WHERE track_id IS NOT NULL
    UNION ALL
    SELECT faces.* REPLACE (
        CASE WHEN quality_ok OR is_open THEN emotion END AS smooth_emotion,
        {", ".join(f"CASE WHEN quality_ok OR is_open THEN p_{name} END AS smooth_{name}" for name in EMOTIONS)}
    )
    FROM faces JOIN (
        SELECT video_id, settings ->> '$.timeline.quality.gate' = 'false' AS is_open
        FROM still_images() JOIN videos USING (video_id, analysis_id)
    ) USING (video_id)
    WHERE track_id IS NULL
)
SELECT name AS video, frames.frame_index, frames.pts_s, frames.duration_s, status, person,
    faces.track_id, smooth_emotion AS emotion, {_SHOWN}, quality_ok, quality_reason, x1_px, y1_px, x2_px, y2_px
FROM frames JOIN chosen USING (video_id) LEFT JOIN shown AS faces USING (video_id, frame_index)
    LEFT JOIN people ON people.video_id = faces.video_id AND people.track_id = faces.track_id
ORDER BY path, video_id, frames.frame_index, faces.track_id, face_index
"""
_PER_PERSON = """
SELECT name AS video, person, {table}.* EXCLUDE (video_id, analysis_id)
FROM visible('{table}') AS {table} JOIN chosen USING (video_id) LEFT JOIN people USING (video_id, track_id)
ORDER BY path, video_id, track_id, start_s
"""
FOLDER_TABLES = {
    "tracks": _PER_PERSON.format(table="tracks"),
    "episodes": _PER_PERSON.format(table="episodes"),
    "frames": _FRAMES,
}


def export_table(
    results: Path,
    name: str,
    target: Path,
    *,
    wanted: Sequence[str] = (),
    overwrite: bool = False,
    escape_formulas: bool = True,
) -> Path:
    """Write one of `FOLDER_TABLES` over all finished videos, or those that `wanted` names, as CSV; return its path.

    Raises:
        OutputError: if the file exists (unless `overwrite`), or lies inside a results folder.
        UnknownVideoError: if the results have no such video.
        StoreError: if `results` is not a results folder, or `target` cannot be written.
    """
    check_output_file(target, overwrite=overwrite)
    with connect(results, observations=False) as connection:
        videos = all_videos(connection)
        names = short_names(videos)
        if wanted:
            names = {video_id: names[video_id] for video_id in choose_videos(videos, wanted)}
        write = partial(_write, connection, FOLDER_TABLES[name], names, escape_formulas)
        write_atomic(target, write)
    return target


def _write(
    connection: duckdb.DuckDBPyConnection, sql: str, names: Mapping[str, str], escape_formulas: bool, path: Path
) -> None:
    params = {"ids": list(names), "names": list(names.values())}
    rows = connection.sql(_CHOSEN + sql, params=params).to_arrow_reader(ROWS_AT_A_TIME)
    write_rows(rows, path, escape_formulas=escape_formulas)
