"""Losses of the landmark network: points, openness of eyes and mouth, head pose and score."""

import math

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

LOSS_WEIGHTS = {"points": 1.0, "eyes": 2.0, "mouth": 2.0, "pose": 1.0, "score": 0.1}
# Wing loss of Feng et al. (2018): logarithmic for distances below `WING_WIDTH`, linear above, in interocular distances.
WING_WIDTH, WING_CURVATURE = 0.10, 0.02
FINE_POINT_WEIGHT = 2.0  # weight of the points of eyes and inner lips
POSE_SCALE_DEG = 10.0
# Smallest distance used, as a share of the crop's side, because the eyes' outer corners coincide in profile.
MIN_INTEROCULAR = 0.25
TRUSTED_ERROR = 0.06  # the score is the probability that the mean error is smaller than this, in interocular distances


def landmark_losses(outputs: LandmarkOutputs, targets: LandmarkTargets) -> dict[str, Tensor]:
    """Compute the losses of a batch; crops without a known face count only for the score."""
    known = targets.is_known
    interocular = interocular_distances(targets.points_xy)
    distance = (outputs.points_xy - targets.points_xy)[known] / interocular[known, None, None]
    errors = distance.detach().norm(dim=2).mean(dim=1)
    trusted = known.float()
    trusted[known] = (errors < TRUSTED_ERROR).float()
    predicted, true = outputs.points_xy[known], targets.points_xy[known]
    mouths = [lip_distances(points) / interocular[known] for points in (predicted, true)]
    eyes = [
        torch.cat([eye_openness(points, eye, true) for eye in (RIGHT_EYE, LEFT_EYE)]) for points in (predicted, true)
    ]
    pose = (outputs.pose_deg - targets.pose_deg)[known] / POSE_SCALE_DEG
    return {
        "points": (wing(distance) * point_weights()[None, :, None]).mean(),
        "eyes": (eyes[0] - eyes[1]).abs().mean(),
        "mouth": (mouths[0] - mouths[1]).abs().mean(),
        "pose": F.smooth_l1_loss(pose, torch.zeros_like(pose), beta=0.2),
        "score": F.binary_cross_entropy_with_logits(outputs.score_logit, trusted),
    }


def wing(distance: Tensor) -> Tensor:
    """Compute the wing loss of signed distances."""
    size = distance.abs()
    offset = WING_WIDTH - WING_WIDTH * math.log1p(WING_WIDTH / WING_CURVATURE)
    return torch.where(size < WING_WIDTH, WING_WIDTH * (size / WING_CURVATURE).log1p(), size - offset)


def point_weights() -> Tensor:
    """Return the weight (70,) of each point, with mean 1."""
    weights = torch.ones(N_POINTS)
    weights[[*RIGHT_EYE, *LEFT_EYE, *INNER_LIPS]] = FINE_POINT_WEIGHT
    return weights / weights.mean()


def interocular_distances(points_xy: Tensor) -> Tensor:
    """Compute the distance (n,) of the outer corners of the eyes, at least `MIN_INTEROCULAR`."""
    between = points_xy[:, RIGHT_OUTER_EYE_CORNER] - points_xy[:, LEFT_OUTER_EYE_CORNER]
    distance: Tensor = between.norm(dim=1).clamp(min=MIN_INTEROCULAR)
    return distance


def lip_distances(points_xy: Tensor) -> Tensor:
    """Compute the mean distance (n,) of the inner lips."""
    upper, lower = (list(points) for points in zip(*INNER_LIP_PAIRS, strict=True))
    return _length(points_xy[:, upper] - points_xy[:, lower]).mean(dim=1)


def eye_openness(points_xy: Tensor, eye: tuple[int, ...], true_xy: Tensor) -> Tensor:
    """Compute the eye aspect ratio (n,) of an eye, with the true distance of its corners, so that it is never tiny."""
    corner, first, second, other_corner, below_second, below_first = eye
    lids = _length(points_xy[:, first] - points_xy[:, below_first])
    lids = lids + _length(points_xy[:, second] - points_xy[:, below_second])
    width = _length(true_xy[:, corner] - true_xy[:, other_corner])
    return lids / (2 * width.clamp(min=MIN_INTEROCULAR / 3))


def _length(difference: Tensor) -> Tensor:
    """Length of vectors, whose gradient is finite at 0."""
    return (difference.square().sum(dim=-1) + 1e-8).sqrt()
