"""The videos of the results folder with what they show, as the page Library lists them."""

from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from analytics.queries.sql_files import run_sql_for_videos
from analytics.results.video_record import analyzed_s
from dashboard.data.results import Results
from dashboard.text import without_common_folder
from fer_models.labels import EMOTIONS

TIE = 1e-6  # shares of time that differ by less are the same: they are stored as 32-bit floats
# Most faces belong to a track, whose row has their number: reading only the others is faster.
VIDEOS_SQL = f"""
    WITH of_video AS (
        SELECT video_id, count(*) AS people,
            {", ".join(f"sum(share_{name} * labelled_s) / nullif(sum(labelled_s), 0) AS {name}" for name in EMOTIONS)}
        FROM tracks JOIN people USING (video_id, track_id) WHERE NOT is_hidden GROUP BY video_id
    ), of_faces AS (
        SELECT video_id, sum(n_low_quality) / sum(n_faces) AS low_quality, sum(n_untracked) AS n_untracked FROM (
            SELECT video_id, n_faces, n_faces - n_faces_ok - n_faces_left_out AS n_low_quality, 0 AS n_untracked
            FROM visible('tracks')
            UNION ALL
            SELECT video_id, count(*) AS n_faces,
                count(*) FILTER (NOT quality_ok AND NOT left_out_by_speech(quality_reason)), n_faces
            FROM faces WHERE track_id IS NULL GROUP BY video_id
        ) GROUP BY video_id
    )
    SELECT videos.video_id, parse_filename(path) AS video, status, error, duration_s, settings, n_frames,
        status = 'done' AND is_still_image(duration_s, live_since) AS is_image,
        -- The faces of still images belong to no track.
        CASE WHEN status = 'done' THEN coalesce(CASE WHEN is_image THEN n_untracked ELSE people END, 0) END AS people,
        low_quality, finished_at, path, {", ".join(EMOTIONS)}
    FROM videos LEFT JOIN of_video USING (video_id) LEFT JOIN of_faces USING (video_id)
"""


@dataclass(frozen=True)
class Library:
    """The videos of the results folder, as read at one moment."""

    # A row per video, with its shares of time and its dominant emotion; shared between sessions, so not to be changed.
    videos: pd.DataFrame
    rows: dict[str, dict[str, object]]  # video_id -> the row of the page, for the videos that have been shown


def read_library(results: Results) -> Library:
    """Read the current videos of the folder."""
    return results.remember("library", lambda connection: Library(_read_videos(connection), {}))


def _read_videos(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    rows = connection.sql(VIDEOS_SQL).to_arrow_table()
    videos: pd.DataFrame = rows.drop_columns("settings").to_pandas()
    videos["analyzed_s"] = list(map(analyzed_s, rows["duration_s"].to_pylist(), rows["settings"].to_pylist()))
    images = videos.loc[videos["is_image"], "video_id"].tolist()
    of_images = run_sql_for_videos(connection, "still_shares", images, all_faces=False).to_pandas()
    shares = videos.set_index("video_id")[list(EMOTIONS)].astype(float)
    shares.update(of_images.set_index("video_id")[list(EMOTIONS)])
    videos[list(EMOTIONS)] = shares.to_numpy()
    videos["emotion"] = pd.Series(map(dominant_emotion, shares.to_numpy()), videos.index, dtype=object)
    videos["short_path"] = without_common_folder(videos["path"].tolist())
    return videos


def dominant_emotion(shares: np.ndarray) -> str | None:
    """The emotion with the largest share, or all of them in a tie; None if no share is known.

    >>> dominant_emotion(np.array([0, 0, 0, 0.5, 0, 0, 0.5])), dominant_emotion(np.full(7, np.nan))
    ('happy / neutral', None)
    """
    if np.isnan(shares).all():
        return None
    largest = np.nanmax(shares)
    return " / ".join(name for name, share in zip(EMOTIONS, shares, strict=True) if share > largest - TIE)
