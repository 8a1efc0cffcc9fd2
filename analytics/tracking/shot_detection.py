"""Detect shot boundaries (hard cuts): frames that differ strongly from the one before. Tracks end there."""

from dataclasses import dataclass

import numpy as np

from analytics.time_tolerance import is_longer


@dataclass(frozen=True)
class ShotDetectionConfig:
    """Thresholds of shot detection.

    Raises:
        ValueError: if a value is out of its range.
    """

    # Mean change of the thumbnail that counts as a cut. In the clips on which it was chosen, cuts change it by 35 to
    # 142, the fastest camera pan by 16, and everything else by less than 8.
    min_change: float = 25.0
    # Longest time between two frames that are compared; across longer gaps, a change is no evidence of a cut.
    max_step_s: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.min_change <= 255:
            raise ValueError(f"min_change must be in (0, 255], got {self.min_change}")
        if not self.max_step_s > 0:
            raise ValueError(f"max_step_s must be positive, got {self.max_step_s}")


def find_shot_boundaries(pts_s: np.ndarray, thumbnail_rgb: np.ndarray, config: ShotDetectionConfig) -> np.ndarray:
    """Whether a hard cut lies between each frame and the one before it that could be decoded.

    Args:
        pts_s: (n,) times of the frames, increasing.
        thumbnail_rgb: (n, 48) levels of red, green and blue, NaN for a frame that could not be decoded.
        config: the settings.

    Returns:
        (n,) bool; the first frame is never one.

    >>> find_shot_boundaries(np.array([0.0, 0.1, 0.2]), np.array([[10.0], [11.0], [90.0]]), ShotDetectionConfig())
    array([False, False,  True])
    >>> find_shot_boundaries(np.array([0.6, 1.1]), np.array([[10.0], [90.0]]), ShotDetectionConfig())
    array([False,  True])
    """
    is_shot_boundary = np.zeros(len(pts_s), bool)
    decoded = np.flatnonzero(~np.isnan(thumbnail_rgb).any(axis=1))
    change = np.abs(np.diff(thumbnail_rgb[decoded], axis=0)).mean(axis=1)
    is_near = ~is_longer(np.diff(pts_s[decoded]), config.max_step_s)
    is_shot_boundary[decoded[1:]] = (change >= config.min_change) & is_near
    return is_shot_boundary
