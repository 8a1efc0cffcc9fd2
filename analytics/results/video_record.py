"""A row of the table `videos`: one analysis of a video, with the file, the settings and the outcome."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from analytics.tables.schema import VIDEOS


class NamedVideo(Protocol):
    """A video that can be found by its id and its path."""

    @property
    def video_id(self) -> str:
        """The id, a hash of the content."""

    @property
    def path(self) -> str:
        """The path of the file when it was analyzed."""


class VideoName(NamedTuple):
    """The id and the path of a video."""

    video_id: str
    path: str


@dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """A row of the table `videos`, with a field for each column; `schema.VIDEOS` describes them, and None is NULL."""

    video_id: str
    analysis_id: str
    observation_id: str | None = None
    path: str
    sha256: str | None = None
    size_bytes: int | None = None
    object_version: str | None = None
    container: str | None = None
    codec: str | None = None
    video_stream: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    rotation_deg: int | None = None
    is_mirrored: bool | None = None
    start_time_s: float | None = None
    duration_s: float | None = None
    shown_until_s: float | None = None
    n_clock_jumps: int | None = None
    n_frames: int | None = None
    avg_fps: float | None = None
    is_vfr: bool | None = None
    decoder: str | None = None
    decoder_reason: str | None = None
    notes: str | None = None
    status: str
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime
    frames_per_s: float | None = None
    n_observed: int | None = None
    decode_wait_s: float | None = None
    detect_s: float | None = None
    crop_s: float | None = None
    classify_s: float | None = None
    landmarks_s: float | None = None
    live_since: datetime | None = None
    is_running: bool | None = None
    is_replaced: bool | None = None
    settings: str | None = None  # JSON
    joined_by_look: bool | None = None
    weights: str | None = None  # JSON
    versions: str | None = None  # JSON
    table_crc32: list[int] | None = None
    table_bytes: list[int] | None = None
    row_crc32: int | None = None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "VideoRecord":
        """Make the record of a row.

        Raises:
            ValueError: if a column is unknown, or one that must not be NULL is missing.
        """
        if unknown := row.keys() - {field.name for field in fields(cls)}:
            raise ValueError(f"unknown columns of videos: {', '.join(sorted(unknown))}")
        if missing := [field.name for field in VIDEOS if not field.nullable and row.get(field.name) is None]:
            raise ValueError(f"missing columns of videos: {', '.join(missing)}")
        return cls(**row)

    @property
    def observed(self) -> tuple[str, str]:
        """The ids under which the store keeps the observations.

        Raises:
            ValueError: if there are none: the video failed before it was observed.
        """
        if self.observation_id is None:
            raise ValueError(f"{self.path}: was never observed")
        return self.video_id, self.observation_id

    @property
    def is_still_image(self) -> bool:
        """Whether it is an analyzed still image, which has no duration and no tracks."""
        return self.status == "done" and self.duration_s == 0 and self.live_since is None

    @property
    def stored_settings(self) -> dict[str, Any]:
        """The settings of the analysis, for each stage; empty if none were stored."""
        stored: dict[str, Any] = json.loads(self.settings or "{}")
        return stored

    def columns(self) -> dict[str, object]:
        """Return the value of each column, in the order of the columns."""
        return asdict(self)


def analyzed_part(duration_s: float | None, settings: str | None) -> tuple[float, float] | None:
    """Start and end of the part of a video that `--start` and `--end` select; None if it is the whole video.

    Args:
        duration_s: duration of the video; None for still images, which have no parts.
        settings: the column `settings` of the video.

    >>> analyzed_part(90.0, '{"observe": {"start_s": 30, "end_s": 120}}'), analyzed_part(90.0, None)
    ((30.0, 90.0), None)
    """
    observe = json.loads(settings or "{}").get("observe", {})
    start_s, end_s = float(observe.get("start_s") or 0), observe.get("end_s")
    if duration_s is None or (not start_s and (end_s is None or end_s >= duration_s)):
        return None
    return start_s, duration_s if end_s is None else min(float(end_s), duration_s)


def analyzed_s(duration_s: float | None, settings: str | None) -> float:
    """The duration of the part of a video that was analyzed; 0 for still images. The arguments are `analyzed_part`'s.

    >>> analyzed_s(90.0, '{"observe": {"start_s": 30, "end_s": 120}}'), analyzed_s(90.0, None), analyzed_s(None, None)
    (60.0, 90.0, 0.0)
    """
    start_s, end_s = analyzed_part(duration_s, settings) or (0.0, duration_s or 0.0)
    return max(0.0, end_s - start_s)


def video_records(rows: pa.Table) -> list[VideoRecord]:
    """The rows of a table with the columns of `schema.VIDEOS`."""
    return [VideoRecord(**row) for row in rows.select(VIDEOS.names).to_pylist()]


def video_names(rows: pa.Table) -> list[VideoName]:
    """The ids and paths of rows with at least video_id and path."""
    return [VideoName(*row) for row in zip(*(rows[name].to_pylist() for name in VideoName._fields), strict=True)]


def newest_by_path(videos: Iterable[VideoRecord]) -> dict[str, VideoRecord]:
    """The video of each path that was analyzed last: a file may be replaced by one of other content."""
    return {video.path: video for video in sorted(videos, key=lambda video: video.finished_at)}
