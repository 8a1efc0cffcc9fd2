"""FER-2013 with the FER+ votes: the images and their labels."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

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
