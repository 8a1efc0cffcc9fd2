"""The dashboard: one page over a results folder, given as the script's only argument.

It holds no numbers of its own: it asks `analytics`, and draws what that answers.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

import altair as alt
import duckdb
import pandas as pd
import streamlit as st

from analytics import connect
from analytics.store import StoreError
from fer_models.labels import EMOTION_COLOURS, EMOTIONS

MAX_BINS = 600  # a chart is about as many pixels wide
TRACKS_AT_FIRST = 4
LEGEND = alt.Legend(orient="top", title=None, symbolType="square")
DISCLAIMER = "Labels describe how a face looks to a model trained on seven categories, not what a person feels."

VIDEOS_SQL = """
    WITH of_emotion AS (
        SELECT video_id, emotion, count(*) AS n_tracks, sum(end_s - start_s) AS seen_s
        FROM tracks GROUP BY video_id, emotion
    ),
    of_video AS (
        SELECT video_id, sum(n_tracks)::BIGINT AS n_tracks, arg_max(emotion, seen_s) AS emotion
        FROM of_emotion GROUP BY video_id
    )
    SELECT video_id, parse_filename(path) AS name, status, error, duration_s, n_frames,
        CASE status WHEN 'done' THEN coalesce(n_tracks, 0) END AS n_tracks,
        CASE status WHEN 'done' THEN emotion END AS emotion, path
    FROM videos LEFT JOIN of_video USING (video_id)
    ORDER BY path
"""
TRACKS_SQL = f"""
    SELECT track_id, start_s, end_s, emotion, suspected_switch, {", ".join(f"share_{name}" for name in EMOTIONS)}
    FROM tracks WHERE video_id = $video_id ORDER BY end_s - start_s DESC, track_id
"""
EPISODES_SQL = """
    SELECT track_id, emotion, start_s, end_s, duration_s, peak, mean
    FROM episodes WHERE video_id = $video_id ORDER BY start_s
"""
# Whole milliseconds, because floor(0.6 / 0.2) is 2. A row holds from its start_s to the next row's: where no face is
# known after a bin, a row of zeros ends it.
PROBABILITIES_SQL = f"""
    WITH known AS (
        SELECT round(1000 * faces.pts_s)::BIGINT AS start_ms,
            round(1000 * (faces.pts_s + coalesce(frames.duration_s, 0)))::BIGINT AS end_ms,
            {", ".join(f"smooth_{name} AS {name}" for name in EMOTIONS)}
        FROM faces JOIN frames USING (video_id, frame_index)
        WHERE video_id = $video_id AND track_id = $track_id AND smooth_emotion IS NOT NULL
    ),
    span AS (
        SELECT min(start_ms) AS first_ms, max(end_ms) - min(start_ms) AS span_ms,
            greatest(1, ceil(span_ms / {MAX_BINS})::BIGINT) AS bin_ms
        FROM known
    ),
    bins AS (
        SELECT min(start_ms) AS start_ms, max(end_ms) AS end_ms,
            {", ".join(f"avg({name}) AS {name}" for name in EMOTIONS)}
        FROM known, span GROUP BY (start_ms - first_ms) // bin_ms
    ),
    ends AS (
        SELECT end_ms FROM bins QUALIFY coalesce(lead(start_ms) OVER (ORDER BY start_ms) > end_ms + 1, true)
    )
    SELECT start_ms / 1000 AS start_s, {", ".join(EMOTIONS)} FROM bins
    UNION ALL SELECT end_ms / 1000, {", ".join("0" for _ in EMOTIONS)} FROM ends
    ORDER BY start_s
"""


def track_probabilities(connection: duckdb.DuckDBPyConnection, video_id: str, track_id: int) -> pd.DataFrame:
    """The smoothed probabilities of a track: `start_s` and a column per emotion, at most about `MAX_BINS` rows."""
    return connection.execute(PROBABILITIES_SQL, {"video_id": video_id, "track_id": track_id}).df()


def by_emotion(chart: alt.Chart, value: str) -> alt.Chart:
    """The chart with a mark per row and emotion; `value` is what stood in the emotion's column."""
    folded = chart.transform_fold(list(EMOTIONS), as_=["emotion", value])
    ordered = folded.transform_calculate(order=f"indexof({list(EMOTIONS)}, datum.emotion)")  # else by the alphabet
    stacked: alt.Chart = ordered.encode(order="order:Q")
    return stacked


def emotion_colour(legend: alt.Legend | None) -> alt.Color:
    """An emotion has the same colour everywhere."""
    scale = alt.Scale(domain=list(EMOTIONS), range=[EMOTION_COLOURS[name] for name in EMOTIONS])
    return alt.Color("emotion:N", scale=scale, legend=legend)


def probability_chart(probabilities: pd.DataFrame) -> alt.Chart:
    """How the probabilities of a track share the whole, over time."""
    areas = alt.Chart(probabilities, height=260).mark_area(interpolate="step-after")
    chart: alt.Chart = by_emotion(areas, "probability").encode(
        x=alt.X("start_s:Q", title="time in s", scale=alt.Scale(nice=False, zero=False)),
        y=alt.Y("probability:Q", title="probability", scale=alt.Scale(domain=[0, 1])),
        color=emotion_colour(LEGEND),
    )
    return chart


