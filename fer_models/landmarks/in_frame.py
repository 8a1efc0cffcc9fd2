"""From landmarks in crops to landmarks, measures and head pose in the frames that the crops were cut from."""

import numpy as np

from fer_models.frame_batch import FaceLandmarks
from fer_models.landmarks.measures import measure_faces


def landmarks_in_frame(
    points_xy: np.ndarray,
    score: np.ndarray,
    pose_deg: np.ndarray,
    side: np.ndarray,
    center: np.ndarray,
    *,
    keep_points: bool,
) -> FaceLandmarks:
    """Measure faces, and turn their landmarks and pose from the crops, which are upright, into the frame.

    Args:
        points_xy: (m, 70, 2), shares of the crop's side.
        score: (m,), 0 to 1.
        pose_deg: (m, 3) yaw, pitch and roll in the crop.
        side: (m,) complex, see `crops.frame_crops`.
        center: (m,) complex, likewise.
        keep_points: whether to keep the points themselves.
    """
    # In float64: sums in float32 depend on how many faces are summed at once, in the last bit.
    measured = measure_faces(points_xy.astype(np.float64))
    yaw_deg, pitch_deg, roll_deg = pose_deg.T
    return FaceLandmarks(
        landmark_score=score,
        **{name: values.astype(np.float32) for name, values in vars(measured).items()},
        head_yaw_deg=yaw_deg,
        head_pitch_deg=pitch_deg,
        head_roll_deg=wrap_deg(roll_deg + np.rad2deg(np.angle(side))).astype(np.float32),
        points_px=points_in_frame(points_xy, side, center) if keep_points else None,
    )


def points_in_frame(points_xy: np.ndarray, side: np.ndarray, center: np.ndarray) -> np.ndarray:
    """The position (m, 70, 2) float32 in pixels of the frame of points given as shares of the side of their crops.

    >>> points_in_frame(np.array([[[1.0, 0.5]]]), np.array([10j]), np.array([100 + 50j])).tolist()
    [[[100.0, 55.0]]]
    """
    shares = points_xy[..., 0] + 1j * points_xy[..., 1]
    in_frame = center[:, None] + side[:, None] * (shares - (0.5 + 0.5j))
    return np.stack([in_frame.real, in_frame.imag], axis=-1).astype(np.float32)


def wrap_deg(angle_deg: np.ndarray) -> np.ndarray:
    """Angles in [-180, 180).

    >>> wrap_deg(np.array([190.0, -190.0, 10.0])).tolist()
    [-170.0, 170.0, 10.0]
    """
    wrapped: np.ndarray = (angle_deg + 180) % 360 - 180
    return wrapped
