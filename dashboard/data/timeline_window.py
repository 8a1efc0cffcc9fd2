"""What the player draws: a span of a timeline, summed up to the pixels there are, and the boxes of faces."""

import itertools
from typing import Any

import numpy as np
import pyarrow as pa

from dashboard.data.results import Results
from fer_models.labels import EMOTIONS

MAX_BINS = 2000  # a chart is about as many pixels wide
MAX_BOXES_S = 30.0  # the player asks for the next seconds again and again

_PER_MILLE = ", ".join(f"round(1000 * avg({{}}_{name}))::SMALLINT AS {name}" for name in EMOTIONS)
# Whole milliseconds, because floor(0.6 / 0.2) is 2.
_WINDOW_SQL = """
    SELECT track_id, min(start_ms) AS start_ms, max(end_ms) AS end_ms, {values},
        mode({label}) AS label, round(1000 * avg((NOT quality_ok)::INT))::SMALLINT AS gated
    FROM (
        SELECT *, round(1000 * pts_s)::BIGINT AS start_ms,
            round(1000 * (pts_s + coalesce(duration_s, 0)))::BIGINT AS end_ms
        FROM faces
        WHERE video_id = $video_id AND track_id IS NOT NULL
            AND pts_s < $to_ms / 1000 AND pts_s + coalesce(duration_s, 0) > $from_ms / 1000
    )
    GROUP BY track_id, (start_ms - $from_ms) // $bin_ms ORDER BY track_id, start_ms
"""
WINDOW_SQL = {
    "smooth": _WINDOW_SQL.format(values=_PER_MILLE.format(*["smooth"] * 7), label="smooth_emotion"),
    "raw": _WINDOW_SQL.format(values=_PER_MILLE.format(*["p"] * 7), label="emotion"),
}
FRAMES_SQL = """
    SELECT pts_s, status, is_cut FROM frames
    WHERE video_id = $video_id AND pts_s >= $from_s AND pts_s < $to_s ORDER BY pts_s
"""
BOXES_SQL = """
    SELECT pts_s, track_id, x1_px, y1_px, x2_px, y2_px, coalesce(smooth_emotion, emotion) AS label,
        CASE coalesce(smooth_emotion, emotion) {cases} END AS probability, quality_ok, quality_reason
    FROM faces WHERE video_id = $video_id AND pts_s >= $from_s AND pts_s < $to_s ORDER BY pts_s, face_index
""".format(cases=" ".join(f"WHEN '{name}' THEN coalesce(smooth_{name}, p_{name})" for name in EMOTIONS))


def window(results: Results, video_id: str, from_ms: int, to_ms: int, bins: int, source: str) -> dict[str, Any]:
    """The tracks of a video from `from_ms` to `to_ms`, at most `bins` (and `MAX_BINS`) values each.

    Returns:
        JSON: `bin_ms`, and per track its `id` and columns `start_ms`, `end_ms`, `label` (index into `EMOTIONS` or
        null), `gated` (per mille of the faces) and `p` (seven columns, per mille, null where not known).

    Raises:
        ValueError: if the span is empty, `bins` is not positive or `source` is neither "smooth" nor "raw".
    """
    if to_ms <= from_ms or bins < 1 or source not in WINDOW_SQL:
        raise ValueError(f"ask for from < to, bins > 0 and smooth or raw; got {from_ms}, {to_ms}, {bins}, {source!r}")
    bin_ms = max(1, -(-(to_ms - from_ms) // min(bins, MAX_BINS)))
    rows = results.ask(WINDOW_SQL[source], video_id=video_id, from_ms=from_ms, to_ms=to_ms, bin_ms=bin_ms)
    return {"from_ms": from_ms, "to_ms": to_ms, "bin_ms": bin_ms, "tracks": _by_track(rows)}


def _by_track(rows: pa.Table) -> list[dict[str, Any]]:
    """The rows, which are ordered by track, as columns per track."""
    tracks = rows["track_id"].to_numpy()
    edges = np.flatnonzero(np.diff(tracks, prepend=-1, append=-1))  # where each begins, and the end; none without rows
    label_of = {name: index for index, name in enumerate(EMOTIONS)}
    result = []
    for start, end in itertools.pairwise(edges):
        part = rows.slice(start, end - start)
        columns = {name: part[name].to_pylist() for name in ("start_ms", "end_ms", "gated")}
        label = [label_of.get(name) for name in part["label"].to_pylist()]
        p = [part[name].to_pylist() for name in EMOTIONS]
        result.append({"id": int(tracks[start]), **columns, "label": label, "p": p})
    return result


def boxes(results: Results, video_id: str, from_s: float, to_s: float) -> dict[str, Any]:
    """The frames of a video from `from_s` up to `to_s`, and the faces in them.

    Returns:
        JSON: `frames_s`, the time of each frame, and `faces`: rows of time, track, x1, y1, x2, y2 in px of the shown
        frame, label, its probability, whether it is good, and why not.

    Raises:
        ValueError: if the span is empty or longer than `MAX_BOXES_S`.
    """
    if not 0 < to_s - from_s <= MAX_BOXES_S:
        raise ValueError(f"ask for up to {MAX_BOXES_S:g} s at a time; got {from_s:g} to {to_s:g}")
    span = {"video_id": video_id, "from_s": from_s, "to_s": to_s}
    faces = results.ask(BOXES_SQL, **span)
    columns = [faces[name].to_pylist() for name in faces.column_names]
    rounded = [
        [v if v is None else round(v, 4) for v in column] if i in (0, 2, 3, 4, 5, 7) else column
        for i, column in enumerate(columns)
    ]
    return {
        "from_s": from_s,
        "to_s": to_s,
        "frames_s": [round(pts_s, 4) for pts_s in results.ask(FRAMES_SQL, **span)["pts_s"].to_pylist()],
        "faces": [list(row) for row in zip(*rounded, strict=True)],
    }
