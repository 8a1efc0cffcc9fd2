"""Accuracy and speed of a face detector: matching of its detections with the true faces, recall and precision."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fer_models.boxes import MIRRORED_LANDMARKS, box_iou, face_size_px
from fer_models.datasets.face_photos import boxes_of, check_faces, decode_rows
from fer_models.evaluation.timing import best_round_s
from fer_models.frame_batch import FaceBatch

FOUND_IOU = 0.4  # a detection finds a face if their boxes overlap by at least this IoU
KINDS = ("bare", "masked", "badly_masked")
JUDGED_PX = 24  # faces with a smaller size are not evaluated: they are too small to show an expression
# Smallest distance between the eyes, in sizes of the face, that counts as frontal; below, the face is in profile.
FRONTAL_EYE_DISTANCE = 0.25
# Classes of face size (square root of the box's area) in the report: from, below.
SIZES_PX = ((12, 24), (24, 48), (48, 96), (96, 10_000))

Detect = Callable[[np.ndarray], FaceBatch]  # detects faces in (n, h, w, 3) uint8 RGB frames


@dataclass(frozen=True)
class Candidate:
    """A detector to evaluate: it returns low-scoring detections too; those at `threshold` and above count as faces."""

    detect: Detect
    threshold: float


@dataclass(frozen=True, eq=False)
class Matches:
    """Detections (hits) in one or more images, matched with their true faces."""

    hit_score: np.ndarray  # (hits,) score of each detection, without detections of faces that do not count
    hit_is_face: np.ndarray  # (hits,) bool, whether the detection is a true face
    hit_px: np.ndarray  # (hits,) size of the detection: the square root of its box's area
    face_score: np.ndarray  # (faces,) score of the detection of each face that counts; 0 if it was missed

    @classmethod
    def join(cls, parts: Iterable["Matches"]) -> "Matches":
        """Join the matches of several images; there must be at least one."""
        rows = [(part.hit_score, part.hit_is_face, part.hit_px, part.face_score) for part in parts]
        return cls(*(np.concatenate(column) for column in zip(*rows, strict=True)))

    def recall(self, threshold: float) -> float:
        """Return the share of faces that are found at `threshold`; NaN without faces, or if `threshold` is NaN."""
        return share_found(self.face_score, threshold)

    def precision(self, threshold: float, *, min_px: float = 0.0, below_px: float = np.inf) -> float:
        """Return the share of faces among detections in this size range at `threshold`; NaN without detections."""
        hits = (self.hit_score >= threshold) & (self.hit_px >= min_px) & (self.hit_px < below_px)
        return float(self.hit_is_face[hits].mean()) if hits.any() else float("nan")

    def average_precision(self) -> float:
        """Return the area under the precision-recall curve; precision is the maximum at equal or higher recall.

        Detections with the same score are one point of the curve.
        """
        if not len(self.face_score) or not len(self.hit_score):
            return 0.0
        order = np.argsort(-self.hit_score, kind="stable")
        score = self.hit_score[order]
        last = np.flatnonzero(np.append(score[1:] != score[:-1], True))  # index of the last detection with each score
        found = self.hit_is_face[order].cumsum()[last]
        precision = np.maximum.accumulate((found / (last + 1))[::-1])[::-1]
        return float((np.diff(found, prepend=0) * precision).sum() / len(self.face_score))

    def threshold_at_precision(self, precision: float, *, min_px: float = 0.0) -> float:
        """Return the lowest threshold with at least this precision on detections of that size; NaN if there is none."""
        large = self.hit_px >= min_px
        score, is_face = self.hit_score[large], self.hit_is_face[large]
        order = np.argsort(-score, kind="stable")
        reached = is_face[order].cumsum() / np.arange(1, len(order) + 1) >= precision
        last_of_score = np.append(score[order][1:] < score[order][:-1], True)[: len(order)]
        reached &= last_of_score
        return float(score[order][np.flatnonzero(reached)[-1]]) if reached.any() else float("nan")


def share_found(face_score: np.ndarray, threshold: float) -> float:
    """Return the share of faces `(k,)` with at least this score; NaN without faces, or if `threshold` is NaN."""
    return float((face_score >= threshold).mean()) if len(face_score) and not np.isnan(threshold) else float("nan")


def match_hits(
    boxes_xyxy: np.ndarray, det_score: np.ndarray, truth_xyxy: np.ndarray, counts: np.ndarray, *, min_iou: float
) -> Matches:
    """Match each detection of an image, best score first, with the unmatched true face that it overlaps most.

    Args:
        boxes_xyxy, det_score: the detections, `(m, 4)` and `(m,)`.
        truth_xyxy: the true faces, `(k, 4)`.
        counts: `(k,)` bool; detections of faces that do not count are ignored.
        min_iou: the minimum overlap of a detection with its face.
    """
    iou = box_iou(boxes_xyxy, truth_xyxy)
    on_uncounted = (iou[:, ~counts] >= min_iou).any(1)
    iou = iou[:, counts]
    face_score = np.zeros(iou.shape[1], np.float32)
    is_face = np.zeros(len(det_score), bool)
    for hit in np.argsort(-det_score, kind="stable"):
        free = np.where(face_score == 0, iou[hit], 0.0)
        if len(free) and free.max() >= min_iou:
            face_score[free.argmax()] = det_score[hit]
            is_face[hit] = True
    judged = is_face | ~on_uncounted
    return Matches(det_score[judged], is_face[judged], face_size_px(boxes_xyxy)[judged], face_score)


@dataclass(frozen=True, eq=False)
class TruePhoto:
    """A photograph with ground truth."""

    pixels: np.ndarray  # (h, w, 3) uint8, RGB
    boxes_xyxy: np.ndarray  # (k, 4) float32, pixels
    kind: np.ndarray  # (k,) for each face, one of KINDS


def read_true_photos(path: Path) -> list[TruePhoto]:
    """Read a Parquet file of photographs: `image` (JPEG or PNG bytes), `faces` (boxes in pixels, each with a `kind`).

    Boxes are those of the upright photograph, rotated by its EXIF orientation.

    Raises:
        FaceDataError: if the file cannot be read, a column is missing, an image is damaged, or a label is invalid.
    """
    return decode_rows(path, ["image", "faces"], _true_photo_of)


def _true_photo_of(image: Image.Image, row: dict[str, Any]) -> TruePhoto:
    boxes = boxes_of(row["faces"])
    kind = np.array([face["kind"] for face in row["faces"]], dtype=np.str_)
    check_faces(np.isin(kind, KINDS), f"kind must be one of {', '.join(KINDS)}")
    return TruePhoto(np.array(image), boxes, kind)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Detections in photographs, matched with the ground truth; faces under 12 px are ignored."""

    found: Matches  # the matches at an overlap of FOUND_IOU
    found_at_half: Matches  # the matches at IoU 0.5, for the average precision
    face_px: np.ndarray  # (faces,) size of each true face: the square root of its box's area
    face_kind: np.ndarray  # (faces,) for each true face, one of KINDS
    faces: list[FaceBatch]  # the detections in each photograph

    def recall_by_class(self, threshold: float) -> dict[tuple[str, int], tuple[float, int]]:
        """Map (kind, lower size limit in px) to (recall at `threshold`, number of faces), for classes with faces."""
        recalls = {}
        for kind in KINDS:
            for low, high in SIZES_PX:
                group = (self.face_kind == kind) & (self.face_px >= low) & (self.face_px < high)
                if group.any():
                    recalls[kind, low] = (share_found(self.found.face_score[group], threshold), int(group.sum()))
        return recalls

    def recall_at_precision(self, kind: str, precision: float) -> float:
        """Return the recall of the faces of a kind, of 24 px and more, at the lowest threshold with this precision."""
        threshold = self.found.threshold_at_precision(precision, min_px=JUDGED_PX)
        score = self.found.face_score[(self.face_kind == kind) & (self.face_px >= JUDGED_PX)]
        return share_found(score, threshold)


