"""A detector beside the references, as tables: photographs with ground truth, landmarks, clips, speed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fer_models.evaluation.clips import FPS, MAX_SIDE_PX, ClipCount, count_clip
from fer_models.evaluation.detector_metrics import (
    FOUND_IOU,
    JUDGED_PX,
    SIZES_PX,
    Candidate,
    Detect,
    Evaluation,
    TruePhoto,
    detect_mirrored,
    frames_per_s,
    landmark_errors,
)
from fer_models.frame_batch import FaceBatch

SPEED_SIZES = ((640, 360), (1280, 720))
SPEED_FRAMES = 8


@dataclass(frozen=True)
class Table:
    """A table of a report; cells are formatted text."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]


def photograph_table(
    evaluations: Mapping[str, Evaluation], thresholds: Mapping[str, float], *, level_with: str | None
) -> Table:
    """Precision, recall by kind and size, and average precision; a column per detector and threshold.

    Args:
        level_with: the detector at whose precision the others are shown, too.
    """
    points = []
    for name, evaluation in evaluations.items():
        points.append((f"{name} at {thresholds[name]:.2f}", evaluation, thresholds[name]))
        if level_with and name != level_with:
            precision = evaluations[level_with].found.precision(thresholds[level_with], min_px=JUDGED_PX)
            level = evaluation.found.threshold_at_precision(precision, min_px=JUDGED_PX)
            points.append((f"{name} at {level:.2f}, as precise as {level_with}", evaluation, level))
    rows = [
        ["precision", *(share(e.found.precision(t, min_px=JUDGED_PX)) for _, e, t in points)],
        ["recall", *(share(e.found.recall(t)) for _, e, t in points)],
        ["average precision", *(share(e.found_at_half.average_precision()) for _, e, _ in points)],
    ]
    for low, high in SIZES_PX:
        precisions = [share(e.found.precision(t, min_px=low, below_px=high)) for _, e, t in points]
        rows.append([f"precision: hits of {_range(low)} px", *precisions])
    recalls = [evaluation.recall_by_class(threshold) for _, evaluation, threshold in points]
    for (kind, low), (_, faces) in recalls[0].items():
        cells = [share(recall[kind, low][0]) for recall in recalls]
        rows.append([f"recall: {kind.replace('_', ' ')}, {_range(low)} px ({faces} faces)", *cells])
    note = (
        f"A face counts as found at IoU {FOUND_IOU}. Precision is that of hits of {JUDGED_PX} px and more (size: "
        "square root of the box's area); some faces in the background have no label, which lowers it for all. "
        "Recall is of all faces of 12 px and more, then by kind and size; average precision at IoU 0.5."
    )
    return Table("Photographs", note, ["", *(title for title, _, _ in points)], rows)


def landmark_table(
    photos: list[TruePhoto],
    detectors: Mapping[str, Detect],
    evaluations: Mapping[str, Evaluation],
    references: Sequence[str],
    *,
    threshold: float,
) -> Table:
    """How far the landmarks of every detector lie from those of each reference, and from its own in a mirror image."""

    def compared(judged: list[FaceBatch], others: list[FaceBatch]) -> str:
        errors = landmark_errors(photos, judged, others, threshold=threshold)
        return f"{errors.mean():.3f} / {np.median(errors):.3f} ({len(errors)})" if len(errors) else "-"

    rows = []
    for name, evaluation in evaluations.items():
        mirrored = [detect_mirrored(detectors[name], photo.pixels[None]) for photo in photos]
        others = [
            "" if name == reference else compared(evaluation.faces, evaluations[reference].faces)
            for reference in references
        ]
        rows.append([name, *others, compared(mirrored, evaluation.faces)])
    note = (
        "Mean distance of the five landmarks from those of the other detector, over its inter-ocular distance: mean / "
        f"median (faces), for bare faces of {JUDGED_PX} px and more, not in profile, that both found at {threshold}. "
        "Mirrored: how far a detector's landmarks in the mirror image lie from its own in the picture; what they "
        "differ by, they cannot be right by."
    )
    columns = ["detector", *(f"against {name}" for name in references), "against itself, mirrored"]
    return Table("Landmarks", note, columns, rows)


def clip_table(clips: Sequence[Path], candidates: Mapping[str, Candidate], references: tuple[str, str]) -> Table:
    """Compare the detectors on clips, each against the others.

    Raises:
        VideoReadError: if a clip cannot be read.
    """
    counts = [count_clip(clip, candidates, references) for clip in clips]
    rows = []
    for count in [*counts, ClipCount.total(counts)]:
        found = [share(count.found[name] / count.agreed) if count.agreed else "-" for name in candidates]
        alone = [f"{1000 * count.alone[name] / max(1, count.frames):.1f}" for name in candidates]
        rows.append([count.name, str(count.frames), str(count.agreed), *found, *alone])
    note = (
        f"{FPS:g} frames per second of each clip, shrunk to at most {MAX_SIDE_PX} px. Agreed: faces of {JUDGED_PX} px "
        f"and more that both {references[0]} and {references[1]} find at their thresholds; found: the share of these "
        "that a detector finds; alone: its hits, of any size, that no other detector sees even weakly, per 1,000 "
        "frames. A hit alone may be a face that the others miss."
    )
    columns = ["clip", "frames", "agreed", *(f"{n}: found" for n in candidates), *(f"{n}: alone" for n in candidates)]
    return Table("Clips", note, columns, rows)


def speed_table(detectors: Mapping[str, Detect], photos: Sequence[TruePhoto], *, seconds: float) -> Table:
    """Frames per second in the best of many rounds, at two sizes; the frames are made of photographs."""
    batches = [
        np.stack([np.asarray(Image.fromarray(photo.pixels).resize(size)) for photo in photos[:SPEED_FRAMES]])
        for size in SPEED_SIZES
    ]
    rows = [
        [name, *(f"{frames_per_s(detect, pixels, seconds=seconds):.0f}" for pixels in batches)]
        for name, detect in detectors.items()
    ]
    note = (
        f"Frames per second, {SPEED_FRAMES} frames at a time, {torch.get_num_threads()} threads, the best round in "
        f"{seconds:g} s. References take each frame at its own size, one by one; our detectors shrink larger ones."
    )
    return Table("Speed", note, ["detector", *(f"{w}x{h}" for w, h in SPEED_SIZES)], rows)


def share(value: float) -> str:
    """A share with three digits; a dash if there is none."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def _range(low_px: int) -> str:
    high_px = dict(SIZES_PX)[low_px]
    return f"{low_px} to {high_px}" if high_px < SIZES_PX[-1][1] else f"{low_px} and more"
