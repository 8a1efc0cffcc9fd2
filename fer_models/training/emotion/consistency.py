"""Consistency training: a face should get the same probabilities in adjacent frames of a video.

Two augmented views of a face differ as two adjacent frames do: by a small motion, a slight change of expression,
exposure, noise and compression. The loss is the divergence between the network's outputs for the two views (as in
Xie et al. 2020, "Unsupervised Data Augmentation for Consistency Training", arXiv:1904.12848). It needs no labels, so
faces from any photographs can be used.
"""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fer_models.boxes import face_size_px
from fer_models.crops import crop_faces, frame_crops, to_gray
from fer_models.datasets.face_photos import FaceDataError, read_photos
from fer_models.labels import EMOTIONS
from fer_models.training.emotion.augmentation import draw_uniform, normalize

MIN_SCORE, MIN_FACE_PX = 0.75, 28  # unlabeled faces with a lower score or a smaller size are not used
# Largest rotation, and largest relative change of size, aspect ratio, position and shear, from one frame to the next.
ANGLE_DEG, SCALE, ASPECT, SHIFT, SHEAR = 5.0, 0.06, 0.04, 0.08, 0.04
# Largest displacement of a smooth random warp, in halves of the crop, and the points of its grid along each side.
WARP, WARP_POINTS = 0.05, 4
# Largest relative change of contrast; largest change of brightness and noise in standard deviations.
CONTRAST, BRIGHTNESS, MAX_NOISE = 0.12, 0.15, 0.12
MIN_SIDE_PX = 20  # half of the views are shrunk to a side between this and the input size, and enlarged again
JPEG_QUALITY = (30, 90)  # the other half of the views are compressed as JPEG with a quality in this range
# Temperature at which the two views are compared. It is near the one that calibration finds, because networks trained
# by these recipes are underconfident.
TEMPERATURE = 0.6


def read_unlabeled_faces(path: Path) -> Tensor:
    """Read gray crops (n, 48, 48) uint8 of the confident faces in a Parquet file of photographs with face boxes.

    The crops are framed as in video analysis. Photographs that detector training holds out are excluded.

    Raises:
        FaceDataError: if the file cannot be used, or has no confident face.
    """
    crops = []
    for photo in read_photos(path):
        confident = (photo.score >= MIN_SCORE) & (face_size_px(photo.boxes_xyxy) >= MIN_FACE_PX)
        if photo.held_out or not confident.any():
            continue
        side, center = frame_crops(
            torch.from_numpy(photo.boxes_xyxy[confident]), torch.from_numpy(photo.landmarks_xy[confident])
        )
        frame = torch.zeros(len(side), dtype=torch.int64)
        rgb = crop_faces(torch.from_numpy(photo.pixels)[None], frame, side, center)
        crops.append(to_gray(rgb).round().to(torch.uint8))
    if not crops:
        raise FaceDataError(f"{path}: no face scores {MIN_SCORE} or more and is {MIN_FACE_PX} px or larger")
    return torch.cat(crops)


def next_frame_view(pixels: Tensor, generator: torch.Generator, size_px: int) -> Tensor:
    """Augment gray crops (n, h, w) uint8 like the next frame of a video; returns normalized (n, 1, size_px, size_px).

    With a CPU generator, a seed gives the same values on every device.
    """
    n = len(pixels)

    def uniform(half: float) -> Tensor:
        return ((draw_uniform((n,), generator) * 2 - 1) * half).to(pixels.device)

    compressed = draw_uniform((n,), generator) < 0.5
    crops = normalize(recompress(pixels, compressed, generator))
    angle = torch.deg2rad(uniform(ANGLE_DEG))
    width = 1 + uniform(SCALE)
    height = width * (1 + uniform(ASPECT))
    rows = (
        (angle.cos() * width, uniform(SHEAR) - angle.sin() * height, uniform(SHIFT)),
        (angle.sin() * width, angle.cos() * height, uniform(SHIFT)),
    )
    affine = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = F.affine_grid(affine, [n, 1, size_px, size_px], align_corners=False)
    warp = (draw_uniform((n, 2, WARP_POINTS, WARP_POINTS), generator).to(pixels.device) * 2 - 1) * WARP
    grid = grid + F.interpolate(warp, size=(size_px, size_px), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    views = F.grid_sample(crops, grid, mode="bilinear", padding_mode="border", align_corners=False)
    views = torch.where(compressed.to(views.device)[:, None, None, None], views, lose_detail(views, generator))
    views = views * (1 + uniform(CONTRAST))[:, None, None, None] + uniform(BRIGHTNESS)[:, None, None, None]
    noise = torch.randn(views.shape, generator=generator, device=generator.device).to(views.device)
    return views + noise * (uniform(MAX_NOISE).abs())[:, None, None, None]


def recompress(pixels: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Compress the gray crops (n, h, w) uint8 that are `chosen` (n,) as JPEG, each with a random quality."""
    lowest, highest = JPEG_QUALITY
    quality = (lowest + draw_uniform((len(pixels),), generator) * (highest - lowest)).long().tolist()
    out = pixels.clone()
    for i in torch.nonzero(chosen).flatten().tolist():
        with io.BytesIO() as file:
            Image.fromarray(pixels[i].cpu().numpy()).save(file, "JPEG", quality=quality[i])
            out[i] = torch.from_numpy(np.array(Image.open(file)))
    return out


def lose_detail(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Shrink crops (n, 1, size, size) to a random size, the same for the whole batch, and enlarge them again."""
    size_px = crops.shape[-1]
    least = min(MIN_SIDE_PX, size_px)
    side_px = least + int(draw_uniform((1,), generator).item() * (size_px - least))
    small = F.interpolate(crops, size=(side_px, side_px), mode="bilinear", antialias=True)
    return F.interpolate(small, size=(size_px, size_px), mode="bilinear")


def consistency_loss(first: Tensor, second: Tensor) -> Tensor:
    """Symmetric KL divergence between the logits (n, 7 x heads) of two views, a scalar.

    The mean over the heads and, if there are several, over their average, which is what the final model computes.
    """
    pairs = [_log_probabilities(logits) for logits in (first, second)]
    divergence = (pairs[0].exp() - pairs[1].exp()) * (pairs[0] - pairs[1])
    loss: Tensor = divergence.sum(dim=2).mean()
    return loss


def _log_probabilities(logits: Tensor) -> Tensor:
    """Convert logits (n, 7 x heads) to log probabilities (n, heads, 7), plus a row for the average of several."""
    heads = logits.float().unflatten(1, (-1, len(EMOTIONS)))
    if heads.shape[1] > 1:
        heads = torch.cat([heads, heads.mean(dim=1, keepdim=True)], dim=1)
    log_probabilities: Tensor = (heads / TEMPERATURE).log_softmax(dim=2)
    return log_probabilities
