"""Turn the crops of tilted and upside-down faces upright, as the landmark network sees them.

The landmarks of the packaged detector hardly follow the roll of a head, so crops aligned by them stay tilted.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fer_models.crops import crop_faces, frame_crops
from fer_models.landmarks.in_frame import points_in_frame
from fer_models.landmarks.landmarker import LandmarkBatch, Landmarker
from fer_models.landmarks.points import LEFT_EYE, LEFT_MOUTH_CORNER, NOSE_TIP, RIGHT_EYE, RIGHT_MOUTH_CORNER

# Roll that remains in a crop: emotion models read faces that are tilted this far as well as upright ones.
MAX_ROLL_DEG = 10.0
# Landmarks with at least this score are trusted.
TRUSTED_SCORE = 0.5
# A face without trusted landmarks is upside down if it has this score in the crop turned by 180°: 95 % of the faces of
# photographs turned by 160° or 180° have 0.975 or more, upright masked faces up to 0.77.
UPSIDE_DOWN_SCORE = 0.9


@dataclass(frozen=True, eq=False)
class DetectedInFrames:
    """Faces as they were detected: n frames and the frame and box of each of m faces."""

    pixels: Tensor  # (n, h, w, 3) uint8
    frame: Tensor  # (m,) int64
    boxes_xyxy: Tensor  # (m, 4) float32


@dataclass(eq=False)
class UprightCrops:
    """The crops of m faces, those of tilted faces turned, and the landmarks in them."""

    side: Tensor  # (m,) complex128, as from `crops.frame_crops`
    center: Tensor  # (m,) complex128, likewise
    crops: Tensor  # (m, 48, 48, 3) uint8
    landmarks: LandmarkBatch
    is_turned: np.ndarray  # (m,) bool


def turn_upright(
    detected: DetectedInFrames, side: Tensor, center: Tensor, crops: Tensor, landmarker: Landmarker
) -> UprightCrops:
    """Find the landmarks of crops, and turn the crops of tilted and upside-down faces.

    A crop is turned only if its landmarks then have a higher score.

    Args:
        detected: the faces.
        side: (m,) complex128 from `frame_crops`.
        center: (m,) complex128 from `frame_crops`.
        crops: (m, 48, 48, 3) uint8, the crops of these sides and centers.
        landmarker: on the device of the crops.
    """
    upright = UprightCrops(
        side.clone(), center.clone(), crops.clone(), landmarker.predict(crops), np.zeros(len(crops), bool)
    )
    _level(upright, detected, landmarker)
    _turn_upside_down(upright, detected, landmarker, detector_side=side, detector_center=center)
    return upright


def _level(upright: UprightCrops, detected: DetectedInFrames, landmarker: Landmarker) -> None:
    """Turn crops whose roll exceeds `MAX_ROLL_DEG` by the excess only: the remaining roll changes continuously."""
    roll_deg = upright.landmarks.pose_deg[:, 2].astype(np.float64)
    beyond_deg = roll_deg - np.clip(roll_deg, -MAX_ROLL_DEG, MAX_ROLL_DEG)
    rows = np.flatnonzero(beyond_deg)
    turn = torch.from_numpy(np.exp(1j * np.deg2rad(beyond_deg[rows]))).to(upright.side.device)
    _replace_if_better(upright, detected, landmarker, rows, side=upright.side[rows] * turn, center=upright.center[rows])


def _turn_upside_down(
    upright: UprightCrops,
    detected: DetectedInFrames,
    landmarker: Landmarker,
    *,
    detector_side: Tensor,
    detector_center: Tensor,
) -> None:
    """Turn crops without trusted landmarks by 180° where their landmarks then show that the face is upside down.

    The box of an upside-down face is often shifted, so its landmarks are found in a first crop, to which the second one
    is aligned.
    """
    rows = np.flatnonzero(upright.landmarks.score < TRUSTED_SCORE)
    side, center = -detector_side[rows], detector_center[rows]
    found = landmarker.predict(crop_faces(detected.pixels, detected.frame[rows], side, center))
    points_px = points_in_frame(found.points_xy, side.cpu().numpy(), center.cpu().numpy())
    landmarks_xy = torch.from_numpy(five_landmarks(points_px)).to(side.device)
    side, center = frame_crops(detected.boxes_xyxy[rows], landmarks_xy)
    _replace_if_better(upright, detected, landmarker, rows, side=side, center=center, min_score=UPSIDE_DOWN_SCORE)


def _replace_if_better(
    upright: UprightCrops,
    detected: DetectedInFrames,
    landmarker: Landmarker,
    rows: np.ndarray,
    *,
    side: Tensor,
    center: Tensor,
    min_score: float = 0.0,
) -> None:
    """Give these faces other crops where this raises the score of their landmarks, to at least `min_score`."""
    crops = crop_faces(detected.pixels, detected.frame[rows], side, center)
    landmarks = landmarker.predict(crops)
    is_better = (landmarks.score > upright.landmarks.score[rows]) & (landmarks.score >= min_score)
    better, turned = np.flatnonzero(is_better), rows[is_better]
    upright.side[turned], upright.center[turned], upright.crops[turned] = side[better], center[better], crops[better]
    upright.landmarks.assign(turned, landmarks.select(better))
    upright.is_turned[turned] = True


def five_landmarks(points_xy: np.ndarray) -> np.ndarray:
    """The landmarks (m, 5, 2) of a detector: eyes, nose and mouth corners, from all landmarks (m, 70, 2)."""
    eyes = [points_xy[:, eye].mean(axis=1) for eye in (RIGHT_EYE, LEFT_EYE)]
    others = [points_xy[:, point] for point in (NOSE_TIP, RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER)]
    return np.stack([*eyes, *others], axis=1)
