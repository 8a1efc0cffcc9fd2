"""Which faces of different frames are one person: matched in rounds by score, in the manner of ByteTrack.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022. Unlike there, every
setting is in seconds or in box sizes, so that it means the same at any frame rate, and boxes need not overlap: at
5 frames per second a walking person's head moves by more than its width between two frames.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from fer_models.boxes import box_area, box_center, box_iou

# A face's movement, in box sizes: position from the detector, velocity as a random walk (Kalman filter, with the same
# numbers for x and y). They are properties of moving heads and of detectors, hence no settings.
POSITION_NOISE_VAR = 0.05**2  # detectors place a box to about a twentieth of its size
START_SPEED_VAR = 4.0**2  # a head that comes into view may move by four times its size per second
SPEED_CHANGE_VAR_PER_S = 2.0**2


@dataclass(frozen=True)
class TrackerConfig:
    """When faces are linked and when links make a track.

    Raises:
        ValueError: if a value is out of its range.
    """

    high_score: float = 0.5  # faces from this score on begin tracks and are matched first
    low_score: float = 0.1  # faces from this score on continue tracks
    min_iou: float = 0.3  # boxes that overlap this much may be linked …
    max_sigma: float = 3.0  # … as may boxes this many standard deviations from where the track is expected,
    max_distance: float = 2.0  # but no farther than this many box sizes
    max_size_ratio: float = 2.0  # and only if neither is so much larger than the other
    max_gap_s: float = 1.0  # a face out of sight for longer comes back as a new track
    min_faces: int = 3  # fewer links, or links over less time, are no track: mostly false hits
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


def track_faces(
    frame: np.ndarray,
    pts_s: np.ndarray,
    boxes_xyxy: np.ndarray,
    det_score: np.ndarray,
    config: TrackerConfig,
    *,
    shot: np.ndarray | None = None,
    step_s: float = 0.0,
) -> np.ndarray:
    """Give each face of a whole video the track it belongs to.

    Args:
        frame: (m,) number of each face's frame, not falling.
        pts_s: (m,) time of that frame, not falling.
        boxes_xyxy: (m, 4) in pixels.
        det_score: (m,) in [0, 1].
        config: the settings.
        shot: (m,) number of the shot that the face's frame is in, not falling; no track goes on in another shot.
        step_s: usual time between two sampled frames: tracks live on for at least one and a half steps, so that
            sparse sampling does not end them all.

    Returns:
        (m,) int64 track of each face: 0, 1, … in order of first appearance; -1 for faces in no track.
    """
    tracker = _Tracker(config, max_gap_s=max(config.max_gap_s, 1.5 * step_s))
    boxes_xyxy = boxes_xyxy.astype(np.float64)
    bounds = np.append(np.flatnonzero(np.diff(frame, prepend=-1)), len(frame)).tolist()
    raw = np.full(len(pts_s), -1, np.int64)
    shots = np.zeros(len(frame), np.int64) if shot is None else shot
    for first, stop in pairwise(bounds):
        if first and shots[first] != shots[first - 1]:
            tracker.end_all()
        raw[first:stop] = tracker.step(float(pts_s[first]), boxes_xyxy[first:stop], det_score[first:stop])
    return _confirmed(raw, pts_s, config)


def _confirmed(raw: np.ndarray, pts_s: np.ndarray, config: TrackerConfig) -> np.ndarray:
    """Number the tracks with enough faces over enough time, in order of appearance; -1 for all other faces."""
    linked = np.flatnonzero(raw >= 0)
    ids, first, inverse, n_faces = np.unique(raw[linked], return_index=True, return_inverse=True, return_counts=True)
    last_pts_s = np.full(len(ids), -np.inf)
    np.maximum.at(last_pts_s, inverse, pts_s[linked])
    # Rounding must not decide whether three frames 0.075 s apart reach 0.15 s.
    enough = (n_faces >= config.min_faces) & (last_pts_s - pts_s[linked[first]] >= config.min_duration_s - 1e-6)
    number = np.full(len(ids), -1)
    number[np.flatnonzero(enough)[np.argsort(first[enough])]] = np.arange(enough.sum())
    tracks = np.full(len(raw), -1, np.int64)
    tracks[linked] = number[inverse]
    return tracks


# Columns of the state: a row per living track. One array, for the loop over frames must be quick.
_ID, _PTS_S = 0, 1
_CENTER = slice(2, 4)  # px
_VELOCITY = slice(4, 6)  # px/s
_SIZE = slice(6, 8)  # width and height in px
_POSITION_VAR, _COVARIANCE, _SPEED_VAR = 8, 9, 10  # in box sizes and seconds
_N_FACES = 11
_N_COLUMNS = 12


class _Tracker:
    """Links the faces of one video, frame by frame."""

    def __init__(self, config: TrackerConfig, max_gap_s: float) -> None:
        self.config = config
        self.max_gap_s = max_gap_s
        self.state = np.empty((0, _N_COLUMNS))
        self.n_tracks = 0

    def end_all(self) -> None:
        """Let no track go on."""
        self.state = self.state[:0]

    def step(self, pts_s: float, boxes_xyxy: np.ndarray, det_score: np.ndarray) -> np.ndarray:
        """Track of each face of the next frame; -1 for faces in none."""
        face_track = np.full(len(boxes_xyxy), -1, np.int64)
        self.state = self.state[pts_s - self.state[:, _PTS_S] <= self.max_gap_s]
        if len(self.state):
            expected = _expected(self.state, pts_s)
            row_of_face = _match(expected, boxes_xyxy, det_score, self.config)
            faces = (row_of_face >= 0).nonzero()[0]
            rows = row_of_face[faces]
            self.state[rows] = _corrected(expected[rows], pts_s, boxes_xyxy[faces])
            face_track[faces] = self.state[rows, _ID]
        born = ((face_track < 0) & (det_score >= self.config.high_score)).nonzero()[0]
        if len(born):
            face_track[born] = np.arange(self.n_tracks, self.n_tracks + len(born))
            self.n_tracks += len(born)
            self.state = np.concatenate([self.state, _new_rows(face_track[born], pts_s, boxes_xyxy[born])])
        return face_track


def _match(expected: np.ndarray, boxes_xyxy: np.ndarray, det_score: np.ndarray, config: TrackerConfig) -> np.ndarray:
    """The row of the state that each face continues, -1 for none, in rounds: what is better founded chooses first.

    A track of few faces may follow a false hit beside a true face; it must not take the face from the older track. And
    a weak hit beside a lost face is more often a false one, so that the boxes must overlap.
    """
    likeness, overlaps = _compare(expected, boxes_xyxy, config)
    is_old = expected[:, _N_FACES] >= config.min_faces
    is_strong = det_score >= config.high_score
    is_weak = ~is_strong & (det_score >= config.low_score)
    row_of_face = np.full(len(boxes_xyxy), -1)
    free_row = np.ones(len(expected), bool)
    for may_row, may_face, may_pair in (
        (is_old, is_strong, True),
        (is_old, is_weak, overlaps),
        (~is_old, is_strong, True),
    ):
        rows, faces = (may_row & free_row).nonzero()[0], (may_face & (row_of_face < 0)).nonzero()[0]
        if len(rows) and len(faces):
            row, face = _assign((likeness * may_pair)[rows][:, faces])
            row_of_face[faces[face]] = rows[row]
            free_row[rows[row]] = False
    return row_of_face


def _assign(likeness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pairs that together are most alike; never a pair of likeness 0."""
    row, column = linear_sum_assignment(likeness, maximize=True)
    alike = likeness[row, column] > 0
    return row[alike], column[alike]


