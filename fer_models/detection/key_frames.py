"""Detect faces on full frames at key frames, and in close-ups between them.

Which frames are key frames depends on their times alone, not on batches or on the machine. The first and the last
decoded frame of a segment are key frames, so that segments can be analyzed independently.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fer_models.detection.close_ups import ExpectedFaces, expect_faces, find_in_tiles
from fer_models.detection.protocol import FaceDetector
from fer_models.frame_batch import ROUNDING_S, FaceBatch, FrameBatch

# Frames with more expected faces are searched in full, which then costs less than close-ups with a failed search.
MAX_TILES = 5
# Mean absolute difference between the cells of consecutive thumbnails (0 to 255) that counts as a change of scene. Shot
# boundaries differ by 35 and more, the fastest camera pan of the videos on which it was chosen by 16.
MIN_SCENE_CHANGE = 20.0


@dataclass(frozen=True)
class KeyFramePlan:
    """Rule that selects the key frames of a video."""

    every_s: float  # seconds between key frames; 0 makes every frame a key frame
    origin_s: float = 0.0  # presentation time of the first frame of the video
    max_between: int = 32  # maximum number of frames between key frames: they stay in memory until the second one

    def is_key_frame(self, pts_s: np.ndarray, *, is_end: bool) -> np.ndarray:
        """Select the key frames among consecutive decoded frames: the first in each interval of `every_s`.

        Args:
            pts_s: (n,) times of the frames; the first one is a key frame.
            is_end: whether the last one ends its segment, and is therefore a key frame.

        >>> KeyFramePlan(0.2).is_key_frame(np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]), is_end=True).tolist()
        [True, False, True, False, True, True]
        """
        if self.every_s == 0:
            return np.ones(len(pts_s), bool)
        interval = np.floor((pts_s - self.origin_s + ROUNDING_S) / self.every_s).astype(np.int64)
        is_key = np.zeros(len(pts_s), bool)
        n_between = 0
        for i in range(len(pts_s)):
            is_first = i == 0 or interval[i] != interval[i - 1]
            is_key[i] = is_first or n_between == self.max_between or (is_end and i == len(pts_s) - 1)
            n_between = 0 if is_key[i] else n_between + 1
        return is_key


@dataclass(frozen=True, eq=False)
class DetectedFrames:
    """Frames with their faces."""

    frames: FrameBatch
    faces: FaceBatch
    is_full: np.ndarray  # (n,) bool, True where faces were detected on the full frame, not in close-ups


@dataclass(frozen=True, eq=False)
class WaitingFrames:
    """The last key frame, and the frames after it, which wait for the next one."""

    key_pts_s: float
    key_thumbnail: np.ndarray  # (48,)
    key_faces: FaceBatch
    frames: FrameBatch
    thumbnails: np.ndarray  # (n, 48) thumbnails of the waiting frames


def detect_frames(
    detector: FaceDetector,
    plan: KeyFramePlan,
    waiting: WaitingFrames | None,
    batch: FrameBatch,
    thumbnails: np.ndarray,
    *,
    is_end: bool,
) -> tuple[list[DetectedFrames], WaitingFrames | None]:
    """Detect faces in the frames up to the last key frame of a batch.

    Args:
        detector: finds faces.
        plan: says which frames are key frames.
        waiting: from the batch before; None at the start of a segment.
        batch: the next frames of the segment; may be empty at its end.
        thumbnails: (n, 48) of these frames, from `frame_thumbnail`.
        is_end: whether the segment ends with this batch.

    Returns:
        The frames that are done, those that waited apart from those of the batch; and the frames that wait now.
    """
    if plan.every_s == 0:
        return [DetectedFrames(batch, detector.detect(batch.pixels), np.ones(len(batch), bool))], None
    before = [] if waiting is None else [waiting.frames]
    parts = [part for part in (*before, batch) if len(part)]
    if not parts:
        return [], None
    images = [image for part in parts for image in part.pixels]
    pts_s = np.concatenate([np.empty(0), *(part.pts_s for part in parts)])
    faces: list[FaceBatch | None] = [None] * len(images)
    if waiting is not None:
        thumbnails = np.concatenate([waiting.key_thumbnail[None], waiting.thumbnails, thumbnails])
        images, pts_s = [np.empty(0, np.uint8), *images], np.append(waiting.key_pts_s, pts_s)
        faces = [waiting.key_faces, *faces]
    keys = np.flatnonzero(plan.is_key_frame(pts_s, is_end=is_end)).tolist()
    _detect_in_full(detector, images, faces, [key for key in keys if faces[key] is None])
    is_full = _detect_between(detector, images, faces, keys, pts_s, thumbnails)

    first = len(images) - sum(map(len, parts))  # 1 if the last key frame of the previous batch comes first, else 0
    done, rest = _split_parts(parts, keys[-1] + 1 - first)
    detected = []
    for frames in done:
        here = slice(first, first := first + len(frames))
        found = [of_frame for of_frame in faces[here] if of_frame is not None]
        detected.append(DetectedFrames(frames, FaceBatch.of_frames(found), is_full[here]))
    key_faces = faces[keys[-1]]
    assert key_faces is not None
    return detected, WaitingFrames(pts_s[keys[-1]], thumbnails[keys[-1]], key_faces, rest, thumbnails[keys[-1] + 1 :])


def _detect_in_full(
    detector: FaceDetector, images: Sequence[np.ndarray], faces: list[FaceBatch | None], which: Sequence[int]
) -> None:
    if which:
        found = detector.detect(np.stack([images[i] for i in which]))
        for i, of_image in zip(which, found.by_frame(len(which)), strict=True):
            faces[i] = of_image


def _detect_between(
    detector: FaceDetector,
    images: Sequence[np.ndarray],
    faces: list[FaceBatch | None],
    keys: Sequence[int],
    pts_s: np.ndarray,
    thumbnails: np.ndarray,
) -> np.ndarray:
    """Detect faces between key frames, in close-ups where possible; returns which frames were detected in full."""
    is_full = np.ones(len(images), bool)
    expected: dict[int, ExpectedFaces] = {}
    for before, after in pairwise(keys):
        for i, of_frame in enumerate(_plan_close_ups(faces, before, after, pts_s, thumbnails), before + 1):
            expected[i] = of_frame
    found = find_in_tiles(detector, [images[i] for i in expected], list(expected.values()))
    for i, in_tiles in zip(expected, found, strict=True):
        faces[i], is_full[i] = in_tiles, in_tiles is None
    _detect_in_full(detector, images, faces, [i for i in range(keys[-1]) if faces[i] is None])
    return is_full


def _plan_close_ups(
    faces: Sequence[FaceBatch | None], before: int, after: int, pts_s: np.ndarray, thumbnails: np.ndarray
) -> list[ExpectedFaces]:
    """The faces expected in each frame between two key frames; empty if these frames must be detected in full."""
    start, end = faces[before], faces[after]
    assert start is not None and end is not None
    if has_scene_change(thumbnails[before : after + 1]):
        return []
    share = (pts_s[before + 1 : after] - pts_s[before]) / (pts_s[after] - pts_s[before])
    expected = expect_faces(start.boxes_xyxy, end.boxes_xyxy, share)
    if not expected or len(expected[0].boxes_xyxy) > MAX_TILES:
        return []
    return expected


def has_scene_change(thumbnails: np.ndarray) -> bool:
    """Whether consecutive frames, given as thumbnails `(n, 48)` uint8, differ too much to follow faces."""
    change = np.abs(np.diff(thumbnails.astype(np.float32), axis=0)).mean(axis=1)
    return bool((change >= MIN_SCENE_CHANGE).any())


def _split_parts(parts: Sequence[FrameBatch], n_done: int) -> tuple[list[FrameBatch], FrameBatch]:
    """The first `n_done` frames of consecutive batches, and a copy of the rest, so that the batches can be freed."""
    bounds = np.cumsum([0, *map(len, parts)])[:-1]
    cuts = [min(max(n_done - start, 0), len(part)) for part, start in zip(parts, bounds.tolist(), strict=True)]
    done = [part.part(slice(cut)) for part, cut in zip(parts, cuts, strict=True) if cut]
    rest = [part.part(slice(cut, None)) for part, cut in zip(parts, cuts, strict=True)]
    pixels, frame_index, pts_s = (
        np.concatenate([getattr(part, name) for part in rest]) for name in ("pixels", "frame_index", "pts_s")
    )
    return done, FrameBatch(pixels, frame_index, pts_s)
