"""Labeled faces in three splits, for training and evaluation."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fer_models.errors import FervidError
from fer_models.labels import EMOTIONS

SPLITS = ("Training", "PublicTest", "PrivateTest")
SPLIT_OFF = 10  # one image in so many of each class is split off from Training for a missing split


class DataError(FervidError):
    """A data set cannot be read or does not hold what it must."""


@dataclass(frozen=True, eq=False)
class FaceImages:
    """Labeled gray faces of one split."""

    pixels: Tensor  # (n, size, size) uint8
    label: Tensor  # (n,) int64, index into EMOTIONS
    votes: Tensor | None  # (n, 7) float32, share of the votes; the label's row where none can be used; None: no votes
    majority: Tensor  # (n,) int64, the emotion with more votes than any other answer; -1: there is none, or no votes
    row: Tensor  # (n,) int64, place in the file, or among the pictures of the folder in order of their paths
    is_copy: Tensor  # (n,) bool: the same pixels stand in an earlier row

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: Tensor) -> "FaceImages":
        """Those images whose places, or whose True, are in `rows`."""
        values = {name: None if value is None else value[rows] for name, value in vars(self).items()}
        return FaceImages(**values)  # type: ignore[arg-type]  # only votes may be None


@dataclass(frozen=True, eq=False)
class FaceData:
    """A data set: its splits, and how it was understood."""

    path: Path
    splits: dict[str, FaceImages]  # the three SPLITS
    class_map: dict[str, str]  # what the data calls a class -> the emotion
    notes: tuple[str, ...] = ()  # what was done to the images or the splits


@dataclass(frozen=True, eq=False)
class Faces:
    """All faces of a data set, row for row, before they are put into splits."""

    pixels: np.ndarray  # (n, size, size) uint8
    label: np.ndarray  # (n,) int64
    split: np.ndarray  # (n,) int64, index into SPLITS
    class_map: dict[str, str]
    votes: np.ndarray | None = None  # (n, 10): answers for the emotions, then others
    notes: tuple[str, ...] = ()


def split_faces(path: Path, faces: Faces, *, need_training: bool) -> FaceData:
    """Put faces into their splits, and split off from Training those that are missing.

    Raises:
        DataError: if there is no Training, or a split lacks an emotion.
    """
    hashes = [hashlib.sha256(image.tobytes()).digest() for image in faces.pixels]
    first_row: dict[bytes, int] = {}
    is_copy = np.array([first_row.setdefault(digest, row) != row for row, digest in enumerate(hashes)], bool)
    split, notes = faces.split.copy(), list(faces.notes)
    absent = [i for i in range(len(SPLITS)) if not (split == i).any()]
    if 0 in absent:
        if need_training:
            raise DataError(f"{path}: no images to train on")
        absent = []
    for i in absent:
        taken = stratified_part(hashes, faces.label, split == 0)
        split[taken] = i
        notes.append(
            f"there is no {SPLITS[i]}: {taken.sum()} images were split off from Training, a tenth of each class, by a "
            "hash of the pixels"
        )
    n = len(EMOTIONS)
    votes, majority = None, np.full(len(split), -1)
    if faces.votes is not None:
        majority = majority_of(faces.votes)
        of_emotions = faces.votes[:, :n].astype(np.float32)
        n_votes = of_emotions.sum(axis=1, keepdims=True)
        hard = np.eye(n, dtype=np.float32)[faces.label]
        votes = torch.from_numpy(np.where(n_votes > 0, of_emotions / np.maximum(n_votes, 1), hard))
    arrays = (faces.pixels, faces.label, majority, np.arange(len(split)), is_copy)
    pixels, label, best, row, copy = map(torch.from_numpy, arrays)
    images = FaceImages(pixels, label, votes, best, row, copy)
    splits = {name: images.take(torch.from_numpy(np.flatnonzero(split == i))) for i, name in enumerate(SPLITS)}
    for name, part_images in splits.items():
        if not len(part_images) and not need_training:
            continue
        present = part_images.label.unique().tolist()
        if missing := [emotion for i, emotion in enumerate(EMOTIONS) if i not in present]:
            raise DataError(f"{path}: split {name} has no image of: {', '.join(missing)}")
    return FaceData(path, splits, faces.class_map, tuple(notes))


def stratified_part(hashes: Sequence[bytes], label: np.ndarray, is_available: np.ndarray) -> np.ndarray:
    """Which images (n,) make a tenth of each class, and at least one of each; copies of an image stay together.

    Args:
        hashes: of the pixels of each image; those with the smallest are taken.
        label: (n,) int64.
        is_available: (n,) bool, which images may be taken.

    >>> stratified_part([b"d", b"a", b"c", b"a"], np.array([0, 0, 1, 0]), np.ones(4, bool))
    array([False,  True,  True,  True])
    """
    chosen: set[bytes] = set()
    for of in np.unique(label[is_available]).tolist():
        distinct = sorted({hashes[row] for row in np.flatnonzero(is_available & (label == of)).tolist()})
        chosen.update(distinct[: max(1, round(len(distinct) / SPLIT_OFF))])
    part: np.ndarray = np.array([digest in chosen for digest in hashes], bool) & is_available
    return part


def majority_of(answers: np.ndarray) -> np.ndarray:
    """The emotion with more votes than any other answer, or -1, for rows of votes whose first seven are of emotions.

    >>> majority_of(np.array([[0, 0, 0, 6, 0, 0, 4, 0, 0, 0], [5, 0, 0, 0, 5, 0, 0, 0, 0, 0]]))
    array([ 3, -1])
    """
    most = answers.max(axis=1, keepdims=True)
    winner = answers.argmax(axis=1)
    alone = (answers == most).sum(axis=1) == 1
    return np.where(alone & (winner < len(EMOTIONS)), winner, -1)


def class_weights(label: Tensor) -> Tensor:
    """How much an image of each emotion (7,) counts so that all emotions count the same; 1 on average over the images.

    >>> class_weights(torch.tensor([0, 1, 1, 1, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6])).tolist()
    [2.0, 0.5, 2.0, 1.0, 1.0, 1.0, 1.0]
    """
    count = torch.bincount(label, minlength=len(EMOTIONS))
    return (len(label) / (len(EMOTIONS) * count)).float()


def fingerprint(images: FaceImages) -> str:
    """A hash of the pixels and labels, to tell later what a model was trained on."""
    digest = hashlib.sha256(images.pixels.numpy().tobytes())
    digest.update(images.label.numpy().tobytes())
    return digest.hexdigest()[:16]
