"""Page Moments: the strongest episodes of each emotion across the library."""

from dataclasses import asdict, dataclass
from urllib.parse import urlencode

import pyarrow as pa
import streamlit as st

from analytics.results.videos import short_names
from analytics.time_tolerance import shortest
from dashboard.data.live_refresh import refresh_with_results
from dashboard.data.results import Results, current_results
from dashboard.text import NO_FINISHED_VIDEO, clock, percent
from dashboard.widgets.download import download_button
from dashboard.widgets.quality_notes import show_people_note
from dashboard.widgets.rows import Column, Row, show_rows, thumbnails_switch
from fer_models.labels import EMOTIONS

MAX_SHOWN_MOMENTS = 200
LEAD_IN_S = 1.0  # when an episode is played, this many seconds before its start are shown first
ANYBODY = "anybody"
ALL_BUT_NEUTRAL = [name for name in EMOTIONS if name != "neutral"]
# The area of an episode is its mean probability times its duration, in seconds.
RANKINGS = {
    "area (mean × duration)": "mean * episodes.duration_s",
    "peak × duration": "peak * episodes.duration_s",
    "peak": "round(peak, 2)",  # many peaks are 1.00: equal ones are ordered by duration
    "duration": "episodes.duration_s",
}
MOMENTS_SQL = """
    SELECT video_id, path, track_id, person, episodes.emotion,
        episodes.start_s, episodes.end_s, apex_s,
        episodes.duration_s, peak, {ranking} AS rank_value, (n_faces_ok + n_faces_left_out) / nullif(n_faces, 0) AS good
    FROM episodes JOIN videos USING (video_id) JOIN tracks USING (video_id, track_id)
        JOIN people USING (video_id, track_id)
    WHERE list_contains($emotions, episodes.emotion) AND NOT is_hidden
        AND episodes.duration_s >= $min_duration_s
        AND coalesce(good, 0) >= $min_good
        AND contains(lower(path), lower($search)) AND ($participant = '' OR participant = $participant)
    ORDER BY rank_value DESC, episodes.duration_s DESC, video_id, episodes.start_s
"""
PEOPLE_SQL = """
    SELECT participant, bool_or(is_named) AS is_named, any_value(person) AS person, any_value(video_id) AS video_id
    FROM people WHERE NOT is_hidden GROUP BY participant
"""
COLUMNS = (
    Column("thumbnail", "", "thumbnail"),
    Column("play", "", "play"),
    Column("moment", "Moment", "link"),
    Column("emotion", "Emotion", "emotion"),
    Column("person", "Person"),
    Column("duration", "Duration", "number"),
    Column("peak", "Peak probability", "bar"),
    Column("rank", "Rank value", "number"),
    Column("good", "Good-quality faces", "number", "Of this person in this video."),
)


@dataclass(frozen=True)
class Filters:
    """Conditions that shown episodes meet; the names are the parameters of `MOMENTS_SQL`."""

    emotions: list[str]
    participant: str = ""  # participant to show; empty: everybody
    search: str = ""  # text that the path must contain
    min_duration_s: float = 0.0
    min_good: float = 0.0  # smallest share of good faces of the person in the video


@dataclass(frozen=True)
class Moment:
    """A row of `MOMENTS_SQL`, with the display name of the video."""

    video_id: str
    video: str
    path: str
    track_id: int
    person: str
    emotion: str
    start_s: float
    end_s: float
    apex_s: float
    duration_s: float
    peak: float
    rank_value: float
    good: float | None


def find_moments(results: Results, ranking: str, filters: Filters) -> pa.Table:
    """The episodes that pass the filters, the strongest by `ranking` first; the columns are those of `Moment`."""
    least = {"min_duration_s": shortest(filters.min_duration_s)}
    episodes = results.ask(MOMENTS_SQL.format(ranking=RANKINGS[ranking]), **asdict(filters) | least)
    names = short_names(results.videos())
    videos = [names[video_id] for video_id in episodes["video_id"].to_pylist()]
    return episodes.add_column(1, "video", pa.array(videos, pa.string()))


def moments_of(episodes: pa.Table) -> list[Moment]:
    """The rows of `find_moments`."""
    return [Moment(**row) for row in episodes.to_pylist()]


