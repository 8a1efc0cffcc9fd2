"""Markers, such as advertisements: the events of a CSV file, given with the command or chosen in a page."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import streamlit as st

from analytics.queries.events import EventsError, parse_events, read_events
from analytics.results.videos import UnknownVideoError, choose_videos
from dashboard.data.results import Results

ENVIRONMENT = "FERVID_DASHBOARD_EVENTS"
VIDEOS_SQL = "SELECT video_id, path FROM videos"


@dataclass(frozen=True, eq=False)
class Markers:
    """The events of a file: label, start_s, end_s and video."""

    name: str
    events: pa.Table

    def of_video(self, results: Results, video_id: str) -> list[dict[str, Any]]:
        """Label, start and end in seconds of those of one video, by time.

        Raises:
            UnknownVideoError: if a marker names a video that is not there.
        """
        videos = results.ask(VIDEOS_SQL).to_pylist()
        rows = self.events.to_pylist()
        ids = {name: choose_videos(videos, [name]) for name in {row["video"] for row in rows} - {None}}
        mine = [row for row in rows if row["video"] is None or video_id in ids[row["video"]]]
        return sorted(
            ({name: row[name] for name in ("label", "start_s", "end_s")} for row in mine),
            key=lambda row: (row["start_s"], row["end_s"]),
        )


def current_markers() -> Markers | None:
    """The markers that were chosen last in this session, else those of the command, else None.

    Raises:
        EventsError: if the file of the command cannot be read any more.
    """
    if "markers" in st.session_state:
        chosen: Markers | None = st.session_state["markers"]
        return chosen
    path = os.environ.get(ENVIRONMENT)
    return Markers(Path(path).name, read_events(Path(path))) if path else None


def choose_markers() -> Markers | None:
    """A place to choose a file of markers, or to leave the chosen ones away; gives those that hold."""
    markers = current_markers()
    with st.popover("Markers" if markers is None else f"Markers: {markers.name}", width="stretch"):
        st.caption(
            "A CSV file with the columns start_s, end_s and label, and perhaps video (a path, file name or id; empty: "
            "every video). It is kept for this session only; `fervid dashboard RESULTS --events FILE` shows it to all."
        )
        st.file_uploader("A CSV file of markers", type="csv", key="markers_file", on_change=take_file)
        if problem := st.session_state.pop("markers_problem", None):
            st.error(problem)
        if markers is not None:
            st.button("Without markers", on_click=lambda: st.session_state.update(markers=None))
    return markers


def take_file() -> None:
    """Hold on to the file that was just chosen, if it has markers."""
    file = st.session_state["markers_file"]
    if file is None:
        return
    try:
        st.session_state["markers"] = Markers(file.name, parse_events(file.getvalue(), file.name))
    except EventsError as error:
        st.session_state["markers_problem"] = str(error)


def markers_of(markers: Markers | None, results: Results, video_id: str) -> list[dict[str, Any]]:
    """The markers of a video; says so in the page if the file names a video that is not there."""
    try:
        return markers.of_video(results, video_id) if markers else []
    except UnknownVideoError as error:
        st.warning(f"{markers.name if markers else ''}: {error}")
        return []
