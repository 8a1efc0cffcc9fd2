"""Export CSV with a row per face and sampled frame, without hidden people; a frame without a face has one row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv

from analytics.results.video_record import VideoRecord
from analytics.tables.formulas import without_formulas
from analytics.tables.schema import FACES, FRAMES
from fer_models.labels import EMOTIONS

ROWS_AT_A_TIME = 100_000  # rows written at once, which limits memory for long videos
LANDMARKS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
# Names of emotions in py-feat (https://py-feat.org) that differ from Fervid's.
FEX_EMOTIONS = {"angry": "anger", "happy": "happiness", "sad": "sadness"}

N_LANDMARKS = 68  # points of `points_px` without the irises

# The faces are joined as lists, because DuckDB 2.0 cannot join a column of arrays if a frame has no face.
_FACES_OF_FRAMES = """
FROM frames
    LEFT JOIN (
        SELECT * REPLACE (landmarks_px::FLOAT[] AS landmarks_px, points_px::FLOAT[] AS points_px)
        FROM visible('faces')
    ) AS faces USING (video_id, frame_index)
    LEFT JOIN people USING (video_id, track_id)
WHERE video_id = $video_id ORDER BY frames.pts_s, face_index
"""

# NULL for a frame that was not analyzed.
_VISIBLE_FACES = (
    "CASE WHEN frames.n_faces IS NOT NULL THEN count(face_index) OVER (PARTITION BY frames.frame_index) END::INT "
    "AS n_faces"
)


def write_faces(
    connection: duckdb.DuckDBPyConnection,
    video: VideoRecord,
    path: Path,
    *,
    escape_formulas: bool,
    name: str,
) -> None:
    """Write a tidy CSV: the columns of frames and faces, and the name of the person; landmarks take ten columns.

    Args:
        connection: the results.
        video: the video.
        path: the file to write.
        escape_formulas: see `without_formulas`.
        name: the name of the video, unique in the results.
    """
    names = [field.name for field in FACES if field.name not in (*FRAMES.names, "landmarks_px", "points_px")]
    points = [f"{landmark}_{axis}_px" for landmark in LANDMARKS for axis in "xy"]
    columns = [
        "$name AS video",
        *(_VISIBLE_FACES if name == "n_faces" else f"frames.{name}" for name in FRAMES.names if name != "analysis_id"),
        *names,
        *(f"landmarks_px[{i}] AS {point}" for i, point in enumerate(points, 1)),
        "person",
    ]
    _write(connection, columns, {"video_id": video.video_id, "name": name}, path, escape_formulas)


def write_fex(connection: duckdb.DuckDBPyConnection, video: VideoRecord, path: Path, *, escape_formulas: bool) -> None:
    """Write the columns of a py-feat `Fex` that Fervid measures; `feat.utils.io.read_feat` reads them.

    Action units and gaze are not measured and therefore left out; the landmarks are empty unless they were kept. As in
    py-feat, pitch is positive upward, roll clockwise, and yaw toward the left edge of the frame.
    `pts_s` is added because `approx_time` is truncated to whole seconds.
    """
    emotions = [f"p_{name} AS {FEX_EMOTIONS.get(name, name)}" for name in EMOTIONS]
    columns = [
        "frame_index AS frame",
        "x1_px AS FaceRectX",
        "y1_px AS FaceRectY",
        "x2_px - x1_px AS FaceRectWidth",
        "y2_px - y1_px AS FaceRectHeight",
        "det_score AS FaceScore",
        *_landmarks_68(),
        "head_pitch_deg AS Pitch",
        "head_roll_deg AS Roll",
        "-head_yaw_deg AS Yaw",
        *emotions,
        "$height_px AS FrameHeight",
        "$width_px AS FrameWidth",
        "$path AS input",
        "printf('%02d:%02d', floor(frames.pts_s)::BIGINT // 60, floor(frames.pts_s)::BIGINT % 60) AS approx_time",
        "CASE WHEN is_named THEN person ELSE 'Person_' || track_id END AS Identity",
        "frames.pts_s",
    ]
    values = {name: getattr(video, name) for name in ("video_id", "height_px", "width_px", "path")}
    _write(connection, columns, values, path, escape_formulas)


def write_openface(
    connection: duckdb.DuckDBPyConnection, video: VideoRecord, path: Path, *, escape_formulas: bool
) -> None:
    """Write OpenFace's first five columns, head rotation and landmarks; then box and probabilities, named as in Fervid.

    OpenFace's axes point right, down and away from the camera: `pose_Rx` is positive for a head that looks down,
    `pose_Ry` for one that looks to the left edge of the frame, and `pose_Rz` for one tilted clockwise. Frames count
    from 1, as OpenFace's do.
    `success` is 1 for a face that counts: of good quality, and not left out by `--speech`. A frame without a face has a
    row with face 0, confidence 0 and success 0, and a face without a track has face -1.
    https://github.com/TadasBaltrusaitis/OpenFace/wiki/Output-Format
    """
    columns = [
        "frame_index + 1 AS frame",
        "CASE WHEN face_index IS NULL THEN 0 ELSE coalesce(track_id, -1) END AS face_id",
        "frames.pts_s AS timestamp",
        "coalesce(det_score, 0) AS confidence",
        "coalesce(quality_ok, false)::INT AS success",
        "radians(-head_pitch_deg) AS pose_Rx",
        "radians(-head_yaw_deg) AS pose_Ry",
        "radians(head_roll_deg) AS pose_Rz",
        *_landmarks_68(),
        *("x1_px", "y1_px", "x2_px", "y2_px"),
        *(f"p_{name}" for name in EMOTIONS),
    ]
    _write(connection, columns, {"video_id": video.video_id}, path, escape_formulas)


def _landmarks_68() -> list[str]:
    """The columns x_0 … x_67 and y_0 … y_67 of OpenFace and py-feat."""
    return [f"points_px[{2 * i + axis + 1}] AS {'xy'[axis]}_{i}" for axis in (0, 1) for i in range(N_LANDMARKS)]


def _write(
    connection: duckdb.DuckDBPyConnection,
    columns: list[str],
    values: Mapping[str, Any],
    path: Path,
    escape_formulas: bool,
) -> None:
    sql = f"SELECT {', '.join(columns)} {_FACES_OF_FRAMES}"
    rows = connection.sql(sql, params=dict(values)).to_arrow_reader(ROWS_AT_A_TIME)
    write_rows(rows, path, escape_formulas=escape_formulas)


def write_rows(rows: pa.RecordBatchReader, path: Path, *, escape_formulas: bool) -> None:
    """Write rows as CSV, batch by batch; NULL is an empty cell."""
    plain = pa.schema([f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in rows.schema])
    with pyarrow.csv.CSVWriter(path, plain) as writer:
        for batch in rows:
            table = pa.Table.from_batches([batch]).cast(plain)
            writer.write_table(without_formulas(table) if escape_formulas else table)
