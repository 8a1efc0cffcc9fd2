"""FER-2013 with the FER+ votes: the images, their labels, and the augmentation of training batches."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fer_models.labels import EMOTIONS

SPLITS = ("Training", "PublicTest", "PrivateTest")
VOTE_COLUMNS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")  # in the order of EMOTIONS


class DataError(Exception):
    """A data set cannot be read or does not hold what it must."""


@dataclass(frozen=True, eq=False)
class FaceImages:
    """Labelled grey faces of one split."""

    pixels: Tensor  # (n, 48, 48) uint8
    label: Tensor  # (n,) int64, index into EMOTIONS
    votes: Tensor  # (n, 7) float32, share of the votes; the label's row where there are no usable votes
    row: Tensor  # (n,) int64, row in the file
    is_copy: Tensor  # (n,) bool: the same pixels stand in an earlier row

    def __len__(self) -> int:
        return len(self.pixels)


def read_fer2013(path: Path) -> dict[str, FaceImages]:
    """The three splits of FER-2013 from its Parquet file.

    Raises:
        DataError: if the file is missing, unreadable, or lacks a column, a split or an emotion.
    """
    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error
    needed = ["image", "label", "usage", "pixel_exact", *(f"votes_{v}" for v in VOTE_COLUMNS)]
    if missing := [name for name in needed if name not in table.column_names]:
        raise DataError(f"{path}: columns missing: {', '.join(missing)}")
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(png.as_py())).convert("L")) for png in table["image"]])
    label = table["label"].to_numpy().astype(np.int64)
    votes = np.stack([table[f"votes_{v}"].to_numpy() for v in VOTE_COLUMNS], axis=1).astype(np.float32)
    votes[~table["pixel_exact"].to_numpy()] = 0  # these rows' votes may belong to another picture
    n_votes = votes.sum(axis=1, keepdims=True)
    votes = np.where(n_votes > 0, votes / np.maximum(n_votes, 1), np.eye(len(EMOTIONS), dtype=np.float32)[label])
    usage = np.asarray(table["usage"].to_pylist())
    first_row: dict[bytes, int] = {}
    is_copy = np.array([first_row.setdefault(image.tobytes(), row) != row for row, image in enumerate(pixels)])
    splits = {}
    for split in SPLITS:
        rows = np.flatnonzero(usage == split)
        if absent := [EMOTIONS[i] for i in range(len(EMOTIONS)) if not (label[rows] == i).any()]:
            raise DataError(f"{path}: split {split} has no picture of: {', '.join(absent)}")
        arrays = (pixels[rows], label[rows], votes[rows], rows, is_copy[rows])
        splits[split] = FaceImages(*map(torch.from_numpy, arrays))
    return splits


def fingerprint(images: FaceImages) -> str:
    """A hash of the pixels and labels, to tell later what a model was trained on."""
    digest = hashlib.sha256(images.pixels.numpy().tobytes())
    digest.update(images.label.numpy().tobytes())
    return digest.hexdigest()[:16]


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Vary a batch of normalised crops (n, 1, h, w) as cameras and detectors vary them.

    Mirror half of them; turn by up to 15°, scale by up to 15 %, shift by up to 8 %; change contrast by up to 25 % and
    brightness by up to 0.2; blank a rectangle in a quarter (random erasing, Zhong et al. 2020, arXiv:1708.04896).
    """
    n, _, h, w = pixels.shape

    def uniform(low: float, high: float) -> Tensor:
        # Drawn on the CPU, so that a seed means the same on every device.
        return (torch.rand(n, generator=generator) * (high - low) + low).to(pixels.device)

    angle = torch.deg2rad(uniform(-15, 15))
    scale = uniform(0.85, 1.15)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    affine = torch.stack(
        [
            torch.stack([cos * mirror, -sin, uniform(-0.16, 0.16)], dim=1),
            torch.stack([sin * mirror, cos, uniform(-0.16, 0.16)], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(affine, [n, 1, h, w], align_corners=False)
    varied = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    contrast, brightness = uniform(0.75, 1.25)[:, None, None, None], uniform(-0.2, 0.2)[:, None, None, None]
    return erase_rectangles(varied * contrast + brightness, generator)


def erase_rectangles(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Set a rectangle of 4 to 25 % of the area to zero (the mean grey) in a quarter of the crops (n, 1, h, w)."""
    n, _, h, w = pixels.shape
    side = torch.rand(n, 2, generator=generator) * 0.3 + 0.2  # of height and width
    centre = torch.rand(n, 2, generator=generator)
    side[torch.rand(n, generator=generator) < 0.75] = 0
    y, x = (torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w
    inside_y = (y[None] - centre[:, :1]).abs() < side[:, :1] / 2
    inside_x = (x[None] - centre[:, 1:]).abs() < side[:, 1:] / 2
    inside = inside_y[:, :, None] & inside_x[:, None, :]
    return pixels.masked_fill(inside[:, None].to(pixels.device), 0.0)
