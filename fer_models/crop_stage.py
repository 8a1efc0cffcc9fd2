"""Crop the faces of frames for the networks, and measure quality and appearance on the crops."""

import logging
from dataclasses import dataclass

import numpy as np
import torch

from fer_models.classification.classifier import EmotionClassifier
from fer_models.crops import appearance_descriptors, crop_faces, frame_crops, measure_crops, out_of_frame_fraction
from fer_models.frame_batch import FaceBatch, FrameBatch
from fer_models.oom import run_with_oom_backoff

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CroppedFaces:
    """Faces, their crops, and what was measured on them."""

    faces: FaceBatch
    crops: torch.Tensor  # (m, size, size, 3) uint8 for the classifier, on its device
    measures: np.ndarray  # (m, 3) float32: blur, brightness, share of the crop outside the frame
    appearances: np.ndarray  # (m, 60) uint8, see `appearance_descriptors`
    crop_sides: np.ndarray  # (m, 2) complex128, side and center of each crop, see `frame_crops`
    landmark_crops: torch.Tensor | None  # (m, 48, 48, 3) uint8, often the same; None without a landmark network


def crop_in_groups(
    frames: FrameBatch, faces: FaceBatch, classifier: EmotionClassifier, *, for_landmarks: bool
) -> list[CroppedFaces]:
    """Crop faces at once, or in groups if memory runs out."""

    def crop(rows: slice, _: int) -> CroppedFaces:
        return _crop_group(frames, faces.select(np.arange(rows.start, rows.stop)), classifier, for_landmarks)

    def warn(n_faces: int) -> None:
        log.warning("out of memory, cropping %d faces at a time", n_faces)

    return run_with_oom_backoff(len(faces), len(faces), crop, warn)


def _crop_group(
    frames: FrameBatch, faces: FaceBatch, classifier: EmotionClassifier, for_landmarks: bool
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
    measures = (*measure_crops(crops), out_of_frame_fraction(side, center, width_px, height_px))
    appearances = appearance_descriptors(pixels, frame_of_face, side, center, crops)
    return CroppedFaces(
        faces,
        classifier.crop(crops, pixels, frame_of_face, boxes_xyxy, side, center),
        torch.stack(measures, dim=1).cpu().numpy(),
        appearances.cpu().numpy(),
        torch.stack([side, center], dim=1).cpu().numpy(),
        crops if for_landmarks else None,
    )
