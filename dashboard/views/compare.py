"""Page Compare: groups of videos, or markers, side by side."""

from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from analytics.queries.event_notes import (
    late_events_note,
    repeated_events_note,
    unassigned_events_note,
    unseen_events_note,
)
from analytics.queries.groups import GroupError, find_groups, find_participants, several_people_note
from analytics.results.video_record import VideoName
from analytics.results.videos import UnknownVideoError
from dashboard.data.comparison import (
    Compared,
    comparison_of,
    low_quality_note,
    marker_comparison_of,
    marker_limit_note,
    mean_timelines,
    notes_on_pairing,
    onset_averages,
    onset_notes,
    ranges_of_groups,
    ranges_of_markers,
    video_limit_note,
)
from dashboard.data.live_refresh import refresh_with_results
from dashboard.data.markers import Markers
from dashboard.data.results import Results, current_results
from dashboard.text import NO_FINISHED_VIDEO, error_text, plain
from dashboard.widgets.agreement import show_agreement
from dashboard.widgets.differences import show_differences
from dashboard.widgets.group_picker import MARKERS, MAX_GROUPS, NEXT_STEPS, choose_groups, choose_way, show_members
from dashboard.widgets.over_time import show_over_time
from dashboard.widgets.quality_notes import show_quality_notes
from dashboard.widgets.session_files import choose_codes, choose_markers


def select_groups(groups: list[str], way: str) -> list[str]:
    """The groups to compare; if there are more than `MAX_GROUPS`, the user selects which."""
    if len(groups) <= MAX_GROUPS:
        return groups
    return st.multiselect(
        f"Groups to compare, at most {MAX_GROUPS} of {len(groups)}",
        groups,
        groups[:MAX_GROUPS],
        max_selections=MAX_GROUPS,
        key=f"compared_{way}",
        persist_state="session",
    )


def show_several_people(results: Results, participants: Mapping[str, str] | None, video_ids: Collection[str]) -> None:
    """A caption on videos with several visible people who count as one participant or as several."""
    if note := results.answer(lambda connection: several_people_note(connection, participants, video_ids)):
        st.caption(plain(note))


def compare_markers(results: Results, key: tuple[Any, ...], markers: Markers) -> Compared:
    """Differences between markers, and means over time."""
    events = markers.with_exact_names(results)
    labels = select_groups(sorted(set(events["label"].to_pylist())), MARKERS)
    events = events.filter(pc.is_in(events["label"], pa.array(labels, pa.string())))
    notes_on = (unassigned_events_note, repeated_events_note, late_events_note, unseen_events_note)
    for note in results.answer(lambda connection: [note_on(connection, events) for note_on in notes_on]):
        if note is not None:
            st.caption(plain(note))
    ranges = ranges_of_markers(results, events)
    video_ids = sorted(ranges["video_id"].unique())
    show_several_people(results, None, video_ids)
    st.caption(plain(f"All faces in videos with these markers: {low_quality_note(results, key, video_ids)}"))
    frame = events.to_pandas()
    differences = marker_comparison_of(results, key, frame)
    return Compared(
        differences,
        mean_timelines(results, key, ranges, {}),
        "time since the start of the marker in s",
        notes_on_pairing(results, key, differences, None, video_ids),
        marker_limit_note(events),
        onset_averages(results, key, frame),
        onset_notes(results, key, frame),
    )


def compare_videos(results: Results, key: tuple[Any, ...], videos: list[VideoName], way: str) -> Compared | None:
    """Differences between groups of videos, and means over time; None until two groups are selected."""
    grouping = choose_groups(videos, way)
    names = sorted(set(grouping.groups.values()))
    if len(names) < 2:
        st.info(NEXT_STEPS[way])
        return None
    chosen = select_groups(names, way)
    if len(chosen) < 2:
        st.info("Select at least two groups.")
        return None
    in_chosen = {path: group for path, group in grouping.groups.items() if group in chosen}
    source = grouping.source
    groups = find_groups(in_chosen, videos, by_content=False, source=source)
    participants = find_participants(grouping.participants, results.videos(), by_content=False, source=source)
    show_members(groups, videos)
    show_several_people(results, participants, groups)
    st.caption(plain(f"All faces in these videos: {low_quality_note(results, key, list(groups))}"))
    differences = comparison_of(results, key, groups, participants)
    return Compared(
        differences,
        mean_timelines(results, key, ranges_of_groups(results, groups), participants),
        "time in the video in s",
        notes_on_pairing(results, key, differences, participants, list(groups)),
        video_limit_note(results, groups),
    )


def show_comparison(results: Results, videos: list[VideoName], way: str, markers: Markers | None) -> None:
    """Compare groups of videos, or markers, as selected."""
    key = results.shown_state()
    try:
        if way == MARKERS and markers is not None:
            found: Compared | None = compare_markers(results, key, markers)
        else:
            found = compare_videos(results, key, videos, way)
    except GroupError as error:
        st.warning(error_text(error))
        return
    except UnknownVideoError as error:  # of a marker
        st.warning(f"{plain(markers.name if markers else '')}: {error_text(error)}")
        return
    if found is None:
        return
    # Still images have labels, but no means over time.
    if found.means.empty and not found.differences[["n_a", "n_b"]].any(axis=None):
        st.info("Hidden people aside, no face in these groups has a label: there is nothing to compare.")
        return
    show_differences(found.differences, found.pairing)
    show_over_time(found)


def main() -> None:
    """Draw the page."""
    results = current_results()
    st.title("Compare")
    refresh_with_results(results)
    videos = results.done_videos()
    if not videos:
        st.info(NO_FINISHED_VIDEO)
        return
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        for_way = st.container(width="content")
        with st.container(horizontal=True, width="content"):
            markers = choose_markers()
            codes = choose_codes()
    with for_way:
        way = choose_way([video.path for video in videos], markers)
    show_quality_notes(results)
    show_comparison(results, videos, way, markers)
    if codes is not None:
        show_agreement(results, codes)


if __name__ == "__main__":
    main()
