"""Interpolate face boxes to every frame of a video, including frames that were not analyzed, for drawing and redaction.

A frame is its index in the video. Faces are in any order.
"""

from dataclasses import dataclass

import numpy as np

from analytics.time_tolerance import longest
from analytics.tracking.ranges import expand_ranges
from fer_models.frame_batch import ROUNDING_S


@dataclass(frozen=True)
class RedactionConfig:
    """The margins around detected faces, in space and time, in which pixels are hidden. When in doubt, hide.

    Raises:
        ValueError: if a value is negative.
    """

    margin: float = 0.15  # margin on each side of a box, in sizes of the box, because ears and chin extend beyond it
    margin_px: float = 4.0  # added to `margin`, because boxes of small faces are accurate to a few pixels only
    # How long faces stay hidden before the first and after the last detection: the longest gap that tracking bridges by
    # default.
    hold_s: float = 1.0
    # Growth of a hidden box, in its sizes per second since the last detection, because the face may have moved.
    growth_per_s: float = 0.5

    def __post_init__(self) -> None:
        for name in ("margin", "margin_px", "hold_s", "growth_per_s"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class DetectedFaces:
    """The m faces that were detected in a video."""

    pts_s: np.ndarray  # (n,) time of every frame of the video
    analyzed: np.ndarray  # (s,) increasing, the analyzed frames that could be decoded
    frame: np.ndarray  # (m,) of each face
    track: np.ndarray  # (m,) of each face, -1 for none
    shot: np.ndarray  # (m,) number of the shot that the frame is in
    boxes_xyxy: np.ndarray  # (m, 4)
    start_s: float = -np.inf  # start of the analyzed range
    end_s: float = np.inf  # its end, not included
    detect_every_s: float = 0.0  # time between two frames that are searched in full for new faces


@dataclass(frozen=True, eq=False)
class FrameBoxes:
    """Boxes in frames, ordered by frame."""

    frame: np.ndarray  # (k,) int64
    row: np.ndarray  # (k,) int64, index of the face that each box comes from
    boxes_xyxy: np.ndarray  # (k, 4)

    def of_frame(self, frame: int) -> slice:
        """The boxes of one frame."""
        return slice(*np.searchsorted(self.frame, [frame, frame + 1]))


def boxes_shown(faces: DetectedFaces) -> FrameBoxes:
    """The box of each face from its frame to the next analyzed one, interpolated if its track continues there.

    Across a cut, the box stays where it is.
    """
    analyzed, frame, shot = faces.analyzed, faces.frame, faces.shot
    end = np.append(analyzed[1:], analyzed[-1:] + _usual_step(analyzed))
    next_analyzed = np.minimum(end, len(faces.pts_s))[np.searchsorted(analyzed, frame)]
    follower = _follower(frame, faces.track)
    continues_track = (follower >= 0) & (frame[follower] == next_analyzed) & (shot[follower] == shot)
    target = np.where(continues_track, follower, np.arange(len(frame)))
    row, at = expand_ranges(frame, next_analyzed)
    return _by_frame(at, row, _interpolate_boxes(faces, row, at, target))


def redaction_boxes(faces: DetectedFaces, config: RedactionConfig) -> tuple[FrameBoxes, np.ndarray]:
    """The boxes that hide every detected face, of any quality, in its frame and in frames before and after it.

    A box is held in place for `hold_s` before and after its detection (longer if frames are analyzed, or searched in
    full, less often), at most until the neighboring detections of its track in the same shot. Between the detections of
    a track, interpolated boxes are added. Alone, they would move away from a face that stays in place until a cut, or
    whose track continues elsewhere by an error of re-identification. Boxes grow with the time from the detection.

    Returns:
        The boxes, and `(n,)` whether each frame is outside the analyzed range or too far from any analyzed frame, so
        that it must be hidden as a whole.
    """
    pts_s, frame, shot = faces.pts_s, faces.frame, faces.shot
    analyzed_s = pts_s[faces.analyzed]
    step_s = float(np.median(np.diff(analyzed_s))) if len(analyzed_s) > 1 else 0.0
    hold_s = longest(max(config.hold_s, step_s, faces.detect_every_s))
    follower = _follower(frame, faces.track)
    seen_s = pts_s[frame]
    since = np.searchsorted(pts_s, seen_s - hold_s, side="left")
    until = np.searchsorted(pts_s, seen_s + hold_s, side="right")
    before = np.flatnonzero((follower >= 0) & (shot[follower] == shot))
    after = follower[before]
    until[before] = np.minimum(until[before], frame[after])
    since[after] = np.maximum(since[after], frame[before] + 1)
    row, at = expand_ranges(since, until)
    held = pad_boxes(faces.boxes_xyxy[row], config, np.abs(pts_s[at] - seen_s[row]))
    gap_row, gap_at = expand_ranges(frame + 1, np.where(follower >= 0, frame[follower], frame))
    unseen_s = np.minimum(pts_s[gap_at] - seen_s[gap_row], seen_s[follower[gap_row]] - pts_s[gap_at])
    moved = pad_boxes(_interpolate_boxes(faces, gap_row, gap_at, follower), config, unseen_s)
    hidden = _by_frame(np.append(at, gap_at), np.append(row, gap_row), np.concatenate([held, moved]))
    # With the tolerance of `frames_to_sample`: a frame just before the end was not analyzed.
    outside = (pts_s < faces.start_s - ROUNDING_S) | (pts_s >= faces.end_s - ROUNDING_S)
    return hidden, outside | _far_from(pts_s, analyzed_s, hold_s)


def pad_boxes(boxes_xyxy: np.ndarray, config: RedactionConfig, unseen_s: np.ndarray | float = 0.0) -> np.ndarray:
    """Expand boxes (k, 4) by a margin that grows with the time (k,) since the last detection."""
    size_px = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1)
    room_px = config.margin_px + (config.margin + config.growth_per_s * unseen_s) * size_px
    boxes: np.ndarray = boxes_xyxy + room_px[:, None] * np.array([-1, -1, 1, 1])
    return boxes


