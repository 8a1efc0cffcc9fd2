"""Notes on what the figures of all videos leave out or do not correct."""

import duckdb
import streamlit as st

from analytics import queries
from dashboard.data.results import Results
from dashboard.text import plain


def show_quality_notes(results: Results) -> None:
    """A caption for each note on settings, speech, baselines and dropped frames."""
    for note in results.remember("quality notes", _quality_notes):
        st.caption(plain(note))


def _quality_notes(connection: duckdb.DuckDBPyConnection) -> list[str]:
    others = (
        queries.mixed_settings_note(connection),
        queries.baseline_note(connection),
        queries.dropped_frames_note(connection),
    )
    return [*queries.speech_notes(connection), *(note for note in others if note is not None)]
