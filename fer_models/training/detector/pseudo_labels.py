"""Merge the labels of two teacher detectors: each face becomes a positive example, ignored, or background."""

import dataclasses
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fer_models.atomic_files import replaced_atomically
from fer_models.boxes import MIRRORED_LANDMARKS, box_iou, face_size_px
from fer_models.datasets.face_photos import MASKED_SOURCES, MIN_FACE_PX, PEOPLE_SOURCES, Photo
from fer_models.evaluation.references import RetinaFaceReference, join_frames
from fer_models.frame_batch import FaceBatch
from fer_models.registry.model_registry import sha256_of

log = logging.getLogger(__name__)

# Views in which faces are detected, as (scale, mirrored). The enlarged view is for small faces, the reduced one for
# faces that fill the photograph.
VIEWS = ((1.0, False), (2.0, True), (0.5, False))
# Boxes of the two teachers that overlap at least this much (IoU) are the same face; they differ slightly.
SAME_FACE_IOU = 0.35
# Lowest mean score of both teachers (0 for a teacher that finds nothing) at which a face is a positive example. The
# second teacher misses many masked faces; in photographs without people, both detect animals.
FACE_SCORE_MASKED, FACE_SCORE_PEOPLE, FACE_SCORE_ELSEWHERE = 0.28, 0.42, 0.8
# Faces with a lower mean score count as background; the loss ignores those between the two thresholds.
NO_FACE_SCORE = 0.26
# Detections of the second teacher alone are mostly false: the loss ignores those with this score, others are dropped.
LONE_SECOND_SCORE = 0.9
SURE_SCORE = 0.84  # the second teacher labels only photographs in which the first one gives some face a lower score
LOG_EVERY_PHOTOS = 200


def detect_multiscale(pixels: np.ndarray, detect: Callable[[np.ndarray], FaceBatch]) -> FaceBatch:
    """Detect faces in several scaled views of an image `(h, w, 3)`; keep the best-scoring detection of each face."""
    height, width = pixels.shape[:2]
    views = []
    for scale, mirrored in VIEWS:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        view = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
        faces = detect(np.ascontiguousarray(view[:, ::-1] if mirrored else view)[None])
        boxes, landmarks = faces.boxes_xyxy, faces.landmarks_xy
        if mirrored:
            boxes = np.array([size[0], 0, size[0], 0]) + boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1]
            landmarks = [size[0], 0] + landmarks[:, MIRRORED_LANDMARKS] * [-1, 1]
        to_photo = np.array([width / size[0], height / size[1]])
        views.append((boxes * np.tile(to_photo, 2), landmarks * to_photo, faces.det_score))
    boxes, landmarks, score = (np.concatenate(parts) for parts in zip(*views, strict=True))
    kept: list[int] = []
    for hit in np.argsort(-score, kind="stable").tolist():
        if not (box_iou(boxes[[hit]], boxes[kept]) > SAME_FACE_IOU).any():
            kept.append(hit)
    return FaceBatch(
        np.zeros(len(kept), np.int64), boxes[kept].astype(np.float32), landmarks[kept].astype(np.float32), score[kept]
    )


def merge_labels(photo: Photo, second: FaceBatch) -> Photo:
    """Merge both teachers' faces in a photograph; boxes and landmarks on which they agree are averaged.

    Faces on which the teachers disagree are kept as not confident, so the loss ignores them; faces to which both give
    low scores are dropped and count as background.
    """
    iou = box_iou(photo.boxes_xyxy, second.boxes_xyxy)
    seen = iou.max(1, initial=0) > SAME_FACE_IOU
    partner = iou.argmax(1) if len(second) else np.zeros(len(iou), int)
    mean_score = photo.score / 2
    boxes, landmarks = photo.boxes_xyxy.copy(), photo.landmarks_xy.copy()
    mean_score[seen] += second.det_score[partner[seen]] / 2
    boxes[seen] = (boxes[seen] + second.boxes_xyxy[partner[seen]]) / 2
    landmarks[seen] = (landmarks[seen] + second.landmarks_xy[partner[seen]]) / 2
    small = face_size_px(boxes) < MIN_FACE_PX
    least = FACE_SCORE_PEOPLE if photo.source in PEOPLE_SOURCES else FACE_SCORE_ELSEWHERE
    if photo.source in MASKED_SOURCES:
        least = FACE_SCORE_MASKED
    is_confident = (mean_score >= least) & ~small
    kept = (mean_score >= NO_FACE_SCORE) | small
    lone = (second.det_score >= LONE_SECOND_SCORE) & (iou.max(0, initial=0) <= SAME_FACE_IOU)
    return dataclasses.replace(
        photo,
        boxes_xyxy=np.concatenate([boxes[kept], second.boxes_xyxy[lone]]),
        landmarks_xy=np.concatenate([landmarks[kept], second.landmarks_xy[lone]]),
        score=np.concatenate([mean_score[kept], second.det_score[lone] / 2]),
        is_confident=np.concatenate([is_confident[kept], np.zeros(lone.sum(), bool)]),
    )


def merge_teacher_labels(photos: list[Photo], data: Path, weights: Path, cache: Path) -> list[Photo]:
    """Merge the second teacher's labels into the photographs of `data` in which the first is not confident.

    The second teacher's detections are cached in the file `cache`, as computing them takes minutes.

    Args:
        weights: those of RetinaFace-MobileNet-0.25.

    Raises:
        WeightsError: if the weights cannot be read.
    """
    teacher = RetinaFaceReference(weights)
    fingerprint = hashlib.sha256(f"{sha256_of(data)} {sha256_of(weights)} {VIEWS}".encode()).hexdigest()
    seen = _read_faces(cache, fingerprint)
    if seen is None:
        detections = []
        for number, photo in enumerate(photos):
            if number % LOG_EVERY_PHOTOS == 0:
                log.info("second teacher: %d of %d photographs", number, len(photos))
            detections.append(detect_multiscale(photo.pixels, teacher) if is_doubtful(photo) else FaceBatch.empty())
        seen = join_frames(detections)
        cache.parent.mkdir(parents=True, exist_ok=True)
        with replaced_atomically(cache) as part, part.open("wb") as file:
            np.savez(file, fingerprint=fingerprint, **dataclasses.asdict(seen))
    ends = np.searchsorted(seen.frame, np.arange(len(photos) + 1))
    return [
        merge_labels(photo, seen.select(np.arange(first, end))) if is_doubtful(photo) else photo
        for photo, first, end in zip(photos, ends[:-1], ends[1:], strict=True)
    ]


def is_doubtful(photo: Photo) -> bool:
    """Whether the first teacher was not confident about some face in the photograph."""
    return bool((photo.score[face_size_px(photo.boxes_xyxy) >= MIN_FACE_PX] < SURE_SCORE).any())


def _read_faces(cache: Path, fingerprint: str) -> FaceBatch | None:
    if not cache.is_file():
        return None
    with np.load(cache) as stored:
        if str(stored["fingerprint"]) != fingerprint:
            return None
        return FaceBatch(*(stored[field.name] for field in dataclasses.fields(FaceBatch)))
