"""Page Library: every video, what it shows, and what went wrong."""

from typing import Any

import pandas as pd
import streamlit as st

from analytics.status import running
from dashboard.charts import emotion_legend, ribbon, share_bar
from dashboard.following import follow
from dashboard.results import Results, current_results
from dashboard.tables import choose_row
from fer_models.labels import EMOTIONS

PAGE_ROWS = 100
REASON_PX = 700

VIDEOS_SQL = f"""
    WITH of_video AS (
        SELECT video_id, count(*) AS people, sum(n_faces) AS n_faces, sum(n_faces_ok) AS n_faces_ok,
            {", ".join(f"sum(share_{name} * n_faces_ok) / sum(n_faces_ok) AS {name}" for name in EMOTIONS)}
        FROM tracks GROUP BY video_id
    )
    SELECT videos.video_id, parse_filename(path) AS video, status, error, duration_s, n_frames, people,
        100 * (1 - n_faces_ok / nullif(n_faces, 0)) AS gated, finished_at, path, {", ".join(EMOTIONS)}
    FROM videos LEFT JOIN of_video USING (video_id)
"""
EPISODES_SQL = """
    SELECT video_id, emotion, start_s, end_s FROM episodes WHERE list_contains($ids, video_id) ORDER BY start_s
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
    """The rows with two strips of colours each: what was shown when, and what for how long."""
    ids = videos["video_id"].tolist()
    episodes = results.ask(EPISODES_SQL, ids=ids).to_pandas()
    by_video = {video_id: rows.to_dict("records") for video_id, rows in episodes.groupby("video_id")}
    durations = videos.set_index("video_id")["duration_s"].fillna(0.0)
    strips = {video_id: ribbon(by_video.get(video_id, []), durations[video_id]) for video_id in ids}
    shares = videos[list(EMOTIONS)].astype(float)
    bars = [
        share_bar(row) if known else None
        for row, known in zip(shares.to_numpy(), shares.notna().any(axis=1), strict=True)
    ]
    return videos.assign(ribbon=videos["video_id"].map(strips), shares=pd.Series(bars, videos.index, dtype=object))


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
    """What could not be analysed, why, and the way on."""
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
    """What is being analysed at this moment."""
    for video in running(results.root):
        segments = f"{video.n_segments} segment{' is' if video.n_segments == 1 else 's are'} there"
        st.info(f"Being analysed: of {video.video_id} {segments}, the last one just now.")


def main() -> None:
    """Draw the page."""
    results = current_results()
    st.title("Library")
    videos = read_videos(results)
    show_running(results)
    follow(results)
    if videos.empty:
        st.info("There are no videos here yet: analyse some with `fervid analyze`; they appear as they are done.")
        return
    show_totals(videos)
    done = chosen(videos[videos["status"] == "done"])
    left, right = st.columns([1, 2])
    left.caption(f"{len(done)} video{'' if len(done) == 1 else 's'}. Choose one to open its timeline.")
    right.html(emotion_legend())
    columns: dict[str, Any] = {
        "video": st.column_config.TextColumn("video", width="medium"),
        "ribbon": st.column_config.ImageColumn("episodes over time", width="medium"),
        "emotion": "dominant emotion",
        "shares": st.column_config.ImageColumn("share of time", width="medium"),
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
