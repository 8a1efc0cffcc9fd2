"""Data for the player: a time range of a timeline, averaged to the available pixels, and the boxes of faces."""

import itertools
from typing import TypedDict

import numpy as np
import pyarrow as pa

from analytics.timeline.movements import MovementConfig
from dashboard.data.results import Results
from fer_models.labels import EMOTIONS

MAX_BINS = 2000  # maximum number of time bins of a window: a chart has about as many pixels
MAX_BOXES_S = 30.0  # longest time range of one request for boxes; the player requests the next seconds repeatedly
SOURCES = ("smooth", "raw")
# Weight of frames without a duration, so that a bin that contains no other frames has a value.
_MIN_WEIGHT_S = 1e-6

# Times are in whole microseconds from the start of the window, because floor(0.6 / 0.2) is 2. A frame that is shown in
# several bins counts in each with its time there; the bins that it fills by itself are one row. The label of a bin is
# the one with the longest time in it.
_WINDOW_SQL = """
    WITH selected AS (
        SELECT *, {label} AS label, 1000::BIGINT * $bin_ms AS bin_us,
            greatest(round(1e6 * pts_s)::BIGINT - 1000::BIGINT * $from_ms, 0) AS shown_from_us,
            least(round(1e6 * (pts_s + coalesce(duration_s, 0)))::BIGINT, 1000::BIGINT * $to_ms)
                - 1000::BIGINT * $from_ms AS shown_to_us,
            (shown_from_us + bin_us - 1) // bin_us AS full_from, shown_to_us // bin_us AS full_to
        FROM faces
        WHERE video_id = $video_id AND track_id IS NOT NULL
            AND pts_s < $to_ms / 1000 AND pts_s + coalesce(duration_s, 0) > $from_ms / 1000
    ), in_bins AS (
        SELECT *, greatest(shown_from_us, bin * bin_us) AS start_us,
            least(shown_to_us, bin_us * CASE WHEN bin = full_from THEN greatest(full_to, bin + 1) ELSE bin + 1 END)
                AS end_us,
            greatest((end_us - start_us) / 1e6, {min_weight}) AS weight_s
        FROM (
            SELECT *, shown_from_us // bin_us AS bin FROM selected UNION ALL
            SELECT *, full_from FROM selected
            WHERE full_from > shown_from_us // bin_us AND full_from * bin_us < shown_to_us UNION ALL
            SELECT *, full_to FROM selected WHERE full_to > full_from AND full_to * bin_us < shown_to_us
        )
    ), averages AS (
        SELECT track_id, bin, $from_ms + round(min(start_us) / 1000)::BIGINT AS start_ms,
            $from_ms + round(max(end_us) / 1000)::BIGINT AS end_ms, {values},
            {shares}
        FROM in_bins GROUP BY track_id, bin
    ), labels AS (
        SELECT track_id, bin, arg_max(label, (total_s, label)) AS label FROM (
            SELECT track_id, bin, label, sum(weight_s) AS total_s FROM in_bins WHERE label IS NOT NULL GROUP BY ALL
        ) GROUP BY track_id, bin
    )
    SELECT * FROM averages LEFT JOIN labels USING (track_id, bin) ORDER BY track_id, start_ms
"""
_SHARE = "round(1000 * sum(({condition})::INT * weight_s) / sum(weight_s))::SMALLINT AS {name}"
# Shares of the time in each bin.
_CONDITIONS = {
    "low_quality": "NOT quality_ok AND NOT left_out_by_speech(quality_reason)",
    "left_out": "left_out_by_speech(quality_reason)",
    "measured": "is_speaking IS NOT NULL",
}
_MEAN = "round(1000 * sum({column} * weight_s) / sum(weight_s) FILTER (WHERE {column} IS NOT NULL))::SMALLINT AS {name}"


def _window_sql(prefix: str, label: str) -> str:
    values = ", ".join(_MEAN.format(column=f"{prefix}_{name}", name=name) for name in EMOTIONS)
    shares = ", ".join(_SHARE.format(condition=condition, name=name) for name, condition in _CONDITIONS.items())
    return _WINDOW_SQL.format(values=values, shares=shares, label=label, min_weight=_MIN_WEIGHT_S)


WINDOW_SQL = {"smooth": _window_sql("smooth", "smooth_emotion"), "raw": _window_sql("p", "emotion")}

# The frames of a range, the one before it and the one after it.
FRAMES_SQL = """
    SELECT pts_s, pts_s >= $from_s OR pts_s + duration_s > $from_s AS is_shown FROM frames WHERE video_id = $video_id
    WINDOW by_time AS (ORDER BY pts_s)
    QUALIFY lead(pts_s, 1, 'inf') OVER by_time >= $from_s AND lag(pts_s, 1, '-inf') OVER by_time < $to_s
    ORDER BY pts_s
"""
_BOXES_SQL = """
    SELECT round(pts_s, 4) AS pts_s, track_id AS track, x1_px AS x1, y1_px AS y1, x2_px AS x2, y2_px AS y2,
        {label} AS label, round((CASE {label} {cases} END)::DOUBLE, 4) AS probability,
        quality_ok AS is_good, quality_reason AS reason,
        left_out_by_speech(quality_reason) AS is_left_out, landmark_score >= {min_score} AS is_trusted,
        head_yaw_deg AS yaw_deg, head_pitch_deg AS pitch_deg, head_roll_deg AS roll_deg, eye_openness_left AS eye_left,
        eye_openness_right AS eye_right, mouth_opening AS mouth{points}
    FROM faces WHERE video_id = $video_id AND pts_s >= $first_s AND pts_s < $to_s ORDER BY pts_s, face_index
"""


