"""Close-ups: search for known faces in small tiles, where a full frame would cost as much as about ten of them.

The boxes of two key frames are matched and interpolated. A square around each expected box is resized to a tile, and
the tiles of many frames go through the detector in one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from fer_models.boxes import box_center, box_iou, face_size_px
from fer_models.detection.protocol import FaceDetector
from fer_models.frame_batch import FaceBatch
from fer_models.threads import map_in_threads

# Side of the tiles that close-ups are resized to.
TILE_PX = 128
TILE_TO_BOX = 1.9  # side of the square shown in a tile, in sides of the expected face box; small faces are not enlarged
# Two boxes in consecutive key frames can be the same face only if their centers are at most this many sides of the
# smaller box apart, and if their sides differ at most by this factor.
MAX_MOVE = 1.0
MAX_SIZE_RATIO = 1.5
MAX_OFFSET = 0.5  # farthest that a face found in a tile may lie from the expected center, in sides of the expected box
DUPLICATE_IOU = 0.4  # boxes found in two tiles that overlap this much are the same face
PADDING = 127  # gray level of a tile outside the frame


@dataclass(frozen=True, eq=False)
class ExpectedFaces:
    """The faces that are expected in one frame."""

    boxes_xyxy: np.ndarray  # (e, 4)
    # Number of faces at the start of `boxes_xyxy` that are in both key frames; the others may have left the frame.
    n_matched: int


def box_sides(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Geometric mean of the width and height of each box, at least 1, shape `(n,)`.

    >>> box_sides(np.array([[0, 0, 4, 9]])).tolist()
    [6.0]
    """
    sides: np.ndarray = np.maximum(face_size_px(boxes_xyxy), 1)
    return sides


