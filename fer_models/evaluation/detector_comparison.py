"""Tables that compare a detector with reference detectors: photographs, landmarks, clips and speed."""

import math
from collections.abc import Mapping, Sequence
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
from fer_models.evaluation.tables import Table
from fer_models.frame_batch import FaceBatch

PRECISION = 0.90  # recall is also compared at the threshold at which each detector has this precision
# Frame sizes (width, height) and number of frames in the speed measurement.
SPEED_SIZES = ((640, 360), (1280, 720))
SPEED_FRAMES = 8


def photograph_table(
    evaluations: Mapping[str, Evaluation], thresholds: Mapping[str, float], *, level_with: str | None
) -> Table:
    """Tabulate precision, recall by kind and size, and average precision; a column per detector and threshold.

    Args:
        level_with: the detector whose precision the others are additionally compared at.
    """
    points = []
    for name, evaluation in evaluations.items():
        points.append((f"{name} at {thresholds[name]:.2f}", evaluation, thresholds[name]))
        if level_with and name != level_with:
            precision = evaluations[level_with].found.precision(thresholds[level_with], min_px=JUDGED_PX)
            level = evaluation.found.threshold_at_precision(precision, min_px=JUDGED_PX)
            at = "at no threshold" if math.isnan(level) else f"at {level:.2f}"
            points.append((f"{name} {at}, precision of {level_with}", evaluation, level))
    rows = [
        ["precision", *(share(e.found.precision(t, min_px=JUDGED_PX)) for _, e, t in points)],
        ["recall", *(share(e.found.recall(t)) for _, e, t in points)],
        ["average precision", *(share(e.found_at_half.average_precision()) for _, e, _ in points)],
    ]
    for low, high in SIZES_PX:
        precisions = [share(e.found.precision(t, min_px=low, below_px=high)) for _, e, t in points]
        rows.append([f"precision: detections of {_range(low)} px", *precisions])
    recalls = [evaluation.recall_by_class(threshold) for _, evaluation, threshold in points]
    for (kind, low), (_, faces) in recalls[0].items():
        cells = [share(recall[kind, low][0]) for recall in recalls]
        rows.append([f"recall: {kind.replace('_', ' ')}, {_range(low)} px ({faces} faces)", *cells])
    for kind in ("bare", "masked"):
        at_precision = [share(e.recall_at_precision(kind, PRECISION)) for _, e, _ in points]
        rows.append([f"recall at precision {PRECISION:.2f}: {kind}, {JUDGED_PX} and more px", *at_precision])
    note = (
        f"A face is found if a detection overlaps it with an IoU of {FOUND_IOU} or more. Precision is measured on "
        f"detections of {JUDGED_PX} px and more (size: square root of the box's area); some background faces are not "
        "labeled, which lowers it for every detector. Recall is measured on faces of 12 px and more, average precision "
        "at IoU 0.5. The last two rows show the recall of faces of 24 px and more at the threshold at which the "
        "detector's precision is 0.90."
    )
    return Table("Photographs", ["", *(title for title, _, _ in points)], rows, note)


def landmark_table(
    photos: list[TruePhoto],
    detectors: Mapping[str, Detect],
    evaluations: Mapping[str, Evaluation],
    references: Sequence[str],
    *,
    threshold: float,
) -> Table:
    """Tabulate the distance of each detector's landmarks from those of the references and from its own, mirrored."""

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
        "Mean distance of the five landmarks from those of the other detector, relative to its interocular distance: "
        f"mean / median (faces), for bare faces of {JUDGED_PX} px and more, not in profile, that both found at "
        f"{threshold}. Mirrored: distance of a detector's landmarks in the mirrored image from its own in the original."
    )
    columns = ["detector", *(f"from {name}" for name in references), "from itself, mirrored"]
    return Table("Landmarks", columns, rows, note)


def clip_table(clips: Sequence[Path], candidates: Mapping[str, Candidate], references: tuple[str, str]) -> Table:
    """Tabulate the detectors on clips: faces found, and detections that no other detector confirms.

    Raises:
        VideoReadError: if a clip cannot be read.
    """
    counts = [count_clip(clip, candidates, references) for clip in clips]
    rows = []
    for count in [*counts, ClipCount.total(counts)]:
        found = [share(count.found[name] / count.agreed) if count.agreed else "-" for name in candidates]
        unconfirmed = [f"{1000 * count.unconfirmed[name] / max(1, count.frames):.1f}" for name in candidates]
        rows.append([count.name, str(count.frames), str(count.agreed), *found, *unconfirmed])
    note = (
        f"{FPS:g} frames per second of each clip, downscaled to at most {MAX_SIDE_PX} px. Agreed: faces of "
        f"{JUDGED_PX} px and more that both {references[0]} and {references[1]} find at their thresholds; found: the "
        "share of these that a detector finds; unconfirmed: its detections, of any size, that no other detector has "
        "even with a low score, per 1,000 frames. An unconfirmed detection may be a face that the others miss."
    )
    columns = [
        "clip",
        "frames",
        "agreed",
        *(f"{n}: found" for n in candidates),
        *(f"{n}: unconfirmed" for n in candidates),
    ]
    return Table("Clips", columns, rows, note)


def speed_table(detectors: Mapping[str, Detect], photos: Sequence[TruePhoto], *, seconds: float) -> Table:
    """Tabulate frames per second in the best of many rounds, at two frame sizes; the frames are resized photographs."""
    batches = [
        np.stack([np.asarray(Image.fromarray(photo.pixels).resize(size)) for photo in photos[:SPEED_FRAMES]])
        for size in SPEED_SIZES
    ]
    rows = [
        [name, *(f"{frames_per_s(detect, pixels, seconds=seconds):.0f}" for pixels in batches)]
        for name, detect in detectors.items()
    ]
    note = (
        f"Frames per second, {SPEED_FRAMES} frames per call, {torch.get_num_threads()} threads, the best round in "
        f"{seconds:g} s. References process each frame at its full size, one at a time; ours downscale larger frames."
    )
    return Table("Speed", ["detector", *(f"{w}x{h}" for w, h in SPEED_SIZES)], rows, note)


def share(value: float) -> str:
    """Format a share with three digits; a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def _range(low_px: int) -> str:
    high_px = dict(SIZES_PX)[low_px]
    return f"{low_px} to {high_px}" if high_px < SIZES_PX[-1][1] else f"{low_px} and more"
