"""The quality gate: which faces are seen well enough for their probabilities to count, and why the others are not."""

from dataclasses import dataclass

import numpy as np

from analytics.schema import QUALITY_REASONS


@dataclass(frozen=True)
class QualityConfig:
    """From where on a face counts. A measure that is not known never rejects a face.

    Raises:
        ValueError: if a value is out of its range.
    """

    gate: bool = True  # False: faces still get their reason, but all that are classified count
    min_det_score: float = 0.5  # below it, false hits are common
    min_face_px: float = 24.0  # half the 48 px of FER-2013: what is smaller has lost the mouth and the brows
    max_cut_off: float = 0.2  # share of the crop outside the frame: a fifth already hides the brows or the mouth
    max_yaw_deg: float = 50.0  # beyond it the far eye and corner of the mouth disappear
    min_brightness: float = 25.0  # mean grey level below which noise is stronger than the face
    min_blur: float = 20.0  # variance of the Laplacian of a 48 px crop

    def __post_init__(self) -> None:
        for name, highest in (("min_det_score", 1), ("max_cut_off", 1), ("max_yaw_deg", 90), ("min_brightness", 255)):
            if not 0 <= getattr(self, name) <= highest:
                raise ValueError(f"{name} must be in [0, {highest}], got {getattr(self, name)}")
        for name in ("min_face_px", "min_blur"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


def gate_quality(
    *,
    det_score: np.ndarray,
    face_px: np.ndarray,
    cut_off: np.ndarray,
    yaw_deg: np.ndarray,
    brightness: np.ndarray,
    blur: np.ndarray,
    config: QualityConfig,
) -> np.ndarray:
    """The first reason in `QUALITY_REASONS` against each face, as its place there; -1 for a good face.

    All measures are `(m,)` floats in the units of the table faces, NaN where not known; the result is `(m,)` int8.
    """
    rejected = {
        "low_detection_score": det_score < config.min_det_score,
        "too_small": face_px < config.min_face_px,
        "cut_off": cut_off > config.max_cut_off,
        "turned_away": np.abs(yaw_deg) > config.max_yaw_deg,
        "dark": brightness < config.min_brightness,
        "blurred": blur < config.min_blur,
    }
    return np.select([rejected[reason] for reason in QUALITY_REASONS], range(len(QUALITY_REASONS)), -1).astype(np.int8)
