"""Prepare and draw boxes, labels and the running timeline on the frames of a video."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from analytics.tables.arrow_utils import to_float_array
from analytics.tracking.redaction import (
    DetectedFaces,
    FrameBoxes,
    RedactionConfig,
    boxes_shown,
    pad_boxes,
    redaction_boxes,
)
from fer_models.labels import EMOTIONS
from fer_models.rendering.drawing import GRAY, Color, draw_box, draw_labels, hide, text_size_px
from fer_models.rendering.timeline_strip import PALETTE, TimelineStrip
from fer_models.video import VideoInfo, read_frames_at
from flows.render.analyzed_video import Analysis

_BOX = ("x1_px", "y1_px", "x2_px", "y2_px")
BATCH_FRAMES = 4  # number of frames decoded at once; drawing handles one frame at a time

Hiding = Literal["blur", "pixelate"]


@dataclass(frozen=True, eq=False)
class Scene:
    """The boxes, labels and timeline strip to draw on the frames of one video."""

    shown: FrameBoxes
    texts: list[str]  # label of each face
    colors: list[Color]  # color of each face
    hidden: FrameBoxes
    all_hidden: np.ndarray  # (n_frames,) bool, whether the whole frame is hidden
    strip: TimelineStrip | None


NO_BOXES = FrameBoxes(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4)))


def make_scene(info: VideoInfo, analysis: Analysis, observe: Mapping[str, Any], hiding: Hiding | None) -> Scene:
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
    return Scene(
        shown=shown,
        texts=[_text(row) for row in rows],
        colors=[_color(row) for row in rows],
        hidden=hidden,
        all_hidden=all_hidden if hiding else np.zeros(info.n_frames, bool),
        strip=TimelineStrip(analysis.spans, _even(info.width_px), info.height_px, info.pts_s[0], info.end_s),
    )


def rendered_frames(
    info: VideoInfo, scene: Scene, hiding: Hiding | None, on_frame: Callable[[int, int], None]
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


def _draw_faces(frame: np.ndarray, scene: Scene, index: int) -> None:
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
