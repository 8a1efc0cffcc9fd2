"""Merge the face labels of several detectors into positive examples, faces that the loss ignores, and background."""

import dataclasses
import hashlib
import logging
from pathlib import Path

import numpy as np

from fer_models.atomic_files import replaced_atomically
from fer_models.boxes import box_iou, face_size_px
from fer_models.datasets.face_photos import MASKED_SOURCES, MIN_FACE_PX, PEOPLE_SOURCES, Photo
from fer_models.evaluation.references import load_reference, reference_file
from fer_models.frame_batch import FaceBatch
from fer_models.registry.model_registry import sha256_of

log = logging.getLogger(__name__)

# Weight of the scores of the data's own labels, and of each teacher. CenterFace finds the most faces, and RetinaFace
# misses many of those with masks.
DATA_WEIGHT = 1.0
TEACHER_WEIGHTS = {"retinaface_mobilenet025": 0.6, "centerface": 1.6}
# Boxes of different detectors that overlap at least this much (IoU) are the same face; they differ slightly.
SAME_FACE_IOU = 0.35
# Lowest mean score (0 for a detector that finds nothing) at which a face that two or more detectors find is a positive
# example. Masked faces get lower scores; in photographs without people, detectors find animals.
FACE_SCORE_MASKED, FACE_SCORE_PEOPLE, FACE_SCORE_ELSEWHERE = 0.30, 0.38, 0.60
# Faces with a lower mean score count as background; the loss ignores those between the two thresholds. All detectors
# give low scores to faces smaller than `MIN_FACE_PX`.
NO_FACE_SCORE, NO_FACE_SCORE_SMALL = 0.2, 0.1
LOG_EVERY_PHOTOS = 200


def merge_labels(photo: Photo, by_teacher: dict[str, FaceBatch]) -> Photo:
    """Merge the labels of a photograph with the faces that teachers find in it.

    Boxes, landmarks and scores of a face are means weighted by `DATA_WEIGHT` and `TEACHER_WEIGHTS`, those of boxes and
    landmarks also by the scores.

    Args:
        photo: with its own labels.
        by_teacher: the faces that each teacher finds.
    """
    teachers = by_teacher.values()
    boxes = np.concatenate([photo.boxes_xyxy, *(faces.boxes_xyxy for faces in teachers)])
    landmarks = np.concatenate([photo.landmarks_xy, *(faces.landmarks_xy for faces in teachers)])
    score = np.concatenate([photo.score, *(faces.det_score for faces in teachers)])
    detector = np.repeat(np.arange(1 + len(teachers)), [len(photo.score), *map(len, teachers)])
    weight = np.array([DATA_WEIGHT, *(TEACHER_WEIGHTS[teacher] for teacher in by_teacher)])
    groups = group_detections(boxes, weight[detector] * score, detector)
    share = np.zeros((len(groups), len(detector)))
    for row, group in enumerate(groups):
        share[row, group] = (weight[detector] * score)[group]
    mean_score = share.sum(axis=1) / weight.sum()
    share /= share.sum(axis=1, keepdims=True).clip(min=1e-12)
    boxes, landmarks = share @ boxes, np.tensordot(share, landmarks, axes=1)

    small = face_size_px(boxes) < MIN_FACE_PX
    n_detectors = np.array([len(group) for group in groups], np.int64)
    is_confident = (mean_score >= _face_score(photo.source)) & (n_detectors >= 2) & ~small
    kept = mean_score >= np.where(small, NO_FACE_SCORE_SMALL, NO_FACE_SCORE)
    return dataclasses.replace(
        photo,
        boxes_xyxy=boxes[kept].astype(np.float32),
        landmarks_xy=landmarks[kept].astype(np.float32),
        score=mean_score[kept].astype(np.float32),
        is_confident=is_confident[kept],
    )


