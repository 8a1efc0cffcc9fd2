"""Page Library: every video, what it shows, and which failed."""

from collections.abc import Hashable, Mapping
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from analytics.text import counted
from dashboard.data.library import read_library
from dashboard.data.live_refresh import refresh_with_results
from dashboard.data.results import Results, current_results
from dashboard.text import NO_FINISHED_VIDEO, NO_MATCHING_VIDEO, OPEN_VIDEO_HINT, clock, percent, plain
from dashboard.widgets.charts import emotion_legend
from dashboard.widgets.quality_notes import show_quality_notes
from dashboard.widgets.rows import (
    Column,
    Episode,
    Row,
    episode_strip,
    share_strip,
    share_text,
    show_rows,
    thumbnails_switch,
)
from fer_models.labels import EMOTIONS

PAGE_ROWS = 100
MAX_STRIPS = 5  # maximum number of people with a strip per video; more strips would be too thin to see
THUMBNAIL_AT = 0.1  # position of a thumbnail, as a share of the duration, because many videos begin with a black frame

# The people who are visible longest, each with their episodes; a person without episodes has one row.
EPISODES_SQL = f"""
    WITH longest AS (
        SELECT video_id, track_id FROM tracks JOIN people USING (video_id, track_id)
        WHERE list_contains($ids, video_id) AND NOT is_hidden
        QUALIFY row_number() OVER (PARTITION BY video_id ORDER BY seen_s DESC, track_id) <= {MAX_STRIPS}
    )
    SELECT video_id, track_id, emotion, start_s, end_s FROM longest LEFT JOIN episodes USING (video_id, track_id)
    ORDER BY video_id, track_id, start_s
"""
SORTS = {"name": ("video", True), "newest": ("finished_at", False), "longest": ("duration_s", False),
         "most people": ("people", False), "most low-quality faces": ("low_quality", False),
         **{f"most {name}": (name, False) for name in EMOTIONS}}  # fmt: skip
COLUMNS = (
    Column("thumbnail", "", "thumbnail"),
    Column("video", "Video", "link"),
    Column(
        "episodes",
        "Episodes of each person",
        "strips",
        f"One strip for each person, in the order of their numbers; the {MAX_STRIPS} who are seen longest.",
    ),
    Column("emotion", "Dominant emotion", "emotion"),
    Column(
        "shares",
        "Share of time",
        "strips",
        "Of the time with a label, over all people. In a still image: of its good faces.",
    ),
    Column("duration", "Duration", "number"),
    Column("people", "People", "number", "In a still image: faces."),
    Column("low_quality", "Low-quality faces", "number", "Share of all faces that fail the quality filter."),
    Column("path", "Path", "muted"),
)


def filtered(videos: pd.DataFrame) -> pd.DataFrame:
    """The rows that pass the filters, sorted as selected; other pages do not reset them."""
    search, emotion, order = st.columns([2, 1, 1])
    text = search.text_input(
        "Search", placeholder="part of a file name or folder", key="library_search", persist_state="session"
    )
    kind = emotion.selectbox("Dominant emotion", ["any", *EMOTIONS], key="library_emotion", persist_state="session")
    column, ascending = SORTS[order.selectbox("Sort", list(SORTS), key="library_sort", persist_state="session")]
    if text:
        videos = videos[videos["path"].str.contains(text, case=False, regex=False)]
    if kind != "any":
        videos = videos[videos["emotion"].str.contains(kind, regex=False, na=False)]
    return videos.sort_values(column, ascending=ascending, kind="stable")


def table_rows(results: Results, known: dict[str, Row], videos: pd.DataFrame) -> list[Row]:
    """The values of `COLUMNS` for each video; those that are not in `known` are added to it."""
    new = videos[~videos["video_id"].isin(known)]
    if not new.empty:
        known.update(zip(new["video_id"], _make_rows(results, new), strict=True))
    return [known[video_id] for video_id in videos["video_id"]]


def _make_rows(results: Results, videos: pd.DataFrame) -> list[Row]:
    ids = videos["video_id"].tolist()
    by_video: dict[str, dict[int, list[Episode]]] = {video_id: {} for video_id in ids}
    for row in results.ask(EPISODES_SQL, ids=ids).to_pylist():
        episodes = by_video[row["video_id"]].setdefault(row["track_id"], [])
        if row["emotion"] is not None:
            episodes.append(row)
    return [_table_row(video, by_video[video["video_id"]]) for video in videos.to_dict("records")]