def share_chart(tracks: pd.DataFrame) -> alt.Chart:
    """The share of its time that each track shows each emotion."""
    shares = tracks.rename(columns={f"share_{name}": name for name in EMOTIONS})
    chart: alt.Chart = by_emotion(alt.Chart(shares, height=rows_px(tracks)).mark_bar(), "share").encode(
        x=alt.X("share:Q", title="share of time", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("track_id:O", title="track"),
        color=emotion_colour(legend=None),  # that of the episodes stands beside it
        tooltip=["track_id:O", "emotion:N", alt.Tooltip("share:Q", format=".0%")],
    )
    return chart


def episode_chart(tracks: pd.DataFrame, episodes: pd.DataFrame) -> alt.LayerChart:
    """When each track is seen (grey) and which emotions it then shows clearly (coloured)."""
    time = alt.X("start_s:Q", title="time in s", scale=alt.Scale(nice=False))
    track = alt.Y("track_id:O", title="track")
    seen = alt.Chart(tracks).mark_bar(color="#88888840").encode(x=time, x2="end_s:Q", y=track)
    numbers = [alt.Tooltip(f"{name}:Q", format=".2f") for name in ("start_s", "end_s", "peak")]
    shown = alt.Chart(episodes).mark_bar().encode(x=time, x2="end_s:Q", y=track, color=emotion_colour(LEGEND))
    layers = [seen, shown.encode(tooltip=["emotion:N", *numbers])]
    return alt.LayerChart(layer=layers, height=rows_px(tracks))


def rows_px(tracks: pd.DataFrame) -> int:
    """The height of a chart with a row per track, its axis and its legend."""
    return 120 + 24 * len(tracks)


def show_videos(videos: pd.DataFrame) -> None:
    """The table of all videos."""
    counts = videos["status"].value_counts()
    st.subheader("Videos")
    st.caption(", ".join(f"{count} {status}" for status, count in counts.items()))
    columns: dict[Any, Any] = {  # what Streamlit takes has no name there
        "name": "video",
        "status": "status",
        "error": "reason of failure",
        "duration_s": st.column_config.NumberColumn("duration in s", format="%.1f"),
        "n_frames": "frames",
        "n_tracks": "tracks",
        "emotion": "dominant emotion",
        "path": "path",
    }
    st.dataframe(videos, hide_index=True, column_order=list(columns), column_config=columns, placeholder="")


def show_video(connection: duckdb.DuckDBPyConnection, video_id: str) -> None:
    """All about the people in one video."""
    tracks = connection.execute(TRACKS_SQL, {"video_id": video_id}).df()
    if tracks.empty:
        st.info("No face was seen long enough in this video to be followed.")
        return
    chosen = st.multiselect(
        "Tracks (a track is one person seen without a long break), the longest first",
        tracks["track_id"].tolist(),
        default=tracks["track_id"].head(TRACKS_AT_FIRST).tolist(),
    )
    tracks = tracks[tracks["track_id"].isin(chosen)]
    if tracks.empty:
        st.info("Choose a track to see its emotions.")
        return
    episodes = connection.execute(EPISODES_SQL, {"video_id": video_id}).df()
    episodes = episodes[episodes["track_id"].isin(chosen)]
    left, right = st.columns([2, 1])
    left.markdown("**Episodes**: when a track is seen (grey), and when it shows an emotion clearly (coloured)")
    left.altair_chart(episode_chart(tracks, episodes))
    right.markdown("**Share of time** of each emotion")
    right.altair_chart(share_chart(tracks))
    for track in tracks.to_dict("records"):
        st.markdown(f"**Track {track['track_id']}**, {track['start_s']:.1f} s to {track['end_s']:.1f} s")
        if track["suspected_switch"]:
            st.caption("Its box overlapped that of another track: the two may have been exchanged.")
        probabilities = track_probabilities(connection, video_id, track["track_id"])
        show_track(probabilities, episodes[episodes["track_id"] == track["track_id"]])


def show_track(probabilities: pd.DataFrame, episodes: pd.DataFrame) -> None:
    """The probabilities of a track over time, and its episodes."""
    if probabilities.empty:
        st.info("None of its faces is good enough to say anything of its emotions.")
        return
    st.altair_chart(probability_chart(probabilities))
    if episodes.empty:
        st.caption("No emotion is clear for long enough to be an episode.")
    else:
        st.dataframe(episodes.drop(columns="track_id").round(2), hide_index=True)


def show_results(connection: duckdb.DuckDBPyConnection) -> None:
    """All videos, then the one that is chosen."""
    videos = connection.sql(VIDEOS_SQL).df()
    if videos.empty:
        st.info("There are no videos here yet: analyse some with `fervid analyze`, then reload this page.")
        return
    show_videos(videos)
    paths = videos[videos["status"] == "done"].set_index("video_id")["path"].to_dict()
    if not paths:
        st.info("None of these videos could be analysed; the table says why.")
        return
    st.subheader("One video")
    show_video(connection, st.selectbox("Video", list(paths), format_func=paths.__getitem__))


def main(results: Path) -> None:
    """Draw the page."""
    st.set_page_config(page_title=f"Fervid: {results.name}", layout="wide")
    st.title("Fervid")
    st.caption(str(results))
    try:
        with contextlib.closing(connect(results)) as connection:
            show_results(connection)
    except StoreError as error:
        st.error(str(error))
    except duckdb.InvalidInputException as error:  # what DuckDB makes of a damaged or missing Parquet file
        st.error(f"A table cannot be read; analyse that video again, with `--overwrite`: {error}")
    st.caption(DISCLAIMER)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
