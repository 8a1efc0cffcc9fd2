"""How many images a detector processes at once."""

import numpy as np

TILES_PER_FRAME = 8  # a detector processes this many times as many tiles at once as frames
# Images with a longer side count as frames.
MAX_TILE_PX = 128


def tiles_per_frame(pixels: np.ndarray) -> int:
    """How many of these images `(n, h, w, 3)` are processed in place of one frame: small ones need less memory.

    >>> tiles_per_frame(np.empty((1, 128, 128, 3))), tiles_per_frame(np.empty((1, 360, 640, 3)))
    (8, 1)
    """
    return TILES_PER_FRAME if max(pixels.shape[1:3]) <= MAX_TILE_PX else 1
