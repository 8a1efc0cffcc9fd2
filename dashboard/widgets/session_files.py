"""Controls to upload files of markers and of codes, which are kept for this session only."""

import streamlit as st

from analytics.queries.codes import CodesError, read_codes
from analytics.queries.codes import offset_note as note_on_codes
from analytics.queries.event_files import EventsError, read_events
from analytics.queries.event_files import offset_note as note_on_events
from dashboard.data.codes import Codes, current_codes
from dashboard.data.markers import Markers, current_markers
from dashboard.data.uploads import read_upload
from dashboard.text import plain

FORMATS = ["eaf", "csv", "tsv", "txt"]


def choose_markers() -> Markers | None:
    """A control to upload a file of markers, or to remove it; returns the current markers."""
    markers = current_markers()
    label = "Markers" if markers is None else f"Markers: {plain(markers.name)}"
    with st.popover(label, width="content"):
        st.caption(
            "A CSV file with the columns start_s, end_s and label, and optionally video (a path or its end, a name or "
            "id; empty: each video), or an ELAN file, whose annotations are markers. It is kept for this session only; "
            "`fervid dashboard RESULTS --events FILE` shows it to everybody. Markers made with M on page Timeline are "
            "not among them: save them there (Export, markers), and choose the file here to compare them."
        )
        st.file_uploader("A file of markers", type=FORMATS, key="markers_file", on_change=take_markers)
        _show_problem("markers", markers)
        if markers is not None:
            if note := note_on_events(markers.events):
                st.caption(note)
            st.button("Remove markers", on_click=lambda: st.session_state.update(markers=None))
    return markers


def take_markers() -> None:
    """Keep the markers of the file that was just uploaded; forget them if it was removed."""
    file = st.session_state["markers_file"]
    _forget_upload("markers")
    if file is None:
        return
    try:
        st.session_state["markers"] = Markers(file.name, read_upload(read_events, file.getvalue(), file.name))
    except EventsError as error:
        st.session_state["markers_problem"] = str(error)


def choose_codes() -> Codes | None:
    """A control to upload a file of codes, or to remove it; returns the current codes."""
    codes = current_codes()
    with st.popover("Codes" if codes is None else f"Codes: {plain(codes.name)}", width="content"):
        st.caption(
            "What people coded: an ELAN file (a tier for each person), tabular or aggregated events of BORIS, or a CSV "
            "file with the columns start_s, end_s, code, and optionally person (a name or P0, P1, …) and video. It is "
            "kept for this session only; `fervid dashboard RESULTS --codes FILE` shows it to everybody."
        )
        st.file_uploader("A file of codes", type=FORMATS, key="codes_file", on_change=take_codes)
        _show_problem("codes", codes)
        if codes is not None:
            if note := note_on_codes(codes.codes):
                st.caption(note)
            st.button("Remove codes", on_click=lambda: st.session_state.update(codes=None))
    return codes


def take_codes() -> None:
    """Keep the codes of the file that was just uploaded; forget them if it was removed."""
    file = st.session_state["codes_file"]
    _forget_upload("codes")
    if file is None:
        return
    try:
        st.session_state["codes"] = Codes(file.name, read_upload(read_codes, file.getvalue(), file.name))
    except CodesError as error:
        st.session_state["codes_problem"] = str(error)


def _forget_upload(kind: str) -> None:
    """Forget an uploaded file, so that the one given to the command is used; a file that was removed stays so."""
    if st.session_state.get(kind) is not None:
        del st.session_state[kind]


def _show_problem(kind: str, used: Markers | Codes | None) -> None:
    """Say why the file that was just uploaded cannot be read, and which one is used instead."""
    if problem := st.session_state.pop(f"{kind}_problem", None):
        st.error(plain(problem))
        if used is not None:
            st.info(f"{plain(used.name)}, the file given to the command, is used instead.")
