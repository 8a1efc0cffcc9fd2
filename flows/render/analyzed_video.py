"""Read the results of the video that is to be rendered, and refuse those that do not fit its frames."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analytics.queries.connection import connect
from analytics.queries.intervals import label_intervals, visibility_intervals
from analytics.queries.quality_notes import unconfirmed_people_note
from analytics.results.storage_paths import StoragePath
from analytics.results.videos import file_name
from fer_models.errors import FervidError
from fer_models.frame_batch import ROUNDING_S
from fer_models.labels import EMOTIONS
from fer_models.observe_version import FITTED_SINCE
from fer_models.rendering.timeline_strip import UNLABELED, Spans
from fer_models.video import VideoInfo

_FACES = f"""
SELECT frame_index, track_id, x1_px, y1_px, x2_px, y2_px, quality_reason, smooth_emotion,
    [{", ".join(f"smooth_{name}" for name in EMOTIONS)}][list_position({list(EMOTIONS)}, smooth_emotion)] AS probability
FROM faces WHERE video_id = $video_id ORDER BY frame_index, track_id NULLS LAST, face_index
"""
_ANALYZED = """
SELECT frame_index, pts_s, is_cut FROM frames
WHERE video_id = $video_id AND status <> 'decode_error' ORDER BY frame_index
"""
_OBSERVED = "SELECT settings, width_px, height_px FROM videos WHERE video_id = $video_id AND status = 'done'"
_HIDDEN_PEOPLE = "SELECT track_id FROM people WHERE video_id = $video_id AND is_hidden"


class RenderError(FervidError):
    """The video or the requested person is not in the results, or the video cannot be rendered."""


@dataclass(frozen=True)
class Observed:
    """How pass 1 read a video."""

    settings: Mapping[str, Any]  # those of pass 1
    width_px: int | None  # None in results of early versions
    height_px: int | None


@dataclass(frozen=True, eq=False)
class Analysis:
    """The results of one video."""

    faces: pa.Table  # rows of `_FACES`
    track: np.ndarray  # the track of each face; -1 without one
    shot: np.ndarray  # the number of the shot that each face is in
    analyzed: np.ndarray  # the frame_index of each analyzed frame
    pts_s: np.ndarray  # the time of each analyzed frame
    is_drawn: np.ndarray  # (n_faces,) bool, whether the outline and label of each face are drawn
    spans: Spans  # when each track that is drawn is visible, and its labels
    people_note: str | None  # on people who have to be confirmed


def refuse_live(video: StoragePath, results: Path) -> None:
    """Refuse the path or name of a live session, as there is no file to render.

    Raises:
        RenderError: if `video` is a live session.
    """
    with connect(results, observations=False) as connection:
        live = connection.sql("SELECT path FROM videos WHERE live_since IS NOT NULL").fetchall()
    if any(video in (Path(path), Path(file_name(path))) for (path,) in live):
        raise RenderError(f"{video}: is a live session: its frames were not stored, so there is nothing to draw on")


def read_observed(content_id: str, video: StoragePath, results: Path) -> Observed:
    """Read how pass 1 read the video.

    Raises:
        RenderError: if the video is not in the results.
    """
    with connect(results, observations=False) as connection:
        rows = connection.execute(_OBSERVED, {"video_id": content_id}).fetchall()
    if not rows:
        raise RenderError(
            f"{video}: not in {results} with its current content (the file name does not matter). "
            f"Analyze it first: {analyze_command(video, results)}"
        )
    ((settings, width_px, height_px),) = rows
    return Observed(json.loads(settings or "{}").get("observe", {}), width_px, height_px)


def read_analysis(content_id: str, video: StoragePath, results: Path, only: int | None) -> Analysis:
    """Read the results of a video.

    Raises:
        RenderError: if the video has no track `only`, or the person of that track is hidden.
    """
    of = {"video_id": content_id}
    with connect(results, observations=False) as connection:
        faces = connection.sql(_FACES, params=of).to_arrow_table()
        frames = connection.sql(_ANALYZED, params=of).to_arrow_table()
        hidden_people = connection.execute(_HIDDEN_PEOPLE, of).fetchnumpy()["track_id"]
        # Gaps are not bridged, so that the strip shows at each time exactly what the box shows in that frame.
        spans = _spans(
            visibility_intervals(connection, content_id, max_gap_s=0.0),
            label_intervals(connection, content_id, max_gap_s=0.0),
        )
        people_note = unconfirmed_people_note(connection, [content_id])
    track = faces["track_id"].fill_null(-1).to_numpy()
    drawn = np.setdiff1d(track, hidden_people)  # -1, faces without a track, included
    if only is not None:
        if only not in drawn:
            problem = f"track {only} is hidden in the dashboard" if only in hidden_people else f"has no track {only}"
            available = ", ".join(map(str, drawn[drawn >= 0])) or "none"
            raise RenderError(f"{video}: {problem}; available: {available}")
        drawn = np.array([only])
    analyzed = frames["frame_index"].to_numpy()
    shot = np.cumsum(frames["is_cut"].to_numpy())[np.searchsorted(analyzed, faces["frame_index"].to_numpy())]
    return Analysis(
        faces=faces,
        track=track,
        shot=shot,
        analyzed=analyzed,
        pts_s=frames["pts_s"].to_numpy(),
        is_drawn=np.isin(track, drawn),
        spans=spans.select(np.isin(spans.track, drawn)),
        people_note=people_note,
    )


def _spans(seen: pa.Table, labeled: pa.Table) -> Spans:
    emotion = [UNLABELED] * len(seen) + [EMOTIONS.index(name) for name in labeled["emotion"].to_pylist()]
    track, start_s, end_s = (
        np.concatenate([table[name].to_numpy() for table in (seen, labeled)])
        for name in ("track_id", "start_s", "end_s")
    )
    order = np.lexsort((start_s, track))
    return Spans(track, np.array(emotion, np.int64), start_s, end_s).select(order)


def read_differently(info: VideoInfo, observed: Observed, analysis: Analysis) -> str:
    """How the analysis read the video otherwise than it is read now, so that boxes would miss faces; empty if not."""
    width_px, height_px = observed.width_px, observed.height_px
    if (width_px, height_px) not in ((None, None), (info.width_px, info.height_px)):
        return f"read frames of {width_px} x {height_px} px, which are {info.width_px} x {info.height_px} px"
    if len(info.shapes) > 1 and observed.settings.get("observe_version", FITTED_SINCE) < FITTED_SINCE:
        return "stretched its frames, whose size changes"
    return "" if _has_times_of(info, analysis) else "read other times of its frames"


def _has_times_of(info: VideoInfo, analysis: Analysis) -> bool:
    """Whether the times of the analyzed frames are those of the video as it is read now."""
    if not len(analysis.analyzed):
        return True
    if analysis.analyzed[-1] >= info.n_frames:
        return False
    return bool(np.abs(analysis.pts_s - info.pts_s[analysis.analyzed]).max() <= ROUNDING_S)


def analyze_command(video: StoragePath, results: Path) -> str:
    """The command that analyzes the video again."""
    return shlex.join(["fervid", "analyze", str(video), "--out", str(results)])