def evaluate_detector(detect: Detect, photos: list[TruePhoto]) -> Evaluation:
    """Run a detector on photographs, one by one; for the average precision, it must keep low-scoring detections."""
    found: list[Matches] = []
    found_at_half: list[Matches] = []
    sizes, kinds, batches = [], [], []
    for photo in photos:
        faces = detect(photo.pixels[None])
        batches.append(faces)
        size_px = face_size_px(photo.boxes_xyxy)
        counts = size_px >= SIZES_PX[0][0]
        for matches, min_iou in ((found, FOUND_IOU), (found_at_half, 0.5)):
            matches.append(match_hits(faces.boxes_xyxy, faces.det_score, photo.boxes_xyxy, counts, min_iou=min_iou))
        sizes.append(size_px[counts])
        kinds.append(photo.kind[counts])
    joined = Matches.join(found), Matches.join(found_at_half)
    return Evaluation(*joined, np.concatenate(sizes), np.concatenate(kinds), batches)


def detect_mirrored(detect: Detect, pixels: np.ndarray) -> FaceBatch:
    """Detect faces in mirrored `(n, h, w, 3)` frames and mirror them back."""
    faces, width_px = detect(np.ascontiguousarray(pixels[:, :, ::-1])), pixels.shape[2]
    boxes, points = faces.boxes_xyxy.copy(), faces.landmarks_xy[:, MIRRORED_LANDMARKS]
    boxes[:, [0, 2]] = width_px - boxes[:, [2, 0]]
    points[..., 0] = width_px - points[..., 0]
    return dataclasses.replace(faces, boxes_xyxy=boxes, landmarks_xy=points)


def landmark_errors(
    photos: list[TruePhoto], judged: list[FaceBatch], teacher: list[FaceBatch], *, threshold: float
) -> np.ndarray:
    """Compute the distance of landmarks from those of another detector, relative to its interocular distance, `(k,)`.

    The mean over the five landmarks, for each bare face of 24 px and more, not in profile, that both found.
    """
    errors = []
    for photo, ours, theirs in zip(photos, judged, teacher, strict=True):
        size_px = face_size_px(photo.boxes_xyxy)
        for truth in photo.boxes_xyxy[(photo.kind == "bare") & (size_px >= JUDGED_PX)]:
            pair = [_landmarks_of(faces, truth, threshold) for faces in (ours, theirs)]
            if pair[0] is None or pair[1] is None:
                continue
            eyes_px = float(np.linalg.norm(pair[1][1] - pair[1][0]))
            if eyes_px >= FRONTAL_EYE_DISTANCE * face_size_px(truth[None])[0]:
                errors.append(np.linalg.norm(pair[0] - pair[1], axis=1).mean() / eyes_px)
    return np.array(errors)


def _landmarks_of(faces: FaceBatch, truth_xyxy: np.ndarray, threshold: float) -> np.ndarray | None:
    faces = faces.select(faces.det_score >= threshold)
    iou = box_iou(truth_xyxy[None], faces.boxes_xyxy)[0]
    return faces.landmarks_xy[iou.argmax()] if iou.max(initial=0) >= FOUND_IOU else None


def frames_per_s(detect: Detect, pixels: np.ndarray, *, seconds: float = 3.0) -> float:
    """Measure frames per second on `(n, h, w, 3)`: the best round within `seconds`, after a warm-up."""
    return len(pixels) / best_round_s(lambda: detect(pixels), seconds)
