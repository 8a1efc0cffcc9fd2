"""Losses of the landmark network: points, openness of eyes and mouth, head pose and score."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fer_models.landmarks.measures import INNER_LIP_PAIRS
from fer_models.landmarks.network import LandmarkOutputs
from fer_models.landmarks.points import (
    INNER_LIPS,
    LEFT_EYE,
    LEFT_OUTER_EYE_CORNER,
    N_POINTS,
    RIGHT_EYE,
    RIGHT_OUTER_EYE_CORNER,
)
from fer_models.training.landmarks.augmentation import LandmarkTargets

LOSS_WEIGHTS = {"points": 1.0, "eyes": 5.0, "mouth": 5.0, "pose": 1.0, "score": 0.1}
# Wing loss of Feng et al. (2018): logarithmic for distances below `WING_WIDTH`, linear above, in interocular distances.
WING_WIDTH, WING_CURVATURE = 0.10, 0.02
FINE_POINT_WEIGHT = 2.0  # weight of the points of eyes and inner lips
POSE_ERROR_UNIT_DEG = 10.0  # the loss of the pose is computed on errors in this unit
# Smallest distance used, as a share of the crop's side, because the eyes' outer corners coincide in profile.
MIN_INTEROCULAR = 0.25
MIN_EYE_WIDTH = 0.06  # likewise for the corners of one eye
OPENING_BETA = 0.1  # the loss of an opening is quadratic up to this error, linear above
SINGLE_GAP_WEIGHT = 0.3
TRUSTED_ERROR = 0.06  # the score is the probability that the mean error is smaller than this, in interocular distances


def landmark_losses(outputs: LandmarkOutputs, targets: LandmarkTargets) -> dict[str, Tensor]:
    """Compute the losses of a batch; crops without a known face count only for the score."""
    known = targets.is_known
    interocular = interocular_distances(targets.points_xy)
    distance = (outputs.points_xy - targets.points_xy)[known] / interocular[known, None, None]
    errors = distance.detach().norm(dim=2).mean(dim=1)
    trusted = known.float()
    trusted[known] = (errors < TRUSTED_ERROR).float()
    score = F.binary_cross_entropy_with_logits(outputs.score_logit, trusted)
    if not known.any():  # means over no faces would be NaN
        return dict.fromkeys(LOSS_WEIGHTS, torch.zeros_like(score)) | {"score": score}
    predicted, true = outputs.points_xy[known], targets.points_xy[known]
    down = downward(true)
    pose = (outputs.pose_deg - targets.pose_deg)[known] / POSE_ERROR_UNIT_DEG
    return {
        "points": (wing(distance) * point_weights(distance.device)[None, :, None]).mean(),
        "eyes": opening_loss(lid_gaps(predicted, down), lid_gaps(true, down)),
        "mouth": opening_loss(lip_gaps(predicted, down), lip_gaps(true, down)),
        "pose": F.smooth_l1_loss(pose, torch.zeros_like(pose), beta=0.2),
        "score": score,
    }


def wing(distance: Tensor) -> Tensor:
    """Compute the wing loss of signed distances."""
    size = distance.abs()
    offset = WING_WIDTH - WING_WIDTH * math.log1p(WING_WIDTH / WING_CURVATURE)
    return torch.where(size < WING_WIDTH, WING_WIDTH * (size / WING_CURVATURE).log1p(), size - offset)


def point_weights(device: torch.device) -> Tensor:
    """Return the weight (70,) of each point, with mean 1."""
    weights = torch.ones(N_POINTS, device=device)
    weights[[*RIGHT_EYE, *LEFT_EYE, *INNER_LIPS]] = FINE_POINT_WEIGHT
    return weights / weights.mean()


def interocular_distances(points_xy: Tensor) -> Tensor:
    """Compute the distance (n,) of the outer corners of the eyes, at least `MIN_INTEROCULAR`."""
    between = points_xy[:, RIGHT_OUTER_EYE_CORNER] - points_xy[:, LEFT_OUTER_EYE_CORNER]
    distance: Tensor = between.norm(dim=1).clamp(min=MIN_INTEROCULAR)
    return distance


def downward(points_xy: Tensor) -> Tensor:
    """Return the unit vector (n, 2) at right angles to the line of the eyes, from the forehead to the chin."""
    across = points_xy[:, LEFT_OUTER_EYE_CORNER] - points_xy[:, RIGHT_OUTER_EYE_CORNER]
    return F.normalize(torch.stack([-across[:, 1], across[:, 0]], dim=1))


def gaps(points_xy: Tensor, pairs: Sequence[tuple[int, int]], down: Tensor) -> Tensor:
    """Compute how far (n, k) the second point of each pair lies below the first; negative if it lies above it.

    Distances, which have no sign, would also accept an eye whose lower lid is above its upper lid.
    """
    upper, lower = (list(points) for points in zip(*pairs, strict=True))
    return ((points_xy[:, lower] - points_xy[:, upper]) * down[:, None]).sum(dim=2)


def lip_gaps(points_xy: Tensor, down: Tensor) -> Tensor:
    """Compute the gaps (n, 3) of the inner lips, relative to the interocular distance."""
    return gaps(points_xy, INNER_LIP_PAIRS, down) / interocular_distances(points_xy)[:, None]


def lid_gaps(points_xy: Tensor, down: Tensor) -> Tensor:
    """Compute the gaps (2 n, 2) of the lids of the right, then of the left eyes, relative to the width of the eye."""
    relative = []
    for corner, first, second, other_corner, below_second, below_first in (RIGHT_EYE, LEFT_EYE):
        width = (points_xy[:, corner] - points_xy[:, other_corner]).norm(dim=1).clamp(min=MIN_EYE_WIDTH)
        relative.append(gaps(points_xy, ((first, below_first), (second, below_second)), down) / width[:, None])
    return torch.cat(relative)


def opening_loss(gaps: Tensor, true_gaps: Tensor) -> Tensor:
    """Compute the loss of openings (means of gaps) and, with a smaller weight, of the gaps themselves."""
    opening = F.smooth_l1_loss(gaps.mean(dim=1), true_gaps.mean(dim=1), beta=OPENING_BETA)
    return opening + SINGLE_GAP_WEIGHT * (gaps - true_gaps).abs().mean()
