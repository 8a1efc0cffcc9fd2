"""Quantize measurements of faces: finer than their accuracy, coarse enough to compress well.

Noise does not compress: the last bits of float32 measurements took most of the space. After tracking, pass 2 rounds
before any other computation, so that all its results can be recomputed from its tables.
"""

import numpy as np
import pyarrow as pa

from analytics.tables.arrow_utils import emotion_columns, to_column, to_float_array
from fer_models.labels import EMOTIONS

# All steps are powers of two, because their multiples are exact in float32.
PROBABILITY_STEP = 1 / 2048  # for comparison: the probabilities of the packaged model are off by 0.025 on average
PX_STEP = 1 / 4  # for comparison: detectors locate a face to 5% of its size
ENTROPY_STEP = 1 / 256
MEASURE_STEP = 1 / 1024  # step of distances relative to the interocular distance, and of the eye aspect ratio
STEPS = {
    **dict.fromkeys(("x1_px", "y1_px", "x2_px", "y2_px", "face_px", "interocular_px"), PX_STEP),
    **dict.fromkeys(("yaw_deg", "roll_deg", "brightness"), 1 / 4),
    **dict.fromkeys(("det_score", "cut_off"), 1 / 1024),
    "blur": 1.0,
    **dict.fromkeys(("valence", "arousal"), PROBABILITY_STEP),
    **dict.fromkeys(("head_yaw_deg", "head_pitch_deg", "head_roll_deg"), 1 / 4),
    **dict.fromkeys(
        (
            "landmark_score",
            "eye_openness_left",
            "eye_openness_right",
            "mouth_opening",
            "mouth_width",
            "mouth_corner_height",
            "brow_height",
        ),
        MEASURE_STEP,
    ),
}
STEPS_IN_WORDS = (
    "Numbers are rounded to steps: px 1/4, ° and brightness 1/4, blur 1, scores, cut_off, and measures of "
    "eyes, mouth and brows 1/1024, entropy 1/256, probabilities and values derived from them 1/2048."
)


def quantize(values: np.ndarray, step: float) -> np.ndarray:
    """Round to the nearest multiples of `step`, a power of two; NaN stays.

    >>> quantize(np.array([0.3, 0.4]), 1 / 4).tolist()
    [0.25, 0.5]
    """
    steps: np.ndarray = np.round(values / step) * step
    return steps


def quantize_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Round rows `(m, k)` to multiples of `PROBABILITY_STEP`, keeping their sum; NaN stays, and counts as 0.

    Values are rounded down, then those with the largest remainders are rounded up instead.

    >>> float(quantize_probabilities(np.full((1, 7), 1 / 7)).sum())
    1.0
    """
    exact = np.nan_to_num(probabilities) / PROBABILITY_STEP
    below = np.floor(exact)
    n_short = np.round(exact.sum(1)) - below.sum(1)
    rank = np.argsort(np.argsort(below - exact, axis=1, kind="stable"), axis=1, kind="stable")
    steps = (below + (rank < n_short[:, None])) * PROBABILITY_STEP
    return np.where(np.isnan(probabilities), np.nan, steps)


def quantize_faces(faces: pa.Table) -> pa.Table:
    """Quantize the measurements of faces."""
    kept = {name: to_column(quantize(to_float_array(faces, name), step), pa.float32()) for name, step in STEPS.items()}
    kept |= {name: _quantize_points(faces[name].combine_chunks()) for name in ("landmarks_px", "points_px")}
    probabilities = quantize_probabilities(to_float_array(faces, *(f"p_{name}" for name in EMOTIONS), "p_other"))
    kept |= emotion_columns("p", probabilities[:, : len(EMOTIONS)])
    kept["p_other"] = to_column(probabilities[:, -1], pa.float32())
    return pa.table({name: kept.get(name, faces[name]) for name in faces.column_names})


def _quantize_points(points: pa.FixedSizeListArray) -> pa.Array:
    """Quantize lists of coordinates in pixels; NULL stays."""
    if points.null_count == len(points):
        return points
    known = to_column(quantize(points.drop_null().flatten().to_numpy(), PX_STEP), pa.float32())
    rows = pa.FixedSizeListArray.from_arrays(known, points.type.list_size)
    is_known = points.is_valid().to_numpy(zero_copy_only=False)
    return rows.take(pa.array(np.cumsum(is_known) - 1, mask=~is_known))