def _far_from(pts_s: np.ndarray, analyzed_s: np.ndarray, hold_s: float) -> np.ndarray:
    """Whether no analyzed frame is within `hold_s` of each frame."""
    around_s = np.concatenate([[-np.inf], analyzed_s, [np.inf]])
    after = np.searchsorted(around_s, pts_s, side="right")
    far: np.ndarray = np.minimum(pts_s - around_s[after - 1], around_s[after] - pts_s) > hold_s
    return far


def _usual_step(analyzed: np.ndarray) -> int:
    return int(np.median(np.diff(analyzed))) if len(analyzed) > 1 else 1


def _follower(frame: np.ndarray, track: np.ndarray) -> np.ndarray:
    """The next face of the same track, -1 for the last one and for faces without a track."""
    order = np.lexsort((frame, track))
    same = (track[order[1:]] == track[order[:-1]]) & (track[order[1:]] >= 0)
    follower = np.full(len(frame), -1)
    follower[order[:-1][same]] = order[1:][same]
    return follower


def _interpolate_boxes(faces: DetectedFaces, row: np.ndarray, at: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The box of each `row` in frame `at`, interpolated to the box of its `target`."""
    seen_s = faces.pts_s[faces.frame[row]]
    span_s = faces.pts_s[faces.frame[target[row]]] - seen_s
    part = ((faces.pts_s[at] - seen_s) / np.where(span_s > 0, span_s, np.inf))[:, None]
    boxes: np.ndarray = (1 - part) * faces.boxes_xyxy[row] + part * faces.boxes_xyxy[target[row]]
    return boxes


def _by_frame(frame: np.ndarray, row: np.ndarray, boxes_xyxy: np.ndarray) -> FrameBoxes:
    order = np.argsort(frame, kind="stable")
    return FrameBoxes(frame[order], row[order], boxes_xyxy[order])
