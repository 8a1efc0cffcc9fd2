"""The part of the report on single videos: each person's probabilities and labels over time."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from analytics.queries.intervals import MAX_GAP_S
from analytics.report.charts import Grid, clock, legend, person_chart, time_axis, words_of_labels
from analytics.report.library import Library
from analytics.report.markup import text
from analytics.tables.arrow_utils import to_float_array
from fer_models.labels import EMOTIONS

MAX_VIDEOS = 60  # with timelines; a page with more takes long to open. All are in the table
MAX_TRACKS = 8  # of a video, those seen for longest
MAX_BINS = 200  # steps across: a step is 2 to 5 px wide, so that nothing is too narrow to be seen

# The label of a step is the one that most of its faces have; that of faces without one counts if no other is there.
_BINS = f"""
WITH placed AS (
    SELECT *, (round(1000 * pts_s)::BIGINT - $start_ms) // $bin_ms AS bin,
        (round(1000 * (pts_s + coalesce(duration_s, 0)))::BIGINT - $start_ms - 1) // $bin_ms AS last_bin
    FROM faces WHERE video_id = $video_id AND track_id IS NOT NULL
), counted AS (
    SELECT track_id, bin, smooth_emotion, count(*) AS n, max(last_bin) AS last_bin,
        {", ".join(f"sum(smooth_{name}) AS {name}" for name in EMOTIONS)}
    FROM placed GROUP BY ALL
)
SELECT track_id, bin, max(last_bin) AS last_bin, arg_max(smooth_emotion, (n, smooth_emotion)) AS emotion,
    {", ".join(f"sum({name}) / sum(n) FILTER (smooth_emotion IS NOT NULL) AS {name}" for name in EMOTIONS)}
FROM counted GROUP BY track_id, bin ORDER BY track_id, bin
"""

Row = Mapping[str, Any]


def timelines(connection: duckdb.DuckDBPyConnection, library: Library) -> str:
    """A card for each of the first videos."""
    shown = library.done[:MAX_VIDEOS]
    left_out = len(library.done) - len(shown)
    more = f"<p class='soft'>{left_out:,} more videos are in the table above only.</p>" if left_out else ""
    cards = "".join(_video(connection, library, video) for video in shown)
    return (
        "<section aria-labelledby='timelines'><h2 id='timelines'>Timelines</h2><p class='soft'>For each person: above, "
        "the smoothed probabilities, stacked, together 1; below, on the same time axis, the label. Where both are "
        f"empty, no face was seen.</p>{legend(unread=True)}{cards}{more}</section>"
    )


def _video(connection: duckdb.DuckDBPyConnection, library: Library, video: Row) -> str:
    of = video["video_id"]
    nothing = {"n_frames": 0, "start_s": 0.0, "end_s": 0.0, "n_undecoded": 0, "n_dropped": 0, "lost_s": 0.0}
    count = library.counts.get(of, nothing)
    facts = [
        clock(video["duration_s"] or 0),
        f"{video['width_px']} x {video['height_px']} px" if video["width_px"] else "",
        f"{count['n_frames']:,} frames looked at",
        f"live since {video['live_since']:%d %B %Y, %H:%M:%S} UTC" if video["live_since"] else "",
        "still going on" if video["is_running"] else "",
        f"{count['n_undecoded']:,} could not be decoded" if count["n_undecoded"] else "",
        f"{count['n_dropped']:,} dropped, as the machine was too slow" if count["n_dropped"] else "",
        f"nothing came for {count['lost_s']:.1f} s" if count["lost_s"] else "",
        f"{library.good_share(of)} of {library.n_faces(of):,} faces good" if library.n_faces(of) else "no face found",
        *(f"{library.n_faces(of, reason):,} {reason.replace('_', ' ')}" for reason in library.reasons(of)),
    ]
    tracks = library.tracks.get(of, [])
    longest = sorted(tracks, key=lambda track: (-track["seen_s"], track["track_id"]))[:MAX_TRACKS]
    drawn = _people(connection, library, of, count, [track for track in tracks if track in longest]) if tracks else ""
    left_out = len(tracks) - len(longest)
    more = f"<p class='soft small'>{left_out:,} more people, seen for less time, are not drawn.</p>" if left_out else ""
    return (
        f'<article class="card" id="{text(of)}"><h3><bdi>{text(library.name[of])}</bdi></h3>'
        f"<p class='soft small'>{', '.join(filter(None, facts))}</p>{drawn}{more}</article>"
    )


def _people(connection: duckdb.DuckDBPyConnection, library: Library, of: str, count: Row, tracks: Sequence[Row]) -> str:
    """The timelines of some people of a video, one below the other on the same axis."""
    grid = Grid.over(count["start_s"], count["end_s"], MAX_BINS)
    values = {"video_id": of, "start_ms": grid.start_ms, "bin_ms": grid.bin_ms}
    binned = connection.sql(_BINS, params=values).to_arrow_table()
    number = binned["track_id"].to_numpy()
    parts = []
    for track in tracks:
        bins, labels, probabilities = _steps(binned.take(np.flatnonzero(number == track["track_id"])), grid)
        said = f"P{track['track_id']}: {words_of_labels(bins, labels, grid)}"
        chart = person_chart(bins, labels, probabilities, grid, said)
        axis = time_axis(grid) if track is tracks[-1] else ""
        parts.append(
            f"<div class='track'><div class='who'>{_who(library, of, track)}</div><div>{chart}{axis}</div></div>"
        )
    return "".join(parts)


def _steps(rows: pa.Table, grid: Grid) -> tuple[np.ndarray, list[str | None], np.ndarray]:
    """Each row repeated from its first step to its last, or to where the next row begins: steps, labels, values.

    Short breaks are drawn closed, as spans of labels bridge them.
    """
    first, last = rows["bin"].to_numpy(), rows["last_bin"].to_numpy()
    following = np.append(first[1:], np.iinfo(np.int32).max)
    stop = np.minimum(np.maximum(last, first) + 1, following)
    stop = np.where((following - stop) * grid.bin_ms <= 1000 * MAX_GAP_S, following, stop)
    row = np.repeat(np.arange(len(first)), stop - first)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(stop - first) - (stop - first), stop - first)
    labels = rows["emotion"].to_pylist()
    return first[row] + nth, [labels[i] for i in row.tolist()], to_float_array(rows, *EMOTIONS)[row]


def _who(library: Library, of: str, track: Row) -> str:
    share = sorted(library.share(of, track["track_id"]).items(), key=lambda item: -item[1])
    words = ", ".join(f"{name} {part:.0%}" for name, part in share[:2] if part >= 0.005) or "no label known"
    start, end = clock(track["start_s"]), clock(track["end_s"])
    lines = [
        f"seen for {clock(track['seen_s'])}, from {start} to {end}",
        f"{clock(track['ok_s'])} of it good ({track['n_faces_ok']:,} of {track['n_faces']:,} faces)",
        f"perhaps somebody else from {clock(track['switch_s'])} on" if track["switch_s"] is not None else "",
    ]
    said = "".join(f"<span class='soft'>{line}</span>" for line in filter(None, lines))
    return f"<h4>P{track['track_id']} <span>{words}</span></h4>{said}"
