"""The quality gate: which faces are seen well enough for their probabilities to count, and why the others are not."""

from dataclasses import dataclass

import numpy as np

from analytics.tables.schema import QUALITY_REASONS


@dataclass(frozen=True)
class QualityConfig:
    """From where on a face counts. A measure that is not known never rejects a face.

    The packaged model is right on 66 % of the test pictures; always saying `happy` would be right on 25 %. A face
    counts as long as the model keeps half of that lead, 45 %: docs/quality.md has the measurements.

    Raises:
        ValueError: if a value is out of its range.
    """

    gate: bool = True  # False: faces still get their reason, but all that are classified count
    # Whether it is a face, not how well it is read: accuracy hardly depends on it. The detector's own threshold.
    min_det_score: float = 0.5
    min_face_px: float = 21.0  # 53 % right at 24, 44 % at 20
    max_cut_off: float = 0.25  # share of the crop outside the frame: without its lowest 20 % 54 % right, 30 % 43 %
    # No fall was seen, but of 3,222 pictures only 17 were turned further: nothing is known of such faces.
    max_yaw_deg: float = 50.0
    min_brightness: float = 30.0  # mean gray level: 48 % right at 30, 41 % at 25
    min_blur: float = 80.0  # variance of the Laplacian of a 48 px crop: 54 % right at 142, 39 % at 44

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
