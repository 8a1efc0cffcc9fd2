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
# It is aligned and judged only if it has this score in a first crop turned by 180°: the 34 faces of photographs turned
# by 160° or 180° that are then found upside down have 0.08 or more, 93 % of the doubtful faces of upright photographs
# have less than 0.05.
MAYBE_UPSIDE_DOWN_SCORE = 0.05


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
    # Only the excess is turned, so that crops do not jump where a head begins to tilt further than the limit.
    roll_deg = upright.landmarks.pose_deg[:, 2].astype(np.float64)
    excess_deg = roll_deg - np.clip(roll_deg, -MAX_ROLL_DEG, MAX_ROLL_DEG)
    tilted, doubtful = np.flatnonzero(excess_deg), np.flatnonzero(upright.landmarks.score < TRUSTED_SCORE)
    rows = np.concatenate([tilted, doubtful])
    turn = np.concatenate([np.exp(1j * np.deg2rad(excess_deg[tilted])), np.full(len(doubtful), -1)])
    turned_side = side[rows] * torch.from_numpy(turn).to(side.device)
    turned = _crop_again(detected, rows, turned_side, center[rows], landmarker)
    _replace_where_better(upright, turned.select(np.arange(len(tilted))))
    _turn_upside_down(upright, turned.select(np.arange(len(tilted), len(rows))), detected, landmarker)
    return upright


@dataclass(frozen=True, eq=False)
class _OtherCrops:
    """Other crops of k faces, and the landmarks in them."""

    rows: np.ndarray  # (k,) which faces
    side: Tensor  # (k,) complex128, as from `crops.frame_crops`
    center: Tensor  # (k,) complex128, likewise
    crops: Tensor  # (k, 48, 48, 3) uint8
    landmarks: LandmarkBatch

    def select(self, which: np.ndarray) -> "_OtherCrops":
        """Return the crops selected by `which`, a boolean mask or indices."""
        return _OtherCrops(
            self.rows[which], self.side[which], self.center[which], self.crops[which], self.landmarks.select(which)
        )


def _crop_again(
    detected: DetectedInFrames, rows: np.ndarray, side: Tensor, center: Tensor, landmarker: Landmarker
) -> _OtherCrops:
    crops = crop_faces(detected.pixels, detected.frame[rows], side, center)
    return _OtherCrops(rows, side, center, crops, landmarker.predict(crops))


def _turn_upside_down(
    upright: UprightCrops, upside_down: _OtherCrops, detected: DetectedInFrames, landmarker: Landmarker
) -> None:
    """Turn crops without trusted landmarks by 180° where their landmarks then show that the face is upside down.

    The box of an upside-down face is often shifted, so its landmarks are found in a first crop, `upside_down`, to which
    the second one is aligned.
    """
    is_doubtful = upright.landmarks.score[upside_down.rows] < TRUSTED_SCORE  # still, after tilted crops were turned
    first = upside_down.select(is_doubtful & (upside_down.landmarks.score >= MAYBE_UPSIDE_DOWN_SCORE))
    points_px = points_in_frame(first.landmarks.points_xy, first.side.cpu().numpy(), first.center.cpu().numpy())
    landmarks_xy = torch.from_numpy(five_landmarks(points_px)).to(first.side.device)
    side, center = frame_crops(detected.boxes_xyxy[first.rows], landmarks_xy)
    aligned = _crop_again(detected, first.rows, side, center, landmarker)
    _replace_where_better(upright, aligned.select(aligned.landmarks.score >= UPSIDE_DOWN_SCORE))


def _replace_where_better(upright: UprightCrops, others: _OtherCrops) -> None:
    """Give faces other crops where this raises the score of their landmarks."""
    better = others.select(others.landmarks.score > upright.landmarks.score[others.rows])
    upright.side[better.rows], upright.center[better.rows] = better.side, better.center
    upright.crops[better.rows] = better.crops
    upright.landmarks.assign(better.rows, better.landmarks)
    upright.is_turned[better.rows] = True


def five_landmarks(points_xy: np.ndarray) -> np.ndarray:
    """The landmarks (m, 5, 2) of a detector: eyes, nose and mouth corners, from all landmarks (m, 70, 2)."""
    eyes = [points_xy[:, eye].mean(axis=1) for eye in (RIGHT_EYE, LEFT_EYE)]
    others = [points_xy[:, point] for point in (NOSE_TIP, RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER)]
    return np.stack([*eyes, *others], axis=1)
