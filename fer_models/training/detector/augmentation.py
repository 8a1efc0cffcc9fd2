"""Augmentation of training photographs: one affine map crops, scales, rotates and mirrors; colors are distorted."""

import dataclasses
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fer_models.boxes import MIRRORED_LANDMARKS, box_center, face_size_px
from fer_models.datasets.face_photos import MIN_FACE_PX, LabeledImage

COVERED_SHARE = 0.12  # share of faces that are partly covered during augmentation
# Share of tiles with faces that are shown upside down, as background. It was chosen when crops of upside-down faces
# were not yet turned upright, so that their expressions were misread.
UPSIDE_DOWN_SHARE = 0.07
NO_BOXES = np.empty((0, 4), np.float32)


def tile_map(
    center_xy: np.ndarray, scale: float, turn_rad: float, mirror: bool, size_px: tuple[int, int]
) -> np.ndarray:
    """Return the (2, 3) affine map from a photograph to a tile of (width, height) `size_px` centered on `center_xy`."""
    cos, sin = scale * math.cos(turn_rad), scale * math.sin(turn_rad)
    linear = np.array([[cos, -sin], [sin, cos]])
    if mirror:
        linear[0] *= -1
    offset = np.array(size_px) / 2 - linear @ center_xy
    return np.column_stack([linear, offset])


