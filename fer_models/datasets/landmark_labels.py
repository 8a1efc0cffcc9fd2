"""Read face crops and the landmarks that a teacher found in them.

The crops are a Parquet file with a row per crop: `image` (PNG or JPEG bytes, square) and optionally `usage`
(Training, PublicTest or PrivateTest; all rows are Training without it). The labels are a folder of Parquet files as
`fer_models/training/landmarks/label_with_mediapipe.py` writes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fer_models.datasets.fer2013_files import known_splits
from fer_models.datasets.image_folders import IMAGE_ERRORS, decode_image
from fer_models.datasets.labeled_faces import DataError
from fer_models.landmarks.network import INPUT_PX
from fer_models.landmarks.points import N_POINTS

# Labels are excluded if their points move more than this when the crop is mirrored or shifted, relative to the
# interocular distance. These limits exclude the worst twentieth of FER-2013.
MAX_MIRROR_ERROR, MAX_SHIFT_ERROR = 0.08, 0.05


@dataclass(frozen=True, eq=False)
class LabeledCrops:
    """Gray face crops with a teacher's landmarks, in shares of the crop's side."""

    pixels: np.ndarray  # (n, 48, 48) uint8
    split: np.ndarray  # (n,) int64, index into `SPLITS`
    points_xyz: np.ndarray  # (n, 70, 3) float32, mean of the teacher's passes; NaN where it found no face
    single_xyz: np.ndarray  # (n, 70, 3) float32, the teacher's landmarks of the unchanged crop
    is_consistent: np.ndarray  # (n,) bool, True if the teacher's passes agree

    @classmethod
    def join(cls, parts: "Sequence[LabeledCrops]") -> "LabeledCrops":
        """Join crops of several files; there must be at least one."""
        rows = ((p.pixels, p.split, p.points_xyz, p.single_xyz, p.is_consistent) for p in parts)
        return cls(*(np.concatenate(column) for column in zip(*rows, strict=True)))

    def select(self, rows: np.ndarray) -> "LabeledCrops":
        """Return the crops at these positions, or where a mask is True."""
        parts = (self.pixels, self.split, self.points_xyz, self.single_xyz, self.is_consistent)
        return LabeledCrops(*(part[rows] for part in parts))


def read_labeled_crops(crops: Path, labels: Path) -> LabeledCrops:
    """Read crops with their labels.

    Raises:
        DataError: if a file cannot be read or lacks a column, an image is damaged, or a label belongs to no crop.
    """
    try:
        names = [name for name in ("image", "usage") if name in pq.read_schema(crops).names]
        images = pq.read_table(crops, columns=names)
        pixels = decode_crops(crops, images["image"], "L")
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(f"{crops}: not face crops: {error}") from error
    try:
        found = pq.read_table(labels)
        row = whole_numbers(found, "row")
        errors = found["mirror_error"].to_numpy(), found["shift_error"].to_numpy()
        points_xyz, single_xyz = (_per_crop(found[name], row, len(pixels)) for name in ("points_xyz", "single_xyz"))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{labels}: not the landmarks of {crops}: {error}") from error
    is_consistent = np.zeros(len(pixels), bool)
    is_consistent[row] = (errors[0] <= MAX_MIRROR_ERROR) & (errors[1] <= MAX_SHIFT_ERROR)
    split = known_splits(crops, images["usage"]) if "usage" in names else np.zeros(len(pixels), np.int64)
    return LabeledCrops(pixels, split, points_xyz, single_xyz, is_consistent)


def whole_numbers(table: pa.Table, name: str) -> np.ndarray:
    """Return a column of whole numbers (n,).

    Raises:
        KeyError: if there is no such column.
        ValueError: if it has values of another type, or NULL.
    """
    column = table[name]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise ValueError(f"{name} must be a whole number in every row")
    values: np.ndarray = column.to_numpy()
    return values


def _per_crop(column: pa.ChunkedArray, row: np.ndarray, n_crops: int) -> np.ndarray:
    """Return the points of a column of labels for each crop (n_crops, 70, 3); NaN without a label."""
    points = np.array(column.combine_chunks().flatten(), np.float32).reshape(len(row), N_POINTS, 3)
    outside = row[(row < 0) | (row >= n_crops)]
    if len(outside):
        raise ValueError(f"there is a label of row {outside[0]}, but the crops are rows 0 to {n_crops - 1}")
    per_crop = np.full((n_crops, N_POINTS, 3), np.nan, np.float32)
    per_crop[row] = points
    return per_crop


def decode_crops(path: Path, column: pa.ChunkedArray, mode: str) -> np.ndarray:
    """Decode a column of image files at 48 px: (n, 48, 48) uint8 in mode "L", (n, 48, 48, 3) in mode "RGB".

    Raises:
        DataError: if one cannot be read.
        ValueError: if there are none.
    """
    size, crops = (INPUT_PX, INPUT_PX), []
    for row, content in enumerate(column.to_pylist(), 1):
        try:
            image = decode_image(content, mode)
        except IMAGE_ERRORS as error:
            raise DataError(f"{path}: row {row}: not a usable image: {error}") from error
        crops.append(np.asarray(image if image.size == size else image.resize(size)))
    return np.stack(crops)
