"""Page Library: every video, what it shows, and what went wrong."""

from typing import Any

import pandas as pd
import streamlit as st

from analytics.results.status import running
from dashboard.data.live_refresh import refresh_with_results
from dashboard.data.results import Results, current_results
from dashboard.widgets.charts import emotion_legend, share_bar, timeline_strip
from dashboard.widgets.tables import choose_row
from fer_models.labels import EMOTIONS

PAGE_ROWS = 100
REASON_PX = 700
MOST_STRIPS = 5  # people of a video, of whom each has a strip: more would be too thin to see

VIDEOS_SQL = f"""
    WITH of_video AS (
        SELECT video_id, count(*) AS people, sum(n_faces) AS n_faces, sum(n_faces_ok) AS n_faces_ok,
            {", ".join(f"sum(share_{name} * labelled_s) / nullif(sum(labelled_s), 0) AS {name}" for name in EMOTIONS)}
        FROM tracks GROUP BY video_id
    )
    SELECT videos.video_id, parse_filename(path) AS video, status, error, duration_s, n_frames, people,
        100 * (1 - n_faces_ok / nullif(n_faces, 0)) AS gated, finished_at, path, {", ".join(EMOTIONS)}
    FROM videos LEFT JOIN of_video USING (video_id)
"""
# The people who are seen longest, each with their episodes, one with none being there, too.
EPISODES_SQL = f"""
    WITH longest AS (
        SELECT video_id, track_id FROM tracks WHERE list_contains($ids, video_id)
        QUALIFY row_number() OVER (PARTITION BY video_id ORDER BY seen_s DESC, track_id) <= {MOST_STRIPS}
    )
    SELECT video_id, track_id, emotion, start_s, end_s FROM longest LEFT JOIN episodes USING (video_id, track_id)
    ORDER BY video_id, track_id, start_s
"""
SORTS = {"name": ("video", True), "newest": ("finished_at", False), "longest": ("duration_s", False),
         "most people": ("people", False), "most gated": ("gated", False),
         **{f"most {name}": (name, False) for name in EMOTIONS}}  # fmt: skip


def read_videos(results: Results) -> pd.DataFrame:
    """A row per video with its shares of time and its dominant emotion."""
    videos: pd.DataFrame = results.ask(VIDEOS_SQL).to_pandas()
    shares = videos[list(EMOTIONS)].astype(float)
    known = shares.notna().any(axis=1)
    videos["emotion"] = None
    videos.loc[known, "emotion"] = shares[known].idxmax(axis=1)
    return videos


def chosen(videos: pd.DataFrame) -> pd.DataFrame:
    """The rows that the filters leave, in the order asked for."""
    search, emotion, order = st.columns([2, 1, 1])
    text = search.text_input("Search", placeholder="part of a file's name or folder")
    kind = emotion.selectbox("Dominant emotion", ["any", *EMOTIONS])
    column, ascending = SORTS[order.selectbox("Sort", list(SORTS))]
    if text:
        videos = videos[videos["path"].str.contains(text, case=False, regex=False)]
    if kind != "any":
        videos = videos[videos["emotion"] == kind]
    return videos.sort_values(column, ascending=ascending, kind="stable")


def add_strips(results: Results, videos: pd.DataFrame) -> pd.DataFrame:
    """The rows with two pictures each: who showed what when, and what all of them showed for how long."""
    ids = videos["video_id"].tolist()
    by_video: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for row in results.ask(EPISODES_SQL, ids=ids).to_pylist():
        episodes = by_video.setdefault(row["video_id"], {}).setdefault(row["track_id"], [])
        if row["emotion"] is not None:
            episodes.append(row)
    durations = videos.set_index("video_id")["duration_s"].fillna(0.0)
    strips = {video_id: timeline_strip(by_video.get(video_id, {}).values(), durations[video_id]) for video_id in ids}
    shares = videos[list(EMOTIONS)].astype(float)
    bars = [
        share_bar(row) if known else None
        for row, known in zip(shares.to_numpy(), shares.notna().any(axis=1), strict=True)
    ]
    return videos.assign(
        timeline_strip=videos["video_id"].map(strips), shares=pd.Series(bars, videos.index, dtype=object)
    )


def one_page(videos: pd.DataFrame) -> pd.DataFrame:
    """As many rows as one looks at in one go."""
    n_pages = max(1, -(-len(videos) // PAGE_ROWS))
    page = st.pagination(n_pages, key=f"library_page_of_{n_pages}") if n_pages > 1 else 1
    return videos.iloc[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]


def show_totals(videos: pd.DataFrame) -> None:
    """What is in the folder, in five figures."""
    done = videos[videos["status"] == "done"]
    hours = done["duration_s"].sum() / 3600
    figures = {
        "videos": f"{len(done):,}",
        "failed": f"{len(videos) - len(done):,}",
        "hours" if hours >= 1 else "minutes": f"{hours:,.1f}" if hours >= 1 else f"{60 * hours:,.1f}",
        "people (tracks)": f"{int(done['people'].sum()):,}",
    }
    with st.container(horizontal=True, gap="large"):
        for name, value in figures.items():
            st.metric(name, value, width="content")


def show_failures(failed: pd.DataFrame) -> None:
    """What could not be analyzed, why, and the way on."""
    if failed.empty:
        return
    st.subheader("Failed")
    st.caption("Mend or replace the file and run `fervid analyze` again: only what is left is done.")
    columns: dict[str, Any] = {
        "video": "video",
        "error": st.column_config.TextColumn("reason", width=REASON_PX),
        "path": "path",
    }
    st.dataframe(failed, hide_index=True, column_order=list(columns), column_config=columns)


def show_running(results: Results) -> None:
    """What is being analyzed at this moment."""
    for video in running(results.root):
        segments = f"{video.n_segments} segment{' is' if video.n_segments == 1 else 's are'} there"
        st.info(f"Being analyzed: of {video.video_id} {segments}, the last one just now.")


def main() -> None:
    """Draw the page."""
    results = current_results()
    st.title("Library")
    videos = read_videos(results)
    show_running(results)
    refresh_with_results(results)
    if videos.empty:
        st.info("There are no videos here yet: analyze some with `fervid analyze`; they appear as they are done.")
        return
    show_totals(videos)
    done = chosen(videos[videos["status"] == "done"])
    left, right = st.columns([1, 2])
    left.caption(f"{len(done)} video{'' if len(done) == 1 else 's'}. Choose one to open its timeline.")
    right.html(emotion_legend())
    columns: dict[str, Any] = {
        "video": st.column_config.TextColumn("video", width="medium"),
        "timeline_strip": st.column_config.ImageColumn(
            "episodes of each person",
            width="medium",
            help=f"A strip for each person, in the order of P0, P1 …; the {MOST_STRIPS} who are seen longest.",
        ),
        "emotion": "dominant emotion",
        "shares": st.column_config.ImageColumn(
            "share of time", width="medium", help="Of the time with a label, over all people."
        ),
        "duration_s": st.column_config.NumberColumn("duration in s", format="%.1f"),
        "people": "people",
        "gated": st.column_config.NumberColumn("faces gated", format="%.1f %%"),
        "path": "path",
    }
    row = choose_row(add_strips(results, one_page(done)), columns, "library_table")
    if row is not None:
        st.switch_page("views/timeline.py", query_params={"video": row["video_id"]})
    show_failures(videos[videos["status"] == "failed"])


if __name__ == "__main__":
    main()
