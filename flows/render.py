"""A video again, with what was found in it drawn in, or with its faces hidden."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from analytics.columns import floats
from analytics.covering import CoverConfig, Placed, boxes_shown, boxes_to_cover
from analytics.spans import label_spans
from analytics.sql import connect
from analytics.store import file_sha256, video_id, write_whole
from fer_models.drawing import GREY, Colour, draw_box, draw_label, hide, text_size_px
from fer_models.labels import EMOTIONS
from fer_models.ribbon import PALETTE, Ribbon, Spans
from fer_models.video import VideoInfo, check_readable, probe, read_frames_at
from fer_models.video.writing import write_video
from flows.inputs import on_disk

BATCH_FRAMES = 4  # decoded at a time: one is enough to draw on
_FACES = f"""
SELECT frame_index, track_id, x1_px, y1_px, x2_px, y2_px, quality_ok, quality_reason, smooth_emotion,
    coalesce(greatest({", ".join(f"smooth_{name}" for name in EMOTIONS)}), 0) AS smooth_max
FROM faces WHERE video_id = $video_id ORDER BY frame_index, face_index
"""
_LOOKED_AT = """
SELECT frame_index FROM frames WHERE video_id = $video_id AND status <> 'decode_error' ORDER BY frame_index
"""

Hiding = Literal["blur", "pixelate"]


class RenderError(Exception):
    """The video is not in the results, or not the person asked for, or the file cannot be written as asked."""


@dataclass(frozen=True, eq=False)
class _Scene:
    """What is drawn on the frames of one video."""

    shown: Placed
    texts: list[str]  # of each face
    colours: list[Colour]  # of each face
    hidden: Placed
    all_hidden: np.ndarray  # of each frame: hide it as a whole
    ribbon: Ribbon


def render_video(
    video: Path,
    results: Path,
    out: Path,
    *,
    hiding: Hiding | None = None,
    only: int | None = None,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the video as MP4 with boxes, labels and a running timeline, its sound and its times kept.

    Args:
        video: the file, or its address; its content is looked up in the results.
        results: the results folder.
        out: the file to write.
        hiding: hide every face of every frame, in this way; frames of spans that were not analysed are hidden whole.
        only: draw this track alone; faces are hidden all the same.
        on_frame: called with the number of frames done and of all.

    Raises:
        RenderError: if the video is not in the results, or has no such track.
        VideoReadError: if the video cannot be read.
        StoreError: if `results` is no results folder, or `out` cannot be written.
    """
    with on_disk(video) as file:
        check_readable(file)
        info = probe(file, "pyav")
        if info.decoder == "image":
            raise RenderError(f"{video}: a still picture: only videos can be rendered")
        scene = _scene(info, video, results, hiding, only)
        write_whole(out, lambda part: write_video(part, _pictures(info, scene, hiding, on_frame), info))


def _scene(info: VideoInfo, video: Path, results: Path, hiding: Hiding | None, only: int | None) -> _Scene:
    of = {"video_id": video_id(file_sha256(info.path))}
    with connect(results, observations=False) as connection:
        known = "SELECT status FROM videos WHERE video_id = $video_id AND status = 'done'"
        if not connection.execute(known, of).fetchall():
            raise RenderError(
                f"{video}: not in {results} as it is now (its content is looked up, not its name): "
                f"analyse it first: fervid analyze {video} --out {results}"
            )
        faces = connection.sql(_FACES, params=of).to_arrow_table()
        looked_at = connection.sql(_LOOKED_AT, params=of).to_arrow_table()["frame_index"].to_numpy()
        spans = label_spans(connection, of["video_id"])
    track = faces["track_id"].fill_null(-1).to_numpy()
    if only is not None and not (track == only).any():
        there = ", ".join(map(str, np.unique(track[track >= 0]))) or "none"
        raise RenderError(f"{video}: no track {only} in it; there are: {there}")
    where = (info.pts_s, looked_at, faces["frame_index"].to_numpy(), track, floats(faces, *_BOX))
    hidden, all_hidden = boxes_to_cover(*where, CoverConfig())
    shown = boxes_shown(*where)
    if only is not None:
        keep = track[shown.row] == only
        shown = Placed(shown.frame[keep], shown.row[keep], shown.boxes_xyxy[keep])
        spans = spans.filter(pa.array(spans["track_id"].to_numpy() == only))
    rows = faces.to_pylist()
    return _Scene(
        shown=shown,
        texts=[_text(row) for row in rows],
        colours=[_colour(row) for row in rows],
        hidden=hidden,
        all_hidden=all_hidden if hiding else np.zeros(info.n_frames, bool),
        ribbon=Ribbon(_spans(spans), info.width_px + info.width_px % 2, info.height_px),
    )


_BOX = ("x1_px", "y1_px", "x2_px", "y2_px")


def _pictures(
    info: VideoInfo, scene: _Scene, hiding: Hiding | None, on_frame: Callable[[int, int], None]
) -> Iterator[tuple[np.ndarray, float]]:
    """Each frame that decodes, drawn on, the strip below it; always the same array, filled anew."""
    text_px = text_size_px(info.height_px)
    line_px = max(1, round(info.height_px / 240))
    # One for all frames: many large arrays that come and go leave holes in memory that are never given back.
    canvas = np.empty((info.height_px + scene.ribbon.height_px, scene.ribbon.width_px, 3), np.uint8)
    frame = canvas[: info.height_px, : info.width_px]
    for batch in read_frames_at(info, np.arange(info.n_frames), batch_size=BATCH_FRAMES):
        for pixels, index, pts_s in zip(batch.pixels, batch.frame_index.tolist(), batch.pts_s.tolist(), strict=True):
            frame[:] = pixels
            canvas[: info.height_px, info.width_px :] = pixels[:, -1:]
            if hiding:
                whole = np.array([[0, 0, info.width_px, info.height_px]] if scene.all_hidden[index] else [])
                boxes = scene.hidden.boxes_xyxy[scene.hidden.of_frame(index)]
                hide(frame, np.concatenate([boxes, whole.reshape(-1, 4)]), mosaic=hiding == "pixelate")
            at = scene.shown.of_frame(index)
            for row, box in zip(scene.shown.row[at].tolist(), scene.shown.boxes_xyxy[at], strict=True):
                draw_box(frame, box, scene.colours[row], line_px)
                draw_label(frame, box, scene.texts[row], scene.colours[row], text_px)
            scene.ribbon.draw(canvas[info.height_px :], pts_s)
            on_frame(index + 1, info.n_frames)
            yield canvas, pts_s


def _text(row: dict[str, Any]) -> str:
    who = "" if row["track_id"] is None else f"P{row['track_id']} "
    if row["quality_ok"] is False:
        return who + str(row["quality_reason"]).replace("_", " ")
    if row["smooth_emotion"] is None:
        return who + "not read"
    return f"{who}{row['smooth_emotion']} {row['smooth_max']:.0%}"


def _colour(row: dict[str, Any]) -> Colour:
    """The colour of the emotion; grey for a face that does not count."""
    if row["quality_ok"] is False or row["smooth_emotion"] is None:
        return GREY
    red, green, blue = PALETTE[EMOTIONS.index(row["smooth_emotion"])].tolist()
    return red, green, blue


def _spans(spans: pa.Table) -> Spans:
    emotion = np.array([EMOTIONS.index(name) for name in spans["emotion"].to_pylist()], np.int64)
    return Spans(spans["track_id"].to_numpy(), emotion, floats(spans, "start_s"), floats(spans, "end_s"))
