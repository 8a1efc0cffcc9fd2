"""Augmentation of training batches: geometry, contrast, random erasing and mixup."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fer_models.classification.normalization import MEAN, STD


@dataclass(frozen=True)
class Strength:
    """Strength of each augmentation: a value x means the range from -x to x unless stated otherwise."""

    angle_deg: float
    scale: tuple[float, float]  # (low, high) side of the visible part, as a share of the image
    shift: float  # largest shift along x and y, as a share of half the image
    contrast: float  # largest relative change of contrast
    brightness: float  # largest change of brightness, in standard deviations of the pixels
    erased: float  # share of the images in which a rectangle is erased
    shear: float = 0.0  # largest horizontal shear: shift per distance from the horizontal axis


STRENGTHS = {
    "standard": Strength(15, (0.85, 1.15), 0.16, 0.25, 0.2, 0.25),
    "strong": Strength(20, (0.75, 1.1), 0.2, 0.4, 0.3, 0.5),
    # As in many FER-2013 projects: rotated up to 40 degrees; sheared, zoomed and shifted by a fifth; mirrored.
    "wide": Strength(40, (0.8, 1.2), 0.4, 0.0, 0.0, 0.0, shear=0.2),
}


def normalize(pixels: Tensor) -> Tensor:
    """Convert gray crops (n, h, w) uint8 to (n, 1, h, w) float32 around 0."""
    return (pixels[:, None].float() / 255 - MEAN) / STD


def resize(crops: Tensor, size_px: int) -> Tensor:
    """Resample crops (n, c, h, w) to (n, c, size_px, size_px) with antialiasing."""
    if crops.shape[2:] == (size_px, size_px):
        return crops
    return F.interpolate(crops, size=(size_px, size_px), mode="bilinear", antialias=True)


def augment(pixels: Tensor, generator: torch.Generator, size_px: int, strength: Strength) -> Tensor:
    """Augment normalized crops (n, c, h, w); returns (n, c, size_px, size_px).

    Half of the crops are mirrored. All are rotated, sheared, scaled and shifted, and change in contrast and brightness;
    in some, a rectangle is erased (random erasing, Zhong et al. 2020, arXiv:1708.04896).

    With a CPU generator, a seed gives the same values on every device; with a GPU generator, nothing is copied.
    """
    n, channels = pixels.shape[:2]

    def uniform(low: float, high: float) -> Tensor:
        return (draw_uniform((n,), generator) * (high - low) + low).to(pixels.device)

    angle = torch.deg2rad(uniform(-strength.angle_deg, strength.angle_deg))
    scale = uniform(*strength.scale)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    shift_x, shift_y = uniform(-strength.shift, strength.shift), uniform(-strength.shift, strength.shift)
    # Random numbers are drawn only if needed, so that those drawn later are the same for all strengths without shear.
    shear = uniform(-strength.shear, strength.shear) if strength.shear else torch.zeros_like(cos)
    rows = [cos * mirror, cos * shear - sin, shift_x], [sin * mirror, sin * shear + cos, shift_y]
    affine = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = F.affine_grid(affine, [n, channels, size_px, size_px], align_corners=False)
    varied = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    contrast = uniform(1 - strength.contrast, 1 + strength.contrast)[:, None, None, None]
    brightness = uniform(-strength.brightness, strength.brightness)[:, None, None, None]
    return erase_rectangles(varied * contrast + brightness, generator, strength.erased)


def draw_uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniform values in [0, 1), on the device of the generator."""
    return torch.rand(shape, generator=generator, device=generator.device)


def erase_rectangles(pixels: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """Set a rectangle of 4 to 25 % of the area to zero (the mean gray) in a share of the crops (n, c, h, w).

    Its center is anywhere in the crop; the part that lies outside is cut off.
    """
    n, _, h, w = pixels.shape
    side = draw_uniform((n, 2), generator) * 0.3 + 0.2  # height and width of the rectangles, 0.2 to 0.5 of the image
    center = draw_uniform((n, 2), generator)
    side = side * (draw_uniform((n,), generator) < share)[:, None]
    y, x = ((torch.arange(size, device=generator.device) + 0.5) / size for size in (h, w))
    inside_y = (y[None] - center[:, :1]).abs() < side[:, :1] / 2
    inside_x = (x[None] - center[:, 1:]).abs() < side[:, 1:] / 2
    inside = inside_y[:, :, None] & inside_x[:, None, :]
    return pixels.masked_fill(inside[:, None].to(pixels.device), 0.0)


def mix_up(crops: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix every crop and its target with another one of the batch (Zhang et al. 2018, arXiv:1710.09412).

    The share of the other image is drawn from Beta(alpha, alpha), for each crop.
    """
    n = len(crops)
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    share = torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, n).astype(np.float32)).to(crops.device)
    other = torch.randperm(n, generator=generator, device=generator.device).to(crops.device)
    mixed = torch.lerp(crops, crops[other], share[:, None, None, None])
    return mixed, torch.lerp(targets, targets[other], share[:, None])
