"""Measures of eyes, mouth and brows from facial landmarks.

All measures are ratios of distances, so they depend neither on the unit of the points nor on the size or roll of the
face. Turning the head (yaw, pitch) does change them. Distances are relative to the interocular distance, between the
outer corners of the eyes, unless stated otherwise; measures are NaN where the distance they are relative to is 0.
"""

from dataclasses import dataclass

import numpy as np

from fer_models.landmarks.points import (
    LEFT_BROW,
    LEFT_EYE,
    LEFT_MOUTH_CORNER,
    LEFT_OUTER_EYE_CORNER,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_MOUTH_CORNER,
    RIGHT_OUTER_EYE_CORNER,
)

INNER_LIP_PAIRS = ((61, 67), (62, 66), (63, 65))  # pairs of a point of the upper and a point of the lower inner lip
MIDDLE_OF_LIPS = (62, 66)


@dataclass(frozen=True, eq=False)
class FaceMeasures:
    """Measures of m faces, each (m,) of the type of the points; "right" and "left" are the subject's."""

    eye_openness_right: np.ndarray  # eye aspect ratio: about 0.3 for an open eye, below 0.2 for a closed one
    eye_openness_left: np.ndarray
    mouth_opening: np.ndarray  # mean distance of the inner lips
    mouth_width: np.ndarray  # distance of the mouth's corners
    # Height of the mouth's corners over the middle of the lips, which rises with a smile.
    mouth_corner_height: np.ndarray
    brow_height: np.ndarray  # mean height of the brows over the eyes


def measure_faces(points_xy: np.ndarray) -> FaceMeasures:
    """Measure faces by their landmarks (m, 70, 2), in any unit that is the same for x and y."""
    return FaceMeasures(
        eye_openness_right=eye_aspect_ratio(points_xy[:, RIGHT_EYE]),
        eye_openness_left=eye_aspect_ratio(points_xy[:, LEFT_EYE]),
        mouth_opening=mouth_opening(points_xy),
        mouth_width=mouth_width(points_xy),
        mouth_corner_height=mouth_corner_height(points_xy),
        brow_height=brow_height(points_xy),
    )


def eye_aspect_ratio(eye_xy: np.ndarray) -> np.ndarray:
    """Compute the eye aspect ratio (m,) of Soukupová and Čech (2016) from the six points of an eye (m, 6, 2).

    The mean distance of the lids at two places over the distance of the corners.
    """
    lids = _distance(eye_xy[:, 1], eye_xy[:, 5]) + _distance(eye_xy[:, 2], eye_xy[:, 4])
    return _ratio(lids, 2 * _distance(eye_xy[:, 0], eye_xy[:, 3]))


def interocular_distance(points_xy: np.ndarray) -> np.ndarray:
    """Compute the distance (m,) of the outer corners of the eyes."""
    return _distance(points_xy[:, RIGHT_OUTER_EYE_CORNER], points_xy[:, LEFT_OUTER_EYE_CORNER])


def mouth_opening(points_xy: np.ndarray) -> np.ndarray:
    """Compute the mean distance (m,) of three pairs of points of the inner lips."""
    upper, lower = (list(points) for points in zip(*INNER_LIP_PAIRS, strict=True))
    return _ratio(
        _distance(points_xy[:, upper], points_xy[:, lower]).mean(axis=1),
        interocular_distance(points_xy),
    )


def mouth_width(points_xy: np.ndarray) -> np.ndarray:
    """Compute the distance (m,) of the corners of the mouth."""
    width = _distance(points_xy[:, RIGHT_MOUTH_CORNER], points_xy[:, LEFT_MOUTH_CORNER])
    return _ratio(width, interocular_distance(points_xy))


def mouth_corner_height(points_xy: np.ndarray) -> np.ndarray:
    """Compute the mean height (m,) of the mouth's corners over the middle of the inner lips; negative below it."""
    height = heights(points_xy)
    above: np.ndarray = _mean(height, (RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER)) - _mean(height, MIDDLE_OF_LIPS)
    return above


def brow_height(points_xy: np.ndarray) -> np.ndarray:
    """Compute the mean height (m,) of the points of both brows over the corners of the eyes."""
    height = heights(points_xy)
    eye_corners = (RIGHT_EYE[0], RIGHT_EYE[3], LEFT_EYE[0], LEFT_EYE[3])
    above: np.ndarray = _mean(height, RIGHT_BROW + LEFT_BROW) - _mean(height, eye_corners)
    return above


def heights(points_xy: np.ndarray) -> np.ndarray:
    """Compute the height (m, 70) of each point over the line through the outer corners of the eyes.

    Positive toward the forehead, relative to the interocular distance.
    """
    right = points_xy[:, RIGHT_OUTER_EYE_CORNER]
    across = points_xy[:, LEFT_OUTER_EYE_CORNER] - right
    offset = points_xy - right[:, None]
    # The z component of the cross product: in an image, y points down.
    product = across[:, None, 1] * offset[..., 0] - across[:, None, 0] * offset[..., 1]
    return _ratio(product, np.square(across).sum(axis=1)[:, None])


def _distance(a_xy: np.ndarray, b_xy: np.ndarray) -> np.ndarray:
    distance: np.ndarray = np.linalg.norm(a_xy - b_xy, axis=-1)
    return distance


def _mean(values: np.ndarray, points: tuple[int, ...]) -> np.ndarray:
    mean: np.ndarray = values[:, points].mean(axis=1)
    return mean


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide; NaN where `whole` is 0."""
    ratio: np.ndarray = part / np.where(whole == 0, np.nan, whole)
    return ratio
