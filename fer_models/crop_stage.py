"""Crop the faces of frames for the networks, and measure quality and appearance on the crops."""

import logging
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from fer_models.classification.classifier import EmotionClassifier
from fer_models.crops import appearance_descriptors, crop_faces, frame_crops, measure_crops, out_of_frame_fraction
from fer_models.frame_batch import FaceBatch, FrameBatch
from fer_models.landmarks.in_frame import points_in_frame
from fer_models.landmarks.landmarker import LandmarkBatch, Landmarker
from fer_models.landmarks.upright import (
    TRUSTED_SCORE,
    DetectedInFrames,
    UprightCrops,
    five_landmarks,
    turn_upright,
)
from fer_models.oom import run_with_oom_backoff

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CroppedFaces:
    """Faces, their crops, their landmarks, and what was measured on the crops."""

    faces: FaceBatch  # where a crop was turned and its landmarks are trusted, with these in place of the detector's
    crops: torch.Tensor  # (m, size, size, 3) uint8 for the classifier, on its device
    measures: np.ndarray  # (m, 3) float32: blur, brightness, share of the crop outside the frame
    appearances: np.ndarray  # (m, 60) uint8, see `appearance_descriptors`
    crop_sides: np.ndarray  # (m, 2) complex128, side and center of each crop, see `frame_crops`
    landmarks: LandmarkBatch | None  # None without a landmark network
    landmarks_s: float  # seconds spent on locating landmarks and turning crops


def crop_in_groups(
    frames: FrameBatch, faces: FaceBatch, classifier: EmotionClassifier, landmarker: Landmarker | None
) -> list[CroppedFaces]:
    """Crop faces at once, or in groups if memory runs out."""

    def crop(rows: slice, _: int) -> CroppedFaces:
        return _crop_group(frames, faces.select(np.arange(rows.start, rows.stop)), classifier, landmarker)

    def warn(n_faces: int) -> None:
        log.warning("out of memory, cropping %d faces at a time", n_faces)

    return run_with_oom_backoff(len(faces), len(faces), crop, warn)


def _crop_group(
    frames: FrameBatch, faces: FaceBatch, classifier: EmotionClassifier, landmarker: Landmarker | None
) -> CroppedFaces:
    used, frame = np.unique(faces.frame, return_inverse=True)
    # On a GPU, upload only frames with faces.
    shown = frames.pixels if classifier.device.type == "cpu" or len(used) == len(frames) else frames.pixels[used]
    frame = frame if shown is not frames.pixels else faces.frame
    pixels, frame_of_face, boxes_xyxy, landmarks_xy = (
        torch.from_numpy(array).to(classifier.device) for array in (shown, frame, faces.boxes_xyxy, faces.landmarks_xy)
    )
    height_px, width_px = frames.pixels.shape[1:3]
    side, center = frame_crops(boxes_xyxy, landmarks_xy)
    crops = crop_faces(pixels, frame_of_face, side, center)
    landmarks, landmarks_s = None, 0.0
    if landmarker is not None:
        started_s = time.perf_counter()
        detected = DetectedInFrames(pixels, frame_of_face, boxes_xyxy)
        upright = turn_upright(detected, side, center, crops, landmarker)
        side, center, crops, landmarks = upright.side, upright.center, upright.crops, upright.landmarks
        faces = _replace_landmarks(faces, upright)
        landmarks_s = time.perf_counter() - started_s
    measures = (*measure_crops(crops), out_of_frame_fraction(side, center, width_px, height_px))
    appearances = appearance_descriptors(pixels, frame_of_face, side, center, crops)
    return CroppedFaces(
        faces=faces,
        crops=classifier.crop(crops, pixels, frame_of_face, boxes_xyxy, side, center),
        measures=torch.stack(measures, dim=1).cpu().numpy(),
        appearances=appearances.cpu().numpy(),
        crop_sides=torch.stack([side, center], dim=1).cpu().numpy(),
        landmarks=landmarks,
        landmarks_s=landmarks_s,
    )


def _replace_landmarks(faces: FaceBatch, upright: UprightCrops) -> FaceBatch:
    """Replace the detector's landmarks of faces whose crops were turned, where those of the network are trusted."""
    points_px = points_in_frame(upright.landmarks.points_xy, upright.side.cpu().numpy(), upright.center.cpu().numpy())
    is_replaced = upright.is_turned & (upright.landmarks.score >= TRUSTED_SCORE)
    landmarks_xy = np.where(is_replaced[:, None, None], five_landmarks(points_px), faces.landmarks_xy)
    return replace(faces, landmarks_xy=landmarks_xy)
