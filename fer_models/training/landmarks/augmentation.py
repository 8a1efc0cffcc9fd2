"""Random changes of face crops and their landmarks, on whole batches.

The training images are framed nearly, but not exactly, like the crops of the pipeline, and they are sharper and better
lit than faces in video. Shifts, scales and rotations cover errors of the detector's alignment; blur, low resolution,
JPEG blocks, noise and brightness cover video.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fer_models.landmarks.points import MIRRORED_POSE_SIGNS, mirror_points

MAX_ROTATION_DEG, MAX_SHIFT, MAX_LOG_SCALE = 12.0, 0.06, 0.14
BLOCK_PX = 8  # side of the blocks of JPEG
MIN_RESOLUTION_PX = 24
OCCLUDED_SHARE = (0.15, 0.4)  # smallest and largest side of an occluding rectangle, as a share of the crop's side


@dataclass(frozen=True, eq=False)
class LandmarkTargets:
    """Target outputs of the network for n crops."""

    points_xy: Tensor  # (n, 70, 2) float32, shares of the side; arbitrary where `is_known` is False
    pose_deg: Tensor  # (n, 3) float32
    is_known: Tensor  # (n,) bool, True for crops with a known face


def augment(gray: Tensor, targets: LandmarkTargets, generator: torch.Generator) -> tuple[Tensor, LandmarkTargets]:
    """Change crops (n, 48, 48) float32, 0 to 255, and their targets at random."""
    gray, targets = _mirror_some(gray, targets, generator)
    gray, targets = _move(gray, targets, generator)
    gray = _reduce_resolution(gray, generator)
    gray = _blur(gray, generator)
    gray = _change_light(gray, generator)
    gray = _occlude_some(gray, generator)
    return _compress_some(gray, generator), targets


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _chance(n: int, share: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) < share


def _mirror_some(gray: Tensor, targets: LandmarkTargets, generator: torch.Generator) -> tuple[Tensor, LandmarkTargets]:
    mirrored = _chance(len(gray), 0.5, generator)
    points = mirror_points(targets.points_xy)
    pose = targets.pose_deg * targets.pose_deg.new_tensor(MIRRORED_POSE_SIGNS)
    return (
        torch.where(mirrored[:, None, None], gray.flip(2), gray),
        LandmarkTargets(
            torch.where(mirrored[:, None, None], points, targets.points_xy),
            torch.where(mirrored[:, None], pose, targets.pose_deg),
            targets.is_known,
        ),
    )


def _move(gray: Tensor, targets: LandmarkTargets, generator: torch.Generator) -> tuple[Tensor, LandmarkTargets]:
    """Rotate, scale and shift each crop; beyond its border the last pixel repeats."""
    n = len(gray)
    angle = _uniform(n, -1, 1, generator) * _uniform(n, 0, 1, generator) * math.radians(MAX_ROTATION_DEG)
    scale = (_uniform(n, -1, 1, generator) * MAX_LOG_SCALE).exp()
    shift = torch.stack([_uniform(n, -MAX_SHIFT, MAX_SHIFT, generator) for _ in range(2)], dim=1)
    cos, sin = angle.cos(), angle.sin()
    # The order of axes makes this rotation clockwise in the image.
    turn = torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)], dim=1)
    points = (targets.points_xy - 0.5) @ (scale[:, None, None] * turn).transpose(1, 2) + 0.5 + shift[:, None]
    # For each pixel of the result, the grid has its position in the original: the inverse map, in units of half a side.
    inverse = turn.transpose(1, 2) / scale[:, None, None]
    offset = -2 * (inverse @ shift[:, :, None])
    grid = F.affine_grid(torch.cat([inverse, offset], dim=2), [n, 1, *gray.shape[1:]], align_corners=False)
    moved = F.grid_sample(gray[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
    pose = targets.pose_deg + torch.stack([torch.zeros(n), torch.zeros(n), angle.rad2deg()], dim=1)
    return moved, LandmarkTargets(points, pose, targets.is_known)


def _reduce_resolution(gray: Tensor, generator: torch.Generator) -> Tensor:
    """Show a tenth of the crops at one random lower resolution."""
    side = gray.shape[-1]
    size = int(torch.randint(MIN_RESOLUTION_PX, side, (), generator=generator))
    small = F.interpolate(gray[:, None], size=(size, size), mode="bilinear", antialias=True)
    coarse = F.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)[:, 0]
    return torch.where(_chance(len(gray), 0.1, generator)[:, None, None], coarse, gray)


def _blur(gray: Tensor, generator: torch.Generator) -> Tensor:
    """Blur an eighth of the crops with one random Gaussian."""
    sigma = float(_uniform(1, 0.4, 1.0, generator))
    offsets = torch.arange(-3.0, 4.0)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    padded = F.pad(gray[:, None], (3, 3, 3, 3), mode="replicate")
    blurred = F.conv2d(F.conv2d(padded, kernel), kernel.transpose(2, 3))[:, 0]
    return torch.where(_chance(len(gray), 0.125, generator)[:, None, None], blurred, gray)


def _change_light(gray: Tensor, generator: torch.Generator) -> Tensor:
    """Change contrast, brightness and gamma, light one side more than the other, and add noise."""
    n, side = len(gray), gray.shape[-1]
    gamma = (_uniform(n, -0.4, 0.4, generator)).exp()[:, None, None]
    gray = 255 * (gray.clamp(0, 255) / 255) ** gamma
    contrast = _uniform(n, 0.6, 1.3, generator)[:, None, None]
    brightness = _uniform(n, -45, 45, generator)[:, None, None]
    ramp = torch.linspace(-1, 1, side)
    slopes = 30 * torch.randn(2, n, 1, 1, generator=generator)
    light = slopes[0] * ramp[None, None, :] + slopes[1] * ramp[None, :, None]
    noise = _uniform(n, 0, 6, generator)[:, None, None] * torch.randn(gray.shape, generator=generator)
    mean = gray.mean(dim=(1, 2), keepdim=True)
    return (mean + contrast * (gray - mean) + brightness + light + noise).clamp(0, 255)


def _occlude_some(gray: Tensor, generator: torch.Generator) -> Tensor:
    """Hide a rectangle of a twentieth of the crops behind a uniform gray."""
    n, side = len(gray), gray.shape[-1]
    size = torch.stack([_uniform(n, *OCCLUDED_SHARE, generator) for _ in range(2)])
    low = torch.rand(2, n, generator=generator) * (1 - size)
    position = (torch.arange(side) + 0.5) / side
    inside = [(position >= low[i][:, None]) & (position < (low[i] + size[i])[:, None]) for i in range(2)]
    hidden = inside[0][:, None, :] & inside[1][:, :, None] & _chance(n, 0.05, generator)[:, None, None]
    return torch.where(hidden, _uniform(n, 0, 255, generator)[:, None, None], gray)


def _compress_some(gray: Tensor, generator: torch.Generator) -> Tensor:
    """Quantize the blocks of an eighth of the crops as JPEG does, with coarser steps for finer detail."""
    n, side = len(gray), gray.shape[-1]
    frequency = torch.arange(BLOCK_PX, dtype=torch.float32)
    cosine = torch.cos(math.pi / BLOCK_PX * (frequency[None] + 0.5) * frequency[:, None]) * math.sqrt(2 / BLOCK_PX)
    cosine[0] /= math.sqrt(2)
    blocks = gray.unfold(1, BLOCK_PX, BLOCK_PX).unfold(2, BLOCK_PX, BLOCK_PX)  # (n, rows, columns, 8, 8)
    coefficients = cosine @ blocks @ cosine.T
    strength = _uniform(n, 1, 8, generator)[:, None, None, None, None]
    step = strength * (1 + frequency[:, None] + frequency[None])
    decoded = cosine.T @ ((coefficients / step).round() * step) @ cosine
    whole = decoded.permute(0, 1, 3, 2, 4).reshape(n, side, side).clamp(0, 255)
    return torch.where(_chance(n, 0.125, generator)[:, None, None], whole, gray)
