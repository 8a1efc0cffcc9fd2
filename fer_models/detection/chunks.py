"""How many images a detector processes at once."""

import numpy as np

TILES_PER_FRAME = 8  # small images processed at once for each frame
MAX_TILE_PX = 128


def tiles_per_frame(pixels: np.ndarray) -> int:
    """By how much chunks of images `(n, h, w, 3)` are larger than those of frames: small images need less memory.

    >>> tiles_per_frame(np.empty((1, 128, 128, 3))), tiles_per_frame(np.empty((1, 360, 640, 3)))
    (8, 1)
    """
    return TILES_PER_FRAME if max(pixels.shape[1:3]) <= MAX_TILE_PX else 1
