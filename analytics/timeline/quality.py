"""The quality filter: reject faces whose probabilities are unreliable, each with a reason."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from analytics.tables.schema import QUALITY_REASONS, SPEECH_REASONS

SpeechMode = Literal["include", "exclude", "only"]

# Highest value of each threshold with a bounded range; the lowest is 0.
_HIGHEST = {
    "min_det_score": 1,
    "max_cut_off": 1,
    "max_yaw_deg": 90,
    "max_pitch_deg": 90,
    "min_brightness": 255,
    "min_landmark_score": 1,
}


@dataclass(frozen=True)
class QualityConfig:
    """Thresholds of the quality filter. An unknown measure never rejects a face.

    Faces count as long as the model keeps at least half of its advantage in accuracy over the majority-class baseline.
    The thresholds are at or stricter than the limit of this rule for both packaged models, except those of head pose
    and detection score, which too few images can show. The measurements are in docs/quality.md.

    Raises:
        ValueError: if a value is out of its range.
    """

    gate: bool = True  # False: faces still get a quality_reason, but all classified faces count
    speech: SpeechMode = "include"  # whether faces in intervals of speaking-like mouth movement count, or only those
    # Runs replace this value by the threshold of their detector: too few test images have low scores to derive a limit
    # from accuracy.
    min_det_score: float = 0.5
    min_face_px: float = 21.0  # smallest size of a face: square root of the area of its box
    max_cut_off: float = 0.25  # largest share of the crop that may lie outside the frame
    # Largest head turn to either side, and largest pitch, up or down. Too few test images show turned heads to derive
    # these limits from accuracy.
    max_yaw_deg: float = 50.0
    max_pitch_deg: float = 40.0
    min_brightness: float = 30.0  # smallest mean gray level of the crop
    min_blur: float = 50.0  # smallest variance of the Laplacian of the crop at 48 px
    # Smallest score of the landmarks: below it, faces are occluded, seen from behind or in profile, or no faces.
    # Movements need a score of 0.5, see `MovementConfig`.
    min_landmark_score: float = 0.05

    def __post_init__(self) -> None:
        if self.speech not in get_args(SpeechMode):
            raise ValueError(f"speech must be one of {', '.join(get_args(SpeechMode))}, got {self.speech!r}")
        if self.speech != "include" and not self.gate:
            raise ValueError(f"speech {self.speech} needs the quality filter: without it, all faces count")
        for name, highest in _HIGHEST.items():
            if not 0 <= getattr(self, name) <= highest:
                raise ValueError(f"{name} must be in [0, {highest}], got {getattr(self, name)}")
        for name in ("min_face_px", "min_blur"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class QualityMeasures:
    """Inputs of the filter for m faces, each (m,) float, in the units of the columns of faces; NaN where not known."""

    det_score: np.ndarray
    face_px: np.ndarray
    cut_off: np.ndarray
    yaw_deg: np.ndarray
    head_pitch_deg: np.ndarray
    brightness: np.ndarray
    blur: np.ndarray
    landmark_score: np.ndarray


def gate_quality(faces: QualityMeasures, config: QualityConfig) -> np.ndarray:
    """The first reason in `QUALITY_REASONS` that applies to each face, as its index (m,) int8; -1 for a good face."""
    rejected = {
        "low_detection_score": faces.det_score < config.min_det_score,
        "too_small": faces.face_px < config.min_face_px,
        "cut_off": faces.cut_off > config.max_cut_off,
        "turned_away": np.abs(faces.yaw_deg) > config.max_yaw_deg,
        "looking_up": faces.head_pitch_deg > config.max_pitch_deg,
        "looking_down": faces.head_pitch_deg < -config.max_pitch_deg,
        "dark": faces.brightness < config.min_brightness,
        "blurred": faces.blur < config.min_blur,
        "low_landmark_score": faces.landmark_score < config.min_landmark_score,
    }
    return np.select([rejected[reason] for reason in QUALITY_REASONS], range(len(QUALITY_REASONS)), -1).astype(np.int8)


def speech_reasons(is_speaking: np.ndarray, is_measured: np.ndarray, speech: SpeechMode) -> np.ndarray:
    """Reasons to leave faces out for speech, as indices in `(*QUALITY_REASONS, *SPEECH_REASONS)`; -1 if they count.

    A face whose mouth movement was not measured is not known to speak: `exclude` keeps it, `only` leaves it out.

    Args:
        is_speaking: (m,) bool, whether each face is in an interval of speaking; False where not measured.
        is_measured: (m,) bool, whether that could be found.
        speech: the setting.

    Returns:
        (m,) int8.
    """
    speaking, not_speaking, not_measured = range(len(QUALITY_REASONS), len(QUALITY_REASONS) + len(SPEECH_REASONS))
    reasons = {
        "include": np.full(len(is_speaking), -1),
        "exclude": np.where(is_speaking, speaking, -1),
        "only": np.where(is_speaking, -1, np.where(is_measured, not_speaking, not_measured)),
    }
    return reasons[speech].astype(np.int8)
