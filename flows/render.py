"""Render a video with its results drawn in, or with its faces hidden."""

import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from analytics.queries.connection import connect
from analytics.queries.intervals import label_intervals, visibility_intervals
from analytics.queries.quality_notes import unconfirmed_people_note
from analytics.results.atomic_write import write_atomic
from analytics.results.ids import file_sha256, video_id
from analytics.results.storage_paths import StoragePath
from analytics.results.videos import file_name
from analytics.tables.arrow_utils import to_float_array
from analytics.tracking.redaction import (
    DetectedFaces,
    FrameBoxes,
    RedactionConfig,
    boxes_shown,
    pad_boxes,
    redaction_boxes,
)
from fer_models.errors import FervidError
from fer_models.frame_batch import ROUNDING_S
from fer_models.labels import EMOTIONS
from fer_models.observe_version import FITTED_SINCE
from fer_models.rendering.drawing import GRAY, Color, draw_box, draw_labels, hide, text_size_px
from fer_models.rendering.timeline_strip import PALETTE, UNLABELED, Spans, TimelineStrip
from fer_models.video import VideoInfo, check_readable, probe, read_frames_at
from fer_models.video.writing import write_video
from flows.analysis.inputs import local_copy
from flows.settings import AnalyzeSettings

MIN_DETECTED_PX = 12  # detectors miss many faces that are smaller than this in their input
BATCH_FRAMES = 4  # number of frames decoded at once; drawing handles one frame at a time
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

Hiding = Literal["blur", "pixelate"]


class RenderError(FervidError):
    """The video or the requested person is not in the results, or the video cannot be rendered."""


@dataclass(frozen=True)
class _Observed:
    """How pass 1 read a video."""

    settings: Mapping[str, Any]  # those of pass 1
    width_px: int | None  # None in results of early versions
    height_px: int | None


@dataclass(frozen=True, eq=False)
class _Analysis:
    """The results of one video."""

    faces: pa.Table  # rows of `_FACES`
    track: np.ndarray  # the track of each face; -1 without one
    shot: np.ndarray  # the number of the shot that each face is in
    analyzed: np.ndarray  # the frame_index of each analyzed frame
    pts_s: np.ndarray  # the time of each analyzed frame
    is_drawn: np.ndarray  # (n_faces,) bool, whether the outline and label of each face are drawn
    spans: Spans  # when each track that is drawn is visible, and its labels
    people_note: str | None  # on people who have to be confirmed


@dataclass(frozen=True, eq=False)
class _Scene:
    """The boxes, labels and timeline strip to draw on the frames of one video."""

    shown: FrameBoxes
    texts: list[str]  # label of each face
    colors: list[Color]  # color of each face
    hidden: FrameBoxes
    all_hidden: np.ndarray  # (n_frames,) bool, whether the whole frame is hidden
    strip: TimelineStrip | None


_NO_BOXES = FrameBoxes(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4)))


