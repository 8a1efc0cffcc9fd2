"""Training data of the compact detector: photographs with a teacher's labels, and augmented inputs drawn from them.

The parquet file holds a row per photograph: `image` (JPEG or PNG bytes), `source`, and `faces`, a list of boxes
(x1 y1 x2 y2 px) with the teacher's score and ten landmark coordinates (five x, y pairs).
"""

import hashlib
import io
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from fer_models.errors import FervidError
from fer_models.training.detector.augmentation import (
    MIN_FACE_PX,
    Picture,
    cover_faces,
    distort_colors,
    mosaic,
    random_tile,
)
from fer_models.training.detector.synthetic_text import add_words, title_card
from fer_models.training.detector.targets import assign_targets, face_size_px

MAX_PHOTO_SIDE_PX = 800
# Shares of the inputs that are title cards, mosaics of four tiles, and images with text drawn over them.
TITLE_SHARE, MOSAIC_SHARE, LETTERED_SHARE = 0.04, 0.34, 0.15
# Every so many batches, one has a quarter of the inputs at twice the width and height, which fits close-ups.
LARGE_EVERY = 5
TRAP_WEIGHT = 3.0
# A source counts by the square root of its number of photographs; these show few kinds of scene and count less.
NARROW_SOURCES = {"street_fashion_ccp": 0.4, "muxspace": 0.35, "pedestrians_lschen": 0.6}
# In photographs of people, detections of medium score are mostly faces; elsewhere mostly animals or patterns.
PEOPLE_SOURCES = {
    "street_fashion_ccp",
    "pedestrians_lschen",
    "muxspace",
    "mask_wearing",
    "azure_face",
    "human_samples",
    "detector_demos",
}
MASKED_SOURCES = {"mask_wearing"}
MIN_SCORE_PEOPLE, MIN_SCORE_ELSEWHERE = 0.55, 0.8


class FaceDataError(FervidError):
    """A file of training photographs cannot be used."""


@dataclass(frozen=True, eq=False)
class Photo(Picture):
    """A photograph with the faces that the teacher found."""

    score: np.ndarray  # (k,) float32, detection score of each face
    source: str
    held_out: bool
    # (t, 4) float32, pixels: hard negatives, the false positives of the initial model
    traps_xyxy: np.ndarray = field(default_factory=lambda: np.empty((0, 4), np.float32))


def read_photos(path: Path) -> list[Photo]:
    """Decode all photographs of the file; about one in twenty is held out, chosen by a hash of its bytes.

    Raises:
        FaceDataError: if the file cannot be read, a column is missing, or an image is damaged.
    """
    try:
        rows = pq.read_table(path, columns=["image", "source", "faces"]).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise FaceDataError(f"{path}: not a Parquet file of face photographs: {error}") from error
    photos = []
    for number, row in enumerate(rows):
        try:
            photos.append(_photo_of(row))
        except (UnidentifiedImageError, OSError, KeyError, TypeError, ValueError) as error:
            raise FaceDataError(f"{path}: row {number} is not a photograph with faces: {error}") from error
    if not photos:
        raise FaceDataError(f"{path}: holds no photograph")
    return photos


def _photo_of(row: dict[str, Any]) -> Photo:
    image = Image.open(io.BytesIO(row["image"])).convert("RGB")
    full_width = image.width
    image.thumbnail((MAX_PHOTO_SIDE_PX, MAX_PHOTO_SIDE_PX))
    scale = image.width / full_width
    faces = row["faces"] or []
    boxes = np.array([[face[key] for key in ("x1", "y1", "x2", "y2")] for face in faces], np.float32).reshape(-1, 4)
    landmarks = np.array([face["landmarks"] for face in faces], np.float32).reshape(-1, 5, 2)
    score = np.array([face["score"] for face in faces], np.float32)
    min_score = MIN_SCORE_PEOPLE if row["source"] in PEOPLE_SOURCES else MIN_SCORE_ELSEWHERE
    sure = (score >= min_score) & (face_size_px(boxes) * scale >= MIN_FACE_PX)
    held_out = int.from_bytes(hashlib.sha256(row["image"]).digest()[:4], "big") % 20 == 0
    return Photo(np.array(image), boxes * scale, landmarks * scale, sure, score, row["source"], held_out)


def photo_weights(photos: list[Photo]) -> np.ndarray:
    """Sampling probability of each photograph, `(n,)`: large and narrow sources count less than their share.

    A photograph with hard negatives and without faces is drawn more often.
    """
    count = Counter(photo.source for photo in photos)
    weight = np.array([NARROW_SOURCES.get(p.source, 1.0) / math.sqrt(count[p.source]) for p in photos])
    weight *= [TRAP_WEIGHT if len(p.traps_xyxy) and not p.sure.any() else 1.0 for p in photos]
    share: np.ndarray = weight / weight.sum()
    return share


class FaceInputs(Dataset[dict[str, Tensor]]):
    """An endless series of inputs, each of which depends only on the seed, its number and its size."""

    def __init__(self, photos: list[Photo], *, seed: int):
        self.photos, self.seed = photos, seed
        self.cumulative = np.cumsum(photo_weights(photos))

    def __getitem__(self, number_and_size: tuple[int, int]) -> dict[str, Tensor]:
        """`pixels` (3, size, size) uint8 and the arrays of `assign_targets`, as tensors."""
        number, size = number_and_size
        rng = np.random.default_rng((self.seed, number))
        kind = rng.random()
        if kind < TITLE_SHARE:
            tile = title_card(size, rng)
        elif kind < TITLE_SHARE + MOSAIC_SHARE:
            x, y = rng.integers(int(size * 0.35), int(size * 0.65), 2).tolist()
            sizes = [(x, y), (size - x, y), (x, size - y), (size - x, size - y)]
            tile = mosaic([self._tile(size_px, rng) for size_px in sizes], (x, y), size)
        else:
            tile = self._tile((size, size), rng)
        tile = cover_faces(tile, rng)
        if rng.random() < LETTERED_SHARE:
            tile = add_words(tile, rng)
        pixels = distort_colors(tile.pixels, rng)
        targets = assign_targets(tile.boxes_xyxy, tile.landmarks_xy, tile.sure, size, size)
        arrays = {"pixels": np.ascontiguousarray(pixels.transpose(2, 0, 1)), **targets}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _tile(self, size_px: tuple[int, int], rng: np.random.Generator) -> Picture:
        photo = self.photos[min(int(np.searchsorted(self.cumulative, rng.random())), len(self.photos) - 1)]
        return random_tile(photo, size_px, rng, photo.traps_xyxy)


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The (number, size) of the inputs of each batch of an epoch; a resumed run draws the same ones.

    Every batch has the same number of pixels: `batch_size` inputs of `size_px`, or a quarter as many at twice the size.
    """

    def __init__(self, batches: int, batch_size: int, size_px: int):
        self.batches, self.batch_size, self.size_px = batches, batch_size, size_px
        self.epoch = 0
        self.sampler = self  # where Lightning looks for `set_epoch`

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in range(self.epoch * self.batches, (self.epoch + 1) * self.batches):
            large = batch % LARGE_EVERY == LARGE_EVERY - 1
            inputs = max(1, self.batch_size // 4) if large else self.batch_size
            size_px = 2 * self.size_px if large else self.size_px
            yield [(batch * self.batch_size + i, size_px) for i in range(inputs)]

    def __len__(self) -> int:
        return self.batches
