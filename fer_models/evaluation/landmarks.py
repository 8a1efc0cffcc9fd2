"""Accuracy of the landmark network against its teacher's labels."""

from dataclasses import dataclass

import numpy as np
import torch

from fer_models.datasets.landmark_labels import LabeledCrops
from fer_models.landmarks.landmarker import LandmarkBatch, Landmarker
from fer_models.landmarks.measures import interocular_distance, measure_faces
from fer_models.landmarks.pose import head_pose_deg


@dataclass(frozen=True)
class LandmarkAccuracy:
    """Distance of landmarks from those of the teacher; see `measure_accuracy`."""

    images: int
    mean_error: float
    eye_openness_correlation: float
    mouth_opening_correlation: float
    yaw_error_deg: float
    pitch_error_deg: float
    roll_error_deg: float


def measure_accuracy(found: LandmarkBatch, truth: LabeledCrops) -> LandmarkAccuracy:
    """Compare the landmarks of crops with the teacher's, where those are consistent.

    Returns:
        The mean distance of all points relative to the teacher's interocular distance; Pearson correlations of the eye
        aspect ratio (both eyes pooled) and of the mouth's opening; median absolute errors of the head pose in degrees.
    """
    rows = truth.is_consistent
    points, true_points = found.points_xy[rows], truth.points_xyz[rows, :, :2]
    errors = point_errors(points, true_points)
    ours, teachers = measure_faces(points), measure_faces(true_points)
    eyes = [np.concatenate([measures.eye_openness_right, measures.eye_openness_left]) for measures in (ours, teachers)]
    pose_errors = np.abs(found.pose_deg[rows] - head_pose_deg(truth.points_xyz[rows]))
    yaw, pitch, roll = np.median(pose_errors, axis=0).tolist()
    return LandmarkAccuracy(
        images=int(rows.sum()),
        mean_error=float(errors.mean()),
        eye_openness_correlation=_correlation(*eyes),
        mouth_opening_correlation=_correlation(ours.mouth_opening, teachers.mouth_opening),
        yaw_error_deg=yaw,
        pitch_error_deg=pitch,
        roll_error_deg=roll,
    )


def point_errors(points_xy: np.ndarray, true_points_xy: np.ndarray) -> np.ndarray:
    """Compute the mean distance (m,) of the points of each face, relative to the true interocular distance."""
    distance = np.linalg.norm(points_xy - true_points_xy, axis=2).mean(axis=1)
    errors: np.ndarray = distance / interocular_distance(true_points_xy)
    return errors


def predict_gray(landmarker: Landmarker, pixels: np.ndarray) -> LandmarkBatch:
    """Find landmarks in gray crops (n, 48, 48) uint8."""
    return landmarker.predict(torch.from_numpy(pixels)[..., None].expand(*pixels.shape, 3))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Compute Pearson's r; NaN where all values are the same, because it is undefined there."""
    return np.nan if min(np.ptp(a), np.ptp(b)) == 0 else float(np.corrcoef(a, b)[0, 1])
