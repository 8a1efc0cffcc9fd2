"""Turn the crops of tilted and upside-down faces upright, as the landmark network sees them.

Detectors align their five landmarks to upright faces: those of the packaged one hardly follow the roll of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fer_models.landmarks.landmarker import LandmarkBatch, Landmarker
from fer_models.landmarks.points import LEFT_EYE, LEFT_MOUTH_CORNER, NOSE_TIP, RIGHT_EYE, RIGHT_MOUTH_CORNER

# Roll that remains in a crop: emotion models read faces that are tilted this far as well as upright ones.
MAX_ROLL_DEG = 10.0
# Score from which on landmarks are trusted: a face that reaches it upside down, and not as it is, is upside down.
TRUSTED_SCORE = 0.5


@dataclass(eq=False)
class UprightCrops:
    """The crops of m faces and their landmarks, with those of tilted faces turned."""

    side: Tensor  # (m,) complex128, as from `crops.frame_crops`
    crops: Tensor  # (m, 48, 48, 3) uint8
    landmarks: LandmarkBatch
    is_turned: np.ndarray  # (m,) bool, True where landmarks can be trusted, and only after the crop was turned

    def turn(self, rows: np.ndarray, side: Tensor, cut: "CutCrops", landmarker: Landmarker, least: float = 0.0) -> None:
        """Turn the crops of these faces to other sides where this raises the score of the landmarks, to `least`."""
        crops = cut(torch.from_numpy(rows).to(side.device), side)
        landmarks = landmarker.predict(crops)
        is_better = (landmarks.score > self.landmarks.score[rows]) & (landmarks.score >= least)
        better, turned = np.flatnonzero(is_better), rows[is_better]
        self.side[turned], self.crops[turned] = side[better], crops[better]
        for mine, found in zip(vars(self.landmarks).values(), vars(landmarks).values(), strict=True):
            mine[turned] = found[better]
        self.is_turned[turned] = True

    def level(self, rows: np.ndarray, cut: "CutCrops", landmarker: Landmarker) -> None:
        """Turn those of these faces that are tilted further than `MAX_ROLL_DEG`, by the angle beyond it."""
        roll_deg = self.landmarks.pose_deg[rows, 2].astype(np.float64)
        beyond_deg = roll_deg - np.clip(roll_deg, -MAX_ROLL_DEG, MAX_ROLL_DEG)
        rows, beyond_deg = rows[beyond_deg != 0], beyond_deg[beyond_deg != 0]
        turn = torch.from_numpy(np.exp(1j * np.deg2rad(beyond_deg))).to(self.side.device)
        self.turn(rows, self.side[rows] * turn, cut, landmarker)


CutCrops = Callable[[Tensor, Tensor], Tensor]  # (k,) int64 faces and their (k,) sides to (k, 48, 48, 3) crops


def turn_upright(crops: Tensor, side: Tensor, cut: CutCrops, landmarker: Landmarker) -> UprightCrops:
    """Find the landmarks of crops, and turn those of tilted and upside-down faces.

    A crop is turned only if its landmarks then have a higher score.

    Args:
        crops: (m, 48, 48, 3) uint8.
        side: (m,) complex128, the sides of these crops.
        cut: cuts the crops of some of the faces again, with other sides.
        landmarker: on the device of the crops.
    """
    found = UprightCrops(side.clone(), crops.clone(), landmarker.predict(crops), np.zeros(len(crops), bool))
    found.level(np.arange(len(crops)), cut, landmarker)
    doubtful = np.flatnonzero(found.landmarks.score < TRUSTED_SCORE)
    found.turn(doubtful, -side[doubtful], cut, landmarker, least=TRUSTED_SCORE)
    # Upside-down faces are the only doubtful ones whose score is now high.
    found.level(doubtful[found.landmarks.score[doubtful] >= TRUSTED_SCORE], cut, landmarker)
    found.is_turned &= found.landmarks.score >= TRUSTED_SCORE
    return found


def five_landmarks(points_xy: np.ndarray) -> np.ndarray:
    """The landmarks (m, 5, 2) of a detector: eyes, nose and mouth corners, from all landmarks (m, 70, 2)."""
    eyes = [points_xy[:, eye].mean(axis=1) for eye in (RIGHT_EYE, LEFT_EYE)]
    others = [points_xy[:, point] for point in (NOSE_TIP, RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER)]
    return np.stack([*eyes, *others], axis=1)
