"""The 70 facial landmarks: their order, groups and mirror images.

Points 0 to 67 are in the order of iBUG 300-W (Sagonas et al. 2013), 0-based; 68 and 69 are the centers of the irises.
"Right" and "left" are the subject's: on a frontal face, the right eye is on the left side of the image.
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Points = TypeVar("Points", np.ndarray, "Tensor")
N_POINTS = 70

# Points 0 to 16 are the jaw, from the subject's right ear over the chin to the left ear; 27 to 35 are the nose, and
# 48 to 59 the outer lips.
RIGHT_BROW, LEFT_BROW = tuple(range(17, 22)), tuple(range(22, 27))
# The points of an eye, clockwise from its corner on the left side of the image: corner, upper lid, corner, lower lid.
RIGHT_EYE, LEFT_EYE = tuple(range(36, 42)), tuple(range(42, 48))
INNER_LIPS = tuple(range(60, 68))  # clockwise from the subject's right mouth corner

NOSE_TIP = 30
RIGHT_OUTER_EYE_CORNER, LEFT_OUTER_EYE_CORNER = 36, 45
RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER = 48, 54

# Point i of a mirrored face is point MIRRORED[i] of the original.
MIRRORED = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
    *(69, 68),
)
MIRRORED_POSE_SIGNS = (-1, 1, -1)  # of yaw, pitch and roll of a mirrored face


def mirror_points(points_xy: Points) -> Points:
    """Return the points (m, 70, 2) of the mirrored crops, as shares of the crop's side like `points_xy`."""
    mirrored = points_xy[:, list(MIRRORED)]
    mirrored[..., 0] = 1 - mirrored[..., 0]
    return mirrored
