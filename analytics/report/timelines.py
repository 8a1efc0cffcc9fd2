"""The timelines of the report: each person's probabilities and labels over time, by video."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from analytics.queries.intervals import MAX_GAP_S
from analytics.report.charts import Grid, PersonChart, Tick, person_chart, time_ticks
from analytics.report.library import FrameCounts, Library, Track
from analytics.report.words import clock, share_words
from analytics.results.video_record import VideoRecord, analyzed_part
from analytics.tables.arrow_utils import to_float_array
from analytics.text import counted
from analytics.tracking.ranges import expand_ranges
from fer_models.labels import EMOTIONS

MAX_VIDEOS = 60  # videos with timelines, because larger pages open slowly; the table of videos lists all
MAX_TRACKS = 8  # people shown for each video: those visible longest
MAX_BINS = 200  # time steps of a chart: each is then 2 to 5 px wide, so that it is visible

# The label of a time step is the one shown longest in it; a step has none only if no face has one. Frames without a
# duration have a small weight, so that steps without other frames have a value.
_STEPS = f"""
WITH shown AS (
    SELECT *, pts_s - $start_ms / 1000 AS start_s, start_s + duration_s AS end_s,
        unnest(time_bins(start_s, end_s, $bin_ms)) AS step,
        greatest(coalesce(seconds_in_bin(start_s, end_s, step, $bin_ms), 0), 1e-6) AS shown_s
    FROM visible('faces') WHERE video_id = $video_id AND track_id IS NOT NULL
), of_label AS (
    SELECT track_id, step, smooth_emotion, sum(shown_s) AS shown_s,
        {", ".join(f"sum(smooth_{name} * shown_s) AS {name}" for name in EMOTIONS)}
    FROM shown GROUP BY ALL
)
SELECT track_id, step, arg_max(smooth_emotion, (shown_s, smooth_emotion)) AS emotion,
    {", ".join(f"sum({name}) / sum(shown_s) FILTER (smooth_emotion IS NOT NULL) AS {name}" for name in EMOTIONS)}
FROM of_label GROUP BY track_id, step ORDER BY track_id, step
"""

_NO_FRAMES = FrameCounts("", n_frames=0, n_undecoded=0, n_dropped=0, lost_s=0.0, start_s=0.0, end_s=0.0)


@dataclass(frozen=True)
class PersonCard:
    """One person of a video."""

    name: str
    shares: str  # the largest shares of time in words
    facts: list[str]
    chart: PersonChart


@dataclass(frozen=True)
class VideoCard:
    """The timelines of one video."""

    video_id: str
    name: str
    facts: list[str]
    people: list[PersonCard]
    ticks: list[Tick]
    n_more_people: int  # number of people whose chart is left out


def video_cards(connection: duckdb.DuckDBPyConnection, library: Library) -> list[VideoCard]:
    """A card for each of the first `MAX_VIDEOS` videos."""
    return [_video(connection, library, video) for video in library.done[:MAX_VIDEOS]]


def _video(connection: duckdb.DuckDBPyConnection, library: Library, video: VideoRecord) -> VideoCard:
    video_id = video.video_id
    count = library.counts.get(video_id, _NO_FRAMES)
    grid = Grid.over(count.start_s, count.end_s, MAX_BINS)
    tracks = library.tracks.get(video_id, [])
    longest = sorted(tracks, key=lambda track: (-track.seen_s, track.track_id))[:MAX_TRACKS]
    drawn = [track for track in tracks if track in longest]
    return VideoCard(
        video_id,
        library.name[video_id],
        _video_facts(library, video, count),
        _people(connection, library, video_id, grid, drawn),
        time_ticks(grid),
        len(tracks) - len(drawn),
    )


def _video_facts(library: Library, video: VideoRecord, count: FrameCounts) -> list[str]:
    video_id = video.video_id
    n_faces, part = library.n_faces(video_id), analyzed_part(video.duration_s, video.settings)
    facts = [
        "still image" if video.is_still_image else clock(video.duration_s or 0),
        f"{video.width_px} x {video.height_px} px" if video.width_px else "",
        "" if video.is_still_image else f"{counted(count.n_frames, 'frame')} analyzed",
        f"only {clock(part[0])} to {clock(part[1])}" if part else "",
        f"live since {video.live_since:%d %B %Y, %H:%M:%S} UTC" if video.live_since else "",
        "still running" if video.is_running else "",
        f"{count.n_undecoded:,} could not be decoded" if count.n_undecoded else "",
        f"{count.n_dropped:,} dropped because processing fell behind" if count.n_dropped else "",
        f"no signal for {count.lost_s:.1f} s" if count.lost_s else "",
        f"{library.good_share(video_id)} of {counted(n_faces, 'face')} good" if n_faces else "no face found",
        *(f"{library.n_faces(video_id, reason):,} {reason.replace('_', ' ')}" for reason in library.reasons(video_id)),
        share_words(library.share(video_id)) if video.is_still_image else "",
    ]
    return [fact for fact in facts if fact]


def _people(
    connection: duckdb.DuckDBPyConnection, library: Library, video_id: str, grid: Grid, tracks: Sequence[Track]
) -> list[PersonCard]:
    values = {"video_id": video_id, "start_ms": grid.start_ms, "bin_ms": grid.bin_ms}
    binned = connection.sql(_STEPS, params=values).to_arrow_table()
    number = binned["track_id"].to_numpy()
    cards = []
    for track in tracks:
        bins, labels, probabilities = _steps(binned.take(np.flatnonzero(number == track.track_id)), grid)
        name = library.person[video_id, track.track_id]
        chart = person_chart(bins, labels, probabilities, grid, name)
        shares = dict(sorted(library.share(video_id, track.track_id).items(), key=lambda item: -item[1])[:2])
        cards.append(PersonCard(name, share_words(shares) or "no label", _person_facts(track), chart))
    return cards


def _person_facts(track: Track) -> list[str]:
    facts = [
        f"visible for {clock(track.seen_s)}, from {clock(track.start_s)} to {clock(track.end_s)}",
        f"{clock(track.good_s)} of it good ({track.n_good:,} of {track.n_faces:,} faces)",
        f"{clock(track.left_out_s)} left out by --speech" if track.left_out_s else "",
        f"possibly another person from {clock(track.switch_s)} on" if track.switch_s is not None else "",
    ]
    return [fact for fact in facts if fact]


def _steps(rows: pa.Table, grid: Grid) -> tuple[np.ndarray, list[str | None], np.ndarray]:
    """Step, label and probabilities of each step of the grid; short gaps are closed, as in intervals of labels."""
    first = rows["step"].to_numpy()
    following = np.append(first[1:], np.iinfo(np.int32).max)
    is_short = (following - first - 1) * grid.bin_ms <= 1000 * MAX_GAP_S
    row, step = expand_ranges(first, np.where(is_short, following, first + 1))
    labels = rows["emotion"].to_pylist()
    return step, [labels[i] for i in row.tolist()], to_float_array(rows, *EMOTIONS)[row]
