"""Markers, such as advertisements: events of a file, and those made while watching a video."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pyarrow as pa
import streamlit as st

from analytics.queries.event_files import EVENTS, read_events
from analytics.results.notes import Marker
from analytics.results.videos import UnknownVideoError, choose_videos
from analytics.tables.formulas import without_formulas
from analytics.tables.table_io import write_rows
from dashboard.data.results import Results
from dashboard.text import error_text, plain

ENVIRONMENT = "FERVID_DASHBOARD_EVENTS"


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
        ids: dict[str | None, Sequence[str | None]] = {None: [None], **self._ids_by_name(results)}
        rows = [row | {"video": video_id} for row in self.events.to_pylist() for video_id in ids[row["video"]]]
        with path.open("wb") as file:
            write_rows(without_formulas(pa.Table.from_pylist(rows, EVENTS)), file, "csv")

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


def events_of_notes(markers: Iterable[Marker], video_path: str) -> pa.Table:
    """Markers made while watching a video, as the events that `--events` and page Compare read."""
    rows = [
        {"label": one.label, "start_s": round(one.start_s, 3), "end_s": round(one.end_s, 3), "video": video_path}
        for one in markers
    ]
    return pa.Table.from_pylist(rows, EVENTS)


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
