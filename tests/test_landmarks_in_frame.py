"""Landmarks and pose in the frame, from landmarks and pose in an upright crop of a tilted face."""

import numpy as np
import pytest

from fer_models.landmarks.in_frame import landmarks_in_frame, points_in_frame
from fer_models.landmarks.measures import measure_faces


def faces(m: int = 2) -> np.ndarray:
    return np.random.default_rng(7).uniform(0.2, 0.8, (m, 70, 2))


def test_points_are_scaled_rotated_and_moved_with_the_crop():
    """A crop of 100 px around (300, 200), tilted clockwise by 30°: its right edge is lower than its left edge."""
    side = np.array([100 * np.exp(1j * np.deg2rad(30))])
    points = points_in_frame(np.array([[[0.5, 0.5], [1.0, 0.5], [0.5, 1.0]]]), side, np.array([300 + 200j]))
    right, down = [43.301, 25.0], [-25.0, 43.301]
    expected = [[300, 200], [300 + right[0], 200 + right[1]], [300 + down[0], 200 + down[1]]]
    np.testing.assert_allclose(points[0], expected, atol=0.001)


def test_roll_in_the_frame_is_that_of_the_crop_plus_that_of_the_head():
    side = 100 * np.exp(1j * np.deg2rad([30, 175]))
    pose_deg = np.array([[10, -5, 4], [0, 0, 10]], np.float32)
    found = landmarks_in_frame(faces(), np.ones(2), pose_deg, side, np.zeros(2, complex), keep_points=False)
    assert found.head_roll_deg.tolist() == pytest.approx([34, -175])
    assert (found.head_yaw_deg.tolist(), found.head_pitch_deg.tolist()) == ([10, 0], [-5, 0])
    assert found.points_px is None


def test_measures_do_not_depend_on_where_the_crop_lies():
    """Measured on the points in the frame, size and tilt of the crop cancel out."""
    points_xy = faces()
    side, center = np.array([40j, -300 + 20j]), np.array([10 + 10j, 500 + 300j])
    found = landmarks_in_frame(points_xy, np.ones(2), np.zeros((2, 3)), side, center, keep_points=True)
    assert found.points_px is not None
    for name, values in vars(measure_faces(found.points_px.astype(float))).items():
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-4, err_msg=name)


def test_no_faces():
    none = np.empty(0)
    found = landmarks_in_frame(np.empty((0, 70, 2)), none, np.empty((0, 3)), none, none, keep_points=True)
    assert found.points_px is not None and found.points_px.shape == (0, 70, 2)
    assert len(found.mouth_opening) == len(found.head_roll_deg) == 0
