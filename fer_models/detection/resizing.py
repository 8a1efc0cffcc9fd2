"""Resize frames in integer arithmetic, with exactly the results of OpenCV's `resize` (`INTER_LINEAR`).

A network trained on images resized by OpenCV gets the same input, and results do not differ between batches, devices or
threads.
"""

import numpy as np
import torch
from torch import Tensor

WEIGHT_BITS = 11  # interpolation weights are multiples of 1/2048, as in OpenCV
# Low bits dropped after interpolating along x, as in OpenCV; 16 more are dropped after interpolating along y.
FLOOR_BITS = 4
MIN_LINEAR_SCALE = 0.5  # below this scale, bilinear interpolation would skip pixels of the image


def resize(image: Tensor, scale: float) -> Tensor:
    """Resize an `(h, w, 3)` uint8 image by `scale`, sides rounded; float32 with integer values.

    Below half size all pixels are averaged, whereas OpenCV skips some.
    """
    if scale == 1:
        return image.float()
    height_px, width_px = (max(1, round(side_px * scale)) for side_px in image.shape[:2])
    if scale < MIN_LINEAR_SCALE:
        # `interpolate` takes either a size or a scale; the size alone would stretch the image by up to a pixel.
        averaged: Tensor = torch.ops.aten._upsample_bilinear2d_aa(
            image.float().permute(2, 0, 1)[None], [height_px, width_px], False, scale, scale
        )
        return averaged[0].permute(1, 2, 0).round()
    left, right, of_left, of_right = _taps(image.shape[1], width_px, scale, image.device)
    top, bottom, of_top, of_bottom = _taps(image.shape[0], height_px, scale, image.device)
    pixels = image.int()
    across = (pixels[:, left] * of_left[:, None] + pixels[:, right] * of_right[:, None]) >> FLOOR_BITS
    above, below = across[top] * of_top[:, None, None], across[bottom] * of_bottom[:, None, None]
    return (((above >> 16) + (below >> 16) + 2) >> (2 * WEIGHT_BITS - FLOOR_BITS - 16)).float()


def _taps(from_px: int, to_px: int, scale: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each pixel of a side: its two source pixels and their weights (int32, `WEIGHT_BITS` bits)."""
    position = ((np.arange(to_px) + 0.5) * (1 / scale) - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.int64)
    share = position - first.astype(np.float32)
    taps = (
        first.clip(0, from_px - 1),
        (first + 1).clip(0, from_px - 1),
        np.rint((1 - share) * 2**WEIGHT_BITS).astype(np.int32),
        np.rint(share * 2**WEIGHT_BITS).astype(np.int32),
    )
    first_tap, second_tap, of_first, of_second = (torch.from_numpy(tap).to(device) for tap in taps)
    return first_tap, second_tap, of_first, of_second
