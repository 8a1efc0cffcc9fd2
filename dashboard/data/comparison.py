"""Data of page Compare: groups of videos or of markers, compared once for each state of the results."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from analytics import queries
from analytics.queries.comparison_notes import pairing_notes, videos_have_participants
from analytics.queries.event_files import EVENTS
from analytics.queries.events import events_of_videos
from dashboard.data.results import Results

LATE_SQL = """
    SELECT count(DISTINCT video_id) AS n FROM visible('tracks')
    WHERE list_contains($video_ids, video_id) AND end_s > $shown_s
"""
BIN_MS = 1000
ONSET_BIN_MS = 500
BASELINE_S = 5.0  # seconds before the onset of a marker with which it is compared
MAX_SHOWN_S = 600.0  # of each video or marker, at most this many seconds are shown


@dataclass(frozen=True, eq=False)
class Compared:
    """The tables that page Compare shows."""

    differences: pd.DataFrame  # rows of `result_schemas.COMPARISON`
    means: pd.DataFrame  # means over time, as `queries.group_timeline` returns them
    time_title: str
    pairing: Sequence[str]  # sentences on the pairs of groups that are compared within participants
    limit_note: str | None  # on videos or markers of which `means` has only the first part
    onsets: pd.DataFrame | None = None  # for markers only: rows of `result_schemas.AVERAGES`
    onset_notes: Sequence[str] = ()  # on trials without a baseline, and on markers shown before others

    @property
    def groups(self) -> list[str]:
        """The names of all groups, also of those without data, in order."""
        return sorted({*self.differences["group_a"], *self.differences["group_b"]})


@st.cache_data(max_entries=16, show_spinner="comparing")
def comparison_of(
    _results: Results, key: tuple[Any, ...], groups: dict[str, str], participants: dict[str, str]
) -> pd.DataFrame:
    """Compare groups of videos; cached for `key`, which identifies the results."""
    found = _results.answer(lambda connection: queries.compare(connection, groups, participants=participants))
    rows: pd.DataFrame = found.to_pandas()
    return rows


@st.cache_data(max_entries=16, show_spinner="comparing")
def marker_comparison_of(_results: Results, key: tuple[Any, ...], events: pd.DataFrame) -> pd.DataFrame:
    """Compare markers; cached for `key`."""
    table = pa.Table.from_pandas(events, EVENTS, preserve_index=False)
    rows: pd.DataFrame = _results.answer(lambda connection: queries.compare_events(connection, table)).to_pandas()
    return rows


@st.cache_data(max_entries=16, show_spinner="averaging over time")
def mean_timelines(
    _results: Results, key: tuple[Any, ...], ranges: pd.DataFrame, participants: dict[str, str]
) -> pd.DataFrame:
    """Mean probabilities of all emotions, second by second; cached for `key`."""
    table = pa.Table.from_pandas(ranges, preserve_index=False)
    found = _results.answer(
        lambda connection: queries.group_timeline(connection, table, participants=participants, bin_ms=BIN_MS)
    )
    rows: pd.DataFrame = found.to_pandas()
    return rows


@st.cache_data(max_entries=16, show_spinner="averaging around onsets")
def onset_averages(_results: Results, key: tuple[Any, ...], events: pd.DataFrame) -> pd.DataFrame:
    """Average change of probabilities around the onset of markers; cached for `key`."""
    table = pa.Table.from_pandas(events, EVENTS, preserve_index=False)
    found = _results.answer(
        lambda connection: queries.averages(connection, table, bin_ms=ONSET_BIN_MS, before_s=BASELINE_S)
    )
    rows: pd.DataFrame = found.to_pandas()
    return rows


@st.cache_data(max_entries=16, show_spinner=False)
def low_quality_note(_results: Results, key: tuple[Any, ...], video_ids: list[str]) -> str:
    """A note on low-quality faces, and on good ones that do not count, in these videos; cached for `key`."""
    return _results.answer(lambda connection: queries.gate_note(connection, video_ids=video_ids))


@st.cache_data(max_entries=16, show_spinner=False)
def onset_notes(_results: Results, key: tuple[Any, ...], events: pd.DataFrame) -> list[str]:
    """Sentences on trials without a baseline, and on markers before whose onset another is shown; cached."""
    table = pa.Table.from_pandas(events, EVENTS, preserve_index=False)
    about = (queries.missing_baseline_note, queries.baseline_overlap_note)
    notes = _results.answer(lambda connection: [note_on(connection, table, before_s=BASELINE_S) for note_on in about])
    return [note for note in notes if note is not None]


@st.cache_data(max_entries=16, show_spinner=False)
def notes_on_pairing(
    _results: Results,
    key: tuple[Any, ...],
    differences: pd.DataFrame,
    participants: dict[str, str] | None,
    video_ids: list[str],
) -> list[str]:
    """A sentence on each pair of groups that is compared within participants, or within videos; cached for `key`."""
    has_any = _results.answer(lambda connection: videos_have_participants(connection, participants, video_ids))
    return pairing_notes(differences.to_dict("records"), has_participants=has_any)


def ranges_of_groups(results: Results, groups: dict[str, str]) -> pd.DataFrame:
    """The videos of each group, from their start up to `MAX_SHOWN_S`."""
    ranges = [
        (groups[video_id], video_id, 0.0, MAX_SHOWN_S) for video_id, _ in results.done_videos() if video_id in groups
    ]
    return pd.DataFrame(ranges, columns=["group", "video_id", "start_s", "end_s"])


def ranges_of_markers(results: Results, events: pa.Table) -> pd.DataFrame:
    """The first `MAX_SHOWN_S` of each marker in each video; also of a failed video, in which nobody is seen."""
    ranges: pd.DataFrame = events_of_videos(events, results.videos()).to_pandas().rename(columns={"label": "group"})
    ranges["end_s"] = ranges["end_s"].clip(upper=ranges["start_s"] + MAX_SHOWN_S)
    return ranges


def video_limit_note(results: Results, groups: dict[str, str]) -> str | None:
    """A sentence on videos with faces after `MAX_SHOWN_S`; None without any."""
    (n,) = results.ask(LATE_SQL, video_ids=list(groups), shown_s=MAX_SHOWN_S)["n"].to_pylist()
    videos = "1 video has" if n == 1 else f"{n} videos have"
    return f"The lines end at {MAX_SHOWN_S:g} s; {videos} faces after that." if n else None


def marker_limit_note(events: pa.Table) -> str | None:
    """A sentence on markers that are longer than `MAX_SHOWN_S`; None without any."""
    n = pc.sum(pc.greater(pc.subtract(events["end_s"], events["start_s"]), MAX_SHOWN_S)).as_py()
    markers = "1 marker is" if n == 1 else f"{n} markers are"
    return f"The lines end at {MAX_SHOWN_S:g} s; {markers} longer." if n else None
