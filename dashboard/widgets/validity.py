"""Table of how far the labels of each person can be trusted."""

import pandas as pd
import streamlit as st

from analytics.queries.sql_files import run_sql_for_videos
from dashboard.data.results import Results

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
    "head turn, median": "%.0f°",
    "head turn, 90 %": "%.0f°",
    "changes per min": "%.1f",
}


@st.dialog("Validity", width="large")
def show_validity(results: Results, video_id: str) -> None:
    """A table with a row per person of a video."""
    st.dataframe(
        validity_of(results, video_id),
        hide_index=True,
        column_config={name: st.column_config.NumberColumn(format=form) for name, form in FORMATS.items()},
    )
    st.caption(
        "Good quality, left out and labeled are shares of the visible time, carried labels of the labeled time. "
        "Methods: docs/statistics.md."
    )


def validity_of(results: Results, video_id: str) -> pd.DataFrame:
    """The columns of `HEADINGS`, a row per person who is not hidden."""
    people = results.answer(lambda connection: run_sql_for_videos(connection, "validity", [video_id])).to_pylist()
    rows = [
        {heading: row[name] for name, heading in HEADINGS.items()}
        | {HEADINGS["main_reason"]: (row["main_reason"] or "").replace("_", " ")}
        for row in people
    ]
    return pd.DataFrame(rows, columns=list(HEADINGS.values()))
