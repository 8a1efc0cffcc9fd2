"""Inputs of detector training: augmented tiles of photographs, and the batches of an epoch."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from fer_models.datasets.face_photos import LabeledImage, Photo
from fer_models.training.detector.augmentation import cover_faces, distort_colors, mosaic, random_tile
from fer_models.training.detector.synthetic_text import add_words, title_card
from fer_models.training.detector.targets import assign_targets

# Shares of the training inputs that are title cards, mosaics of four tiles, and images with text drawn over them.
TITLE_CARD_SHARE, MOSAIC_SHARE, TEXT_SHARE = 0.04, 0.34, 0.15
# Every fifth batch has a quarter of the inputs at twice the width and height, which trains close-ups.
LARGE_EVERY = 5
# Factor by which photographs with hard negatives and without faces are sampled more often.
HARD_NEGATIVE_WEIGHT = 3.0
# Sampling weights of sources with few kinds of scenes, in addition to the square root of their number of photographs.
NARROW_SOURCES = {"street_fashion_ccp": 0.4, "muxspace": 0.35, "pedestrians_lschen": 0.6}


def photo_weights(photos: list[Photo]) -> np.ndarray:
    """Compute the sampling probability of each photograph, `(n,)`: large and uniform sources count less.

    Photographs with hard negatives and without faces are sampled more often.
    """
    count = Counter(photo.source for photo in photos)
    weight = np.array([NARROW_SOURCES.get(p.source, 1.0) / math.sqrt(count[p.source]) for p in photos])
    weight *= [HARD_NEGATIVE_WEIGHT if len(p.hard_negatives_xyxy) and not p.is_confident.any() else 1.0 for p in photos]
    share: np.ndarray = weight / weight.sum()
    return share


class FaceInputs(Dataset[dict[str, Tensor]]):
    """Augmented inputs in any number; each depends only on the seed, its number and its size."""

    def __init__(self, photos: list[Photo], *, seed: int):
        self.photos, self.seed = photos, seed
        self.cumulative = np.cumsum(photo_weights(photos))

    def __getitem__(self, number_and_size: tuple[int, int]) -> dict[str, Tensor]:
        """Return `pixels` (3, size, size) uint8 and the arrays of `assign_targets`, as tensors."""
        number, size = number_and_size
        rng = np.random.default_rng((self.seed, number))
        kind = rng.random()
        if kind < TITLE_CARD_SHARE:
            tile = title_card(size, rng)
        elif kind < TITLE_CARD_SHARE + MOSAIC_SHARE:
            x, y = rng.integers(int(size * 0.35), int(size * 0.65), 2).tolist()
            sizes = [(x, y), (size - x, y), (x, size - y), (size - x, size - y)]
            tile = mosaic([self._tile(size_px, rng) for size_px in sizes], (x, y), size)
        else:
            tile = self._tile((size, size), rng)
        tile = cover_faces(tile, rng)
        if rng.random() < TEXT_SHARE:
            tile = add_words(tile, rng)
        pixels = distort_colors(tile.pixels, rng)
        targets = assign_targets(tile.boxes_xyxy, tile.landmarks_xy, tile.is_confident, size, size)
        arrays = {"pixels": np.ascontiguousarray(pixels.transpose(2, 0, 1)), **targets}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _tile(self, size_px: tuple[int, int], rng: np.random.Generator) -> LabeledImage:
        photo = self.photos[min(int(np.searchsorted(self.cumulative, rng.random())), len(self.photos) - 1)]
        return random_tile(photo, size_px, rng, photo.hard_negatives_xyxy)


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Yield the (number, size) of the inputs of each batch of an epoch; a resumed run yields the same ones.

    Every batch has the same number of pixels: `batch_size` inputs of `size_px`, or a quarter as many at twice the size.
    """

    def __init__(self, batches: int, batch_size: int, size_px: int):
        self.batches, self.batch_size, self.size_px = batches, batch_size, size_px
        self.epoch = 0
        self.sampler = self  # Lightning calls `sampler.set_epoch`

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