def match_faces(a_xyxy: np.ndarray, b_xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair the faces of two frames that are each other's nearest, of similar size and close enough.

    Returns:
        Rows of `a_xyxy` and of `b_xyxy`, (k,) each, ascending in a.
    """
    if not len(a_xyxy) or not len(b_xyxy):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    side_a, side_b = box_sides(a_xyxy)[:, None], box_sides(b_xyxy)[None]
    distance_px = np.linalg.norm(box_center(a_xyxy)[:, None] - box_center(b_xyxy)[None], axis=2)
    distance = distance_px / np.minimum(side_a, side_b)
    distance[(distance > MAX_MOVE) | (np.maximum(side_a / side_b, side_b / side_a) > MAX_SIZE_RATIO)] = np.inf
    row, nearest = np.arange(len(a_xyxy)), distance.argmin(axis=1)
    is_pair = (distance.argmin(axis=0)[nearest] == row) & np.isfinite(distance[row, nearest])
    return row[is_pair], nearest[is_pair]


def expect_faces(before_xyxy: np.ndarray, after_xyxy: np.ndarray, share: np.ndarray) -> list[ExpectedFaces] | None:
    """Interpolate the faces of two key frames.

    A face of both key frames moves evenly from one box to the other. A face of only one of them may be anywhere between
    its box and out of sight; it is searched for at its box.

    Args:
        before_xyxy: (a, 4) boxes in the key frame before.
        after_xyxy: (b, 4) boxes in the key frame after.
        share: (n,) time since the key frame before, as a share of the time between the two.

    Returns:
        The faces of each of the n frames; None if both key frames have faces that the other one lacks, as they may be
        the same people in fast motion.
    """
    in_before, in_after = match_faces(before_xyxy, after_xyxy)
    only_before, only_after = np.delete(before_xyxy, in_before, 0), np.delete(after_xyxy, in_after, 0)
    if len(only_before) and len(only_after):
        return None
    start = np.concatenate([before_xyxy[in_before], only_before, only_after])
    end = np.concatenate([after_xyxy[in_after], only_before, only_after])
    return [ExpectedFaces(start + part * (end - start), len(in_before)) for part in share.tolist()]


def tile_squares(boxes_xyxy: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """The square of the frame shown in the tile of each box, moved into the frame where it fits.

    Returns:
        (m, 3) int64: left, top and side in pixels of the frame.

    >>> tile_squares(np.array([[0, 0, 100, 100], [300, 100, 310, 110]]), 640, 360).tolist()
    [[0, 0, 190], [241, 41, 128]]
    """
    side = np.maximum(np.rint(TILE_TO_BOX * box_sides(boxes_xyxy)), TILE_PX).astype(np.int64)[:, None]
    corner = np.rint(box_center(boxes_xyxy) - side / 2).astype(np.int64)
    corner = np.maximum(np.minimum(corner, np.array([width_px, height_px]) - side), 0)
    return np.concatenate([corner, side], axis=1)


def cut_tile(image: np.ndarray, square: np.ndarray) -> np.ndarray:
    """The tile `(TILE_PX, TILE_PX, 3)` of a square of an image `(h, w, 3)`, both uint8; gray outside the image."""
    left, top, side = square.tolist()
    region = image[top : top + side, left : left + side]
    height_px, width_px = (max(1, round(side_px * TILE_PX / side)) for side_px in region.shape[:2])
    tile = np.full((TILE_PX, TILE_PX, 3), PADDING, np.uint8)
    planes = torch.from_numpy(np.require(region, requirements=["C", "W"])).permute(2, 0, 1)[None]
    resized = functional.interpolate(planes, size=(height_px, width_px), mode="bilinear", antialias=True)
    tile[:height_px, :width_px] = resized[0].permute(1, 2, 0).numpy()
    return tile


def find_in_tiles(
    detector: FaceDetector, images: Sequence[np.ndarray], expected: Sequence[ExpectedFaces]
) -> list[FaceBatch | None]:
    """Find the expected faces of each image in tiles.

    Args:
        detector: finds the faces in the tiles.
        images: (h, w, 3) uint8, all of one size.
        expected: the faces of each image.

    Returns:
        The faces of each image by descending score; None if a face that both key frames have was not found, or two were
        found in the same place: such a frame needs detection in full.
    """
    n_tiles = [len(faces.boxes_xyxy) for faces in expected]
    if not sum(n_tiles):
        return [FaceBatch.empty() for _ in images]
    boxes_xyxy = np.concatenate([faces.boxes_xyxy for faces in expected])
    height_px, width_px = images[0].shape[:2]
    squares = tile_squares(boxes_xyxy, width_px, height_px)
    image = np.repeat(np.arange(len(images)), n_tiles)
    cuts = list(zip(image.tolist(), squares, strict=True))
    tiles = np.stack(list(map_in_threads(lambda cut: cut_tile(images[cut[0]], cut[1]), cuts)))
    faces = tiles_to_frame(detector.detect(tiles), squares, width_px, height_px)
    nearest = nearest_faces(faces, boxes_xyxy)
    found = np.split(nearest, np.cumsum(n_tiles)[:-1])
    return [_faces_of_image(faces, rows, in_image.n_matched) for rows, in_image in zip(found, expected, strict=True)]


def tiles_to_frame(faces: FaceBatch, squares: np.ndarray, width_px: int, height_px: int) -> FaceBatch:
    """Convert faces from pixels of their tiles to pixels of the frame; their `frame` remains the index of the tile."""
    square = squares[faces.frame].astype(np.float32)
    corner, scale = square[:, :2], square[:, 2:] / TILE_PX
    limit = np.array([width_px, height_px], np.float32)
    corners = faces.boxes_xyxy.reshape(-1, 2, 2) * scale[:, None] + corner[:, None]
    return replace(
        faces,
        boxes_xyxy=np.minimum(corners, limit).reshape(-1, 4),
        landmarks_xy=faces.landmarks_xy * scale[:, None] + corner[:, None],
    )


def nearest_faces(faces: FaceBatch, boxes_xyxy: np.ndarray) -> np.ndarray:
    """The face of each tile whose center is nearest to that of the expected box, -1 if none is near: `(m,)` int64."""
    distance = np.linalg.norm(box_center(faces.boxes_xyxy) - box_center(boxes_xyxy)[faces.frame], axis=1)
    distance /= box_sides(boxes_xyxy)[faces.frame]
    nearest = np.full(len(boxes_xyxy), -1)
    order = np.lexsort([distance, faces.frame])
    order = order[distance[order] <= MAX_OFFSET]
    tile, first = np.unique(faces.frame[order], return_index=True)
    nearest[tile] = order[first]
    return nearest


def _faces_of_image(faces: FaceBatch, rows: np.ndarray, n_matched: int) -> FaceBatch | None:
    if (rows[:n_matched] < 0).any():
        return None
    rows = rows[rows >= 0]
    rows = rows[np.argsort(-faces.det_score[rows], kind="stable")]
    found = replace(faces.select(rows), frame=np.zeros(len(rows), np.int64))
    overlap = box_iou(found.boxes_xyxy, found.boxes_xyxy)
    return None if (np.triu(overlap, 1) > DUPLICATE_IOU).any() else found
