"""The quality filter: which faces are seen well enough for their probabilities to count, and why others are not."""

from dataclasses import dataclass

import numpy as np

from analytics.tables.schema import QUALITY_REASONS


@dataclass(frozen=True)
class QualityConfig:
    """Thresholds from which a face counts. A measure that is unknown never rejects a face.

    The packaged model is correct on 66 % of the test images; always answering `happy` is correct on 25 %. A face counts
    as long as the model keeps half of that lead, 45 %: docs/quality.md has the measurements.

    Raises:
        ValueError: if a value is out of its range.
    """

    gate: bool = True  # False: faces still get a reason, but all classified faces count
    # The detector's own threshold: accuracy hardly depends on the score.
    min_det_score: float = 0.5
    min_face_px: float = 21.0  # 53 % correct at 24 px, 44 % at 20 px
    max_cut_off: float = 0.25  # share of the crop outside the frame: 54 % correct at 0.20, 43 % at 0.30
    # Accuracy does not fall up to here; beyond, only 17 of 3,222 test images exist.
    max_yaw_deg: float = 50.0
    min_brightness: float = 30.0  # mean gray level: 48 % correct at 30, 41 % at 25
    min_blur: float = 80.0  # variance of the Laplacian of a 48 px crop: 54 % correct at 142, 39 % at 44

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
    """The first reason in `QUALITY_REASONS` that applies to each face, as its index; -1 for a good face.

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
