"""Track faces from frame to frame, matching detections in rounds by score as ByteTrack does.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022. In contrast, settings
are in seconds or box sizes, so that they do not depend on the frame rate, and boxes need not overlap: at 5 frames per
second a walking person's head moves by more than its width between two frames.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from analytics.time_tolerance import is_longer, is_shorter

# Variances of the Kalman filter of a face's movement, in box sizes, equal for x and y: the measured position, and the
# velocity as a random walk. They are properties of heads and detectors, and therefore not settings.
POSITION_NOISE_VAR = 0.05**2  # detectors locate a box to about 5% of its size
START_SPEED_VAR = 4.0**2  # a head that enters the frame may move by four times its size per second
SPEED_CHANGE_VAR_PER_S = 2.0**2


@dataclass(frozen=True)
class TrackerConfig:
    """Criteria for linking faces, and for keeping linked faces as a track.

    Raises:
        ValueError: if a value is out of its range.
    """

    high_score: float = 0.5  # faces with at least this score begin tracks and are matched first
    low_score: float = 0.1  # faces with at least this score continue tracks
    min_iou: float = 0.3  # a face may be linked to a track if their boxes overlap at least this much (IoU)
    # A face may also be linked if it is at most this many standard deviations from the expected position.
    max_sigma: float = 3.0
    max_distance: float = 2.0  # largest distance from the expected position, in box sizes
    max_size_ratio: float = 2.0  # largest ratio between the sizes of two linked boxes
    max_gap_s: float = 1.0  # after a longer gap, a face starts a new track
    # Tracks with fewer faces, or a shorter duration, are dropped because they are mostly false positives.
    min_faces: int = 3
    min_duration_s: float = 0.15

    def __post_init__(self) -> None:
        if not 0 <= self.low_score <= self.high_score <= 1:
            raise ValueError(f"0 <= low_score <= high_score <= 1 must hold, got {self.low_score}, {self.high_score}")
        if not 0 < self.min_iou <= 1:
            raise ValueError(f"min_iou must be in (0, 1], got {self.min_iou}")
        if not self.max_size_ratio >= 1:
            raise ValueError(f"max_size_ratio must be 1 or more, got {self.max_size_ratio}")
        if not self.min_faces >= 2:
            raise ValueError(f"min_faces must be 2 or more, got {self.min_faces}")
        for name in ("max_sigma", "max_distance", "max_gap_s", "min_duration_s"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


def link_faces(
    frame: np.ndarray,
    pts_s: np.ndarray,
    boxes_xyxy: np.ndarray,
    det_score: np.ndarray,
    config: TrackerConfig,
    *,
    shot: np.ndarray | None = None,
    step_s: float = 0.0,
) -> np.ndarray:
    """Assign each face of a whole video to a track, however short.

    Args:
        frame: (m,) number of each face's frame, non-decreasing.
        pts_s: (m,) time of that frame, non-decreasing.
        boxes_xyxy: (m, 4) in pixels.
        det_score: (m,) in [0, 1].
        config: the settings.
        shot: (m,) number of the shot that the face's frame is in, non-decreasing; tracks end at shot boundaries.
        step_s: usual time between two sampled frames: tracks survive gaps of at least 1.5 steps, so that sparse
            sampling does not end them all.

    Returns:
        (m,) int64 track of each face; -1 for faces in no track.
    """
    tracker = _Tracker(config, max_gap_s=max(config.max_gap_s, 1.5 * step_s))
    detections = [_Detection(*face) for face in zip(*boxes_xyxy.T.tolist(), det_score.tolist(), strict=True)]
    times_s = pts_s.tolist()
    bounds = np.append(np.flatnonzero(np.diff(frame, prepend=-1)), len(frame)).tolist()
    shots = (np.zeros(len(frame), np.int64) if shot is None else shot).tolist()
    tracks: list[int] = []
    for first, stop in pairwise(bounds):
        if first and shots[first] != shots[first - 1]:
            tracker.active.clear()
        tracks += tracker.step(times_s[first], detections[first:stop])
    return np.array(tracks, np.int64)


def confirm(raw: np.ndarray, pts_s: np.ndarray, config: TrackerConfig) -> np.ndarray:
    """Number the tracks with enough faces over enough time 0, 1, … in order of appearance; -1 for all other faces."""
    linked = np.flatnonzero(raw >= 0)
    ids, first, inverse, n_faces = np.unique(raw[linked], return_index=True, return_inverse=True, return_counts=True)
    last_pts_s = np.full(len(ids), -np.inf)
    np.maximum.at(last_pts_s, inverse, pts_s[linked])
    enough = (n_faces >= config.min_faces) & ~is_shorter(last_pts_s - pts_s[linked[first]], config.min_duration_s)
    number = np.full(len(ids), -1)
    number[np.flatnonzero(enough)[np.argsort(first[enough])]] = np.arange(enough.sum())
    tracks = np.full(len(raw), -1, np.int64)
    tracks[linked] = number[inverse]
    return tracks


class _Detection:
    """A face in a frame. Plain numbers: with a few faces per frame, arrays would cost five times as much."""

    __slots__ = ("height", "score", "size", "width", "x", "y")

    def __init__(self, x1: float, y1: float, x2: float, y2: float, score: float) -> None:
        self.x, self.y = (x1 + x2) / 2, (y1 + y2) / 2
        self.width, self.height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
        self.size = math.sqrt(self.width * self.height)
        self.score = score


class _Track:
    """An active track: the state of its Kalman filter, in pixels, and its variances, in box sizes."""

    __slots__ = (
        "covariance", "height", "n_faces", "number", "position_var", "pts_s", "size", "speed_var", "speed_x", "speed_y",
        "width", "x", "y",
    )  # fmt: skip

    def __init__(self, number: int, pts_s: float, face: _Detection) -> None:
        self.number = number
        self.pts_s = pts_s
        self.x, self.y, self.speed_x, self.speed_y = face.x, face.y, 0.0, 0.0
        self.width, self.height, self.size = face.width, face.height, face.size
        self.position_var, self.covariance, self.speed_var = POSITION_NOISE_VAR, 0.0, START_SPEED_VAR
        self.n_faces = 1

    def expect(self, pts_s: float) -> tuple[float, float, float]:
        """The expected position at `pts_s`: x, y and its variance."""
        t = pts_s - self.pts_s
        var = self.position_var + t * (2 * self.covariance + t * (self.speed_var + t * (SPEED_CHANGE_VAR_PER_S / 3)))
        return self.x + self.speed_x * t, self.y + self.speed_y * t, var

    def correct(self, pts_s: float, face: _Detection) -> None:
        """Update with a face detected at `pts_s`: Kalman prediction, with white-noise acceleration, and correction."""
        t = pts_s - self.pts_s
        x, y, position_var = self.expect(pts_s)
        covariance = self.covariance + t * (self.speed_var + t * (SPEED_CHANGE_VAR_PER_S / 2))
        speed_var = self.speed_var + t * SPEED_CHANGE_VAR_PER_S
        position_gain = position_var / (position_var + POSITION_NOISE_VAR)
        speed_gain = covariance / (position_var + POSITION_NOISE_VAR)
        self.x, self.y = x + position_gain * (face.x - x), y + position_gain * (face.y - y)
        self.speed_x += speed_gain * (face.x - x)
        self.speed_y += speed_gain * (face.y - y)
        self.position_var = position_var * (1 - position_gain)
        self.covariance = covariance * (1 - position_gain)
        self.speed_var = speed_var - speed_gain * covariance
        self.width, self.height, self.size = face.width, face.height, face.size
        self.n_faces += 1
        self.pts_s = pts_s


class _Pair(NamedTuple):
    """A track and a face that may be linked."""

    track: int  # index of the track among the active tracks
    face: int  # index of the face among the faces of the frame
    likeness: float
    overlaps: bool


class _Tracker:
    """Link the faces of one video, frame by frame."""

    def __init__(self, config: TrackerConfig, max_gap_s: float) -> None:
        self.config = config
        self.max_gap_s = max_gap_s
        self.active: list[_Track] = []
        self.n_tracks = 0

    def step(self, pts_s: float, faces: list[_Detection]) -> list[int]:
        """Assign the faces of the next frame; -1 for faces in no track."""
        self.active = [track for track in self.active if not is_longer(pts_s - track.pts_s, self.max_gap_s)]
        found = [-1] * len(faces)
        for pair in self._match(self._pairs(pts_s, faces), faces):
            track = self.active[pair.track]
            track.correct(pts_s, faces[pair.face])
            found[pair.face] = track.number
        for index, face in enumerate(faces):
            if found[index] < 0 and face.score >= self.config.high_score:
                self.active.append(_Track(self.n_tracks, pts_s, face))
                found[index] = self.n_tracks
                self.n_tracks += 1
        return found

    def _pairs(self, pts_s: float, faces: list[_Detection]) -> list[_Pair]:
        """The tracks and faces that may be linked, with their similarity."""
        config, pairs = self.config, []
        for i, track in enumerate(self.active):
            x, y, position_var = track.expect(pts_s)
            reach = min(config.max_sigma * math.sqrt(position_var + POSITION_NOISE_VAR), config.max_distance)
            reach_px = reach * track.size
            for j, face in enumerate(faces):
                dx, dy = abs(face.x - x), abs(face.y - y)
                wide, high = (face.width + track.width) / 2 - dx, (face.height + track.height) / 2 - dy
                if not config.max_size_ratio * track.size >= face.size >= track.size / config.max_size_ratio:
                    continue
                overlap = 0.0
                if wide > 0 and high > 0:
                    shared = min(wide, face.width, track.width) * min(high, face.height, track.height)
                    overlap = shared / (face.size**2 + track.size**2 - shared)
                elif dx > reach_px or dy > reach_px:
                    continue
                distance_px = math.hypot(dx, dy)
                if overlap >= config.min_iou or distance_px <= reach_px:
                    likeness = overlap + 1 / (1 + distance_px / track.size)
                    pairs.append(_Pair(i, j, likeness, overlap >= config.min_iou))
        return pairs

    def _match(self, pairs: list[_Pair], faces: list[_Detection]) -> list[_Pair]:
        """Match tracks and faces one to one, in rounds: the more reliable pairs first.

        A short track may follow a false positive next to a true face; it must not take the face from the older track.
        A detection with a low score near a lost face is often a false positive, so the boxes must overlap.
        """
        config = self.config
        rounds: tuple[list[_Pair], ...] = ([], [], [])
        for pair in pairs:
            is_old, score = self.active[pair.track].n_faces >= config.min_faces, faces[pair.face].score
            if score >= config.high_score:
                rounds[0 if is_old else 2].append(pair)
            elif is_old and pair.overlaps and score >= config.low_score:
                rounds[1].append(pair)
        chosen: list[_Pair] = []
        for candidates in rounds:
            taken = {pair.track for pair in chosen}, {pair.face for pair in chosen}
            chosen += _assign([p for p in candidates if p.track not in taken[0] and p.face not in taken[1]])
        return chosen


def _assign(pairs: list[_Pair]) -> list[_Pair]:
    """The one-to-one matching of these pairs with the largest total similarity."""
    tracks, faces = sorted({pair.track for pair in pairs}), sorted({pair.face for pair in pairs})
    if len(tracks) == len(faces) == len(pairs):
        return pairs  # in most frames, every track and every face occurs once
    from scipy.optimize import linear_sum_assignment  # imported here because SciPy takes most of a second

    row = {track: index for index, track in enumerate(tracks)}
    column = {face: index for index, face in enumerate(faces)}
    likeness = np.zeros((len(tracks), len(faces)))
    for pair in pairs:
        likeness[row[pair.track], column[pair.face]] = pair.likeness
    best = set(zip(*(indices.tolist() for indices in linear_sum_assignment(likeness, maximize=True)), strict=True))
    return [pair for pair in pairs if (row[pair.track], column[pair.face]) in best]
