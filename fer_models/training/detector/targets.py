"""Training targets of the compact network: assignment of faces to grid points."""

import math

import numpy as np

from fer_models.boxes import box_center, face_size_px
from fer_models.detection.compact import grid_points
from fer_models.detection.compact_network import STRIDES_PX

# Face sizes (square root of the box's area) that the grid points of each stride predict; the ranges overlap.
FACE_SIZES_PX = ((0.0, 48.0), (36.0, 104.0), (80.0, math.inf))
CENTER_STRIDES = 1.5  # grid points at most this many strides from the center of a face, along x and y, predict the face


def assign_targets(
    boxes_xyxy: np.ndarray, landmarks_xy: np.ndarray, is_confident: np.ndarray, height_px: int, width_px: int
) -> dict[str, np.ndarray]:
    """Assign the faces of an input, `height_px` x `width_px`, to the grid points of the network.

    A point predicts the smallest face in the size range of its stride whose center is within 1.5 strides and whose box,
    enlarged to at least one stride, contains the point. Points in the box of a face that is not confident are ignored.

    Returns:
        `state` (points,) int8: 1 face, 0 background, -1 ignored; `box` (points, 4) and `landmarks` (points, 5, 2) in
        pixels, 0 where there is no face.
    """
    points, stride = grid_points(height_px, width_px)
    state = np.zeros(len(points), np.int8)
    box = np.zeros((len(points), 4), np.float32)
    landmarks = np.zeros((len(points), 5, 2), np.float32)
    size = face_size_px(boxes_xyxy)
    middle = box_center(boxes_xyxy)
    unsure = boxes_xyxy[~is_confident]
    margin = np.array([-2, -2, 2, 2], np.float32)
    in_unsure = _inside(points, unsure + margin).any(1) if len(unsure) else np.zeros(len(points), bool)
    state[in_unsure] = -1
    ranges = dict(zip(STRIDES_PX, FACE_SIZES_PX, strict=True))
    smallest, largest = np.array([ranges[int(value)] for value in stride]).T
    # The largest face comes first, so that smaller ones replace it at the points of both.
    for face in sorted(np.flatnonzero(is_confident), key=lambda face: -size[face]):
        half = (boxes_xyxy[face, 2:] - boxes_xyxy[face, :2]) / 2
        reach = np.minimum(CENTER_STRIDES * stride[:, None], np.maximum(half, stride[:, None] / 2))
        near = (np.abs(points - middle[face]) <= reach).all(1)
        mine = near & (size[face] >= smallest) & (size[face] <= largest)
        state[mine], box[mine], landmarks[mine] = 1, boxes_xyxy[face], landmarks_xy[face]
    return {"state": state, "box": box, "landmarks": landmarks}


def _inside(points_xy: np.ndarray, boxes_xyxy: np.ndarray) -> np.ndarray:
    """Whether each of the points lies in each of the boxes, `(points, boxes)` bool."""
    after = (points_xy[:, None] >= boxes_xyxy[None, :, :2]).all(-1)
    before = (points_xy[:, None] <= boxes_xyxy[None, :, 2:]).all(-1)
    return np.logical_and(after, before)
