"""Find near-duplicate images: the same photograph with different pixels."""

from itertools import product

import numpy as np
import scipy.fft
import torch
from torch import Tensor
from torch.nn import functional as F

# Two images are near-duplicates if their hashes differ in at most this many bits and their pixels correlate at least
# this much. Of the 3,500 pairs found in FER-2013 besides exact copies, the 48 closest to the limits were inspected: 46
# showed the same photograph, two the same person a moment later. Beyond 8 bits, pairs of different people appear.
MAX_BITS = 8
MIN_CORRELATION = 0.9
# Mirrored images need a higher correlation, because faces are symmetric: of the pairs in FER-2013 with 0.90 to 0.92,
# half showed different people. Of the 48 shifted pairs with the lowest correlation, 47 showed the same photograph.
MIN_MIRRORED_CORRELATION = 0.92
SHIFTS_PX = (2, 4)  # distances by which images are shifted for comparison; the hashes tolerate one pixel more or less
COMPARED_PX = 24  # side to which images are reduced before their correlation is computed
MAP_PX = 12  # side to which images are reduced before they are hashed
# Number of hashes of each of the two sets compared at once; the matrix of differences fits into a processor's cache.
TILE = 256
# Number of pairs of images correlated at once, to limit memory.
CHUNK_PAIRS = 4096


def near_copies(pixels: Tensor) -> np.ndarray:
    """Find pairs (k, 2) int64 of near-duplicate images (n, h, w) uint8, with exact copies, without blank images.

    All pairs of hashes are compared: 36,000 images take a few seconds.
    """
    hashes = perceptual_hash(pixels)
    pairs = close_pairs(hashes, hashes)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    same = [chunk[correlation(pixels, chunk) >= MIN_CORRELATION] for chunk in split_pairs(pairs)]
    return np.concatenate(same) if same else pairs


def altered_copies(pixels: Tensor, others: Tensor) -> np.ndarray:
    """Pairs (k, 2) int64 of an image of `pixels` and one of `others` that is its mirrored or shifted copy.

    Both are (n, h, w) uint8. Shifts are by up to 5 pixels along an axis, as in other crops of one photograph. 7,000
    images against 29,000 take about 8 seconds.
    """
    found = [_same_pairs(pixels.flip(-1), others, MIN_MIRRORED_CORRELATION)]
    for axis, shift_px in product((1, 2), SHIFTS_PX):
        size = pixels.shape[axis] - shift_px
        ends = [(images.narrow(axis, 0, size), images.narrow(axis, shift_px, size)) for images in (pixels, others)]
        found += [_same_pairs(ends[0][side], ends[1][1 - side], MIN_CORRELATION) for side in (0, 1)]
    return np.unique(np.concatenate(found), axis=0)


def _same_pairs(pixels: Tensor, others: Tensor, min_correlation: float) -> np.ndarray:
    """Pairs (k, 2) of an image of `pixels` and one of `others` with similar hashes and correlated pixels."""
    both, candidates = torch.cat([pixels, others]), close_pairs(perceptual_hash(pixels), perceptual_hash(others))
    chunks = split_pairs(candidates)
    same = [chunk[correlation(both, np.add(chunk, [0, len(pixels)])) >= min_correlation] for chunk in chunks]
    return np.concatenate(same) if same else candidates


def perceptual_hash(pixels: Tensor) -> np.ndarray:
    """Hash images (n, h, w) to 64 bits (n,) uint64: the signs of the 64 lowest frequencies of a cosine transform.

    As in Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2.1, but with the
    sign instead of the median, and the frequencies ordered by their sum.
    """
    small = [F.adaptive_avg_pool2d(chunk[:, None].float(), MAP_PX)[:, 0] for chunk in pixels.split(1024)]
    waves = scipy.fft.dctn(torch.cat(small).numpy(), axes=(1, 2))
    row, column = np.indices((MAP_PX, MAP_PX)).reshape(2, -1)
    lowest = np.argsort(row + column, kind="stable")[1:65]  # the first value is left out: it is the mean of the image
    bits = waves.reshape(len(pixels), MAP_PX**2)[:, lowest] > 0
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(np.uint64)[:, 0]


def close_pairs(hashes: np.ndarray, others: np.ndarray, max_bits: int = MAX_BITS) -> np.ndarray:
    """Find pairs (k, 2) int64 of hashes (n,) and other hashes (m,) that differ in at most `max_bits` bits.

    >>> close_pairs(np.array([0b1111, 0b0000], np.uint64), np.array([0b0111, 0b1000], np.uint64), max_bits=1)
    array([[0, 0],
           [1, 1]])
    """
    pairs = [np.empty((0, 2), np.int64)]
    for i, j in product(range(0, len(hashes), TILE), range(0, len(others), TILE)):
        close = np.bitwise_count(hashes[i : i + TILE, None] ^ others[None, j : j + TILE]) <= max_bits
        # For many tiles with few pairs, `flatnonzero` is several times as fast as `argwhere`.
        first, second = np.divmod(np.flatnonzero(close), close.shape[1])
        pairs.append(np.stack([first + i, second + j], axis=1))
    return np.concatenate(pairs)


def split_pairs(pairs: np.ndarray) -> list[np.ndarray]:
    """Split pairs into chunks, to limit memory use."""
    return [pairs[start : start + CHUNK_PAIRS] for start in range(0, len(pairs), CHUNK_PAIRS)]


def correlation(pixels: Tensor, pairs: np.ndarray) -> np.ndarray:
    """Compute the correlation of the two images of each pair (k,), from -1 to 1; 0 if one is blank."""
    sides = []
    for side in torch.from_numpy(pairs).unbind(dim=1):
        gray = F.adaptive_avg_pool2d(pixels[side][:, None].float(), COMPARED_PX).flatten(1)
        sides.append(F.normalize(gray - gray.mean(dim=1, keepdim=True), eps=1.0))
    first, second = sides
    alike: np.ndarray = (first * second).sum(dim=1).numpy()
    return alike