def _table_row(video: Mapping[Hashable, Any], people: Mapping[int, list[Episode]]) -> Row:
    duration_s = float(video["duration_s"] or 0) if pd.notna(video["duration_s"]) else 0.0
    shares = [] if video["emotion"] is None else [float(video[name]) for name in EMOTIONS]
    return {
        "href": "timeline?" + urlencode({"video": video["video_id"]}),
        "thumbnail": {"video": video["video_id"], "at_s": THUMBNAIL_AT * duration_s},
        "video": video["video"],
        "episodes": [episode_strip(episodes, duration_s) for episodes in people.values()],
        "emotion": video["emotion"],
        "shares": [share_strip(shares)] if shares else [],
        "shares_title": share_text(shares) if shares else None,
        "duration": "still image" if video["is_image"] else clock(duration_s),
        "people": people_text(video),
        "low_quality": "" if pd.isna(video["low_quality"]) else percent(video["low_quality"], 1),
        "path": video["short_path"],
        "path_title": video["path"],
    }


def people_text(video: Mapping[Hashable, Any]) -> str:
    """The number of people of a video, or of the faces of a still image; empty if it is not known."""
    if pd.isna(video["people"]):
        return ""
    n_people = int(video["people"])
    return counted(n_people, "face") if video["is_image"] else f"{n_people:,}"


def one_page(videos: pd.DataFrame) -> pd.DataFrame:
    """The rows of the selected page."""
    n_pages = max(1, -(-len(videos) // PAGE_ROWS))
    page = st.pagination(n_pages, key=f"library_page_of_{n_pages}", persist_state="session") if n_pages > 1 else 1
    return videos.iloc[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]


def show_totals(videos: pd.DataFrame) -> None:
    """The content of the folder in four figures; failures, also of later runs, link to their reasons below."""
    done = videos[videos["status"] == "done"]
    hours = done["analyzed_s"].sum() / 3600
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        st.metric("videos", f"{len(done):,}", width="content")
        if hours >= 1:
            st.metric("hours", f"{hours:,.1f}", width="content")
        else:
            st.metric("minutes", f"{60 * hours:,.1f}", width="content")
        st.metric("people (tracks)", f"{int(done.loc[~done['is_image'], 'people'].sum()):,}", width="content")
        st.metric("failed", f"{len(videos) - len(done):,}", width="content")
        if videos["error"].notna().any():
            st.markdown("[Show reasons](#failed)", width="content")


def show_failures(failed: pd.DataFrame) -> None:
    """The videos that could not be analyzed, or of which a later run failed, by the reason."""
    if failed.empty:
        return
    st.subheader("Failed", anchor="failed")
    st.caption("`fervid status` says what to do. If a later run failed, the results of the earlier one are shown.")
    by_reason = failed.head(PAGE_ROWS).groupby("error", sort=False)["short_path"]
    rows = [f"- {', '.join(f'**{plain(name)}**' for name in names)}: {plain(error)}" for error, names in by_reason]
    st.markdown("\n".join(rows))
    if len(failed) > PAGE_ROWS:
        st.caption(f"{len(failed) - PAGE_ROWS:,} more: `fervid status` lists all.")


def show_running(results: Results) -> bool:
    """Count the videos that are being analyzed now; returns whether there are any."""
    running = results.running()
    if running:
        segments = counted(sum(video.n_segments for video in running), "finished segment")
        st.info(f"Analysis in progress: {counted(len(running), 'video')} with {segments}.")
    return bool(running)


def main() -> None:
    """Draw the page."""
    results = current_results()
    st.title("Library")
    refresh_with_results(results)
    library = read_library(results)
    videos = library.videos
    is_running = show_running(results)
    if videos.empty:
        if not is_running:
            st.info(
                "There are no videos yet. Analyze some with `fervid analyze`: a run is shown here once the first "
                "segment of a video is saved, and videos when they are done."
            )
        return
    show_totals(videos)
    finished = videos[videos["status"] == "done"]
    done = filtered(finished)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        nothing = NO_FINISHED_VIDEO if finished.empty else NO_MATCHING_VIDEO
        st.caption(nothing if done.empty else f"{counted(len(done), 'video')}. {OPEN_VIDEO_HINT}", width="content")
        st.html(emotion_legend(), width="content")
        thumbnails = thumbnails_switch()
    rows = table_rows(results, library.rows, one_page(done))
    show_rows(COLUMNS, rows, label="Videos", key="library_table", thumbnails=thumbnails)
    show_quality_notes(results)
    show_failures(videos[videos["error"].notna()])


if __name__ == "__main__":
    main()