def _compare(state: np.ndarray, boxes_xyxy: np.ndarray, config: TrackerConfig) -> tuple[np.ndarray, np.ndarray]:
    """Likeness of each track and face, 0 where they must not be linked, and whether they overlap: `(tracks, faces)`."""
    half_size = state[:, _SIZE] / 2
    expected_xyxy = np.concatenate([state[:, _CENTER] - half_size, state[:, _CENTER] + half_size], axis=1)
    size_px = np.sqrt(box_area(expected_xyxy))
    face_size_px = np.maximum(np.sqrt(box_area(boxes_xyxy)), 1)
    offset_px = state[:, None, _CENTER] - box_center(boxes_xyxy)[None]
    distance = np.hypot(offset_px[..., 0], offset_px[..., 1]) / size_px[:, None]  # in box sizes
    reach = np.minimum(config.max_sigma * np.sqrt(state[:, _POSITION_VAR] + POSITION_NOISE_VAR), config.max_distance)
    ratio = face_size_px / size_px[:, None]
    overlaps = box_iou(expected_xyxy, boxes_xyxy)
    overlap_enough = overlaps >= config.min_iou
    may_link = overlap_enough | (distance <= reach[:, None])
    may_link &= (ratio <= config.max_size_ratio) & (ratio * config.max_size_ratio >= 1)
    return np.where(may_link, overlaps + 1 / (1 + distance), 0), overlap_enough