def _boxes_sql(prefix: str, label: str, *, has_points: bool) -> str:
    cases = " ".join(f"WHEN '{name}' THEN coalesce({prefix}_{name}, p_{name})" for name in EMOTIONS)
    points = ", points_px AS points" if has_points else ""
    return _BOXES_SQL.format(label=label, cases=cases, points=points, min_score=MovementConfig().min_landmark_score)


# The SQL for each source of probabilities, smoothed or raw, with and without landmarks.
BOXES_SQL = {
    (source, has_points): _boxes_sql(*names, has_points=has_points)
    for source, names in {"smooth": ("smooth", "coalesce(smooth_emotion, emotion)"), "raw": ("p", "emotion")}.items()
    for has_points in (False, True)
}


class TrackWindow(TypedDict):
    """The bins of one track, as columns."""

    id: int
    start_ms: list[int]
    end_ms: list[int]
    label: list[int | None]  # index of each bin's label in `EMOTIONS`
    low_quality: list[int]  # time of low quality in each bin, per mille
    left_out: list[int]  # time that --speech leaves out, per mille
    measured: list[int]  # time in which movements could be found, per mille
    p: list[list[int | None]]  # probabilities in each bin, seven columns, per mille


class Window(TypedDict):
    """A time range of a timeline."""

    from_ms: int
    to_ms: int
    bin_ms: int
    tracks: list[TrackWindow]


class Boxes(TypedDict):
    """The frames of a time range, and the faces in those that are shown in it."""

    from_s: float
    to_s: float
    frames_s: list[float]  # with the one before the range and the one after it, for stepping from frame to frame
    columns: list[str]  # names of the values of a face; positions are in pixels of the shown frame
    faces: list[list[object]]


def window(results: Results, video_id: str, from_ms: int, to_ms: int, bins: int, source: str) -> Window:
    """The tracks of a video from `from_ms` to `to_ms` as time averages of at most `bins` (and `MAX_BINS`) bins each.

    Raises:
        ValueError: if the range is empty, `bins` is not positive or `source` is not one of `SOURCES`.
    """
    if to_ms <= from_ms or bins < 1 or source not in SOURCES:
        raise ValueError(
            f"from_ms < to_ms, bins > 0 and source smooth or raw expected; got {from_ms}, {to_ms}, {bins}, {source!r}"
        )
    bin_ms = max(1, -(-(to_ms - from_ms) // min(bins, MAX_BINS)))
    rows = results.ask(WINDOW_SQL[source], video_id=video_id, from_ms=from_ms, to_ms=to_ms, bin_ms=bin_ms)
    return {"from_ms": from_ms, "to_ms": to_ms, "bin_ms": bin_ms, "tracks": _by_track(rows)}


def _by_track(rows: pa.Table) -> list[TrackWindow]:
    """The rows, which are sorted by track, as columns per track."""
    tracks = rows["track_id"].to_numpy()
    # The first row of each track, and the number of rows.
    edges = np.flatnonzero(np.diff(tracks, prepend=-1, append=-1))
    label_of = {name: index for index, name in enumerate(EMOTIONS)}
    result = []
    for start, end in itertools.pairwise(edges):
        part = rows.slice(start, end - start)
        result.append(
            TrackWindow(
                id=int(tracks[start]),
                start_ms=part["start_ms"].to_pylist(),
                end_ms=part["end_ms"].to_pylist(),
                label=[label_of.get(name) for name in part["label"].to_pylist()],
                low_quality=part["low_quality"].to_pylist(),
                left_out=part["left_out"].to_pylist(),
                measured=part["measured"].to_pylist(),
                p=[part[name].to_pylist() for name in EMOTIONS],
            )
        )
    return result


def boxes(
    results: Results, video_id: str, from_s: float, to_s: float, source: str = "smooth", *, with_landmarks: bool = False
) -> Boxes:
    """The frames of a video from `from_s` up to `to_s`, and the faces in them, also with their landmarks if asked for.

    A frame that begins before `from_s` and is still shown then belongs to them.

    Raises:
        ValueError: if the range is empty or longer than `MAX_BOXES_S`, or `source` is not one of `SOURCES`.
    """
    if not 0 < to_s - from_s <= MAX_BOXES_S or source not in SOURCES:
        raise ValueError(
            f"at most {MAX_BOXES_S:g} s and source smooth or raw expected; got {from_s:g} to {to_s:g}, {source!r}"
        )
    frames = results.ask(FRAMES_SQL, video_id=video_id, from_s=from_s, to_s=to_s).to_pylist()
    first_s = next((frame["pts_s"] for frame in frames if frame["is_shown"]), from_s)
    faces = results.ask(BOXES_SQL[source, with_landmarks], video_id=video_id, first_s=first_s, to_s=to_s)
    return {
        "from_s": from_s,
        "to_s": to_s,
        "frames_s": [round(frame["pts_s"], 4) for frame in frames],
        "columns": faces.column_names,
        "faces": [list(row) for row in zip(*(column.to_pylist() for column in faces.columns), strict=True)],
    }
