"""Landmarks in videos: agreement with the teacher, and jitter of faces that hold still.

The crops are a Parquet file as `fer_models.training.landmarks.cut_crops` writes it from videos, with the teacher's
labels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from fer_models.datasets.labeled_faces import DataError
from fer_models.datasets.landmark_labels import decode_crops, read_labeled_crops, whole_numbers
from fer_models.evaluation.landmarks import LandmarkAccuracy, measure_accuracy
from fer_models.landmarks.in_frame import points_in_frame
from fer_models.landmarks.landmarker import Landmarker
from fer_models.landmarks.measures import interocular_distance

# Two crops in adjacent frames show the same face if their centers are closer than this, in sides of the crop.
MAX_STEP = 0.25
# A face holds still where its points move less than this from the frame before to the frame after, on average over the
# points and over both landmarkers, relative to the interocular distance.
STILL_MOTION = 0.02


@dataclass(frozen=True)
class ClipAccuracy:
    """Landmarks in one clip, or in all of them."""

    name: str
    accuracy: LandmarkAccuracy
    still_faces: int
    jitter: float
    teacher_jitter: float


@dataclass(frozen=True, eq=False)
class _ClipCrops:
    """The crops of clips, in the order of the file."""

    source: np.ndarray  # (n,) str
    frame_index: np.ndarray  # (n,) int64
    side: np.ndarray  # (n,) complex128, as `frame_crops`
    center: np.ndarray  # (n,) complex128
    rgb: np.ndarray  # (n, 48, 48, 3) uint8


def measure_clips(crops: Path, labels: Path, landmarker: Landmarker) -> list[ClipAccuracy]:
    """Measure the landmarks in each clip, and in all clips together as the last.

    Raises:
        DataError: if the files cannot be used.
    """
    truth, clips = read_labeled_crops(crops, labels), _read_clip_crops(crops)
    found = landmarker.predict(torch.from_numpy(clips.rgb))
    ours, teachers = (
        points_in_frame(points, clips.side, clips.center) for points in (found.points_xy, truth.single_xyz[..., :2])
    )
    triples = adjacent_triples(clips.source, clips.frame_index, clips.side, clips.center)
    jitters, motions = zip(*(jitter_and_motion(points, triples) for points in (ours, teachers)), strict=True)
    still = np.mean(motions, axis=0) < STILL_MOTION  # False where the teacher found no face
    results = []
    for name in [*sorted(set(clips.source.tolist())), "all"]:
        rows = np.full(len(clips.source), True) if name == "all" else clips.source == name
        counted = still & rows[triples[:, 1]]
        if (truth.is_consistent & rows).sum() < 2:
            continue
        results.append(
            ClipAccuracy(
                name,
                measure_accuracy(found.select(rows), truth.select(rows)),
                int(counted.sum()),
                *(float(jitter[counted].mean()) if counted.any() else float("nan") for jitter in jitters),
            )
        )
    return results


def adjacent_triples(source: np.ndarray, frame_index: np.ndarray, side: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Find the same face in three adjacent frames: positions (k, 3) of its crops.

    Two crops in adjacent frames show the same face if each is the other's nearest and their centers are closer than
    `MAX_STEP`.
    """
    following: dict[int, int] = {}
    for name in np.unique(source):
        for index in np.unique(frame_index[source == name]):
            here, there = (np.flatnonzero((source == name) & (frame_index == i)) for i in (index, index + 1))
            if not len(there):
                continue
            distance = np.abs(center[here][:, None] - center[there]) / np.abs(side[here])[:, None]
            nearest, back = distance.argmin(axis=1), distance.argmin(axis=0)
            for i, j in enumerate(nearest.tolist()):
                if back[j] == i and distance[i, j] < MAX_STEP:
                    following[int(here[i])] = int(there[j])
    triples = [(a, b, following[b]) for a, b in following.items() if b in following]
    return np.array(triples, np.int64).reshape(-1, 3)


def jitter_and_motion(points_px: np.ndarray, triples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute jitter and motion (k,) of faces in three adjacent frames, relative to the interocular distance.

    Jitter is the mean distance of the points from the middle between the frame before and the frame after, which is 0
    for points that move evenly; motion is the mean distance between those two.
    """
    before, here, after = (points_px[triples[:, i]] for i in range(3))
    interocular = interocular_distance(here)
    jitter = np.linalg.norm(here - (before + after) / 2, axis=2).mean(axis=1) / interocular
    motion = np.linalg.norm(after - before, axis=2).mean(axis=1) / interocular
    return jitter, motion


def _read_clip_crops(path: Path) -> _ClipCrops:
    try:
        table = pq.read_table(path)
        side, center = (
            table[f"{part}_x"].to_numpy() + 1j * table[f"{part}_y"].to_numpy() for part in ("side", "center")
        )
        rgb = decode_crops(path, table["image"], "RGB")
        source = np.array(table["source"].to_pylist(), np.str_)
        return _ClipCrops(source, whole_numbers(table, "frame_index"), side, center, rgb)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not face crops of videos: {error}") from error
