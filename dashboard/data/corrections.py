"""Corrected people: the timeline of a video is built again with the merges and splits that its notes hold."""

from collections.abc import Mapping
from typing import Any

from analytics.results.corrections import rebuild_with_notes
from analytics.results.storage_paths import is_remote
from analytics.results.store import Store
from analytics.results.video_record import video_records
from dashboard.data.results import Results

VIDEO_SQL = "SELECT * FROM videos WHERE video_id = $video_id"


def can_correct(results: Results, video: Mapping[str, Any]) -> bool:
    """Whether people of this video (a row of the view `videos`) can be merged and split here."""
    return not is_remote(results.root) and video["observation_id"] is not None and not video["is_running"]


def rebuild(results: Results, video_id: str) -> None:
    """Build the timeline of a video again, with the corrections of its notes.

    Raises:
        CorrectionError: if its observations are gone, or a correction does not fit them.
    """
    (video,) = video_records(results.ask(VIDEO_SQL, video_id=video_id))
    rebuild_with_notes(Store(results.root), video)
    results.refresh()
