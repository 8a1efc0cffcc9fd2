"""Table of how far the labels of each person can be trusted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from analytics.queries import short_time_note
from analytics.queries.sql_files import run_sql_for_videos
from dashboard.data.results import Results
from dashboard.text import plain

OPEN_KEY = "validity_of"  # in the state of the session: the video whose table is open
HELP = "How much of each person's time was visible, of good quality and labeled, and how often the label changed."
# Maps columns of `queries.validity` to headings.
HEADINGS = {
    "person": "person",
    "seen_s": "visible in s",
    "seen_share": "visible, of track",
    "good_share": "good quality",
    "left_out_share": "left out by --speech",
    "labelled_share": "labeled",
    "carried_share": "carried labels",
    "main_reason": "reason for low quality",
    "yaw_median_deg": "head turn, median",
    "yaw_p90_deg": "head turn, 90 %",
    "changes_per_min": "changes per min",
}
FORMATS = {
    "visible in s": "%.1f",
    "visible, of track": "percent",
    "good quality": "percent",
    "left out by --speech": "percent",
    "labeled": "percent",
    "carried labels": "percent",
    "head turn, median": "%.1f°",
    "head turn, 90 %": "%.1f°",
    "changes per min": "%.1f",
}


def open_validity(video_id: str) -> None:
    """Let runs of the page show the table of this video until it is closed."""
    st.session_state[OPEN_KEY] = video_id


def close_validity() -> None:
    """Forget which table is open."""
    st.session_state.pop(OPEN_KEY, None)


def is_validity_open(video_id: str) -> bool:
    """Whether the table of this video is open: a run of the page that does not show it again would close it."""
    return bool(st.session_state.get(OPEN_KEY) == video_id)


@st.dialog("Validity", width="large", on_dismiss=close_validity)
def show_validity(results: Results, video_id: str) -> None:
    """A table with a row per person of a video."""
    people = results.answer(lambda connection: run_sql_for_videos(connection, "validity", [video_id])).to_pylist()
    st.dataframe(
        validity_table(people),
        hide_index=True,
        column_config={name: st.column_config.NumberColumn(format=form) for name, form in FORMATS.items()},
    )
    st.caption(
        "Good quality, left out and labeled are shares of the visible time, carried labels of the labeled time. "
        "Methods: docs/statistics.md."
    )
    if uncertain := short_time_note([row["observed_s"] for row in people], "Changes per min", "change"):
        st.caption(plain(uncertain))


def validity_table(people: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The columns of `HEADINGS`, from the rows of `queries.validity` of one video; people of one name have a number."""
    n_tracks = Counter(row["person"] for row in people)
    rows = [
        {heading: row[name] for name, heading in HEADINGS.items()}
        | ({"person": f"{row['person']} (P{row['track_id']})"} if n_tracks[row["person"]] > 1 else {})
        | {HEADINGS["main_reason"]: (row["main_reason"] or "").replace("_", " ")}
        for row in people
    ]
    return pd.DataFrame(rows, columns=list(HEADINGS.values()))