def table_row(moment: Moment) -> Row:
    """The values of `COLUMNS` for a moment."""
    peak = {"video": moment.video_id, "t": f"{moment.apex_s:.3f}"}
    start = {"video": moment.video_id, "t": f"{max(0.0, moment.start_s - LEAD_IN_S):.3f}", "play": "1"}
    return {
        "href": "timeline?" + urlencode(peak),
        "play_href": "timeline?" + urlencode(start),
        "thumbnail": {"video": moment.video_id, "at_s": moment.apex_s},
        "play": f"play {moment.emotion} of {moment.person} at {clock(moment.start_s)}",
        "moment": f"{moment.video} · {clock(moment.apex_s)}",
        "moment_title": moment.path,
        "emotion": moment.emotion,
        "person": moment.person,
        "duration": f"{moment.duration_s:.2f} s",
        "peak": moment.peak,
        "rank": f"{moment.rank_value:.2f}",
        "good": "" if moment.good is None else percent(moment.good),
    }


def people_by_label(results: Results) -> dict[str, str]:
    """The participant for each entry of the list of people: first those with a name, then tracks with their video.

    Videos with the same file name have their folder in front, so that no two entries are the same.
    """
    names = short_names(results.videos())
    labels = [
        (not row["is_named"], row["person"] if row["is_named"] else f"{row['person']} in {names[row['video_id']]}", row)
        for row in results.ask(PEOPLE_SQL).to_pylist()
    ]
    return {label: row["participant"] for _, label, row in sorted(labels, key=lambda entry: entry[:2])}


def choose_filters(results: Results) -> tuple[str, Filters]:
    """The ranking and the filters that the user selected; other pages do not reset them."""
    people = {ANYBODY: "", **people_by_label(results)}
    first, second, third = st.columns([2, 1, 1])
    emotions = first.pills(
        "Emotions (none selected: all but neutral)",
        EMOTIONS,
        selection_mode="multi",
        key="moments_emotions",
        persist_state="session",
    )
    participant = second.selectbox(
        "Person", list(people), help="Name people on the page Timeline.", key="moments_person", persist_state="session"
    )
    ranking = third.selectbox("Rank by", list(RANKINGS), key="moments_ranking", persist_state="session")
    first, second, third = st.columns([2, 1, 1])
    search = first.text_input(
        "Video", placeholder="part of a file name or folder", key="moments_search", persist_state="session"
    )
    min_duration_s = second.slider(
        "Minimum duration in s", 0.0, 10.0, 0.5, 0.1, key="moments_duration", persist_state="session"
    )
    min_good = third.slider(
        "Minimum share of good-quality faces",
        0.0,
        1.0,
        0.5,
        0.05,
        help="Of all faces of the person in the video.",
        key="moments_quality",
        persist_state="session",
    )
    return ranking, Filters(list(emotions) or ALL_BUT_NEUTRAL, people[participant], search, min_duration_s, min_good)


def main() -> None:
    """Draw the page."""
    results = current_results()
    st.title("Moments")
    refresh_with_results(results)
    ranking, filters = choose_filters(results)
    episodes = find_moments(results, ranking, filters)
    n_found = episodes.num_rows
    if not n_found:
        if find_moments(results, ranking, Filters(list(EMOTIONS))).num_rows:
            st.info("No episode passes the filters: select more emotions, allow shorter ones or remove another filter.")
        elif not results.done_videos():
            st.info(NO_FINISHED_VIDEO)
        else:
            st.info("There are no episodes: hidden people aside, no emotion is clear for long enough in any video.")
        return
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        shown = f"{MAX_SHOWN_MOMENTS} of {n_found:,}" if n_found > MAX_SHOWN_MOMENTS else f"{n_found}"
        found = "1 episode" if n_found == 1 else f"The {shown} strongest episodes by {ranking}"
        st.caption(f"{found}. Click one to see its peak; ▶ plays it from its start.", width="content")
        download_button(episodes, "csv", stem="moments")
        thumbnails = thumbnails_switch()
    shown_moments = moments_of(episodes.slice(0, MAX_SHOWN_MOMENTS))
    show_people_note(results, {moment.video_id for moment in shown_moments})
    rows = [table_row(moment) for moment in shown_moments]
    show_rows(COLUMNS, rows, label="Moments", key="moments_table", thumbnails=thumbnails)


if __name__ == "__main__":
    main()
