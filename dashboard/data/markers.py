"""Markers, such as advertisements: events of a file, and those made while watching a video."""

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pyarrow as pa
import streamlit as st

from analytics.queries.event_files import read_events
from analytics.results.notes import Marker
from analytics.results.videos import UnknownVideoError, choose_videos
from dashboard.data.results import Results
from dashboard.text import error_text, plain

ENVIRONMENT = "FERVID_DASHBOARD_EVENTS"
CSV_COLUMNS = ("start_s", "end_s", "label", "video")


class MarkerSpan(TypedDict):
    """A marker of a file in one video."""

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True, eq=False)
class Markers:
    """The events of a file: label, start_s, end_s and video."""

    name: str
    events: pa.Table

    def of_video(self, results: Results, video_id: str) -> list[MarkerSpan]:
        """The different markers of one video, by time.

        Raises:
            UnknownVideoError: if a marker names a video that is not in the results.
        """
        ids = self._ids_by_name(results)
        of_video = [row for row in self.events.to_pylist() if row["video"] is None or video_id in ids[row["video"]]]
        spans = sorted({(row["start_s"], row["end_s"], row["label"]) for row in of_video})
        return [MarkerSpan(label=label, start_s=start_s, end_s=end_s) for start_s, end_s, label in spans]

    def write_csv(self, results: Results, path: Path) -> None:
        """Write the events as a CSV file with the ids of their videos, so that no name is looked up again.

        Raises:
            UnknownVideoError: if a marker names a video that is not in the results.
        """
        ids = {None: [""], **self._ids_by_name(results)}
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(CSV_COLUMNS)
            for row in self.events.to_pylist():
                for video_id in ids[row["video"]]:
                    writer.writerow([row["start_s"], row["end_s"], row["label"], video_id])

    def with_exact_names(self, results: Results) -> pa.Table:
        """The events with the id of each video, or its path if several contents of the file were analyzed.

        `analytics.queries` looks these up unchanged: neither as the end of a path nor by content.

        Raises:
            UnknownVideoError: if a marker names a video that is not in the results.
        """
        path_of = dict(results.videos())
        exact = {name: ids[0] if len(ids) == 1 else path_of[ids[0]] for name, ids in self._ids_by_name(results).items()}
        names = [name and exact[name] for name in self.events["video"].to_pylist()]
        column = self.events.schema.get_field_index("video")
        return self.events.set_column(column, "video", pa.array(names, pa.string()))

    def _ids_by_name(self, results: Results) -> dict[str | None, list[str]]:
        """The ids of the videos that each name in the file means."""
        videos = results.videos()
        names = self.events["video"].unique().drop_null().to_pylist()
        return {name: choose_videos(videos, [name], by_content=False) for name in names}


def markers_csv(markers: Iterable[Marker], video_path: str) -> bytes:
    """Markers of one video as a CSV file that `--events` and page Compare read."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for marker in markers:
        writer.writerow([f"{marker.start_s:.3f}", f"{marker.end_s:.3f}", marker.label, video_path])
    return file.getvalue().encode()


def current_markers() -> Markers | None:
    """The markers selected in this session, else those given to the command, else None.

    Raises:
        EventsError: if the file given to the command cannot be read anymore.
    """
    if "markers" in st.session_state:
        chosen: Markers | None = st.session_state["markers"]
        return chosen
    path = os.environ.get(ENVIRONMENT)
    return Markers(Path(path).name, read_events(Path(path))) if path else None


def markers_of(markers: Markers | None, results: Results, video_id: str) -> list[MarkerSpan]:
    """The markers of a video; shows a warning if the file names a video that is not in the results."""
    try:
        return markers.of_video(results, video_id) if markers else []
    except UnknownVideoError as error:
        st.warning(f"{plain(markers.name if markers else '')}: {error_text(error)}")
        return []
