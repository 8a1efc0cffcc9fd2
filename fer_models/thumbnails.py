"""Thumbnails of frames, by which cuts are found."""

import numpy as np

THUMBNAIL_GRID = 4  # cells along each side of a thumbnail
THUMBNAIL_SAMPLES = 64  # pixels read along the short side of a frame to compute its thumbnail


def frame_thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Mean red, green, blue of the cells of a 4x4 grid: enough to find cuts, too little to recognize anybody.

    Args:
        pixels: (n, h, w, 3) uint8.

    Returns:
        (n, 48) uint8, the cells row by row.
    """
    step = max(1, min(pixels.shape[1:3]) // THUMBNAIL_SAMPLES)
    sampled = pixels[:, ::step, ::step].astype(np.float32)
    rows, columns = (np.arange(THUMBNAIL_GRID) * size // THUMBNAIL_GRID for size in sampled.shape[1:3])
    sums = np.add.reduceat(np.add.reduceat(sampled, rows, axis=1), columns, axis=2)
    heights, widths = np.diff(rows, append=sampled.shape[1]), np.diff(columns, append=sampled.shape[2])
    # With fewer than 4 rows or columns, some cells are empty: reduceat takes one row or column for them.
    cells: np.ndarray = sums / (np.maximum(heights, 1)[:, None] * np.maximum(widths, 1))[..., None]
    return cells.round().astype(np.uint8).reshape(len(pixels), 3 * THUMBNAIL_GRID**2)