def group_detections(boxes_xyxy: np.ndarray, strength: np.ndarray, detector: np.ndarray) -> list[list[int]]:
    """Group the detections (m,) of the same face, at most one of each detector, the strongest detections first.

    Each group consists of a detection and those that overlap it most; other detections that overlap it are dropped.
    """
    same_face = box_iou(boxes_xyxy, boxes_xyxy)
    same_face[same_face <= SAME_FACE_IOU] = 0
    used = np.zeros(len(detector), bool)
    groups = []
    for first in np.argsort(-strength, kind="stable").tolist():
        if used[first]:
            continue
        overlap = np.where(used, 0, same_face[first])
        group = [first]
        for other in np.unique(detector[detector != detector[first]]).tolist():
            best = int(np.where(detector == other, overlap, 0).argmax())
            if detector[best] == other and overlap[best] > 0:
                group.append(best)
        used |= same_face[first] > 0
        used[first] = True
        groups.append(group)
    return groups


def teacher_settings(references: Path) -> dict[str, dict[str, float | str]]:
    """Return what identifies each teacher: the weight of its scores and the sha256 of its weights.

    Raises:
        WeightsError: if weights are missing.
    """
    settings: dict[str, dict[str, float | str]] = {}
    for teacher, weight in TEACHER_WEIGHTS.items():
        settings[teacher] = {"weight": weight, "sha256": sha256_of(reference_file(teacher, references))}
    return settings


def merge_teacher_labels(photos: list[Photo], data: Path, references: Path, cache: Path) -> list[Photo]:
    """Merge the faces that the teachers find into the photographs of `data`.

    Their detections are cached in the folder `cache`, as computing them takes many minutes.

    Args:
        references: folder with the weights of the teachers, see `load_reference`.

    Raises:
        WeightsError: if weights are missing or cannot be read.
        ReferenceDetectorError: if OpenCV is not installed.
    """
    ends = np.arange(len(photos) + 1)
    by_teacher = {teacher: _faces_of(teacher, photos, data, references, cache) for teacher in TEACHER_WEIGHTS}
    positions = {teacher: np.searchsorted(faces.frame, ends) for teacher, faces in by_teacher.items()}
    return [
        merge_labels(
            photo,
            {
                teacher: faces.select(np.arange(*positions[teacher][number : number + 2]))
                for teacher, faces in by_teacher.items()
            },
        )
        for number, photo in enumerate(photos)
    ]


def _faces_of(teacher: str, photos: list[Photo], data: Path, references: Path, cache: Path) -> FaceBatch:
    """The faces that a teacher finds in all photographs, by photograph."""
    detect = load_reference(teacher, references)
    weights = reference_file(teacher, references)
    fingerprint = hashlib.sha256(f"{sha256_of(data)} {sha256_of(weights)}".encode()).hexdigest()
    file = cache / f"{teacher}.npz"
    if (stored := _read_faces(file, fingerprint)) is not None:
        return stored
    batches = []
    for number, photo in enumerate(photos):
        if number % LOG_EVERY_PHOTOS == 0:
            log.info("%s: %d of %d photographs", teacher, number, len(photos))
        batches.append(detect(photo.pixels[None]))
    faces = FaceBatch.of_frames(batches)
    cache.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(file) as part, part.open("wb") as stream:
        np.savez(stream, fingerprint=fingerprint, **dataclasses.asdict(faces))
    return faces


def _face_score(source: str) -> float:
    """The lowest mean score of a positive example in photographs of a source."""
    if source in MASKED_SOURCES:
        return FACE_SCORE_MASKED
    return FACE_SCORE_PEOPLE if source in PEOPLE_SOURCES else FACE_SCORE_ELSEWHERE


def _read_faces(cache: Path, fingerprint: str) -> FaceBatch | None:
    if not cache.is_file():
        return None
    with np.load(cache) as stored:
        if str(stored["fingerprint"]) != fingerprint:
            return None
        return FaceBatch(*(stored[field.name] for field in dataclasses.fields(FaceBatch)))
