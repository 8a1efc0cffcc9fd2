"""Detect shot boundaries (hard cuts): frames that differ strongly from the one before. Tracks end there."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ShotDetectionConfig:
    """Thresholds of shot detection.

    Raises:
        ValueError: if a value is out of its range.
    """

    # Mean change of the thumbnail that counts as a cut. In the clips on which it was chosen, cuts change it by 35 to
    # 142, the fastest camera pan by 16, and everything else by less than 8. From one second to the next, a moving
    # camera changes it by up to 33.
    min_change: float = 25.0

    def __post_init__(self) -> None:
        if not 0 < self.min_change <= 255:
            raise ValueError(f"min_change must be in (0, 255], got {self.min_change}")


def find_shot_boundaries(thumbnail_rgb: np.ndarray, config: ShotDetectionConfig) -> np.ndarray:
    """Whether a hard cut lies between each frame and the one before it that could be decoded.

    Frames are compared however much time lies between them. A missed cut may merge two people into one track. After a
    false one, where the camera moved a lot in between, people can still be recognized by their appearance.

    Args:
        thumbnail_rgb: (n, 48) levels of red, green and blue, NaN for a frame that could not be decoded.
        config: the settings.

    Returns:
        (n,) bool; the first frame is never one.

    >>> find_shot_boundaries(np.array([[10.0], [11.0], [np.nan], [90.0]]), ShotDetectionConfig())
    array([False, False, False,  True])
    """
    is_shot_boundary = np.zeros(len(thumbnail_rgb), bool)
    decoded = np.flatnonzero(~np.isnan(thumbnail_rgb).any(axis=1))
    change = np.abs(np.diff(thumbnail_rgb[decoded], axis=0)).mean(axis=1)
    is_shot_boundary[decoded[1:]] = change >= config.min_change
    return is_shot_boundary