def _new_rows(ids: np.ndarray, pts_s: float, boxes_xyxy: np.ndarray) -> np.ndarray:
    rows = np.zeros((len(ids), _N_COLUMNS))
    rows[:, _ID] = ids
    rows[:, _PTS_S] = pts_s
    rows[:, _CENTER] = box_center(boxes_xyxy)
    rows[:, _SIZE] = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 1)
    rows[:, _POSITION_VAR] = POSITION_NOISE_VAR
    rows[:, _SPEED_VAR] = START_SPEED_VAR
    rows[:, _N_FACES] = 1
    return rows


def _expected(state: np.ndarray, pts_s: float) -> np.ndarray:
    """Kalman prediction: the state at `pts_s`, with white noise on the acceleration; `_PTS_S` stays when last seen."""
    expected = state.copy()
    elapsed_s = pts_s - state[:, _PTS_S]
    covariance, speed_var = state[:, _COVARIANCE], state[:, _SPEED_VAR]
    expected[:, _CENTER] += state[:, _VELOCITY] * elapsed_s[:, None]
    expected[:, _POSITION_VAR] += elapsed_s * (
        2 * covariance + elapsed_s * (speed_var + elapsed_s * (SPEED_CHANGE_VAR_PER_S / 3))
    )
    expected[:, _COVARIANCE] += elapsed_s * (speed_var + elapsed_s * (SPEED_CHANGE_VAR_PER_S / 2))
    expected[:, _SPEED_VAR] += elapsed_s * SPEED_CHANGE_VAR_PER_S
    return expected


def _corrected(expected: np.ndarray, pts_s: float, boxes_xyxy: np.ndarray) -> np.ndarray:
    """Kalman correction: the expected state, given the box seen at `pts_s`."""
    corrected = _new_rows(expected[:, _ID], pts_s, boxes_xyxy)
    position_gain = expected[:, _POSITION_VAR] / (expected[:, _POSITION_VAR] + POSITION_NOISE_VAR)
    speed_gain = expected[:, _COVARIANCE] / (expected[:, _POSITION_VAR] + POSITION_NOISE_VAR)
    error_px = corrected[:, _CENTER] - expected[:, _CENTER]
    corrected[:, _CENTER] = expected[:, _CENTER] + position_gain[:, None] * error_px
    corrected[:, _VELOCITY] = expected[:, _VELOCITY] + speed_gain[:, None] * error_px
    corrected[:, _POSITION_VAR] = expected[:, _POSITION_VAR] * (1 - position_gain)
    corrected[:, _COVARIANCE] = expected[:, _COVARIANCE] * (1 - position_gain)
    corrected[:, _N_FACES] += expected[:, _N_FACES]
    corrected[:, _SPEED_VAR] = expected[:, _SPEED_VAR] - speed_gain * expected[:, _COVARIANCE]
    return corrected
