"""Photographs with a teacher's face labels, read from a Parquet file.

The file has a row per photograph: `image` (JPEG or PNG bytes), `source`, and `faces`, a list of boxes
(x1 y1 x2 y2 px) with the teacher's score and ten landmark coordinates (five x, y pairs). Coordinates are those of the
upright photograph, rotated by its EXIF orientation.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike
from PIL import Image

from fer_models.boxes import face_size_px
from fer_models.datasets.image_folders import IMAGE_ERRORS, decode_image
from fer_models.errors import FervidError

T = TypeVar("T")
COLUMNS = ("image", "source", "faces")
MAX_PHOTO_SIDE_PX = 800
MIN_FACE_PX = 8.0  # the training loss ignores smaller faces, measured in the photograph and in the network's input
# Sources of photographs that show people, where detections of medium score are mostly faces. In all other photographs,
# such detections are mostly animals or patterns.
PEOPLE_SOURCES = {
    "street_fashion_ccp",
    "pedestrians_lschen",
    "muxspace",
    "mask_wearing",
    "azure_face",
    "human_samples",
    "detector_demos",
}
MASKED_SOURCES = {"mask_wearing"}
MIN_SCORE_PEOPLE, MIN_SCORE_ELSEWHERE = 0.55, 0.8


class FaceDataError(FervidError):
    """A file of training photographs cannot be used."""


@dataclass(frozen=True, eq=False)
class LabeledImage:
    """An image with its faces; only confident ones are positive examples, the others are ignored by the loss."""

    pixels: np.ndarray  # (h, w, 3) uint8, RGB
    boxes_xyxy: np.ndarray  # (k, 4) float32, pixels
    landmarks_xy: np.ndarray  # (k, 5, 2) float32, pixels
    is_confident: np.ndarray  # (k,) bool


@dataclass(frozen=True, eq=False)
class Photo(LabeledImage):
    """A photograph with the faces that the teacher found."""

    score: np.ndarray  # (k,) float32, detection score of each face
    source: str
    held_out: bool
    # (t, 4) float32, boxes in pixels of the hard negatives: false positives of the initial model
    hard_negatives_xyxy: np.ndarray = field(default_factory=lambda: np.empty((0, 4), np.float32))


def read_photos(path: Path) -> list[Photo]:
    """Decode all photographs of the file; about one in twenty is held out, chosen by a hash of its bytes.

    Raises:
        FaceDataError: if the file cannot be read, a column is missing, an image is damaged, or a label is invalid.
    """
    return decode_rows(path, COLUMNS, _photo_of)


def check_photos(path: Path) -> None:
    """Check that a file of photographs exists and has its columns, without reading them.

    Raises:
        FaceDataError: if the file cannot be read, or a column is missing.
    """
    _open(path, COLUMNS)


def decode_rows(path: Path, columns: Sequence[str], photo_of: Callable[[Image.Image, dict[str, Any]], T]) -> list[T]:
    """Read some columns of a Parquet file of photographs.

    Args:
        path: a file with the columns `image` and `faces`, and maybe others.
        columns: the columns to read.
        photo_of: makes a photograph of the upright RGB image and the values of a row; no faces are an empty list. It
            raises ValueError or KeyError for labels that cannot be used.

    Raises:
        FaceDataError: if the file cannot be read, a column is missing, an image is damaged, or a label is invalid.
    """
    photos = []
    for number, row in enumerate(_read_rows(path, columns), 1):
        try:
            photos.append(photo_of(decode_image(row["image"], "RGB"), row | {"faces": row["faces"] or []}))
        except KeyError as error:
            raise FaceDataError(f"{path}: row {number}: a face has no {error}") from error
        except IMAGE_ERRORS as error:
            raise FaceDataError(f"{path}: row {number} is not a photograph with labeled faces: {error}") from error
    if not photos:
        raise FaceDataError(f"{path}: contains no photographs")
    return photos


def boxes_of(faces: list[dict[str, Any]]) -> np.ndarray:
    """Return the boxes of a row's faces, `(k, 4)` float32.

    Raises:
        KeyError: if a face lacks a coordinate.
        ValueError: if a face is NULL, a coordinate is not a finite number, or a box is empty.
    """
    check_faces([isinstance(face, dict) for face in faces], "must be a box with labels")
    boxes = np.array([[face[key] for key in ("x1", "y1", "x2", "y2")] for face in faces], np.float32).reshape(-1, 4)
    check_faces(np.isfinite(boxes).all(axis=1), "x1, y1, x2 and y2 must be finite numbers")
    check_faces((boxes[:, :2] < boxes[:, 2:]).all(axis=1), "x1 must be less than x2, and y1 less than y2")
    return boxes


def check_faces(is_valid: ArrayLike, rule: str) -> None:
    """Check the labels of a row's faces, of which `is_valid` (k,) bool says whether they follow a rule.

    Raises:
        ValueError: if one does not; the message has its number, counted from 1.
    """
    if len(invalid := np.flatnonzero(~np.asarray(is_valid, bool))):
        raise ValueError(f"face {invalid[0] + 1}: {rule}")


def _read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    dataset = _open(path, columns)
    with _named_errors(path):
        rows: list[dict[str, Any]] = dataset.read(columns=list(columns)).to_pylist()
    return rows


def _open(path: Path, columns: Sequence[str]) -> pq.ParquetDataset:
    if not path.exists():
        raise FaceDataError(f"{path}: no such file")
    with _named_errors(path):
        dataset = pq.ParquetDataset(path)
    if missing := [name for name in columns if name not in dataset.schema.names]:
        raise FaceDataError(
            f"{path}: columns missing: {', '.join(missing)}. A file of photographs has {', '.join(columns)}"
        )
    return dataset


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Raise errors of PyArrow as `FaceDataError`, with the name of the file."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise FaceDataError(f"{path}: not a readable Parquet file: {error}") from error


def _photo_of(image: Image.Image, row: dict[str, Any]) -> Photo:
    full_width = image.width
    image.thumbnail((MAX_PHOTO_SIDE_PX, MAX_PHOTO_SIDE_PX))
    scale = image.width / full_width
    faces = row["faces"]
    boxes = boxes_of(faces)
    coordinates = [face["landmarks"] or () for face in faces]
    check_faces([len(numbers) == 10 for numbers in coordinates], "landmarks must be 10 numbers")
    landmarks = np.array(coordinates, np.float32).reshape(-1, 5, 2)
    check_faces(np.isfinite(landmarks).all(axis=(1, 2)), "landmarks must be finite numbers")
    score = np.array([face["score"] for face in faces], np.float32)
    check_faces((score >= 0) & (score <= 1), "score must be a number from 0 to 1")
    min_score = MIN_SCORE_PEOPLE if row["source"] in PEOPLE_SOURCES else MIN_SCORE_ELSEWHERE
    is_confident = (score >= min_score) & (face_size_px(boxes) * scale >= MIN_FACE_PX)
    held_out = int.from_bytes(hashlib.sha256(row["image"]).digest()[:4], "big") % 20 == 0
    return Photo(np.array(image), boxes * scale, landmarks * scale, is_confident, score, row["source"], held_out)