def render_video(
    video: StoragePath,
    results: Path,
    out: Path,
    *,
    hiding: Hiding | None = None,
    only: int | None = None,
    annotate: bool = True,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Write the video as MP4 with boxes, labels and a running timeline; audio and timestamps are kept.

    People who were hidden in the dashboard are not drawn; their faces are blurred or pixelated like all others.

    Args:
        video: the file or its address, found in the results by its content.
        results: the results folder.
        out: the file to write.
        hiding: how to hide every detected face in every frame; frames of intervals that were not analyzed are hidden
            entirely.
        only: draw only this track; all faces are hidden nevertheless.
        annotate: False draws neither boxes and labels nor the timeline.
        on_frame: called with the number of frames done and the total.

    Returns:
        Notes on people who have to be confirmed, and, with `hiding`, on faces that the analysis may not have found.

    Raises:
        RenderError: if the video is not in the results, was read otherwise by the version that analyzed it, has no such
            track, or the person of the track is hidden.
        VideoReadError: if the video cannot be read.
        StoreError: if `results` is not a results folder, or `out` cannot be written.
    """
    _refuse_live(video, results)
    with local_copy(video) as file:
        check_readable(file)
        content_id = video_id(file_sha256(file))
        observed = _read_observed(content_id, video, results)
        observe = observed.settings
        info = probe(file, "pyav", video_stream=observe.get("video_stream"), rotate=observe.get("rotate", 0))
        if info.is_still:
            raise RenderError(f"{video}: is a still image: only videos can be rendered")
        analysis = _read_analysis(content_id, video, results, only)
        if how := _read_differently(info, observed, analysis):
            raise RenderError(
                f"{video}: was analyzed by a version that {how}. Analyze it again: {_analyze_command(video, results)}"
            )
        scene = _scene(info, analysis, observe, hiding)
        if not annotate:
            scene = replace(scene, shown=_NO_BOXES, strip=None)
        write_atomic(out, lambda part: write_video(part, _rendered_frames(info, scene, hiding, on_frame), info))
    return [
        *([analysis.people_note] if annotate and analysis.people_note else []),
        *(_notes_on_hiding(info, observe) if hiding else []),
    ]


def _notes_on_hiding(info: VideoInfo, observe: Mapping[str, Any]) -> list[str]:
    """Which faces may not be hidden, because the analysis with these settings of pass 1 may not have found them."""
    side_px = max(info.width_px, info.height_px)
    searched_px = min(observe.get("detector_size_px", side_px), side_px)
    least_px = max(observe.get("min_face_px", 0), MIN_DETECTED_PX * side_px / searched_px)
    notes = [
        "Undetected faces are not hidden: some in profile, masked or upside down, and many under "
        f"{least_px:.0f} px (frames of {side_px} px were searched at {searched_px} px). Voices are unchanged. Check "
        "the video before you share it; fervid render --help says how to find more faces."
    ]
    step_s = max(observe.get("detect_every_s", 0), 1 / (observe.get("fps") or math.inf))
    if step_s > AnalyzeSettings.model_fields["detect_every_s"].default:
        notes.append(
            f"Frames were searched every {step_s:g} s: people who were visible only in between are not hidden. To find "
            "them, analyze the video with --detect-every 0 and without --fps."
        )
    return notes


def _read_observed(content_id: str, video: StoragePath, results: Path) -> _Observed:
    """Read how pass 1 read the video.

    Raises:
        RenderError: if the video is not in the results.
    """
    with connect(results, observations=False) as connection:
        rows = connection.execute(_OBSERVED, {"video_id": content_id}).fetchall()
    if not rows:
        raise RenderError(
            f"{video}: not in {results} with its current content (the file name does not matter). "
            f"Analyze it first: {_analyze_command(video, results)}"
        )
    ((settings, width_px, height_px),) = rows
    return _Observed(json.loads(settings or "{}").get("observe", {}), width_px, height_px)


def _read_differently(info: VideoInfo, observed: _Observed, analysis: _Analysis) -> str:
    """How the analysis read the video otherwise than it is read now, so that boxes would miss faces; empty if not."""
    width_px, height_px = observed.width_px, observed.height_px
    if (width_px, height_px) not in ((None, None), (info.width_px, info.height_px)):
        return f"read frames of {width_px} x {height_px} px, which are {info.width_px} x {info.height_px} px"
    if len(info.shapes) > 1 and observed.settings.get("observe_version", FITTED_SINCE) < FITTED_SINCE:
        return "stretched its frames, whose size changes"
    return "" if _has_times_of(info, analysis) else "read other times of its frames"


def _analyze_command(video: StoragePath, results: Path) -> str:
    return shlex.join(["fervid", "analyze", str(video), "--out", str(results)])


def _refuse_live(video: StoragePath, results: Path) -> None:
    """Refuse the path or name of a live session, as there is no file to render.

    Raises:
        RenderError: if `video` is a live session.
    """
    with connect(results, observations=False) as connection:
        live = connection.sql("SELECT path FROM videos WHERE live_since IS NOT NULL").fetchall()
    if any(video in (Path(path), Path(file_name(path))) for (path,) in live):
        raise RenderError(f"{video}: is a live session: its frames were not stored, so there is nothing to draw on")


def _read_analysis(content_id: str, video: StoragePath, results: Path, only: int | None) -> _Analysis:
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
    return _Analysis(
        faces=faces,
        track=track,
        shot=shot,
        analyzed=analyzed,
        pts_s=frames["pts_s"].to_numpy(),
        is_drawn=np.isin(track, drawn),
        spans=spans.select(np.isin(spans.track, drawn)),
        people_note=people_note,
    )


def _has_times_of(info: VideoInfo, analysis: _Analysis) -> bool:
    """Whether the times of the analyzed frames are those of the video as it is read now."""
    if not len(analysis.analyzed):
        return True
    if analysis.analyzed[-1] >= info.n_frames:
        return False
    return bool(np.abs(analysis.pts_s - info.pts_s[analysis.analyzed]).max() <= ROUNDING_S)


def _scene(info: VideoInfo, analysis: _Analysis, observe: Mapping[str, Any], hiding: Hiding | None) -> _Scene:
    """Prepare what is drawn on the frames."""
    faces, cover = analysis.faces, RedactionConfig()
    frame, boxes_xyxy = faces["frame_index"].to_numpy(), to_float_array(faces, *_BOX)
    detected = DetectedFaces(
        info.pts_s,
        analysis.analyzed,
        frame,
        analysis.track,
        analysis.shot,
        boxes_xyxy,
        start_s=-math.inf if (start_s := observe.get("start_s")) is None else start_s,
        end_s=math.inf if (end_s := observe.get("end_s")) is None else end_s,
        detect_every_s=observe.get("detect_every_s", 0.0),
    )
    hidden, all_hidden = redaction_boxes(detected, cover)
    shown = boxes_shown(detected)
    keep = analysis.is_drawn[shown.row]
    shown = FrameBoxes(shown.frame[keep], shown.row[keep], shown.boxes_xyxy[keep])
    if hiding:
        # Outlines surround the hidden area instead of crossing it.
        shown = FrameBoxes(shown.frame, shown.row, pad_boxes(shown.boxes_xyxy, cover))
    rows = faces.to_pylist()
    return _Scene(
        shown=shown,
        texts=[_text(row) for row in rows],
        colors=[_color(row) for row in rows],
        hidden=hidden,
        all_hidden=all_hidden if hiding else np.zeros(info.n_frames, bool),
        strip=TimelineStrip(analysis.spans, _even(info.width_px), info.height_px, info.pts_s[0], info.end_s),
    )


_BOX = ("x1_px", "y1_px", "x2_px", "y2_px")


def _rendered_frames(
    info: VideoInfo, scene: _Scene, hiding: Hiding | None, on_frame: Callable[[int, int], None]
) -> Iterator[tuple[np.ndarray, float]]:
    """Each decodable frame with its annotations and the strip below it. The array is reused for every frame."""
    strip_px = 0 if scene.strip is None else scene.strip.height_px
    # One array is used for all frames, because allocating one per frame fragments the heap, which then never shrinks.
    canvas = np.empty((info.height_px + strip_px, _even(info.width_px), 3), np.uint8)
    frame = canvas[: info.height_px, : info.width_px]
    for batch in read_frames_at(info, np.arange(info.n_frames), batch_size=BATCH_FRAMES):
        for pixels, index, pts_s in zip(batch.pixels, batch.frame_index.tolist(), batch.pts_s.tolist(), strict=True):
            frame[:] = pixels
            if hiding:
                whole = np.array([[0, 0, info.width_px, info.height_px]] if scene.all_hidden[index] else [])
                boxes = scene.hidden.boxes_xyxy[scene.hidden.of_frame(index)]
                hide(frame, np.concatenate([boxes, whole.reshape(-1, 4)]), mosaic=hiding == "pixelate")
            canvas[: info.height_px, info.width_px :] = frame[:, -1:]  # the column that makes an odd width even
            _draw_faces(frame, scene, index)
            if scene.strip is not None:
                scene.strip.draw(canvas[info.height_px :], pts_s)
            on_frame(index + 1, info.n_frames)
            yield canvas, pts_s


def _draw_faces(frame: np.ndarray, scene: _Scene, index: int) -> None:
    """Draw the boxes, then the labels on top of them."""
    line_px = max(2, round(len(frame) / 360))
    at = scene.shown.of_frame(index)
    rows, boxes = scene.shown.row[at].tolist(), scene.shown.boxes_xyxy[at]
    colors = [scene.colors[row] for row in rows]
    for box, color in zip(boxes, colors, strict=True):
        draw_box(frame, box, color, line_px if color != GRAY else max(1, line_px // 2))
    draw_labels(frame, boxes, [scene.texts[row] for row in rows], colors, text_size_px(len(frame)))


def _even(size_px: int) -> int:
    """Round up to an even number, as H.264 needs."""
    return size_px + size_px % 2


def _text(row: Mapping[str, Any]) -> str:
    """The label of a face: its track and its emotion, or why it has none."""
    who = "" if row["track_id"] is None else f"P{row['track_id']} "
    if row["smooth_emotion"] is not None:
        return f"{who}{row['smooth_emotion']} {row['probability']:.0%}"
    return who + str(row["quality_reason"] or "not read").replace("_", " ")


def _color(row: Mapping[str, Any]) -> Color:
    """The color of the emotion; gray for a face without a label."""
    if row["smooth_emotion"] is None:
        return GRAY
    red, green, blue = PALETTE[EMOTIONS.index(row["smooth_emotion"])].tolist()
    return red, green, blue


def _spans(seen: pa.Table, labeled: pa.Table) -> Spans:
    emotion = [UNLABELED] * len(seen) + [EMOTIONS.index(name) for name in labeled["emotion"].to_pylist()]
    track, start_s, end_s = (
        np.concatenate([table[name].to_numpy() for table in (seen, labeled)])
        for name in ("track_id", "start_s", "end_s")
    )
    order = np.lexsort((start_s, track))
    return Spans(track, np.array(emotion, np.int64), start_s, end_s).select(order)
