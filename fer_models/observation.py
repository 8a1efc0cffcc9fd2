"""Observations of the frames of a video (pass 1) as arrays; imports no torch, unlike the module `observe`."""

from dataclasses import dataclass

import numpy as np

from fer_models.frame_batch import FaceBatch, FaceLandmarks


@dataclass(frozen=True, eq=False)
class Observation:
    """The n sampled frames of one segment, and the m faces found in them."""

    frame_index: np.ndarray  # (n,) int64, index of each frame in the video
    pts_s: np.ndarray  # (n,) float64, presentation time
    decoded: np.ndarray  # (n,) bool, False where the frame could not be decoded
    # (n, 48) uint8, RGB thumbnail of each frame, see `thumbnails.frame_thumbnail`; zeros where not decoded
    thumbnail_rgb: np.ndarray
    faces: FaceBatch  # the faces, ordered by frame; their `frame` is an index among the n frames
    probabilities: np.ndarray  # (m, 7) float32, calibrated, in the order of `EMOTIONS`; NaN where not known
    blur: np.ndarray  # (m,) float32, variance of the Laplacian of the gray crop; NaN where not known
    brightness: np.ndarray  # (m,) float32, mean gray level of the crop, 0 to 255; NaN where not known
    cut_off: np.ndarray  # (m,) float32, share of the crop that lies outside the frame; NaN where not known
    # (n,) bool, True where faces were detected on the full frame, not in close-ups; None where this is not known
    is_full: np.ndarray | None = None
    # (m, 60) uint8, colors of face and clothes, see `crops.appearance_descriptors`; None where not known
    appearance: np.ndarray | None = None
    # (m, 3) float32: p_other, valence, arousal; NaN or None where the model has no such output
    further: np.ndarray | None = None
    landmarks: FaceLandmarks | None = None  # measures from the landmarks; None without a landmark network