def map_faces(
    photo: LabeledImage, to_tile: np.ndarray, size_px: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Map the faces of `photo` into a tile of (width, height) `size_px`: boxes, landmarks and `is_confident`.

    The box of a rotated face encloses the rotated ellipse that its old box enclosed. Mirroring swaps left and right
    landmarks. Faces with less than half of their area in the tile, or too small there, are not confident; those with
    less than 10 % are dropped.
    """
    linear, offset = to_tile[:, :2], to_tile[:, 2]
    center = box_center(photo.boxes_xyxy) @ linear.T + offset
    half = (photo.boxes_xyxy[:, 2:] - photo.boxes_xyxy[:, :2]) / 2
    half = np.sqrt(half**2 @ (linear**2).T)
    landmarks = photo.landmarks_xy @ linear.T + offset
    if np.linalg.det(linear) < 0:
        landmarks = landmarks[:, MIRRORED_LANDMARKS]
    boxes = np.concatenate([center - half, center + half], 1)
    clipped = np.concatenate([boxes[:, :2].clip(0, size_px), boxes[:, 2:].clip(0, size_px)], 1)
    visible = (face_size_px(clipped) / face_size_px(boxes).clip(min=1e-6)) ** 2
    is_confident = photo.is_confident & (visible >= 0.5) & (face_size_px(clipped) >= MIN_FACE_PX)
    keep = visible >= 0.1
    return clipped[keep].astype(np.float32), landmarks[keep].astype(np.float32), is_confident[keep]


def cut_tile(
    photo: LabeledImage, to_tile: np.ndarray, size_px: tuple[int, int], fill: tuple[int, int, int]
) -> LabeledImage:
    """Cut the tile of (width, height) `size_px` from `photo` by the affine map `to_tile`."""
    to_photo = np.linalg.inv(np.vstack([to_tile, [0, 0, 1]]))
    image = Image.fromarray(photo.pixels)
    # Reduce by a whole factor first, which averages pixels and so avoids aliasing.
    shrink = int(np.sqrt(abs(np.linalg.det(to_photo[:2, :2]))))
    if shrink > 1:
        image = image.reduce(shrink)
        to_photo = np.diag([1 / shrink, 1 / shrink, 1]) @ to_photo
    pixels = image.transform(
        size_px, Image.Transform.AFFINE, tuple(to_photo[:2].ravel()), Image.Resampling.BILINEAR, fillcolor=fill
    )
    return LabeledImage(np.asarray(pixels), *map_faces(photo, to_tile, size_px))


def random_tile(
    photo: LabeledImage, size_px: tuple[int, int], rng: np.random.Generator, hard_negatives_xyxy: np.ndarray = NO_BOXES
) -> LabeledImage:
    """Cut a random tile: around a face scaled to a random size, around a hard negative, or anywhere.

    Args:
        hard_negatives_xyxy: `(t, 4)` boxes of false positives.
    """
    height, width = photo.pixels.shape[:2]
    mirror = bool(rng.random() < 0.5)
    turn = math.radians(rng.normal(0, 12)) if rng.random() < 0.4 else 0.0
    faces = photo.boxes_xyxy[photo.is_confident]
    if len(hard_negatives_xyxy) and rng.random() < (0.2 if len(faces) else 0.7):
        scale = max(math.exp(rng.uniform(math.log(0.6), math.log(1.7))), 0.5 * max(size_px) / max(width, height))
        center = box_center(rng.choice(hard_negatives_xyxy)[None])[0] + rng.uniform(-0.4, 0.4, 2) * size_px / scale
    elif len(faces) and rng.random() < 0.75:
        face = rng.choice(faces)[None]
        face_px = float(face_size_px(face)[0])
        smallest, largest = max(10.0, 0.04 * min(size_px)), 1.15 * min(size_px)
        target = math.exp(rng.uniform(math.log(smallest), math.log(largest)))
        # Faces are enlarged at most three times, to avoid blurred ones; photographs fill at least half of the tile.
        scale = min(max(target / face_px, 0.5 * max(size_px) / max(width, height)), 3.0)
        reach = np.maximum(np.array(size_px) / scale - face_px, 0.2 * face_px) / 2
        center = box_center(face)[0] + rng.uniform(-reach, reach)
    else:
        scale = max(math.exp(rng.uniform(math.log(0.4), math.log(1.8))), 0.7 * max(size_px) / max(width, height))
        center = rng.uniform(0, 1, 2) * (width, height)
    # Usually, the tile is moved inside the photograph.
    half = np.minimum(np.array(size_px) / scale, (width, height)) / 2
    if rng.random() < 0.8:
        center = np.clip(center, half, np.array([width, height]) - half)
    gray = rng.random() < 0.5
    fill = (128, 128, 128) if gray else (int(rng.integers(256)), int(rng.integers(256)), int(rng.integers(256)))
    tile = cut_tile(photo, tile_map(center, scale, turn, mirror, size_px), size_px, fill)
    return upside_down(tile) if len(tile.boxes_xyxy) and rng.random() < UPSIDE_DOWN_SHARE else tile


def upside_down(labeled: LabeledImage) -> LabeledImage:
    """Turn an image by 180 degrees; its faces become background."""
    pixels = np.ascontiguousarray(labeled.pixels[::-1, ::-1])
    return LabeledImage(pixels, NO_BOXES, np.empty((0, 5, 2), np.float32), np.empty(0, bool))


def mosaic(tiles: list[LabeledImage], split_xy: tuple[int, int], size_px: int) -> LabeledImage:
    """Join four tiles (top left, top right, bottom left, bottom right) that meet at `split_xy` into a square one."""
    canvas = np.empty((size_px, size_px, 3), np.uint8)
    x, y = split_xy
    corners = np.array([[0, 0], [x, 0], [0, y], [x, y]], np.float32)
    for tile, (left, top) in zip(tiles, corners.astype(int), strict=True):
        height, width = tile.pixels.shape[:2]
        canvas[top : top + height, left : left + width] = tile.pixels
    return LabeledImage(
        canvas,
        np.concatenate([t.boxes_xyxy + np.tile(corner, 2) for t, corner in zip(tiles, corners, strict=True)]),
        np.concatenate([t.landmarks_xy + corner for t, corner in zip(tiles, corners, strict=True)]),
        np.concatenate([t.is_confident for t in tiles]),
    )


def cover_faces(labeled: LabeledImage, rng: np.random.Generator) -> LabeledImage:
    """Cover up to half of some faces from one side with a part of the image or a flat color.

    This simulates occlusion by hands, cameras, masks and other heads.
    """
    image = Image.fromarray(labeled.pixels)
    for x1, y1, x2, y2 in labeled.boxes_xyxy[labeled.is_confident & (face_size_px(labeled.boxes_xyxy) >= 14)].tolist():
        if rng.random() > COVERED_SHARE:
            continue
        share = rng.uniform(0.15, 0.5)
        width, height = (x2 - x1, share * (y2 - y1)) if rng.random() < 0.6 else (share * (x2 - x1), y2 - y1)
        left, top = (x1, x2 - width)[rng.integers(2)], (y1, y2 - height)[rng.integers(2)]
        size = max(1, round(width)), max(1, round(height))
        corner = rng.uniform(0, 1, 2) * np.maximum(np.array(image.size) - size, 0)
        there = np.concatenate([corner, corner + size])
        cover = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
        if rng.random() < 0.6 and not overlaps_face(labeled, there):
            cover = image.crop(tuple(there.astype(int).tolist())).resize(size)
        mask = Image.new("L", size, 255)
        if rng.random() < 0.5:
            mask = Image.new("L", size)
            ImageDraw.Draw(mask).ellipse((0, 0, size[0] - 1, size[1] - 1), 255)
        image.paste(cover, (round(left), round(top)), mask)
    return dataclasses.replace(labeled, pixels=np.asarray(image))


def overlaps_face(labeled: LabeledImage, box_xyxy: Sequence[float] | np.ndarray) -> bool:
    """Whether a box overlaps that of any face, confident or not."""
    low, high = labeled.boxes_xyxy[:, :2], labeled.boxes_xyxy[:, 2:]
    return bool(((low < box_xyxy[2:]) & (high > box_xyxy[:2])).all(1).any())


def distort_colors(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, tint and saturation (one 3x3 map); sometimes add blur, noise or JPEG artifacts."""
    gray = np.full((3, 3), 1 / 3)
    saturation = 0.0 if rng.random() < 0.12 else rng.uniform(0.5, 1.4)
    color = (saturation * np.eye(3) + (1 - saturation) * gray) * rng.uniform(0.45, 1.45)
    color = np.diag(rng.uniform(0.85, 1.15, 3)) @ color
    shift = rng.uniform(-35, 35) + 128 * (1 - color.sum(1)) * rng.uniform(0, 1)
    image = Image.fromarray(pixels).convert("RGB", tuple(np.column_stack([color, shift]).ravel().tolist()))
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.4, 1.8)))
    if rng.random() < 0.12:
        noise = rng.normal(0, rng.uniform(3, 14), (*pixels.shape[:2], 1))
        image = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    if rng.random() < 0.25:
        with io.BytesIO() as file:
            image.save(file, "JPEG", quality=int(rng.integers(20, 80)))
            image = Image.open(file).convert("RGB")
    return np.asarray(image)
