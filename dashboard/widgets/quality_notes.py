"""Notes on what the figures of all videos leave out or do not correct."""

from collections.abc import Collection

import duckdb
import streamlit as st

from analytics import queries
from analytics.results.replaced_files import replaced_files_note
from analytics.results.storage_paths import StoragePath
from analytics.results.videos import all_videos
from dashboard.data.results import Results
from dashboard.text import plain


def show_quality_notes(results: Results) -> None:
    """A caption for each note on settings, speech, baselines, dropped frames and replaced files."""
    for note in results.remember("quality notes", lambda connection: _quality_notes(connection, results.root)):
        st.caption(plain(note))


def show_people_note(results: Results, video_ids: Collection[str] | None = None) -> None:
    """A caption if people of these videos (None: all) have to be confirmed."""
    if note := results.answer(lambda connection: queries.unconfirmed_people_note(connection, video_ids)):
        st.caption(plain(note))


def _quality_notes(connection: duckdb.DuckDBPyConnection, root: StoragePath) -> list[str]:
    others = (
        queries.mixed_settings_note(connection),
        queries.baseline_note(connection),
        queries.dropped_frames_note(connection),
        queries.unconfirmed_people_note(connection),
        replaced_files_note(root, all_videos(connection)),
    )
    return [*queries.speech_notes(connection), *(note for note in others if note is not None)]
