"""The batches that pass through the pipeline: frames, the faces found in them, and their landmarks (numpy only)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

# Tolerance for rounded times: in containers such as Matroska, which store whole milliseconds, frames may be early.
ROUNDING_S = 1e-3


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Frames of one video in display order, each with its time.

    Raises:
        ValueError: if the arrays differ in length.
    """

    pixels: np.ndarray  # (n, h, w, 3) uint8, RGB
    frame_index: np.ndarray  # (n,) int64, 0-based position in the video
    pts_s: np.ndarray  # (n,) float64, presentation time in seconds

    def __post_init__(self) -> None:
        if not len(self.pixels) == len(self.frame_index) == len(self.pts_s):
            raise ValueError(f"{self.pixels.shape = }, {self.frame_index.shape = }, {self.pts_s.shape = }")

    def __len__(self) -> int:
        return len(self.pixels)

    def part(self, frames: slice) -> "FrameBatch":
        """Select some of the frames; the pixels are not copied."""
        return FrameBatch(self.pixels[frames], self.frame_index[frames], self.pts_s[frames])


@dataclass(frozen=True, eq=False)
class FaceBatch:
    """Faces of a batch of frames as flat rows, ordered by frame, then by descending score.

    Landmarks come in the order right eye, left eye, nose, right mouth corner, left mouth corner of the person:
    from left to right in the image for a frontal face.

    Raises:
        ValueError: if the arrays differ in length or shape.
    """

    frame: np.ndarray  # (m,) int64, index of the face's frame within the batch
    boxes_xyxy: np.ndarray  # (m, 4) float32, pixels of the frame
    landmarks_xy: np.ndarray  # (m, 5, 2) float32, pixels of the frame
    det_score: np.ndarray  # (m,) float32 in [0, 1]

    def __post_init__(self) -> None:
        m = len(self.frame)
        if not (
            self.boxes_xyxy.shape == (m, 4) and self.landmarks_xy.shape == (m, 5, 2) and self.det_score.shape == (m,)
        ):
            raise ValueError(
                f"{self.frame.shape = }, {self.boxes_xyxy.shape = }, "
                f"{self.landmarks_xy.shape = }, {self.det_score.shape = }"
            )

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def empty(cls) -> "FaceBatch":
        """No faces: every array has length 0."""
        return cls(
            np.empty(0, np.int64),
            np.empty((0, 4), np.float32),
            np.empty((0, 5, 2), np.float32),
            np.empty(0, np.float32),
        )

    @classmethod
    def of_frames(cls, frames: Sequence["FaceBatch"]) -> "FaceBatch":
        """The faces of several frames, given as one batch for each frame."""
        parts = [cls.empty(), *frames]
        return cls(
            np.repeat(np.arange(len(frames)), [len(faces) for faces in frames]),
            np.concatenate([faces.boxes_xyxy for faces in parts]),
            np.concatenate([faces.landmarks_xy for faces in parts]),
            np.concatenate([faces.det_score for faces in parts]),
        )

    def by_frame(self, n_frames: int) -> list["FaceBatch"]:
        """The faces of each of `n_frames` frames as a batch of their own; the inverse of `of_frames`."""
        bounds = np.searchsorted(self.frame, np.arange(n_frames + 1))
        parts = [self.select(np.arange(start, end)) for start, end in pairwise(bounds.tolist())]
        return [replace(part, frame=np.zeros(len(part), np.int64)) for part in parts]

    def select(self, keep: np.ndarray) -> "FaceBatch":
        """The faces selected by `keep`, a boolean mask or indices."""
        return FaceBatch(self.frame[keep], self.boxes_xyxy[keep], self.landmarks_xy[keep], self.det_score[keep])


@dataclass(frozen=True, eq=False)
class FaceLandmarks:
    """Measures from the 68 landmarks of m faces, each `(m,)` float32. Left and right are the person's.

    Distances are shares of the interocular distance.
    """

    landmark_score: np.ndarray  # 0 to 1, how far the others can be trusted
    eye_openness_left: np.ndarray  # eye aspect ratio
    eye_openness_right: np.ndarray
    mouth_opening: np.ndarray
    mouth_width: np.ndarray
    mouth_corner_height: np.ndarray  # height of the mouth corners over the middle of the lips
    brow_height: np.ndarray  # height of the brows over the eyes
    head_yaw_deg: np.ndarray  # yaw in the upright crop; positive: nose toward its right edge
    head_pitch_deg: np.ndarray  # pitch in the upright crop; positive: nose up
    head_roll_deg: np.ndarray  # roll in the frame; positive: clockwise
    points_px: np.ndarray | None = None  # (m, 70, 2) float32, pixels of the frame; None: not kept
