"""Intervals in which each person of a video is seen, and in which their label stays the same."""

import duckdb
import pyarrow as pa

from analytics.time_tolerance import longest
from fer_models.labels import EMOTIONS

MAX_GAP_S = 0.3  # a gap of at most this length between two equal labels does not end an interval, as for episodes

_SPANS = f"""
WITH labeled AS (
    SELECT track_id, smooth_emotion AS emotion, pts_s AS start_s, pts_s + coalesce(duration_s, 0) AS end_s,
        [{", ".join(f"smooth_{name}" for name in EMOTIONS)}][list_position({list(EMOTIONS)}, smooth_emotion)] AS p
    FROM faces
    WHERE video_id = $video_id AND track_id IS NOT NULL AND smooth_emotion IS NOT NULL
), compared AS (
    SELECT *, emotion IS DISTINCT FROM lag(emotion) OVER of_track
        OR start_s > lag(end_s) OVER of_track + $longest_gap_s AS is_first
    FROM labeled WINDOW of_track AS (PARTITION BY track_id ORDER BY start_s)
), numbered AS (
    SELECT *, sum(is_first::INT) OVER (PARTITION BY track_id ORDER BY start_s) AS span FROM compared
)
SELECT track_id, any_value(emotion) AS emotion, min(start_s) AS start_s, max(end_s) AS end_s,
    (sum(p * (end_s - start_s)) / nullif(sum(end_s - start_s), 0))::FLOAT AS probability
FROM numbered GROUP BY track_id, span ORDER BY track_id, start_s
"""

_SEEN = """
WITH shown AS (
    SELECT track_id, pts_s AS start_s, pts_s + coalesce(duration_s, 0) AS end_s FROM faces
    WHERE video_id = $video_id AND track_id IS NOT NULL
), compared AS (
    SELECT *, coalesce(start_s > lag(end_s) OVER of_track + $longest_gap_s, TRUE) AS is_first
    FROM shown WINDOW of_track AS (PARTITION BY track_id ORDER BY start_s)
), numbered AS (
    SELECT *, sum(is_first::INT) OVER (PARTITION BY track_id ORDER BY start_s) AS span FROM compared
)
SELECT track_id, min(start_s) AS start_s, max(end_s) AS end_s FROM numbered
GROUP BY track_id, span ORDER BY track_id, start_s
"""


def visibility_intervals(
    connection: duckdb.DuckDBPyConnection, video_id: str, max_gap_s: float = MAX_GAP_S
) -> pa.Table:
    """Intervals in which a track has a face of any quality, by track and time: track_id, start_s, end_s.

    A gap up to `max_gap_s` does not end an interval.
    """
    return connection.sql(_SEEN, params={"video_id": video_id, "longest_gap_s": longest(max_gap_s)}).to_arrow_table()


def label_intervals(connection: duckdb.DuckDBPyConnection, video_id: str, max_gap_s: float = MAX_GAP_S) -> pa.Table:
    """Intervals in which `smooth_emotion` of a track stays the same, by track and time.

    A gap up to `max_gap_s` with the same label on both sides does not end an interval.

    Returns:
        track_id, emotion, start_s, end_s (half-open) and probability, its smoothed probability averaged over time.
    """
    return connection.sql(_SPANS, params={"video_id": video_id, "longest_gap_s": longest(max_gap_s)}).to_arrow_table()
