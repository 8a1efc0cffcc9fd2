"""Geometry of boxes, in numpy: `(n, 4)` arrays of x1, y1, x2, y2 with x1 <= x2 and y1 <= y2."""

import numpy as np

# Indices that reorder the five landmarks of a mirrored face, where left and right are swapped.
MIRRORED_LANDMARKS = [1, 0, 2, 4, 3]


def box_area(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Area of each box, shape `(n,)`.

    >>> box_area(np.array([[0, 0, 4, 2]])).tolist()
    [8]
    """
    area: np.ndarray = (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
    return area


def box_center(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Center (x, y) of each box, shape `(n, 2)`.

    >>> box_center(np.array([[0, 0, 4, 2]])).tolist()
    [[2.0, 1.0]]
    """
    center: np.ndarray = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    return center


def box_iou(a_xyxy: np.ndarray, b_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union of all pairs of `n` and `m` boxes, shape `(n, m)`; 0 where the union is empty.

    >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2], [2, 2, 3, 3]])).round(2).tolist()
    [[0.33, 0.0]]
    """
    top_left = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    size = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:]) - top_left
    return _over_union(size, box_area(a_xyxy)[:, None], box_area(b_xyxy)[None, :])


def paired_iou(a_xyxy: np.ndarray, b_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union of the boxes in the same row, shape `(n,)`.

    >>> paired_iou(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 1]])).tolist()
    [0.5]
    """
    size = np.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - np.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    return _over_union(size, box_area(a_xyxy), box_area(b_xyxy))


def _over_union(overlap_size: np.ndarray, area_a: np.ndarray, area_b: np.ndarray) -> np.ndarray:
    overlap_size = np.maximum(overlap_size, 0)
    overlap = overlap_size[..., 0] * overlap_size[..., 1]
    union = area_a + area_b - overlap
    iou: np.ndarray = overlap / np.where(union > 0, union, 1)
    return iou


def face_size_px(boxes_xyxy: np.ndarray) -> np.ndarray:
    """The size of `(k, 4)` boxes: the square root of their area, `(k,)`; 0 if the corners are exchanged.

    >>> face_size_px(np.array([[0.0, 0.0, 4.0, 9.0]])).tolist()
    [6.0]
    """
    size: np.ndarray = np.sqrt(np.maximum(box_area(boxes_xyxy), 0))
    return size
