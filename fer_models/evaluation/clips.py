"""Compare detectors on clips without ground truth: faces the references agree on, and unconfirmed detections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from fer_models.boxes import box_iou, face_size_px
from fer_models.datasets.face_photos import FaceDataError
from fer_models.evaluation.detector_metrics import FOUND_IOU, JUDGED_PX, Candidate
from fer_models.frame_batch import FaceBatch
from fer_models.video import VIDEO_SUFFIXES, read_frames

FPS = 5.0  # frames sampled from each second of a clip
MAX_SIDE_PX = 640  # longest side of the frames that every detector sees; larger frames are downscaled
# A detection is confirmed by another detector's box of at least this score and this overlap (IoU).
SUPPORT_SCORE, SUPPORT_IOU = 0.2, 0.3


@dataclass
class ClipCount:
    """Counts of one clip."""

    name: str
    frames: int = 0
    agreed: int = 0  # number of faces of at least 24 px, summed over frames, that both reference detectors find
    found: dict[str, int] = field(default_factory=dict)  # detector -> how many of the `agreed` faces it found
    # Detector -> number of its detections that no other detector confirms.
    unconfirmed: dict[str, int] = field(default_factory=dict)

    @classmethod
    def total(cls, counts: Sequence["ClipCount"]) -> "ClipCount":
        """Sum the counts of all clips."""
        frames, agreed = sum(count.frames for count in counts), sum(count.agreed for count in counts)
        names = counts[0].found if counts else {}
        found = {name: sum(count.found[name] for count in counts) for name in names}
        unconfirmed = {name: sum(count.unconfirmed[name] for count in counts) for name in names}
        return cls("all", frames, agreed, found, unconfirmed)


def find_clips(folder: Path) -> list[Path]:
    """List the videos in a folder, sorted by name.

    Raises:
        FaceDataError: if there are none.
    """
    clips = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    if not clips:
        raise FaceDataError(f"{folder}: contains no videos")
    return clips


def count_clip(path: Path, candidates: Mapping[str, Candidate], references: tuple[str, str]) -> ClipCount:
    """Run every detector on a clip, at five frames per second.

    Args:
        candidates: name to detector; they return low-scoring detections, too.
        references: names of the two detectors that must agree on a face.

    Raises:
        VideoReadError: if the clip cannot be read.
    """
    count = ClipCount(path.name, found=dict.fromkeys(candidates, 0), unconfirmed=dict.fromkeys(candidates, 0))
    for frames in read_frames(path, fps=FPS, batch_size=8):
        pixels = _shrink(frames.pixels)
        hits = {name: candidate.detect(pixels) for name, candidate in candidates.items()}
        for frame in range(len(pixels)):
            of_frame = {name: faces.select(faces.frame == frame) for name, faces in hits.items()}
            _count_frame(count, of_frame, candidates, references)
        count.frames += len(pixels)
    return count


def _shrink(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[1:3]
    scale = min(1.0, MAX_SIDE_PX / max(height, width))
    if scale == 1.0:
        return pixels
    size = round(width * scale), round(height * scale)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in pixels])


def _count_frame(
    count: ClipCount, hits: dict[str, FaceBatch], candidates: Mapping[str, Candidate], references: tuple[str, str]
) -> None:
    strong = {name: faces.boxes_xyxy[faces.det_score >= candidates[name].threshold] for name, faces in hits.items()}
    agreed = agreed_faces(strong[references[0]], strong[references[1]])
    count.agreed += len(agreed)
    for name, boxes in strong.items():
        count.found[name] += int((box_iou(agreed, boxes) >= FOUND_IOU).any(1).sum())
        others = np.concatenate(
            [faces.boxes_xyxy[faces.det_score >= SUPPORT_SCORE] for other, faces in hits.items() if other != name]
        )
        count.unconfirmed[name] += int((~(box_iou(boxes, others) >= SUPPORT_IOU).any(1)).sum())


def agreed_faces(first_xyxy: np.ndarray, second_xyxy: np.ndarray) -> np.ndarray:
    """Select the boxes of the first detector, of 24 px or more, that the second one confirms, `(k, 4)`."""
    overlap = (box_iou(first_xyxy, second_xyxy) >= FOUND_IOU).any(1)
    agreed: np.ndarray = first_xyxy[overlap & (face_size_px(first_xyxy) >= JUDGED_PX)]
    return agreed
