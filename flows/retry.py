"""The settings that videos were analysed with, from table videos, to analyse them again in the same way."""

import contextlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analytics import connect
from analytics.places import place
from analytics.videos import all_videos
from flows.settings import AnalyzeSettings, TimelineSettings

OBSERVED = ("fps", "start_s", "end_s", "min_face_px", "segment_s", "detector", "detector_size_px", "model")


def settings_of(results: Path, video_ids: Sequence[str]) -> dict[AnalyzeSettings, list[Path]]:
    """The videos by the settings they had; those of videos that failed before any were stored are the usual ones.

    Device and decoder are chosen anew: the machine may be another, and the file mended.

    Raises:
        StoreError: if `results` is not a results folder of this version.
        PlaceError: if what reads the address of a video is not installed.
    """
    with contextlib.closing(connect(results)) as connection:
        rows = [row for row in all_videos(connection) if row["video_id"] in video_ids]
    paths: dict[AnalyzeSettings, list[Path]] = defaultdict(list)
    for row in rows:
        paths[stored_settings(row["settings"])].append(place(row["path"]))
    return dict(paths)


def stored_settings(text: str | None) -> AnalyzeSettings:
    """Settings from a column `settings`.

    Raises:
        ValueError: if they are not of this version.
    """
    if text is None:
        return AnalyzeSettings()
    stored = json.loads(text)
    return AnalyzeSettings(
        **{name: stored["observe"][name] for name in OBSERVED},
        timeline=timeline_settings(stored["timeline"]),
    )


def timeline_settings(stored: Mapping[str, Any]) -> TimelineSettings:
    """The settings of pass 2 that a person can give; from those of each stage."""
    return TimelineSettings(
        gate=stored["quality"]["gate"],
        time_constant_s=stored["smoothing"]["time_constant_s"],
        max_gap_s=stored["tracker"]["max_gap_s"],
        baseline=stored["baseline"]["method"],
        baseline_span_s=stored["baseline"]["span_s"],
    )
