"""Tables of the accuracy of a landmark network: labeled images, trust in the score, clips, and speed."""

from pathlib import Path

import numpy as np
import torch

from fer_models.datasets.labeled_faces import SPLITS, TEST_SPLITS
from fer_models.datasets.landmark_labels import LabeledCrops
from fer_models.evaluation.landmark_clips import ClipAccuracy, measure_clips
from fer_models.evaluation.landmarks import LandmarkAccuracy, measure_accuracy, point_errors, predict_gray
from fer_models.evaluation.tables import Table, cell_in_unit
from fer_models.evaluation.timing import best_round_s
from fer_models.landmarks.landmarker import LandmarkBatch, Landmarker
from fer_models.landmarks.network import INPUT_PX

FIGURES = ("mean error", "eye openness, r", "mouth opening, r", "yaw", "pitch", "roll")
SCORES = (0.0, 0.25, 0.5, 0.75, 0.9)


def accuracy_tables(crops: LabeledCrops, landmarker: Landmarker) -> list[Table]:
    """Tabulate accuracy on the two test splits, and how it depends on the score."""
    rows, score_rows = [], []
    for split in TEST_SPLITS:
        part = crops.select(crops.split == SPLITS.index(split))
        if not part.is_consistent.any():
            continue
        found = predict_gray(landmarker, part.pixels)
        rows.append([split, str(len(part.pixels)), *_cells(measure_accuracy(found, part))])
        score_rows += [[split, *row] for row in _by_score(found, part)]
    note = (
        "Against the mean of three passes of MediaPipe's face mesh, on the images in which they agree (labeled). Mean "
        "error: mean distance of the 70 points, in % of the interocular distance (between the outer corners of the "
        "eyes). r: Pearson correlation; of the eye aspect ratio, for both eyes together. Yaw, pitch, roll: median "
        "absolute error in degrees."
    )
    score_note = (
        "The score estimates the probability that the mean error is below 6 % of the interocular distance. Images in "
        "which the teacher found no face, or its passes disagree, count as errors of 6 % and more."
    )
    return [
        Table("Images", ["split", "images", "labeled", *FIGURES], rows, note),
        Table(
            "Score",
            ["split", "score at least", "share of images", "mean error", "error below 6 %"],
            score_rows,
            score_note,
        ),
    ]


def _cells(accuracy: LandmarkAccuracy) -> list[str]:
    correlations = (accuracy.eye_openness_correlation, accuracy.mouth_opening_correlation)
    angles = (accuracy.yaw_error_deg, accuracy.pitch_error_deg, accuracy.roll_error_deg)
    return [
        str(accuracy.images),
        _percent(accuracy.mean_error),
        *("-" if np.isnan(value) else f"{value:.3f}" for value in correlations),
        *(f"{value:.1f}°" for value in angles),
    ]


def _by_score(found: LandmarkBatch, truth: LabeledCrops) -> list[list[str]]:
    errors = point_errors(found.points_xy, truth.points_xyz[..., :2])
    errors[~truth.is_consistent] = np.nan
    rows = []
    for threshold in SCORES:
        kept = errors[found.score >= threshold]
        known = kept[~np.isnan(kept)]
        mean_error = known.mean() if len(known) else np.nan
        right = (kept < 0.06).mean() if len(kept) else np.nan
        rows.append([f"{threshold:g}", *map(_percent, (len(kept) / len(errors), mean_error, right))])
    return rows


def clip_table(crops: Path, labels: Path, landmarker: Landmarker) -> Table:
    """Tabulate accuracy and jitter in clips.

    Raises:
        DataError: if the files cannot be used.
    """
    note = (
        "Jitter: mean distance of the points from the middle of their positions in the frames before and after, in % "
        "of the interocular distance, for faces that hold still (they move less than 2 % between those frames). The "
        "teacher's jitter is that of a single pass over the same crops at 192 px."
    )
    columns = ["clip", "labeled", *FIGURES, "still faces", "jitter", "jitter of the teacher"]
    return Table("Clips", columns, [_clip_cells(clip) for clip in measure_clips(crops, labels, landmarker)], note)


def _clip_cells(clip: ClipAccuracy) -> list[str]:
    jitters = (_percent(value) for value in (clip.jitter, clip.teacher_jitter))
    return [clip.name, *_cells(clip.accuracy), str(clip.still_faces), *jitters]


def speed_table(landmarker: Landmarker, *, seconds: float) -> Table:
    """Measure the time per face: the best round within `seconds`."""
    crops = torch.zeros((4 * landmarker.chunk_crops, INPUT_PX, INPUT_PX, 3), dtype=torch.uint8)
    best_s = best_round_s(lambda: landmarker.predict(crops), seconds)
    row = [landmarker.name, cell_in_unit(landmarker.card.parameters, 1e6, "M", 2), f"{1000 * best_s / len(crops):.3f}"]
    note = f"{landmarker.device}, {torch.get_num_threads()} threads; the best round in {seconds:g} s."
    return Table("Speed", ["network", "parameters", "ms per face"], [row], note)


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.2f} %"
