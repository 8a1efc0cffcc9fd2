"""Files of one video that the player offers, without hidden people: its rows, episodes, markers and subtitles."""

import io
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa

from analytics.exports.annotations import write_subtitles
from analytics.results.notes import read_notes
from analytics.results.video_record import VideoName, video_names
from analytics.tables.formulas import without_formulas
from analytics.tables.table_io import write_rows
from dashboard.data.markers import events_of_notes
from dashboard.data.results import Results

MIME = {".csv": "text/csv; charset=utf-8", ".parquet": "application/vnd.apache.parquet",
        ".srt": "application/x-subrip; charset=utf-8", ".vtt": "text/vtt; charset=utf-8"}  # fmt: skip
FACES_SQL = """
    SELECT person, faces.* FROM visible('faces') AS faces LEFT JOIN people USING (video_id, track_id)
    WHERE video_id = $video_id ORDER BY frame_index, face_index
"""
EPISODES_SQL = """
    SELECT person, episodes.* FROM visible('episodes') AS episodes JOIN people USING (video_id, track_id)
    WHERE video_id = $video_id ORDER BY start_s, track_id
"""
VIDEO_SQL = "SELECT video_id, path FROM videos WHERE video_id = $video_id"


def download(results: Results, video_id: str, name: str) -> bytes:
    """The content of a file such as `faces.csv` of a video.

    Raises:
        KeyError: if there is no such video or file.
    """
    videos = video_names(results.ask(VIDEO_SQL, video_id=video_id))
    if not videos:
        raise KeyError(f"there is no video {video_id}")
    (video,) = videos
    match name:
        case "faces.csv" | "faces.parquet":
            return table_file(results.ask(FACES_SQL, video_id=video_id), name.removeprefix("faces."))
        case "episodes.csv":
            return table_file(results.ask(EPISODES_SQL, video_id=video_id), "csv")
        case "markers.csv":
            return table_file(events_of_notes(read_notes(results.root, video_id).markers, video.path), "csv")
        case "subtitles.srt" | "subtitles.vtt":
            return results.answer(lambda connection: _subtitles(connection, video, name))
        case _:
            raise KeyError(f"there is no file {name}")


def table_file(rows: pa.Table, form: str) -> bytes:
    """The rows as a file, `csv` or `parquet`. In CSV, no text runs as a formula in a spreadsheet."""
    file = io.BytesIO()
    write_rows(without_formulas(rows) if form == "csv" else rows, file, form)
    return file.getvalue()


def _subtitles(connection: duckdb.DuckDBPyConnection, video: VideoName, name: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="fervid-") as folder:
        path = Path(folder) / name
        write_subtitles(connection, video, path, path.suffix.removeprefix("."))
        return path.read_bytes()
